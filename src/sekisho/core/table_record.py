"""Settings of what is decided and recorded: policy, certificate, witness, retention, logs."""

from __future__ import annotations

from . import values
from .spec import Spec

RECORD: tuple[Spec, ...] = (
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
        values.hosts,
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
