"""What stands around and between the samples: neither read as sound, nor a reason to refuse a whole file."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from raysys.data.audio import decode
from raysys.data.sound import opened
from tests.data.test_containers import RATE_HZ, SECONDS, encode, refused, utterance, written


def mp3_without_xing(path: Path, rate_hz: int, seconds: float = SECONDS, kilobits: int = 64) -> bytes:
    """Of constant bit rate, as many encoders write it: no frame states how long it is."""
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as out:
        audio = out.add_stream("libmp3lame", rate=rate_hz, layout="mono")
        audio.bit_rate = 1000 * kilobits
        tone_S = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)
        encode(out, audio, tone_S[None])
    return path.read_bytes()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_an_mp3_of_constant_bit_rate_without_a_xing_frame_is_read_to_its_last_frame(
    tmp_path: Path, rate_hz: int
) -> None:
    """The decoder's guess is longer than what is there, above all where tags follow."""
    path = tmp_path / "a.mp3"
    data = mp3_without_xing(path, rate_hz)
    picture = b"ID3\x03\x00\x00\x00\x03\x07\x50" + bytes(3 * 128**2 + 7 * 128 + 80)
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 40_000, 1, 0xA0000000) + bytes(8 + 40_000)
    with av.open(str(path)) as container:
        frames = sum(frame.samples for frame in container.decode(audio=0))
    for content in (data, picture + data, data + ape + b"TAG" + bytes(125), data + bytes(5_000)):
        path.write_bytes(content)
        with opened(str(path)) as sound:
            assert (sound.frames, sound.verified) == (frames, False)
        assert len(decode(utterance(path))) == -(-frames * 16_000 // rate_hz)


def test_mp3_files_joined_with_their_tags_are_read_to_the_end_or_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "a.mp3", tmp_path / "b.mp3"
    first, tag = mp3_without_xing(path, 44_100), b"TAG" + bytes(125)
    once = len(decode(utterance(path)))
    path.write_bytes(first + tag + first)
    assert abs(len(decode(utterance(path))) - 2 * once) <= 1
    path.write_bytes(first + tag + mp3_without_xing(other, 22_050))
    assert "changes its sample rate or channels" in refused(path)


def chunk(name: bytes, body: bytes, pad: bytes = b"\0") -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + pad[: len(body) % 2]


def pcm(bits: int, n: int = 16_001) -> tuple[bytes, bytes]:
    """The chunk fmt, and an odd number of samples as bytes."""
    layout = struct.pack("<HHIIHH", 1, 1, RATE_HZ, RATE_HZ * bits // 8, bits // 8, bits)
    return chunk(b"fmt ", layout), np.random.default_rng(0).bytes(n * bits // 8)


@pytest.mark.parametrize("bits", [8, 24])
def test_chunks_after_an_odd_number_of_bytes_are_no_samples_padded_or_not(tmp_path: Path, bits: int) -> None:
    path, (layout, samples) = tmp_path / "a.wav", pcm(bits)
    tags = chunk(b"id3 ", bytes(range(256)) * 20 + b"x", pad=b"") + chunk(b"iXML", b"<BWFXML/>" * 500)
    for pad in (b"", b"\0"):
        path.write_bytes(b"RIFF\0\0\0\0WAVE" + layout + chunk(b"data", samples, pad) + tags)
        with opened(str(path)) as sound:
            assert (sound.frames, sound.verified) == (16_001, True)


@pytest.mark.parametrize("stated", [None, 0xFFFFFFFF])
def test_chunks_after_the_samples_of_rf64_are_no_samples(tmp_path: Path, stated: int | None) -> None:
    """Field recorders write their notes there."""
    path, (layout, samples) = tmp_path / "a.wav", pcm(16)
    long_sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(samples), 16_001, 0))
    data = struct.pack("<4sI", b"data", len(samples) if stated is None else stated) + samples
    whole = b"RF64\xff\xff\xff\xffWAVE" + long_sizes + layout + data + chunk(b"iXML", b"<BWFXML/>" * 500)
    path.write_bytes(whole)
    with opened(str(path)) as sound:
        assert (sound.frames, sound.verified) == (16_001, True)
    path.write_bytes(whole[: len(whole) // 2])
    assert "is truncated" in refused(path)


def test_a_chunk_after_the_samples_of_wave64_is_not_read_as_sound(tmp_path: Path) -> None:
    """libsndfile reads on to the end of the file."""
    path = tmp_path / "a.w64"
    data = written(path, "W64", "PCM_16")
    assert len(data) % 8 == 0
    name = b"list" + bytes.fromhex("2f91cf11a5d628db04c10000")
    path.write_bytes(data + name + struct.pack("<Q", 24 + 4_000) + b"x" * 4_000)
    assert "4024 more bytes follow" in refused(path)


def test_pictures_padding_and_tags_around_flac_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    data = written(path, "FLAC", "PCM_16")
    whole_S = decode(utterance(path))
    info, picture = data[4:42], b"\xff\xf8" * 500_000
    named = struct.pack(">II10sIIIIII", 3, 10, b"image/jpeg", 0, 8, 8, 24, 0, len(picture)) + picture
    blocks = b"\x01" + (100_000).to_bytes(3, "big") + bytes(100_000) + b"\x06" + len(named).to_bytes(3, "big") + named
    id3 = b"ID3\x03\x00\x00\x00\x03\x07\x50" + bytes(3 * 128**2 + 7 * 128 + 80)
    for content in (
        data[:4] + bytes([info[0] & 0x7F]) + info[1:] + blocks + data[42:],
        id3 + data,
        id3 + data + b"TAG" + bytes(125),
        data + bytes(100_000),
    ):
        path.write_bytes(content)
        np.testing.assert_array_equal(decode(utterance(path)), whole_S)
    short = written(path, "FLAC", "PCM_16", 0.1 * np.ones(20))
    path.write_bytes(short + bytes(5_000))
    assert len(decode(utterance(path))) == 20


def test_zeros_after_the_last_page_of_ogg_are_padding(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    data = written(path, "OGG", "VORBIS")
    whole_S = decode(utterance(path))
    path.write_bytes(data + bytes(100_000))
    np.testing.assert_array_equal(decode(utterance(path)), whole_S)


def test_a_codec_that_libsndfile_does_not_read_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    for kind, codec in (("caf", "alac"), ("wav", "mp2"), ("wav", "libmp3lame")):
        with av.open(str(path), "w", format=kind) as out:
            audio = out.add_stream(codec, rate=RATE_HZ, layout="mono")
            encode(out, audio, 0.1 * np.random.default_rng(0).normal(size=(1, RATE_HZ)))
        assert "convert it" in refused(path)


def webm(path: Path, begins_s: float, gap_s: float) -> None:
    """Five seconds of sound, which begin late, and with a gap after two."""
    with av.open(str(path), "w", format="webm") as out:
        audio = out.add_stream("libopus", rate=48_000, layout="mono")
        for i in range(5 * 50):
            frame = av.AudioFrame.from_ndarray(np.full((1, 960), 0.1, np.float32), "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, 960 * i
            for packet in audio.encode(frame):
                late_s = begins_s + (gap_s if i > 100 else 0)
                assert packet.time_base is not None and packet.pts is not None and packet.dts is not None
                late = round(late_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                out.mux(packet)


def test_sound_that_begins_later_than_its_video_is_whole(tmp_path: Path) -> None:
    webm(tmp_path / "a.webm", begins_s=1.0, gap_s=0.0)
    assert abs(len(decode(utterance(tmp_path / "a.webm"))) - 5 * 16_000) < 400


def test_gaps_in_sound_are_refused_since_times_after_them_would_shift(tmp_path: Path) -> None:
    webm(tmp_path / "a.webm", begins_s=0.5, gap_s=1.0)
    assert "has gaps of 1.00 s before 3" in refused(tmp_path / "a.webm")
