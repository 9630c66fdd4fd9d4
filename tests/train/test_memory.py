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
