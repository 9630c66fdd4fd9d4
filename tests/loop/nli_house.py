"""A house whose NLI classifier is the tiny one, with adapters put on its shelf without training where no weights are needed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sekisho.core.canonical import model_digest, new_id, utc_now
from sekisho.core.records import Judgement, Proof, Stamp
from sekisho.ledger.store import Ledger
from sekisho.serve.nli_files import labels_of
from sekisho.shelf import write_json
from web import makers as web


@contextlib.contextmanager
def house(home: Path, model: Path, **flags):
    with web.house(home, nli_model=str(model), **flags) as opened:
        yield opened


def shelve(home, model: Path, name: str, rows=()) -> str:
    """An adapter without weights; enough for everything that never lays it over a base."""
    with home.shelf.building("nli_adapters") as folder:
        made = {
            "base": model_digest(model),
            "columns": list(labels_of(model)[0]),
            "rows": list(rows),
            "reviewed": [],
            "at": utc_now(),
            "name": name,
        }
        write_json(folder / "made.json", made)
        return home.shelf.keep("nli_adapters", folder)


def proved(
    home, model: Path, adapter: str, passed: bool = True, rival: str | None = None, brier: float = 0.3
) -> Proof:
    record = Proof(
        id=new_id("prf"),
        at=utc_now(),
        task="nli",
        candidate=adapter,
        base=rival or model_digest(model),
        passed=passed,
        why=("made by a test",),
        measures={"target": {"candidate": {"brier": brier}}},
    )
    home.ledger.append([record])
    return record


def judged(
    home, model: Path, answer="supports", adapter=None, sure=0.8, premise="p", hypothesis="h", source=None
) -> str:
    """A judgement as the service would have written it."""
    rest = (1 - sure) / 2
    p = {k: sure if k == answer else rest for k in ("neutral", "refutes", "supports")}
    content = Ledger.seal({"premise": premise, "hypothesis": hypothesis, "source": source})
    record = Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task="nli",
        type="choice",
        name="nli",
        probabilities=p,
        raw=p,
        answer=answer,
        decision=answer,
        content=content.digest,
        stamp=Stamp(
            engine="transformers", model="tiny", model_digest=model_digest(model), adapter_digest=adapter
        ),
    )
    home.ledger.append([record], [content])
    return record.id
