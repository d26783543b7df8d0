from collections import Counter
from collections.abc import Mapping

import pytest

from raysys.data.dealing import deal

Counts = Mapping[str, Mapping[str, int]]


def groups_of(counts_of: Counts, k: int, sex_of: Mapping[str, str | None] | None = None) -> list[Counter[str]]:
    """Utterances of each class, by group."""
    dealt = deal(counts_of, sex_of or dict.fromkeys(counts_of), k)
    assert set(dealt) == set(counts_of) and set(dealt.values()) <= set(range(k))
    groups = [Counter[str]() for _ in range(k)]
    for speaker, group in dealt.items():
        groups[group].update(counts_of[speaker])
    return groups


def test_speakers_of_unequal_size_make_equal_groups() -> None:
    """Heads alone would be 5 groups of 2; their utterances 8 to 80."""
    counts_of = {f"s{i}": {"a": n, "b": n} for i, n in enumerate((40, 30, 20, 10, 10, 10, 20, 30, 20, 10))}
    assert groups_of(counts_of, 5) == [Counter(a=40, b=40)] * 5


def test_a_class_of_few_speakers_is_in_every_group_that_it_can_be_in() -> None:
    """In turn, the three speakers of class b would be in one group: every third."""
    counts_of = {f"s{i}": {"a": 10} | ({"b": 2} if i % 3 == 0 else {}) for i in range(9)}
    assert [group["b"] for group in groups_of(counts_of, 3)] == [2, 2, 2]
    assert sorted(group["b"] for group in groups_of(counts_of, 4)) == [0, 2, 2, 2]


def test_no_group_lacks_a_class_though_sizes_are_less_equal_then() -> None:
    """Equal sizes, {60} and {20 20 20}, would leave the first group without b."""
    counts_of = {"big": {"a": 60}, "s1": {"a": 10, "b": 10}, "s2": {"a": 10, "b": 10}, "s3": {"a": 20}}
    assert all(group["a"] and group["b"] for group in groups_of(counts_of, 2))


def test_a_corpus_of_a_few_big_and_many_small_speakers() -> None:
    """Most speak one class. Three speak class a, so that one of four groups lacks it; no group lacks another."""
    sizes = {
        "a": (30, 18, 25),
        "b": (3, 3, 5, 7, 20, 9, 3, 3, 6, 11),
        "c": (50, 3, 8, 5),
        "d": (35, 3, 3, 26, 5, 8),
    }
    counts_of = {f"{c}{i}": {c: n} for c, own in sizes.items() for i, n in enumerate(own)}
    groups = groups_of(counts_of, 4)
    assert sum(group[c] == 0 for group in groups for c in sizes) == 1
    totals = [group.total() for group in groups]
    assert sum(totals) == 289 and max(totals) - min(totals) <= 8


@pytest.mark.parametrize(("women", "men", "unknown", "k"), [(12, 12, 0, 5), (1, 6, 0, 3), (3, 4, 5, 4), (0, 0, 11, 5)])
def test_groups_of_equal_speakers_differ_by_at_most_one_in_all_and_of_each_sex(
    women: int, men: int, unknown: int, k: int
) -> None:
    sex_of: dict[str, str | None] = {f"w{i}": "F" for i in range(women)}
    sex_of |= {f"m{i}": "M" for i in range(men)} | {f"u{i}": None for i in range(unknown)}
    groups = deal({speaker: {"a": 4, "b": 4} for speaker in sex_of}, sex_of, k)
    for sex in ("F", "M", None):
        sizes = Counter(groups[s] for s in sex_of if sex_of[s] == sex)
        counts = [sizes[i] for i in range(k)]
        assert max(counts) - min(counts) <= 1
    sizes = Counter(groups.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1 and len(sizes) == k


def test_sex_decides_between_groups_that_are_equal_otherwise() -> None:
    """Pairs of equal size, a woman and a man in each: in order of size alone the women could be together."""
    counts_of = {f"{sex}{n}": {"a": n, "b": n} for n in (5, 10, 15) for sex in "FM"}
    groups = deal(counts_of, {speaker: speaker[0] for speaker in counts_of}, 3)
    assert sorted(sum(counts_of[s]["a"] for s in groups if groups[s] == g) for g in range(3)) == [20, 20, 20]
    assert all({s[0] for s in groups if groups[s] == g} == {"F", "M"} for g in range(3))


def test_the_order_of_the_classes_and_earlier_calls_change_nothing() -> None:
    counts_of = {f"s{i}": {"a": i % 7 + 1, "b": i * i % 11} for i in range(40)}
    backwards = {s: dict(reversed(counts.items())) for s, counts in counts_of.items()}
    sex_of = dict.fromkeys(counts_of)
    assert deal(counts_of, sex_of, 6) == deal(backwards, sex_of, 6) == deal(counts_of, sex_of, 6)


def test_many_speakers_are_dealt_within_seconds() -> None:
    counts_of = {f"s{i}": {"a": i % 7 + 1, "b": i % 11} for i in range(2000)}
    totals = [group.total() for group in groups_of(counts_of, 10)]
    assert max(totals) - min(totals) <= 10
