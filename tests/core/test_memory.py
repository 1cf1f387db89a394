"""Freed memory is kept."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from dp2bench.core.memory import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    return len(b"x" * 2**26)  # touches every page, and is freed at once
use()
before = faults()
use()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="page faults of glibc's allocator are looked at")
def test_the_next_large_block_costs_no_page_faults():
    def faults(*words):
        return int(
            subprocess.run([sys.executable, "-c", CODE, *words], check=True, capture_output=True).stdout
        )

    if not faults():
        pytest.skip("this C library keeps freed memory by itself")
    assert faults("keep") < faults() / 10
