"""How hard the terms pull: a table of means over folds, and every epoch as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysys.report.export import gradients_csv
from raysys.report.gradients import Pull, pulls
from raysys.report.page import write_report
from raysys.results import FoldRow
from tests.report.run_folder import write_run


def fold(number: int, epoch: int) -> FoldRow:
    return FoldRow(fold=number, name=f"Session{number}", n_train=6, n_validation=3, n=3, epoch=epoch, wa=0.5, ua=0.5)


def epochs(*norms: dict[str, float]) -> list[dict[str, Any]]:
    return [{"epoch": i, "gradients": each} for i, each in enumerate(norms)]


HISTORIES = {
    1: epochs({"ce": 1.0, "scl": 5.0}, {"ce": 2.0, "scl": 1.0}),
    2: epochs({"ce": 3.0, "scl": 7.0}, {"ce": 9.0, "scl": 9.0}),
}


def test_norms_are_means_over_folds_at_the_first_and_at_the_chosen_epoch_by_hand() -> None:
    """Fold 1 uses its second epoch, fold 2 its first: cross-entropy 2 and 2.5, the other 6 and 4."""
    found = pulls([fold(1, 2), fold(2, 1)], HISTORIES)
    assert found == [
        Pull(term="ce", first=2.0, chosen=2.5, first_share=1.0, chosen_share=1.0),
        Pull(term="scl", first=6.0, chosen=4.0, first_share=3.0, chosen_share=pytest.approx(1.6)),
    ]


@pytest.mark.parametrize("histories", [{}, {1: [{"epoch": 0}, {"epoch": 1}]}, {1: epochs({}, {})}])
def test_runs_that_measured_nothing_have_no_table(histories: dict[int, Any]) -> None:
    assert pulls([fold(1, 2)], histories) == []
    assert gradients_csv(histories) is None


def test_a_gradient_of_zero_is_no_divisor() -> None:
    (first, _) = pulls([fold(1, 1)], {1: epochs({"ce": 0.0, "scl": 1.0})})
    assert first.first_share is None


def test_every_fold_and_epoch_is_a_row_and_a_term_that_is_off_is_empty() -> None:
    histories = {1: epochs({"ce": 1.0, "scl": 5.0}), 2: epochs({"ce": 3.0, "cpc": 7.0}, {})}
    assert gradients_csv(histories) == "fold,epoch,ce,scl,cpc\n1,1,1.0,5.0,\n2,1,3.0,,7.0\n"


def test_the_page_has_the_table_and_the_folder_the_csv(tmp_path: Path) -> None:
    """Folds use epoch 4: cross-entropy 5, SCL 7, 1.4 times it; at the first epoch 2 and 10."""
    run = write_run(tmp_path)
    write_report(run)
    page = run.read_bytes("report.html").decode()
    table = page.split("Gradient norms by term")[1].split("</table>")[0]
    row = table.split("supervised contrastive")[1].split("</tr>")[0]
    assert [cell.split("</td>")[0] for cell in row.split("<td>")[1:]] == ["10", "5.00", "7", "1.40"]
    assert run.read_bytes("gradients.csv").decode().splitlines()[1] == "1,1,2.0,10.0,0.5,1.25"
