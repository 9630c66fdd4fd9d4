"""Settings in, a working house out: the only file that chooses implementations."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from .core.canonical import digest_json
from .core.engine import Backend, Engine
from .core.errors import NotFoundError, SettingsError, ShelfError
from .core.settings import Settings
from .core.sight import Sight
from .host.cores import Shares, shares
from .host.gpu import require_device
from .host.memory import available
from .host.offline import seal
from .ledger.store import Ledger
from .serve.budget import MIB, Budget, Plan, budget, shape_of
from .serve.gguf_header import read_header
from .serve.lanes import Lanes
from .serve.rules import KEPT, Rules
from .shelf import Release, Shelf
from .tasks.policy import read_document, read_policy

Use = Literal["make", "write", "read"]
"""What is to be done with the ledger."""

_log = logging.getLogger("sekisho.wiring")


@dataclass(frozen=True)
class House:
    """A wired house. The ledger is open; engines are made when asked for."""

    settings: Settings
    ledger: Ledger
    shelf: Shelf
    policy_document: Mapping[str, Any]
    contract_documents: Mapping[str, Mapping[str, Any]]

    def engine_for(self, folder: Path, release: Release) -> Engine:
        """The engine the settings ask for, not yet started, serving a release to both lanes.

        Raises:
            BudgetError: when it would not fit into the memory, with the largest context that does.
        """
        found = memory_budget(self.settings, folder, release)
        if found is not None:
            _log.info("memory: %s", "; ".join(f"{name} {size}" for name, size in found.rows()))
            found.require()
        return Lanes(make_engine(self.settings, folder, release), rules_of(self.settings))

    def nli_reader(self, folder: Path) -> Any:
        """The NLI classifier of a folder, loaded. Its room is imported by name: torch comes with it."""
        room = import_module("sekisho.serve.nli")
        settings = self.settings
        require_device(settings.device, "torch")
        return room.Classifier(
            folder, settings.threads, settings.device, settings.nli_max_characters, settings.nli_precision
        )

    def sight(self) -> Sight:
        """The eye the settings ask for, not yet started, with what it has learnt and how it was calibrated."""
        return make_sight(self.settings)

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def build(settings: Settings, ledger: Use = "make") -> House:
    """Open everything that needs no model.

    Args:
        ledger: whether to make it, and the home folder, where there is none, or only to `write` or `read` one that is there.

    Raises:
        LedgerError, DataError: naming what cannot be opened and what to do.
        NotFoundError: there is no ledger and none is to be made.
    """
    seal()
    home: Path = settings.home
    if ledger == "make":
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    policy = read_policy(settings.policy, settings.share)
    contracts = {
        p.stem: read_document(p) for p in sorted((settings.share / "policies" / "contracts").glob("*.toml"))
    }
    opened = _ledger(home / "ledger.sqlite", ledger)
    opened.clock_tolerance = settings.clock_tolerance_seconds
    return House(settings, opened, Shelf(home / "shelf"), policy, contracts)


def _ledger(path: Path, use: Use) -> Ledger:
    if use != "make" and not path.exists():
        raise NotFoundError(
            f"There is no ledger at {path}.", "Check `home`; the first `sekisho up` or `serve` makes one."
        )
    return Ledger.open(path, read_only=use == "read")


def memory_budget(settings: Settings, folder: Path, release: Release) -> Budget | None:
    """What serving a release would take, against `memory_limit_mib` or what is free.

    None where nothing can be said: another engine than llamacpp, or a system that does not tell its free memory.
    """
    if settings.engine != "llamacpp":
        return None
    gpu = require_device(settings.device, settings.engine)
    free = gpu.free if gpu is not None else available()
    limit = settings.memory_limit_mib * MIB or free
    if limit is None:
        return None
    plan = Plan(
        settings.context,
        settings.slots + settings.spare_slots + KEPT,
        settings.kv_type,
        _is_quantised(settings),
        settings.device,
    )
    return budget(shape_of(read_header(folder / _weights(settings, release))), plan, limit)


def _is_quantised(settings: Settings) -> bool:
    """Whether the cache is; llama.cpp keeps values in such a one only with flash attention."""
    return settings.kv_type in ("q8_0", "q4_0")


def _weights(settings: Settings, release: Release) -> str:
    """Name of the file that is served, within the release. Raises ShelfError when there is none of that type."""
    if settings.weights not in release.gguf:
        raise ShelfError(
            f"This release has no {settings.weights} file.", f"It has: {', '.join(release.gguf)}."
        )
    return release.gguf[settings.weights]


def rules_of(settings: Settings) -> Rules:
    """How the settings share the engine's slots out."""
    return Rules(
        slots=settings.slots,
        spare=settings.spare_slots,
        share=settings.batch_share,
        rt_queue=settings.queue,
        be_queue=settings.batch_queue,
        ageing=settings.ageing_seconds,
        kept=KEPT,
    )


FAKE_ALLOWED = "FAKE_ENGINE_IN_TESTS"
"""Environment variable without which the fake engine does not start: it has no model, yet answers under a release's name."""


def _only_in_tests() -> None:
    if os.environ.get(FAKE_ALLOWED) != "yes":
        raise SettingsError(
            ["engine: fake answers without any model and is for tests alone; use llamacpp or torch"]
        )


def _remote(settings: Settings, release: Release) -> Backend:
    """The server that was named, and behind it a second one when that was named too."""
    from .serve.engines.link import Names
    from .serve.engines.remote import RemoteEngine
    from .serve.engines.reserve import Reserve

    def server(url: str, model: str | None, key: str | None, names: Names) -> RemoteEngine:
        temperatures: Any = release.temperatures if settings.remote_temperatures == "release" else {}
        way = settings.remote_decisions
        return RemoteEngine(
            url,
            release.name,
            model=model,
            key=key,
            decisions=way,
            temperatures=temperatures,
            context=settings.context,
            names=names,
        )

    first = server(settings.remote_url, settings.remote_model, settings.remote_key, Names())
    if settings.remote_fallback_url is None:
        return first
    second = settings.remote_fallback_url, settings.remote_fallback_model, settings.remote_fallback_key
    names = Names("remote_fallback_url", "remote_fallback_model", "remote_fallback_key")
    return Reserve(first, server(*second, names))


def make_engine(settings: Settings, folder: Path, release: Release) -> Backend:
    """Choose and construct the engine. Only the room of the engine that was asked for is imported, and torch only with its own."""
    room = import_module(f"sekisho.serve.engines.{settings.engine}")
    if settings.engine == "fake":
        _only_in_tests()
        return cast(Backend, room.FakeEngine(name=release.name, context=settings.context))
    if settings.engine == "remote":
        return _remote(settings, release)
    common = {"context": settings.context, "threads": settings.threads, "device": settings.device}
    if settings.engine == "torch":
        digest = release.files["model/model.safetensors"]
        return cast(Backend, room.TorchEngine(release.name, folder / "model", model_digest=digest, **common))
    name = _weights(settings, release)
    digest = release.files[name]
    llama = room.LlamaCppEngine(
        folder / name,
        release.name,
        model_digest=digest,
        slots=settings.slots + settings.spare_slots,
        kv_type=settings.kv_type.upper(),
        flash_attention=_is_quantised(settings),
        cores=tuple(sorted(apart.engine)) if (apart := cores_apart(settings)) else (),
        **common,
    )
    return cast(Backend, llama)


def cores_apart(settings: Settings) -> Shares | None:
    """Which cores llama.cpp and the server keep to; None where they share all of them."""
    if settings.cores == "shared" or settings.engine != "llamacpp" or settings.device != "cpu":
        return None
    return shares(settings.threads)


def make_sight(settings: Settings) -> Sight:
    """Choose the eye. A model folder says itself which rubric it has learnt; a far model may be asked any.

    Raises:
        SettingsError: for a far eye without an address.
        ShelfError: for a folder that holds no eye.
    """
    if settings.eye == "remote":
        if not settings.eye_url:
            raise SettingsError(["eye_url: the remote eye needs the root of a vision server of your own"])
        far = import_module("sekisho.serve.eyes.remote").RemoteEye
        return Sight(far(settings.eye_url, settings.eye_remote_model, settings.eye_key, settings.eye_pixels))
    folder = settings.eye_folder()
    learnt = str(_said(folder / "made.json", "pack_digest", str))
    scales = _said(folder / "calibration.json", "criteria", dict)
    try:
        pairs = {k: (float(a), float(b)) for k, (a, b) in scales.items()}
    except (TypeError, ValueError) as e:
        raise _no_eye(folder / "calibration.json", "holds no slopes and offsets") from e
    eye = import_module("sekisho.serve.eyes.torch").TorchEye(folder.name, folder, settings.threads)
    return Sight(eye, learnt, pairs, digest_json(scales))


def _said(file: Path, key: str, kind: type) -> Any:
    """What a file of an eye's folder has under a key. Raises ShelfError naming the file."""
    try:
        found = json.loads(file.read_bytes())[key]
    except OSError as e:
        raise _no_eye(file, f"cannot be read: {e.strerror}") from e
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise _no_eye(file, f"has no `{key}` that can be read") from e
    if not isinstance(found, kind):
        raise _no_eye(file, f"has something else than it should under `{key}`")
    return found


def _no_eye(file: Path, what: str) -> ShelfError:
    return ShelfError(
        f"{file.parent} holds no eye of ours: {file.name} {what}.", "Check `eye_model`, or train one."
    )
