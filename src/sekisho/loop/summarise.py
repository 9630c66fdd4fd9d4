"""Summarise: a text of any length, in the batch lane, part by part through the gate and the ledger; what was done stays done when the process ends.

The tree lies in `SEKISHO_HOME/summaries`, one file a node, in a folder named after text, model and form; the same request goes on from what is there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ..core.canonical import canonical_json, digest_json, digest_text, short
from ..core.disk import write_whole
from ..core.engine import Lane, Message, Sampling
from ..core.errors import EngineError, InputError, TooLargeError
from ..tasks import summary
from ..tasks.summary import Node, Span
from .judge import Judge
from .summarytrees import folder_of

LANE: Lane = "be"
_TOKENS = 192
"""Tokens of one summary, at most; a third of what a prompt may take where the context is small."""
_KEPT_FREE = 96
"""Tokens of a context kept for what the prompt's form adds, and the gate's question."""
_LEAST = 64
_OVERLAP = 48
_TRIES, _PAUSE = 4, 1.0
"""Times a part is begun again when the engine breaks, and seconds before the first."""

Told = Callable[[str, int, int], Awaitable[None]]
"""Hears of every part that is done: the round, how many parts of it are done, of how many."""


class Summary:
    """One text being summarised. A summary is finished when `run` returns.

    Args:
        home: where trees are kept.
        at_once: parts that are worked on at once.
        who: links of every judgement, and the clearance level it is judged at; None takes the default level.
    """

    def __init__(
        self,
        judge: Judge,
        home: Path,
        text: str,
        contract: str = "general",
        at_once: int = 2,
        who: tuple[Mapping[str, str], str | None] = ({}, None),
    ) -> None:
        if not text.strip():
            raise InputError("There is no text to summarise.", "Send some.", ("body", "text"))
        self._judge, self._text, self._contract = judge, text, contract
        self._links, self._level = who
        self._engine = judge.serving.engine
        context = self._engine.info.context
        self._room = context - _KEPT_FREE
        self._tokens = min(_TOKENS, self._room // 4)
        key = {"text": digest_text(text), "model": judge.serving.stamp.model_digest, "context": context}
        key |= {
            "form": digest_json(summary.INSTRUCTIONS),
            "contract": contract,
            "tokens": self._tokens,
            "level": self._level,
        }
        self.id = short(digest_json(key), 16)
        self.folder = folder_of(home) / self.id
        self._slots = asyncio.Semaphore(at_once)
        self.nodes: dict[str, Node] = {}
        self.resumed = 0

    async def run(self, told: Told) -> dict[str, Any]:
        """Summarise and return the result: lines with their sources, what was left out and why, the whole tree.

        Raises:
            TooLargeError: when the context has no room for a part.
            OverloadedError, EngineError, LedgerError: what is done stays done, and the next run goes on from it.
        """
        budget = await self._budget()
        leaves = [(c.span, (), self._text[slice(*c.span)]) for c in await self._cut(budget)]
        found = await self._round(0, "part", leaves, told)
        level = 0
        while len(written := [n for n in found if n.text]) > 1:
            level += 1
            sizes = [await self._engine.count(n.text) + 2 for n in written]
            parts = [[written[i] for i in g] for g in summary.groups(sizes, budget)]
            asked = [
                ((p[0].span[0], p[-1].span[1]), tuple(n.id for n in p), "\n\n".join(n.text for n in p))
                for p in parts
            ]
            found = await self._round(level, "whole", asked, told)
        return self._result(written)

    async def _budget(self) -> int:
        """Tokens a part may have."""
        form = max([await self._engine.count(summary.prompt(k, "")) for k in summary.INSTRUCTIONS])
        budget = self._room - form - self._tokens
        if budget < max(_LEAST, 2 * self._tokens + 8):
            raise TooLargeError("The context has no room for summaries.", "Raise `context` to 1024 or more.")
        return budget

    async def _cut(self, budget: int) -> list[summary.Chunk]:
        """Chunks by tokens; a sentence that is too long by itself is cut in halves until it is not."""
        parts: list[Span] = []
        sizes: list[int] = []
        todo = summary.sentences(self._text)[::-1]
        while todo:
            span = todo.pop()
            size = await self._engine.count(self._text[slice(*span)])
            if size > budget and span[1] - span[0] > 1:
                todo += summary.halves(span)[::-1]
            else:
                parts.append(span)
                sizes.append(size)
        return summary.chunks(parts, sizes, budget, min(_OVERLAP, budget // 8))

    async def _round(
        self,
        level: int,
        kind: Literal["part", "whole"],
        asked: Sequence[tuple[Span, tuple[str, ...], str]],
        told: Told,
    ) -> list[Node]:
        """All summaries of a level. When one fails, the others under way are ended before it is told."""
        done = 0

        async def one(place: int, span: Span, children: tuple[str, ...], text: str) -> Node:
            nonlocal done
            async with self._slots:
                node = await self._node(f"{level}-{place}", span, children, summary.prompt(kind, text))
            done += 1
            await told(f"round {level + 1}", done, len(asked))
            return node

        tasks = [asyncio.create_task(one(i, *a)) for i, a in enumerate(asked)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _node(self, id: str, span: Span, children: tuple[str, ...], prompt: str) -> Node:
        """A node, from the disk or from the model. Its file is there, whole, before anybody hears of it."""
        file = self.folder / f"{id}-{short(digest_text(prompt), 12)}.json"
        node = await asyncio.to_thread(_read, file)
        if node is None:
            node = await self._asked(id, span, children, prompt)
            await asyncio.to_thread(write_whole, file, canonical_json(node.model_dump(mode="json")))
        else:
            self.resumed += 1
        self.nodes[id] = node
        return node

    async def _asked(self, id: str, span: Span, children: tuple[str, ...], prompt: str) -> Node:
        for tried in range(_TRIES):
            try:
                return await self._written(id, span, children, prompt)
            except EngineError:
                if tried == _TRIES - 1:
                    raise
            await asyncio.sleep(_PAUSE * 2**tried)
        raise AssertionError("unreachable")

    async def _written(self, id: str, span: Span, children: tuple[str, ...], prompt: str) -> Node:
        tokens = await self._engine.count(prompt)
        sampling = Sampling(max_tokens=self._tokens, temperature=0)
        chat = await self._judge.chat(
            [Message(role="user", content=prompt)],
            sampling,
            self._contract,
            LANE,
            self._links,
            self._level,
        )
        text, finish = "", None
        if chat.pieces is not None:
            async with aclosing(chat.pieces) as pieces:
                async for piece in pieces:
                    text, finish = text + piece.text, piece.finish
        j = chat.judgement
        return Node(
            id=id,
            span=span,
            children=children,
            text=text.strip(),
            decision=j.decision,
            judgement=j.id,
            tokens=tokens,
            finish=finish,
        )

    def _result(self, written: Sequence[Node]) -> dict[str, Any]:
        """The top of the tree by lines. A part that was refused, or about which nothing was written, is listed with its judgement."""
        top = written[0] if written else None
        ordered = [self.nodes[i] for i in sorted(self.nodes, key=lambda i: [int(n) for n in i.split("-")])]
        lines = [line.strip() for line in (top.text if top else "").splitlines() if line.strip()]
        left_out = [
            {"span": n.span, "decision": n.decision, "judgement": n.judgement, "node": n.id}
            for n in ordered
            if not n.text
        ]
        return {
            "id": self.id,
            "characters": len(self._text),
            "lines": [
                {"text": t, "sources": summary.sources(t, top, self.nodes)} for t in lines if top is not None
            ],
            "left_out": left_out,
            "nodes": [n.model_dump(mode="json") for n in ordered],
            "resumed": self.resumed,
        }

    def forget(self) -> None:
        """Remove the tree from the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)


async def events(work: Summary) -> AsyncGenerator[dict[str, Any]]:
    """Progress as it comes, and the result last. Closing this stops the work; what is done stays done."""
    told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def tell(name: str, done: int, total: int) -> None:
        told.put_nowait({"type": "progress", "step": name, "done": done, "total": total})

    task = asyncio.create_task(work.run(tell))
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (event := await told.get()) is not None:
            yield event
        yield {"type": "summary", **task.result()}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _read(file: Path) -> Node | None:
    """A node on the disk; None when there is none, or it cannot be read and is made anew."""
    try:
        return Node.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
