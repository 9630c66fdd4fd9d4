from pathlib import Path

import pytest

from sekisho.data.collect import collect
from sekisho.data.gateset import assemble

SHARE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def share():
    return SHARE


@pytest.fixture(scope="session")
def bundled():
    """Every bundled request, as collected."""
    return list(collect(SHARE / "data"))


@pytest.fixture(scope="session")
def authored(bundled):
    return [r for r in bundled if r.source == "authored"]


@pytest.fixture(scope="session")
def assembled():
    """Manifest and examples of the bundled sources."""
    return assemble(SHARE)


def make(**given):
    """A request for tests."""
    from sekisho.data.collect import Request

    base = {
        "id": "t:1",
        "text": "テストの依頼です",
        "lang": "ja",
        "decision": "ALLOW",
        "source": "t",
        "licence": "x",
        "policy_ref": "A0",
    }
    return Request(**(base | given))


@pytest.fixture(scope="session")
def request_of():
    return make
