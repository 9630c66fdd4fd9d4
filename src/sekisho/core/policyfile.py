"""Policy and contract documents on disk: clauses, escalation targets, clearance levels, identity contracts. TOML, both languages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import DataError
from .gate_prompt import Lang
from .question import Frozen
from .records import Decision


class Bilingual(Frozen):
    """One text in Japanese and English."""

    ja: str
    en: str

    def of(self, lang: Lang) -> str:
        """The text in `lang`."""
        return self.ja if lang == "ja" else self.en


class Clause(Frozen):
    """One clause: `ref` is what a judgement's `policy_ref` names, `decision` what the clause leads to."""

    ref: str
    decision: Decision
    title: Bilingual
    text: Bilingual


class Level(Frozen):
    """A clearance level: who may see it and how many days its records are kept."""

    name: Bilingual
    disclosure: Bilingual
    retention_days: int


class PolicyDocument(BaseModel):
    """The parts of a policy file that data and gate share; tables it does not know are left to their readers.

    Attributes:
        clauses: by order of the file.
        levels: least to most secret.
        organisations: example organisation by domain.
        escalation: who decides, by domain and ESCALATE clause.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: int
    clauses: tuple[Clause, ...]
    levels: tuple[Level, ...]
    organisations: Mapping[str, Bilingual]
    escalation: Mapping[str, Mapping[str, Bilingual]]

    def clause(self, ref: str) -> Clause:
        """Return the clause named `ref`. Raises DataError when there is none."""
        for clause in self.clauses:
            if clause.ref == ref:
                return clause
        raise DataError(
            f"Policy {self.name} has no clause {ref!r}.", f"It has {', '.join(c.ref for c in self.clauses)}."
        )

    def level(self, name: str) -> Level:
        """Return the level whose Japanese name is `name`. Raises DataError when there is none."""
        for level in self.levels:
            if level.name.ja == name:
                return level
        raise DataError(f"Policy {self.name} has no level {name!r}.", "Use one of its `levels`.")

    def target(self, domain: str, ref: str, lang: Lang) -> str | None:
        """Who decides on a request that `ref` escalates; None for clauses that escalate to nobody."""
        target = self.escalation.get(domain, self.escalation["general"]).get(ref)
        return target.of(lang) if target else None


class ContractDocument(Frozen):
    """An identity contract: who the model is at this desk, what it is for, what it never does, whom it asks."""

    name: str
    version: int
    role: Bilingual
    scope: Bilingual
    limitations: tuple[Bilingual, ...]
    escalation_policy: Bilingual


D = TypeVar("D", bound=BaseModel)


def read_policy(name: str, share: Path) -> PolicyDocument:
    """Read a policy given by path or by name under `share`/policies. Raises DataError when it is missing or wrong."""
    return _read(name, share / "policies", PolicyDocument)


def read_contract(name: str, share: Path) -> ContractDocument:
    """Read an identity contract by path or by name under `share`/policies/contracts. Raises DataError."""
    return _read(name, share / "policies" / "contracts", ContractDocument)


def _read(name: str, folder: Path, kind: type[D]) -> D:
    path = Path(name) if name.endswith(".toml") else folder / f"{name}.toml"
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
        raise DataError(f"{path} cannot be read: {e}.", f"Give a path, or one of: {known}.") from e
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise DataError(f"{path} is wrong: {wrong}.", "Mend the file.") from e
