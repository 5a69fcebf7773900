"""A run folder: what it was made with, opened for work, and what in it is ours to overwrite."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

import numpy as np

from onnxsens.errors import MetricError, StorageError, UsageError
from onnxsens.files import claim, prepare_directory, sha256_of
from onnxsens.model import Inventory, Weight
from onnxsens.plan.planfile import DataSource, Generator
from onnxsens.scan import Point, Scanner, Store
from onnxsens.scan.settings import read_settings
from onnxsens.usercode import is_code
from onnxsens.workbench import Options, Workbench, runtime_version


def refuse_foreign(folder: Path, names: Sequence[str], written: Mapping[str, str], *, force: bool) -> None:
    """Do not overwrite what this run has not written, or what was changed since.

    Args:
        written: name to SHA-256 of what the run wrote.

    Raises:
        StorageError: there is such a file, and `force` is off.
    """
    for name in names:
        path = folder / name
        if path.exists() and not (path.is_file() and written.get(name) == sha256_of(path)):
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
    path = Path(model or settings.pop("model"))
    settings.pop("model", None)
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


def open_run(bench: Workbench, folder: Path) -> Store:
    """The run folder, created where needed and shown to be writable."""
    if bench.options.search_metric is None:
        bench.observer.note(f"searches look at {bench.search_metric}: it needs no labels, and falls without steps")
    prepare_directory(folder)
    return bench.open_store(folder)


def repeat_dense(bench: Workbench, scanner: Scanner) -> dict[str, float]:
    """Run the dense model twice; the drop of the second run, by metric: 0 unless the model is not deterministic."""
    scanner.observer.stage("dense model", 1)
    again = scanner.joint({}, "search", scanner.metrics)
    if again.failures:
        name, failure = next(iter(again.failures.items()))
        raise MetricError(f"the dense model itself cannot be measured by '{name}': {failure}")
    noise = {name: abs(measured.drop) + 2 * measured.standard_error for name, measured in again.measurements.items()}
    if any(noise.values()):
        text = ", ".join(f"{name} {value:.2g}" for name, value in noise.items())
        bench.observer.note(f"the model is not deterministic; two dense runs differ by about {text}")
    return noise


def generator(bench: Workbench) -> Generator:
    """What makes this plan."""
    return Generator(
        name="onnxsens",
        version=version("onnxsens"),
        onnx=version("onnx"),
        onnxruntime=runtime_version(),
        numpy=np.__version__,
        provider=bench.provider.name,
    )


def data_source(bench: Workbench, scanner: Scanner) -> DataSource:
    """What the plan was made on."""
    return DataSource(
        sha256=bench.dataset.fingerprint(),
        samples=len(bench.dataset),
        search=bench.sizes["search"],
        holdout=bench.sizes["holdout"],
        seed=bench.options.seed,
        scan_samples=scanner.samples_taken,
    )


def chosen_weights(inventory: Inventory, patterns: Sequence[str]) -> list[Weight]:
    """The weights whose name fits one of the patterns, in graph order; all where there is no pattern.

    Raises:
        UsageError: a pattern fits no weight.
    """
    names = [weight.name for weight in inventory.weights]
    for pattern in patterns:
        if not any(fits(name, pattern) for name in names):
            near = get_close_matches(pattern, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "'onnxsens inspect' lists them"
            raise UsageError(f"--weights '{pattern}' fits no weight of the model; {hint}")
    return [
        weight
        for weight in inventory.weights
        if not patterns or any(fits(weight.name, pattern) for pattern in patterns)
    ]


def fits(name: str, pattern: str) -> bool:
    """Whether it is the pattern itself, brackets and all, or one that the pattern stands for."""
    return name == pattern or fnmatchcase(name, pattern)


def measure_control(random: Scanner, points: Sequence[Point]) -> list[Point]:
    """Random pruning at the levels of these points, but for those at which nothing or everything goes."""
    weight = random.inventory.weight
    telling = [point for point in points if weight(point.weight).zeros < point.zeros < point.size]
    random.observer.stage("control", len({(point.weight, point.zeros) for point in telling}))
    for point in telling:
        random.point(weight(point.weight), point.asked)
    return random.levels()
