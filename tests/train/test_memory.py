import subprocess
import sys

import pytest

_SCRIPT = """
import resource, torch
from sekisho.train.memory import kept_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
with kept_memory():
    kept = min(faults() for _ in range(8))
    inside = resident()
print(plain, kept, inside, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept_inside_and_given_back_after():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    plain, kept, inside, after = map(int, done.stdout.split())
    # a small block may land where the large one was: then the large one takes a fresh place, but not for ever
    assert kept < plain / 5
    assert after < inside - (1 << 25)


_CHURN = """
import resource, torch
from sekisho.train.memory import returned_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def returned():
    torch.ones(1 << 22)
    stay, go = [], []
    for _ in range(20):
        go.append(torch.ones(1 << 21))
        stay.append(torch.ones(1 << 14))
    before = resident()
    go.clear()
    return before - resident()
with returned_memory(WANTED):
    print(returned())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_pieces_between_what_stays_are_given_back_at_once():
    # A process each: what the first had kept would serve the second.
    scripts = [_CHURN.replace("WANTED", str(wanted)) for wanted in (False, True)]
    ended = [subprocess.run([sys.executable, "-c", s], capture_output=True, text=True) for s in scripts]
    kept, returned = (int(e.stdout) for e in ended)
    assert kept < 1 << 26
    assert returned > 150 << 20
