"""Whether a folder lies on a file system that several hosts may write to at once."""

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
REMOTE = frozenset(
    ["9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"]
)


def is_remote(folder: Path) -> bool:
    """Whether it does, as far as Linux tells; elsewhere it is not known, and False."""
    try:
        device = folder.stat().st_dev
        lines = MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    kinds = {kind_of(line) for line in lines if device_of(line) == (os.major(device), os.minor(device))}
    return any(kind in REMOTE or kind == "fuse" or kind.startswith("fuse.") for kind in kinds)


def device_of(line: str) -> tuple[int, int]:
    """The third field of a mount: `0:45`."""
    major, _, minor = line.split(" ", 3)[2].partition(":")
    return int(major), int(minor)


def kind_of(line: str) -> str:
    """The file system's name, which comes after a lonely dash."""
    return line.partition(" - ")[2].split(" ", 1)[0]
