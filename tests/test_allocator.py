"""What is freed is given back when coding, and stays at hand when training."""

from __future__ import annotations

import platform

import pytest

from tests.programs import run

PROGRAM = """
import ctypes, re, sys
from pathlib import Path
from vqtok import allocator

def resident():
    return int(re.search(r"VmRSS:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def block(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    return place

if sys.argv[1] == "back":
    allocator.give_back()
libc.free(block(30 << 20))  # teaches the allocator to keep blocks of this size
before = resident()
held = []
for _ in range(8):  # small blocks that stay, between large ones that go
    large = block(20 << 20)
    held.append(block(100_000))
    held.append(large)
for place in held[1::2]:
    libc.free(place)
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_scattered_blocks_do_not_stay():
    kept, given_back = (int(run(PROGRAM, how).stdout) for how in ("keep", "back"))
    assert kept > 100_000  # in kB; else there is nothing to show
    assert given_back < 10_000


AGAIN = """
import ctypes, resource, sys
from vqtok import allocator

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def use():
    places = [libc.malloc(64 << 20) for _ in range(4)]
    for place in places:
        ctypes.memset(place, 1, 64 << 20)
    for place in places:
        libc.free(place)

if sys.argv[1] == "keep":
    allocator.keep()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_kept_blocks_need_no_fresh_pages():
    fresh, kept = (int(run(AGAIN, how).stdout) for how in ("default", "keep"))
    # Pages are 4 kB, or 2 MB where the kernel gives huge ones: 1 GB is 512 of those at least.
    assert fresh >= 512
    assert kept < fresh / 10
