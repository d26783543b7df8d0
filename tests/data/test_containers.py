"""Files of every format: whole ones decode, and none is read in part without a word."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from raysys.data.audio import decode
from raysys.data.containers import ogg
from raysys.data.containers.ogg import check_ogg
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import Utterance, build_manifest
from raysys.data.sound import opened
from raysys.errors import AudioError, ManifestError

SECONDS, RATE_HZ = 2, 16_000
TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE_HZ) / RATE_HZ)
VERIFIED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST", "FLAC", "OGG", "MP3")
NOT_WRITTEN = {("AIFF", "DWVW_12"), ("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II"), ("WAV", "MPEG_LAYER_III")}
"""What this libsndfile lists but cannot write, nor a test therefore make."""
LOSSY = {"OGG": 0.05, "MP3": 0.05, "IMA_ADPCM": 0.05, "MS_ADPCM": 0.05, "GSM610": 0.1, "ULAW": 0.02, "ALAW": 0.02}
LOSSY |= {
    "G721_32": 0.05,
    "G723_24": 0.1,
    "G723_40": 0.05,
    "NMS_ADPCM_16": 0.3,
    "NMS_ADPCM_24": 0.1,
    "NMS_ADPCM_32": 0.05,
}
ALL = [
    (kind, coding)
    for kind in soundfile.available_formats()
    for coding in soundfile.available_subtypes(kind)
    if (kind, coding) not in NOT_WRITTEN and kind not in ("RAW", "SD2")
]
KNOWN = [(kind, coding) for kind, coding in ALL if kind in VERIFIED and not coding.startswith("DWVW")]


def utterance(path: Path, start_s: float | None = None, end_s: float | None = None) -> Utterance:
    return Utterance(utterance_id="a", audio_path=str(path), speaker="S", emotion="joy", start_s=start_s, end_s=end_s)


def written(path: Path, kind: str, coding: str, samples: np.ndarray = TONE) -> bytes:
    soundfile.write(path, samples, RATE_HZ, format=kind, subtype=coding)
    return path.read_bytes()


def refused(path: Path) -> str:
    """The reason why inspection and decoder refuse a file: the same for both."""
    with pytest.raises(AudioError) as error:
        decode(utterance(path))
    good = path.with_name("good.wav")
    soundfile.write(good, TONE[:800], RATE_HZ)
    others = [Utterance(utterance_id=f"b{i}", audio_path=str(good), speaker="S", emotion="fear") for i in range(2)]
    with pytest.raises(ManifestError) as listed:
        inspect_audio(build_manifest("table", "x", [utterance(path), *others]), max_duration_s=60, on_error="fail")
    assert f"{path} (a): {error.value}" in str(listed.value)
    return str(error.value)


@pytest.mark.parametrize(("kind", "coding"), KNOWN)
def test_a_whole_file_of_every_verified_format_decodes_whatever_its_name(
    tmp_path: Path, kind: str, coding: str
) -> None:
    path = tmp_path / "a.mp3"
    written(path, kind, coding)
    waveform_S = decode(utterance(path))
    # ADPCM stores blocks of samples, the last one filled up.
    assert 0 <= len(waveform_S) - len(TONE) < 1100
    error = np.abs(waveform_S[: len(TONE)] - TONE)[1000:-1000].max()
    assert error < LOSSY.get(coding, LOSSY.get(kind, 0.01)), error


@pytest.mark.parametrize(("kind", "coding"), KNOWN)
@pytest.mark.parametrize("share", [0.6, 0.98])
def test_a_truncated_file_of_every_verified_format_is_refused(
    tmp_path: Path, kind: str, coding: str, share: float
) -> None:
    path = tmp_path / "a.wav"
    data = written(path, kind, coding)
    path.write_bytes(data[: int(share * len(data))])
    refused(path)


@pytest.mark.parametrize(("kind", "coding"), KNOWN)
def test_two_files_joined_are_not_read_as_the_first(tmp_path: Path, kind: str, coding: str) -> None:
    path = tmp_path / "a.wav"
    data = written(path, kind, coding)
    path.write_bytes(data + data)
    assert any(word in refused(path) for word in ("more bytes follow", "several", "does not decode"))


@pytest.mark.parametrize(("kind", "coding"), sorted(set(ALL) - set(KNOWN)))
def test_a_format_that_cannot_be_verified_is_refused_by_name(tmp_path: Path, kind: str, coding: str) -> None:
    path = tmp_path / "a.wav"
    written(path, kind, coding)
    assert "convert it to WAV or FLAC" in refused(path) or "Format not recognised" in refused(path)


@pytest.mark.parametrize("coding", ["GSM610", "G721_32", "NMS_ADPCM_32"])
def test_a_part_of_a_file_that_cannot_be_sought_is_the_part_of_the_whole(tmp_path: Path, coding: str) -> None:
    written(tmp_path / "a.wav", "WAV", coding)
    whole_S = decode(utterance(tmp_path / "a.wav"))
    np.testing.assert_array_equal(decode(utterance(tmp_path / "a.wav", 0.5, 1.25)), whole_S[8_000:20_000])


@pytest.mark.parametrize(
    ("kind", "at", "layout"), [("WAV", 40, "<I"), ("AIFF", 0, ">I"), ("AU", 8, ">I"), ("CAF", 0, ">Q")]
)
def test_a_header_that_counts_half_of_the_samples_is_refused(tmp_path: Path, kind: str, at: int, layout: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, RATE_HZ, format=kind, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    if kind in ("AIFF", "CAF"):
        at = data.index(b"SSND" if kind == "AIFF" else b"data") + 4
    (size,) = struct.unpack_from(layout, data, at)
    assert abs(size - 2 * len(TONE)) < 20, "not where the length is"
    struct.pack_into(layout, data, at, size // 2)
    path.write_bytes(data)
    assert "more bytes follow" in refused(path)


@pytest.mark.parametrize("samples", [0.5, 2.0])
def test_a_flac_whose_header_counts_other_samples_than_its_frames_is_refused(tmp_path: Path, samples: float) -> None:
    path = tmp_path / "a.flac"
    data = bytearray(written(path, "FLAC", "PCM_16"))
    struct.pack_into(">I", data, 22, int(samples * len(TONE)))
    path.write_bytes(data)
    assert f"promises {int(samples * len(TONE))} samples, but its last frame ends at sample {len(TONE)}" in refused(
        path
    )


@pytest.mark.parametrize("n", [1, 15, 4_095, 4_096, 4_097, 32_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_every_length_of_flac_is_verified(tmp_path: Path, n: int, channels: int) -> None:
    """Blocks of odd sizes, and frame numbers of several bytes."""
    noise = np.random.default_rng(n).normal(0, 0.2, (n, channels))
    soundfile.write(tmp_path / "a.flac", noise, RATE_HZ, subtype="PCM_24")
    with opened(str(tmp_path / "a.flac")) as sound:
        assert (sound.frames, sound.verified) == (n, True)


def test_a_tag_after_the_samples_is_no_damage(tmp_path: Path) -> None:
    for kind, coding in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")):
        path = tmp_path / f"{kind}.wav"
        data = written(path, kind, coding)
        whole_S = decode(utterance(path))
        path.write_bytes(data + b"TAG" + b"title".ljust(125, b"\0"))
        np.testing.assert_array_equal(decode(utterance(path)), whole_S)


def pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    found = []
    while data:
        length = 27 + data[26] + sum(data[27 : 27 + data[26]])
        found.append(data[:length])
        data = data[length:]
    return found


def test_an_ogg_with_a_missing_or_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    noise = np.random.default_rng(0).normal(0, 0.2, 30 * RATE_HZ)
    soundfile.write(path, noise, RATE_HZ, format="OGG", subtype="VORBIS")
    split = pages(path.read_bytes())
    assert len(split) > 6
    for damaged, reason in (
        (split[:3] + split[4:], "Ogg page 3 is missing"),
        (split[:-1], "none of its Ogg pages is marked as the last"),
        ([*split[:3], split[3][:-1] + bytes([split[3][-1] ^ 1]), *split[4:]], "page 3 does not match its checksum"),
        ([*split[:4], b"x" * 2_000, *split[4:]], "marked as the last"),
    ):
        path.write_bytes(b"".join(damaged))
        assert reason in refused(path)


def test_the_checksum_of_ogg_is_the_one_of_its_specification() -> None:
    """RFC 3533: CRC-32, polynomial 0x04c11db7, initial value 0, bits in order, not inverted."""
    data, crc = b"OggS and more", 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    assert ogg._checksum(data) == crc


def mp3(seconds_of: list[np.ndarray], path: Path) -> bytes:
    with soundfile.SoundFile(
        path, "w", RATE_HZ, 1, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE"
    ) as file:
        file.write(np.concatenate(seconds_of))
    return path.read_bytes()


def test_an_mp3_of_variable_bit_rate_without_its_xing_frame_is_refused(tmp_path: Path) -> None:
    """The decoder guesses its length from the bit rate of the first frame."""
    path = tmp_path / "a.mp3"
    noise = np.random.default_rng(0).normal(0, 0.2, 4 * RATE_HZ)
    data = mp3([noise, np.zeros(8 * RATE_HZ)], path)
    assert len(decode(utterance(path))) == 12 * RATE_HZ
    second = data.index(data[:2], 100)
    assert b"Xing" in data[:second] or b"Info" in data[:second]
    path.write_bytes(data[second:])
    assert "its bit rate varies, and no Xing header says so" in refused(path)


def test_an_mp3_cut_between_its_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    data = mp3([TONE], path)
    last = data.rindex(data[:2])
    path.write_bytes(data[: data.rindex(data[:2], 0, last)])
    assert "MPEG frames" in refused(path)


def encode(out: av.container.OutputContainer, audio: av.AudioStream, samples_KS: np.ndarray) -> None:
    """Write samples (channels x samples) in the frames that a codec asks for."""
    whole = av.AudioFrame.from_ndarray(samples_KS.astype(np.float32), "fltp", audio.layout.name)
    whole.sample_rate = audio.rate
    fifo = av.AudioFifo()
    fifo.write(av.AudioResampler(format=audio.format, layout=audio.layout, rate=audio.rate).resample(whole)[0])
    at = 0
    while fifo.samples:
        frame = fifo.read(audio.codec_context.frame_size or 1024, partial=True)
        frame.pts, frame.time_base = at, Fraction(1, audio.rate)
        at += frame.samples
        out.mux(audio.encode(frame))
    out.mux(audio.encode(None))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--4d7a.wav\n", "git annex get"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
        (b"PK\x03\x04" + bytes(60), "is an archive"),
        (bytes(1000), "begins with zeros"),
        (b"", r"is empty (0 bytes)"),
        (b"Not audio.\n" * 20, "does not decode"),
    ],
)
def test_what_is_found_in_place_of_audio_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert reason in refused(path)


def media(path: Path, container: str, codec: str, *, with_video: bool = False, rate_hz: int = 48_000) -> bytes:
    """Two seconds of the tone, in stereo."""
    tone_S = 0.3 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * rate_hz) / rate_hz)
    with av.open(str(path), "w", format=container) as out:
        audio = out.add_stream(codec, rate=rate_hz, layout="stereo")
        if with_video:
            video = out.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
            for i in range(25 * SECONDS):
                out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8), format="rgb24")))
            out.mux(video.encode(None))
        encode(out, audio, np.stack([tone_S, tone_S]))
    return path.read_bytes()


MEDIA = [
    ("mp4", "aac", True),
    ("ipod", "aac", False),
    ("webm", "libopus", False),
    ("matroska", "aac", True),
    ("avi", "pcm_s16le", True),
]


@pytest.mark.parametrize(("container", "codec", "with_video"), MEDIA, ids=[kind for kind, *_ in MEDIA])
def test_the_sound_of_a_video_or_a_phone_recording_is_read(
    tmp_path: Path, container: str, codec: str, with_video: bool
) -> None:
    path = tmp_path / "a.wav"
    media(path, container, codec, with_video=with_video)
    waveform_S = decode(utterance(path))
    # AAC stores whole blocks of 1024 samples.
    assert 0 <= len(waveform_S) - len(TONE) < 1_000
    assert np.abs(waveform_S[: len(TONE)] - TONE)[2_000:-2_000].max() < 0.02
    part_S = decode(utterance(path, 0.5, 1.0))
    assert len(part_S) == 8_000 and np.abs(part_S - waveform_S[8_000:16_000])[500:-500].max() < 1e-3
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    refused(path)


def test_without_pyav_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media(tmp_path / "a.mp4", "mp4", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    assert refused(tmp_path / "a.mp4") == (
        "is MP4 (M4A, MOV, 3GP), which PyAV reads: pip install 'raysys[av]', on all nodes; or convert it: "
        "ffmpeg -i FILE -vn out.wav"
    )


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        out.mux(video.encode(None))
    assert refused(path) == "is MP4 (M4A, MOV, 3GP) without sound"


def test_a_file_is_verified_once_for_all_turns_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr("raysys.data.sound.check_ogg", lambda file: bool(checked.append(1)) or check_ogg(file))
    written(tmp_path / "a.ogg", "OGG", "VORBIS")
    for turn in range(8):
        decode(utterance(tmp_path / "a.ogg", turn / 8, (turn + 1) / 8))
    assert len(checked) == 1
