"""Free memory: read from what each system says, the tightest of machine and container."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from onnxsens.engine.devices import HOST, Device
from onnxsens.engine.memory import (
    UNKNOWN_CACHE_BYTES,
    cuda_free,
    default_cache_bytes,
    free_memory,
    kills_for_memory,
    linux_free,
    macos_free,
)
from onnxsens.engine.providers import CUDA, why_not_started
from onnxsens.engine.runtime import runtime

CUDA_STARTS = CUDA in runtime().get_available_providers() and why_not_started(CUDA) is None
MB = 2**20


def system(root: Path, files: dict[str, str], available: int = 1000 * MB) -> Path:
    """A tree of files as Linux shows them."""
    files = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {available // 1024} kB\nBuffers: 1 kB\n"} | files
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def second(folder: str, limit: str, used: int, cache: int = 0) -> dict[str, str]:
    """A control group of version 2."""
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cache}\nactive_file 7\n",
    }


def first(folder: str, limit: int, used: int, cache: int = 0) -> dict[str, str]:
    """A control group of version 1."""
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": f"inactive_file 3\ntotal_inactive_file {cache}\n",
    }


TREE = "sys/fs/cgroup"


class TestLinux:
    def test_without_groups_it_is_what_the_kernel_estimates(self, tmp_path: Path) -> None:
        assert linux_free(system(tmp_path, {})) == 1000 * MB

    def test_a_group_without_a_limit_changes_nothing(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/a\n"} | second(f"{TREE}/a", "max", 900 * MB)
        assert linux_free(system(tmp_path, files)) == 1000 * MB

    def test_a_groups_file_cache_counts_as_free(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/a\n"} | second(f"{TREE}/a", str(400 * MB), 300 * MB, 50 * MB)
        assert linux_free(system(tmp_path, files)) == 150 * MB

    def test_the_groups_above_count_too(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/a/b/c\n"}
        files |= second(f"{TREE}/a", str(200 * MB), 120 * MB) | second(f"{TREE}/a/b/c", str(400 * MB), 100 * MB)
        assert linux_free(system(tmp_path, files)) == 80 * MB

    @pytest.mark.parametrize("name", ["/", "/outer/name/of/it", "/../beside"])
    def test_a_container_is_the_root_of_its_tree(self, name: str, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": f"0::{name}\n"} | second(TREE, str(400 * MB), 100 * MB)
        assert linux_free(system(tmp_path, files)) == 300 * MB

    def test_version_1_is_read_beside_an_empty_version_2(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "4:cpu,memory:/docker/x\n1:cpu:/\n1:name=systemd:/odd:name\n0::/\n"}
        files |= first(f"{TREE}/memory", 2**63 - 4096, 0)
        files |= first(f"{TREE}/memory/docker/x", 500 * MB, 450 * MB, 20 * MB)
        assert linux_free(system(tmp_path, files)) == 70 * MB

    def test_a_group_above_its_limit_leaves_nothing(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/\n"} | second(TREE, str(100 * MB), 130 * MB)
        assert linux_free(system(tmp_path, files)) == 0

    def test_what_is_not_said_is_not_known(self, tmp_path: Path) -> None:
        assert linux_free(tmp_path) is None
        assert linux_free(system(tmp_path, {"proc/meminfo": "MemTotal: 5 kB\n"})) is None


def test_macos_counts_pages_that_can_be_had_without_writing() -> None:
    table = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               10.\n"
        "Pages active:                         999999.\n"
        "Pages inactive:                           20.\n"
        "Pages speculative:                        30.\n"
        "Pages wired down:                     888888.\n"
        "Pages purgeable:                          40.\n"
    )
    assert macos_free(table) == 100 * 16384
    assert macos_free("") is None


def test_memory_that_is_taken_is_no_longer_free() -> None:
    # Others take and give memory at the same time, so that one reading says little.
    code = (
        "from onnxsens.engine.memory import host_free\n"
        "for _ in range(20):\n"
        "    before = host_free()\n"
        "    taken = bytearray(b'x') * (400 * 2**20)\n"
        "    print(before - host_free())\n"
        "    del taken\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert any(250 * MB < int(line) < 600 * MB for line in done.stdout.split())


def test_a_cache_takes_a_quarter_of_what_is_free() -> None:
    free = free_memory(HOST)
    assert free is not None
    assert default_cache_bytes(HOST) == pytest.approx(free / 4, rel=0.3)


@pytest.mark.skipif(CUDA_STARTS, reason="CUDA starts here")
def test_the_memory_of_a_gpu_that_is_not_there_is_not_known() -> None:
    assert cuda_free(99) is None
    assert default_cache_bytes(Device("cuda", 99)) == UNKNOWN_CACHE_BYTES


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA_STARTS, reason="no CUDA provider starts here")
def test_the_driver_tells_a_gpus_free_memory() -> None:
    before = free_memory(Device("cuda"))
    assert before is not None
    runtime_value = runtime().OrtValue.ortvalue_from_shape_and_type([512 * MB], "uint8", "cuda", 0)
    after = free_memory(Device("cuda"))
    assert after is not None
    assert before - after > 256 * MB
    assert ctypes.sizeof(ctypes.c_size_t) == 8
    del runtime_value
    assert free_memory(Device("cuda", 99)) is None


def test_kills_for_memory_are_those_that_the_kernel_and_the_group_count(tmp_path: Path) -> None:
    assert kills_for_memory(tmp_path) == 0
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 5\noom_kill 3\n")
    assert kills_for_memory(tmp_path) == 3
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.events").write_text("low 0\noom 7\noom_kill 2\noom_group_kill 1\n")
    assert kills_for_memory(tmp_path) == 5
