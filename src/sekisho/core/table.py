"""The table of settings: name, how it is read, default, help. Flags, documents and messages are made from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import values

ENV_PREFIX = "SEKISHO_"


def _default_home() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "sekisho"
    return Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))) / "sekisho"


def _default_share() -> Path:
    return Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Spec:
    """One row of the table.

    Attributes:
        parse: turns text or a TOML value into the value; raises ValueError with what was expected.
        default: a value, or a function when it depends on the machine.
        help: one sentence for people.
        secret: whether the value is never shown, not even a wrong one.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    help: str
    secret: bool = False

    @property
    def env(self) -> str:
        """Name of the environment variable."""
        return ENV_PREFIX + self.name.upper()

    def value_of_default(self) -> Any:
        """The default, computed if it depends on the machine."""
        return self.default() if callable(self.default) else self.default


TABLE: tuple[Spec, ...] = (
    Spec("home", values.path, _default_home, "Folder of all state: ledger, shelf, runs."),
    Spec("share", values.path, _default_share, "Folder with the bundled data, models and recipes."),
    Spec(
        "engine",
        values.choice("llamacpp", "torch", "remote", "fake"),
        "llamacpp",
        "Which engine answers; `fake` has no model and is for tests alone.",
    ),
    Spec(
        "remote_url",
        values.address,
        None,
        "Root of the server the remote engine asks, `http://…`; it must be a machine of your own.",
    ),
    Spec("remote_model", values.optional, None, "Name of the model there; none takes the only one it lists."),
    Spec("remote_key", values.optional, None, "Bearer token for that server.", secret=True),
    Spec(
        "remote_decisions",
        values.choice("auto", "systemone", "logprobs", "choice"),
        "auto",
        "How it is asked for decisions; auto takes the best way that keeps probabilities, choice loses them.",
    ),
    Spec(
        "remote_temperatures",
        values.choice("release", "none"),
        "release",
        "What it divides logits by when it answers System One: the temperatures of the served release's own file, or nothing.",
    ),
    Spec(
        "remote_fallback_url",
        values.address,
        None,
        "Root of a second server, asked when the first one does not answer; none unless it is named.",
    ),
    Spec(
        "remote_fallback_model",
        values.optional,
        None,
        "Name of the model on the second server; none takes the only one it lists.",
    ),
    Spec("remote_fallback_key", values.optional, None, "Bearer token for the second server.", secret=True),
    Spec(
        "weights",
        values.choice("f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"),
        "f16",
        "Which exported file the llamacpp engine serves.",
    ),
    Spec(
        "host",
        values.text,
        "127.0.0.1",
        "Address the server binds; anything but loopback needs API keys or `tokens`, and TLS files.",
    ),
    Spec("port", values.whole(0, 65535), 8000, "Port the server binds; 0 takes a free one."),
    Spec(
        "tokens",
        values.optional,
        None,
        "Comma-separated bearer tokens; empty means loopback clients need none.",
        secret=True,
    ),
    Spec(
        "batch_tokens",
        values.optional,
        None,
        "Comma-separated further bearer tokens, whose requests take the batch lane.",
        secret=True,
    ),
    Spec(
        "api_key",
        values.optional,
        None,
        "API key with which this command line asks a running server.",
        secret=True,
    ),
    Spec(
        "tls_cert", values.optional_path, None, "Certificate chain (PEM) with which the server speaks HTTPS."
    ),
    Spec("tls_key", values.optional_path, None, "Private key (PEM) of `tls_cert`."),
    Spec(
        "separate_duties",
        values.choice("on", "off"),
        "off",
        "`on`: no key may both correct and promote, who filed a correction promotes nothing, and nobody decides on a request of their own.",
    ),
    Spec(
        "device",
        values.choice("cpu", "cuda"),
        "cpu",
        "Where the model runs; cuda that is absent ends the start.",
    ),
    Spec(
        "context",
        values.whole(256, 1_048_576),
        2048,
        "Tokens one request may use, prompt and answer together.",
    ),
    Spec(
        "slots",
        values.whole(1, 64),
        2,
        "Texts the engine writes at once; one place more is kept for decisions.",
    ),
    Spec("threads", values.whole(1, 256), 2, "Threads for engine and training."),
    Spec(
        "spare_slots",
        values.whole(0, 64),
        0,
        "Engine slots beyond `slots` in which batch work that made room keeps its cache.",
    ),
    Spec(
        "kv_type",
        values.choice("f32", "f16", "q8_0", "q4_0"),
        "f32",
        "Number type of the llamacpp engine's key-value cache; q8_0 and q4_0 turn flash attention on.",
    ),
    Spec(
        "memory_limit_mib",
        values.whole(0, 1 << 24),
        0,
        "Memory the llamacpp engine may take; 0 means what is free. A larger need ends the start.",
    ),
    Spec(
        "queue",
        values.whole(1, 100_000),
        256,
        "Requests that may wait in the real-time lane; one more is answered 429.",
    ),
    Spec(
        "batch_queue",
        values.whole(1, 100_000),
        256,
        "Requests that may wait in the batch lane; one more is answered 429.",
    ),
    Spec(
        "batch_share",
        values.whole(0, 64),
        0,
        "Slots that real-time requests do not take away from batch work.",
    ),
    Spec(
        "ageing_seconds",
        values.real(0.1, 86_400),
        30.0,
        "When batch work has stood still for so long, its oldest request gets a turn between real-time ones.",
    ),
    Spec(
        "deadline_seconds",
        values.real(0.05, 600),
        8.0,
        "Seconds for a decision and its ledger entry, for which the last one (of few, an eighth) is kept; later is ESCALATE.",
    ),
    Spec(
        "batch_deadline_seconds",
        values.real(1, 86_400),
        600.0,
        "The same for a decision or a text in the batch lane, waiting included.",
    ),
    Spec(
        "max_body_bytes",
        values.whole(1024, 1 << 30),
        1 << 20,
        "Largest request body, also after decompression.",
    ),
    Spec("max_questions", values.whole(1, 4096), 64, "Most questions of one request."),
    Spec(
        "gate_model",
        values.text,
        "nano",
        "Base model folder for the gate: a name under `share`/models or a path.",
    ),
    Spec(
        "eye",
        values.choice("torch", "remote"),
        "torch",
        "What looks at images: a model in this process, or a vision server of your own.",
    ),
    Spec(
        "eye_model",
        values.text,
        "nano_vl",
        "Model folder of the torch eye: a name under `share`/models or a path.",
    ),
    Spec(
        "eye_url",
        values.address,
        None,
        "Root of the server the remote eye asks, `http://…`; it must be a machine of your own.",
    ),
    Spec(
        "eye_remote_model",
        values.optional,
        None,
        "Name of the vision model there; none takes the only one it lists.",
    ),
    Spec("eye_key", values.optional, None, "Bearer token for that server.", secret=True),
    Spec(
        "eye_seconds", values.real(0.1, 3600), 30.0, "Seconds for one image, from its bytes to its answers."
    ),
    Spec(
        "keep_images",
        values.choice("off", "on"),
        "off",
        "`on` keeps an image file beside its judgement; otherwise only its digest is kept.",
    ),
    Spec(
        "cors_origins",
        values.optional,
        None,
        "Comma-separated origins of other sites whose pages may call this server, `http://localhost:3000`; none by default.",
    ),
    Spec("recipe", values.text, "gate", "Recipe of the gate: a name under `share`/recipes or a path."),
    Spec("nli_model", values.text, "nano-nli", "NLI classifier: a name under `share`/models or a path."),
    Spec(
        "nli_slow_model",
        values.optional,
        None,
        "A second, more careful NLI classifier, asked for as `slow`; none by default.",
    ),
    Spec(
        "nli_recipe",
        values.text,
        "nli-adapter",
        "Recipe of NLI adapters: a name under `share`/recipes or a path.",
    ),
    Spec("nli_batch", values.whole(1, 4096), 32, "Most pairs the NLI classifier reads at once."),
    Spec(
        "nli_queue",
        values.whole(1, 10_000_000),
        20_000,
        "NLI pairs that may wait; one more is refused with 429.",
    ),
    Spec("nli_max_pairs", values.whole(1, 1_000_000), 10_000, "Most pairs of one request to /nli."),
    Spec("nli_max_body_bytes", values.whole(1024, 1 << 30), 16 << 20, "Largest body of a request to /nli."),
    Spec(
        "nli_max_characters",
        values.whole(1, 100_000_000),
        100_000,
        "Longest premise or hypothesis; a longer one is an error of its pair.",
    ),
    Spec(
        "nli_corrections",
        values.whole(1, 1_000_000),
        100,
        "New corrections that make an adapter's training due.",
    ),
    Spec(
        "nli_correction_rate",
        values.real(0, 1),
        0.05,
        "Least share of corrections among new reviewed answers for that.",
    ),
    Spec("nli_days", values.real(0, 3650), 7.0, "Least days since the last training for that."),
    Spec(
        "nli_rule",
        values.choice("better", "not_worse"),
        "better",
        "What an adapter must show on the reviewed hold-out: significantly better, or no worse than `nli_guard_margin`.",
    ),
    Spec("nli_accuracy", values.real(0, 1), 0.85, "Least accuracy of an adapter on the reviewed hold-out."),
    Spec(
        "nli_guard_margin",
        values.real(0, 1),
        0.05,
        "Most accuracy an adapter may lose on the general guard set, with 95 % confidence.",
    ),
    Spec(
        "nli_live_rows",
        values.whole(10, 1_000_000),
        50,
        "Reviewed answers over which an adapter's live Brier score is watched.",
    ),
    Spec(
        "nli_live_margin",
        values.real(0, 2),
        0.2,
        "How much worse than in its proof that score may be before the adapter is rolled back by itself.",
    ),
    Spec("policy", values.text, "default", "Policy in force: a name under `share`/policies or a path."),
    Spec(
        "alpha",
        values.real(0.0001, 0.5),
        0.04,
        "False-allow rate the ALLOW threshold must keep on calibration data.",
    ),
    Spec("confidence", values.real(0.5, 0.9999), 0.95, "Confidence of that bound."),
    Spec(
        "certificate_days",
        values.real(0.001, 3650),
        90.0,
        "Days for which a certificate holds; without a valid one nothing is allowed.",
    ),
    Spec(
        "witness",
        values.optional_path,
        None,
        "File on another path (best: another machine's) that checkpoints are also written to.",
    ),
    Spec(
        "witness_url",
        values.address,
        None,
        "HTTP address, loopback or on `egress`, that checkpoints are also sent to (POST) and compared with (GET).",
    ),
    Spec(
        "clock_tolerance_seconds",
        values.real(0, 1e9),
        300.0,
        "When the clock stands so far before the newest entry, nothing is written.",
    ),
    Spec(
        "retention",
        values.retention,
        "7",
        "Days that content is kept, and exceptions by class, as in `7,chat=1,corrected=365`.",
    ),
    Spec(
        "escalation_hours",
        values.real(0.01, 87_600),
        72.0,
        "Hours after which an escalation nobody decided on expires, which is a refusal.",
    ),
    Spec(
        "escalation_lease_minutes",
        values.real(0.1, 10_080),
        60.0,
        "Minutes for which an escalation somebody took is nobody else's.",
    ),
    Spec(
        "os_log",
        values.choice("off", "auto", "journald", "syslog", "windows"),
        "off",
        "The operating system's log that gets every gate decision (event ids 1001 to 1004); `auto` takes what there is.",
    ),
    Spec(
        "os_log_socket",
        values.optional_path,
        None,
        "Socket of journald or syslog, where it is not the usual one.",
    ),
    Spec(
        "egress",
        values.optional,
        None,
        "Comma-separated `host` or `host:port` that the server may reach beside loopback; everything else is blocked.",
    ),
    Spec(
        "pdf_font",
        values.optional_path,
        None,
        "TrueType font with Japanese letters for PDFs; none takes one the system has.",
    ),
    Spec(
        "log_level", values.choice("debug", "info", "warning", "error"), "info", "How much the server prints."
    ),
)
