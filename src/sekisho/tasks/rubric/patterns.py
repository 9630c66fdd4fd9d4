"""The deterministic scorer, V2.3: answers in, a pattern out. The same answers and the same image always give the same pattern.

Every criterion at 1 adds one to each pattern it is linked to, and its weight to its own sub-attribute of those patterns. The highest count wins; among
equals the pattern with more weight in the sub-attribute it puts first, then second, and so on. What is still equal is a residual tie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Literal, get_args

from ...core.errors import InputError
from ...core.question import Frozen
from .pack import Pack
from .tables import standings

State = Literal["scored", "all_zero", "all_one", "low_coverage"]
Rule = Literal["seed", "order", "chosen"]
RESERVED = frozenset((*get_args(State), *(f"tie_{rule}" for rule in get_args(Rule))))
"""Words that stand in a judgement's reasons beside the criteria that fired; no criterion may be called so."""
Chooser = Callable[[Sequence[str]], str]
"""Ends a residual tie: gets the tied patterns in the pack's order, returns one of them."""

_DIGITS = bytes.maketrans(b"\0\1", b"01")


class TieBreak(Frozen):
    """How a residual tie was ended: `seed` with the seed, `order`, or `chosen` by whom the caller asked."""

    rule: Rule
    seed: str | None = None


class Score(Frozen):
    """What the answers amount to.

    Attributes:
        pattern: the outcome; None when nothing speaks for any, or when nobody ended a residual tie.
        state: `all_zero` and `all_one` are what a blind model answers; `low_coverage`: fewer criteria than the pack wants.
        pattern_scores: count by pattern.
        sub_scores: of the patterns with the highest count, the weights by sub-attribute, in the pattern's order.
        residual_tie: patterns that count and sub-attributes cannot tell apart; empty when there is one leader.
        tie_break: how that was ended; None when it was not, or did not have to be.
        fired: criteria at 1.
        because: those of them that speak for the outcome, heaviest first.
    """

    pattern: str | None
    state: State
    pattern_scores: Mapping[str, int]
    sub_scores: Mapping[str, Mapping[str, int]]
    residual_tie: tuple[str, ...] = ()
    tie_break: TieBreak | None = None
    fired: tuple[str, ...]
    because: tuple[str, ...] = ()


def drawn(tied: Sequence[str], seed: str) -> str:
    """One of `tied`, the same one for the same seed, whatever the machine."""
    mixed = hashlib.sha256("\n".join((seed, *tied)).encode()).digest()
    return tied[int.from_bytes(mixed, "big") % len(tied)]


class Scorer:
    """Scores answers with one pack, which must be sound (`lint.read_pack`). Takes some milliseconds to make; keep it."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.standing = standings(pack)
        """How the patterns stand for packed answers: `tables.Standing`."""
        self._ids = pack.ids
        self._names = tuple(p.id for p in pack.patterns)
        self._rows = itemgetter(*reversed(self._ids)) if len(self._ids) > 1 else _first(self._ids[0])
        self._flags = tuple((c, 1 << i) for i, c in enumerate(self._ids))
        self._links = {p: _links(pack, p) for p in self._names}

    def bits(self, answers: Mapping[str, int]) -> int:
        """Pack answers into one number: criterion i of the pack is bit i.

        Raises:
            InputError: naming every missing and unknown criterion and every value that is not the number 0 or 1.
        """
        try:
            row = self._rows(answers)
            if len(answers) == len(self._ids) and set(map(type, row)) == {int}:
                return int(bytes(row).translate(_DIGITS), 2)
        except (KeyError, ValueError):
            pass
        raise _refused(answers, self._ids)

    def bits_of(self, probabilities: Mapping[str, float]) -> int:
        """Pack probabilities of yes: 1 from a criterion's threshold on. Nothing is made up for a missing one.

        Raises:
            InputError: naming every missing and unknown criterion and every value outside 0 to 1.
        """
        wrong = [i for i, p in probabilities.items() if isinstance(p, bool) or not 0 <= p <= 1]
        if wrong or probabilities.keys() != set(self._ids):
            raise _refused(probabilities, self._ids, "a probability", wrong)
        return sum((probabilities[c.id] >= c.threshold) << i for i, c in enumerate(self.pack.criteria))

    def state(self, bits: int) -> State:
        """Whether the answers can carry an outcome."""
        if bits in (0, (1 << len(self._ids)) - 1):
            return "all_one" if bits else "all_zero"
        return "low_coverage" if bits.bit_count() < self.pack.limits.least_fired else "scored"

    def score(self, bits: int, seed: str | None = None, choose: Chooser | None = None) -> Score:
        """Score packed answers.

        Args:
            seed: digest of the image; ends a residual tie when the pack says `seed`. Without one the tie stays open.
            choose: ends a residual tie instead, for example by a second look at the image.
        """
        (counts, leaders), state = self.standing(bits), self.state(bits)
        tied = tuple([self._names[i] for i in leaders]) if len(leaders) > 1 else ()
        # Where nothing fired nothing speaks for any outcome, not even for the only one of a pack: a name would be the whole judgement.
        pattern = None if tied or not bits else self._names[leaders[0]]
        broken: TieBreak | None = None
        if tied and bits:
            pattern, broken = self._end(tied, seed, choose)
        # Every value is made here, so none is checked again.
        return Score.model_construct(
            pattern=pattern,
            state=state,
            pattern_scores=dict(zip(self._names, counts, strict=True)),
            sub_scores=self._sub_scores(bits, counts),
            residual_tie=tied,
            tie_break=broken,
            fired=tuple([id for id, flag in self._flags if bits & flag]),
            because=tuple([id for id, flag, _, _ in self._links[pattern] if bits & flag]) if pattern else (),
        )

    def _end(
        self, tied: tuple[str, ...], seed: str | None, choose: Chooser | None
    ) -> tuple[str | None, TieBreak | None]:
        if choose is not None:
            chosen = choose(tied)
            if chosen not in tied:
                raise InputError(
                    f"{chosen!r} is none of the tied patterns.", f"Choose one of {', '.join(tied)}."
                )
            return chosen, TieBreak(rule="chosen")
        if self.pack.limits.tie == "order":
            return tied[0], TieBreak(rule="order")
        return (None, None) if seed is None else (drawn(tied, seed), TieBreak(rule="seed", seed=seed))

    def _sub_scores(self, bits: int, counts: bytes) -> dict[str, dict[str, int]]:
        """Weights by sub-attribute of the patterns with the highest count."""
        highest, found = max(counts), {}
        for pattern, count in zip(self.pack.patterns, counts, strict=True):
            if count == highest:
                sums = found[pattern.id] = dict.fromkeys(pattern.sub_order, 0)
                for _, flag, sub, weight in self._links[pattern.id]:
                    if bits & flag:
                        sums[sub] += weight
        return found


def _links(pack: Pack, pattern: str) -> tuple[tuple[str, int, str, int], ...]:
    """Criteria that speak for a pattern, heaviest first: id, bit, sub-attribute, weight."""
    found = [
        (c.id, 1 << i, c.sub_attribute, c.weight)
        for i, c in enumerate(pack.criteria)
        if pattern in c.patterns
    ]
    return tuple(sorted(found, key=lambda link: -link[3]))


def _first(only: str) -> Callable[[Mapping[str, int]], tuple[int]]:
    """What itemgetter does for several keys, for one."""
    return lambda answers: (answers[only],)


def _refused(
    given: Mapping[str, float],
    ids: Sequence[str],
    kind: str = "the number 0 or 1",
    wrong: Sequence[str] | None = None,
) -> InputError:
    """Everything that is wrong with a set of answers, in one error."""
    known = set(ids)
    if wrong is None:
        wrong = [i for i, v in given.items() if i in known and (type(v) is not int or v not in (0, 1))]
    told = [f"missing: {', '.join(i for i in ids if i not in given)}"] if known - given.keys() else []
    told += [f"unknown: {', '.join(i for i in given if i not in known)}"] if given.keys() - known else []
    told += [f"not {kind}: {', '.join(wrong)}"] if wrong else []
    return InputError(
        f"The answers are not complete and valid ({'; '.join(told)}).", "Give every criterion once."
    )
