"""Where things are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """``$DP2BENCH_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("DP2BENCH_CACHE") or platformdirs.user_cache_dir("dp2bench"))
