"""`judge gate` and `correct`: a judgement, and a person's word on it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError, MalformedError
from ..core.gate_prompt import DEFAULT_CONTRACT
from . import output, remote
from .options import Call, SettingsGroup, command
from .people import By, name_of

if TYPE_CHECKING:
    from ..wiring import House

PANEL = "Judge and audit"
ANSWER = (
    "id",
    "decision",
    "answer",
    "probabilities",
    "reasons",
    "policy_ref",
    "escalation_target",
    "proposal",
    "risks",
)
"""Fields of a judgement that its answer shows, as `POST /v1/gate` does."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup, help="Judge a request.", no_args_is_help=True, rich_markup_mode="markdown"
    )
    group.callback()(_judge)
    command(group)(gate)
    app.add_typer(group, name="judge", rich_help_panel=PANEL)
    command(app, panel=PANEL)(correct)


def _judge() -> None:
    """Judge a request."""


def gate(
    call: Call,
    text: Annotated[str, typer.Option(help="The request to judge; `-` reads it from standard input.")],
    contract: Annotated[
        str, typer.Option(help="Identity contract the request is made under.")
    ] = DEFAULT_CONTRACT,
) -> None:
    """Ask the gate whether a request may be answered, and record the judgement.

    A server that is up on the set host and port is asked; otherwise the model is loaded for this one judgement.
    """
    request = read_text() if text == "-" else text
    with call.house() as house:
        if remote.serves(house):
            answer = remote.gate(house.settings, request, contract)
        else:
            answer = asyncio.run(_gate_here(house, request, contract))
    if call.json:
        output.write_json(answer)
    else:
        output.write_pairs(_told(answer))


async def _gate_here(house: House, request: str, contract: str) -> dict[str, Any]:
    """Load what is promoted for one judgement, and give it in the form of `POST /v1/gate`."""
    from ..loop.serving import open_judge

    judge = await open_judge(house)
    try:
        record = (await judge.gate(request, contract)).model_dump(mode="json")
    finally:
        await judge.serving.engine.stop()
    stamp = record["stamp"]
    return {k: record[k] for k in ANSWER} | {"calibration": stamp["calibration"], "model": stamp["model"]}


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    chances = answer["probabilities"].items()
    told = {
        "decision": answer["decision"],
        "judgement": answer["id"],
        "probabilities": ", ".join(f"{k} {p:.3f}" for k, p in chances) or "none",
        "reasons": ", ".join(answer["reasons"]),
        "policy": answer["policy_ref"] or "-",
        "calibration": answer["calibration"],
    }
    more = {
        "ask": answer["escalation_target"],
        "instead": answer["proposal"],
        "risks": "; ".join(answer["risks"]),
    }
    return told | {k: v for k, v in more.items() if v}


def read_text() -> str:
    """Read a request from standard input, without its last line break. Raises MalformedError when it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as e:
        raise MalformedError(f"Standard input is not UTF-8 (byte {e.start}).", "Give it in UTF-8.") from e


def correct(
    call: Call,
    id: Annotated[str, typer.Argument(help="The judgement, `jdg_…`.")],
    label: Annotated[
        str, typer.Option(help='The right answer; the machine\'s own for "reviewed and right".')
    ],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: By = None,
) -> None:
    """File a correction on a judgement. `finetune` learns from it."""
    from ..loop.feedback import corrected

    if not id.strip():
        raise InputError("The judgement's id is empty.", "List judgements with `sekisho audit show`.")
    with call.house() as house:
        call.result(corrected(house, id, label, reason, name_of(by)))
