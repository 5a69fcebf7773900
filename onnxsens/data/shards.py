"""A folder of npz files, read in the order of their names as if they were one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxsens.arrays import TensorSpec
from onnxsens.data.joining import join
from onnxsens.data.npz import read_npz
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, by_input, existing_file


@dataclass(frozen=True)
class Shards:
    """Every `.npz` in a folder; all must hold the same arrays, of any length. Other files are not samples."""

    max_data_bytes: int = MAX_DATA_BYTES

    def matches(self, spec: str) -> bool:
        """Every folder that holds at least one `.npz`."""
        return Path(spec).is_dir() and any(Path(spec).glob("*.npz"))

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """The shards, joined; together at most `max_data_bytes`."""
        paths = sorted(Path(spec).glob("*.npz"))
        shards = (
            (f"'{path}'", by_input(read_npz(existing_file(str(path)), self.max_data_bytes), inputs, f"'{path}'"))
            for path in paths
        )
        return join(shards, f"'{spec}'", self.max_data_bytes)
