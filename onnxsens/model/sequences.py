"""Input rows of recurrent operators: W is multiplied by the data of a step, R by the state that the step begins with.

Both have a group for each direction. Steps after the end of a sequence count for nothing.
Source: the specifications of RNN, GRU and LSTM (github.com/onnx/onnx, docs/Operators.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.model.input_rows import NoRowsError, Port
from onnxsens.model.layout import Shape
from onnxsens.model.operators import Attributes

DATA, LENGTHS, FIRST, STATES = Port("input", 0), Port("input", 4), Port("input", 5), Port("output", 0)


def steps_of(lengths: AnyArray | None, steps: int, batch: int) -> tuple[IntArray, IntArray]:
    """Step and sample of every place; all steps where no lengths are given."""
    number = np.full(batch, steps) if lengths is None else np.asarray(lengths, np.int64)
    step, sample = np.nonzero(np.arange(steps)[:, None] < number)
    return step, sample


@dataclass(frozen=True)
class StepInputs:
    """Rows of W.

    Attributes:
        lengths: whether sequences end at different steps.
        batch_first: `layout` 1, `[batch, steps, in]`; else `[steps, batch, in]`.
    """

    groups: int
    lengths: bool
    batch_first: bool

    @property
    def ports(self) -> tuple[Port, ...]:
        """The data."""
        return (DATA, LENGTHS) if self.lengths else (DATA,)

    def places(self, arrays: Sequence[AnyArray]) -> int:
        """Steps of all samples."""
        return len(self._steps(arrays)[0])

    def take(self, arrays: Sequence[AnyArray], chosen: IntArray) -> AnyArray:
        """All directions see the same."""
        step, sample = (each[chosen] for each in self._steps(arrays))
        rows = self._data(arrays)[step, sample]
        return np.broadcast_to(rows, (self.groups, *rows.shape))

    def _data(self, arrays: Sequence[AnyArray]) -> AnyArray:
        return arrays[0].swapaxes(0, 1) if self.batch_first else arrays[0]

    def _steps(self, arrays: Sequence[AnyArray]) -> tuple[IntArray, IntArray]:
        steps, batch = self._data(arrays).shape[:2]
        return steps_of(arrays[1] if self.lengths else None, steps, batch)


@dataclass(frozen=True)
class StepStates:
    """Rows of R: the output of the step before, which in the other direction is the step after.

    Attributes:
        reversed: for each direction, whether it runs from the end.
        first: whether the state of the first step is given; else it is 0.
        lengths, batch_first: as of W; outputs are then `[batch, steps, directions, hidden]`.
    """

    reversed: tuple[bool, ...]
    first: bool
    lengths: bool
    batch_first: bool

    @property
    def groups(self) -> int:
        """One for each direction."""
        return len(self.reversed)

    @property
    def ports(self) -> tuple[Port, ...]:
        """The operator's own output."""
        return (STATES, *([FIRST] if self.first else []), *([LENGTHS] if self.lengths else []))

    def places(self, arrays: Sequence[AnyArray]) -> int:
        """Steps of all samples."""
        return len(self._steps(arrays)[0])

    def take(self, arrays: Sequence[AnyArray], chosen: IntArray) -> AnyArray:
        """States by direction."""
        step, sample = (each[chosen] for each in self._steps(arrays))
        states = self._states(arrays)
        last = np.full(states.shape[2], len(states) - 1)
        if self.lengths:
            last = np.asarray(arrays[-1], np.int64) - 1
        rows = np.zeros((self.groups, len(chosen), states.shape[-1]), states.dtype)
        for direction, backward in enumerate(self.reversed):
            begins = step == (last[sample] if backward else 0)
            before = np.where(begins, 0, step + (1 if backward else -1))
            rows[direction] = states[before, direction, sample]
            rows[direction, begins] = self._first(arrays)[direction, sample[begins]] if self.first else 0
        return rows

    def _states(self, arrays: Sequence[AnyArray]) -> AnyArray:
        """`[steps, directions, batch, hidden]`."""
        return arrays[0].transpose(1, 2, 0, 3) if self.batch_first else arrays[0]

    def _first(self, arrays: Sequence[AnyArray]) -> AnyArray:
        """`[directions, batch, hidden]`."""
        return arrays[1].swapaxes(0, 1) if self.batch_first else arrays[1]

    def _steps(self, arrays: Sequence[AnyArray]) -> tuple[IntArray, IntArray]:
        steps, _, batch = self._states(arrays).shape[:3]
        return steps_of(arrays[-1] if self.lengths else None, steps, batch)


def has(given: Sequence[bool], port: Port) -> bool:
    """Whether the node has this input."""
    return port.index < len(given) and given[port.index]


def input_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> StepInputs:
    """W of RNN, GRU and LSTM, `[directions, gates * hidden, in]`."""
    return StepInputs(shape[0], has(given, LENGTHS), bool(attributes.get("layout", 0)))


def state_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> StepStates:
    """R of RNN and LSTM, `[directions, gates * hidden, hidden]`."""
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    found = directions.get(attributes.get("direction") or "forward")
    if found is None or len(found) != shape[0]:
        raise NoRowsError(f"it has {shape[0]} directions, which its operator does not fit")
    return StepStates(found, has(given, FIRST), has(given, LENGTHS), bool(attributes.get("layout", 0)))


def gated_state_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> StepStates:
    """R of GRU, where the reset gate comes after the product.

    Raises:
        NoRowsError: it comes before, and what is multiplied is no output.
    """
    if not attributes.get("linear_before_reset", 0):
        raise NoRowsError("its GRU resets the state before it multiplies, and that is no tensor of the model")
    return state_rows(shape, attributes, given)
