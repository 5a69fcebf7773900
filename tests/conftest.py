"""Fixtures for all tests, and an environment that is the same wherever they run."""

import os
import signal
from pathlib import Path

import pytest

# Whoever starts the tests in the background, or by `nohup`, lets them ignore signals, and what they start would too.
# What is caught here, is not ignored there.
for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# What is set here by chance changes what commands print, or do.
FOR_TESTS = {"ONNXSENS_FUZZ", "ONNXSENS_REQUIRE"}
for name in set(os.environ) - FOR_TESTS:
    if name in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"} or name.startswith("ONNXSENS_"):
        del os.environ[name]

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of shipped models."""
    return MODELS
