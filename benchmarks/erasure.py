"""Is erased text really gone? A real server over a real home, real requests, retention, and a search of every byte under the home.

    python benchmarks/erasure.py [--home HOME] [--texts N]

The home (of `sekisho up --no-serve`) is copied first. Each text has a mark of its own and goes through the gate, a chat or a stream. Before retention
every mark is found under the home, which shows that the search finds what is there; afterwards none may be, in any file, as UTF-8, UTF-16 or
JSON escapes. The chain must verify, with the stand-alone tool too, and a proof for an erased entry must still hold. Exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sekisho.core.settings import load

ROOT = Path(__file__).parents[1]
VERIFY = ROOT / "tools" / "verify_ledger.py"


def sekisho(home: Path, *arguments: str) -> Any:
    """Run a command with --json and return its document."""
    command = [sys.executable, "-m", "sekisho", *arguments, "--home", str(home), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@contextmanager
def served(home: Path) -> Iterator[str]:
    """`sekisho serve` on a free port; gives the address, and ends it by SIGTERM."""
    command = [sys.executable, "-m", "sekisho", "serve", "--port", "0", "--json", "--home", str(home)]
    with (home.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            line = b""
            while b"}" not in line and process.poll() is None:
                line += process.stdout.readline()
            yield json.loads(line)["address"]
        finally:
            process.terminate()
            process.wait(60)


def ask(address: str, marks: list[str]) -> list[str]:
    """Send a text a mark, by the gate, a chat or a stream in turn; return the judgements' ids."""
    ids = []
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        for i, mark in enumerate(marks):
            text = f"会議室{mark}の予約のしかたを教えてください"
            if i % 3 == 0:
                ids.append(client.post("/v1/gate", json={"text": text}).raise_for_status().json()["id"])
                continue
            chat = {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "stream": i % 3 == 2}
            said = client.post(
                "/v1/chat/completions", json={"model": "jev-latest", **chat}
            ).raise_for_status()
            first = said.text.partition("data: ")[2].partition("\n")[0] if i % 3 == 2 else said.text
            ids.append(json.loads(first)["x_sekisho"]["judgement"])
    return ids


def found(home: Path, marks: list[str]) -> dict[str, int]:
    """How many marks stand in each file that has any."""
    forms = {m: [m.encode(), m.encode("utf-16-le"), json.dumps(m)[1:-1].encode()] for m in marks}
    counts: dict[str, int] = {}
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if here := sum(any(form in data for form in own) for own in forms.values()):
            counts[str(path.relative_to(home))] = here
    return counts


def measure(source: Path, texts: int, folder: Path) -> dict[str, Any]:
    """Every figure by name."""
    home = folder / "home"
    shutil.copytree(source, home)
    marks = [f"目印{secrets.token_hex(8)}" for _ in range(texts)]
    with served(home) as address:
        ids = ask(address, marks)
    before = found(home, marks)
    time.sleep(1.0)
    retained = sekisho(home, "audit", "retain", "--retention", "0.000001")
    sekisho(home, "audit", "checkpoint")
    proof = folder / "proof.json"
    proof.write_text(json.dumps(sekisho(home, "audit", "prove", ids[0])))
    tool = [sys.executable, str(VERIFY), str(home / "ledger.sqlite"), "--proof", str(proof), "--json"]
    told = json.loads(subprocess.run(tool, capture_output=True, check=False).stdout)
    return {
        "texts": texts,
        "files searched": sum(p.is_file() for p in home.rglob("*")),
        "bytes searched": sum(p.stat().st_size for p in home.rglob("*") if p.is_file()),
        "marks found before": sum(before.values()),
        "marks found after": found(home, marks),
        "contents erased": retained.get("erased"),
        "ledger whole": sekisho(home, "audit", "verify")["ok"],
        "stand-alone tool": told["ok"],
        "proof of an erased entry": told["proved"],
        "kept text of it": sekisho(home, "audit", "show", ids[0]).get("content"),
    }


def main(arguments: list[str]) -> int:
    """Print every figure; return 1 when a mark is left, none was there before, or something does not verify."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, default=load().home)
    parser.add_argument("--texts", type=int, default=90)
    given = parser.parse_args(arguments)
    if not (given.home / "shelf" / "releases").is_dir():
        print("SKIPPED: nothing is promoted there; run `sekisho up --no-serve` first.")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given.home, given.texts, Path(folder))
    for name, value in figures.items():
        print(f"{name:<26} {value}")
    good = figures["ledger whole"] and figures["stand-alone tool"] and figures["proof of an erased entry"]
    return (
        0 if good and figures["marks found before"] >= given.texts and not figures["marks found after"] else 1
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
