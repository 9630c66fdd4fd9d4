"""A rubric pack: criteria, patterns, limits. Both languages, every key checked.

Whether a well-formed pack also makes sense is asked in `lint`; `lint.read_pack` reads one that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from ...core.errors import DataError
from ...core.gate_prompt import Lang
from ...core.policyfile import Bilingual
from ...core.question import Frozen
from ..policy import document_digest
from .files import find, read

MAX_CRITERIA = 64
"""Most criteria of a pack: one System One request asks up to 64 `noul` questions."""
MAX_PATTERNS = 32
MAX_SUBS = 4
MAX_WEIGHT = 100

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class Criterion(Frozen):
    """One yes/no question about an image.

    Attributes:
        question: what is asked, in both languages; yes counts for the patterns.
        patterns: patterns that a yes speaks for.
        sub_attribute: the sub-attribute of those patterns that `weight` is added to.
        threshold: calibrated probability of yes from which on the criterion counts as 1.
    """

    id: Id
    question: Bilingual
    patterns: tuple[Id, ...]
    sub_attribute: Id
    weight: int = Field(strict=True, ge=1, le=MAX_WEIGHT)
    threshold: float = Field(default=0.5, gt=0, lt=1, strict=True)


class Templates(Frozen):
    """Sentences a comment is drawn from. `{name}` stands for the name of whoever the image belongs to."""

    ja: tuple[Text, ...]
    en: tuple[Text, ...]

    def of(self, lang: Lang) -> tuple[str, ...]:
        """The templates in `lang`."""
        return self.ja if lang == "ja" else self.en


class Pattern(Frozen):
    """One outcome.

    Attributes:
        trigger: what the image shows when this is the outcome.
        next: what a person does then; packs that only comment have none.
        sub_order: every sub-attribute, the one that decides a tie first in front.
    """

    id: Id
    title: Bilingual
    trigger: Bilingual
    next: Bilingual | None = None
    sub_order: tuple[Id, ...]
    templates: Templates


class Lengths(Frozen):
    """Most characters of a comment, the name included."""

    ja: int = Field(strict=True, ge=1, le=2000)
    en: int = Field(strict=True, ge=1, le=2000)

    def of(self, lang: Lang) -> int:
        """The length in `lang`."""
        return self.ja if lang == "ja" else self.en


class Limits(Frozen):
    """Bounds of a pack.

    Attributes:
        tie: how a tie that sub-attributes leave is ended: drawn, seeded by the image's digest (`seed`), or the pattern
            that stands first in the pack (`order`).
        least_fired: with fewer criteria at 1 than this the state is `low_coverage`.
        name: most characters of a name.
        comment: most characters of a comment, the name included.
    """

    tie: Literal["seed", "order"]
    least_fired: int = Field(strict=True, ge=1, le=MAX_CRITERIA)
    name: int = Field(strict=True, ge=1, le=200)
    comment: Lengths


class Pack(Frozen):
    """A whole rubric.

    Attributes:
        version: as text: packs keep the version their scorer's rules were published under.
        sub_attributes: by id, with their names.
        criteria: in the order of the answers' bits.
    """

    name: Id
    version: Text
    title: Bilingual
    sub_attributes: Mapping[Id, Bilingual] = Field(min_length=1, max_length=MAX_SUBS)
    limits: Limits
    criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=MAX_CRITERIA)
    patterns: tuple[Pattern, ...] = Field(min_length=1, max_length=MAX_PATTERNS)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the criteria, in order."""
        return tuple(c.id for c in self.criteria)

    def digest(self) -> str:
        """Digest of everything in the pack."""
        return document_digest(self.model_dump(mode="json"))


def load_pack(name: str, share: Path) -> Pack:
    """Read a pack given by path or by name. It has the right form; it need not make sense.

    Raises:
        DataError: naming every wrong key.
        NotFoundError: naming the packs there are.
    """
    path = find(name, share)
    return parse_pack(read(path), str(path))


def parse_pack(document: Mapping[str, Any], where: str) -> Pack:
    """Read a document as a pack. Raises DataError naming every wrong key."""
    try:
        return Pack.model_validate(document)
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise DataError(f"{where} is no rubric pack: {wrong}.", "See docs/rubrics.md for the form.") from e
