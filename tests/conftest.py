"""Fixtures for all tests."""

from pathlib import Path

import pytest

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of shipped models."""
    return MODELS
