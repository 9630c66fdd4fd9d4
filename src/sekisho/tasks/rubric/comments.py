"""Words for an outcome: templates drawn without replacement, the name put in, never longer than the budget."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import InputError
from ...core.gate_prompt import Lang
from .pack import Pack
from .patterns import drawn


class Deck:
    """Draws comments. Within one deck no template comes twice before all that fit have come.

    Args:
        seed: the image's digest, or that of a batch; the same seed draws the same comments in the same order.
    """

    def __init__(self, pack: Pack, seed: str) -> None:
        self._pack = pack
        self._templates = {p.id: p.templates for p in pack.patterns}
        self._seed = seed
        self._spent: dict[tuple[str, Lang], set[str]] = {}

    def draw(
        self, pattern: str, lang: Lang, count: int = 1, name: str | None = None, most: int | None = None
    ) -> tuple[str, ...]:
        """Draw comments on a pattern.

        Args:
            count: how many; never the same one twice in a call.
            name: put where a template says `{name}`; without one only templates that need none are drawn.
            most: characters of a comment, the name included; the pack's own limit by default and at most.

        Raises:
            InputError: for a name or pattern the pack cannot use, or when fewer than `count` templates fit.
        """
        fitting = self._fitting(pattern, lang, name, most)
        if not 1 <= count <= len(fitting):
            what = f"{len(fitting)} templates of {pattern} fit, and {count} comments were asked for."
            raise InputError(what, "Ask for fewer, for longer ones, or with a shorter name.")
        spent = self._spent.setdefault((pattern, lang), set())
        chosen: list[str] = []
        for number in range(count):
            chosen.append(self._next(fitting, spent, chosen, f"{self._seed}\n{pattern}\n{lang}\n{number}"))
        return tuple(text.replace("{name}", name or "") for text in chosen)

    def least(self, lang: Lang, name: str | None = None, most: int | None = None) -> int:
        """How many comments can be drawn whatever the outcome is. Raises InputError for a name the pack cannot use."""
        return min(len(self._fitting(pattern, lang, name, most)) for pattern in self._templates)

    def _fitting(self, pattern: str, lang: Lang, name: str | None, most: int | None) -> list[str]:
        """Templates that can be used, in the pack's order."""
        if pattern not in self._templates:
            raise InputError(
                f"The pack {self._pack.name} has no pattern {pattern!r}.",
                f"It has {', '.join(self._templates)}.",
            )
        name = None if name is None else self._checked(name)
        limit = min(most or self._pack.limits.comment.of(lang), self._pack.limits.comment.of(lang))
        wanted = [t for t in self._templates[pattern].of(lang) if ("{name}" in t) == (name is not None)]
        return [t for t in wanted if len(t.replace("{name}", name or "")) <= limit]

    def _checked(self, name: str) -> str:
        if not name.strip() or not name.isprintable() or len(name) > self._pack.limits.name:
            what = f"A name must be 1 to {self._pack.limits.name} printable characters."
            raise InputError(what, "Shorten it, or leave it out.")
        return name

    def _next(self, fitting: Sequence[str], spent: set[str], chosen: Sequence[str], seed: str) -> str:
        left = [t for t in fitting if t not in spent]
        if not left:
            spent.difference_update(fitting)
            left = [t for t in fitting if t not in chosen]
        text = drawn(left, seed)
        spent.add(text)
        return text
