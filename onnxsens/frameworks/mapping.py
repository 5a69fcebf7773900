"""From a model and a checkpoint to a map: what the matcher found as a record, with its coverage."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from onnxsens.errors import CheckpointError
from onnxsens.files import sha256_of
from onnxsens.frameworks.checkpoints import Checkpoint, Parameter, open_checkpoint
from onnxsens.frameworks.mapfile import (
    SCHEMA,
    Coverage,
    Map,
    MappedCheckpoint,
    MappedModel,
    MappedTensor,
    Share,
    SourceParameter,
)
from onnxsens.frameworks.matching.matcher import Matcher
from onnxsens.frameworks.matching.subjects import beside, vectors_of, weights_of
from onnxsens.frameworks.matching.tensor import UNEXPLAINED, Match
from onnxsens.frameworks.pieces import in_words
from onnxsens.model import Inventory, Model
from onnxsens.model.origins import Origins, origins
from onnxsens.plan.planfile import Plan, Source

TOO_LITTLE = 0.05  # of the weights' elements; with less found by content, it is the checkpoint of something else
FLOATS = ("float", "bfloat")


def make_map(model: Model, inventory: Inventory, checkpoint_path: str | Path | None) -> Map:
    """Match every weight and vector of a model.

    Args:
        checkpoint_path: of the source's parameters; None where the file's own metadata and names have to do.
    Raises:
        CheckpointError: it cannot be read, or has next to nothing of this model's numbers.
        MissingPackageError: an optional package is needed to read it.
    """
    known = origins(model, inventory)
    checkpoint = None if checkpoint_path is None else open_checkpoint(checkpoint_path)
    matcher = Matcher(checkpoint, known.parameters)
    pairs = beside(model, inventory)
    weights = matcher.match(weights_of(model, inventory, known, pairs))
    if checkpoint is not None:
        refuse_foreign(model, checkpoint, weights)
    parents = {match.tensor.name: match for match in weights}
    shifted = {name: parents[weight] for name, weight in pairs.items() if weight in parents}
    vectors = matcher.match_vectors(vectors_of(model, inventory, known), shifted)
    return recorded(model, inventory, known, checkpoint, [*weights, *vectors])


def refuse_foreign(model: Model, checkpoint: Checkpoint, weights: Sequence[Match]) -> None:
    """Stop where the checkpoint is not that of the model.

    Raises:
        CheckpointError: less than a twentieth of the weights is in it.
    """
    total = sum(match.tensor.size for match in weights)
    by_content = [match for match in weights if match.confidence in ("exact", "scaled", "ambiguous")]
    share = sum(match.tensor.size for match in by_content) / total if total else 1.0
    if share >= TOO_LITTLE:
        return
    alike = sum(match.confidence in ("metadata", "name", "guess") for match in weights)
    also = f"; {alike} are alike in name or shape only" if alike else ""
    raise CheckpointError(
        f"'{checkpoint.path}' is not the checkpoint of '{model.path}': the numbers of {len(by_content)} of its "
        f"{len(weights)} weights ({share:.0%} of {total:,} elements) are in it{also}; hand in the one that was exported"
    )


def recorded(
    model: Model, inventory: Inventory, known: Origins, checkpoint: Checkpoint | None, matches: Sequence[Match]
) -> Map:
    """The matches as a record."""
    by_name = {parameter.name: parameter for parameter in checkpoint.parameters} if checkpoint else {}
    dtypes = {weight.name: weight.dtype for weight in inventory.weights}
    weights = set(dtypes)
    parameters: dict[str, SourceParameter] = {}
    tensors = []
    for match in matches:
        dtype = dtypes.get(match.tensor.name) or str(model.array(match.tensor.name).dtype)
        for pieces in (match.pieces, *match.copies):
            for piece in pieces:
                parameters[piece.parameter] = described(by_name.get(piece.parameter), match, piece.parameter, dtype)
        if match.magnitude:
            rows = match.tensor.shape[match.scale_axis or 0]
            shape = [rows, *[1] * (len(parameters[match.pieces[0].parameter].shape) - 1)]
            found = by_name.get(match.magnitude)
            parameters[match.magnitude] = SourceParameter(
                shape=list(found.shape) if found else shape, dtype=found.dtype if found else dtype
            )
        tensors.append(tensor_of(match, parameters, dtype, is_weight=match.tensor.name in weights))
    return Map(
        schema=SCHEMA,
        version=version("onnxsens"),
        model=MappedModel(file=model.path.name, sha256=model.sha256, producer=known.producer),
        checkpoint=None if checkpoint is None else source_of(checkpoint),
        coverage=coverage_of([match for match in matches if match.tensor.name in weights], by_name, parameters),
        parameters=dict(sorted(parameters.items())),
        tensors=tensors,
        notes=[*(checkpoint.notes if checkpoint else ()), *unexplained(matches)],
    )


def covered(coverage: Coverage) -> str:
    """For people: how much of the weights was matched, and how."""
    tensors = sum(share.tensors for share in coverage.weights.values())
    parts = [f"{share.tensors} {name}" for name, share in coverage.weights.items()]
    return (
        f"{100 * coverage.sure:.1f} % of the elements of {tensors} weights have a certain parameter: {', '.join(parts)}"
    )


def with_sources(plan: Plan, made: Map) -> Plan:
    """The plan with the names of the source, where they are certain."""
    mapped = {tensor.name: tensor for tensor in made.tensors if tensor.is_sure}
    weights = [
        msgspec.structs.replace(weight, source=source_named(mapped[weight.name])) if weight.name in mapped else weight
        for weight in plan.weights
    ]
    return msgspec.structs.replace(plan, weights=weights)


def source_named(tensor: MappedTensor) -> Source:
    """What a plan says of a weight's origin."""
    return Source(parameters=tensor.parameters, transform=tensor.transform, confidence=tensor.confidence)


def unexplained(matches: Sequence[Match]) -> list[str]:
    """A warning of factors that may depend on the weights themselves."""
    names = [match.tensor.name for match in matches if UNEXPLAINED in match.evidence]
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return [
        f"no BatchNorm and no lengths of a checkpoint explain the factors of {len(names)} weights ({shown}); where "
        "they depend on the weight itself, as of a spectral norm, masks change them too: compare outputs after applying"
    ]


def described(found: Parameter | None, match: Match, name: str, dtype: str) -> SourceParameter:
    """A parameter; without a checkpoint, as large as its pieces show it to be."""
    if found is not None:
        return SourceParameter(shape=list(found.shape), dtype=found.dtype, aliases=list(found.aliases))
    ends = [piece.stop for pieces in (match.pieces, *match.copies) for piece in pieces if piece.parameter == name]
    return SourceParameter(shape=np.max(ends, axis=0).tolist(), dtype=dtype)


def source_of(checkpoint: Checkpoint) -> MappedCheckpoint:
    """What was handed in."""
    path = checkpoint.path
    return MappedCheckpoint(
        file=path.name, format=checkpoint.format, sha256=sha256_of(path) if path.is_file() else None
    )


def tensor_of(match: Match, parameters: Mapping[str, SourceParameter], dtype: str, *, is_weight: bool) -> MappedTensor:
    """One match as a record."""
    shapes = {name: parameters[name].shape for name in match.parameters}
    words = in_words(match.pieces, shapes, match.tensor.shape) if match.pieces else ""
    if match.scale is not None:
        times = f"times a factor along axis {match.scale_axis}"
        words = times if words == "as it is" else f"{words}, {times}"
    elif match.offsets is not None:
        words = "with others taken in"
    return MappedTensor(
        name=match.tensor.name,
        role="weight" if is_weight else "vector",
        operator=match.tensor.operator,
        shape=list(match.tensor.shape),
        dtype=dtype,
        confidence=match.confidence,
        transform=words,
        pieces=list(match.pieces),
        copies=[list(pieces) for pieces in match.copies],
        scale_axis=match.scale_axis,
        scale=None if match.scale is None else match.scale.tolist(),
        offsets=None if match.offsets is None else match.offsets.tolist(),
        magnitude=match.magnitude or None,
        remade=match.remade,
        evidence=list(match.evidence),
    )


def coverage_of(
    weights: Sequence[Match], by_name: Mapping[str, Parameter], parameters: Mapping[str, SourceParameter]
) -> Coverage:
    """What was found, of both sides."""
    shares: dict[str, Share] = {}
    for match in weights:
        share = shares.get(match.confidence, Share(tensors=0, elements=0))
        shares[match.confidence] = Share(tensors=share.tensors + 1, elements=share.elements + match.tensor.size)
    own = [one for one in by_name.values() if len(one.shape) >= 2 and one.dtype.startswith(FLOATS)]
    aliases = {name for one in parameters.values() for name in one.aliases}
    unused = [one for one in own if one.name not in parameters and one.name not in aliases]
    size = sum(prod(one.shape) for one in own)
    unused_size = sum(prod(one.shape) for one in unused)
    return Coverage(
        weights=dict(sorted(shares.items())),
        parameters=Share(tensors=len(own), elements=size),
        parameters_found=Share(tensors=len(own) - len(unused), elements=size - unused_size),
        unused=[one.name for one in unused],
    )
