"""Which nodes of a model run on given samples, how often, and on what shapes: read from ONNX Runtime's own profile.

Knows no weight. Nodes in bodies of If, Loop and Scan are seen too, once for every iteration.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from onnxsens.arrays import AnyArray
from onnxsens.engine.sessions import Session
from onnxsens.errors import ModelError
from onnxsens.files import TemporaryFolder

Shape = tuple[int, ...]

# ONNX Runtime stops recording there, without a word.
MOST_EVENTS = 1_000_000


class TooManyExecutionsError(ModelError):
    """The profile is full before the samples are through."""


@dataclass(frozen=True)
class Execution:
    """One run of one node.

    Attributes:
        inputs, outputs: shapes of the tensors that are there, in order; those left out by an empty name have none.
    """

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


Recorded = Callable[[Path], Session]


def executions(
    recorded: Recorded, tokens: Collection[str], feeds: Iterable[Mapping[str, AnyArray]]
) -> dict[str, list[Execution]]:
    """Every run of the nodes whose name holds one of `tokens`, in order; none for a node that does not run.

    Nodes of a function have the name of its call before their own, and share their token between all calls.

    Args:
        recorded: opens a session of the model that writes a profile of that name; one that optimises nothing, so that
            a node runs where the file has it.
        tokens: in the names of nodes, each followed by no further digit.
        feeds: model-ready inputs, a batch each.
    Raises:
        ModelError: the model does not run, or runs more nodes on one feed than a profile holds.
    """
    found: dict[str, list[Execution]] = {token: [] for token in tokens}
    if not found:
        return found
    pattern = re.compile("(" + "|".join(map(re.escape, sorted(found))) + r")(?!\d)[^\"]*_kernel_time\"")
    for line in profiles(recorded, iter(feeds)):
        named = pattern.search(line)
        if named:
            found[named[1]].append(Execution(shapes(line, "input_type_shape"), shapes(line, "output_type_shape")))
    return found


def profiles(recorded: Recorded, feeds: Iterator[Mapping[str, AnyArray]]) -> Iterator[str]:
    """The events of these runs, a line each: one session for the first feed, then as many feeds a session as fit."""
    share = 1
    while batches := list(islice(feeds, share)):
        events = 0
        for line in profile(recorded, batches):
            events += 1
            yield line
        if events >= MOST_EVENTS:
            raise TooManyExecutionsError(
                f"the model runs more nodes on these samples than a profile holds ({MOST_EVENTS:,}); "
                "give smaller samples, or a smaller --batch-size"
            )
        # Half of what would fit: a loop may run longer on other samples.
        share = max(1, MOST_EVENTS * len(batches) // (2 * events))


def profile(recorded: Recorded, feeds: Sequence[Mapping[str, AnyArray]]) -> Iterator[str]:
    """The lines of one session's profile; the file itself is removed."""
    with TemporaryFolder() as folder:
        session = recorded(folder / "profile")
        for feed in feeds:
            session.run(session.readable, feed)
        # A line at a time: an event takes some 600 bytes, and a long loop makes hundreds of thousands.
        with session.end_profiling().open(encoding="utf-8", errors="replace") as lines:
            yield from lines


def shapes(line: str, key: str) -> tuple[Shape, ...]:
    """Shapes under a key of an event: there stands `[{"float":[2,3]},{"int64":[]}]`."""
    start = line.index(":", line.index(f'"{key}"')) + 1
    listed: Any = json.JSONDecoder().raw_decode(line[start:].lstrip())[0]
    return tuple(tuple(shape) for tensor in listed for shape in tensor.values())
