"""What is printed of the pace, worked out by hand."""

from __future__ import annotations

from raysys.prediction.output import Summary
from raysys.prediction.progress import Progress


def test_lines_by_hand() -> None:
    now, lines = [0.0], list[str]()
    progress = Progress(1000, 100, now=lambda: now[0], show=lines.append)

    def add(at: float, files: int, seconds: float) -> None:
        now[0] = at
        progress.add(files, seconds)

    add(20.0, 48, 180.0)
    add(25.0, 48, 180.0)
    add(30.0, 0, 540.0)  # half of a long recording
    add(40.0, 52, 1080.0)
    assert lines == [
        "[0:20] 148/1000 files  0.05 h of audio",
        "[0:30] 196/1000 files  0.25 h of audio  4.8 files/s  72 h per hour  about 2:48 left",
        "[0:40] 248/1000 files  0.55 h of audio  5.0 files/s  90 h per hour  about 2:30 left",
    ]
    now[0] = 50.0
    lines.clear()
    failures = {"is empty": (1, "a: is empty"), "lasts # s": (3, "b: lasts 99 s")}
    progress.end(Summary(rows=1000, failed=4, failures=failures), "out.csv")
    assert lines == [
        "files     1000, rows 1000, of which 4 have no prediction",
        "  3 such as b: lasts 99 s",
        "  1 such as a: is empty",
        "time      50.0 s (148 of the files), 3.0 files/s, 40 h of audio per hour\nwritten   out.csv",
    ]


def test_of_one_long_recording_the_audio_is_told() -> None:
    now, lines = [0.0], list[str]()
    progress = Progress(1, 0, now=lambda: now[0], show=lines.append)
    for at in (5.0, 15.0, 25.0):
        now[0] = at
        progress.add(0, 240.0)
    assert lines[-1] == "[0:25] 0/1 files  0.20 h of audio  24 h per hour"
