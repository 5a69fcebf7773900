"""Documents that are records: JSON, strict in and out, the same bytes for the same content."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from onnxsens.errors import PlanError
from onnxsens.strict_json import StrictJSONError, read_json_file, write_json

MAX_BYTES = 256 * 2**20
LONGEST_REASON = 200  # it may quote names of the file

Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of a document: immutable, and strict about its fields."""


T = TypeVar("T", bound=Record)


def encoded(record: Record) -> bytes:
    """A file's bytes: sorted keys, two spaces, no NaN, newline at the end."""
    return (write_json(msgspec.to_builtins(record), indent=2) + "\n").encode()


def read_record(path: Path, kind: type[T], schema: str, noun: str, remedy: str, *, absent: str) -> T:
    """Read a document, refusing whatever its schema does not know.

    Args:
        schema: what its field of that name has to say.
        noun, remedy, absent: for messages: what it is, what to do where it is none, and where it is not there.
    Raises:
        PlanError: missing, unreadable, not JSON, or of another schema.
    """
    try:
        if path.is_dir():
            raise PlanError(f"{noun} '{path}' is a folder; name the {noun}.json in it")
        fields = read_json_file(path, most_bytes=MAX_BYTES)
    except StrictJSONError as error:
        raise invalid(path, noun, str(error), remedy) from error
    except FileNotFoundError:
        raise PlanError(f"{noun} '{path}' does not exist; {absent}") from None
    except OSError as error:
        raise PlanError(f"{noun} '{path}' cannot be read: {error.strerror}; check the path and permissions") from error
    found = fields.get("schema")
    if found != schema:
        raise PlanError(
            f"{noun} '{path}' has the schema {str(found)[:80]!r}, and this onnxsens reads '{schema}'; {remedy}"
        )
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise invalid(path, noun, str(error), remedy) from error


def invalid(path: Path, noun: str, reason: str, remedy: str) -> PlanError:
    """The error for a document that breaks its schema or contradicts itself."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in reason[:LONGEST_REASON])
    return PlanError(f"{noun} '{path}' is not a valid {noun}: {shown}; {remedy}")


def schema_of(kind: type[Record], title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a document, for readers in other languages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **msgspec.json.schema(kind),
    }
