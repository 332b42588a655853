"""What the tests of optional extras need. CI installs all of it, and then nothing is skipped."""

import os
from importlib.util import find_spec

import pytest

needs_nbgrader = pytest.mark.skipif(
    find_spec("nbgrader") is None and not os.environ.get("CHECKS_ALL_EXTRAS"),
    reason="nbgrader is not installed: pip install '.[nbgrader]'",
)
needs_dask = pytest.mark.skipif(
    find_spec("distributed") is None and not os.environ.get("CHECKS_ALL_EXTRAS"),
    reason="Dask is not installed: pip install '.[cluster]'",
)
