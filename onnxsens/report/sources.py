"""Maps and exports: what a model's weights are in the framework that it came from."""

from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from onnxsens.frameworks.exporting import Exported
from onnxsens.frameworks.mapfile import Map, MappedTensor, Share
from onnxsens.frameworks.mapping import covered
from onnxsens.frameworks.masks import lost
from onnxsens.report.tables import FOLDED, LEFT, RIGHT, lines, table
from onnxsens.report.text import count, inert, percent

MOST_UNUSED = 8
MEANING = {
    "exact": "the same numbers",
    "scaled": "the same numbers times a factor a channel",
    "metadata": "the file says so",
    "name": "by its name",
    "ambiguous": "several parameters may be it",
    "guess": "by path, shape or place; used with --accept-guesses only",
    "missed": "nothing fits",
}


def mapped(made: Map) -> RenderableType:
    """Every weight, then how much was found."""
    weights = table(
        "where the weights come from",
        [
            ("weight", FOLDED),
            ("operator", LEFT),
            ("shape", LEFT),
            ("parameter", FOLDED),
            ("transform", FOLDED),
            ("confidence", LEFT),
            ("evidence", FOLDED),
        ],
        [row(tensor) for tensor in made.weights],
    )
    shares = table(
        "coverage",
        [("confidence", LEFT), ("weights", RIGHT), ("elements", RIGHT), ("", FOLDED)],
        [
            [inert(name), count(share.tensors), of_all(share, made), MEANING.get(name, "")]
            for name, share in made.coverage.weights.items()
        ],
    )
    said = [covered(made.coverage)]
    known = made.coverage.parameters
    if made.checkpoint is not None:
        found = made.coverage.parameters_found
        said.append(
            f"{count(found.tensors)} of {count(known.tensors)} parameters of '{inert(made.checkpoint.file)}' with two "
            "axes and more are in the model"
        )
        unused = made.coverage.unused
        if unused:
            more = f", and {len(unused) - MOST_UNUSED} more" if len(unused) > MOST_UNUSED else ""
            said.append("not in the model: " + ", ".join(inert(name) for name in unused[:MOST_UNUSED]) + more)
    vectors = [tensor for tensor in made.tensors if tensor.role == "vector"]
    sure = sum(tensor.is_sure for tensor in vectors)
    said.append(f"{count(sure)} of {count(len(vectors))} biases and other vectors have a certain parameter")
    return Group(weights, Text(), shares, Text(), lines(*said))


def row(tensor: MappedTensor) -> list[str]:
    """One weight."""
    return [
        inert(tensor.name),
        inert(tensor.operator),
        "x".join(map(str, tensor.shape)),
        "\n".join(inert(name) for name in tensor.parameters) or "-",
        inert(tensor.transform) or "-",
        tensor.confidence,
        inert("; ".join(tensor.evidence)),
    ]


def of_all(share: Share, made: Map) -> str:
    """Elements, and their share of all."""
    total = sum(each.elements for each in made.coverage.weights.values())
    return f"{count(share.elements)} ({percent(share.elements / total)})"


def document(made: Map) -> dict[str, Any]:
    """The map as plain data."""
    plain: dict[str, Any] = msgspec.to_builtins(made)
    return plain


def exported(done: Exported) -> RenderableType:
    """What went over, and what did not."""
    what = "the tested zeros" if done.mode == "mask" else "how many zeros, which are ranked again where it is applied"
    said = [
        f"{count(done.parameters)} parameters with {count(done.zeros)} zeros of {count(done.elements)} "
        f"({percent(done.zeros / max(done.elements, 1))}) as {done.format}, mode {done.mode}: {what}",
        f"run with {done.ran_with}" if done.ran_with else "this format was not run with its tool",
        f"names by the numbers of '{inert(done.matched_by)}'"
        if done.matched_by
        else "names by what the ONNX file says",
        *(inert(line) for line in lost(done.left_out, done.not_updated)),
    ]
    return lines(*said)
