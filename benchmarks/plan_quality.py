"""What plans are worth: hold-out drops of known rules, and of ours without and with an update, at equal sparsities.

    python -m benchmarks.plan_quality fashion_cnn fashion_resnet fashion_vgg
    python -m benchmarks.plan_quality jv_transformer jv_lstm jv_gru --splits 5

Rules are magnitude pruning with nothing updated: uniform, ERK, LAMP, and Top-Down with one tolerance for all weights.
With `--limit` also the sparsity that each reaches at a verified drop in accuracy. README.md explains every figure.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.cases import MODELS, SHIPPED
from onnxsens.errors import GoalError
from onnxsens.options import Options
from onnxsens.plan import Goal, Planner, Task
from onnxsens.plan.ensemble import Ensemble
from onnxsens.plan.pickers import Ground
from onnxsens.planning import make_plan
from onnxsens.runs import open_run, predict_curves
from onnxsens.workbench import Workbench

RULES = ("uniform", "erk", "lamp", "one-tolerance")
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
OURS = {"none": "ours, no update", "reconstruct": "ours, reconstruct"}


@dataclass(frozen=True)
class Row:
    """One plan on the hold-out split.

    Attributes:
        drop: of accuracy; kl: in nats, against the dense model.
        picker: of ours.
    """

    model: str
    seed: int
    method: str
    sparsity: float
    drop: float
    kl: float
    picker: str
    seconds: float


def rows_of(
    name: str, options: Options, levels: Sequence[float], folder: Path, updates: Sequence[str]
) -> Iterator[Row]:
    """Every method at every level."""
    yield from rules(name, options, levels, folder / "rules")
    for update in updates:
        own, label = replace(options, update=update), OURS[update]
        for level in levels:
            started = time.perf_counter()
            made = make_plan(
                MODELS / f"{name}.onnx", own, folder / update, Goal(sparsity=level), None, 0.05, 0.01, (), True
            )
            quality = made.quality.metrics
            yield Row(
                name,
                options.seed,
                label,
                made.totals.sparsity,
                quality["accuracy"].drop,
                quality["kl"].drop,
                made.choice.picker,
                time.perf_counter() - started,
            )


def rules(name: str, options: Options, levels: Sequence[float], folder: Path) -> Iterator[Row]:
    """Plans of known rules."""
    with Workbench(MODELS / f"{name}.onnx", replace(options, update="none")) as bench:
        task, ensemble = prepared(bench, folder)
        for rule in RULES:
            for level in levels:
                started = time.perf_counter()
                chosen = ensemble.levels_at(rule, level)
                if chosen is None:
                    continue
                joint = task.scanner.joint(chosen, "holdout", task.scanner.metrics)
                found = joint.measurements
                seconds = time.perf_counter() - started
                yield Row(
                    name, options.seed, rule, joint.sparsity, found["accuracy"].drop, found["kl"].drop, rule, seconds
                )


def prepared(bench: Workbench, folder: Path, names: Sequence[str] = RULES) -> tuple[Task, Ensemble]:
    """A task, and pickers on its ground that are asked for levels only."""
    store = open_run(bench, folder)
    scanner = bench.scanner(store)
    effects = scanner.look_for_effects()
    predict_curves(bench, store, scanner)
    task = Task(scanner, bench.model, bench.metrics, bench.binary, bench.search_metric, Goal(), effects)
    ground = Ground(scanner, task.live, task.matrix, task.search_metric, 0.05, 0.01)

    def measure(levels: Mapping[str, float], accepts: object = None, most: int | None = None) -> object:
        return scanner.joint(levels, "search", scanner.metrics, most=most)

    return task, Ensemble(ground, measure, lambda plans, metric: [], names)  # type: ignore[arg-type]  # never asked


def reached(name: str, options: Options, limit: float, folder: Path) -> Iterator[tuple[str, float, float, bool | None]]:
    """Method, sparsity, hold-out drop, and whether it is verified, for a limit on the drop in accuracy."""
    goal = Goal(max_drop={"accuracy": limit})
    with Workbench(MODELS / f"{name}.onnx", replace(options, update="none"), ("accuracy",)) as bench:
        task, _ = prepared(bench, folder / "limit-rules")
        for rule in RULES:
            planner = Planner(replace(task, goal=goal), 0.05, 0.01, (rule,))
            try:
                chosen = planner.choose()
            except GoalError:
                yield rule, 0.0, 0.0, None
                continue
            yield rule, chosen.best.sparsity, chosen.verdicts["accuracy"].measurement.drop, chosen.verified
    for update, label in OURS.items():
        own = replace(options, update=update)
        made = make_plan(MODELS / f"{name}.onnx", own, folder / f"limit-{update}", goal, None, 0.05, 0.01, (), True)
        yield label, made.totals.sparsity, made.quality.metrics["accuracy"].drop, made.quality.verified


def table(rows: Sequence[Row], levels: Sequence[float]) -> str:
    """Markdown: a line a model and method, a column a level; over several splits the mean and the least and most."""
    lines = [
        "| model | method | " + " | ".join(f"{level:.0%}" for level in levels) + " |",
        "|---|---|" + "---|" * len(levels),
    ]
    keys = dict.fromkeys((row.model, row.method) for row in rows)
    for model, method in keys:
        cells = []
        for level in levels:
            found = [
                row for row in rows if (row.model, row.method) == (model, method) and abs(row.sparsity - level) < 0.01
            ]
            cells.append(cell([100 * row.drop for row in found], [row.kl for row in found]))
        lines.append(f"| {model} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(drops: Sequence[float], kls: Sequence[float]) -> str:
    """Points of accuracy, and KL."""
    if not drops:
        return "-"
    spread = f" ({min(drops):.1f} to {max(drops):.1f})" if len(drops) > 1 else ""
    return f"{statistics.fmean(drops):.1f}{spread}; KL {statistics.fmean(kls):.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The table, and the rows as JSON lines where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_quality", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=[name for name in SHIPPED if name != "jv_gru1_loop"])
    parser.add_argument("--levels", type=float, nargs="+", default=list(LEVELS))
    parser.add_argument("--splits", type=int, default=1, help="seeds 0, 1, ... of the split")
    parser.add_argument("--limit", type=float, help="also the sparsity reached at this verified drop in accuracy")
    parser.add_argument("--updates", nargs="+", choices=list(OURS), default=list(OURS), help="of our own plans")
    parser.add_argument("--rows", type=Path, help="a file for all rows, JSON lines")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    limits = []
    with tempfile.TemporaryDirectory(prefix="onnxsens-quality-") as folder:
        for name in given.models:
            for seed in range(given.splits):
                options = replace(SHIPPED[name], seed=seed, metrics=("accuracy",))
                own = Path(folder) / f"{name}-{seed}"
                own.mkdir()
                for row in rows_of(name, options, given.levels, own, given.updates):
                    rows.append(row)
                    if given.rows:
                        with given.rows.open("a") as file:
                            file.write(json.dumps(asdict(row)) + "\n")
                if given.limit:
                    limits += [(name, *found) for found in reached(name, options, given.limit, own)]
    print(table(rows, given.levels))
    for name, method, sparsity, drop, verified in limits:
        print(f"{name}, drop {given.limit:g}: {method} {sparsity:.1%} (drop {drop:.4f}, verified {verified})")


if __name__ == "__main__":
    main()
