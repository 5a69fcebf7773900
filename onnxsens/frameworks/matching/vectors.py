"""Vectors that are made of blocks of others: biases of recurrent layers, of q, k and v joined."""

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.matching.blocks import Found, Option
from onnxsens.frameworks.matching.prints import hashed
from onnxsens.frameworks.matching.source import Library, Source
from onnxsens.frameworks.pieces import Piece

PARTS = (1, 2, 3, 4, 6, 8, 12, 16)  # equal parts that a vector is cut into
SOURCE_PARTS = (1, 2, 3, 4)
SHORTEST = 4  # numbers in a block, below which equal ones may be chance


class VectorBlocks:
    """Equal parts of all vectors of a checkpoint."""

    def __init__(self, library: Library) -> None:
        self._blocks: dict[bytes, list[tuple[Source, int, int]]] = {}
        for parts in SOURCE_PARTS:
            for source in library.sources:
                if len(source.shape) != 1 or source.shape[0] % parts or source.print.constant:
                    continue
                size = source.shape[0] // parts
                if size < SHORTEST:
                    continue
                values = source.values()
                for part in range(parts):
                    block = values[part * size : (part + 1) * size]
                    if (block != block[0]).any():
                        self._blocks.setdefault(key(block), []).append((source, part * size, (part + 1) * size))

    def match(self, values: AnyArray) -> Found | None:
        """A vector, or a few of them one above the other, as blocks; None where one is missing."""
        length = values.shape[-1] if values.ndim else 0
        if not length or values.ndim > 2:
            return None
        parts: list[tuple[Option, ...]] = []
        for number, row in enumerate(values.reshape(-1, length)):
            size, found = self._row(row)
            if not found:
                return None
            for start, options in zip(range(0, length, size), found, strict=True):
                low, high = [number, start][-values.ndim :], [number + 1, start + size][-values.ndim :]
                parts.append(tuple(option(*each, low, high) for each in options))
        return Found(tuple(parts))

    def _row(self, row: AnyArray) -> tuple[int, list[list[tuple[Source, int, int]]]]:
        for parts in PARTS:
            size = len(row) // parts
            if len(row) % parts or size < SHORTEST:
                continue
            blocks = [self._blocks.get(key(row[start : start + size]), []) for start in range(0, len(row), size)]
            if all(blocks):
                return size, blocks
        return 0, []


def option(source: Source, start: int, stop: int, low: list[int], high: list[int]) -> Option:
    """A block of a source in a box of the tensor."""
    piece = Piece(parameter=source.name, start=[start], stop=[stop], order=[0], to_start=low, to_stop=high)
    return Option((piece,), source)


def key(block: AnyArray) -> bytes:
    """Of the numbers in their order."""
    return hashed(block).tobytes()
