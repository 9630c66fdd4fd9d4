"""Headless Chromium over its own pipe (DevTools protocol, `--remote-debugging-pipe`): one page, evaluated, typed into, photographed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "sudo apt-get install chromium"

_ON_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 20) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Puts the pipe's ends where Chromium looks for them. A shell cannot: dash knows no number above nine."""


def program() -> str | None:
    """Where Chromium is; None when it is not installed."""
    return next(
        (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None
    )


class Browser:
    """One Chromium with one page. Use as a context."""

    def __init__(self, profile: Path, lang: str) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ON_3_AND_4, str(to_read), str(to_write), program() or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", f"--user-data-dir={profile}", f"--lang={lang}", "--window-size=1100,900", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._rest, self._count, self._session = b"", 0, None

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        self._process.terminate()
        self._process.wait(20)
        os.close(self._read)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events are passed over."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._count:
                assert "error" not in told, told
                return told["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 16)
            assert part, "Chromium ended"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait until an expression on the page is true."""
        self.run(
            f"new Promise((yes, no) => {{ const end = Date.now() + {1000 * seconds}; const look = () => ({condition}) ? yes() : Date.now() > end ? no(new Error('late')) : setTimeout(look, 50); look(); }})"
        )

    def give_file(self, selector: str, file: Path) -> None:
        """Put a file into a file input."""
        handle = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")[
            "result"
        ]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=handle)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and let go of a key."""
        common = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, file: Path) -> None:
        """Save a screenshot."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
