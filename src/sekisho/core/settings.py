"""One table of settings: name, default, help. Values come from flags, then `SEKISHO_*`, then a TOML file, then defaults.

Every wrong value is collected and reported at once, with the valid ones: an operator in a closed network gets one try per restart.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import SettingsError
from .values import address as _address
from .values import choice as _choice
from .values import optional as _optional
from .values import optional_path as _optional_path
from .values import path as _path
from .values import real as _real
from .values import retention as _retention
from .values import text as _text
from .values import whole as _whole

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
    Spec("home", _path, _default_home, "Folder of all state: ledger, shelf, runs."),
    Spec("share", _path, _default_share, "Folder with the bundled data, models and recipes."),
    Spec(
        "engine",
        _choice("llamacpp", "torch", "remote", "fake"),
        "llamacpp",
        "Which engine answers; `fake` has no model and is for tests alone.",
    ),
    Spec(
        "remote_url",
        _address,
        None,
        "Root of the server the remote engine asks, `http://…`; it must be a machine of your own.",
    ),
    Spec("remote_model", _optional, None, "Name of the model there; none takes the only one it lists."),
    Spec("remote_key", _optional, None, "Bearer token for that server.", secret=True),
    Spec(
        "remote_decisions",
        _choice("auto", "systemone", "logprobs", "choice"),
        "auto",
        "How it is asked for decisions; auto takes the best way that keeps probabilities, choice loses them.",
    ),
    Spec(
        "remote_temperatures",
        _choice("release", "none"),
        "release",
        "What it divides logits by when it answers System One: the temperatures of the served release's own file, or nothing.",
    ),
    Spec(
        "weights",
        _choice("f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"),
        "f16",
        "Which exported file the llamacpp engine serves.",
    ),
    Spec(
        "host",
        _text,
        "127.0.0.1",
        "Address the server binds; anything but loopback needs API keys or `tokens`, and TLS files.",
    ),
    Spec("port", _whole(0, 65535), 8000, "Port the server binds; 0 takes a free one."),
    Spec(
        "tokens",
        _optional,
        None,
        "Comma-separated bearer tokens; empty means loopback clients need none.",
        secret=True,
    ),
    Spec(
        "batch_tokens",
        _optional,
        None,
        "Comma-separated further bearer tokens, whose requests take the batch lane.",
        secret=True,
    ),
    Spec(
        "api_key",
        _optional,
        None,
        "API key with which this command line asks a running server.",
        secret=True,
    ),
    Spec("tls_cert", _optional_path, None, "Certificate chain (PEM) with which the server speaks HTTPS."),
    Spec("tls_key", _optional_path, None, "Private key (PEM) of `tls_cert`."),
    Spec(
        "separate_duties",
        _choice("on", "off"),
        "off",
        "`on`: no key may both correct and promote, who filed a correction promotes nothing, and nobody decides on a request of their own.",
    ),
    Spec(
        "device", _choice("cpu", "cuda"), "cpu", "Where the model runs; cuda that is absent ends the start."
    ),
    Spec("context", _whole(256, 1_048_576), 2048, "Tokens one request may use, prompt and answer together."),
    Spec("slots", _whole(1, 64), 2, "Texts the engine writes at once; one place more is kept for decisions."),
    Spec("threads", _whole(1, 256), 2, "Threads for engine and training."),
    Spec(
        "spare_slots",
        _whole(0, 64),
        0,
        "Engine slots beyond `slots` in which batch work that made room keeps its cache.",
    ),
    Spec(
        "kv_type",
        _choice("f32", "f16", "q8_0", "q4_0"),
        "f32",
        "Number type of the llamacpp engine's key-value cache; q8_0 and q4_0 turn flash attention on.",
    ),
    Spec(
        "memory_limit_mib",
        _whole(0, 1 << 24),
        0,
        "Memory the llamacpp engine may take; 0 means what is free. A larger need ends the start.",
    ),
    Spec(
        "queue",
        _whole(1, 100_000),
        256,
        "Requests that may wait in the real-time lane; one more is answered 429.",
    ),
    Spec(
        "batch_queue",
        _whole(1, 100_000),
        256,
        "Requests that may wait in the batch lane; one more is answered 429.",
    ),
    Spec("batch_share", _whole(0, 64), 0, "Slots that real-time requests do not take away from batch work."),
    Spec(
        "ageing_seconds",
        _real(0.1, 86_400),
        30.0,
        "When batch work has stood still for so long, its oldest request gets a turn between real-time ones.",
    ),
    Spec(
        "deadline_seconds",
        _real(0.05, 600),
        8.0,
        "Seconds for a decision and its ledger entry, for which the last one (of few, an eighth) is kept; later is ESCALATE.",
    ),
    Spec(
        "batch_deadline_seconds",
        _real(1, 86_400),
        600.0,
        "The same for a decision or a text in the batch lane, waiting included.",
    ),
    Spec("max_body_bytes", _whole(1024, 1 << 30), 1 << 20, "Largest request body, also after decompression."),
    Spec("max_questions", _whole(1, 4096), 64, "Most questions of one request."),
    Spec(
        "gate_model", _text, "nano", "Base model folder for the gate: a name under `share`/models or a path."
    ),
    Spec("recipe", _text, "gate", "Recipe of the gate: a name under `share`/recipes or a path."),
    Spec("policy", _text, "default", "Policy in force: a name under `share`/policies or a path."),
    Spec(
        "alpha",
        _real(0.0001, 0.5),
        0.04,
        "False-allow rate the ALLOW threshold must keep on calibration data.",
    ),
    Spec("confidence", _real(0.5, 0.9999), 0.95, "Confidence of that bound."),
    Spec(
        "certificate_days",
        _real(0.001, 3650),
        90.0,
        "Days for which a certificate holds; without a valid one nothing is allowed.",
    ),
    Spec(
        "witness",
        _optional_path,
        None,
        "File on another path (best: another machine's) that checkpoints are also written to.",
    ),
    Spec(
        "clock_tolerance_seconds",
        _real(0, 1e9),
        300.0,
        "When the clock stands so far before the newest entry, nothing is written.",
    ),
    Spec(
        "retention",
        _retention,
        "7",
        "Days that content is kept, and exceptions by class, as in `7,chat=1,corrected=365`.",
    ),
    Spec(
        "escalation_hours",
        _real(0.01, 87_600),
        72.0,
        "Hours after which an escalation nobody decided on expires, which is a refusal.",
    ),
    Spec(
        "escalation_lease_minutes",
        _real(0.1, 10_080),
        60.0,
        "Minutes for which an escalation somebody took is nobody else's.",
    ),
    Spec(
        "os_log",
        _choice("off", "auto", "journald", "syslog", "windows"),
        "off",
        "The operating system's log that gets every gate decision (event ids 1001 to 1004); `auto` takes what there is.",
    ),
    Spec(
        "os_log_socket", _optional_path, None, "Socket of journald or syslog, where it is not the usual one."
    ),
    Spec(
        "egress",
        _optional,
        None,
        "Comma-separated `host` or `host:port` that the server may reach beside loopback; everything else is blocked.",
    ),
    Spec("log_level", _choice("debug", "info", "warning", "error"), "info", "How much the server prints."),
)

_BY_NAME: Mapping[str, Spec] = {s.name: s for s in TABLE}
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class Settings:
    """Settled values by name, with the place each one came from (`flag`, `env`, `file`, `default`)."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.values["host"] is None or self.values["host"] in _LOOPBACK

    def reachable(self) -> str:
        """What the egress seal lets through beside loopback: `egress`, and the remote engine's server."""
        far = urlsplit(self.values["remote_url"] or "")
        port = far.port or (443 if far.scheme == "https" else 80)
        host = f"[{far.hostname}]" if ":" in (far.hostname or "") else far.hostname
        listed = [self.values["egress"], f"{host}:{port}" if host else None]
        return ",".join(x for x in listed if x)

    def token_list(self, name: str = "tokens") -> tuple[str, ...]:
        """The bearer tokens of a setting, without blanks."""
        return tuple(t.strip() for t in (self.values[name] or "").split(",") if t.strip())


def load(
    flags: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Settle every setting.

    Args:
        flags: values from the command line; None values are ignored.
        env: the environment; the process's own by default.
        file: TOML file; `SEKISHO_CONFIG`, else `sekisho.toml` in the working folder if it exists.

    Raises:
        SettingsError: naming every wrong, unknown or contradictory value at once.
    """
    environment = os.environ if env is None else env
    problems: list[str] = []
    layers: list[tuple[str, dict[str, Any], Callable[[str], str]]] = [
        ("flag", {k: v for k, v in (flags or {}).items() if v is not None}, str),
        ("env", _from_env(environment), lambda n: ENV_PREFIX + n.upper()),
        ("file", _from_file(file, environment, problems), lambda n: f"{n} (file)"),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, given, shown in layers:
        for name, raw in given.items():
            _settle(name, raw, source, shown(name), values, sources, problems)
    for spec in TABLE:
        if spec.name not in sources:
            values[spec.name], sources[spec.name] = spec.value_of_default(), "default"
    settings = Settings({s.name: values.get(s.name) for s in TABLE}, sources)
    problems += _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _settle(
    name: str,
    raw: Any,
    source: str,
    shown: str,
    values: dict[str, Any],
    sources: dict[str, str],
    problems: list[str],
) -> None:
    """Parse one given value; the first layer that names a setting wins, yet later wrong values are reported too."""
    spec = _BY_NAME.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        problems.append(f"{shown}: no such setting" + (f"; did you mean {near[0]}?" if near else ""))
        return
    try:
        value = spec.parse(raw)
    except ValueError as e:
        got = "its value is not shown" if spec.secret else f"got {raw!r}"
        problems.append(f"{shown}: {e}, {got}")
        sources.setdefault(name, source)
        return
    if name not in sources:
        values[name], sources[name] = value, source


def _from_env(env: Mapping[str, str]) -> dict[str, str]:
    """Settings in the environment. `SEKISHO_CONFIG` names the file and is no setting."""
    return {
        k[len(ENV_PREFIX) :].lower(): v
        for k, v in env.items()
        if k.startswith(ENV_PREFIX) and k != ENV_PREFIX + "CONFIG"
    }


def _from_file(file: Path | None, env: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    named = file or (Path(env[ENV_PREFIX + "CONFIG"]) if env.get(ENV_PREFIX + "CONFIG") else None)
    path = named or Path("sekisho.toml")
    if not path.exists():
        if named:
            problems.append(f"{path}: the settings file does not exist")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        problems.append(f"{path}: cannot be read as TOML: {e}")
    except ValueError:  # Python's own words on this speak of Python
        problems.append(f"{path}: cannot be read as TOML: a number has too many digits")
    return {}


def _contradictions(settings: Settings) -> list[str]:
    """Problems that only show when several values are seen together."""
    problems = []
    host, share, slots = (settings.values[n] for n in ("host", "batch_share", "slots"))
    if not settings.is_loopback() and not (settings.values["tls_cert"] and settings.values["tls_key"]):
        problems.append(f"host: {host} is not loopback, so `tls_cert` and `tls_key` must be set")
    if settings.values["engine"] == "remote" and not settings.values["remote_url"]:
        problems.append("remote_url: the remote engine needs the address of a server")
    if share is not None and slots is not None and share > slots:
        problems.append(f"batch_share: {share} is more than the {slots} `slots`")
    return problems
