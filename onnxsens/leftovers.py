"""What processes of ours that died have left behind: found by the names of temporary files, and removed.

Never by age: a process may be at work for days. Never what belongs to another user, and never through a link.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from onnxsens.files import TEMPORARY
from onnxsens.processes import Process


def remove_stale(folders: Sequence[Path]) -> int:
    """Remove temporary files and folders of ours whose processes are no more; how many.

    Looked for in these folders and in the system's place for temporary files, not below. Only what belongs to this
    user, and no link.
    """
    removed = 0
    for folder in dict.fromkeys([*folders, Path(tempfile.gettempdir())]):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            removed += sum(remove_if_stale(entry) for entry in list(entries))
    return removed


def remove_if_stale(entry: "os.DirEntry[str]") -> bool:
    """Whether it was one, and is gone."""
    found = TEMPORARY.fullmatch(entry.name)
    maker = Process.of_mark(found["mark"]) if found else None
    if found is None or maker is None or not maker.is_gone():
        return False
    with contextlib.suppress(OSError):
        state = entry.stat(follow_symlinks=False)
        if hasattr(os, "getuid") and state.st_uid != os.getuid():
            return False
        if found["file"] and stat.S_ISREG(state.st_mode):
            Path(entry.path).unlink()
        elif not found["file"] and stat.S_ISDIR(state.st_mode):
            shutil.rmtree(entry.path, ignore_errors=True)
        return not os.path.lexists(entry.path)
    return False
