"""Lines on how far a preparation has come: none for a quick one, few for a long one."""

from raysys.data.progress import Progress


def lines_of(seconds_per_piece: float, pieces: int, start_s: float = 0.0) -> list[str]:
    now = 0.0
    shown: list[str] = []
    progress = Progress("views", f"{pieces} views are made", pieces, clock=lambda: now, show=shown.append)
    now = start_s
    for _ in range(pieces):
        now += seconds_per_piece
        progress.add(1)
    return shown


def test_quick_work_says_nothing() -> None:
    assert lines_of(0.4, 12) == []


def test_long_work_says_what_it_does_how_far_it_is_and_how_long_it_takes() -> None:
    assert lines_of(5.0, 8) == [
        "views     8 views are made",
        "views     1 of 8",
        "views     4 of 8, about 0:20 left",
        "views     7 of 8, about 0:05 left",
    ]


def test_processes_that_start_slowly_do_not_make_the_rest_look_slow() -> None:
    assert lines_of(5.0, 8, start_s=60.0)[1:] == [
        "views     1 of 8",
        "views     4 of 8, about 0:20 left",
        "views     7 of 8, about 0:05 left",
    ]
