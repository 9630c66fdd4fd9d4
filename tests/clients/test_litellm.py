"""LiteLLM: its client over our scenarios, and its proxy in front of two nodes. Runs where `FAR_LITELLM` names a Python that has `litellm[proxy]` (`make litellm` makes one)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from sekisho.core.engine import Message, Sampling
from sekisho.serve.engines.remote import RemoteEngine

from .real import served
from .scenarios import ASKED, MODEL, REFUSED, SCENARIOS

PYTHON = os.environ.get("FAR_LITELLM", "")
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not PYTHON, reason="set FAR_LITELLM to a Python with litellm[proxy]")
KEY = "sk-" + secrets.token_hex(32)
"""The proxy's own key, for this run; without one it does not start."""
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}


def test_its_client_manages_every_scenario(tmp_path):
    with served(tmp_path) as address:
        ran = subprocess.run(
            [PYTHON, "-m", "clients.litellm_client", address],
            cwd=ROOT / "tests",
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT / "tests")},
        )
    line = next((x for x in ran.stdout.splitlines() if x.startswith("RESULT ")), None)
    assert line, ran.stderr[-3000:]
    found = json.loads(line.removeprefix("RESULT "))
    assert set(found) == set(SCENARIOS)
    assert {k: v for k, v in found.items() if v != "ok"} == {}


@contextlib.contextmanager
def node(folder: Path):
    """A node as a process of its own; yields its address and the process."""
    code = (
        "import sys, time; from pathlib import Path; from clients.real import served\n"
        "with served(Path(sys.argv[1])) as at:\n    print('AT', at, flush=True); time.sleep(3600)"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=env
    )
    try:
        address = next(line.split()[1] for line in process.stdout if line.startswith("AT "))
        yield address, process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def proxy(*nodes: str):
    """LiteLLM's proxy by the example's configuration; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {f"NODE_{i}": f"{at}/v1" for i, at in enumerate(nodes, 1)} | {
        "NODE_KEY": "none",
        "LITELLM_MASTER_KEY": KEY,
    }
    command = [str(Path(PYTHON).with_name("litellm")), "--config", str(ROOT / "docs/examples/litellm.yaml")]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **OFFLINE, **env},
    )
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health/liveliness", timeout=2).status_code == 200:
                    yield address
                    return
            time.sleep(0.5)
        raise AssertionError("the proxy did not start")
    finally:
        process.kill()
        process.wait()


def judgements(address: str) -> int:
    return httpx.get(f"{address}/healthz", timeout=10).json()["ledger"]["entries"]


def test_its_proxy_shares_work_between_two_nodes_and_outlives_one(tmp_path):
    with node(tmp_path / "1") as (one, first), node(tmp_path / "2") as (two, _), proxy(one, two) as front:
        before = judgements(one), judgements(two)
        client = openai.OpenAI(base_url=f"{front}/v1", api_key=KEY, max_retries=0, timeout=60)

        def ask(text: str = ASKED, model: str = "sekisho") -> str:
            turns = [{"role": "user", "content": text}]
            done = client.chat.completions.create(model=model, messages=turns, max_tokens=8, temperature=0)
            return done.choices[0].message.content

        with ThreadPoolExecutor(6) as clients:  # one after another, the least busy node is always the first
            asked = [clients.submit(ask, model=m) for _ in range(15) for m in ("sekisho", "sekisho-batch")]
        texts = {a.result() for a in asked}
        assert len(texts) == 1, "both nodes hold the same weights"
        after = judgements(one), judgements(two)
        assert all(b > a for a, b in zip(before, after, strict=True)), (before, after)
        assert "not answered" in ask(REFUSED)
        streamed = client.chat.completions.create(
            model="sekisho",
            messages=[{"role": "user", "content": ASKED}],
            max_tokens=8,
            temperature=0,
            stream=True,
        )
        assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices) in texts
        first.kill()
        first.wait()
        assert {ask() for _ in range(12)} == texts


def test_the_remote_engine_asks_through_it(tmp_path):
    with node(tmp_path / "1") as (one, _), node(tmp_path / "2") as (two, _), proxy(one, two) as front:
        far = RemoteEngine(front, "far", model="sekisho", key=KEY, context=1024)

        async def work():
            await far.start()
            try:
                question = __import__("sekisho.serve.prompts", fromlist=["SMALLEST"]).SMALLEST
                (scores,) = await far.ask("図書館は開いています。", [question], 30)
                pieces = far.generate(
                    [Message(role="user", content=ASKED)], Sampling(max_tokens=8, temperature=0), 30
                )
                return scores, "".join([p.text async for p in pieces]), await far.healthy()
            finally:
                await far.stop()

        scores, text, well = asyncio.run(work())
    assert far.info.engine in ("remote/systemone", "remote/logprobs")
    assert len(scores.logprobs) == 2
    assert text
    assert well
    assert MODEL
