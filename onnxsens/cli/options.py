"""Option groups that several commands share, and what they turn into."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from onnxsens.cli import choices
from onnxsens.errors import UsageError
from onnxsens.sizes import bytes_in

Command = TypeVar("Command", bound=Callable[..., None])

STDOUT = Path("-")


class Place(click.Path):
    """A path; whoever reads it says what is wrong, with the right exit code."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, as it was given."""
        if "\0" in os.fspath(value):
            self.fail("a path has no NUL character", param, ctx)
        return super().convert(value, param, ctx)


class Target(Place):
    """Where a file or a folder is written. `-` is standard output for some commands, and a mistake for all others.

    Args:
        stdout: whether it may be standard output.
    """

    def __init__(self, *, stdout: bool = False) -> None:
        super().__init__()
        self.stdout = stdout

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, as it was given."""
        if os.fspath(value) == str(STDOUT):
            if not self.stdout:
                self.fail("'-' is standard output, where this cannot go; give a name, or './-'", param, ctx)
            return STDOUT
        found = super().convert(value, param, ctx)
        return found.absolute() if found == STDOUT else found  # './-', a file of that name


PATH = Place()
TARGET = Target()


def stacked(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in this order."""

    def apply(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


model_argument = click.argument("model", type=PATH)

dim_option = click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="NAME=N",
    help="Length of a dynamic axis; INPUT:AXIS=N for one without name, counted from 0. Repeatable.",
)
custom_op_option = click.option(
    "--custom-op-lib",
    "custom_op_libs",
    multiple=True,
    metavar="FILE",
    help="Library with the model's custom operators; it is run. Repeatable.",
)

preprocessing_options = stacked(
    click.option("--scale", type=float, metavar="X", help="Divide inputs by X first; 255 for uint8 images."),
    click.option("--mean", metavar="X[,X...]", help="Then subtract this, one number or one a channel."),
    click.option("--std", metavar="X[,X...]", help="Then divide by this, one number or one a channel."),
    dim_option,
)

engine_options = stacked(
    click.option("--output", metavar="NAME", help="Output that metrics read.  [default: the likeliest]"),
    click.option(
        "--class-axis", type=int, metavar="N", help="Its axis of classes.  [default: found from labels, or -1]"
    ),
    click.option(
        "--providers",
        "provider",
        default="auto",
        show_default=True,
        metavar="NAME",
        shell_complete=choices.among(*choices.PROVIDERS),
        help="auto, cpu, cuda, tensorrt, or a provider's full name.",
    ),
    click.option("--batch-size", type=int, default=32, show_default=True, metavar="N", help="Samples of one run."),
    click.option("--threads", type=int, metavar="N", help="Threads in all.  [default: all cores]"),
    custom_op_option,
)

checkpoint_option = click.option(
    "--checkpoint",
    type=PATH,
    metavar="FILE",
    help="Of the source framework: safetensors, npz, PyTorch, Keras or Flax.",
)

jobs_option = click.option(
    "-j", "--jobs", type=int, metavar="N", help="Processes that share weights and threads.  [default: what is faster]"
)

cache_option = click.option(
    "--cache-memory",
    metavar="SIZE",
    help="For tensors kept inside the model, such as 500MB.  [default: a quarter of free memory]",
)

speed_options = stacked(
    click.option(
        "--exact", is_flag=True, help="All samples for everything, also where fewer decide, and no predictions."
    ),
    jobs_option,
    cache_option,
)

measuring_options = stacked(
    click.option(
        "--holdout", type=float, default=0.5, show_default=True, metavar="X", help="Share kept for the check."
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, metavar="N", help="Of the split and random samples."
    ),
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        shell_complete=choices.METRICS,
        metavar="METRIC",
        help="Measure this too. Repeatable.  [default: by output]",
    ),
    click.option(
        "--search-metric",
        metavar="METRIC",
        shell_complete=choices.METRICS,
        help="What tolerances are on.  [default: kl or dense-mse]",
    ),
    click.option(
        "--scan-samples", type=int, default=2000, show_default=True, metavar="N", help="Samples of one point."
    ),
    click.option(
        "--technique",
        default="auto",
        show_default=True,
        shell_complete=choices.TECHNIQUES,
        metavar="SPEC",
        help="Which elements go: CRITERION[:PATTERN], such as obs, wanda or magnitude:2:4.",
    ),
    click.option(
        "--update",
        default="auto",
        show_default=True,
        shell_complete=choices.among(*choices.UPDATES),
        metavar="HOW",
        help="What is done to the others: none, bias, batchnorm, obs, refit, sequential, reconstruct. "
        "auto: reconstruct for a plan, none for a scan.",
    ),
)

goal_options = stacked(
    click.option(
        "--max-drop",
        multiple=True,
        metavar="METRIC=X",
        shell_complete=choices.LIMITS,
        help="Largest drop allowed, absolute. Repeatable.",
    ),
    click.option("--sparsity", type=float, metavar="S", help="Share of zeros wanted, over all prunable weights."),
    click.option("--size", metavar="SIZE", help="What the weights may take, compressed by zlib, such as 2MB."),
    click.option("--macs", type=float, metavar="X", help="MACs that may be left: a share, such as 0.5, or a number."),
    click.option("--pareto", is_flag=True, help="Also measure the whole front, and write it to RUN/pareto.json."),
    click.option(
        "--confidence", default="0.95", show_default=True, metavar="C", help="Of the check; none takes point estimates."
    ),
)

limit_options = stacked(
    click.option(
        "--picker",
        "pickers",
        multiple=True,
        metavar="NAME",
        shell_complete=choices.PICKERS,
        help="Let this one choose a plan too: greedy, or a plug-in's. Repeatable.",
    ),
    click.option("--min", "minimum", multiple=True, metavar="PATTERN=LEVEL", help="Least level. Repeatable."),
    click.option("--max", "maximum", multiple=True, metavar="PATTERN=LEVEL", help="Most level. Repeatable."),
    click.option("--pin", multiple=True, metavar="PATTERN=LEVEL", help="The level of weights. Repeatable."),
    click.option("--freeze", multiple=True, metavar="PATTERN", help="Weights that keep every bit. Repeatable."),
    click.option("--skip", multiple=True, metavar="WHAT", help="Also: first, last, OPERATOR, '<N' elements; a list."),
    click.option(
        "--target",
        metavar="NAME",
        shell_complete=choices.TARGETS,
        help="What the model is for; 'onnxsens targets' lists them.",
    ),
)

search_options = stacked(
    click.option(
        "--step", type=float, default=0.05, show_default=True, metavar="X", help="Top-Down's steps, in sparsity."
    ),
    click.option(
        "--resolution",
        type=float,
        default=0.01,
        show_default=True,
        metavar="X",
        help="How finely levels are looked for.",
    ),
)


in_process_option = click.option(
    "--in-process", is_flag=True, help="Run the model in this process; a malformed one may bring it down."
)

guard_options = stacked(
    click.option(
        "--max-model-bytes", metavar="SIZE", help="Refuse a larger model, data files included.  [default: 64GiB]"
    ),
    click.option("--strict-links", is_flag=True, help="Refuse data files that are links or have several names."),
    in_process_option,
    click.option(
        "--patience",
        type=float,
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="For one evaluation; or 20 times what it usually takes, if that is more.",
    ),
    click.option(
        "--worker-memory", metavar="SIZE", help="That a process may take.  [default: nearly all that is free]"
    ),
)

run_guard_options = stacked(
    guard_options,
    click.option("--time-limit", type=float, metavar="SECONDS", help="For all; then it stops, and can go on later."),
    click.option(
        "--accept-changed",
        multiple=True,
        metavar="FIELD",
        help="Go on with a run made with another FIELD, such as onnxruntime. Repeatable.",
    ),
)


def data_option(*, required: bool) -> Callable[[Command], Command]:
    """`-d/--data`, and how much of it there may be."""
    return stacked(
        click.option(
            "-d",
            "--data",
            required=required,
            metavar="DATA",
            shell_complete=choices.files_or("random:256"),
            help="Samples: FILE.npz, FILE.npy, a folder of .npz shards or of images, FILE.py:FUNCTION, or random:N.",
        ),
        click.option("--max-data-bytes", metavar="SIZE", help="Refuse more samples, unpacked.  [default: 16GiB]"),
    )


def run_folder_option() -> Callable[[Command], Command]:
    """`-o/--out` of a run."""
    return click.option(
        "-o", "--out", "folder", required=True, type=TARGET, metavar="RUN", help="Run folder; made where missing."
    )


def result_option(text: str) -> Callable[[Command], Command]:
    """`-o/--out` of what may go to standard output too. `text`: of its help."""
    return click.option("-o", "--out", type=Target(stdout=True), metavar="FILE", help=text)


def parse_bytes(text: str, option: str) -> int:
    """`500MB`, `2GiB` or a number of bytes.

    Raises:
        UsageError: it is none of these.
    """
    nbytes = bytes_in(text)
    if nbytes is None:
        raise UsageError(f"{option} '{text[:60]}' is not a size; write for example {option} 500MB")
    return nbytes


def parse_dims(texts: Sequence[str]) -> dict[str, int]:
    """`NAME=N` or `INPUT:AXIS=N`, repeated.

    Raises:
        UsageError: one is not of that form.
    """
    dims = {}
    for text in texts:
        name, separator, number = text.rpartition("=")
        if not (separator and name and number.isdecimal() and len(number) < 19):
            raise UsageError(f"--dim '{text[:60]}' is not NAME=N; write for example --dim seq=128")
        dims[name] = int(number)
    return dims


def parse_confidence(text: str) -> float | None:
    """A number, or `none`.

    Raises:
        UsageError: it is neither.
    """
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--confidence '{text}' is not a number; give e.g. 0.95, or none") from None


def parse_levels(text: str) -> tuple[float, ...]:
    """`0.5,0.7,0.9`.

    Raises:
        UsageError: one is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--levels '{text}' is not a list of numbers; write for example --levels 0.5,0.7,0.9"
        ) from None
