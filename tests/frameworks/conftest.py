"""The tests of the source frameworks: each is skipped where its framework is missing, unless it is asked for.

`python -m tests.frameworks` makes an environment for each framework, and sets ONNXSENS_REQUIRE there.
"""

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest

pytest.register_assert_rewrite("journeys")


@pytest.fixture(scope="session")
def needed() -> Callable[[str], ModuleType]:
    """Import a module by its name; where it is missing, skip, or fail where ONNXSENS_REQUIRE is set."""
    return imported if os.environ.get("ONNXSENS_REQUIRE") else pytest.importorskip


def imported(name: str) -> ModuleType:
    """The module; what it warns of while it is imported is let pass, as `pytest.importorskip` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)
