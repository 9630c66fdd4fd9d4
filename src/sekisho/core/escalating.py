"""Where an escalation stands, and which step may follow. Pure: the steps so far and a time in, a standing out.

open ── take ──▶ taken ── decide ──▶ decided
 ▲                 │
 └─ hand_back, or the lease is over
open, and nobody decided in time ──▶ expired
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .canonical import utc_after
from .errors import ConflictError, InputError
from .oversight import Escalation

State = Literal["open", "taken", "decided", "expired"]
Step = Literal["take", "decide", "hand_back", "expire"]
_LONGEST = 4000


@dataclass(frozen=True)
class Standing:
    """Where an escalation stands.

    Attributes:
        by: who has it, or decided.
        until: end of the lease while it is taken.
        outcome: ALLOW or DENY once decided; DENY when expired.
        expires: when it expires unless somebody decides.
    """

    state: State
    expires: str
    by: str | None = None
    until: str | None = None
    outcome: str | None = None
    reason: str | None = None

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def standing(asked: str, steps: Sequence[Escalation], now: str, hours: float) -> Standing:
    """Return where the escalation of a judgement made at `asked` stands at `now`.

    A lease that is over counts as handed back. Past its hours it is expired, unless somebody has it just then.
    """
    expires = utc_after(asked, hours * 3600)
    last = steps[-1] if steps else None
    if last is not None and last.step == "decide":
        return Standing("decided", expires, last.by, None, last.outcome, last.reason)
    if last is not None and last.step == "take" and last.until is not None and now < last.until:
        return Standing("taken", expires, last.by, last.until)
    if now >= expires or (last is not None and last.step == "expire"):
        return Standing("expired", expires, None, None, "DENY", "nobody decided in time")
    return Standing("open", expires)


def check_step(at: Standing, step: Step, by: str, reason: str = "", outcome: str | None = None) -> None:
    """Refuse a step that may not follow.

    Raises:
        ConflictError: it is not the step's turn, or somebody else has the escalation.
        InputError: for an outcome that is none, a decision without reason, or an empty name.
    """
    if not by.strip() or len(by) > 200:
        raise InputError("The name is empty or too long.", "Give 1 to 200 characters.", ("body", "by"))
    if len(reason) > _LONGEST or (step == "decide" and not reason.strip()):
        raise InputError(
            "The reason is empty or too long.", f"Give 1 to {_LONGEST} characters.", ("body", "reason")
        )
    if step == "decide" and outcome not in ("ALLOW", "DENY"):
        raise InputError(f"{outcome!r} is no outcome.", "Use ALLOW or DENY.", ("body", "outcome"))
    wanted = {"take": "open", "expire": "expired"}.get(step, "taken")
    if at.state != wanted:
        held = f" by {at.by}" if at.by else ""
        raise ConflictError(f"The escalation is {at.state}{held}.", f"This step needs one that is {wanted}.")
    if step in ("decide", "hand_back") and at.by != by:
        raise ConflictError(f"The escalation was taken by {at.by}.", "Wait until it is handed back.")
