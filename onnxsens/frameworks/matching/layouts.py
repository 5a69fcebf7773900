"""How a parameter lies in a tensor where several ways give the same numbers: as others of its kind, or as files say."""

from collections import Counter
from dataclasses import replace

import numpy as np

from onnxsens.frameworks.matching.alignment import Alignment
from onnxsens.frameworks.matching.blocks import Found, Option
from onnxsens.frameworks.matching.conventions import Shapes, is_matrix, stated
from onnxsens.frameworks.matching.explaining import LOOSE, Explanation, as_option
from onnxsens.frameworks.matching.normalization import leaf
from onnxsens.frameworks.matching.scaling import CLEARLY, NEAREST
from onnxsens.frameworks.matching.tensor import Tensor

MATRIX_LEAVES = ("weight", "in_proj_weight")  # parameters of two axes that are `[out, in]` where nothing else says


class Layouts:
    """What the tensors of a model show of how its exporter lays out parameters."""

    def __init__(self, known: Shapes | None, named: frozenset[str]) -> None:
        self._known = known
        self._named = named
        self.votes: Counter[tuple[str, int, object]] = Counter()

    def vote(self, found: Found) -> None:
        """What is certain tells how the exporter lays out parameters of that kind."""
        if len(found.parts) == 1 and len(found.parts[0]) == 1 and len(found.parts[0][0].ways) == 1:
            piece = found.parts[0][0].pieces[0]
            self.votes[leaf(piece.parameter), len(piece.shape), tuple(piece.order)] += 1

    def way(self, tensor: Tensor, option: Option) -> tuple[Alignment, str]:
        """One of several orders that give the same numbers: as other tensors of the kind are laid out."""
        source = option.source
        axes = len(source.shape)
        counts = [self.votes[leaf(source.name), axes, tuple(order)] for order, _ in option.ways]
        best = int(np.argmax(counts))
        if counts[best] and counts.count(counts[best]) == 1:
            return option.ways[best], "laid out as the others of its kind"
        for statement in stated(tensor, self._known, self._named):
            piece = statement.pieces[0]
            ways = [way for way in option.ways if way[0] == tuple(piece.order)]
            if len(statement.pieces) == 1 and ways:
                return ways[0], statement.evidence
        if axes == 2 and leaf(source.name) in MATRIX_LEAVES:
            ways = [way for way in option.ways if is_matrix(tensor, way[0])]
            if len(ways) == 1:
                return ways[0], "weights of this name are [out, in]"
        plain = next((way for way in option.ways if way == (tuple(range(axes)), ())), None)
        if axes > 2 and leaf(source.name) in MATRIX_LEAVES and plain is not None:
            return plain, "kernels of this name lie as ONNX has them"
        return option.ways[0], ""

    def laid(self, tensor: Tensor, chosen: Explanation, every: list[Explanation]) -> tuple[Explanation, str, str]:
        """Of several orders of a parameter's axes that give the tensor, the one that is meant; and why, or why not.

        A symmetric parameter fits either way round.
        """
        worst = LOOSE if tensor.step is not None else max(CLEARLY * chosen.fit, NEAREST)
        alike = [each for each in every if each.proven == chosen.proven and each.fit <= max(worst, chosen.fit)]
        orders = tuple(dict.fromkeys(each.scaled.order for each in alike))
        if len(orders) < 2:
            return chosen, "", ""
        option = replace(as_option(tensor, chosen.scaled), ways=tuple((order, ()) for order in orders))
        (order, _), why = self.way(tensor, option)
        meant = min((each for each in alike if each.scaled.order == order), key=lambda each: each.rank)
        return meant, why, "" if why else "it is symmetric, and nothing says whether it is transposed"
