"""The part of a policy document the gate reads: what a person is told, which clauses are cited, and who is asked.

The clauses themselves, levels and organisations are read by `core.policyfile`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ..core.canonical import digest_json
from ..core.errors import DataError
from ..core.question import Frozen


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


class GatePolicy(Frozen):
    """The part of a policy the gate reads; the rest of the document is kept and digested with it.

    Attributes:
        name: name of the policy.
        version: counted up by the organisation.
        answers: texts for escalated and denied requests.
        decision_clause: clause cited for each decision.
        desks: who is asked, by contract, with `default`.
    """

    name: str
    version: int
    answers: Answers
    decision_clause: Mapping[str, str]
    desks: Mapping[str, Words] = Field(default_factory=dict)

    def clause(self, decision: str) -> str:
        """The clause cited for a decision, as `name@version#clause`."""
        return f"{self.name}@{self.version}#{self.decision_clause[decision]}"

    def target(self, contract: str, lang: str) -> str:
        """Who is asked when a request under `contract` is escalated."""
        return (self.desks.get(contract) or self.desks["default"]).in_language(lang)

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
    return policy


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
