"""Pickers that others wrote: whatever goes wrong in one is told as theirs, and nothing but levels comes out."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from onnxsens.errors import InputError, OnnxsensError
from onnxsens.plan.pickers.picker import Family, Ground, Picker
from onnxsens.scan.searches import Level
from onnxsens.usercode import quiet

T = TypeVar("T")

FINEST = 1e-9  # of the whole way: below that, halving comes to neighbouring numbers and never ends


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
        self.kind = self._asked(lambda: str(self._family.kind))  # type: ignore[misc]  # of the one that it stands for
        numbers = ("highest", "start", "stride", "precision")
        self.highest, self.start, self.stride, self.precision = (self._number(each) for each in numbers)
        finest = FINEST * self.highest
        followed = 0 < self.highest < math.inf and 0 <= self.start <= self.highest
        if not (followed and finest <= self.precision <= self.highest and finest <= self.stride < math.inf):
            raise self._wrong(
                f"has a family from {self.start:g} to {self.highest:g} in steps of {self.stride:g} and "
                f"{self.precision:g}, which no search can follow"
            )

    def propose(self, boldness: float) -> dict[str, Level]:
        """Of the family, once it has been looked at."""
        levels = self._levels(lambda: self._family.propose(boldness))
        gap = self._asked(lambda: self._family.gap)
        self.gap = None if gap is None else self._number("gap")
        if self.gap is not None and not 0 <= self.gap < math.inf:
            raise self._wrong(f"gives {self.gap:g} as its gap, which is a share")
        return levels

    def settle(self, boldness: float, most: int | None = None) -> dict[str, Level] | None:
        """Of the family, once it has been looked at."""
        found = self._asked(lambda: self._family.settle(boldness, most))
        return None if found is None else self._levels(lambda: found)

    def _asked(self, question: Callable[[], T]) -> T:
        """An answer of theirs. What they ask of us in turn may fail for reasons of its own."""
        try:
            with quiet():
                return question()
        except OnnxsensError:
            raise
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())[:200]
            raise self._wrong(f"failed: {type(error).__name__}{': ' if text else ''}{text}") from error

    def _number(self, attribute: str) -> float:
        """One of the family's."""
        return self._asked(lambda: float(getattr(self._family, attribute)))

    def _levels(self, answer: Callable[[], Any]) -> dict[str, Level]:
        """A level for every weight, in their order."""
        found = self._asked(answer)
        missing = self._asked(lambda: [name for name in self._weights if name not in found])
        if missing:
            raise self._wrong(f"gives '{missing[0]}' no level")
        levels = self._asked(lambda: {name: float(found[name]) for name in self._weights})
        for name, level in levels.items():
            if not 0 <= level <= 1:
                raise self._wrong(f"gives '{name}' the level {level:g}, which is not in [0, 1]")
        return levels

    def _wrong(self, what: str) -> InputError:
        return InputError(f"picker '{self._name}', a plug-in, {what}; leave it out, or have it mended")
