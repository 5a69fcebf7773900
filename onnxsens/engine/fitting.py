"""Running out of memory: what it looks like, and how fewer samples are run at once from then on."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from onnxsens.errors import OnnxsensError, OutOfMemoryError

T = TypeVar("T")

# In order: an arena, the CUDA runtime, the allocator of C++, cuBLAS and cuDNN, and an arena with a limit.
SIGNS = re.compile(
    r"failed to allocate memory|out of memory|bad_alloc|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED"
    r"|cudaErrorMemoryAllocation|available memory of \d+ is smaller than requested bytes",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure of native code is one of too little memory, of the host or of a device.

    cuDNN's internal and execution errors may be one too; they do not say so, and are not taken for it.
    """
    return isinstance(error, MemoryError) or SIGNS.search(str(error)) is not None


class SmallerBatchError(OnnxsensError):
    """Memory ran out, and fewer samples are run at once from here on: ask again, from the beginning.

    No `ModelError`, so that nobody takes it for an answer.
    """


class Fitting:
    """How many samples are run at once: as many as were asked for, until memory runs out; then half as many.

    A batch is not continued in pieces: whoever asked begins again. So what is compared was run in batches of one size,
    also where outputs depend on what else is in a batch, and what is held of a batch is always of a whole one.

    Args:
        most: samples of one run.
        fixed: whether that is the model's own choice; then there are never fewer.
        say: told of each change.

    Attributes:
        most: samples of one run from here on.
        side_by_side: batches that are run at once; whoever runs them sets it.
        alone: told to go over to one at a time, before batches are made smaller.
    """

    def __init__(self, most: int, *, fixed: bool, say: Callable[[str], None]) -> None:
        self.most = most
        self._fixed = fixed
        self._say = say
        self.side_by_side = 1
        self.alone: Callable[[], None] = lambda: None

    @contextmanager
    def room(self, samples: int) -> Iterator[None]:
        """Around whatever is run for so many samples.

        Raises:
            SmallerBatchError: there was no room, and there may be for fewer.
            OutOfMemoryError: there was no room for one sample, or for the batch that the model fixes.
        """
        try:
            yield
        except OutOfMemoryError as error:
            if self.side_by_side > 1:
                # First of all one at a time: it changes nothing that is measured. Not from here, which may be a lane.
                text = f"out of memory with {self.side_by_side} batches side by side; from here on one is run at a time"
                raise SmallerBatchError(text) from error
            if self._fixed or samples == 1:
                raise
            self.most = min(self.most, (samples + 1) // 2)
            text = (
                f"out of memory with {samples} samples at once; from here on {self.most} are run at once, as with "
                f"--batch-size {self.most} (what depends on the batch, be it by rounding, changes with it)"
            )
            self._say(text)
            raise SmallerBatchError(text) from error

    def settle(self) -> None:
        """After a `SmallerBatchError`, when nothing runs any more: one batch at a time, where there were several."""
        if self.side_by_side > 1:
            self._say(f"out of memory with {self.side_by_side} batches side by side; from here on one is run at a time")
            self.alone()

    def fitted(self, work: Callable[[], T], relieve: Callable[[], None] = lambda: None) -> T:
        """What `work` gives; it is begun again for as long as it fits into smaller batches only.

        Args:
            relieve: lets go of what is held; called before each new beginning.
        """
        while True:
            try:
                return work()
            except SmallerBatchError:
                pass
            # Outside of the block: in it, the error keeps what the failed run had allocated.
            self.settle()
            relieve()
