"""What a model's chat template writes around the texts of a conversation, found by rendering it, and the same in Go's template language.

Ollama reads no Jinja: it knows the commonest templates by their wording, and gives a model with any other one the bare text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

Said = Sequence[tuple[str, str]]
Render = Callable[[Said], str | None]
Place = Literal["front", "first", "last"]
_SYSTEM, _USER, _ANSWER, _AGAIN = (
    f"sekisho\n'{word}\" <&\\>" + word for word in ("rules", "asks", "hears", "again")
)
"""With what a template that writes texts as data would write otherwise."""
_ONE: Said = (("user", _USER),)
_TWO: Said = (*_ONE, ("assistant", _ANSWER), ("user", _AGAIN))
_LONG: Said = (*_TWO, ("assistant", _USER + _ANSWER), ("user", _AGAIN + _USER))
_TALKS = (_ONE, _TWO, _LONG)
_RULED: Said = (("system", _SYSTEM),)
_LAST = "eq (len (slice $.Messages $i)) 1"


class Turns(NamedTuple):
    """Texts of a template.

    Attributes:
        begin: before everything, where there is no system text.
        open: before a user's text.
        answer: between it and an answer that is there.
        ask: behind the last user's text, where the model is to answer.
        close: behind an answer.
        place: where the system text stands: in front of all turns, or in the first or the last user's turn, before the text.
        before, after: around the system text, in the place of `begin`, or of that turn's `open`.
    """

    begin: str
    open: str
    answer: str
    ask: str
    close: str
    place: Place
    before: str
    after: str

    def text(self, said: Said) -> str:
        """A conversation, as `go` writes it. An answer to nothing is left out, as where Ollama drops the oldest of a long conversation: it has no place in any form."""
        rules = next((t for role, t in said if role == "system"), "")
        turns = [turn for turn in said if turn[0] != "system"]
        while turns and turns[0][0] != "user":
            turns = turns[1:]
        ruled = {"front": -1, "first": 0, "last": len(turns) - 1}[self.place] if rules else None
        found = self._ruled(rules) if ruled == -1 else self.begin
        for i, (role, text) in enumerate(turns):
            if role == "user":
                found += self._ruled(rules) if i == ruled else self.open
                found += text + (self.ask if i == len(turns) - 1 else self.answer)
            else:
                found += text + self.close
        return found

    def _ruled(self, rules: str) -> str:
        return self.before + rules + self.after

    def go(self) -> str:
        """The template in Go's language, with what Ollama gives: `.System`, and `.Messages` with the system's as the first of them."""
        ruled, begin = f"{self.before}{{{{ $.System }}}}{self.after}", self.begin
        opened = self.open
        if self.place == "front":
            begin = f"{{{{ if .System }}}}{ruled}{{{{ else }}}}{begin}{{{{ end }}}}"
        else:
            here = _LAST if self.place == "last" else "not $asked"
            opened = f"{{{{ if and $.System ({here}) }}}}{ruled}{{{{ else }}}}{opened}{{{{ end }}}}"
        asked = f"{{{{ if {_LAST} }}}}{self.ask}{{{{ else }}}}{self.answer}{{{{ end }}}}"
        return (
            f'{{{{ $asked := false }}}}{begin}{{{{ range $i, $_ := .Messages }}}}{{{{ if eq .Role "user" }}}}{opened}{{{{ $asked = true }}}}{{{{ .Content }}}}{asked}'
            f'{{{{ else if and $asked (eq .Role "assistant") }}}}{{{{ .Content }}}}{self.close}{{{{ end }}}}{{{{ end }}}}'
        )


def turns_of(template: str, begin: str = "", end: str = "", written: bool = True) -> Turns | None:
    """What a Jinja chat template writes, or None when it is no such form, or asks for more than a conversation (today's date).

    A template that refuses a system text gets it before the first user's, as Mistral's own library has it.

    Args:
        begin, end: the tokens it calls `bos_token` and `eos_token`.
        written: whether `begin` is to stay in front; not where whoever reads the text puts it there too.
    """
    render = _renderer(template, begin, end, written)
    cuts, ruled = _between(render(_TWO) or "", (_USER, _ANSWER, _AGAIN)), render((*_RULED, *_ONE))
    around = _between(ruled or "", (_SYSTEM, _USER))
    if cuts is None or (ruled and around is None):
        return None
    talks = _TALKS + tuple((*_RULED, *said) for said in _TALKS if ruled)
    wanted = [render(said) for said in talks]
    fits = (t for t in _candidates(cuts, around) if [t.text(said) for said in talks] == wanted)
    found = next(fits, None)
    return None if found is None or any("{{" in text or text.endswith("{") for text in found) else found


def _candidates(cuts: Sequence[str], around: Sequence[str] | None) -> list[Turns]:
    """Every form that would explain what was seen."""
    front, answer, between, ask = cuts
    opened = _opening(front, answer, between)
    begin, close = (text.removesuffix(opened) for text in (front, between))
    plain = Turns(begin, opened, answer, ask, close, "first", opened, "\n\n")
    if around is None:
        return [plain]
    before, after = around[0], around[1]
    inside = plain._replace(before=before.removeprefix(begin), after=after)
    ahead = plain._replace(place="front", before=before, after=after.removesuffix(opened))
    return [ahead, inside, inside._replace(place="last")]


def _opening(front: str, answer: str, between: str) -> str:
    """What opens a user's turn. Where both roles close a turn alike, that is known by what follows a text of either; else by what all openings have in common."""
    count = next((i for i, (a, b) in enumerate(zip(answer, between, strict=False)) if a != b), 0)
    closes = max(between.rfind(mark, 0, count) for mark in "<[")
    opened = between[closes:]
    return opened if closes > 0 and front.endswith(opened) else _common_end(front, between)


def _common_end(a: str, b: str) -> str:
    """What both end with, from a bracket on: half a token is no mark."""
    count = 0
    while count < min(len(a), len(b)) and a[-1 - count] == b[-1 - count]:
        count += 1
    end = a[len(a) - count :]
    starts = [i for i in range(count) if end[i] in "<["]
    return end if count in (len(a), len(b)) or not starts else end[starts[0] :]


def _between(text: str, words: Sequence[str]) -> list[str] | None:
    """What stands before, between and behind the words; None unless each is there once, in that order."""
    found: list[str] = []
    for word in words:
        before, met, text = text.partition(word)
        if not met or word in text:
            return None
        found.append(before)
    return [*found, text]


def _renderer(template: str, begin: str, end: str, written: bool) -> Render:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": _refused, "strftime_now": _refused}
    names: dict[str, Any] = {"bos_token": begin, "eos_token": end, "tools": None, "documents": None}

    def render(said: Said) -> str | None:
        messages = [{"role": role, "content": text} for role, text in said]
        try:
            text = environment.from_string(template).render(
                messages=messages, add_generation_prompt=True, **names
            )
        except Exception:  # whatever a stranger's template comes to
            return None
        return text if written else text.removeprefix(begin)

    return render


def _refused(message: str) -> None:
    raise TemplateError(message)
