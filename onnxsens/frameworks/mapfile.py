"""`map.json`: which source parameters each stored tensor came from, with the evidence; strict in and out."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from onnxsens.errors import PlanError
from onnxsens.files import write_atomically
from onnxsens.frameworks.pieces import Piece, covers

SCHEMA: Final = "onnxsens.map/1"
MAX_BYTES = 256 * 2**20
CONFIDENCES: Final = ("exact", "scaled", "metadata", "name", "ambiguous", "guess", "missed")  # the surest first
SURE: Final = CONFIDENCES[:4]  # used without being accepted as guesses

Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of a map: immutable, and strict about its fields."""


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
    aliases: list[str] = []


class MappedTensor(Record, frozen=True, kw_only=True):
    """A stored tensor and what it is made of.

    `transform` says in words what `pieces` say exactly; `copies` are further parameters with the same numbers, to which
    happens what happens to the first. The tensor is the pieces times `scale` along `scale_axis`. Where `offsets` are
    given, it is the parameter less these: a bias that took in others. `magnitude` is the parameter that holds the
    length of each slice of a weight norm.
    """

    name: str
    role: Literal["weight", "vector"]
    operator: str
    shape: list[Count]
    dtype: str
    confidence: Literal["exact", "scaled", "metadata", "name", "ambiguous", "guess", "missed"]
    transform: str
    pieces: list[Piece]
    copies: list[list[Piece]] = []
    scale_axis: Count | None = None
    scale: list[float] | None = None
    offsets: list[float] | None = None
    magnitude: str | None = None
    evidence: list[str] = []

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
    notes: list[str] = []

    @property
    def weights(self) -> list[MappedTensor]:
        """The prunable ones."""
        return [tensor for tensor in self.tensors if tensor.role == "weight"]


def encode(made: Map) -> bytes:
    """The file's bytes: sorted keys, no NaN, newline at the end."""
    plain = msgspec.to_builtins(made)
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def write_map(made: Map, path: Path) -> None:
    """Put the map at `path`, complete or not at all."""
    write_atomically(path, [encode(made)])


def read_map(path: str | Path) -> Map:
    """Read a map, refusing whatever the schema does not know.

    Raises:
        PlanError: missing, unreadable, not JSON, another schema, or inconsistent.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PlanError(f"map '{path}' is larger than {MAX_BYTES // 2**20} MiB; that is no map of ours")
        made = msgspec.json.decode(path.read_bytes(), type=Map)
    except FileNotFoundError:
        raise PlanError(f"map '{path}' does not exist; make it with 'onnxsens map'") from None
    except OSError as error:
        raise PlanError(f"map '{path}' cannot be read: {error.strerror}; check the path and permissions") from error
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"map '{path}' is not a valid map: {error}; make it again with 'onnxsens map'") from error
    refuse_inconsistent(made, path)
    return made


def refuse_inconsistent(made: Map, path: Path) -> None:
    """What a schema cannot say: every piece lies inside its parameter, and pieces fill their tensor."""
    for tensor in made.tensors:
        for pieces in (tensor.pieces, *tensor.copies):
            if pieces and (not all(fits(piece, made) for piece in pieces) or not covers(pieces, tensor.shape)):
                raise PlanError(
                    f"map '{path}' is not a valid map: the pieces of '{tensor.name}' do not fit; make it again with "
                    "'onnxsens map'"
                )


def fits(piece: Piece, made: Map) -> bool:
    """Whether a piece is a box of its parameter."""
    known = made.parameters.get(piece.parameter)
    if known is None or not len(piece.start) == len(piece.stop) == len(known.shape):
        return False
    bounds = zip(piece.start, piece.stop, known.shape, strict=True)
    return (
        all(0 <= start <= stop <= dim for start, stop, dim in bounds)
        and sorted(piece.order) == list(range(len(piece.start)))
        and len(piece.to_start) == len(piece.to_stop)
        and set(piece.flip) <= set(piece.order)
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a map; shipped as `docs/map.schema.json`."""
    schema = msgspec.json.schema(Map)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}
