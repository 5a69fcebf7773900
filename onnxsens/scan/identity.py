"""What a run is made from, field by field; and which field two runs differ in."""

from collections.abc import Mapping

NAMES = {
    "model_sha256": "another model",
    "data_sha256": "other data",
    "seed": "another --seed",
    "holdout": "another --holdout",
    "provider": "another execution provider",
    "threads": "other --threads",
    "batch_size": "another --batch-size",
    "optimisation": "another optimisation level",
    "reading": "another reading of the outputs",
    "custom_op_libs": "other --custom-op-lib",
    "copies": "other copies of weights",
    "onnxruntime": "another onnxruntime",
    "onnx": "another onnx",
    "numpy": "another numpy",
}


def describe_difference(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """The fields that differ, with both values; None where all agree."""
    differing = [field for field in NAMES if stored.get(field) != wanted.get(field)]
    differing += sorted(
        field
        for field in stored.keys() | wanted.keys()
        if field not in NAMES and stored.get(field) != wanted.get(field)
    )
    if not differing:
        return None
    return " and ".join(
        f"{NAMES.get(field, field)} ({short(stored.get(field))} there, {short(wanted.get(field))} now)"
        for field in differing
    )


def short(value: str | None) -> str:
    """Enough of a value to tell it from another."""
    text = "nothing" if value is None else value
    return text if len(text) <= 24 else f"{text[:12]}..."
