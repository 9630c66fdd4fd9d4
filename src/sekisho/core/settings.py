"""Settings, read by one table. Values come from flags, then `SEKISHO_*`, then a TOML file, then defaults.

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
from .spec import ENV_PREFIX, Spec
from .table import TABLE

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
        """What the egress seal lets through beside loopback: `egress`, and the servers of the remote engine and the remote eye."""
        far = [_place(self.values[name]) for name in ("remote_url", "remote_fallback_url", "eye_url")]
        return ",".join(x for x in (self.values["egress"], *far) if x)

    def eye_folder(self) -> Path:
        """The model folder `eye_model` names: a path, or a name under `share`/models."""
        named = Path(self.values["eye_model"])
        return named if named.is_dir() else self.values["share"] / "models" / self.values["eye_model"]

    def token_list(self, name: str = "tokens") -> tuple[str, ...]:
        """The bearer tokens of a setting, without blanks."""
        return tuple(t.strip() for t in (self.values[name] or "").split(",") if t.strip())


def _place(url: str | None) -> str | None:
    """Host and port of an address; None without one."""
    far = urlsplit(url or "")
    port = far.port or (443 if far.scheme == "https" else 80)
    host = f"[{far.hostname}]" if ":" in (far.hostname or "") else far.hostname
    return f"{host}:{port}" if host else None


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
    except RecursionError:
        problems.append(f"{path}: cannot be read as TOML: it is nested too deep")
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
