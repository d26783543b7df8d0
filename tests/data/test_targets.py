"""What the cross-entropy aims at: by hand."""

from __future__ import annotations

import pytest

from raysys.data.manifest import Manifest, Utterance
from raysys.data.targets import Targets, targets_of

TARGETS = Targets(labels={"a": 0, "b": 1, "c": 1}, n_classes=3, soft={"a": (0.5, 0.25, 0.25)})


def test_utterances_with_votes_count_in_parts() -> None:
    assert TARGETS.counts(["a", "b", "c"]) == [0.5, 2.25, 0.25]
    assert TARGETS.counts(["b", "c", "b"]) == [0.0, 3.0, 0.0]


def test_the_weight_of_an_utterance_is_the_mean_class_weight_under_its_votes() -> None:
    """So that their sum is what the weighted cross-entropy of a prediction 1/e of every class sums to."""
    assert TARGETS.weights(["a", "b"], (1.0, 2.0, 4.0)) == {"a": 0.5 + 0.5 + 1.0, "b": 2.0}


@pytest.mark.parametrize(("labels", "row"), [("hard", [0.0, 1.0]), ("votes", [0.75, 0.25])])
def test_votes_are_aimed_at_where_asked_and_labels_where_there_are_none(labels: str, row: list[float]) -> None:
    def utterance(name: str, emotion: str, votes: tuple[float, ...] | None = None) -> Utterance:
        return Utterance(utterance_id=name, audio_path="x.wav", speaker="S", emotion=emotion, votes=votes)

    utterances = (utterance("a", "joy", (0.75, 0.25)), utterance("b", "fear"))
    manifest = Manifest(corpus="table", classes=("fear", "joy"), utterances=utterances)
    assert targets_of(manifest, labels).of(["a", "b"]).tolist() == [row, [1.0, 0.0]]  # type: ignore[arg-type]
