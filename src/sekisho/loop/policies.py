"""Policies and contracts as the ledger has them: every version, what changed from one to the next, and whether a file would be taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ..core.differences import Difference, differences
from ..core.errors import DataError, NotFoundError
from ..core.policyfile import ContractDocument, PolicyDocument
from ..core.records import Contract, Policy
from ..ledger.store import Ledger
from ..tasks.policy import GatePolicy, document_digest, policy_of, read_policy
from .parts import Parts

_PAGE = 1000


class Version(NamedTuple):
    """One version of a document, and how it differs from the one of its kind and name before it; a policy from the policy before it.

    Attributes:
        changed: None for the first.
    """

    kind: str
    record: Policy | Contract
    changed: list[Difference] | None


def versions(ledger: Ledger) -> Iterator[Version]:
    """Yield every version in the ledger, policies first, each kind in the order they came into force."""
    for kind in ("policy", "contract"):
        before: dict[str, Any] = {}
        for record in _records(ledger, kind):
            key = record.name if kind == "contract" else ""
            old = before.get(key)
            yield Version(kind, record, None if old is None else differences(old, record.document))
            before[key] = record.document


def _records(ledger: Ledger, kind: str) -> Iterator[Policy | Contract]:
    after = 0
    while page := ledger.entries(kind=kind, after=after, limit=_PAGE):
        for entry in page:
            assert isinstance(entry.record, Policy | Contract)
            yield entry.record
        after = page[-1].seq


def difference(ledger: Ledger, before: str, after: str) -> list[Difference]:
    """Compare two versions, by the ids of their records. Raises NotFoundError."""
    return differences(_document(ledger, before), _document(ledger, after))


def _document(ledger: Ledger, id: str) -> Any:
    entry = ledger.get(id)
    if entry is None or not isinstance(entry.record, Policy | Contract):
        raise NotFoundError(
            f"The ledger has no policy or contract {id!r}.", "List them with `sekisho policy history`."
        )
    return entry.record.document


def check(parts: Parts, name: str) -> tuple[dict[str, Any], list[Difference]]:
    """Read a policy by path or name as a start would, and compare it with the one that is set.

    Returns:
        What it is, and how it differs.

    Raises:
        DataError: naming what is wrong.
    """
    document = read_policy(name, parts.settings.share)
    policy = policy_of(document)
    try:
        PolicyDocument.model_validate(document)
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise DataError(f"The policy {name} is wrong: {wrong}.", "Mend the file.") from e
    told = {"name": policy.name, "version": policy.version, "digest": document_digest(document)}
    counts = {"clauses": len(policy.clauses), "rules": len(policy.rules)}
    return told | counts, differences(dict(parts.policy_document), document)


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of policies, as they are after `extends`, and of identity contracts."""
    policy = {"allOf": [TypeAdapter(m).json_schema() for m in (PolicyDocument, GatePolicy)]}
    for part in policy["allOf"]:
        part.pop("additionalProperties", None)
    return {"policy": policy, "contract": ContractDocument.model_json_schema()}
