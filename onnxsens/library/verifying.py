"""`verify`: any plan on any samples, beside the dense model."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from onnxsens.api import verify as run_beside
from onnxsens.library.arguments import Levels, Names, Numbers, Size, guard_from, number, options_from, pairs
from onnxsens.library.planned import Plan
from onnxsens.library.progress import Listener, observing
from onnxsens.library.samples import Data, spec_for_now
from onnxsens.library.words import worded
from onnxsens.results import Verification


@worded
def verify(
    model: str | Path,
    plan: str | Path | Plan,
    data: Data,
    *,
    max_drop: Levels | None = None,
    confidence: float | None = 0.95,
    scale: float | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    dims: Mapping[str, int] | None = None,
    output: str | None = None,
    class_axis: int | None = None,
    providers: str = "auto",
    batch_size: int = 32,
    threads: int | None = None,
    custom_op_libs: Names = (),
    progress: bool | Listener | None = None,
    isolated: bool = False,
    patience: float = 60.0,
    worker_memory: Size | None = None,
    max_model_bytes: Size | None = None,
    max_data_bytes: Size | None = None,
    strict_links: bool = False,
) -> Verification:
    """Run a plan beside the dense model on samples, as a gate: `holds` says whether every limit is kept.

    Where the samples are those that the plan was made with, only its hold-out split is used. See also `Plan.verify`.

    Args:
        model: the dense ONNX file.
        plan: `plan.json`, or a plan in hand.
        data: samples, as of `scan`.
        max_drop: metric to the largest drop, absolute, in the metric's unit (default None: the plan's own goal).
        confidence: that a limit holds, in [0.5, 1) (default 0.95); None takes the point estimate.
        scale: inputs are divided by it first; 255 for uint8 images (default None).
        mean: is subtracted then, one number or one a channel (default None).
        std: divides then, one number or one a channel (default None).
        dims: lengths of dynamic axes that the samples do not fix: `{"seq": 128}` (default None).
        output: the one that metrics read (default None: the likeliest).
        class_axis: its axis of classes (default None: found from labels, or the last).
        providers: `"auto"`, `"cpu"`, `"cuda"`, `"tensorrt"`, or a provider's full name (default `"auto"`).
        batch_size: samples of one run of the model (default 32).
        threads: of all processes together (default None: all cores).
        custom_op_libs: libraries with the model's custom operators; they are run (default none).
        progress: as of `scan` (default None).
        isolated: run the model and code of yours in a process that may be lost (default False).
        patience: seconds for one evaluation, if isolated (default 60.0).
        worker_memory: that a process may take, if isolated: bytes, or `"2GB"` (default None: nearly all that is free).
        max_model_bytes: refuse a larger model, data files included: bytes, or `"2GB"` (default None: 64 GiB).
        max_data_bytes: refuse more samples, unpacked: bytes, or `"2GB"` (default None: 16 GiB).
        strict_links: refuse data files that are links or have several names (default False).

    Raises:
        UsageError: neither the plan nor you name a limit, or only the plan names one on code.
        PlanError: the plan is for another model, or does not fit it.
    """
    guard = guard_from(
        isolated=isolated,
        patience=patience,
        worker_memory=worker_memory,
        max_model_bytes=max_model_bytes,
        max_data_bytes=max_data_bytes,
        strict_links=strict_links,
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
    )
    limits = pairs(max_drop, "max_drop", "{'accuracy': 0.01}") or None
    sure = None if confidence is None else number(confidence, "confidence")
    with ExitStack() as stack:
        options = replace(options, data=stack.enter_context(spec_for_now(data)))
        observer = stack.enter_context(observing(progress))
        return run_beside(model, plan.intact() if isinstance(plan, Plan) else plan, options, limits, sure, observer)
