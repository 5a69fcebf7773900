"""ONNX Runtime, imported late and kept quiet, and what its failures look like on one line."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from onnxsens.files import unnamed_file


def runtime() -> ModuleType:
    """The `onnxruntime` module. Its import takes 0.1 s and prints about missing GPUs, so it happens here only."""
    loaded = sys.modules.get("onnxruntime")
    if loaded is None:
        # Else its wheel calls home, from 1.31 on: an id in the user's folder and a socket after some seconds, which its
        # own `disable_telemetry_events` does not stop.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        with silenced():
            loaded = import_module("onnxruntime")
            # What matters comes as an exception; the log would tear the progress display.
            loaded.set_default_logger_severity(4)
    return loaded


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep what native code, and the Python around it, prints out of the user's sight."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with unnamed_file() as sink:
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)


LONGEST_ERROR = 4000  # names in a model may have megabytes, and patterns are slow on those

# Where in its source a failure comes from: a path, a line and a C++ signature.
SOURCE_PLACE = re.compile(r"/\S+\.(?:h|hpp|cc|cpp|cu):\d+ [^()]*\([^()]*(?:\([^()]*\)[^()]*)*\)(?: const)? ")

# Before the reason: where the copy of the model was, which could not be loaded.
LOADING = re.compile(r"^Load model from .* failed:\s?(?:\[ONNXRuntimeError\] : \d+ : \w+ : )?")


def one_line(error: BaseException, longest: int | None = 300) -> str:
    """A native error's text on one line, without its codes, short enough to read; whole where `longest` is None."""
    text = " ".join(str(error).split())[:LONGEST_ERROR]
    if text.startswith("[ONNXRuntimeError] : "):
        text = text.split(" : ", 3)[-1]
    text = LOADING.sub("", SOURCE_PLACE.sub("", text))
    return text[:longest] or type(error).__name__
