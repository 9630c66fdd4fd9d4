"""The seal of a closed network: libraries that would like to call home are told not to, before they are imported."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

FLAGS: dict[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_MODE": "disabled",
    "BITSANDBYTES_NOWELCOME": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What is set. Values already there are replaced: an operator's `HF_HUB_OFFLINE=0` does not open a sealed house."""


def seal(env: MutableMapping[str, str] | None = None) -> None:
    """Set every flag of `FLAGS`; call it first thing in a process. Children inherit it.

    Libraries read some flags only once, when they are imported; one that was imported earlier is set right as well.

    Args:
        env: the environment to change; the process's own by default.
    """
    (os.environ if env is None else env).update(FLAGS)
    constants = sys.modules.get("huggingface_hub.constants")
    if env is None and constants is not None:
        vars(constants).update(
            HF_HUB_OFFLINE=True, HF_HUB_DISABLE_TELEMETRY=True, HF_HUB_DISABLE_IMPLICIT_TOKEN=True
        )


def sealed(env: MutableMapping[str, str] | None = None) -> bool:
    """Whether every flag is set."""
    seen = os.environ if env is None else env
    return all(seen.get(name) == value for name, value in FLAGS.items())
