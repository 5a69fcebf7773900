"""What every file says of itself: its origin, what its numbers mean, its traps, what it lacks. Plain lines."""

import hashlib
import textwrap
from collections.abc import Callable, Sequence

from onnxsens.errors import UsageError
from onnxsens.frameworks.exporters.exporter import Exporter
from onnxsens.frameworks.exporters.layer import Export, Layer
from onnxsens.plan.planfile import encode

WIDTH = 110

RATIO = (
    "Mode: ratio. A ratio re-ranks weights in the source: magnitudes on BatchNorm-folded weights differ from unfolded "
    "ones, so other elements go than those that were tested. Measure the pruned model again."
)
MASK = "Mode: mask. The mask carries the tested zeros exactly: element for element as they were measured."


def plain(text: str) -> str:
    """One printable line of any text: line breaks, controls and lone surrogates become escapes."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def quoted(name: str) -> str:
    """A name as it stands in running text."""
    return f"'{plain(name)}'"


def select(
    exporter: Exporter, export: Export, refuses: Callable[[Layer], str | None]
) -> tuple[list[Layer], list[tuple[str, str]]]:
    """The layers that a format can express, and every other with the reason, `export.left_out` first.

    Raises:
        UsageError: a mode that the format does not have, or no layer is left.
    """
    if export.mode not in exporter.modes:
        raise UsageError(
            f"format '{exporter.name}' has no mode '{export.mode}'; use --mode {' or '.join(exporter.modes)}"
        )
    judged = [(layer, "it has no zeros" if layer.zeros == 0 else refuses(layer)) for layer in export.layers]
    kept = [layer for layer, reason in judged if reason is None]
    left = [(layer.parameter, reason) for layer, reason in judged if reason is not None]
    if kept:
        return kept, [*export.left_out, *left]
    why = f"{quoted(left[0][0])}: {plain(left[0][1])}" if left else "no weight has a parameter in the source"
    raise UsageError(
        f"the plan has nothing that the format '{exporter.name}' can express ({why}); "
        "use another format, such as masks, or plan with another pattern"
    )


def header(
    exporter: Exporter,
    export: Export,
    layers: Sequence[Layer],
    left_out: Sequence[tuple[str, str]],
    *,
    use: Sequence[str],
    traps: Sequence[str],
    values: str = "",
) -> list[str]:
    """Lines without a comment sign, each printable.

    Args:
        layers: those in the file.
        left_out: names and reasons of those that are not.
        use: how to run it.
        traps: what goes wrong silently.
        values: how updated values are loaded, where a file of them is beside; among the first lines, since zeros
            without them wreck a model. Empty for formats without masks.
    """
    plan = export.plan
    lines = [
        f"{exporter.title}.",
        f"Made by onnxsens {plain(export.version)}.",
        *wrapped(updated(export, values)),
        # No name of a user's in the first two lines: there, a comment with `coding:` sets a Python file's encoding.
        f"Model: {quoted(plan.model.file)}, sha256 {plan.model.sha256[:12]}.",
        f"Plan: sha256 {hashlib.sha256(encode(plan)).hexdigest()[:12]}, technique {quoted(plan.technique)}, "
        f"update {quoted(plan.update)}.",
        *wrapped(RATIO if export.mode == "ratio" else MASK),
        f"Run with: {exporter.ran_with}." if exporter.ran_with else "Run with: not run. Check what it does first.",
        f"Parameters: {len(layers)}, with {sum(layer.zeros for layer in layers)} zeros in "
        f"{sum(layer.size for layer in layers)} elements.",
        "",
        *(line for text in use for line in wrapped(text)),
    ]
    lines += listed("Traps:", traps)
    lines += listed("Mind:", doubts(export, layers))
    if left_out:
        lines += ["", "Left out:", *(f"- {quoted(name)}: {plain(reason)}" for name, reason in left_out)]
    return lines


def doubts(export: Export, layers: Sequence[Layer]) -> list[str]:
    """What is to be known of single layers."""
    found = []
    if export.mode == "ratio":
        rescaled = [layer.parameter for layer in layers if layer.rescaled]
        if rescaled:
            found.append(f"these were tested times a factor per channel, and rank differently here: {names(rescaled)}")
        found += [
            f"{quoted(layer.parameter)} is several weights of the ONNX file, which are ranked together here: "
            f"{names(layer.tensors)}"
            for layer in layers
            if len(layer.tensors) > 1
        ]
    guessed = [layer.parameter for layer in layers if layer.confidence == "guess"]
    if guessed:
        found.append(f"these names are guesses, check them: {names(guessed)}")
    return found


def names(found: Sequence[str]) -> str:
    """Quoted, with commas."""
    return ", ".join(map(quoted, found))


def updated(export: Export, values: str) -> str:
    """What is to be done with the other values that an update changed; nothing to say where there are none."""
    if export.mode == "ratio" and export.plan.update != "none":
        return (
            "Updated values: the plan's update fitted the other elements to the tested zeros. A ratio zeroes others, "
            "which they do not fit, and has none of them: use --mode mask for both."
        )
    if export.mode == "ratio":
        return ""
    if export.weights_file is None:
        if export.plan.update == "none":
            return ""
        return (
            "Updated values: the plan's update fitted the other elements to these zeros, and none of that could be "
            "carried over. The zeros alone were not tested: measure the pruned model."
        )
    return (
        f"Updated values: {quoted(export.weights_file)} has the values of other elements that go with these zeros, "
        f"which alone wreck the model. {values}"
    )


def listed(title: str, items: Sequence[str]) -> list[str]:
    """A title and a line or more for each item; nothing without items."""
    if not items:
        return []
    return ["", title, *(line for item in items for line in wrapped(item, "- ", "  "))]


def wrapped(text: str, first: str = "", following: str = "") -> list[str]:
    """Lines of a readable width, none of them within a word."""
    return textwrap.wrap(
        plain(text), WIDTH, initial_indent=first, subsequent_indent=following, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def commented(lines: Sequence[str], sign: str = "#") -> str:
    """The lines as a comment."""
    return "".join(f"{sign} {line}".rstrip() + "\n" for line in lines)
