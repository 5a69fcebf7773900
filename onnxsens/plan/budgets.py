"""What a plan may cost, as a share of what the dense model costs: zeros, MACs, or compressed bytes.

Counted, never timed. A budget is met by as many zeros as it takes; pickers share them out.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from onnxsens.arrays import AnyArray
from onnxsens.model import Weight
from onnxsens.model.storage import compressed_bytes
from onnxsens.plan.costs import remaining_macs
from onnxsens.scan import Scanner
from onnxsens.scan.searches import Level

Levels = Mapping[str, Level]


class Saving(Protocol):
    """What levels save, as a share of the dense model's cost; never less for higher levels."""

    def of(self, levels: Levels) -> float:
        """In [0, 1]."""

    def price(self, weight: Weight) -> float:
        """What a zero of this weight saves, on any scale."""


class Zeros:
    """The share of zeros over all prunable weights."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def of(self, levels: Levels) -> float:
        """Those that were there count too."""
        return self._scanner.sparsity(levels)

    def price(self, weight: Weight) -> float:
        """Each is worth as much."""
        return 1.0


class Macs:
    """The share of multiply-accumulates by zeros.

    Args:
        macs: per sample, by weight.
    """

    def __init__(self, scanner: Scanner, macs: Mapping[str, int]) -> None:
        self._scanner = scanner
        self._macs = macs
        self.total = sum(macs.values())

    def of(self, levels: Levels) -> float:
        """Each element of a weight is used equally often."""
        left = sum(
            remaining_macs(
                self._macs[weight.name], weight.size, self._scanner.zeros(weight, levels.get(weight.name, 0.0))
            )
            for weight in self._scanner.weights
        )
        return 1 - left / self.total

    def price(self, weight: Weight) -> float:
        """How often each element is used."""
        return self._macs[weight.name] / weight.size


class CompressedBytes:
    """The share of bytes that zlib saves on the planned weights, by masks of plain magnitude.

    Values that are updated compress alike: what counts is where the zeros are, and how many.

    Args:
        stored: a weight with a level, as it is stored.
    """

    def __init__(self, scanner: Scanner, stored: Callable[[Weight, Level], AnyArray]) -> None:
        self._scanner = scanner
        self._stored = stored
        self._known: dict[tuple[str, int], int] = {}
        self.total = sum(self._bytes(weight, 0.0) for weight in scanner.weights)

    def of(self, levels: Levels) -> float:
        """Of what the dense weights take when compressed."""
        return 1 - self.bytes_of(levels) / self.total

    def bytes_of(self, levels: Levels, only: Collection[str] | None = None) -> int:
        """Of all planned weights, or of some."""
        return sum(
            self._bytes(weight, levels.get(weight.name, 0.0))
            for weight in self._scanner.weights
            if only is None or weight.name in only
        )

    def exactly(self, levels: Levels) -> int:
        """Of all planned weights, each compressed at its very level."""
        return sum(self._at(weight, levels.get(weight.name, 0.0)) for weight in self._scanner.weights)

    def price(self, weight: Weight) -> float:
        """Bytes of an element."""
        return float(self._stored(weight, 0.0).itemsize)

    def _bytes(self, weight: Weight, level: Level) -> int:
        # In steps of a hundredth and a straight line between them, over what is saved: compressing takes long.
        low = int(level * 100) / 100
        high = min(low + 0.01, 1.0)
        first, own, last = (self._scanner.zeros(weight, each) for each in (low, level, high))
        if own in {first, last}:
            return self._at(weight, low if own == first else high)
        below, above = self._at(weight, low), self._at(weight, high)
        return round(below + (above - below) * (own - first) / (last - first))

    def _at(self, weight: Weight, level: Level) -> int:
        key = (weight.name, self._scanner.zeros(weight, level))
        if key not in self._known:
            self._known[key] = compressed_bytes(self._stored(weight, level))
        return self._known[key]
