"""The part of a policy document the gate reads: what a person is told, which clauses are cited, and who is asked.

The clauses themselves, levels and organisations are read by `core.policyfile`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ..core.canonical import digest_json
from ..core.errors import DataError
from ..core.policyfile import Clause
from ..core.question import Frozen
from .rules import Fired, Rule, fired
from .rules import faults as faults_of_rules


class Words(Frozen):
    """One text in both languages."""

    ja: str
    en: str

    def in_language(self, lang: str) -> str:
        """The text in `ja`, else in English."""
        return self.ja if lang == "ja" else self.en


class Answers(Frozen):
    """What a person is told instead of an answer. `{id}`, `{target}` and `{clause}` are filled in."""

    escalate: Words
    deny: Words


class Advice(Frozen):
    """What somebody who is not answered is told beside the decision.

    Attributes:
        proposal: the smallest safe alternative.
        risks: what answering could have led to.
    """

    proposal: Words
    risks: tuple[Words, ...] = ()


class GatePolicy(Frozen):
    """The part of a policy the gate reads; the rest of the document is kept and digested with it.

    Attributes:
        name: name of the policy.
        version: counted up by the organisation.
        answers: texts for escalated and denied requests.
        decision_clause: clause cited for each decision.
        desks: who is asked, by contract, with `default`.
        clauses: every clause, for the rules and the advice that name one.
        rules: what makes decisions stricter, each under a clause.
        escalation: who decides, by contract and clause; where it says nothing, the desk does.
        advice: proposal and risks, by clause, or for all clauses of a decision under its `decision_clause`.
    """

    name: str
    version: int
    answers: Answers
    decision_clause: Mapping[str, str]
    desks: Mapping[str, Words] = Field(default_factory=dict)
    clauses: tuple[Clause, ...] = ()
    rules: tuple[Rule, ...] = ()
    escalation: Mapping[str, Mapping[str, Words]] = Field(default_factory=dict)
    advice: Mapping[str, Advice] = Field(default_factory=dict)

    def clause(self, decision: str, ref: str | None = None) -> str:
        """The clause cited for a decision, as `name@version#clause`: `ref`, or the one that stands for the decision."""
        return f"{self.name}@{self.version}#{ref or self.decision_clause[decision]}"

    def target(self, contract: str, lang: str, ref: str | None = None) -> str:
        """Who is asked when a request under `contract` is escalated, by the clause `ref` if there is one."""
        named = self.escalation.get(contract, {}).get(ref or "")
        return (named or self.desks.get(contract) or self.desks["default"]).in_language(lang)

    def decision_of(self) -> dict[str, str]:
        """The decision that each clause leads to."""
        return {c.ref: c.decision for c in self.clauses}

    def fired(self, texts: Sequence[str], contract: str, level: str | None = None) -> tuple[Fired, ...]:
        """The rules that fire on the texts of one request at a desk, strictest first."""
        return fired(self.rules, self.decision_of(), texts, contract, level)

    def advise(self, decision: str, ref: str | None = None) -> Advice | None:
        """Proposal and risks for a decision by a clause; None for ALLOW, and where the policy says nothing."""
        if decision == "ALLOW":
            return None
        return self.advice.get(ref or "") or self.advice.get(self.decision_clause[decision])

    def answer(self, decision: str, lang: str, **fill: str) -> str:
        """The text a person gets instead of an answer."""
        words = self.answers.deny if decision == "DENY" else self.answers.escalate
        return words.in_language(lang).format(**fill)


def find_policy(name: str, share: Path) -> Path:
    """Return the file of a policy given by path or by name under `share`/policies."""
    for path in (Path(name), share / "policies" / f"{name}.toml"):
        if path.is_file():
            return path
    raise DataError(f"There is no policy {name!r}.", f"Give a path, or a name under {share / 'policies'}.")


def read_document(path: Path) -> dict[str, Any]:
    """Read a TOML document as it stands. Raises DataError with the reason."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise DataError(f"{path} cannot be read: {e}.", "Mend the file; it must be TOML in UTF-8.") from e


def read_policy(name: str, share: Path) -> dict[str, Any]:
    """Read a policy by path or name, laid over the one it `extends`, if it does.

    Tables are laid over key by key, `rules` are added to those beneath, everything else replaces what is beneath. So an organisation's own
    file holds only what is its own, and cannot drop a rule.

    Raises:
        DataError: a file is missing or wrong, or policies extend each other in a circle.
    """
    layers: list[dict[str, Any]] = []
    seen: list[str] = []
    while True:
        if name in seen:
            raise DataError(
                f"Policies extend each other: {' → '.join([*seen, name])}.", "Take one `extends` out."
            )
        seen.append(name)
        layers.append(read_document(find_policy(name, share)))
        if "extends" not in layers[-1]:
            break
        name = str(layers[-1]["extends"])
    found = layers.pop()
    while layers:
        found = _laid_over(found, layers.pop())
    return found


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        if key == "rules":
            found[key] = [*below.get(key, []), *value]
        elif isinstance(value, dict) and isinstance(below.get(key), dict):
            found[key] = _laid_over(below[key], value)
        else:
            found[key] = value
    return found


def policy_of(document: Mapping[str, Any]) -> GatePolicy:
    """Take the gate's part out of a policy document.

    Raises:
        DataError: naming every missing or wrong key.
    """
    try:
        policy = GatePolicy.model_validate({k: document[k] for k in GatePolicy.model_fields if k in document})
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise DataError(
            f"The policy has wrong keys: {wrong}.", "See docs/policy.md for a complete example."
        ) from e
    missing = {"ALLOW", "ESCALATE", "DENY"} - set(policy.decision_clause)
    if missing or "default" not in policy.desks:
        raise DataError(
            f"The policy lacks decision_clause for {sorted(missing) or 'none'} or desks.default.",
            "See docs/policy.md for a complete example.",
        )
    _check_answers(policy)
    _check_rules(policy)
    return policy


def _check_rules(policy: GatePolicy) -> None:
    clauses = policy.decision_of()
    wrong = faults_of_rules(policy.rules, clauses)
    known = {*clauses, *policy.decision_clause.values()}
    wrong += [f"advice for {ref!r}, which is no clause" for ref in sorted(set(policy.advice) - known)]
    if wrong:
        raise DataError(f"The policy is wrong: {'; '.join(wrong)}.", "See docs/policy.md; mend the file.")


def _check_answers(policy: GatePolicy) -> None:
    """Fill every answer in once: a brace too many would otherwise be found by the first person who is refused."""
    for decision in ("ESCALATE", "DENY"):
        for lang in ("ja", "en"):
            try:
                policy.answer(decision, lang, id="jdg", target="desk", clause="clause")
            except (LookupError, ValueError, AttributeError, TypeError) as e:
                raise DataError(
                    f"The policy's answers.{decision.lower()}.{lang} cannot be filled in: {e}.",
                    "Use {id}, {target} and {clause}; write {{ and }} for a plain brace.",
                ) from e


def document_digest(document: Mapping[str, Any]) -> str:
    """Digest of a whole document, with every key it has."""
    return digest_json(document)
