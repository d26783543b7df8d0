import dataclasses

from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.data.scarce import scarce_classes, scarce_notes

COUNTS = {"train": {"joy": 5, "fear": 6}, "validation": {"joy": 5}, "test": {"joy": 4, "fear": 5}}


def corpus() -> tuple[Manifest, Fold]:
    parts: dict[str, tuple[str, ...]] = {}
    utterances = []
    for part, counts in COUNTS.items():
        own = [(f"{part}-{emotion}-{i}", emotion) for emotion, n in counts.items() for i in range(n)]
        parts[part] = tuple(name for name, _ in own)
        utterances += [Utterance(utterance_id=n, audio_path="/a.wav", speaker=part, emotion=e) for n, e in own]
    return Manifest(corpus="table", classes=("fear", "joy"), utterances=tuple(utterances)), Fold(
        index=0, name="group-1", **parts
    )


def test_absent_classes_and_those_with_fewer_than_five_utterances_are_counted_for_every_part() -> None:
    manifest, fold = corpus()
    assert scarce_classes(manifest, fold) == {"validation": {"fear": 0}, "test": {"joy": 4}}


def test_parts_without_utterances_are_not_parts() -> None:
    manifest, fold = corpus()
    everything = dataclasses.replace(
        fold, train=tuple(u.utterance_id for u in manifest.utterances), validation=(), test=()
    )
    assert scarce_classes(manifest, everything) == {} and scarce_notes(manifest, [everything]) == ()


def test_the_notes_name_part_fold_and_class_and_stay_short() -> None:
    manifest, fold = corpus()
    absent, few = scarce_notes(manifest, [fold])
    assert absent.endswith(": validation of group-1 (fear)") and absent.startswith("no utterance of a class")
    assert few == "fewer than 5 utterances of a class: test of group-1 (joy 4)"
    many = [dataclasses.replace(fold, name=f"group-{i}") for i in range(1, 10)]
    assert scarce_notes(manifest, many)[1].endswith("test of group-6 (joy 4); and 3 more parts, see results.json")
