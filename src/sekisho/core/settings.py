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

from .errors import SettingsError
from .retention import retention_days

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


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a non-empty text")
    return value


def _optional(value: Any) -> str | None:
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value or None


def _path(value: Any) -> Path:
    try:
        return Path(_text(str(value))).expanduser().absolute()
    except RuntimeError:  # `~name` of a user who does not exist
        raise ValueError("expected a path in a home folder that exists") from None


def _optional_path(value: Any) -> Path | None:
    return _path(value) if value else None


def _retention(value: Any) -> str:
    retention_days(str(value))
    return str(value)


def _choice(*valid: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in valid:
            raise ValueError(f"expected one of {', '.join(valid)}")
        return str(value)

    return parse


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(f"expected a whole number from {low} to {high}")
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"expected a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return number

    return parse


def _real(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"expected a number from {low:g} to {high:g}") from None
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}")
        return number

    return parse


TABLE: tuple[Spec, ...] = (
    Spec("home", _path, _default_home, "Folder of all state: ledger, shelf, runs."),
    Spec("share", _path, _default_share, "Folder with the bundled data, models and recipes."),
    Spec("engine", _choice("llamacpp", "torch", "fake"), "llamacpp", "Which engine answers."),
    Spec("weights", _choice("f16", "q8_0"), "f16", "Which exported file the llamacpp engine serves."),
    Spec("host", _text, "127.0.0.1", "Address the server binds; anything but loopback needs `tokens`."),
    Spec("port", _whole(0, 65535), 8000, "Port the server binds; 0 takes a free one."),
    Spec(
        "tokens",
        _optional,
        None,
        "Comma-separated bearer tokens; empty means loopback clients need none.",
        secret=True,
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
        "witness",
        _optional_path,
        None,
        "File on another path (best: another machine's) that checkpoints are also written to.",
    ),
    Spec(
        "retention",
        _retention,
        "7",
        "Days that content is kept, and exceptions by class, as in `7,chat=1,corrected=365`.",
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

    def token_list(self) -> tuple[str, ...]:
        """The bearer tokens, without blanks."""
        return tuple(t.strip() for t in (self.values["tokens"] or "").split(",") if t.strip())


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
        return {}


def _contradictions(settings: Settings) -> list[str]:
    """Problems that only show when several values are seen together."""
    problems = []
    host, share, slots = (settings.values[n] for n in ("host", "batch_share", "slots"))
    if host not in _LOOPBACK and host is not None and not settings.token_list():
        problems.append(f"host: {host} is not loopback, so `tokens` must be set")
    if share is not None and slots is not None and share > slots:
        problems.append(f"batch_share: {share} is more than the {slots} `slots`")
    return problems
