"""Rubrics without a model: packs linted, answers scored and watched. Pure arithmetic on files; nothing is asked of anybody."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import digest_json
from ..core.errors import DataError, InputError, MalformedError, NotFoundError
from ..core.gate_prompt import Lang
from ..core.policyfile import Bilingual
from ..core.question import Frozen
from ..tasks.rubric.census import Census, census
from ..tasks.rubric.comments import Deck
from ..tasks.rubric.files import names
from ..tasks.rubric.lint import Finding, lint, read_pack
from ..tasks.rubric.monitor import Alarm, Bias, alarms, measure
from ..tasks.rubric.pack import Pack, load_pack
from ..tasks.rubric.patterns import Score, Scorer

LONGEST = 64 << 20
"""Bytes of an answers file; far above any batch, and far below what would fill the memory."""


class Linted(Frozen):
    """What the linter says of one pack; `census` is None when errors keep it from being used."""

    pack: str
    version: str
    digest: str
    criteria: int
    patterns: int
    findings: tuple[Finding, ...]
    census: Census | None

    @property
    def sound(self) -> bool:
        """Whether the pack can be used."""
        return self.census is not None


class Scored(Score):
    """A score in words: the outcome's title and what to do next, and comments where they were asked for."""

    title: Bilingual | None = None
    next: Bilingual | None = None
    comments: tuple[str, ...] = ()


class Watched(Frozen):
    """What a run of answers looks like from afar, and what is alarming about it."""

    bias: Bias
    alarms: tuple[Alarm, ...]


class Wording(Frozen):
    """Which comments are wanted.

    Attributes:
        count: comments an image; none by default.
        most: characters of a comment, the name included; the pack's limit when None.
    """

    count: int = 0
    lang: Lang = "en"
    name: str | None = None
    most: int | None = None


def shown(share: Path) -> list[dict[str, Any]]:
    """The packs that have a name, in short: that name, version, title, number of criteria, names of the outcomes."""
    return [
        {
            "name": name,
            "version": p.version,
            "title": p.title.model_dump(),
            "criteria": len(p.criteria),
            "patterns": {one.id: one.title.model_dump() for one in p.patterns},
        }
        for name, p in ((n, load_pack(n, share)) for n in names(share))
    ]


def require_named(name: str, share: Path) -> None:
    """Raise NotFoundError for what is no pack's name, in words for those who cannot give a path."""
    known = names(share)
    if name not in known:
        raise NotFoundError(
            f"There is no rubric pack {name!r}.",
            f"Name one of: {', '.join(known)}. A pack of your own belongs into policies/rubrics under the server's `share`.",
        )


def lint_packs(name: str | None, share: Path) -> list[Linted]:
    """Lint one pack, by path or by name, or every pack that has a name. Raises DataError for a file that is no pack."""
    return [_linted(load_pack(n, share)) for n in ([name] if name else names(share))]


def _linted(pack: Pack) -> Linted:
    found = lint(pack)
    sound = all(f.level != "error" for f in found)
    return Linted(
        pack=pack.name,
        version=pack.version,
        digest=pack.digest(),
        criteria=len(pack.criteria),
        patterns=len(pack.patterns),
        findings=found,
        census=census(Scorer(pack)) if sound else None,
    )


def score(
    name: str, share: Path, answers: Sequence[Mapping[str, Any]], seed: str | None, wording: Wording
) -> list[Scored]:
    """Score answers with a pack.

    Args:
        seed: ends residual ties; the image's digest. Without one they stay open.

    Raises:
        InputError: naming the first set of answers that is not complete and valid; nothing is scored then.
        DataError: for a pack that is missing or does not hold together.
    """
    pack = read_pack(name, share)
    scorer = Scorer(pack)
    packed = _packed(scorer, answers)
    # Only answers that were found valid have a digest: a number such as NaN, or a key of half a character, has none.
    deck = Deck(pack, seed or digest_json(list(answers)))
    return [_scored(pack, scorer.score(bits, seed), deck, wording) for bits in packed]


def _packed(scorer: Scorer, answers: Sequence[Mapping[str, Any]]) -> list[int]:
    packed = []
    for number, one in enumerate(answers, start=1):
        try:
            packed.append(scorer.bits(one))
        except InputError as e:
            raise InputError(f"Image {number}: {e.what}", e.do) from e
    return packed


def require_words(pack: Pack, wording: Wording) -> None:
    """Raise InputError when some outcome of the pack has too few comments for what is wanted: better now than after a look that then stands nowhere."""
    least = Deck(pack, "").least(wording.lang, wording.name, wording.most) if wording.count else 0
    if wording.count > least:
        named = "with a name" if wording.name else "without a name"
        raise InputError(
            f"The pack {pack.name} has at most {least} comments for every outcome in {wording.lang}, {named}; {wording.count} were asked for.",
            f"Ask for 0 to {least}.",
            ("body", "comments"),
        )


def worded(pack: Pack, found: Score, seed: str, wording: Wording) -> Scored:
    """A score with its words; comments are drawn by the seed."""
    return _scored(pack, found, Deck(pack, seed), wording)


def _scored(pack: Pack, found: Score, deck: Deck, wording: Wording) -> Scored:
    pattern = next((p for p in pack.patterns if p.id == found.pattern), None)
    if pattern is None:
        return Scored(**dict(found))
    drawn = (
        deck.draw(pattern.id, wording.lang, wording.count, wording.name, wording.most)
        if wording.count
        else ()
    )
    return Scored(**dict(found), title=pattern.title, next=pattern.next, comments=drawn)


def watch(name: str, share: Path, answers: Sequence[Mapping[str, Any]]) -> Watched:
    """Look for signs of a model that stopped looking, over many images' answers. Raises as `score` does."""
    pack = read_pack(name, share)
    scorer = Scorer(pack)
    packed = _packed(scorer, answers)
    bias = measure(packed, [scorer.score(bits).pattern for bits in packed], pack.ids, len(pack.patterns))
    return Watched(bias=bias, alarms=alarms(bias))


ANSWERS = "one {id: 0 or 1} object an image"


def read_answers(file: Path, form: str = ANSWERS) -> list[Mapping[str, Any]]:
    """Read answers: one JSON object, a JSON array of objects, or one object a line. `-` is standard input.

    Args:
        form: what the objects ought to be, in words, for whoever gives something else.

    Raises:
        DataError: for a file that is missing or too large.
        MalformedError: naming the line that is no JSON object.
    """
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
            data = stream.read(LONGEST + 1)
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.", "Give a JSON or JSON-lines file.") from e
    if len(data) > LONGEST:
        raise DataError(f"{file} is larger than {LONGEST >> 20} MiB.", "Split it.")
    try:
        return _objects(data.decode("utf-8-sig"), form)
    except UnicodeDecodeError as e:
        raise MalformedError(f"{file} is not UTF-8 (byte {e.start}).", "Give it in UTF-8.") from e


def _objects(text: str, form: str) -> list[Mapping[str, Any]]:
    whole = _parsed(text)
    if isinstance(whole, list):
        found = whole
    elif isinstance(whole, dict):
        found = [whole]
    else:
        found = [_parsed(line) for line in text.split("\n") if line.strip()]
    for number, one in enumerate(found, start=1):
        if not isinstance(one, dict):
            raise MalformedError(f"Number {number} is no JSON object.", f"Give {form}.")
    if not found:
        raise InputError("There is nothing in it.", f"Give {form}.")
    return found


def _parsed(text: str) -> Any:
    """The JSON value, or None when it is none. A key that stands twice is refused: which one counts is anybody's guess."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):  # also a number of more digits than Python reads
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = sorted({k for k, _ in pairs if sum(k == other for other, _ in pairs) > 1})
        raise MalformedError(f"{', '.join(twice)} stands twice in one object.", "Give every criterion once.")
    return found
