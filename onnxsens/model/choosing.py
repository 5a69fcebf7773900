"""Weights that a user means, by patterns of their names."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from onnxsens.errors import UsageError
from onnxsens.model.weights import Weight


def fits(name: str, pattern: str) -> bool:
    """Whether it is the pattern itself, brackets and all, or one that the pattern stands for."""
    return name == pattern or fnmatchcase(name, pattern)


def fitting(weights: Sequence[Weight], pattern: str, option: str) -> list[Weight]:
    """The weights whose name fits the pattern, in the order given.

    Args:
        option: that the pattern was given with.

    Raises:
        UsageError: it fits no weight.
    """
    found = [weight for weight in weights if fits(weight.name, pattern)]
    if not found:
        near = get_close_matches(pattern, [weight.name for weight in weights], n=1)
        hint = f"did you mean '{near[0]}'?" if near else "'onnxsens inspect' lists them"
        raise UsageError(f"{option} '{pattern}' fits no weight of the model; {hint}")
    return found
