"""One arena for the tensors of all sessions of this process.

With an arena of its own, each session keeps the memory of its largest run. With none, every large tensor goes back to
the system after every run, and taking it again page by page costs up to four times what computing it does: a first
convolution of ResNet-18 takes 34 ms a batch, or 55 to 215 ms. What sessions share is taken once.
"""

from functools import cache
from typing import Any

from onnxsens.engine.runtime import runtime

SAME_AS_REQUESTED = 1  # how it grows; the other way, it doubles
ROUNDING = 2**16  # bytes that may be wasted in a block for a smaller one: tensors of the dense model are held for long


@cache
def share_arena() -> None:
    """Make the arena, so that sessions with `session.use_env_allocators` take from it."""
    ort: Any = runtime()
    native = ort.capi.onnxruntime_pybind11_state
    where = native.OrtMemoryInfo("Cpu", native.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, native.OrtMemType.DEFAULT)
    how = native.OrtArenaCfg(
        {
            "max_mem": 0,
            "arena_extend_strategy": SAME_AS_REQUESTED,
            "initial_chunk_size_bytes": 2**20,
            "max_dead_bytes_per_chunk": ROUNDING,
        }
    )
    ort.create_and_register_allocator(where, how)
