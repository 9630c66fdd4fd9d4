from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from sekisho import wiring
from sekisho.cli.main import run
from sekisho.core.canonical import digest_file, digest_text, new_id, utc_now
from sekisho.core.oversight import Certificate
from sekisho.core.records import Proof
from sekisho.core.settings import load
from sekisho.loop.certificate import in_force
from sekisho.loop.promote import promote
from sekisho.shelf import Release, write_json
from sekisho.tasks.scope import fit_scope

ASKED = "公開の個人情報保護方針を要約してください。"


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def cli(capsys):
    """Run a command in this process."""

    def call(*args: str) -> Outcome:
        capsys.readouterr()
        code = run(args)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


def start(*args: str, **more) -> subprocess.Popen:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "sekisho", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


@pytest.fixture
def house():
    opened = wiring.build(load(env={"SEKISHO_HOME": _home(), "SEKISHO_ENGINE": "fake"}))
    yield opened
    opened.close()


def _home() -> str:
    import os

    return os.environ["SEKISHO_HOME"]


@pytest.fixture
def promoted(house, monkeypatch):
    """A house whose fake engine serves a release; returns the digests of two releases, the first promoted."""
    monkeypatch.setenv("SEKISHO_ENGINE", "fake")
    first = shelve(house, "first")
    second = shelve(house, "second", first)
    promote(house, first, by="a test")
    return [first, second]


def shelve(house, name: str, base: str | None = None) -> str:
    """Put a release on the shelf whose proof passed beside `base`."""
    adapter = digest_text(name)
    proof = Proof(
        id=new_id("prf"),
        at=utc_now(),
        task="gate",
        candidate=adapter,
        base=base,
        passed=True,
        why=("a test",),
        measures={},
        data=digest_text("data"),
    )
    policy, contracts = in_force(house)
    shown = Certificate(
        id=new_id("crt"),
        at=utc_now(),
        adapter=adapter,
        proof=proof.id,
        feasible=True,
        alpha=0.05,
        confidence=0.95,
        threshold=0.5,
        temperature=1.0,
        misses=0,
        cases=100,
        bound=0.03,
        policy=policy,
        contracts=contracts,
        data=digest_text("data"),
        expires="9999",
    )
    house.ledger.append([proof, shown])
    with house.shelf.building("releases") as folder:
        write_json(folder / "scope.json", fit_scope([ASKED], [ASKED]).model_dump())
        release = Release(
            name=name,
            base=digest_text("base"),
            adapter=adapter,
            recipe=digest_text("recipe"),
            data=digest_text("data"),
            files={"scope.json": digest_file(folder / "scope.json")},
            gguf={},
            temperatures={"choice": 1.0},
            calibration="cal_test",
            threshold=0.5,
            proof=proof.id,
            certificate={},
        )
        write_json(folder / "release.json", release.model_dump(mode="json"))
        return house.shelf.keep("releases", folder)
