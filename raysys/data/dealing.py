"""Deal speakers to groups that are as equal as they can be: in classes, in utterances, and in sex."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np

_KICKS = 60
"""Attempts to leave a local optimum; fewer for more than sixty speakers, whose steps take longer and matter less."""
_MOST_SWAPPED = 120
"""More speakers than that are moved but not swapped: many small pieces can be dealt evenly without."""
_WHOLE = 4
"""Weight of all utterances, against all classes together: less, and groups differ visibly in size; more, in classes."""
_RESOLUTION = 1000
"""Of the weights: they are integers, so that every machine finds the same groups."""


def deal(counts_of: Mapping[str, Mapping[str, int]], sex_of: Mapping[str, str | None], n_groups: int) -> dict[str, int]:
    """Group, from 0, by speaker.

    Minimises, in this order: groups without a class, counted for each class; the squared deviations of the groups from
    an equal share, relative to it, in each class and in all utterances (`_WHOLE`); the same of women and of men. To
    find the very best is NP-hard, as it solves the partition problem; this is a local search by moves and swaps.

    It starts from the speakers of each sex dealt in turn, in the order given, and leaves that only for a better one:
    equal speakers, such as RAVDESS's actors, stay as they are dealt.

    Args:
        counts_of: utterances of each class, by speaker.
        sex_of: 'F', 'M' or None, by speaker.
        n_groups: at most the number of speakers.
    """
    search = _Search(counts_of, sex_of, n_groups)
    best_S = search.improved(_in_turn([sex_of[speaker] for speaker in counts_of], n_groups))
    generator = random.Random(0)
    for start in range(max(1, _KICKS * 60**2 // max(60, len(counts_of)) ** 2)):
        start_S = search.greedy() if start == 0 else search.kicked(best_S, generator)
        found_S = search.improved(start_S)
        if search.cost(found_S) < search.cost(best_S):
            best_S = found_S
    return dict(zip(counts_of, best_S.tolist(), strict=True))


def _in_turn(sexes: list[str | None], n_groups: int) -> np.ndarray:
    """Each sex starts where the previous one ended: sizes differ by at most one, and so do the numbers of each sex."""
    order = [i for sex in ("F", "M", None) for i, its in enumerate(sexes) if its == sex]
    group_S = np.empty(len(sexes), dtype=np.int64)
    group_S[order] = np.arange(len(sexes)) % n_groups
    return group_S


class _Search:
    """Compares dealings, each an array with the group of each of S speakers. K groups, C classes.

    `levels` are what is summed over a group's speakers, and the weights of the squared sums: since the sums over all
    groups are given, a sum of squares differs from that of the deviations by a constant.
    """

    def __init__(
        self, counts_of: Mapping[str, Mapping[str, int]], sex_of: Mapping[str, str | None], n_groups: int
    ) -> None:
        self.n_groups = n_groups
        classes = sorted({name for counts in counts_of.values() for name in counts})
        self.classes_SC = np.array([[counts.get(name, 0) for name in classes] for counts in counts_of.values()])
        utterances_S1 = self.classes_SC.sum(axis=1, keepdims=True)
        n = int(utterances_S1.sum())
        relative = [_RESOLUTION * n**2 // max(int(of_class), 1) ** 2 for of_class in self.classes_SC.sum(axis=0)]
        sexes_S2 = np.array([[int(sex_of[speaker] == sex) for sex in "FM"] for speaker in counts_of])
        self.levels = [
            (np.hstack([utterances_S1, self.classes_SC]), np.array([_WHOLE * _RESOLUTION * len(classes), *relative])),
            (sexes_S2, np.ones(2, dtype=np.int64)),
        ]

    def cost(self, group_S: np.ndarray) -> tuple[int, ...]:
        """Less is better, the first number first."""
        absent = int((self._sums(self.classes_SC, group_S) == 0).sum())
        return absent, *(int((self._sums(values, group_S) ** 2 @ weights).sum()) for values, weights in self.levels)

    def greedy(self) -> np.ndarray:
        """The largest speaker first, each to the group that most lacks what it brings."""
        shares_SF, weights_F = self.levels[0]
        sums_KF = np.zeros((self.n_groups, shares_SF.shape[1]), dtype=np.int64)
        group_S = np.zeros(len(shares_SF), dtype=np.int64)
        for i in np.argsort(-(shares_SF**2 @ weights_F), kind="stable"):
            group_S[i] = np.argmin((sums_KF * shares_SF[i]) @ weights_F)
            sums_KF[group_S[i]] += shares_SF[i]
        return group_S

    def kicked(self, group_S: np.ndarray, generator: random.Random) -> np.ndarray:
        """The same, but for three speakers in groups drawn at random."""
        kicked_S = group_S.copy()
        for i in generator.sample(range(len(group_S)), min(3, len(group_S))):
            kicked_S[i] = generator.randrange(self.n_groups)
        return kicked_S

    def improved(self, group_S: np.ndarray) -> np.ndarray:
        """With the best move or swap made, again and again, until none is left that improves."""
        while True:
            speaker, target, partner = self._best_step(group_S)
            changed_S = group_S.copy()
            changed_S[speaker] = target
            if partner is not None:
                changed_S[partner] = group_S[speaker]
            if self.cost(changed_S) >= self.cost(group_S):
                return group_S
            group_S = changed_S

    def _best_step(self, group_S: np.ndarray) -> tuple[int, int, int | None]:
        """A speaker, its new group, and the speaker that takes its place there, if any."""
        swapped = len(group_S) <= _MOST_SWAPPED
        # P partners of a step: nobody of each group, then each speaker.
        target_P = np.concatenate([np.arange(self.n_groups), group_S if swapped else group_S[:0]])
        changes = self._changes(group_S, target_P)
        allowed = np.flatnonzero((group_S[:, None] != target_P).ravel())
        for change_SP in changes:
            values = change_SP.ravel()[allowed]
            allowed = allowed[values == values.min()]
        speaker, step = divmod(int(allowed[0]), len(target_P))
        return speaker, int(target_P[step]), step - self.n_groups if step >= self.n_groups else None

    def _changes(self, group_S: np.ndarray, target_P: np.ndarray) -> list[np.ndarray]:
        """What each step adds to each part of the cost, S x P."""
        shape = (len(group_S), len(target_P))
        absent_SP = np.zeros(shape, dtype=np.int64)
        found = [absent_SP]
        for level, (values_SF, weights_F) in enumerate(self.levels):
            sums_KF = self._sums(values_SF, group_S)
            added_SP = np.zeros(shape, dtype=np.int64)
            for f, weight in enumerate(weights_F):
                values_S, sums_K = values_SF[:, f], sums_KF[:, f]
                back_P = np.zeros(len(target_P), dtype=np.int64)
                back_P[self.n_groups :] = values_S[: len(target_P) - self.n_groups]
                moved_SP = values_S[:, None] - back_P
                source_S1, target_1P = sums_K[group_S][:, None], sums_K[target_P]
                added_SP += weight * 2 * moved_SP * (moved_SP + target_1P - source_S1)
                if level == 0 and f > 0:
                    absent_SP += (source_S1 == moved_SP).astype(np.int64) - (source_S1 == 0)
                    absent_SP += (target_1P == -moved_SP).astype(np.int64) - (target_1P == 0)
            found.append(added_SP)
        return found

    def _sums(self, values_SF: np.ndarray, group_S: np.ndarray) -> np.ndarray:
        sums_KF = np.zeros((self.n_groups, values_SF.shape[1]), dtype=np.int64)
        np.add.at(sums_KF, group_S, values_SF)
        return sums_KF
