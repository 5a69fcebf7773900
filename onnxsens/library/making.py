"""`auto` and `plan`: a plan made in one call, or from a run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

from onnxsens.api import auto as plan_anew
from onnxsens.artefacts import PLAN_FILE
from onnxsens.errors import UsageError
from onnxsens.library.arguments import (
    Levels,
    Names,
    Numbers,
    Size,
    goal_from,
    guard_from,
    number,
    options_from,
    whole,
)
from onnxsens.library.measuring import named_by, place_of
from onnxsens.library.opening import open_run
from onnxsens.library.planned import Plan, keep_living
from onnxsens.library.progress import Listener, observing
from onnxsens.library.run import Run
from onnxsens.library.samples import Data, called_data, spec_of
from onnxsens.library.words import worded


class Planning(TypedDict, total=False):
    """Keywords of `Run.plan`, where they are described."""

    max_drop: Levels | None
    sparsity: float | None
    size: Size | None
    macs: float | None
    target: str | None
    minimum: Levels | None
    maximum: Levels | None
    pin: Levels | None
    freeze: Names
    skip: Names
    pickers: Names
    confidence: float | None
    pareto: bool
    checkpoint: str | Path | None
    technique: str | None
    update: str | None
    step: float
    resolution: float
    exact: bool
    jobs: int | None
    cache_memory: Size | None
    force: bool
    progress: bool | Listener | None


def plan(run: str | Path | Run, **keywords: Unpack[Planning]) -> Plan:
    """Make a plan from what was measured in a run; see `Run.plan`, which this is for a folder.

    Args:
        run: the folder of a run, or a run in hand.
        keywords: of `Run.plan`, such as `max_drop={"accuracy": 0.01}` (default none: the knee).

    Raises:
        InputError: there is no run, or its store is damaged.
        OnnxsensError: as `Run.plan` does.
    """
    return (run if isinstance(run, Run) else open_run(run)).plan(**keywords)


@worded
def auto(
    model: str | Path,
    data: Data,
    *,
    out: str | Path | None = None,
    max_drop: Levels | None = None,
    sparsity: float | None = None,
    size: Size | None = None,
    macs: float | None = None,
    target: str | None = None,
    minimum: Levels | None = None,
    maximum: Levels | None = None,
    pin: Levels | None = None,
    freeze: Names = (),
    skip: Names = (),
    pickers: Names = (),
    confidence: float | None = 0.95,
    pareto: bool = False,
    iterative: int | None = None,
    checkpoint: str | Path | None = None,
    force: bool = False,
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
) -> Plan:
    """Scan, choose a plan, write the pruned model, and verify the plan on samples it was not made on.

    The folder gets `scan.db`, `plan.json`, `changes.safetensors`, `pruned.onnx` and `report.html`; the same call goes
    on where it stopped, and so does the same command. At most one goal is given; without one, the knee between sparsity
    and loss is taken. A plan that fails its check is returned all the same: see `Plan.verified`. Not thread-safe: one
    call at a time.

        plan = onnxsens.auto("model.onnx", "samples.npz", max_drop={"accuracy": 0.01}, out="out/")

    Args:
        model: the ONNX file.
        data: what the command line takes (`"samples.npz"`, a folder, `"file.py:function"`, `"random:256"`), or arrays:
            `{"image": x}`, `{"image": x, "labels": y}`, `({"image": x}, y)`, and of a model with one input `x` or
            `(x, y)`. Samples are the first axis. Arrays are written to `samples.npz` in the run folder.
        out: run folder, made where it is missing (default None: a temporary one, which lives as long as the `Plan`).
        max_drop: metric to the largest drop allowed, absolute, in the metric's unit: `{"accuracy": 0.01}`
            (default None).
        sparsity: share of zeros wanted over all prunable weights, in (0, 1) (default None).
        size: what the weights may take, compressed by zlib: bytes, or `"2MB"` (default None).
        macs: MACs that may be left: a share up to 1, else a number (default None).
        target: what the model is for; `onnxsens targets` lists them (default None).
        minimum: pattern of names to the least sparsity, in [0, 1]: `{"conv*": 0.5}` (default None).
        maximum: pattern to the most (default None).
        pin: pattern to the only one (default None).
        freeze: patterns of weights that keep every bit (default none).
        skip: `"first"`, `"last"`, an operator, or `"<N"` for fewer elements than N (default none).
        pickers: that choose a plan beside the usual ones, by name: `"greedy"`, or a plug-in\'s (default none).
        confidence: that a verified limit holds, in [0.5, 1) (default 0.95); None takes the point estimate.
        pareto: measure the whole front too, and leave it in `pareto.json` (default False).
        iterative: let the sparsity rise in so many steps, each scanned anew (default None: at once).
        checkpoint: file of the source framework's parameters; leaves masks and values under their names
            (default None).
        force: overwrite a plan or model in `out` that this run did not write (default False).
        metrics: measured beside the goal's: names, or `"file.py:function"` (default none; one that suits the output
            where the goal names none).
        search_metric: what searches look at (default None: `kl` or `dense-mse`, by the output).
        technique: which elements go, `CRITERION[:PATTERN]`, such as `"magnitude:2:4"` or `"wanda"`; or `"bits"`
            (default `"auto"`: `obs`, or `magnitude` where there is no update).
        update: what is done to the others: `"none"`, `"bias"`, `"batchnorm"`, `"obs"`, `"refit"`, `"sequential"`,
            `"reconstruct"` (default `"auto"`: `reconstruct`, where the inputs of weights can be read).
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

    Raises:
        UsageError: keywords that do not go together, or unknown names.
        ModelError: it is no ONNX model, or there is nothing to prune.
        DataError: samples or labels do not fit the model, or none are left to check a plan on.
        GoalError: the goal cannot be met, or not be decided with these samples.
        OnnxsensError: as its parts do; every message is one line.
    """
    if pareto and iterative is not None:
        raise UsageError("pareto measures the front of one step, and iterative makes several; give one of them")
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
    goal = goal_from(
        max_drop=max_drop,
        sparsity=sparsity,
        size_limit=size,
        macs=macs,
        target=target,
        minimum=minimum,
        maximum=maximum,
        pin=pin,
        freeze=freeze,
        skip=skip,
        pickers=pickers,
        confidence=confidence,
    )
    steps = None if iterative is None else whole(iterative, "iterative")
    width, fineness = number(step, "step"), number(resolution, "resolution")
    folder, keeps = place_of(out)
    options = replace(options, data=spec_of(data, folder))
    keep_living(folder)
    with observing(progress) as observer, called_data(data, options.data):
        made = plan_anew(
            model,
            options,
            folder,
            goal,
            observer,
            step=width,
            resolution=fineness,
            force=bool(force),
            pareto=bool(pareto),
            iterative=steps,
            checkpoint=None if checkpoint is None else Path(checkpoint),
        )
    named = named_by(model, options, tuple(goal.max_drop), keeps)
    return Plan(made, folder / PLAN_FILE, named, goal.max_drop or None)
