"""`scan`: measure curves, and have them in hand."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from onnxsens.api import scan as measure
from onnxsens.files import TemporaryFolder
from onnxsens.library.arguments import (
    GridLevels,
    Levels,
    Names,
    Numbers,
    Size,
    guard_from,
    names,
    options_from,
    pairs,
    refuse_nan,
    searches_from,
)
from onnxsens.library.keeping import Named
from onnxsens.library.progress import Listener, observing
from onnxsens.library.run import Run
from onnxsens.library.samples import Data, called_data, spec_of
from onnxsens.library.words import worded
from onnxsens.opened import absolute
from onnxsens.options import Options
from onnxsens.usercode import is_code


@worded
def scan(
    model: str | Path,
    data: Data,
    *,
    out: str | Path | None = None,
    search: Names = "grid",
    levels: GridLevels | None = None,
    tolerance: Levels | None = None,
    metrics: Names = (),
    search_metric: str | None = None,
    technique: str = "auto",
    update: str = "auto",
    scale: float | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    dims: Mapping[str, int] | None = None,
    holdout: float = 0.5,
    seed: int = 0,
    scan_samples: int = 2000,
    output: str | None = None,
    class_axis: int | None = None,
    providers: str = "auto",
    batch_size: int = 32,
    threads: int | None = None,
    jobs: int | None = None,
    exact: bool = False,
    cache_memory: Size | None = None,
    custom_op_libs: Names = (),
    weights: Names = (),
    control: bool = False,
    predict: bool = False,
    step: float = 0.05,
    resolution: float = 0.01,
    progress: bool | Listener | None = None,
    isolated: bool = False,
    patience: float = 60.0,
    worker_memory: Size | None = None,
    max_model_bytes: Size | None = None,
    max_data_bytes: Size | None = None,
    strict_links: bool = False,
    accept_changed: Names = (),
) -> Run:
    """Measure how the quality of a model falls as each of its weights gets sparser, the others as they are.

    The same call with the same `out` goes on where it stopped, and measures no point twice; so does the same command.
    Not thread-safe: one call at a time.

        run = onnxsens.scan("model.onnx", "samples.npz", levels=[0.5, 0.7, 0.9], out="run/")
        run.curves["conv1.weight"].drop

    Args:
        model: the ONNX file.
        data: what the command line takes (`"samples.npz"`, a folder, `"file.py:function"`, `"random:256"`), or arrays:
            `{"image": x}`, `{"image": x, "labels": y}`, `({"image": x}, y)`, and of a model with one input `x` or
            `(x, y)`. Samples are the first axis. Arrays are written to `samples.npz` in the run folder.
        out: run folder, made where it is missing (default None: a temporary one, which lives as long as the `Run`
            and the plans made from it).
        search: `"grid"`, `"top-down"` or `"sweet-spotter"`, or a list of these (default `"grid"`).
        levels: of the grid, sparsities in [0, 1] (default None: 0.1 to 0.9).
        tolerance: the one metric that searches look at, and what one weight may lose by it, absolute, in the metric's
            unit: `{"kl": 0.01}` (default None; Top-Down needs it).
        metrics: measured at every point: names, or `"file.py:function"` (default: one that suits the output).
        search_metric: what searches look at (default None: `kl` or `dense-mse`, by the output).
        technique: which elements go, `CRITERION[:PATTERN]`, such as `"magnitude:2:4"` or `"wanda"`; or `"bits"`
            (default `"auto"`: `magnitude`, or `obs` where there is an update).
        update: what is done to the others: `"none"`, `"bias"`, `"batchnorm"`, `"obs"`, `"refit"`, `"sequential"`,
            `"reconstruct"` (default `"auto"`: `none`). Plans made from the run have it too.
        scale: inputs are divided by it first; 255 for uint8 images (default None).
        mean: is subtracted then, one number or one a channel (default None).
        std: divides then, one number or one a channel (default None).
        dims: lengths of dynamic axes that the samples do not fix: `{"seq": 128}` (default None).
        holdout: share of the samples that is kept for checking plans, in [0, 1) (default 0.5).
        seed: of the split and of random samples, 0 or more (default 0).
        scan_samples: of one point, at most (default 2000).
        output: the one that metrics read (default None: the likeliest).
        class_axis: its axis of classes (default None: found from labels, or the last).
        providers: `"auto"`, `"cpu"`, `"cuda"`, `"tensorrt"`, or a provider's full name (default `"auto"`).
        batch_size: samples of one run of the model (default 32).
        threads: of all processes together (default None: all cores).
        jobs: processes that share weights and threads (default None: what is faster).
        exact: all samples for everything, also where fewer decide, and no predictions (default False).
        cache_memory: for tensors kept inside the model: bytes, or `"500MB"` (default None: a quarter of what is free).
        custom_op_libs: libraries with the model's custom operators; they are run (default none).
        weights: patterns of the names of the only weights to scan; `*` is anything (default none: all).
        control: measure random pruning at the same levels too (default False).
        predict: find curves that one calibration pass predicts too, see `Run.result` (default False).
        step: Top-Down's steps, in sparsity (default 0.05).
        resolution: how finely searches look, in sparsity (default 0.01).
        progress: None for nothing, True for a bar where stderr is a terminal, or a function that is called with one
            `onnxsens.Progress` after another; what it raises ends the run, and reaches you (default None).
        isolated: run the model and code of yours in processes that may be lost, as the command line does; else in
            this one, which a malformed model may bring down (default False).
        patience: seconds for one evaluation, if isolated; or 20 times what it usually takes (default 60.0).
        worker_memory: that a process may take, if isolated: bytes, or `"2GB"` (default None: nearly all that is free).
        max_model_bytes: refuse a larger model, data files included: bytes, or `"2GB"` (default None: 64 GiB).
        max_data_bytes: refuse more samples, unpacked: bytes, or `"2GB"` (default None: 16 GiB).
        strict_links: refuse data files that are links or have several names (default False).
        accept_changed: fields, such as `"onnxruntime"`, in which the run in `out` may have been made with another value
            (default none).

    Returns:
        The run. Weights with a point that could not be measured are in `Run.failures`.
    Raises:
        UsageError: keywords that do not go together, or unknown names.
        ModelError: it is no ONNX model, or there is nothing to prune.
        DataError: samples or labels do not fit the model.
        RunMismatchError: `out` has a run of another model, other samples or other settings.
        OnnxsensError: as its parts do; every message is one line.
    """
    guard = guard_from(
        isolated=isolated,
        patience=patience,
        worker_memory=worker_memory,
        max_model_bytes=max_model_bytes,
        max_data_bytes=max_data_bytes,
        strict_links=strict_links,
        accept_changed=accept_changed,
    )
    options = options_from(
        "",
        guard,
        scale=scale,
        mean=mean,
        std=std,
        dims=dims,
        output=output,
        class_axis=class_axis,
        providers=providers,
        batch_size=batch_size,
        threads=threads,
        custom_op_libs=custom_op_libs,
        holdout=holdout,
        seed=seed,
        metrics=metrics,
        search_metric=search_metric,
        technique=technique,
        update=update,
        scan_samples=scan_samples,
        exact=exact,
        jobs=jobs,
        cache_memory=cache_memory,
    )
    chosen = searches_from(search, levels, step, resolution)
    limits = refuse_nan(pairs(tolerance, "tolerance", "{'kl': 0.01}"), "tolerance")
    patterns = names(weights, "weights")
    folder, keeps = place_of(out)
    options = replace(options, data=spec_of(data, folder))
    with observing(progress) as observer, called_data(data, options.data):
        result = measure(
            model,
            options,
            folder,
            chosen,
            limits,
            observer,
            control=bool(control),
            predict=bool(predict),
            weights=patterns,
        )
    return Run(folder, named_by(model, options, tuple(limits), keeps), result)


def place_of(out: str | Path | None) -> tuple[Path, TemporaryFolder | None]:
    """The run folder, and what it goes with."""
    if out is not None:
        return Path(out).absolute(), None
    keeps = TemporaryFolder()
    return keeps.path, keeps


def named_by(model: str | Path, options: Options, also: tuple[str, ...], keeps: TemporaryFolder | None) -> Named:
    """What the caller has named by such a call.

    Args:
        also: metrics of a tolerance or goal.
    """
    return Named(
        Path(model).absolute(),
        absolute(options.data) if is_code(options.data) else None,
        (*options.metrics, *([options.search_metric] if options.search_metric else []), *also),
        options.custom_op_libs,
        options.guard,
        keeps,
    )
