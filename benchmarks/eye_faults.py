"""A far vision server that goes wrong in seventeen ways, until it has given so many faulty answers: never a wrong complete result, always an error or a whole right one.

The server is a real HTTP server on this machine (`tests/serve/faulty.py`). It knows the right answers, so a wrong one is found out.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from sekisho.core.errors import SekishoError  # noqa: E402
from sekisho.serve.eyes.remote import RemoteEye  # noqa: E402
from sekisho.tasks.rubric.lint import read_pack  # noqa: E402
from serve.faulty import Faulty, serving, truth  # noqa: E402

QUESTIONS = {c.id: c.question.en for c in read_pack("intake", ROOT).criteria}


async def until(app: Faulty, url: str, faults: int, deadline: float) -> Counter[str]:
    """Look again and again; what came of it, by kind."""
    found: Counter[str] = Counter()
    while sum(app.faults.values()) < faults:
        eye = RemoteEye(url)
        await eye.start()
        for _ in range(20):
            try:
                seen = await eye.look(b"\x89PNG", QUESTIONS, deadline)
            except SekishoError as e:
                found[type(e).__name__] += 1
            else:
                right = {i: int(o > 0) for i, o in seen.log_odds.items()} == {i: truth(i) for i in QUESTIONS}
                found["whole and right" if right else "WRONG"] += 1
        await eye.stop()
    return found


def main() -> int:
    """Run and print; exit code 1 for a single wrong result, or when nothing ever came through whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", type=int, nargs="?", default=1000)
    parser.add_argument("--share", type=float, default=0.35)
    given = parser.parse_args()
    app = Faulty(20261121, given.share, stall=0.15)
    with serving(app) as url:
        found = asyncio.run(until(app, url, given.faults, 0.9))
    console = Console()
    console.print(
        f"{sum(app.faults.values()):,} faulty answers of {app.answered:,}: {dict(sorted(app.faults.items()))}"
    )
    console.print(f"{sum(found.values()):,} looks: {dict(found)}")
    return 1 if found["WRONG"] or not found["whole and right"] else 0


if __name__ == "__main__":
    sys.exit(main())
