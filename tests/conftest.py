"""Fixtures for all tests."""

import signal
from pathlib import Path

import pytest

# Whoever starts the tests in the background, or by `nohup`, lets them ignore signals, and what they start would too.
# What is caught here, is not ignored there.
for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of shipped models."""
    return MODELS
