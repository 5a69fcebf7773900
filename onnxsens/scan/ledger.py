"""What has been measured of each point, block by block of samples, and how much of it this conversation has asked for.

A point is measured on growing blocks of samples. Every block is kept as it was measured, so that what was known after
any of them can be told again: a resumed run takes the same decisions as an uninterrupted one, whatever else the store
has come to hold.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from struct import Struct

from onnxsens.engine.questions import Answer, Measurement

PACKED = Struct("<qdddd??")
Blocks = Mapping[str, Sequence["Block"]]  # by metric, in order


class Block:
    """One metric over the samples `[start, stop)`. A night's work has a million of them, so they are kept packed."""

    __slots__ = ("_kept", "start")

    def __init__(self, start: int, measured: Measurement) -> None:
        self.start = start
        self._kept: bytes | Measurement = measured
        if measured.drops is None:
            values = measured.total, measured.squares, measured.dense, measured.pruned
            self._kept = PACKED.pack(measured.samples, *values, measured.extendable, measured.binary)

    @property
    def measured(self) -> Measurement:
        """What was measured, to the bit."""
        return Measurement(*PACKED.unpack(self._kept)) if isinstance(self._kept, bytes) else self._kept

    @property
    def stop(self) -> int:
        """The first sample after it."""
        return self.start + self.measured.samples


@dataclass(slots=True)
class Entry:
    """One variant: blocks by metric, each from the first sample on without a gap.

    Attributes:
        failures: metrics that could not be measured in this process.
    """

    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, blocks: Iterable[tuple[str, Block]]) -> "Entry":
        """Of what a store holds, in order; what comes after a gap is no use to anybody."""
        entry = cls()
        for metric, block in blocks:
            known = entry.blocks.get(metric, ())
            if block.start == (known[-1].stop if known else 0):
                entry.blocks[sys.intern(metric)] = (*known, block)
        return entry

    def lacking(self, metrics: Sequence[str], stop: int) -> dict[tuple[int, int], tuple[str, ...]]:
        """What has to be measured for the first `stop` samples: ranges of samples, and the metrics they are for."""
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        for metric in metrics:
            known = self.blocks.get(metric, ())
            have = known[-1].stop if known else 0
            if metric not in self.failures and have < stop:
                extendable = not known or known[-1].measured.extendable
                where = (have if extendable else 0, stop)
                found[where] = (*found.get(where, ()), metric)
        return found

    def put(self, metric: str, block: Block) -> None:
        """After the last one; what covers all samples at once replaces it."""
        known = self.blocks.get(metric, ()) if block.start else ()
        self.blocks[sys.intern(metric)] = (*known, block)  # there are thousands of entries, and a few names

    def take(self, start: int, answer: Answer) -> None:
        """What a question about the samples from `start` on said of each metric."""
        for metric, measured in answer.measurements.items():
            self.put(metric, Block(start, measured))
        self.failures |= answer.failures

    def after(self, metrics: Sequence[str], stop: int) -> dict[str, Measurement]:
        """What is known from the blocks up to `stop`, and from one that goes beyond where no boundary is there."""
        found = {}
        for metric in metrics:
            if metric not in self.failures and self.blocks.get(metric):
                found[metric] = reduce(Measurement.extended, [b.measured for b in self._until(metric, stop)])
        return found

    def _until(self, metric: str, stop: int) -> list[Block]:
        taken: list[Block] = []
        for block in self.blocks[metric]:
            taken.append(block)
            if block.stop >= stop:
                break
        return taken
