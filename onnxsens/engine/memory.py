"""How much memory is free, on the host and on a GPU, asked of the system and of its driver.

What is free is a moment's state, and others take from it: a budget is made of a part of it, once.
"""

import ctypes
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

from onnxsens.engine.devices import Device

CACHE_SHARE = 4  # a cache may take one part of this many
UNKNOWN_CACHE_BYTES = 256 * 2**20  # where nothing is known: what any machine that runs models has


def free_memory(device: Device) -> int | None:
    """Bytes that can still be taken; None where it cannot be known.

    On a GPU, what ONNX Runtime has taken and not yet used counts as taken.
    """
    return host_free() if device.kind == "cpu" else cuda_free(device.number)


def default_cache_bytes(device: Device) -> int:
    """A quarter of what is free; 256 MiB where that is not known."""
    free = free_memory(device)
    return UNKNOWN_CACHE_BYTES if free is None else free // CACHE_SHARE


def host_free() -> int | None:
    """What the system, and the container that we may be in, can still give without swapping."""
    if sys.platform == "win32":
        return windows_free()
    if sys.platform == "darwin":
        done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=False)
        return macos_free(done.stdout)
    return linux_free(Path("/"))


def linux_free(root: Path) -> int | None:
    """The least of what the kernel estimates as available and of what each control group above us leaves.

    Args:
        root: of the file system.
    """
    try:
        table = (root / "proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", table, re.MULTILINE)
    if found is None:
        return None
    return max(min([int(found[1]) * 1024, *group_free(root)]), 0)


def group_free(root: Path) -> list[int]:
    """Bytes left in each control group with a limit that this process is in, of version 1 and 2.

    A container sees its own group as the root of the tree, whatever name it has outside.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if number == "0" and not controllers:
            trees = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
            files = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            trees = [root / "sys/fs/cgroup/memory"]
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = PurePosixPath(name.lstrip("/"))
        groups = [PurePosixPath()] if ".." in own.parts else [own, *own.parents]
        left += [free for tree in trees for group in groups if (free := group_left(tree / group, *files)) is not None]
    return left


def group_left(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """Bytes that one control group leaves, what it can drop from its file cache included; None without a limit."""
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        table = (folder / "memory.stat").read_text()
    except OSError:
        return None
    if most == "max":
        return None
    droppable = re.search(rf"^{cache} (\d+)$", table, re.MULTILINE)
    return int(most) - used + (int(droppable[1]) if droppable else 0)


def macos_free(table: str) -> int | None:
    """From what `vm_stat` prints: pages that are free, or that can be taken from their owners without writing."""
    size = re.search(r"page size of (\d+) bytes", table)
    kinds = ("free", "inactive", "speculative", "purgeable")
    pages = [re.search(rf"^Pages {kind}:\s+(\d+)\.$", table, re.MULTILINE) for kind in kinds]
    counts = [int(found[1]) for found in pages if found]
    return int(size[1]) * sum(counts) if size and counts else None


def windows_free() -> int | None:
    """Physical memory that is available (`GlobalMemoryStatusEx`)."""
    if sys.platform != "win32":
        return None

    class Status(ctypes.Structure):
        """MEMORYSTATUSEX."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "available", "page", "page_left", "virtual", "virtual_left", "extended")
            ),
        )

    status = Status(length=ctypes.sizeof(Status))
    return int(status.available) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def cuda_free(number: int) -> int | None:
    """What a GPU has left by its driver's account; None where there is no driver, or no such GPU.

    Asked of the driver (`cuMemGetInfo`), which is there wherever CUDA is and counts GPUs as ONNX Runtime does. The
    context that this takes is the one that ONNX Runtime uses.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), number):
        return None
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
        return None if failed else free.value
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def kills_for_memory(root: Path = Path("/")) -> int:
    """Processes that the system has ended so far because memory ran out, of those that it tells us of."""
    lines: list[str] = []
    for name in ("proc/vmstat", "sys/fs/cgroup/memory.events"):
        try:
            lines += (root / name).read_text().splitlines()
        except OSError:
            continue
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
