"""A vision server that goes wrong on purpose: it cuts its answers off, repeats the questions, drops keys, writes prose, stalls. One process, real HTTP.

    python -m serve.faulty      (from tests/; prints its port)

It knows the right answer to every question: 1 where the digest of the question's id is odd. So a complete answer can be told from a wrong one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator

import uvicorn

FAULTS = (
    "cut",
    "echo",
    "dropped",
    "prose",
    "stalled",
    "fenced",
    "wrong_type",
    "extra_key",
    "twice",
    "strings",
    "length",
    "error",
    "empty",
    "no_json",
    "schema",
    "null_choices",
    "other_group",
)
ASKED = re.compile(r"^([A-Za-z][A-Za-z0-9_-]*): (.*)$", re.MULTILINE)


def truth(id: str) -> int:
    """The right answer to a criterion."""
    return hashlib.sha256(id.encode()).digest()[0] & 1


class Faulty:
    """An ASGI application.

    Args:
        share: of the answers that are faulty.
        stall: seconds a stalled answer takes.
    """

    def __init__(self, seed: int, share: float = 0.6, stall: float = 5.0) -> None:
        self._draw, self._share, self._stall = random.Random(seed), share, stall
        self.answered, self.sees = 0, True
        self.faults: dict[str, int] = dict.fromkeys(FAULTS, 0)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        status, answer = await self._answer(scope["path"], body)
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": raw})

    async def _answer(self, path: str, body: bytes):
        if path == "/v1/models":
            return 200, {"data": [{"id": "faulty"}]}
        if path != "/v1/chat/completions":
            return 404, {"error": "no such route"}
        if not body:  # the caller hung up; nobody reads this
            return 400, {"error": "no body"}
        asked = json.loads(body)
        *shown, text = asked["messages"][0]["content"]
        if asked["max_tokens"] == 1:  # it is only asked how long the prompt is
            return 200, {"usage": {"prompt_tokens": 30 + self.sees * 100 * len(shown)}, "choices": []}
        text = text["text"]
        self.answered += 1
        questions = dict(ASKED.findall(text))
        fault = self._draw.choice(FAULTS) if self._draw.random() < self._share else None
        if fault:
            self.faults[fault] += 1
        return await self._told(fault, questions, asked)

    async def _told(self, fault, questions, asked):
        right = {id: truth(id) for id in questions}
        content, finish, whole = json.dumps(right), "stop", None
        some = self._draw.choice(list(right))
        if fault == "cut":
            content = content[: self._draw.randrange(len(content))]
        elif fault == "length":
            content, finish = content[: self._draw.randrange(len(content))], "length"
        elif fault == "echo":
            content = json.dumps(questions)
        elif fault == "dropped":
            content = json.dumps({i: v for i, v in right.items() if self._draw.random() < 0.6})
        elif fault == "prose":
            content = f"Sure! Looking at the image, {content} is my answer."
        elif fault == "fenced":
            content = f"```json\n{content}\n```"
        elif fault == "wrong_type":
            content = json.dumps(
                {**right, some: self._draw.choice([True, 0.5, 2, -1, None, "yes", [1], 1.0])}
            )
        elif fault == "extra_key":
            content = json.dumps({**{i: 1 - v for i, v in right.items()}, "ZZZ": 1})
        elif fault == "twice":
            content = "{" + f'"{some}": {1 - right[some]}, ' + content[1:]
        elif fault == "strings":
            content = json.dumps({i: str(v) for i, v in right.items()})
        elif fault == "empty":
            content = self._draw.choice(["", "{}", "null", "[]", "{", "  "])
        elif fault == "schema":
            content = json.dumps(asked["response_format"]["json_schema"]["schema"])
        elif fault == "other_group":
            content = json.dumps({f"Q{n}": self._draw.randint(0, 1) for n in range(9)})
        elif fault == "stalled":
            await asyncio.sleep(self._stall)
        elif fault == "error":
            return self._draw.choice([400, 404, 500, 503]), {"error": "broken"}
        elif fault == "no_json":
            whole = b"<html>Bad gateway</html>"
        elif fault == "null_choices":
            whole = self._draw.choice(
                [
                    {"choices": None},
                    {"choices": []},
                    {"choices": [None]},
                    {},
                    {"choices": [{"finish_reason": "stop", "message": None}]},
                ]
            )
        return 200, whole or {"choices": [{"finish_reason": finish, "message": {"content": content}}]}


@contextlib.contextmanager
def serving(app: Faulty) -> Iterator[str]:
    """The server on a free loopback port, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
