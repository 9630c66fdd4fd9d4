"""Settings of where things lie and of the engine that answers."""

from __future__ import annotations

import os
from pathlib import Path

from . import values
from .spec import Spec


def _default_home() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "sekisho"
    return Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))) / "sekisho"


def _default_share() -> Path:
    return Path(__file__).resolve().parents[3]


FILES = ("f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m")
"""Kinds of GGUF files, the largest first."""

ENGINE: tuple[Spec, ...] = (
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
        "exports",
        values.some(*FILES),
        ",".join(FILES),
        "Comma-separated kinds of GGUF files a bake writes; the one that is served is always among them.",
    ),
    Spec(
        "weights",
        values.choice(*FILES),
        "f16",
        "Which exported file the llamacpp engine serves.",
    ),
)
