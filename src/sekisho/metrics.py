"""Every Prometheus name, in one file."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

JUDGEMENTS = Counter(
    "sekisho_judgements_total", "Judgements written to the ledger.", ["task", "decision"], registry=REGISTRY
)
REASONS = Counter(
    "sekisho_gate_reasons_total",
    "Reasons that made the gate stricter than the model.",
    ["reason"],
    registry=REGISTRY,
)
JUDGE_SECONDS = Histogram(
    "sekisho_judge_seconds", "Seconds from a request to its durable judgement.", ["task"], registry=REGISTRY
)
ENGINE_SECONDS = Histogram("sekisho_engine_seconds", "Seconds the engine took to score.", registry=REGISTRY)
LEDGER_SECONDS = Histogram(
    "sekisho_ledger_commit_seconds", "Seconds until an entry was durable.", registry=REGISTRY
)
WAITING = Gauge("sekisho_requests_waiting", "Requests waiting for or being worked on.", registry=REGISTRY)
REFUSED = Counter("sekisho_overloaded_total", "Requests answered 429.", registry=REGISTRY)
CORRECTIONS = Counter("sekisho_corrections_total", "Corrections filed.", ["task"], registry=REGISTRY)
PROMOTIONS = Counter(
    "sekisho_promotions_total", "Promotions taken up by this server.", ["rollback"], registry=REGISTRY
)
RETRIES = Counter(
    "sekisho_retries_joined_total", "Repeated requests that got the first one's answer.", registry=REGISTRY
)
READY = Gauge("sekisho_ready", "1 when the engine answers and the ledger can be written.", registry=REGISTRY)
