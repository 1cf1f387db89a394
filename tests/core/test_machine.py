"""What a machine lends to computations."""

import os

import pytest

from dp2bench.core import machine


@pytest.mark.parametrize(
    ("processors", "gigabytes", "workers"), [(1, 64, 1), (2, 24, 2), (64, 512, 8), (16, 8, 2), (8, 1, 1)]
)
def test_one_process_a_processor_where_there_is_memory(monkeypatch, processors, gigabytes, workers):
    monkeypatch.setattr(machine, "default_threads", lambda: processors)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (gigabytes << 30) // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert machine.default_workers() == workers
