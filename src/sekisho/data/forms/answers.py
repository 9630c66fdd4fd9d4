"""The answers to the 60 checks of the pack `intake`, read from a form's plan, never from its pixels."""

from __future__ import annotations

from .plan import Camera, Plan


def answers(plan: Plan) -> dict[str, int]:
    """0 or 1 by criterion id, in the pack's order."""
    found = _legibility(plan.camera) | _completeness(plan) | _trust(plan) | _handling(plan)
    found["H11"] = not (
        plan.hand or any(found[i] for i in ("T01", "T02", "T03", "T06", "H05", "C11", "C12", "C14", "H06"))
    )
    return {id: int(value) for id, value in found.items()}


def _legibility(c: Camera) -> dict[str, bool]:
    found = {
        "L01": c.blur > 2.5 or (c.dark < 0.3) or c.stain or c.glare or (c.faint and c.blur > 0),
        "L02": c.blur > 0,
        "L03": c.dark < 0.6,
        "L04": c.glare,
        "L05": c.faint,
        "L06": c.specks,
        "L07": c.hidden or c.cropped or c.corner is not None,
        "L08": c.corner is not None,
        "L09": c.cropped,
        "L10": c.fold,
        "L11": c.shifted,
        "L12": c.turn != 0,
        "L13": c.tilt != 0 or c.slant,
        "L14": c.turn != 0,
        "L15": c.desk,
        "L16": c.slant,
    }
    return found | {"L17": not any(found.values())}


def between(plan: Plan) -> list[int]:
    """Places of empty fields that stand between filled ones."""
    filled = [i for i, f in enumerate(plan.fields) if f.filled]
    return [i for i, f in enumerate(plan.fields) if not f.filled and filled and filled[0] < i < filled[-1]]


def sealed(plan: Plan) -> bool:
    """Whether there is a seal of any sort."""
    return bool(plan.seal) or any(plan.approvals or ()) or any(f.fix and f.sealed for f in plan.fields)


def _completeness(p: Plan) -> dict[str, bool]:
    empty = [f for f in p.fields if not f.filled]
    whole = (
        not empty
        and p.choices is not False
        and p.date == "full"
        and bool(p.seal)
        and p.signature is not False
    )
    return {
        "C01": any(f.required for f in empty),
        "C02": bool(between(p)),
        "C03": any(f.kind == "name" for f in empty),
        "C04": any(f.kind == "address" for f in empty),
        "C05": p.choices is False,
        "C06": p.date == "empty",
        "C07": p.date != "full",
        "C08": p.marks and p.date in ("empty", "no_day", "no_month", "year"),
        "C09": p.date in ("no_day", "no_month", "year"),
        "C10": p.date == "year",
        "C11": p.page == "many",
        "C12": p.continues,
        "C13": p.attached,
        "C14": p.breaks,
        "C15": p.bound is not None,
        "C16": whole and all(p.approvals or ()),
    }


def _trust(p: Plan) -> dict[str, bool]:
    fixes = {f.fix for f in p.fields}
    boxes = p.approvals or []
    return {
        "T01": p.secret,
        "T02": p.loud,
        "T03": p.viewers,
        "T04": p.number,
        "T05": p.portrait,
        "T06": bool(fixes - {None}),
        "T07": "strike" in fixes,
        "T08": "strike" in fixes,
        "T09": "fluid" in fixes,
        "T10": any(f.fix and f.sealed for f in p.fields),
        "T11": any(f.squeezed for f in p.fields),
        "T12": p.seal is False,
        "T13": p.signature is False,
        "T14": not sealed(p) and not p.signature,
        "T15": any(boxes) and not all(boxes),
        "T16": bool(boxes) and not boxes[-1],
    }


def _handling(p: Plan) -> dict[str, bool]:
    g = p.grid
    return {
        "H01": p.hand,
        "H02": p.coloured,
        "H03": p.uneven,
        "H04": p.beyond,
        "H05": p.notes,
        "H06": g is not None and g.rows >= 5,
        "H07": g is not None and g.header,
        "H08": g is not None and g.figures,
        "H09": g is not None and g.total,
        "H10": g is not None and g.unit,
    }
