"""Functions of a model, inlined by onnx: native code, which a malformed model may bring down.

Whoever opens a model says where that happens: in this process, or in one that may die.
"""

from collections.abc import Callable

import onnx

from onnxsens.errors import OnnxsensError

# From a serialized model, without its large payloads, to one without functions.
Inline = Callable[[bytes], bytes]


class InliningError(OnnxsensError):
    """onnx refuses; the text says why, and the model can be used as it is."""


def inline_here(model: bytes) -> bytes:
    """In this process.

    Raises:
        InliningError: it is refused.
    """
    from onnx import inliner

    try:
        inlined: onnx.ModelProto = inliner.inline_local_functions(onnx.ModelProto.FromString(model))
    except Exception as error:  # native code raises many types here
        raise InliningError(f"{type(error).__name__}: {error}") from error
    content: bytes = inlined.SerializeToString()
    return content
