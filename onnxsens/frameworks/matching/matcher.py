"""From stored tensors and a checkpoint to matches: content first, then factors, then what the file says, then guesses.

A match is made by equal numbers, or by numbers that are equal up to a factor a channel. Names decide between parameters
that hold the same numbers; where they cannot, the tensor is ambiguous. Names alone are believed where there is no
checkpoint, or where numbers cannot contradict them; else they are a guess.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.checkpoints import Checkpoint, Parameter
from onnxsens.frameworks.matching.alignment import Alignment
from onnxsens.frameworks.matching.blocks import Found, joined_match, laid_out, whole_matches
from onnxsens.frameworks.matching.claims import Box, box_of, listed, pointed_to, renamed, taken_in, whole_of
from onnxsens.frameworks.matching.conventions import is_matrix, stated
from onnxsens.frameworks.matching.gates import gate_match
from onnxsens.frameworks.matching.guessing import guesses
from onnxsens.frameworks.matching.naming import clearest, strength
from onnxsens.frameworks.matching.normalization import CLOSE, Norms, magnitude_of
from onnxsens.frameworks.matching.prints import Print, print_of
from onnxsens.frameworks.matching.scaling import CLEARLY, FREEDOM, SAME, Scaled, Shapes, scaled_matches
from onnxsens.frameworks.matching.source import Library, Source
from onnxsens.frameworks.matching.tensor import UNEXPLAINED, Match, Tensor
from onnxsens.frameworks.matching.vectors import VectorBlocks
from onnxsens.frameworks.pieces import Piece, assembled

FLIPPING = ("Conv", "ConvTranspose")
NEAREST = 1e-12  # below that distance nothing is nearer than another
ROUNDED = 0.05  # how far factors may be from 1 where a tensor is a rounded parameter
FEWEST_LENGTHS = 4  # of slices, below which equal ones may be chance
MATRIX_LEAVES = ("weight", "in_proj_weight")  # parameters of two axes that are `[out, in]` where nothing else says


class Matcher:
    """Made for one checkpoint; None where there is none, and names are all there is."""

    def __init__(self, checkpoint: Checkpoint | None, named: frozenset[str] = frozenset()) -> None:
        self._parameters: Sequence[Parameter] = checkpoint.parameters if checkpoint else ()
        self._shapes = {parameter.name: parameter.shape for parameter in self._parameters}
        self._known = self._shapes.get if checkpoint else None
        self._by_name = {parameter.name: parameter for parameter in self._parameters}
        self._named = named
        self._libraries: dict[np.dtype, Library] = {}
        self._norms = Norms(self._parameters)
        self._ratios: dict[np.dtype, Shapes] = {}
        self._blocks: dict[np.dtype, VectorBlocks] = {}
        self._prints: dict[str, Print] = {}
        self._gates: dict[str, tuple[int, ...]] = {}
        self._doubts: dict[str, str] = {}
        self._beside: Mapping[str, str] = {}
        self._votes: Counter[tuple[str, int, object]] = Counter()

    def match(self, tensors: Iterable[Tensor]) -> list[Match]:
        """One match a tensor, in their order."""
        tensors = list(tensors)
        if not self._parameters:
            return [self._by_file(tensor) or Match(tensor, "missed") for tensor in tensors]
        found: dict[str, Match] = {}
        candidates = {tensor.name: self._by_content(tensor) for tensor in tensors}
        for tensor in tensors:
            self._vote(candidates[tensor.name])
        claims = Counter(
            box
            for tensor in tensors
            for box in {box_of(piece) for found in candidates[tensor.name] for piece in found.pieces}
        )
        factors: dict[str, list[Scaled]] = {}
        for tensor in tensors:
            if not candidates[tensor.name]:
                factors[tensor.name] = self._by_factor(tensor)
                claims.update({box_of(whole_of(scaled.source)) for scaled in factors[tensor.name][:1]})
        for tensor in tensors:
            match = None
            if candidates[tensor.name]:
                match = self._chosen(tensor, candidates[tensor.name], claims)
            elif factors[tensor.name]:
                match = self._scaled(tensor, factors[tensor.name], claims)
            found[tensor.name] = match or self._by_statement(tensor) or Match(tensor, "missed")
        taken = {name for match in found.values() for name in match.parameters}
        left = [match.tensor for match in found.values() if match.confidence == "missed" and match.tensor.operator]
        free = [parameter for parameter in self._parameters if parameter.name not in taken]
        for guess in guesses(left, free, tensors, self._parameters, self._votes):
            found[guess.tensor.name] = guess
        return [found[tensor.name] for tensor in tensors]

    def match_vectors(self, tensors: Iterable[Tensor], shifted: Mapping[str, Match]) -> list[Match]:
        """One match a vector. Content alone says less of these: many have the same numbers, such as zeros.

        Args:
            shifted: for vectors that are added to a weight's output, what that weight was matched with.
        """
        tensors = list(tensors)
        self._beside = {name: match.parameters[0] for name, match in shifted.items() if match.parameters}
        found = []
        for match in self.match(tensors):
            parent = shifted.get(match.tensor.name)
            folded = None
            if match.confidence in ("missed", "guess") and parent is not None and parent.norm is not None:
                folded = taken_in(match.tensor, parent.norm)
            found.append(folded or match)
        self._beside = {}
        return found

    # By content

    def _library(self, dtype: np.dtype) -> Library:
        if dtype not in self._libraries:
            self._libraries[dtype] = Library(self._parameters, dtype)
        return self._libraries[dtype]

    def _print(self, tensor: Tensor, values: AnyArray) -> Print:
        if tensor.name not in self._prints:
            self._prints[tensor.name] = print_of(values)
        return self._prints[tensor.name]

    def _by_content(self, tensor: Tensor) -> list[Found]:
        """Every parameter, or the way to join some, that has exactly these numbers."""
        if not tensor.exact or not tensor.size:
            return []
        values = tensor.values()
        library, own = self._library(values.dtype), self._print(tensor, values)
        stacked = gate_match(values, tensor.operator, library, self._gates)
        if stacked is not None:
            self._doubts[tensor.name] = stacked[1]
            return [stacked[0]]
        flips = tensor.operator in FLIPPING
        whole = whole_matches(values, own, library, flips=flips)
        if whole or own.constant:
            return whole
        joined = joined_match(values, own, library) if len(tensor.shape) > 1 else None
        if joined is None and len(tensor.shape) <= 2:
            if values.dtype not in self._blocks:
                self._blocks[values.dtype] = VectorBlocks(library)
            joined = self._blocks[values.dtype].match(values)
        return [joined] if joined else []

    def _vote(self, candidates: list[Found]) -> None:
        """What is certain tells how the exporter lays out parameters of that kind."""
        if len(candidates) == 1 and len(candidates[0].ways) == 1:
            piece = candidates[0].pieces[0]
            self._votes[leaf(piece.parameter), len(piece.shape), tuple(piece.order)] += 1

    def _chosen(self, tensor: Tensor, candidates: list[Found], claims: Counter[Box]) -> Match:
        """Of all that have the same numbers, those that names point to; all, where no other tensor has them."""
        evidence, unclear = ["the same numbers"], self._doubts.get(tensor.name, "")
        made: list[tuple[Piece, ...]] = []
        for found in candidates:
            pieces = found.pieces
            if len(found.ways) > 1:
                way, why = self._way(tensor, found)
                pieces = (laid_out(found.sources[0], way, tensor.shape),)
                evidence += [why] if why and why not in evidence else []
                unclear = unclear if why else "it is symmetric, and nothing says whether it is transposed"
            made += renamed(pieces, found.sources)
        contested = any(claims[box_of(piece)] > 1 for found in candidates for piece in found.pieces)
        constant = self._print(tensor, tensor.values()).constant
        ranked = self._ranked(tensor, made)
        kept, why, reason = pointed_to(made, ranked, must=contested or (constant and len(made) > 1))
        evidence += [why] if why else []
        unclear = reason or unclear
        if unclear:
            return Match(tensor, "ambiguous", kept[0], tuple(kept[1:]), evidence=(*evidence, unclear))
        return Match(tensor, "exact", kept[0], tuple(kept[1:]), evidence=tuple(evidence))

    def _strength(self, tensor: Tensor, name: str) -> tuple[int, str]:
        return strength(tensor, name, self._beside.get(tensor.name, ""))

    def _ranked(self, tensor: Tensor, made: list[tuple[Piece, ...]]) -> list[tuple[int, str]]:
        """How strongly names link the tensor with each way to make it, by the best of a parameter's names."""
        names = [(pieces[0].parameter, *self._by_name[pieces[0].parameter].aliases) for pieces in made]
        return [max((self._strength(tensor, one) for one in each), key=lambda pair: pair[0]) for each in names]

    def _way(self, tensor: Tensor, found: Found) -> tuple[Alignment, str]:
        """One of several orders that give the same numbers: as other tensors of the kind are laid out."""
        source = found.sources[0]
        axes = len(source.shape)
        counts = [self._votes[leaf(source.name), axes, tuple(order)] for order, _ in found.ways]
        best = int(np.argmax(counts))
        if counts[best] and counts.count(counts[best]) == 1:
            return found.ways[best], "laid out as the others of its kind"
        for statement in stated(tensor, self._known, self._named):
            piece = statement.pieces[0]
            ways = [way for way in found.ways if way[0] == tuple(piece.order)]
            if len(statement.pieces) == 1 and ways:
                return ways[0], statement.evidence
        if axes == 2 and leaf(source.name) in MATRIX_LEAVES:
            ways = [way for way in found.ways if is_matrix(tensor, way[0])]
            if len(ways) == 1:
                return ways[0], "weights of this name are [out, in]"
        return found.ways[0], ""

    # By factors

    def _by_factor(self, tensor: Tensor) -> list[Scaled]:
        values = tensor.values()
        own = self._print(tensor, values)
        if own.constant or len(tensor.shape) < 2 or not tensor.operator:
            return []
        library = self._library(values.dtype)
        shapes = self._ratios.setdefault(values.dtype, Shapes())
        return scaled_matches(values, library.of_size(tensor.size), shapes, exact=tensor.exact)

    def _scaled(self, tensor: Tensor, found: list[Scaled], claims: Counter[Box]) -> Match | None:
        """The parameter that explains the tensor best, if it explains it better than chance would."""
        known = [self._norms.explaining(scaled.scale) for scaled in found]
        enough = [each for each in zip(found, known, strict=True) if each[1] or each[0].freedom >= FREEDOM]
        if not enough:
            return None
        near = [each for each in enough if each[0].off <= max(CLEARLY * enough[0][0].off, NEAREST)]
        explained = [each for each in near if each[1]]
        unclear = ""
        chosen = near[0]
        if len(explained) == 1:
            chosen = explained[0]
        elif len(near) > 1:
            best = clearest([self._linked(tensor, scaled.source) for scaled, _ in near])
            chosen = near[best or 0]
            if best is None:
                names = listed([scaled.source.name for scaled, _ in near])
                unclear = f"several parameters are a multiple of it: {names}"
        scaled, norm = chosen
        piece = laid_out(scaled.source, (scaled.order, ()), tensor.shape)
        made = renamed((piece,), (scaled.source,))
        ranked = self._ranked(tensor, made)
        kept, why, reason = pointed_to(made, ranked, must=claims[box_of(whole_of(scaled.source))] > 1)
        unclear = unclear or reason
        magnitude = "" if norm else self._magnitude(tensor, kept[0][0].parameter, scaled)
        evidence = [f"the same numbers times a factor along axis {scaled.axis}"]
        live = scaled.scale[scaled.scale != 0]
        if norm:
            evidence.append(f"the factors are those of '{norm.norm.name}' with epsilon {norm.epsilon:g}")
        elif magnitude:
            evidence.append(f"the lengths of its slices are '{magnitude}'")
        elif scaled.off > SAME and np.abs(live - 1).max() < ROUNDED:
            evidence = ["the same numbers, rounded"]
        else:
            evidence.append(UNEXPLAINED)
        evidence += [why] if why else []
        return Match(
            tensor,
            "ambiguous" if unclear else "scaled",
            kept[0],
            tuple(kept[1:]),
            scaled.axis,
            scaled.scale,
            evidence=(*evidence, unclear) if unclear else tuple(evidence),
            norm=norm.norm if norm else None,
            magnitude=magnitude,
        )

    def _linked(self, tensor: Tensor, source: Source) -> tuple[int, str]:
        """How strongly names link a tensor with any of the parameters that hold the same numbers."""
        names = [alias for name in source.names for alias in (name, *self._by_name[name].aliases)]
        return max((self._strength(tensor, name) for name in names), key=lambda pair: pair[0])

    def _magnitude(self, tensor: Tensor, name: str, scaled: Scaled) -> str:
        """The parameter that holds the lengths of the tensor's slices, where there is one: of a weight norm."""
        slices = np.moveaxis(tensor.values(), scaled.axis, 0).reshape(tensor.shape[scaled.axis], -1).astype(np.float64)
        lengths = np.sqrt(np.square(slices).sum(axis=1))
        found = [
            parameter.name
            for parameter in self._parameters
            if max(parameter.shape, default=0) == parameter.size == len(lengths) and parameter.dtype.startswith("float")
            if np.allclose(np.abs(parameter.read().reshape(-1).astype(np.float64)), lengths, rtol=CLOSE, atol=0)
        ]
        if len(found) > 1 or len(lengths) < FEWEST_LENGTHS:
            return magnitude_of(name) if magnitude_of(name) in found else ""
        return found[0] if found else ""

    # By what the file says

    def _by_file(self, tensor: Tensor) -> Match | None:
        """By what the file says alone; all that it says is read from one tensor is it."""
        found = list(stated(tensor, None, self._named))
        if not found:
            return None
        first = found[0]
        same = [each for each in found if each.confidence == first.confidence == "metadata"]
        by_name = {tuple(each.shapes): each.pieces for each in reversed(same)}
        others = tuple(pieces for pieces in reversed(by_name.values()) if pieces != first.pieces)
        return Match(tensor, first.confidence, first.pieces, others, evidence=(first.evidence,))

    def _by_statement(self, tensor: Tensor) -> Match | None:
        """By metadata and names; a guess where the numbers are others than the checkpoint's."""
        for statement in stated(tensor, self._known, self._named):
            if any(self._shapes.get(name) != shape for name, shape in statement.shapes.items()):
                continue
            match = Match(tensor, statement.confidence, statement.pieces, evidence=(statement.evidence,))
            return self._unless_contradicted(match)
        return None

    def _unless_contradicted(self, match: Match) -> Match:
        """With one element a channel, factors explain any tensor; all others would have matched by content."""
        tensor = match.tensor
        held = {name: self._by_name[name].read() for name in match.parameters}
        values = tensor.values()
        made = assembled(match.pieces, held, tensor.shape).astype(values.dtype)
        if np.array_equal(made, values):
            return replace(match, confidence="exact", evidence=(*match.evidence, "the same numbers"))
        axes = [axis for axis, length in enumerate(tensor.shape) if length == tensor.size]
        if axes and len(tensor.shape) > 1 and not ((made == 0) & (values != 0)).any():
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = np.where(made != 0, values / made, 0).reshape(-1).astype(np.float64)
            norm = self._norms.explaining(scale)
            why = "one element a channel, so that any factors fit"
            if norm:
                why = f"the factors are those of '{norm.norm.name}' with epsilon {norm.epsilon:g}"
            return replace(
                match,
                confidence="scaled" if norm else match.confidence,
                scale_axis=axes[0],
                scale=scale,
                evidence=(*match.evidence, why),
                norm=norm.norm if norm else None,
            )
        return replace(
            match, confidence="guess", evidence=(*match.evidence, "but the checkpoint has other numbers there")
        )


def leaf(name: str) -> str:
    """The last part of a name."""
    return name.replace("/", ".").rpartition(".")[2]
