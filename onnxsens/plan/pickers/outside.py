"""Pickers that others wrote: whatever goes wrong in one is told as theirs, and nothing but levels comes out."""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from onnxsens.errors import InputError, OnnxsensError
from onnxsens.plan.pickers.picker import Family, Ground, Picker
from onnxsens.scan.searches import Level

T = TypeVar("T")


class Outside(Family):
    """The family of such a picker, looked at on its way.

    Raises:
        InputError: the picker raised something, or what it gave are no levels, one for every weight.
    """

    kind = ""

    def __init__(self, name: str, make: Callable[[], Picker], ground: Ground) -> None:
        self._name = name
        self._weights = [weight.name for weight in ground.weights]
        self._family = self._asked(lambda: make().family(ground))
        try:
            self.kind = str(self._family.kind)  # type: ignore[misc]  # of the family that it stands for
            self.highest, self.start = float(self._family.highest), float(self._family.start)
            self.stride, self.precision = float(self._family.stride), float(self._family.precision)
        except (AttributeError, TypeError, ValueError) as error:
            raise self._wrong(f"has a family that is not whole: {error}") from error
        if not (0 < self.precision <= self.highest < math.inf and self.stride > 0 and 0 <= self.start <= self.highest):
            raise self._wrong(
                f"has a family from {self.start:g} to {self.highest:g} in steps of {self.stride:g} and "
                f"{self.precision:g}, which no search can follow"
            )

    def propose(self, boldness: float) -> dict[str, Level]:
        """Of the family, once it has been looked at."""
        levels = self._levels(self._asked(lambda: self._family.propose(boldness)))
        gap = self._family.gap
        self.gap = None if gap is None else float(gap)
        return levels

    def settle(self, boldness: float, most: int | None = None) -> dict[str, Level] | None:
        """Of the family, once it has been looked at."""
        found = self._asked(lambda: self._family.settle(boldness, most))
        return None if found is None else self._levels(found)

    def _asked(self, question: Callable[[], T]) -> T:
        """An answer of theirs. What they ask of us in turn may fail for reasons of its own."""
        try:
            return question()
        except OnnxsensError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise self._wrong(f"failed: {type(error).__name__}{': ' if text else ''}{text}") from error

    def _levels(self, found: Mapping[str, Level]) -> dict[str, Level]:
        """A level for every weight, in their order."""
        try:
            levels = {name: float(found[name]) for name in self._weights}
        except (KeyError, TypeError, ValueError) as error:
            raise self._wrong(f"gives no level for every weight: {type(error).__name__}: {error}") from error
        for name, level in levels.items():
            if not 0 <= level <= 1:
                raise self._wrong(f"gives '{name}' the level {level:g}, which is not in [0, 1]")
        return levels

    def _wrong(self, what: str) -> InputError:
        return InputError(f"picker '{self._name}', a plug-in, {what}; leave it out, or have it mended")
