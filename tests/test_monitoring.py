"""The dashboard and the alert rules speak of metrics and labels that exist, in PromQL that parses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from sekisho import metrics

FOLDER = Path(__file__).parents[1] / "monitoring"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SCRAPED = {"instance", "job"}
"""Labels that Prometheus itself adds."""


def families() -> dict[str, set[str]]:
    """Every series a scrape can bring, with its labels."""
    found = {}
    for collector in metrics.REGISTRY._collector_to_names:
        (family,) = collector.describe()
        for suffix in SUFFIXES[family.type]:
            found[family.name + suffix] = set(collector._labelnames) | (
                {"le"} if suffix == "_bucket" else set()
            )
    return found


SERIES = families()


def rules() -> list[dict]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict]:
    return json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))["panels"]


def expressions() -> list[str]:
    filled = [t["expr"].replace("$instance", ".*") for p in panels() for t in p["targets"]]
    return [r["expr"] for r in rules()] + filled


def selectors(expr: str) -> list[tuple[str, set[str], list[str]]]:
    """Every series an expression names, the labels it is selected by, and the labels of the groupings around it."""
    found, grouped = [], []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.extend(node.modifier.labels)
        vector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(vector, promql_parser.VectorSelector):
            found.append((vector.name, {m.name for m in vector.matchers.matchers}))
        return True

    promql_parser.walk(promql_parser.parse(expr), pre_visit=visit)
    return [(name, labels, grouped) for name, labels in found]


def wrong(expr: str) -> list[str]:
    """What an expression says that is not so."""
    told = []
    for name, labels, grouped in selectors(expr):
        if name not in SERIES:
            told.append(name)
            continue
        told += [f"{name}: {label}" for label in {*labels, *grouped} - SERIES[name] - SCRAPED]
    return told


@pytest.mark.parametrize("expr", expressions())
def test_every_expression_parses_and_names_what_exists(expr):
    assert selectors(expr)
    assert not wrong(expr)


@pytest.mark.parametrize(
    "expr", ["sekisho_no_such_metric > 0", 'sekisho_ready{lane="rt"} == 0', "sum by (lane) (sekisho_ready)"]
)
def test_what_does_not_exist_is_found(expr):
    assert wrong(expr)


def test_a_query_that_is_none_is_found():
    with pytest.raises(ValueError, match=r"unexpected|parse|expected|unclosed"):
        selectors("sum(rate(sekisho_ready)")


def test_rules_have_what_prometheus_wants():
    names = [r["alert"] for r in rules()]
    assert len(set(names)) == len(names) >= 10
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "what_to_do"} == rule["annotations"].keys()


def test_alerts_and_dashboard_cover_what_the_lanes_tell():
    everything = {name for expr in expressions() for name, _, _ in selectors(expr)}
    unseen = {
        name
        for name in SERIES
        if not any(other in everything for other in SERIES if _family(other) == _family(name))
    }
    assert {_family(name) for name in unseen} <= {"sekisho_requests_waiting", "sekisho_retries_joined"}


def _family(series: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", series)


def test_the_dashboard_has_what_grafana_wants():
    board = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= board.keys()
    assert len({p["id"] for p in panels()}) == len(panels()) >= 12
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels()]
    assert len(set(places)) == len(places)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels())
    legends = [t["legendFormat"] for p in panels() for t in p["targets"]]
    assert all(legends)
