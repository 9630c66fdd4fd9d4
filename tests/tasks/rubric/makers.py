"""Small packs for tests, and a scorer written the plain way to compare with."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from sekisho.tasks.rubric.pack import Pack, parse_pack

SHARE = Path(__file__).parents[3]


def words(text: str) -> dict:
    return {"ja": f"{text}か", "en": f"{text}?"}


def document(criteria: list[tuple], orders: dict[str, list[str]], subs: list[str], tie: str = "seed") -> dict:
    """A pack's document: criteria as (patterns, sub-attribute, weight)."""
    templates = ["one", "two", "{name} three", "{name} four"]
    return {
        "name": "small",
        "version": "1",
        "title": words("small"),
        "sub_attributes": {s: words(s) for s in subs},
        "limits": {"tie": tie, "least_fired": 1, "name": 5, "comment": {"ja": 20, "en": 20}},
        "criteria": [
            {
                "id": f"c{i}",
                "question": words(f"c{i}"),
                "patterns": p,
                "sub_attribute": s,
                "weight": w,
            }
            for i, (p, s, w) in enumerate(criteria)
        ],
        "patterns": [
            {
                "id": id,
                "title": words(id),
                "trigger": words(id),
                "sub_order": order,
                "templates": {"ja": templates, "en": templates},
            }
            for id, order in orders.items()
        ],
    }


def pack(*given, **named) -> Pack:
    return parse_pack(document(*given, **named), "a test")


@st.composite
def packs(draw) -> Pack:
    """Packs of any size the form allows, sound but for how their patterns compete."""
    subs = [f"s{i}" for i in range(draw(st.integers(1, 4)))]
    names = [f"p{i}" for i in range(draw(st.integers(1, 32)))]
    linked = st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)
    one = st.tuples(linked, st.sampled_from(subs), st.integers(1, 100))
    criteria = draw(st.lists(one, min_size=1, max_size=64))
    return pack(criteria, {n: draw(st.permutations(subs)) for n in names}, subs)


def plainly(pack: Pack, answers: dict[str, int]) -> tuple[dict[str, int], list[str]]:
    """Counts by pattern and the leaders, by the rule as it is told: dictionaries and loops."""
    counts = {p.id: 0 for p in pack.patterns}
    sums = {p.id: dict.fromkeys(p.sub_order, 0) for p in pack.patterns}
    for c in pack.criteria:
        for p in c.patterns if answers[c.id] else ():
            counts[p] += 1
            sums[p][c.sub_attribute] += c.weight
    leaders = [p.id for p in pack.patterns if counts[p.id] == max(counts.values())]
    for place in range(len(pack.sub_attributes)):
        at = {p.id: sums[p.id][p.sub_order[place]] for p in pack.patterns if p.id in leaders}
        leaders = [p for p in leaders if at[p] == max(at.values())]
    return counts, leaders
