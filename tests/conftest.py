"""For every test: a home of its own, nothing from this machine's settings, and libraries told to stay offline."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

import loopback
from sekisho.host.offline import FLAGS
from sekisho.wiring import FAKE_ALLOWED

os.environ.update(FLAGS, **{FAKE_ALLOWED: "yes"})

# The same examples every time, so that a red run means a change; `make soak` looks for new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("new", max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_configure() -> None:
    """With no network at all, not even loopback, make loopback: engine and server talk over it."""
    if not loopback.is_up() and not loopback.raise_it():
        pytest.exit("127.0.0.1 cannot be reached. Run `ip link set lo up` first.", returncode=3)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, in the random order they have; a mistake shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True)
def _house_of_its_own(tmp_path_factory, monkeypatch):
    for name in [n for n in os.environ if n.startswith("SEKISHO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEKISHO_HOME", str(tmp_path_factory.mktemp("home")))
