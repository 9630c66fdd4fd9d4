from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sekisho.host.offline import FLAGS, seal, sealed

CHECK = """
from huggingface_hub import constants, is_offline_mode
from sekisho.host.offline import seal
{late}
assert is_offline_mode() and constants.HF_HUB_DISABLE_TELEMETRY
from huggingface_hub import hf_hub_download
try:
    hf_hub_download("someone/some-model-that-is-not-here", "config.json")
except OSError:
    print("refused")
"""


def test_an_environment_that_was_open_is_closed():
    env = {"HF_HUB_OFFLINE": "0", "PATH": "/bin"}
    assert not sealed(env)
    seal(env)
    assert sealed(env)
    assert env == {**FLAGS, "PATH": "/bin"}
    seal(env)
    assert sealed(env)


@pytest.mark.parametrize("late", [True, False])
def test_libraries_obey_also_when_they_were_imported_before(late):
    env = {**os.environ, "HF_HUB_OFFLINE": "0"}
    if not late:
        seal(env)
    code = CHECK.format(late="seal()" if late else "")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "refused", done.stderr


def test_children_inherit_the_seal(monkeypatch):
    for name in FLAGS:
        monkeypatch.setenv(name, "")
    seal()
    code = "from sekisho.host.offline import sealed; print(sealed())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
