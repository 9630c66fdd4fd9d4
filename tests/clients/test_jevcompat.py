"""Scenario 2: the conformance tester of the field, run as its users run it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from web import makers


@pytest.mark.parametrize("key", [None, "the-token"])
def test_scenario_2_jevcompat_finds_nothing(tmp_path, key):
    out = tmp_path / "report.json"
    with (
        makers.house(tmp_path / "home", tokens=key) as house,
        makers.live(house, makers.judge_over(house)) as address,
    ):
        command = [
            sys.executable,
            "-c",
            "import sys; from jevcompat.cli import main; sys.exit(main())",
            "test",
            address,
        ]
        command += ["--json", str(out), *(["--key", key] if key else [])]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert house.ledger.verify().ok
    assert run.returncode == 0, run.stdout + run.stderr
    found = {r["id"]: (r["level"], r["status"]) for r in json.loads(out.read_text())["results"]}
    assert len(found) > 40
    print({id: f for id, f in found.items() if f[1] == "fail"})
    skipped = {"auth.bearer", "auth.missing", "auth.invalid"} if key is None else {"auth.ignored-when-off"}
    assert {id for id, (_, status) in found.items() if status != "pass"} == skipped
    assert found["confidence.formula"][1] == "pass"
