"""A small run of `benchmarks/pinned.py`: whatever a request names, nothing is loaded after ready."""

from __future__ import annotations

import pytest

from benchmarking import load_script

REQUESTS = 600


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return load_script("benchmarks/pinned.py").run(REQUESTS, 5, tmp_path_factory.mktemp("pinned"))


def test_nothing_is_loaded_after_ready(seen):
    assert load_script("benchmarks/pinned.py").good(seen), seen
    assert seen["loads"].keys() == {"start", "restart"}
    assert seen["listed"] == "pinned:latest"


def test_the_requests_were_of_every_kind_and_a_server_that_obeys_would_have_loaded(seen):
    assert seen["requests"] == REQUESTS
    assert {200, 400, 404, 409, 422} <= seen["statuses"].keys()
    assert seen["statuses"][200] > REQUESTS / 5
    assert seen["naive_loads"] > REQUESTS / 2


def test_a_load_would_be_seen(seen):
    from sekisho.serve.loads import loading

    script = load_script("benchmarks/pinned.py")
    before = script.loads()["restart"]
    with loading("restart"):
        pass
    assert script.loads()["restart"] == before + 1
