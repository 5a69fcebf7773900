"""A run folder: what it was made with, opened for work, and what in it is ours to overwrite."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from onnxsens.engine.carrying import variants_in
from onnxsens.engine.prediction import Unpredicted
from onnxsens.errors import DataError, InputError, MetricError, StorageError, UsageError
from onnxsens.files import claim, prepare_directory, sha256_of
from onnxsens.leftovers import remove_stale
from onnxsens.model import Inventory, Weight
from onnxsens.model.choosing import fitting
from onnxsens.options import Options
from onnxsens.plan.planfile import DataSource, Generator
from onnxsens.scan import Curve, Joint, Point, Scanner, Store
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.searches import PROBE_LEVEL, Acceptance, Pick, Search
from onnxsens.scan.settings import read_settings
from onnxsens.scan.store import UNFINISHED
from onnxsens.usercode import is_code
from onnxsens.workbench import Workbench

PREDICTED_LEVELS = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.98)


def refuse_foreign(folder: Path, names: Sequence[str], written: Mapping[str, str], *, force: bool) -> None:
    """Do not overwrite what this run has not written, or what was changed since.

    Args:
        written: name to SHA-256 of what the run wrote.

    Raises:
        StorageError: there is such a file, and `force` is off.
    """
    for name in names:
        path = folder / name
        own = path.is_file() and not path.is_symlink() and written.get(name) in (UNFINISHED, sha256_of(path))
        if path.exists() and not own:
            if name in written and not force:
                raise StorageError(f"'{path}' was changed since this run wrote it; move it away, or give --force")
            claim(path, force=force)


def resumed_options(
    folder: Path,
    model: Path | None,
    data: str | None,
    goal_metrics: tuple[str, ...],
    custom_op_libs: tuple[str, ...] = (),
) -> tuple[Path, Options]:
    """Model and options of the run in `folder`, or what is given instead.

    Raises:
        UsageError: the run used code of the user's that is not named again; a store never starts code by itself.
    """
    settings = dict(read_settings(folder))
    known = settings.pop("model", None)
    if model is None and not isinstance(known, str):
        raise InputError("the run does not say where its model is; give it with --model")
    path = Path(model or str(known))
    options = Options.from_settings(settings)
    if data is not None:
        options = replace(options, data=data)
    elif is_code(options.data):
        raise UsageError(f"the run's samples come from code, '{options.data}'; name it again with --data")
    if options.custom_op_libs and not custom_op_libs:
        raise UsageError(f"the run's operators come from '{options.custom_op_libs[0]}'; name it with --custom-op-lib")
    options = replace(options, custom_op_libs=custom_op_libs)
    named = [metric for metric in (*options.metrics, options.search_metric or "") if metric not in goal_metrics]
    code = next((metric for metric in named if is_code(metric)), None)
    if code is not None:
        raise UsageError(f"the run's metric '{code}' is code; run 'onnxsens auto' again and name it with --metric")
    return path, options


def refuse_empty_holdout(bench: Workbench) -> None:
    """A plan has to be checked on something.

    Raises:
        DataError: there is no hold-out split.
    """
    if bench.sizes["holdout"] == 0:
        raise DataError("there are no hold-out samples to check a plan on; give --holdout above 0, and more samples")


def open_run(bench: Workbench, folder: Path) -> Store:
    """The run folder, created where needed and shown to be writable."""
    if bench.options.search_metric is None:
        bench.observer.note(f"searches look at {bench.search_metric}: it needs no labels, and falls without steps")
    prepare_directory(folder)
    remove_stale([folder, variants_in(folder)])
    return bench.open_store(folder)


def expected_seconds(bench: Workbench, levels: int, share: float) -> float:
    """What points take in one process, roughly: a pruned weight is half of the way down, so half of a run.

    Args:
        levels: of each weight.
        share: of all points on all scan samples, that will be measured.
    """
    samples = min(bench.options.scan_samples, bench.sizes["search"])
    return len(bench.inventory.weights) * levels * samples * share * bench.seconds_per_sample / 2


def repeat_dense(bench: Workbench, scanner: Scanner) -> dict[str, float]:
    """Run the dense model twice; the drop of the second run, by metric: 0 unless the model is not deterministic."""
    scanner.observer.stage("dense model", 1)
    again = scanner.joint({}, "search", scanner.metrics, not_a_bit_differs)
    if again.failures:
        name, failure = next(iter(again.failures.items()))
        raise MetricError(f"the dense model itself cannot be measured by '{name}': {failure}")
    noise = {name: abs(measured.drop) + 2 * measured.standard_error for name, measured in again.measurements.items()}
    if any(noise.values()):
        text = ", ".join(f"{name} {value:.2g}" for name, value in noise.items())
        bench.observer.note(f"the model is not deterministic; two dense runs differ by about {text}")
    return noise


def predict_curves(bench: Workbench, store: Store, scanner: Scanner) -> dict[str, str]:
    """Let the scanner's curves of the search metric follow predicted shapes, from the store or one calibration pass.

    Returns:
        Weights that go without, and why.
    """
    technique = scanner.technique
    curves, without = store.predictions(technique.name)
    if not curves and not without:
        started = time.perf_counter()
        for found in bench.native.predictions(technique.name, PREDICTED_LEVELS):
            if isinstance(found, Unpredicted):
                without[found.weight] = found.reason
            else:
                size = bench.inventory.weight(found.weight).size
                errors = dict(zip(found.steps, found.errors, strict=True))  # levels of a small weight may be one
                curves[found.weight] = PredictedCurve(found.weight, size, tuple(errors), tuple(errors.values()))
        store.put_predictions(technique.name, curves, without)
        bench.observer.evaluated("calibration", time.perf_counter() - started)
    scanner.predict(curves, bench.search_metric)
    return without


def search_from_predictions(
    scanner: Scanner, weights: Sequence[Weight], search: Search, accepts: Acceptance | None, metric: str
) -> dict[str, Pick]:
    """One search on every weight; where there is a prediction, a point sets its scale and it says where to begin.

    Not with `exact`: predictions that are there to be shown then decide nothing.
    """
    own = {weight.name: search for weight in weights}
    if accepts is not None and not scanner.sampling.exact and search.starting_at(0.5) != search:
        predicted = [weight for weight in weights if scanner.curve(weight, metric).shape]
        enough = scanner.sampling.settles_scale(metric)
        scanner.points_at({weight.name: (PROBE_LEVEL,) for weight in predicted}, enough)
        for weight in predicted:
            curve = scanner.curve(weight, metric)
            if curve.predicts:
                own[weight.name] = search.starting_at(curve.crossing(accepts))
    return scanner.search_all(own, {weight.name: accepts for weight in weights}, metric)


def predicted_beside(scanner: Scanner, weights: Sequence[Weight], metric: str) -> dict[str, Curve]:
    """What is predicted of weights that were measured, each scaled by its one point that is nearest to the middle."""
    found = {}
    for weight in weights:
        curve = scanner.curve(weight, metric)
        telling = [point for point in curve.known if 0 < point.level < 1 and point.drop > 0]
        if curve.shape and telling:
            anchor = min(telling, key=lambda point: abs(point.level - PROBE_LEVEL))
            found[weight.name] = replace(curve, points=(curve.known[0], anchor))
    return found


def not_a_bit_differs(again: Joint) -> bool:
    """Whether two dense runs agree so far; a model that draws random numbers differs in the first samples already."""
    return not any(measured.squares for measured in again.measurements.values())


def generator(bench: Workbench) -> Generator:
    """What makes this plan."""
    return Generator(
        name="onnxsens",
        version=version("onnxsens"),
        onnx=version("onnx"),
        onnxruntime=bench.facts.onnxruntime,
        numpy=np.__version__,
        provider=bench.facts.provider,
    )


def data_source(bench: Workbench, scanner: Scanner) -> DataSource:
    """What the plan was made on."""
    return DataSource(
        sha256=bench.facts.data_sha256,
        samples=bench.facts.samples,
        search=bench.sizes["search"],
        holdout=bench.sizes["holdout"],
        seed=bench.options.seed,
        scan_samples=scanner.samples,
    )


def chosen_weights(inventory: Inventory, patterns: Sequence[str]) -> list[Weight]:
    """The weights whose name fits one of the patterns, in graph order; all where there is no pattern.

    Raises:
        UsageError: a pattern fits no weight.
    """
    chosen = {weight.name for pattern in patterns for weight in fitting(inventory.weights, pattern, "--weights")}
    return [weight for weight in inventory.weights if not patterns or weight.name in chosen]


def on_as_many(other: Point, point: Point) -> bool:
    """Whether a point has the samples of another."""
    return samples_of(point) >= samples_of(other)


def samples_of(point: Point) -> int:
    """Of the metric that has most."""
    return max((measured.samples for measured in point.measurements.values()), default=0)


def measure_control(random: Scanner, points: Sequence[Point]) -> list[Point]:
    """Random pruning at the levels of these points, but for those at which nothing or everything goes."""
    weight = random.inventory.weight
    telling = [point for point in points if weight(point.weight).zeros < point.zeros < point.size]
    random.observer.stage("control", len({(point.weight, point.zeros) for point in telling}))
    for point in telling:
        # On the samples of the point that it is compared with, which may have been stopped early.
        random.points_at({point.weight: (point.asked,)}, partial(on_as_many, point))
    return random.levels()
