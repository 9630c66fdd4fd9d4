"""Text on its way out of an engine: no half character leaves, and nothing from a stop text on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"


class TextStream:
    """Turns token ids into text one at a time, keeping back an end that may be the beginning of a character.

    Args:
        decode: token ids to text; bytes that are no UTF-8 come as U+FFFD, an unfinished character as one U+FFFD.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._known: list[int] = []
        self._new: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        """Take one token and return the text that is now certain, perhaps none.

        Tokens are decoded behind those before them, because some decoders treat the first one differently. A last U+FFFD may
        still become a character, so it waits; when the next token shows that it was a wrong byte, it leaves as it is.
        """
        self._new.append(token)
        text = self._decode([*self._known, *self._new])[len(self._decode(self._known)) :]
        unfinished = text.endswith(_BROKEN)
        certain = text[self._given : len(text) - unfinished]
        self._given += len(certain)
        if not unfinished:
            self._known, self._new, self._given = self._new, [], 0
        return certain


class StopCutter:
    """Ends a text before the first of the `stop` texts; holds back an end that might become one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take text and return what may leave. After a stop text, `stopped` is set and nothing leaves any more."""
        if self.stopped:
            return ""
        self._held += text
        found = [at for at in (self._held.find(s) for s in self._stop) if at != -1]
        if found:
            self.stopped = True
            return self._take(min(found))
        return self._take(len(self._held) - self._doubt())

    def flush(self) -> str:
        """Return what was held back, at the end of a text that met no stop."""
        return "" if self.stopped else self._take(len(self._held))

    def _take(self, length: int) -> str:
        out, self._held = self._held[:length], self._held[length:]
        return out

    def _doubt(self) -> int:
        """Length of the longest end that is the beginning of a stop text."""
        longest = max((len(s) for s in self._stop), default=1) - 1
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(s.startswith(self._held[-n:]) for s in self._stop):
                return n
        return 0
