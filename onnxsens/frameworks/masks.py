"""A plan's zeros, and its updated values, under the source's own names and in its own layout.

Both are taken from the tensors of the pruned model and carried back through the inverse of what the exporter did, so
that what is zero in the source is what was tested, to the element.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import ml_dtypes  # noqa: F401 - registers bfloat16 and its kin with numpy; comes with onnx
import numpy as np
from safetensors.numpy import save

from onnxsens.arrays import AnyArray, BoolArray
from onnxsens.errors import PlanError
from onnxsens.files import write_atomically
from onnxsens.frameworks.exporters import Layer
from onnxsens.frameworks.mapfile import CONFIDENCES, Map, MappedTensor
from onnxsens.frameworks.pieces import Piece
from onnxsens.frameworks.sparse_files import BITS, BYTES, MASKS_FORMAT, WEIGHTS_FORMAT, pack
from onnxsens.model import Inventory, Model
from onnxsens.plan.planfile import Plan, PlannedWeight

MASKS_FILE = "masks.safetensors"
WEIGHTS_FILE = "weights.safetensors"
UNSTRUCTURED = "unstructured"  # what plans call a pattern that lets any element go
PROVEN = ("exact", "scaled")  # by numbers: what else was done to a tensor is not known without these

LARGEST = 64  # times the model, that a parameter may have elements


@dataclass(frozen=True, eq=False)
class Carried:
    """A plan in the source's terms.

    Attributes:
        layers: parameters that get zeros, in model order.
        masks: parameter to its mask in the source's shape, True where kept.
        weights: parameter to its updated values in the source's shape and type; of a plan that only zeroes, lengths
            of weight norms, which have to follow, and nothing else.
        left_out: planned weights that are not carried back, and why.
        not_updated: tensors with updated values that cannot be carried back, and why.
    """

    layers: tuple[Layer, ...]
    masks: Mapping[str, BoolArray] = field(repr=False)
    weights: Mapping[str, AnyArray] = field(repr=False)
    left_out: tuple[tuple[str, str], ...]
    not_updated: tuple[tuple[str, str], ...]


def refuse_large(made: Map, inventory: Inventory) -> None:
    """A mask is made of every parameter in full, so its shape has to be of the model's own size.

    Raises:
        PlanError: one is far larger than all that the model has.
    """
    most = LARGEST * max(inventory.parameters, 2**20)
    large = next((name for name, each in made.parameters.items() if prod(each.shape) > most), None)
    if large is not None:
        raise PlanError(
            f"the map has a parameter '{large}' of shape {made.parameters[large].shape}, and the model has "
            f"{inventory.parameters:,} parameters in all; make the map again"
        )


def carry_back(
    plan: Plan, model: Model, inventory: Inventory, changed: Mapping[str, AnyArray], made: Map, *, guesses: bool
) -> Carried:
    """Carry a plan back to the source.

    Args:
        changed: the plan's tensors, as stored.
        guesses: whether weights that were matched by a guess, or are ambiguous, are carried back too.
    """
    refuse_large(made, inventory)
    carrier = _Carrier(model, inventory, made, guesses=guesses)
    mapped = {tensor.name: tensor for tensor in made.tensors}
    for weight in plan.weights:
        if weight.zeros:
            stored = changed[weight.name] if weight.name in changed else model.array(weight.name)
            carrier.zero(weight, mapped.get(weight.name), stored)
    if plan.update != "none":
        copies = {copy.name for copy in inventory.copies}
        for name in plan.changed:
            if name not in copies:
                carrier.update(name, mapped.get(name), changed[name])
    return carrier.result()


class _Carrier:
    def __init__(self, model: Model, inventory: Inventory, made: Map, *, guesses: bool) -> None:
        self._model = model
        self._made = made
        self._inventory = inventory
        self._guesses = guesses
        self._masks: dict[str, BoolArray] = {}
        self._seen: dict[str, BoolArray] = {}
        self._from: dict[str, list[tuple[PlannedWeight, MappedTensor]]] = {}
        self._weights: dict[str, AnyArray] = {}
        self._filled: dict[str, BoolArray] = {}
        self._magnitudes: set[str] = set()
        self._left_out: dict[str, str] = {}
        self._not_updated: dict[str, str] = {}

    def zero(self, weight: PlannedWeight, tensor: MappedTensor | None, stored: AnyArray) -> None:
        """Take a weight's zeros over."""
        reason = self._refusal(tensor)
        if tensor is None or reason:
            self._left_out[weight.name] = reason
            return
        values = self._inventory.weight(weight.name).coding.decode(stored)
        keep = values != 0
        for pieces in (tensor.pieces, *tensor.copies):
            self._mask(weight, tensor, pieces, keep)
        if tensor.magnitude:
            self._follow(tensor, values)

    def _mask(self, weight: PlannedWeight, tensor: MappedTensor, pieces: list[Piece], keep: BoolArray) -> None:
        """Zeros of its parameters; where two tensors say different things of an element, neither is believed."""
        for piece in pieces:
            known = self._made.parameters[piece.parameter]
            name = piece.parameter
            mask = self._masks.setdefault(name, np.ones(tuple(known.shape), np.bool_))
            seen = self._seen.setdefault(name, np.zeros(tuple(known.shape), np.bool_))
            back = piece.back(keep)
            if ((mask[piece.box] != back) & seen[piece.box]).any():
                others = self._from.get(name, [])
                for other in (weight, *(each for each, _ in others)):
                    self._left_out[other.name] = (
                        f"'{name}' is stored more than once in the ONNX file, and the plan zeroes other elements there"
                    )
            mask[piece.box] = back
            seen[piece.box] = True
            self._from.setdefault(name, []).append((weight, tensor))

    def _follow(self, tensor: MappedTensor, values: AnyArray) -> None:
        """Lengths of a weight norm: those of what is left, or the others would grow to make up for the zeros."""
        assert tensor.magnitude is not None
        axis = tensor.scale_axis or 0
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
        sign = np.sign(np.array(tensor.scale or np.ones(len(rows))))
        lengths = sign * np.sqrt(np.square(rows).sum(axis=1))
        known = self._made.parameters[tensor.magnitude]
        if prod(known.shape) == 1:  # one length for all of it
            lengths = sign[:1] * np.sqrt(np.square(rows).sum(keepdims=True)[0])
            self._magnitudes.add(tensor.magnitude)
            self._weights[tensor.magnitude] = lengths.reshape(known.shape).astype(np.dtype(known.dtype))
            return
        self._magnitudes.add(tensor.magnitude)
        self._weights[tensor.magnitude] = lengths.reshape(known.shape).astype(np.dtype(known.dtype))
        dead = lengths == 0
        if dead.any():  # a direction of length 0 is 0/0: the length is zero instead, and stays it
            self._masks[tensor.magnitude] = ~dead.reshape(known.shape)
            for pieces in (tensor.pieces, *tensor.copies):
                for piece in pieces:
                    whole = np.zeros(values.shape, np.bool_)
                    np.moveaxis(whole, axis, 0)[dead] = True
                    self._masks[piece.parameter][piece.box] |= piece.back(whole)

    def update(self, name: str, tensor: MappedTensor | None, stored: AnyArray) -> None:
        """Take a tensor's values over; those of a weight whose zeros stay behind would be nothing without these."""
        if name in self._left_out:
            return
        reason = self._refusal(tensor)
        if not reason and tensor is not None and tensor.confidence not in PROVEN:
            reason = "only its name is known, not what the exporter folded into it; a map by --checkpoint shows that"
        if tensor is None or reason:
            self._not_updated[name] = reason
            return
        values = stored
        if tensor.role == "weight":
            weight = self._inventory.weight(name)
            if not weight.dtype.startswith(("float", "bfloat")):
                self._not_updated[name] = "it is quantized, so its values are rounded"
                return
        if tensor.magnitude:
            axis = tensor.scale_axis or 0
            others = tuple(other for other in range(values.ndim) if other != axis)
            values = np.where((values == 0).all(axis=others, keepdims=True), self._model.array(name), values)
        if tensor.scale is not None:
            shape = [1] * len(tensor.shape)
            shape[tensor.scale_axis or 0] = -1
            scale = np.array(tensor.scale).reshape(shape)
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.where(scale != 0, values.astype(np.float64) / scale, 0.0)
        if tensor.offsets is not None:
            values = values.astype(np.float64) + np.array(tensor.offsets).reshape(tensor.shape)
        for pieces in (tensor.pieces, *tensor.copies):
            for piece in pieces:
                known = self._made.parameters[piece.parameter]
                shape_of = tuple(known.shape)
                full = self._weights.setdefault(piece.parameter, np.zeros(shape_of, np.dtype(known.dtype)))
                filled = self._filled.setdefault(piece.parameter, np.zeros(shape_of, np.bool_))
                full[piece.box] = piece.back(values).astype(full.dtype)
                filled[piece.box] = True

    def _refusal(self, tensor: MappedTensor | None) -> str:
        """Why a tensor is not carried back; empty where it is."""
        if tensor is None or not tensor.pieces:
            return "no parameter was found for it"
        if tensor.remade and not tensor.magnitude and not self._guesses:
            return "its module makes it anew of a parameter; zeros alone change the rest; --accept-guesses takes it"
        if tensor.is_sure or self._guesses:
            return ""
        kind = "its parameter is a guess" if tensor.confidence == "guess" else "several parameters may be it"
        why = f" ({tensor.evidence[-1]})" if tensor.evidence else ""
        return f"{kind}{why}; --accept-guesses takes it"

    def result(self) -> Carried:
        """What there is."""
        for name, tensors in self._from.items():
            if any(weight.name in self._left_out for weight, _ in tensors):
                self._masks.pop(name, None)
        kept = {tensor.magnitude for name in self._masks for _, tensor in self._from.get(name, []) if tensor.magnitude}
        for name in [name for name in self._weights if name in self._magnitudes and name not in kept]:
            del self._weights[name]
        for name, filled in self._filled.items():
            if not filled.all() and name in self._weights:
                del self._weights[name]
                self._not_updated[name] = "only a part of this parameter is in the ONNX file"
        for name, values in self._weights.items():
            if name in self._masks:
                self._weights[name] = np.where(self._masks[name], values, values.dtype.type(0))
        layers = tuple(self._layer(name) for name in self._from if name in self._masks)
        return Carried(
            layers, self._masks, self._weights, tuple(self._left_out.items()), tuple(self._not_updated.items())
        )

    def _layer(self, name: str) -> Layer:
        known, mask = self._made.parameters[name], self._masks[name]
        tensors = list({tensor.name: tensor for _, tensor in self._from[name]}.values())
        weight = self._from[name][0][0]
        zeros = int(mask.size - np.count_nonzero(mask))
        return Layer(
            parameter=name,
            aliases=tuple(known.aliases),
            shape=tuple(known.shape),
            dtype=known.dtype,
            zeros=zeros,
            sparsity=zeros / max(prod(known.shape), 1),
            pattern=None if weight.pattern == UNSTRUCTURED else weight.pattern,
            operator=weight.op,
            tensors=tuple(tensor.name for tensor in tensors),
            confidence=max((tensor.confidence for tensor in tensors), key=CONFIDENCES.index),
            rescaled=any(tensor.scale is not None for tensor in tensors),
        )


def lost(left_out: Sequence[tuple[str, str]], not_updated: Sequence[tuple[str, str]]) -> list[str]:
    """What was not carried back, one line a reason."""
    lines = []
    for what, pairs in (("not among the masks", left_out), ("updated values that stay behind", not_updated)):
        reasons: dict[str, list[str]] = {}
        for name, reason in pairs:
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            shown = ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"{what} ({len(names)}: {shown}): {reason}")
    return lines


def write_masks(path: Path, carried: Carried, made: Map, plan_sha256: str, *, packed: bool) -> None:
    """Complete or not at all: one uint8 tensor a parameter, a byte or a bit an element."""
    tensors = {
        name: pack(mask) if packed else np.ascontiguousarray(mask).view(np.uint8)
        for name, mask in sorted(carried.masks.items())
    }
    aliases = {name: made.parameters[name].aliases for name in tensors if made.parameters[name].aliases}
    metadata = {
        "format": MASKS_FORMAT,
        "packing": BITS if packed else BYTES,
        "shapes": json.dumps({name: list(mask.shape) for name, mask in sorted(carried.masks.items())}),
        "aliases": json.dumps(aliases, sort_keys=True),
        "plan_sha256": plan_sha256,
        "model_sha256": made.model.sha256,
    }
    write_atomically(path, saved(tensors, metadata))


def saved(tensors: Mapping[str, AnyArray], metadata: Mapping[str, str]) -> list[bytes]:
    """The file's bytes, the same for the same content: the library writes metadata in any order."""
    content = memoryview(save(dict(tensors), dict(metadata)))
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(bytes(content[8 : 8 + length])), sort_keys=True, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little"), header, bytes(content[8 + length :])]


def write_weights(path: Path, carried: Carried, made: Map, plan_sha256: str) -> None:
    """Complete or not at all: updated parameters in their own types and shapes."""
    metadata = {"format": WEIGHTS_FORMAT, "plan_sha256": plan_sha256, "model_sha256": made.model.sha256}
    tensors = {name: np.ascontiguousarray(values) for name, values in sorted(carried.weights.items())}
    write_atomically(path, saved(tensors, metadata))
