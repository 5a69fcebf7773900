"""Documents that are records: JSON, strict in and out, the same bytes for the same content."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from onnxsens.errors import PlanError

MAX_BYTES = 256 * 2**20

Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of a document: immutable, and strict about its fields."""


T = TypeVar("T", bound=Record)


def encoded(record: Record) -> bytes:
    """A file's bytes: sorted keys, two spaces, no NaN, newline at the end."""
    plain = msgspec.to_builtins(record)
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def read_record(path: Path, kind: type[T], schema: str, noun: str, remedy: str, *, absent: str) -> T:
    """Read a document, refusing whatever its schema does not know.

    Args:
        schema: what its field of that name has to say.
        noun, remedy, absent: for messages: what it is, what to do where it is none, and where it is not there.
    Raises:
        PlanError: missing, unreadable, not JSON, or of another schema.
    """
    if path.is_dir():
        raise PlanError(f"{noun} '{path}' is a folder; name the {noun}.json in it")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PlanError(f"{noun} '{path}' is larger than {MAX_BYTES // 2**20} MiB; that is no {noun} of ours")
        content = path.read_bytes()
    except FileNotFoundError:
        raise PlanError(f"{noun} '{path}' does not exist; {absent}") from None
    except OSError as error:
        raise PlanError(f"{noun} '{path}' cannot be read: {error.strerror}; check the path and permissions") from error
    try:
        head = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        found = msgspec.json.decode(head["schema"], type=str) if "schema" in head else None
        if found != schema:
            raise PlanError(f"{noun} '{path}' has the schema '{found}', and this onnxsens reads '{schema}'; {remedy}")
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(path, noun, str(error), remedy) from error


def invalid(path: Path, noun: str, reason: str, remedy: str) -> PlanError:
    """The error for a document that breaks its schema or contradicts itself."""
    return PlanError(f"{noun} '{path}' is not a valid {noun}: {reason}; {remedy}")


def schema_of(kind: type[Record], title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a document, for readers in other languages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **msgspec.json.schema(kind),
    }
