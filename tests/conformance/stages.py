"""What is done to one model: inspected, run plainly, scanned, planned, applied, reloaded, held against the oracle.

Each stage ends as `ok` or with a reason on one line. What the tool refuses in its own words is a reason; everything
else that goes wrong is trouble, and makes the sweep fail.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxsens import Goal, Grid, OnnxsensError, Options, api
from onnxsens.plan import planner
from onnxsens.plan.ensemble import Ensemble
from tests.conformance.cases import Case, load_arrays
from tests.conformance.counting import stored_elements
from tests.conformance.oracle import judge, same
from tests.conformance.slots import stored_weights

OK = "ok"
STAGES = ("inspected", "runs", "scanned", "planned", "applied", "reloaded", "oracle")
TOOL_STAGES = frozenset({"inspected", "scanned", "planned", "applied"})
LEVELS = (0.5, 0.9)
SPARSITY = 0.5

# Searches measure some thirty points a weight. Beyond this, plans are made by the one picker that needs no curves.
MANY_WEIGHTS = 12
MANY_ELEMENTS = 1_000_000

Row = dict[str, Any]
Outputs = list[list[Any]]


def sweep(case: Case, scratch: Path, tell: Callable[[str], None]) -> Row:
    """One row of the report.

    Args:
        scratch: an empty folder for this case.
        tell: is told each stage before it begins, so that whoever watches knows where a process died.
    """
    row: Row = {"key": case.key, "source": case.source, "name": case.name, "notes": list(case.notes), "trouble": []}

    def stage(name: str, action: Callable[[], Any]) -> Any:
        tell(name)
        try:
            result = action()
        except OnnxsensError as error:
            row[name] = line(error)
            if error.exit_code == 1:
                row["trouble"].append(f"{name}: bug reported by the tool: {line(error)}")
            return None
        except Exception as error:  # whatever the tool or onnxruntime lets out is what the sweep is looking for
            row[name] = f"{type(error).__name__}: {line(error)}"
            if name in TOOL_STAGES or name == "oracle":
                row["trouble"].append(f"{name}: traceback {type(error).__name__}: {line(error)} ({origin(error)})")
            return None
        row[name] = OK
        return result

    model = Path(case.model)
    feeds = load_arrays(case.feeds) if case.feeds else None
    inspection = stage("inspected", lambda: api.inspect(model))
    take_account(row, case, inspection)
    dense = stage("runs", lambda: plain_outputs(model, feeds))
    if dense is not None:
        row["outputs"] = digest(dense)
    if dense is not None and case.expected:
        row["matches"] = matches(dense[0], load_arrays(case.expected), case)
    if not row["weights"]:
        return row
    options = Options(
        data=case.data,
        metrics=("dense-mse",),
        search_metric="dense-mse",
        provider="cpu",
        threads=1,
        batch_size=2,
        update="none",  # what the oracle knows is zeros
    )
    run = scratch / "run"
    scan = stage("scanned", lambda: scanned(model, options, run, row))
    if scan is None:
        return row
    made = stage("planned", lambda: planned(model, options, run, row))
    if made is None:
        return row
    out = scratch / "pruned.onnx"
    applied = stage("applied", lambda: api.apply(model, run / "plan.json", out))
    if applied is None:
        return row
    pruned = stage("reloaded", lambda: plain_outputs(out, feeds))
    if pruned is None and row.get("runs") == OK:
        row["trouble"].append(f"reloaded: the dense model runs and the pruned one does not: {row['reloaded']}")
    zeros = {weight.name: weight.zeros for weight in made.weights}
    stage("oracle", lambda: hold_against(row, model, out, zeros, scratch / "oracle.onnx", feeds, pruned))
    return row


def take_account(row: Row, case: Case, inspection: Any) -> None:
    """Parameters and weights as the tool finds them, beside what is found straight in the file."""
    counted = stored_elements(Path(case.model))
    row["counted"] = counted
    row["stores"] = stored_weights(onnx.load(case.model, load_external_data=False).graph)
    row["weights"] = 0
    if inspection is None:
        if "nothing to prune" in row["inspected"]:
            row["inspected"] = OK  # a fine answer
        return
    inventory = inspection.inventory
    row["weights"] = len(inventory.weights)
    row["planned_parameters"] = inventory.planned_parameters
    row["skipped_parameters"] = sum(skipped.parameters for skipped in inventory.skipped)
    row["skipped"] = {skipped.name: skipped.reason for skipped in inventory.skipped}
    total = row["planned_parameters"] + row["skipped_parameters"]
    if total != sum(counted.values()):
        kinds = ", ".join(f"{number} in {kind}" for kind, number in counted.items())
        row["trouble"].append(
            f"account: planned {row['planned_parameters']} + skipped {row['skipped_parameters']} = {total}, "
            f"and the file holds {sum(counted.values())} ({kinds})"
        )


def scanned(model: Path, options: Options, run: Path, row: Row) -> Any:
    """Every weight at two levels.

    Raises:
        OnnxsensError: also where a weight has a point that could not be measured.
    """
    result = api.scan(model, options, run, {"grid": Grid(levels=LEVELS)})
    row["without_effect"] = [name for name, effect in result.effects.items() if effect != "effective"]
    row["curves"] = [
        [point.weight, point.asked, point.zeros, measured.drop]
        for point in result.points
        for measured in point.measurements.values()
    ]
    for name, failure in result.failures.items():
        raise NotMeasuredError(f"weight '{name}' could not be measured: {failure}")
    return result


class NotMeasuredError(OnnxsensError):
    """A scan finished, but not for all weights."""

    exit_code = 7


def planned(model: Path, options: Options, run: Path, row: Row) -> Any:
    """A plan at half the elements of those weights that have an effect; the others are left dense."""
    sizes = {weight.name: weight.size for weight in api.inspect(model).inventory.weights}
    live = sum(size for name, size in sizes.items() if name not in row["without_effect"])
    goal = Goal(sparsity=SPARSITY * (live or 1) / sum(sizes.values()))
    large = row["weights"] > MANY_WEIGHTS or row["planned_parameters"] > MANY_ELEMENTS
    if not large:
        return api.plan(model, options, run, goal)
    row["notes"].append("planned by the uniform picker alone")
    everyone = planner.Ensemble
    planner.Ensemble = partial(Ensemble, members=("uniform",))  # there is no option for it
    try:
        return api.plan(model, options, run, goal)
    finally:
        planner.Ensemble = everyone


def hold_against(
    row: Row, model: Path, out: Path, zeros: Mapping[str, int], oracle: Path, feeds: Any, pruned: Outputs | None
) -> None:
    """The written file beside the oracle's, as stored and as run."""
    complaints = judge(model, out, zeros, oracle)
    if pruned is not None:
        own = plain_outputs(oracle, feeds)
        if not same(own, pruned):
            again = same(plain_outputs(oracle, feeds), own)
            if again:
                complaints.append("outputs differ from those of the oracle's model")
            else:
                row["notes"].append("not deterministic; outputs are not compared")
    row["trouble"] += [f"oracle: {complaint}" for complaint in complaints]
    if complaints:
        raise NotMeasuredError(complaints[0])


def plain_outputs(model: Path, feeds: Mapping[str, np.ndarray] | None) -> Outputs:
    """All outputs of every sample, from a session as anyone would make it.

    Raises:
        ValueError: there is nothing to feed.
    """
    import onnxruntime

    if feeds is None:
        raise ValueError("inputs are not tensors of numbers that numpy has")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}
    samples = len(next(iter(feeds.values()), [0]))
    return [
        session.run(None, {name: np.asarray(array[position]) for name, array in feeds.items() if name in taken})
        for position in range(samples)
    ]


def digest(outputs: Outputs) -> str:
    """Of all bits of all outputs; "" where one is no tensor."""
    if not all(isinstance(output, np.ndarray) for sample in outputs for output in sample):
        return ""
    summed = hashlib.sha256()
    for sample in outputs:
        for output in sample:
            summed.update(f"{output.dtype}{output.shape}".encode() + output.tobytes())
    return summed.hexdigest()


def matches(outputs: list[Any], expected: Mapping[str, np.ndarray], case: Case) -> bool:
    """Whether outputs are those that the source gives, within its tolerances."""
    wanted = [expected[str(position)] for position in range(len(expected))]
    return len(outputs) == len(wanted) and all(
        isinstance(output, np.ndarray)
        and output.shape == target.shape
        and output.dtype == target.dtype
        and np.allclose(output, target, rtol=case.rtol, atol=case.atol, equal_nan=True)
        for output, target in zip(outputs, wanted, strict=True)
    )


def line(error: BaseException) -> str:
    """An exception's text on one line, without what differs from machine to machine."""
    return " ".join(str(error).split())[:400]


def origin(error: BaseException) -> str:
    """Where it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return "nowhere"
    return f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}"


def run_case(case: Case, scratch: Path, tell: Callable[[str], None]) -> Row:
    """`sweep` in a folder that is removed afterwards."""
    folder = scratch / "work"
    folder.mkdir(parents=True)
    try:
        return sweep(case, folder, tell)
    finally:
        shutil.rmtree(folder)
