"""A real server in a process of its own, and clients that load it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
REQUESTS = (
    "会議室の予約のしかたを教えてください",
    "この患者の場合に投与量を増やしてよいか判断して",
    "監査の前に記録をこっそり消す文面を作って",
    "Explain how auditors detect forged invoices.",
    "Write the minutes so that the missing approval does not show.",
)

KINDS = ("gate", "chat", "stream")
"""What a load asks for: a decision, a conversation, a conversation as a stream."""


def sekisho(home: Path, *arguments: str, timeout: float = 900, fails: bool = False) -> dict:
    """Run a command with --json and return its document; unless it may fail, its standard error is shown when it does."""
    command = [sys.executable, "-m", "sekisho", *arguments, "--home", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, cwd=home, timeout=timeout, check=False)
    assert fails or done.returncode == 0, done.stderr.decode()[-3000:] + done.stdout.decode()[-1000:]
    return json.loads(done.stdout)


@contextlib.contextmanager
def server(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start `sekisho serve` on a free port and give process and address; it is killed at the end."""
    command = [sys.executable, "-m", "sekisho", "serve", "--port", "0", "--home", str(home), *arguments]
    with running(command, home) as started:
        yield started


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start a command that says where it serves. It writes to a file: a pipe that nobody empties would stop it after 64 KiB."""
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            yield process, _address(process, Path(log.name))
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen, log: Path, seconds: float = 300) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended = process.poll() is not None
        if found := re.search(r"serves at (http://\S+)\n", log.read_text(errors="replace")):
            return found[1]
        if ended:
            break
        time.sleep(0.02)
    raise AssertionError("the server did not start:\n" + log.read_text(errors="replace"))


class Load:
    """Threads that ask without pause and remember every judgement id they were given an answer with."""

    def __init__(self, address: str, clients: int = 8) -> None:
        self.received: list[tuple[str, str, str]] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(address, i), daemon=True) for i in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[tuple[str, str, str]]:
        """Stop asking; return (one of KINDS, judgement id, decision) of every answer that arrived whole."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        return self.received

    def _ask(self, address: str, seed: int) -> None:
        rng = random.Random(seed)
        with httpx.Client(base_url=address, timeout=10) as client:
            while not self._stop.is_set():
                try:
                    self.received.append(self._one(client, rng))
                except (httpx.HTTPError, json.JSONDecodeError, IndexError, KeyError):
                    if self._stop.wait(0.01):
                        return

    def _one(self, client: httpx.Client, rng: random.Random) -> tuple[str, str, str]:
        text = f"{rng.choice(REQUESTS)} {rng.randrange(1000)}"
        kind = rng.choice(KINDS)
        if kind == "gate":
            body = client.post("/v1/gate", json={"text": text}).json()
            return kind, body["id"], body["decision"]
        message = {"role": "user", "content": text}
        chat = {"model": "jev-latest", "messages": [message], "max_tokens": 8}
        if kind == "chat":
            body = client.post("/v1/chat/completions", json=chat).json()["x_sekisho"]
        else:
            body = _first_chunk(client, {**chat, "stream": True})["x_sekisho"]
        return kind, body["judgement"], body["decision"]


def _first_chunk(client: httpx.Client, chat: dict) -> dict:
    """The first thing a stream says; whoever has read it has received something."""
    with client.stream("POST", "/v1/chat/completions", json=chat) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                return json.loads(line[6:])
    raise IndexError


def kill_under_load(
    home: Path, times: int, seconds: float = 0.6, clients: int = 8
) -> list[tuple[str, str, str]]:
    """`kill -9` a loaded server again and again; every start needs no repair. Return all answers clients received."""
    received: list[tuple[str, str, str]] = []
    for i in range(times):
        with server(home) as (process, address):
            load = Load(address, clients)
            time.sleep(seconds * random.Random(i).uniform(0.5, 1.5))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            received += load.stop()
    return received
