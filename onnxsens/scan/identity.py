"""What a run is made from, field by field; and which field two runs differ in.

Hard fields make measurements other measurements. Soft ones change last bits at most, so whoever takes that upon himself
may go on with a run.
"""

import functools
import platform
from collections.abc import Collection, Mapping
from pathlib import Path

from onnxsens.errors import UsageError

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
    "cpu": "another processor",
}
SOFT = ("onnxruntime", "onnx", "numpy", "threads", "cpu")
CPU_INFO = Path("/proc/cpuinfo")
# Instructions that kernels of ONNX Runtime are chosen by.
INSTRUCTIONS = frozenset(
    [
        "sse4_1",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx_vnni",
        "avx_vnni_int8",
        "avx512f",
        "avx512dq",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        "asimd",
        "asimdhp",
        "asimddp",
        "fphp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
        "sme",
    ]
)


def refuse_unacceptable(accept: Collection[str]) -> None:
    """Only a soft field's change can be accepted.

    Raises:
        UsageError: another one is named.
    """
    for field in accept:
        if field not in SOFT:
            why = "measurements depend on it" if field in NAMES else "a run has no such field"
            raise UsageError(f"--accept-changed '{field}' cannot be: {why}; it may be {', '.join(SOFT)}")


def is_identity(found: object) -> bool:
    """Whether it is texts by field."""
    return isinstance(found, dict) and all(isinstance(each, str) for each in (*found, *found.values()))


def differing(stored: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The fields that differ, those with a name of their own first."""
    fields = [*NAMES, *sorted((stored.keys() | wanted.keys()) - NAMES.keys())]
    return [field for field in fields if stored.get(field) != wanted.get(field)]


def unrecorded(stored: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Soft fields that the version that made the run did not write down."""
    return [field for field in SOFT if field in wanted and field not in stored]


def describe(fields: Collection[str], stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Fields with both values."""
    return " and ".join(
        f"{NAMES.get(field, field)} ({short(stored.get(field))} there, {short(wanted.get(field))} now)"
        for field in fields
    )


def advice(fields: Collection[str]) -> str:
    """What to do about fields that differ."""
    if any(field not in SOFT for field in fields):
        return "use another folder"
    options = " ".join(f"--accept-changed {field}" for field in fields)
    return f"use another folder, or go on with it by {options}"


def short(value: str | None) -> str:
    """Enough of a value to tell it from another."""
    text = "nothing" if value is None else value
    return text if len(text) <= 24 else f"{text[:12]}...{text[-6:]}"


@functools.lru_cache(maxsize=1)
def cpu_features() -> str:
    """The instructions that kernels are chosen by: the same text on processors that compute the same.

    `x86_64 avx avx2 f16c fma sse4_1`; the architecture alone where the system has no list of them.
    """
    try:
        lines = CPU_INFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    listed = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join([platform.machine(), *sorted(INSTRUCTIONS.intersection(listed.split()))])
