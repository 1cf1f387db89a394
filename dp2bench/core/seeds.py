"""Seeds that depend on who is anonymized, never on the order in which it happens."""

from __future__ import annotations

import hashlib
from typing import NewType

import numpy as np

from dp2bench.core.hashing import name_bytes

Seed = NewType("Seed", int)
"""A non-negative 63-bit integer."""


def derive_seed(*parts: str | int) -> Seed:
    """The seed of one thing, e.g. ``derive_seed(run_seed, sample_id, person_index)``.

    The parts are length-prefixed before hashing (blake2b), so that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = name_bytes(f"{type(part).__name__}:{part}")
        digest.update(len(data).to_bytes(8, "little") + data)
    return Seed(int.from_bytes(digest.digest(), "little") >> 1)


def generator(seed: Seed) -> np.random.Generator:
    """NumPy's default generator (PCG64) for a seed."""
    return np.random.default_rng(int(seed))
