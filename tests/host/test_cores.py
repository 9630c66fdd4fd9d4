from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.host import cores
from sekisho.host.cores import Cores, parsed, share_out

linux = pytest.mark.skipif(sys.platform != "linux", reason="a process is bound to cores on Linux alone")


@given(
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(1, 2),
    st.sets(st.integers(0, 15)),
)
def test_whole_cores_are_given_out_and_the_server_keeps_one(threads, count, each, taken):
    there = [Cores(range(i * each, (i + 1) * each)) for i in range(count)]
    found = share_out(threads, there, taken)
    free = [c for c in there if not c & taken]
    assert (found is None) == (len(free) < threads or count <= threads)
    if found is not None:
        assert not found.engine & (found.server | taken)
        assert found.server
        assert found.engine | found.server <= Cores().union(*there)
        assert sum(c <= found.engine for c in there) == threads
        assert len(found.engine) == threads * each


def test_the_last_cores_are_the_engines():
    assert share_out(1, [Cores({0}), Cores({1})]) == cores.Shares(Cores({1}), Cores({0}))


@pytest.mark.parametrize(("told", "want"), [("0\n", [0]), ("0,4", [0, 4]), ("2-4,8", [2, 3, 4, 8])])
def test_the_kernels_lists_are_read(told, want):
    assert parsed(told) == want


def test_what_is_no_list_is_refused():
    with pytest.raises(ValueError, match="invalid literal"):
        parsed("all")


@linux
def test_this_machine_is_shared_out_by_what_this_process_may_use():
    cores.shares.cache_clear()
    allowed = os.sched_getaffinity(0)
    found = cores.shares(1)
    assert found is None or (found.engine | found.server <= allowed and not found.engine & found.server)
    assert cores.shares(10_000) is None


_ENGINE = """
import os, sys
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.execv(sys.executable, [sys.executable, "-c", "print(1, flush=True); input()", "sekisho.serve.engines.child"])
"""


@linux
def test_cores_of_another_servers_engine_are_left_to_it():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core cannot be shared out")
    pipe = subprocess.PIPE
    # A shell between them: what this process starts itself counts as its own engine.
    command = ["/bin/sh", "-c", '"$0" -c "$1"; :', sys.executable, _ENGINE]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        cores.shares.cache_clear()
        found = cores.shares(1)
        other.communicate(b"\n", timeout=30)
    cores.shares.cache_clear()
    alone = cores.shares(1)
    assert alone is not None
    assert max(os.sched_getaffinity(0)) in alone.engine
    assert found is None or not found.engine & alone.engine


_BOUND = """
import os, threading, time
from sekisho.host.cores import keep_to
other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
other.start()
first = min(os.sched_getaffinity(0))
keep_to(frozenset({first}))
assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == {first}
keep_to(frozenset({100000}))
assert os.sched_getaffinity(0) == {first}
"""


@linux
def test_every_thread_is_bound_and_cores_that_are_not_there_change_nothing():
    subprocess.run([sys.executable, "-c", _BOUND], check=True, timeout=60)
