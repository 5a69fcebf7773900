"""Vectors that are made of blocks of others: biases of recurrent layers, of q, k and v joined."""

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.matching.blocks import Found
from onnxsens.frameworks.matching.prints import hashed
from onnxsens.frameworks.matching.source import Library, Source
from onnxsens.frameworks.pieces import Piece

PARTS = (1, 2, 3, 4, 6, 8, 12, 16)  # equal parts that a vector is cut into
SOURCE_PARTS = (1, 2, 3, 4)
SHORTEST = 4  # numbers in a block, below which equal ones may be chance


class VectorBlocks:
    """Equal parts of all vectors of a checkpoint."""

    def __init__(self, library: Library) -> None:
        self._blocks: dict[bytes, tuple[Source, int, int]] = {}
        for parts in SOURCE_PARTS[::-1]:  # larger blocks take the place of smaller ones with the same key last
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
                        self._blocks[key(block)] = source, part * size, (part + 1) * size

    def match(self, values: AnyArray) -> Found | None:
        """A vector, or a few of them one above the other, as blocks; None where one is missing."""
        length = values.shape[-1] if values.ndim else 0
        rows = values.reshape(-1, length) if length else values.reshape(0, 1)
        if not length or values.ndim > 2:
            return None
        pieces: list[Piece] = []
        sources: dict[str, Source] = {}
        for number, row in enumerate(rows):
            found = self._row(row)
            if found is None:
                return None
            for start, (source, low, high) in found:
                stop = start + high - low
                pieces.append(
                    Piece(
                        parameter=source.name,
                        start=[low],
                        stop=[high],
                        order=[0],
                        to_start=[number, start][-values.ndim :],
                        to_stop=[number + 1, stop][-values.ndim :],
                    )
                )
                sources[source.name] = source
        return Found(tuple(pieces), tuple(sources.values()))

    def _row(self, row: AnyArray) -> list[tuple[int, tuple[Source, int, int]]] | None:
        for parts in PARTS:
            size = len(row) // parts
            if len(row) % parts or size < SHORTEST:
                continue
            blocks = [self._blocks.get(key(row[start : start + size])) for start in range(0, len(row), size)]
            if all(block is not None for block in blocks):
                return [(number * size, block) for number, block in enumerate(blocks) if block is not None]
        return None


def key(block: AnyArray) -> bytes:
    """Of the numbers in their order."""
    return hashed(block).tobytes()
