"""`map.json`: which source parameters each stored tensor came from, with the evidence; strict in and out."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import field

from onnxsens.errors import PlanError
from onnxsens.files import write_atomically
from onnxsens.frameworks.pieces import Piece, covers
from onnxsens.plan.records import Count, Record, Sha256, encoded, invalid, read_record, schema_of

SCHEMA: Final = "onnxsens.map/1"
REMEDY = "make it again with 'onnxsens map'"
MOST_ELEMENTS = 2**36  # of a parameter
CONFIDENCES: Final = ("exact", "scaled", "metadata", "name", "ambiguous", "guess", "missed")  # the surest first
SURE: Final = CONFIDENCES[:4]  # used without being accepted as guesses


class MappedModel(Record, frozen=True, kw_only=True):
    """The ONNX file: name without folder, SHA-256 as in a plan, and what says it made it."""

    file: str
    sha256: Sha256
    producer: str


class MappedCheckpoint(Record, frozen=True, kw_only=True):
    """The checkpoint: name without folder, format, and SHA-256; null where it is several files."""

    file: str
    format: str
    sha256: Sha256 | None


class SourceParameter(Record, frozen=True, kw_only=True):
    """A parameter in its own layout. `aliases`: other names of the same storage.

    Without a checkpoint, shape and type are what the ONNX file lets expect.
    """

    shape: list[Count]
    dtype: str
    aliases: list[str] = field(default_factory=list)


class MappedTensor(Record, frozen=True, kw_only=True):
    """A stored tensor and what it is made of.

    `transform` says in words what `pieces` say exactly; `copies` are further parameters with the same numbers, to which
    happens what happens to the first. The tensor is the pieces times `scale` along `scale_axis`. Where `offsets` are
    given, it is the parameter less these: a bias that took in others. `magnitude` is the parameter that holds the
    length of each slice of a weight norm. `remade`: the source makes the weight anew of the parameter at every call, by
    factors that depend on it, so that zeros alone would change the other elements.
    """

    name: str
    role: Literal["weight", "vector"]
    operator: str
    shape: list[Count]
    dtype: str
    confidence: Literal["exact", "scaled", "metadata", "name", "ambiguous", "guess", "missed"]
    transform: str
    pieces: list[Piece]
    copies: list[list[Piece]] = field(default_factory=list)
    scale_axis: Count | None = None
    scale: list[float] | None = None
    offsets: list[float] | None = None
    magnitude: str | None = None
    remade: bool = False
    evidence: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> list[str]:
        """Names of its parameters, each once."""
        return list(dict.fromkeys(piece.parameter for pieces in (self.pieces, *self.copies) for piece in pieces))

    @property
    def is_sure(self) -> bool:
        """Whether it may be used without being accepted as a guess."""
        return self.confidence in SURE


class Share(Record, frozen=True, kw_only=True):
    """So many tensors, and so many elements."""

    tensors: Count
    elements: Count


class Coverage(Record, frozen=True, kw_only=True):
    """Of the prunable weights, by confidence; of the checkpoint's parameters of two axes and more, what was found."""

    weights: dict[str, Share]
    parameters_found: Share
    parameters: Share
    unused: list[str]

    @property
    def sure(self) -> float:
        """Share of the weights' elements that are matched without a guess, in [0, 1]."""
        total = sum(share.elements for share in self.weights.values())
        return sum(self.weights[name].elements for name in SURE if name in self.weights) / total if total else 0.0


class Map(Record, frozen=True, kw_only=True):
    """A whole map. `parameters` are those that tensors are made of."""

    schema: Literal["onnxsens.map/1"]
    version: str
    model: MappedModel
    checkpoint: MappedCheckpoint | None
    coverage: Coverage
    parameters: dict[str, SourceParameter]
    tensors: list[MappedTensor]
    notes: list[str] = field(default_factory=list)

    @property
    def weights(self) -> list[MappedTensor]:
        """The prunable ones."""
        return [tensor for tensor in self.tensors if tensor.role == "weight"]


def encode(made: Map) -> bytes:
    """The file's bytes."""
    return encoded(made)


def write_map(made: Map, path: Path) -> None:
    """Put the map at `path`, complete or not at all."""
    write_atomically(path, [encode(made)])


def read_map(path: str | Path) -> Map:
    """Read a map, refusing whatever the schema does not know.

    Raises:
        PlanError: missing, unreadable, not JSON, another schema, or inconsistent.
    """
    path = Path(path)
    made = read_record(path, Map, SCHEMA, "map", REMEDY, absent="make it with 'onnxsens map'")
    refuse_inconsistent(made, path)
    return made


def refuse_inconsistent(made: Map, path: Path) -> None:
    """What a schema cannot say, and can be seen without the model: that the parts of a tensor's entry fit."""
    names = [tensor.name for tensor in made.tensors]
    if len(set(names)) != len(names):
        raise invalid(path, "map", "it has a tensor twice", REMEDY)
    for name, parameter in made.parameters.items():
        if prod(parameter.shape) > MOST_ELEMENTS:
            raise invalid(path, "map", f"parameter '{name}' has the shape {parameter.shape}", REMEDY)
        if not is_float(parameter.dtype):
            raise invalid(path, "map", f"parameter '{name}' is of type '{parameter.dtype}'", REMEDY)
    for tensor in made.tensors:
        reason = misfit(tensor, made)
        if reason:
            raise invalid(path, "map", f"{reason} of '{tensor.name}' do not fit", REMEDY)


def is_float(dtype: str) -> bool:
    """Whether it is the name of a floating-point type."""
    return dtype in ("float64", "float32", "float16", "bfloat16") or dtype.startswith("float8_")


def misfit(tensor: MappedTensor, made: Map) -> str:
    """Which parts of an entry do not fit; empty where all do."""
    size, ways = prod(tensor.shape), [pieces for pieces in (tensor.pieces, *tensor.copies) if pieces]
    axis, scale = tensor.scale_axis, tensor.scale
    factors = 1 if scale is None else len(scale)
    lengths = made.parameters.get(tensor.magnitude or "")
    wrong = {
        "pieces": any(not fits(piece, made, len(tensor.shape)) for pieces in ways for piece in pieces)
        or any(sum(prod(piece.shape) for piece in pieces) != size for pieces in ways),
        "factors": (axis is None) != (scale is None)
        or (axis is not None and [factors] != tensor.shape[axis : axis + 1]),
        "offsets": tensor.offsets is not None and len(tensor.offsets) != size,
        "lengths": tensor.magnitude is not None
        and (scale is None or lengths is None or prod(lengths.shape) not in (1, factors)),
    }
    return next((part for part, is_wrong in wrong.items() if is_wrong), "")


def fits(piece: Piece, made: Map, rank: int) -> bool:
    """Whether a piece is a box of its parameter, and of a tensor of this rank."""
    known = made.parameters.get(piece.parameter)
    if known is None or not len(piece.start) == len(piece.stop) == len(piece.order) == len(known.shape):
        return False
    if not len(piece.to_start) == len(piece.to_stop) == rank:
        return False
    bounds = zip(piece.start, piece.stop, known.shape, strict=True)
    to_size = prod(stop - start for start, stop in zip(piece.to_start, piece.to_stop, strict=True))
    return (
        all(0 <= start < stop <= dim for start, stop, dim in bounds)
        and all(0 <= start < stop for start, stop in zip(piece.to_start, piece.to_stop, strict=True))
        and to_size == prod(piece.shape)
        and sorted(piece.order) == list(range(len(piece.start)))
        and len(set(piece.flip)) == len(piece.flip)
        and set(piece.flip) <= set(piece.order)
    )


def refuse_other_tensors(made: Map, shapes: Mapping[str, Sequence[int]]) -> None:
    """Stop where a map is not that of a model's tensors.

    Args:
        shapes: of the model's stored tensors.
    Raises:
        PlanError: a tensor is not there, has another shape, or its pieces do not fill it.
    """
    for tensor in made.tensors:
        if list(shapes.get(tensor.name, [])) != tensor.shape:
            raise PlanError(f"the map's tensor '{tensor.name}' is not in the model like that; make the map again")
        if not all(covers(pieces, tensor.shape) for pieces in (tensor.pieces, *tensor.copies) if pieces):
            raise PlanError(f"the map's pieces do not fill '{tensor.name}'; make the map again")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a map; shipped as `docs/map.schema.json`."""
    return schema_of(Map, SCHEMA)
