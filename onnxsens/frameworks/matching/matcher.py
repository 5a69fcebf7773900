"""From stored tensors and a checkpoint to matches: content first, then factors, then what the file says, then guesses.

A match is made by equal numbers, or by numbers that are equal up to a factor a channel. Names decide between parameters
that hold the same numbers; where they cannot, the tensor is ambiguous. Names alone are believed where there is no
checkpoint, or where numbers cannot contradict them; else they are a guess.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.checkpoints import Checkpoint, Parameter
from onnxsens.frameworks.matching.blocks import Found, joined_match, laid_out, part_matches, whole_matches
from onnxsens.frameworks.matching.claims import Claims, doubly_used, listed, pointed_to, taken_in, ways_of
from onnxsens.frameworks.matching.conventions import operand, stated
from onnxsens.frameworks.matching.explaining import Explanation, as_option, explained, with_lengths
from onnxsens.frameworks.matching.gates import PYTORCH, Layout, gate_match
from onnxsens.frameworks.matching.guessing import guesses
from onnxsens.frameworks.matching.layouts import Layouts
from onnxsens.frameworks.matching.naming import clearest, strength
from onnxsens.frameworks.matching.normalization import Norms, leaf
from onnxsens.frameworks.matching.prints import Print, print_of
from onnxsens.frameworks.matching.scaling import CLEARLY, FREEDOM, NEAREST, Scaled, Shapes, scaled_matches
from onnxsens.frameworks.matching.source import Library, Source
from onnxsens.frameworks.matching.tensor import UNEXPLAINED, Match, Tensor
from onnxsens.frameworks.matching.vectors import VectorBlocks
from onnxsens.frameworks.pieces import Piece, assembled

FLIPPING = ("Conv", "ConvTranspose")
REMADE = ("weight_orig", "weight_v", "original", "original1")  # under a spectral norm or the like


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
        self._gates: dict[str, Layout] = {}
        self._beside: Mapping[str, str] = {}
        self._layouts = Layouts(self._known, named)

    def match(self, tensors: Iterable[Tensor]) -> list[Match]:
        """One match a tensor, in their order."""
        tensors = list(tensors)
        if not self._parameters:
            return [self._by_file(tensor) or Match(tensor, "missed") for tensor in tensors]
        found: dict[str, Match] = {}
        claims = Claims()
        candidates = {tensor.name: self._by_content(tensor) for tensor in tensors}
        factors: dict[str, list[Scaled]] = {}
        for tensor in tensors:
            whole = candidates[tensor.name]
            if whole is None:
                factors[tensor.name] = self._by_factor(tensor)
                for scaled in factors[tensor.name][:1]:
                    claims.add(tensor.name, (piece for way in ways_of(as_option(tensor, scaled)) for piece in way))
                continue
            self._layouts.vote(whole)
            options = (option for part in whole.parts for option in part)
            claims.add(tensor.name, (piece for option in options for way in ways_of(option) for piece in way))
        for tensor in tensors:
            made, match = candidates[tensor.name], None
            if made is not None:
                match = self._chosen(tensor, made, claims)
            elif factors[tensor.name]:
                match = self._scaled(tensor, factors[tensor.name], claims)
            found[tensor.name] = match or self._by_statement(tensor) or Match(tensor, "missed")
        taken = {name for match in found.values() for name in match.parameters}
        left = [match.tensor for match in found.values() if match.confidence == "missed" and match.tensor.operator]
        free = [parameter for parameter in self._parameters if parameter.name not in taken]
        for guess in guesses(left, free, tensors, self._parameters, self._layouts.votes):
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

    def _by_content(self, tensor: Tensor) -> Found | None:
        """How the tensor can be made of parameters that have exactly its numbers; None where it cannot."""
        if not tensor.exact or not tensor.size:
            return None
        values = tensor.values()
        library, own = self._library(values.dtype), self._print(tensor, values)
        stacked = gate_match(values, tensor.operator, library, self._gates)
        if stacked is not None:
            return stacked
        whole = whole_matches(values, own, library, flips=tensor.operator in FLIPPING)
        whole += part_matches(values, own, library)
        if whole:
            return Found((tuple(whole),))
        joined = joined_match(values, own, library) if len(tensor.shape) > 1 else None
        if joined is None and len(tensor.shape) <= 2 and not own.constant:
            if values.dtype not in self._blocks:
                self._blocks[values.dtype] = VectorBlocks(library)
            joined = self._blocks[values.dtype].match(values)
        return joined

    def _chosen(self, tensor: Tensor, found: Found, claims: Claims) -> Match:
        """Of all that have the same numbers, those that names point to; all, where no other tensor has them."""
        evidence, unclear = ["the same numbers"], found.doubt
        taken: list[list[tuple[Piece, ...]]] = []
        for part in found.parts:
            made: list[tuple[Piece, ...]] = []
            for option in part:
                each = option
                if len(option.ways) > 1:
                    way, why = self._layouts.way(tensor, option)
                    each = replace(option, pieces=(laid_out(option.source, way, tensor.shape),))
                    evidence += [why] if why and why not in evidence else []
                    unclear = unclear if why else "it is symmetric, and nothing says whether it is transposed"
                made += ways_of(each)
            contested = any(claims.contested(tensor.name, piece) for way in made for piece in way)
            constant = self._print(tensor, tensor.values()).constant
            several = len(made) > 1
            must = (contested and (several or constant)) or (several and (constant or len(found.parts) > 1))
            kept, why, reason = pointed_to(made, self._ranked(tensor, made), must=must, users=len(tensor.hints))
            evidence += [why] if why and why not in evidence else []
            unclear = unclear or reason
            if len(found.parts) > 1 and len(kept) > 1:
                unclear = (
                    unclear or f"a part of it is in several parameters: {listed([way[0].parameter for way in kept])}"
                )
            taken.append(kept)
        pieces = tuple(piece for kept in taken for piece in kept[0])
        copies = tuple(taken[0][1:]) if len(taken) == 1 else ()
        if doubly_used(pieces):
            unclear = unclear or "two parts of it are the same part of a parameter"
        if unclear:
            return self._said_and_true(tensor) or Match(
                tensor, "ambiguous", pieces, copies, evidence=(*evidence, unclear)
            )
        return with_lengths(Match(tensor, "exact", pieces, copies, evidence=tuple(evidence)), self._by_name)

    def _said_and_true(self, tensor: Tensor) -> Match | None:
        """What the file says of a tensor, where the numbers agree: which of several ways to make it is meant."""
        true: dict[tuple[str, ...], tuple[Piece, ...]] = {}
        evidence: list[str] = []
        for statement in stated(tensor, self._known, self._named):
            if all(self._shapes.get(name) == shape for name, shape in statement.shapes.items()):
                match = Match(tensor, "exact", statement.pieces)
                if tuple(statement.shapes) not in true and self._is_true(match):
                    true[tuple(statement.shapes)] = statement.pieces
                    evidence.append(statement.evidence)
        if not true:
            return None
        first, *others = true.values()
        return Match(tensor, "exact", first, tuple(others), evidence=("the same numbers", evidence[0]))

    def _is_true(self, match: Match) -> bool:
        held = {name: self._by_name[name].read() for name in match.parameters}
        values = match.tensor.values()
        return bool(np.array_equal(assembled(match.pieces, held, match.tensor.shape).astype(values.dtype), values))

    def _strength(self, tensor: Tensor, name: str) -> tuple[int, str]:
        return strength(tensor, name, self._beside.get(tensor.name, ""))

    def _ranked(self, tensor: Tensor, made: list[tuple[Piece, ...]]) -> list[tuple[int, str]]:
        """How strongly names link the tensor with each way to make it, by the best of a parameter's names."""
        names = [(pieces[0].parameter, *self._by_name[pieces[0].parameter].aliases) for pieces in made]
        return [max((self._strength(tensor, one) for one in each), key=lambda pair: pair[0]) for each in names]

    # By factors

    def _by_factor(self, tensor: Tensor) -> list[Scaled]:
        values = tensor.values()
        own = self._print(tensor, values)
        if own.constant or len(tensor.shape) < 2 or not tensor.operator:
            return []
        library = self._library(values.dtype)
        shapes = self._ratios.setdefault(values.dtype, Shapes())
        return scaled_matches(values, library.of_size(tensor.size), shapes, exact=tensor.exact)

    def _scaled(self, tensor: Tensor, found: list[Scaled], claims: Claims) -> Match | None:
        """The parameter that explains the tensor best, if it explains it better than chance would."""
        by_source: dict[str, list[Explanation]] = {}
        for scaled in found:
            each = explained(tensor, scaled, self._norms, self._parameters)
            if (each.norm or scaled.freedom >= FREEDOM) and each.fit < inf:
                by_source.setdefault(scaled.source.name, []).append(each)
        if not by_source:
            return None
        best = {name: min(every, key=lambda one: (not one.proven, one.rank)) for name, every in by_source.items()}
        first = min(best.values(), key=lambda each: (not each.proven, each.fit))
        near = [
            each
            for each in best.values()
            if each.proven == first.proven
            and (tensor.step is not None or each.fit <= max(CLEARLY * first.fit, NEAREST))
        ]
        unclear = ""
        chosen = first
        known = [each for each in near if each.norm]
        if len(known) == 1:
            chosen = known[0]
        elif len(near) > 1:
            pointed = clearest([self._linked(tensor, each.scaled.source) for each in near])
            chosen = near[pointed or 0]
            if pointed is None:
                names = listed([each.scaled.source.name for each in near])
                unclear = f"several parameters are a multiple of it: {names}"
        chosen, why_so, symmetric = self._layouts.laid(tensor, chosen, by_source[chosen.scaled.source.name])
        unclear = unclear or symmetric
        made = ways_of(as_option(tensor, chosen.scaled))
        contested = len(made) > 1 and any(claims.contested(tensor.name, piece) for way in made for piece in way)
        kept, why, reason = pointed_to(made, self._ranked(tensor, made), must=contested, users=len(tensor.hints))
        unclear = unclear or reason
        evidence = [*chosen.evidence, *(text for text in (why_so, why) if text)]
        remade = UNEXPLAINED in evidence and leaf(kept[0][0].parameter) in REMADE
        if remade:
            evidence.append("its module makes the weight of it anew, and zeros would change the factors")
        return Match(
            tensor,
            "ambiguous" if unclear else "guess" if remade else "scaled",
            kept[0],
            tuple(kept[1:]),
            chosen.scaled.axis,
            chosen.scaled.scale,
            evidence=(*evidence, unclear) if unclear else tuple(evidence),
            norm=chosen.norm.norm if chosen.norm else None,
            magnitude=chosen.magnitude,
            remade=remade,
        )

    def _linked(self, tensor: Tensor, source: Source) -> tuple[int, str]:
        """How strongly names link a tensor with any of the parameters that hold the same numbers."""
        names = [alias for name in source.names for alias in (name, *self._by_name[name].aliases)]
        return max((self._strength(tensor, name) for name in names), key=lambda pair: pair[0])

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
        names = {name for each in same for name in each.shapes}
        unnamed = [hint for hint in tensor.hints if operand(hint) not in names and hint.operator not in PYTORCH]
        if len(tensor.hints) > 1 and same and any(hint.function for hint in unnamed):
            why = f"{len(unnamed)} of the {len(tensor.hints)} nodes that read it do not say under which name"
            return Match(tensor, "ambiguous", first.pieces, others, evidence=(first.evidence, why))
        return Match(tensor, first.confidence, first.pieces, others, evidence=(first.evidence,), remade=first.remade)

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
        if tensor.exact and np.array_equal(made, values):
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
