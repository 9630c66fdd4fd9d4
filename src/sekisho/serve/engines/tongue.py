"""How a model in llama.cpp reads text: its control tokens, its option labels, and the tokens of a prompt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from ...core.errors import EngineError
from ...core.prompt import END, LETTERS, SPECIAL
from ...core.question import Question
from .. import prompts
from ..gguf_header import Header
from ..tokens import LONGEST, PROBES, cut, tokenizer_of
from ..vocabulary import Vocabulary

Post = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Posts JSON to the child and returns its JSON."""


class Tongue:
    """What is learnt of a model at its start.

    Args:
        post: asks the child.
        name: the model's, for errors.

    Attributes:
        special: token id of every special token of the house.
        labels: token ids of the option labels, as far as they are single tokens.
        vocabulary: the bytes of its tokens; None when it is not byte-level.
        tokenizer: cuts text in this process, exactly as the child does; None where that is not sure.
    """

    def __init__(self, post: Post, name: str) -> None:
        self._post, self._name = post, name
        self.special: Mapping[str, int] = {}
        self.labels: Sequence[int] = ()
        self.vocabulary: Vocabulary | None = None
        self.tokenizer: Tokenizer | None = None

    async def learn(self, header: Header) -> None:
        """Learn it from the file's header and from the child. Raises EngineError when the model lacks a special token."""
        self.vocabulary, self.tokenizer = Vocabulary.of(header), None
        self.tokenizer = await self.trusted(tokenizer_of(header))
        self.special = {text: await self._special_id(text) for text in SPECIAL}
        self.labels = await self._label_ids()

    async def trusted(self, tokenizer: Tokenizer | None) -> Tokenizer | None:
        """The tokenizer, if it cuts every probe as the child does."""
        if tokenizer is None:
            return None
        alike = [cut(tokenizer, [p]) == await self.cut_there([p]) for p in PROBES]
        return tokenizer if all(alike) else None

    async def decision_prompt(self, state: str, question: Question) -> Sequence[prompts.Piece]:
        """A decision prompt: token ids. Without a tokenizer here, texts in which no control token is spelt stay texts: llama.cpp would find control tokens
        in them, and reads the rest as `/tokenize` does. That saves an exchange.

        Raises:
            TooLargeError: for more options than there are labels.
        """
        prompts.require_labels(len(self.labels), question)
        pieces = prompts.decision_pieces(state, question, self.special)
        if self.tokenizer is None and self.vocabulary is not None:
            plain = self.vocabulary.is_plain
            if all(isinstance(p, int) or plain(p) for p in pieces):
                return pieces
        return await self.cut(pieces)

    async def cut(self, pieces: Sequence[prompts.Piece]) -> list[int]:
        """Token ids of a prompt; texts are cut one by one and never parsed for special tokens."""
        if self.tokenizer is not None and sum(len(p) for p in pieces if isinstance(p, str)) <= LONGEST:
            return cut(self.tokenizer, pieces)
        return await self.cut_there(pieces)

    async def cut_there(self, pieces: Sequence[prompts.Piece]) -> list[int]:
        """As `cut`, by the child."""
        if not pieces:
            return []
        body = {"content": list(pieces), "add_special": False, "parse_special": False}
        return [int(i) for i in (await self._post("/tokenize", body))["tokens"]]

    async def _special_id(self, text: str) -> int:
        reply = await self._post("/tokenize", {"content": text, "add_special": False, "parse_special": True})
        if len(reply["tokens"]) != 1:
            raise EngineError(
                f"{self._name} has no token {text}.",
                "Serve a model with the chat tokens of Phi-3 here, and any other with llama.cpp or Ollama, by `engine` remote.",
            )
        return int(reply["tokens"][0])

    async def _label_ids(self) -> list[int]:
        """Up to the first label that is not a single token."""
        fence = self.special[END]
        ids = await self.cut([piece for letter in LETTERS for piece in (letter, fence)])
        found: list[int] = []
        while ids[1:2] == [fence] and ids[0] not in found:
            found.append(ids[0])
            ids = ids[2:]
        return found
