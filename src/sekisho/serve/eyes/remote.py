"""A far eye: a vision server of the house's own, asked in System One where it speaks that, else for JSON under a schema, in groups.

What it leaves out is asked again, up to three times; what it never answers is an error that names it. No answer is ever made up. Before anything is believed the
server shows that it looks (`sight`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.canonical import digest_text
from ...core.engine import EngineInfo
from ...core.errors import EngineError, EngineTimeoutError
from ...core.sight import OBSERVED, Seen, log_odds_of
from ..deadline import by, deadline_in
from ..engines.link import AbsentError, FailedError, Link, Names
from .schema import answer_schema, read_answers
from .sight import FORMS, Form, data_url, probes, require_longer, saw, sized

GROUP = 15
"""Criteria of one request: short answers are cut off less often."""
RETRIES = 3
"""Times the missing part of a group is asked again."""
_NAMES = Names("eye_url", "eye_remote_model", "eye_key")
_PROBES = 2
"""Tries of each request that finds out how the server is asked: both forms may fail, and the circuit to chat is still closed."""
_NEAR_ONE = 1e-6
_TOKENS = 16
"""Tokens allowed for one answer."""
_MORE = 8
"""Times as many where answers were missing: JSON may have blanks between its parts, and a small model writes as many as the server's grammar lets it."""
_TASK = "Look at the image and answer each question with 1 for yes or 0 for no. Answer with one JSON object, a key for each question's id, and nothing else."


_log = logging.getLogger("sekisho.eyes")


class RemoteEye:
    """Fulfils `core.sight.Eye` through a server that takes images.

    Args:
        url: its root, without `/v1`.
        model: its name there; None takes the only one it lists.
        key: bearer token.
        pixels: most pixels of an image sent there; 0 sends images as they are. Servers scale by rules of their own, and a small eye answers by those it learnt with.
    """

    def __init__(self, url: str, model: str | None = None, key: str | None = None, pixels: int = 0) -> None:
        self._link, self._url, self._model = Link(url, key, names=_NAMES), url, model
        self._pixels, self._finding = pixels, asyncio.Lock()
        self._way: Form | None = None
        self._known = False

    @property
    def info(self) -> EngineInfo:
        """What is looking, as far as it tells: the weights of a far model are known by server and name only."""
        name = self._model or "unknown"
        return EngineInfo(
            engine="remote-eye",
            model=name,
            model_digest=digest_text(f"{self._url.rstrip('/')} {name}"),
            context=0,
            device="remote",
        )

    async def start(self) -> None:
        """Make the connections' pool and find the model. Raises EngineError when several are listed and none is named."""
        self._link.start()
        if self._model is None:
            listed = (await self._link.get("/v1/models", deadline_in(30.0))).get("data") or []
            names = [m["id"] for m in listed if isinstance(m, dict) and isinstance(m.get("id"), str)]
            if len(names) != 1:
                raise EngineError(f"{self._url} lists {len(names)} models.", "Name one: `eye_remote_model`.")
            self._model = names[0]

    async def stop(self) -> None:
        """Close the connections."""
        await self._link.stop()

    async def look(self, image: bytes, questions: Mapping[str, str], timeout: float) -> Seen:
        """Answer questions, with probabilities where the server gives any.

        Raises:
            EngineError: naming the criteria that were never answered.
            EngineTimeoutError: past the deadline.
        """
        deadline = deadline_in(timeout)
        way = await by(deadline, self._settled(deadline))
        sent = await asyncio.to_thread(sized, image, self._pixels) if self._pixels else image
        try:
            if way is not None:
                return await self._decided(way, sent, questions, deadline)
            return await self._constrained(sent, questions, deadline)
        except EngineTimeoutError:
            raise
        except EngineError:
            self._known = False  # it may come back as another server, which must show anew that it looks
            raise

    async def _settled(self, deadline: float) -> Form | None:
        """How the server is asked; found out once, however many want to know."""
        async with self._finding:
            if not self._known:
                self._way, self._known = await self._found(deadline), True
            return self._way

    async def _found(self, deadline: float) -> Form | None:
        """The form of System One in which the server looks at images; None when in none, but in chat.

        Raises:
            EngineError: when it does not look at images in chat either; the first one where System One failed.
        """
        dark, drawn, asked = probes()
        failed: FailedError | None = None
        for form in FORMS:
            try:
                seen = [
                    await self._decided(form, image, asked, deadline, _PROBES)
                    for image in (dark, drawn, dark)
                ]
            except AbsentError:
                continue
            except FailedError as e:
                failed = failed or e
                continue
            if saw(*seen):
                return form
        await self._see_chat(drawn, failed, deadline)
        return None

    async def _see_chat(self, drawn: bytes, failed: FailedError | None, deadline: float) -> None:
        """Raise EngineError unless the server looks in chat: `failed`, what went wrong before, where there is such a thing.

        A server that fails in System One is not believed in chat without the tokens of its prompts.
        """
        try:
            counts = [await self._counted(image, deadline) for image in (None, drawn)]
            require_longer(*counts)
        except EngineTimeoutError:
            raise
        except EngineError as e:
            raise failed or e from e
        if failed is not None:
            if None in counts:
                raise failed
            _log.warning("the far eye is asked in chat, as System One failed: %s", failed)

    async def _decided(
        self, form: Form, image: bytes, questions: Mapping[str, str], deadline: float, tries: int = 3
    ) -> Seen:
        """All questions as `noul` over one image (System One)."""
        asked = {str(i): {"type": "noul", "instructions": text} for i, text in enumerate(questions.values())}
        body = {"model": self._model, "questions": asked, **form(image)}
        told = (await self._link.post("/v1/systemone", body, deadline, tries)).get("answers")
        if not isinstance(told, dict) or told.keys() != asked.keys():
            raise FailedError("The far eye did not answer every question.", "Check the server.")
        return Seen(log_odds={id: _log_odds(told[str(i)]) for i, id in enumerate(questions)})

    async def _counted(self, image: bytes | None, deadline: float) -> int | None:
        """Tokens of a short prompt with an image or without, where the server tells."""
        body = {"model": self._model, "messages": _message(image, _TASK), "max_tokens": 1}
        usage = (await self._link.post("/v1/chat/completions", body, deadline)).get("usage")
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return count if isinstance(count, int) else None

    async def _constrained(self, image: bytes, questions: Mapping[str, str], deadline: float) -> Seen:
        found: dict[str, int] = {}
        tries, ids = 0, list(questions)
        for start in range(0, len(ids), GROUP):
            group = ids[start : start + GROUP]
            answers, used = await self._group(image, {i: questions[i] for i in group}, deadline)
            found |= answers
            tries += used
        missing = [i for i in ids if i not in found]
        if missing:
            raise EngineError(
                f"The far eye never answered {', '.join(missing)}.", "Try again, or ask a better model."
            )
        return Seen(log_odds={i: OBSERVED if found[i] else -OBSERVED for i in ids}, tries=tries)

    async def _group(
        self, image: bytes, questions: Mapping[str, str], deadline: float
    ) -> tuple[dict[str, int], int]:
        """One group, its missing part asked again; what is still missing then is left out."""
        found: dict[str, int] = {}
        for tried in range(1, RETRIES + 2):
            missing = [i for i in questions if i not in found]
            if not missing:
                return found, tried - 1
            if asyncio.get_running_loop().time() >= deadline:
                raise EngineTimeoutError(
                    "The far eye did not answer in time.", "Allow more with `eye_seconds`."
                )
            room = _TOKENS if tried == 1 else _TOKENS * _MORE
            found |= await self._asked(image, {i: questions[i] for i in missing}, deadline, room)
        return found, RETRIES + 1

    async def _asked(
        self, image: bytes, questions: Mapping[str, str], deadline: float, room: int
    ) -> dict[str, int]:
        ids = list(questions)
        body = self._body(image, questions, ids, room)
        choices = (await self._link.post("/v1/chat/completions", body, deadline)).get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, dict) or first.get("finish_reason") != "stop":
            return {}
        message = first.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        return read_answers(text, ids) if isinstance(text, str) else {}

    def _body(
        self, image: bytes, questions: Mapping[str, str], ids: Sequence[str], room: int
    ) -> dict[str, Any]:
        text = "\n".join([_TASK, *(f"{id}: {question}" for id, question in questions.items())])
        schema = {"name": "answers", "strict": True, "schema": answer_schema(ids)}
        return {
            "model": self._model,
            "messages": _message(image, text),
            "temperature": 0,
            "max_tokens": 64 + room * len(ids),
            "response_format": {"type": "json_schema", "json_schema": schema},
        }


def _message(image: bytes | None, text: str) -> list[dict[str, Any]]:
    """One message, the image before the text."""
    shown = [] if image is None else [{"type": "image_url", "image_url": {"url": data_url(image)}}]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]


def _log_odds(answer: Any) -> float:
    """Log-odds of a `noul` answer. Raises FailedError for anything but a probability."""
    p = answer.get("noul") if isinstance(answer, dict) else None
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise FailedError("The far eye gave something else than a probability.", "Check the server.")
    return log_odds_of(float(p), _NEAR_ONE)
