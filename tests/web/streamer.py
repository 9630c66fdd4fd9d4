"""A server in a process of its own that writes a long text slowly: `streamer.py HOME`. It prints its address, then serves until killed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from sekisho.serve.engines.fake import FakeEngine, Script

from . import makers

TEXT = " ".join(f"word{i}" for i in range(5000))


def main() -> None:
    script = Script(probabilities=makers.sure_of("ALLOW"), text=TEXT, delay=0.005)
    engine = FakeEngine(script, name=makers.MODEL, context=makers.CONTEXT)
    with (
        makers.house(Path(sys.argv[1])) as home,
        makers.live(home, makers.judge_over(home, engine)) as address,
    ):
        print(address, flush=True)
        threading.Event().wait(120)


if __name__ == "__main__":
    main()
