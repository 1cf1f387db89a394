"""Privacy evaluation and benchmarking of the anonymization of people in pictures, and DeepPrivacy2.

Importing this package imports no torch; the parts that compute import it when they run.
"""

import importlib.util as _util

__version__ = "0.1.0"

if (
    _util.find_spec("dp2bench.tasks") is None
):  # a checkout shadows the installed package and lacks its mapped parts
    raise ImportError(
        "dp2bench was imported from a checkout's folder, where its mapped packages (dp2bench.tasks, dp2bench.baselines, "
        "dp2bench.reports, dp2bench.suites) are not visible. Run `pip install -e .` in the checkout, or start Python elsewhere."
    )
