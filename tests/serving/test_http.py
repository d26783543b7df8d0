"""Over HTTP: the model's own probabilities for any format; what cannot be answered has its status, and says why."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from raysys.inference import read_waveform
from raysys.serving.token import digest
from tests.serving.client import TOKEN, client, encoded, speech
from tests.test_inference import CLASSES, make

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def audio() -> TestClient:
    return client()


@pytest.fixture(scope="module")
def both() -> TestClient:
    return client("both")


def post(service: TestClient, data: bytes, **fields: str) -> Any:
    return service.post("/v1/predict", files={"audio": ("a.wav", data)}, data=fields)


def refused(answer: Any) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "how"} and all(error.values())
    return answer.status_code, error["code"]


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None)])
def test_the_answer_is_the_models_own_for_the_file(
    audio: TestClient, tmp_path: Path, kind: str, subtype: str | None
) -> None:
    file = tmp_path / "a"
    file.write_bytes(encoded(speech(1.5, 22_050), kind, 22_050, subtype))
    (expected_C,) = make(modalities="audio")[0].probabilities([read_waveform(str(file))])
    form = post(audio, file.read_bytes())
    raw = audio.post("/v1/predict", content=file.read_bytes(), headers={"Content-Type": "audio/anything"})
    for answer in (form, raw):
        assert answer.status_code == 200, answer.text
        found = answer.json()
        np.testing.assert_allclose([found["probabilities"][name] for name in CLASSES], expected_C, rtol=0, atol=1e-6)
        assert (found["prediction"], found["confidence"]) == (CLASSES[expected_C.argmax()], expected_C.max())
        assert found["classes"] == list(CLASSES) and found["model"] == "model m"
        assert found["note"] is None and found["timeline"] is None
        assert found["duration_s"] == pytest.approx(1.5, abs=0.06)


def test_a_transcript_is_read_by_a_model_of_both_and_its_lack_is_noted(both: TestClient, audio: TestClient) -> None:
    wav = encoded(speech())
    with_text, without = (post(both, wav, **fields).json() for fields in ({"transcript": "by the door"}, {}))
    assert with_text["probabilities"] != without["probabilities"]
    assert with_text["note"] is None and "voice alone" in without["note"]
    query = both.post("/v1/predict?transcript=by+the+door", content=wav, headers={"Content-Type": "audio/wav"})
    assert query.json()["probabilities"] == with_text["probabilities"]
    assert "not used" in post(audio, wav, transcript="by the door").json()["note"]


def test_a_model_of_text_alone_needs_no_audio() -> None:
    text = client("text")
    (expected_C,) = make(modalities="text")[0].probabilities(transcripts=["by the door"])
    found = text.post("/v1/predict", files={"transcript": (None, "by the door")}).json()
    assert list(found["probabilities"].values()) == pytest.approx(expected_C.tolist(), abs=1e-6)
    assert found["duration_s"] is None
    assert refused(post(text, encoded(speech()))) == (422, "invalid_request")


def test_segments_are_predicted_one_by_one_and_weighted_by_their_length(audio: TestClient) -> None:
    waveform = speech(5.0)
    found = post(audio, encoded(waveform, subtype="FLOAT"), segments="fixed", segment_s="2").json()
    times = [(span["start_s"], span["end_s"]) for span in found["timeline"]]
    assert times == [(0, 2), (2, 4), (4, 5)]
    parts = [waveform[:32_000], waveform[32_000:64_000], waveform[64_000:]]
    expected_NC = make(modalities="audio")[0].probabilities(parts)
    said = [list(span["probabilities"].values()) for span in found["timeline"]]
    np.testing.assert_allclose(said, expected_NC, rtol=0, atol=1e-6)
    mean_C = (2 * expected_NC[0] + 2 * expected_NC[1] + expected_NC[2]) / 5
    np.testing.assert_allclose(list(found["probabilities"].values()), mean_C, rtol=0, atol=1e-6)


def test_what_is_odd_is_noted(audio: TestClient) -> None:
    assert "silent" in post(audio, encoded(np.zeros(16_000, np.float32))).json()["note"]
    opposite = np.stack([speech(), -speech()], axis=1)
    assert "cancel" in post(audio, encoded(opposite)).json()["note"]
    assert "8000 Hz" in post(audio, encoded(speech(1, 8_000), rate_hz=8_000)).json()["note"]
    assert "very short" in post(audio, encoded(speech(0.2))).json()["note"]


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_nan(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<f", float("nan"))


FLOATS = encoded(speech(), subtype="FLOAT")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (422, "unusable_audio")),
        (b"these are words in a file that is named .wav, and nothing else at all\n" * 9, (415, "not_audio")),
        (b"<!doctype html><p>404", (415, "not_audio")),
        (b"PK\x03\x04 an archive", (415, "not_audio")),
        (cut_in_half(encoded(speech())), (422, "unusable_audio")),
        (cut_in_half(encoded(speech(), "FLAC")), (422, "unusable_audio")),
        (with_nan(FLOATS), (422, "unusable_audio")),
        (encoded(speech(0.0)), (422, "unusable_audio")),
        (encoded(np.zeros(3 * 3600 * 1000, np.float32), "FLAC", 1000), (413, "too_long")),
        (encoded(speech(41)), (413, "too_long")),
    ],
    ids=["empty", "text", "page", "archive", "half_wav", "half_flac", "nan", "no_samples", "3_hours", "41_s"],
)
def test_audio_that_cannot_be_used_is_refused(audio: TestClient, data: bytes, expected: tuple[int, str]) -> None:
    assert refused(post(audio, data)) == expected
    if data:
        raw = audio.post("/v1/predict", content=data, headers={"Content-Type": "audio/wav"})
        assert refused(raw) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"segment": "fixed"},
        {"segments": "some"},
        {"segments": "fixed", "segment_s": "0.1"},
        {"segments": "fixed", "segment_s": "nan"},
        {"segments": "fixed", "segment_s": "1e9"},
        {"segments": "fixed", "transcript": "by the door"},
        {"transcript": "x" * 2_001},
        {"transcript": "x" * 100_000},
    ],
)
def test_wrong_fields_are_refused(both: TestClient, fields: dict[str, str]) -> None:
    assert refused(post(both, encoded(speech()), **fields)) == (422, "invalid_request")


def test_bodies_of_other_types_are_refused(audio: TestClient) -> None:
    json_body = audio.post("/v1/predict", json={"audio": "x"})
    assert refused(json_body) == (415, "not_audio")
    assert refused(audio.post("/v1/predict", content=b"", headers={"Content-Type": "audio/wav"}))[0] == 422
    broken = audio.post("/v1/predict", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert refused(broken)[0] == 422
    no_boundary = audio.post("/v1/predict", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert refused(no_boundary)[0] == 422
    two = audio.post("/v1/predict", files=[("audio", ("a", b"x")), ("audio", ("b", b"x"))])
    assert refused(two)[0] == 422
    as_text = audio.post("/v1/predict", files={"audio": (None, "words")})
    assert refused(as_text)[0] == 422


def test_bodies_larger_than_the_limit_are_refused_whatever_their_headers_say() -> None:
    small = client(max_megabytes=0.05)
    assert post(small, encoded(speech(1))).status_code == 200
    assert refused(post(small, encoded(speech(2)))) == (413, "too_large")
    in_chunks = small.post("/v1/predict", content=iter([bytes(1_000)] * 100), headers={"Content-Type": "audio/wav"})
    assert refused(in_chunks) == (413, "too_large")
    lying = {"Content-Type": "audio/wav", "Content-Length": "10"}
    assert refused(small.post("/v1/predict", content=iter([bytes(1_000)] * 100), headers=lying)) == (413, "too_large")


def test_everything_but_the_page_and_health_wants_the_token() -> None:
    service = client(token=digest(TOKEN))
    wav = encoded(speech())
    asks: list[Callable[[dict[str, str]], Any]] = [
        lambda headers: service.get("/v1/model", headers=headers),
        lambda headers: service.get("/metrics", headers=headers),
        lambda headers: service.post("/v1/predict", files={"audio": wav}, headers=headers),
    ]
    for ask in asks:
        for wrong in (
            {},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer "},
        ):
            answer = ask(wrong)
            assert refused(answer) == (401, "unauthorized") and answer.headers["www-authenticate"] == "Bearer"
        assert ask({"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    for path in ("/", "/page/page.js", "/healthz"):
        assert service.get(path).status_code == 200, path


def test_a_client_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    service = client(rate=2)
    wav = encoded(speech())
    assert [post(service, wav).status_code for _ in range(3)] == [200, 200, 429]
    answer = post(service, wav)
    assert refused(answer) == (429, "busy") and 1 <= int(answer.headers["retry-after"]) <= 30


def test_more_requests_at_once_than_there_is_room_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, audio: TestClient
) -> None:
    monkeypatch.setattr("raysys.serving.http.OPEN_REQUESTS", 0)
    answer = post(client(), encoded(speech()))
    assert refused(answer) == (429, "busy") and answer.headers["retry-after"] == "1"


def test_the_model_is_described(audio: TestClient) -> None:
    found = audio.get("/v1/model").json()
    assert found["classes"] == list(CLASSES) and found["modalities"] == "audio" and found["card"] == "# A card"
    assert found["limits"]["max_seconds"] == 300 and set(found["segments"]) >= {"none", "fixed"}


def test_what_is_counted() -> None:
    service = client()
    for data in (encoded(speech(2)), encoded(speech(3)), b"words"):
        post(service, data)
    said = service.get("/metrics")
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = set(said.text.splitlines())
    assert {'raysys_requests_total{status="200"} 2.0', 'raysys_requests_total{status="415"} 1.0'} <= lines
    assert {"raysys_audio_seconds_total 5.0", "raysys_request_seconds_count 3.0", "raysys_batch_size_sum 2.0"} <= lines


def test_unknown_routes_and_faults_are_json_too(audio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(audio.get("/nowhere"))[0] == 404
    assert refused(audio.get("/page/..%2fhttp.py"))[0] == 404
    assert refused(audio.get("/v1/predict"))[0] == 405
    assert audio.get("/docs").status_code == 404
    monkeypatch.setattr("raysys.serving.http.answer_to", lambda *_: 1 / 0)
    assert refused(post(audio, encoded(speech()))) == (500, "fault")


def test_openapi_names_the_fields_and_the_failures(audio: TestClient) -> None:
    api = audio.get("/openapi.json").json()
    predict = api["paths"]["/v1/predict"]["post"]
    form = predict["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {"audio", "transcript", "segments", "segment_s"}
    assert {"200", "401", "408", "413", "415", "422", "429", "503"} <= set(predict["responses"])
    assert "http" not in json.dumps(api["paths"])


def test_nothing_is_stored_and_nothing_from_other_hosts_loads(audio: TestClient) -> None:
    for answer in (audio.get("/"), post(audio, encoded(speech())), post(audio, b"words")):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["cache-control"] == "no-store"
