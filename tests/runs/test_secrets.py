"""A job's first check: no secret is stored or printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raysys.cli import parse
from raysys.config import ExperimentConfig
from raysys.errors import StorageError
from raysys.runs.inputs import prepare
from raysys.runs.points import Point
from raysys.runs.run import check


def crossval(config: ExperimentConfig) -> None:
    check(config, [Point(name="", config=config)], "crossval")


@pytest.mark.parametrize("job", [crossval, prepare])
@pytest.mark.parametrize("flag", ["--run.root", "--run.cache", "--corpus.root"])
@pytest.mark.parametrize("hidden", ["AKIA:hidden@bucket/x", "AKIA:hid/den+hidden@bucket/x", "bucket/x?sig=hidden"])
def test_a_secret_in_a_location_is_refused_before_anything_is_read_or_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: Callable[[ExperimentConfig], object],
    flag: str,
    hidden: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"--run.root": "runs", "--run.cache": "cache", "--corpus.root": "corpus.csv"} | {flag: f"s3://{hidden}"}
    config = parse(["--corpus.name", "table", *(word for pair in flags.items() for word in pair)]).config
    with pytest.raises(StorageError, match=r"^s3://.*bucket/x: .* the environment") as error:
        job(config)
    assert "hid" not in str(error.value) + "".join(capsys.readouterr())
    assert not list(tmp_path.iterdir())
