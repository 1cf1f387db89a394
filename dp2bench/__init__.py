"""Privacy evaluation and benchmarking of the anonymization of people in pictures, and DeepPrivacy2.

Importing this package imports no torch; the parts that compute import it when they run. What programs may use stands in `dp2bench.api`,
and here under the same names.
"""

import importlib as _importlib
import importlib.util as _util
from typing import TYPE_CHECKING as _TYPE_CHECKING

__version__ = "0.1.0"

if (
    _util.find_spec("dp2bench.tasks") is None
):  # a checkout shadows the installed package and lacks its mapped parts
    raise ImportError(
        "dp2bench was imported from a checkout's folder, where its mapped packages (dp2bench.tasks, dp2bench.baselines, "
        "dp2bench.reports, dp2bench.suites) are not visible. Run `pip install -e .` in the checkout, or start Python elsewhere."
    )

if _TYPE_CHECKING:
    from dp2bench.api import (
        Evaluation,
        anonymize,
        evaluate,
        list_datasets,
        list_detectors,
        list_methods,
        list_suites,
        list_tasks,
        load_results,
        open_run,
        run_suite,
    )

__all__ = [
    "Evaluation",
    "anonymize",
    "evaluate",
    "list_datasets",
    "list_detectors",
    "list_methods",
    "list_suites",
    "list_tasks",
    "load_results",
    "open_run",
    "run_suite",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(_importlib.import_module("dp2bench.api"), name)
    raise AttributeError(f"module 'dp2bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
