"""Every Prometheus name, in one file."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import ParamSpec

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_log = logging.getLogger("sekisho.metrics")
P = ParamSpec("P")


_SHADOW = 0.003
"""Seconds after which whoever was asked or answered is at work, or has what he wanted, and a core is free."""
_noted: deque[Callable[[], object]] = deque()
_due: asyncio.AbstractEventLoop | None = None
"""The loop in which they will be."""


def soon(note: Callable[P, object], *args: P.args, **more: P.kwargs) -> None:
    """Note something down a few milliseconds later: nobody's answer waits for a number. At once where no event loop runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        note(*args, **more)
        return
    global _due
    _noted.append(lambda: note(*args, **more))
    if _due is not loop:  # one that was closed takes its timer with it
        _due = loop
        loop.call_later(_SHADOW, settle)


def settle() -> None:
    """Note down what is to be noted. Any thread may call it."""
    global _due
    _due = None
    while _noted:
        try:
            note = _noted.popleft()
        except IndexError:  # another thread was quicker
            return
        try:
            note()
        except Exception:  # a number that cannot be noted keeps no other from being noted
            _log.exception("a number was not noted")


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
ENGINE_DEATHS = Counter(
    "sekisho_engine_deaths_total", "Times the engine's process ended by itself.", registry=REGISTRY
)
ENGINE_RESTARTS = Counter(
    "sekisho_engine_restarts_total", "Times it was started again and served.", registry=REGISTRY
)
FALLBACKS = Counter(
    "sekisho_fallbacks_total",
    "Requests that the first far server did not answer and the fallback was asked.",
    registry=REGISTRY,
)
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
LOADS = Counter(
    "sekisho_model_loads_total",
    "Times an engine loaded a model: start (also for a promotion, before it serves), restart (its process had ended, a cold start while requests come: alarm).",
    ["cause"],
    registry=REGISTRY,
)
LOAD_SECONDS = Histogram(
    "sekisho_model_load_seconds",
    "Seconds a load of a model took.",
    buckets=(0.1, 0.5, 1, 5, 10, 30, 60, 120, 300),
    registry=REGISTRY,
)
LANE_WAIT_SECONDS = Histogram(
    "sekisho_lane_wait_seconds",
    "Seconds a request waited for its first slot.",
    ["lane"],
    registry=REGISTRY,
)
LANE_FIRST_SECONDS = Histogram(
    "sekisho_lane_first_seconds",
    "Seconds from a request's arrival at its lane to its first text, or to its scores.",
    ["lane"],
    registry=REGISTRY,
)
LANE_WAITING = Gauge("sekisho_lane_waiting", "Requests that wait for a slot.", ["lane"], registry=REGISTRY)
LANE_SLOTS = Gauge(
    "sekisho_slots",
    "Slots of the engine by state, the place kept for decisions among them: held_rt, held_be, transfer (told to stop, not yet free), free.",
    ["state"],
    registry=REGISTRY,
)
LANE_REFUSED = Counter(
    "sekisho_lane_refused_total",
    "Requests refused because their lane's queue was full.",
    ["lane"],
    registry=REGISTRY,
)
LANE_PREEMPTIONS = Counter(
    "sekisho_preemptions_total", "Times batch work was stopped to make room.", registry=REGISTRY
)
LANE_AGED = Counter(
    "sekisho_lane_aged_total",
    "Times batch work had stood still for so long that it was promoted.",
    registry=REGISTRY,
)
LANE_RESUMED_TOKENS = Counter(
    "sekisho_resumed_tokens_total",
    "Tokens already written of texts that were taken up again.",
    registry=REGISTRY,
)
LANE_PROMPT_TOKENS = Counter(
    "sekisho_lane_prompt_tokens_total", "Tokens of prompts that were answered.", ["lane"], registry=REGISTRY
)
LANE_OUTPUT_TOKENS = Counter(
    "sekisho_lane_output_tokens_total", "Tokens of finished texts.", ["lane"], registry=REGISTRY
)
_RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
LANE_DECODE_RATE = Histogram(
    "sekisho_decode_tokens_per_second",
    "Tokens a second of a text from its first piece to its last, once for each time it held a slot.",
    ["lane"],
    buckets=_RATES,
    registry=REGISTRY,
)
LANE_PROMPT_RATE = Histogram(
    "sekisho_prompt_tokens_per_second",
    "Tokens of a prompt by the seconds from its slot to its first text or its scores; what lay in the cache makes it faster.",
    ["lane"],
    buckets=_RATES,
    registry=REGISTRY,
)
SPEED = Gauge(
    "sekisho_speed_ratio",
    "Running mean of the texts' tokens a second by that of the warm-up; below 0.2 the server calls itself degraded.",
    registry=REGISTRY,
)
KV_TOKENS = Gauge(
    "sekisho_kv_tokens",
    "Tokens that lie in the llama.cpp engine's caches, as far as is known.",
    registry=REGISTRY,
)
KV_CAPACITY = Gauge(
    "sekisho_kv_capacity_tokens",
    "Tokens that the llama.cpp engine's caches have room for.",
    registry=REGISTRY,
)
ACCESS_REFUSED = Counter(
    "sekisho_access_refused_total",
    "Requests refused at the door: token (missing or wrong), scope, rate.",
    ["why"],
    registry=REGISTRY,
)
ESCALATIONS = Counter(
    "sekisho_escalation_steps_total",
    "Steps of escalations: take, decide, hand_back, expire.",
    ["step"],
    registry=REGISTRY,
)
OS_LOG_UP = Gauge(
    "sekisho_os_log_up", "1 while the operating system's log takes what it is given.", registry=REGISTRY
)
INCIDENTS = Counter(
    "sekisho_incidents_total",
    "Incidents written into the ledger: egress, listener, connection, child, binary, bias.",
    ["sort"],
    registry=REGISTRY,
)
NLI_SWAPS = Counter(
    "sekisho_nli_swaps_total", "Steps that changed which NLI adapter answers.", ["step"], registry=REGISTRY
)
RUBRIC_IMAGES = Gauge(
    "sekisho_rubric_images",
    "Latest different images, 200 at most, whose answers the next metrics look at together.",
    ["pack", "eye"],
    registry=REGISTRY,
)
RUBRIC_PREVALENCE = Gauge(
    "sekisho_rubric_prevalence",
    "Share of those images on which a criterion was answered yes.",
    ["pack", "eye", "criterion"],
    registry=REGISTRY,
)
RUBRIC_DISTINCT = Gauge(
    "sekisho_rubric_distinct_vectors",
    "Different sets of answers among them.",
    ["pack", "eye"],
    registry=REGISTRY,
)
RUBRIC_ENTROPY = Gauge(
    "sekisho_rubric_outcome_entropy_bits",
    "Shannon entropy of their outcomes.",
    ["pack", "eye"],
    registry=REGISTRY,
)
RUBRIC_ALARM = Gauge(
    "sekisho_rubric_alarm",
    "1 while the answers look as if the eye had stopped looking: nearly_all_yes, nearly_all_no, few_vectors, one_outcome, stuck_criteria (docs/rubrics.md).",
    ["pack", "eye", "alarm"],
    registry=REGISTRY,
)
