"""`plan.json`: the choice with its evidence, strict in and out.

Holds no times, host names or paths, so that the same run gives the same bytes. Knows records, no engine.
"""

from pathlib import Path
from typing import Any, Final, Literal

from msgspec import field

from onnxsens.files import write_atomically
from onnxsens.plan.records import Count, Fraction, Record, Sha256, encoded, invalid, read_record, schema_of

SCHEMA: Final = "onnxsens.plan/1"
REMEDY = "it must be as onnxsens wrote it"


class Generator(Record, frozen=True, kw_only=True):
    """What made the plan."""

    name: str
    version: str
    onnx: str
    onnxruntime: str
    numpy: str
    provider: str


class ModelSource(Record, frozen=True, kw_only=True):
    """The dense model: file name without folder, SHA-256 (with external data), all parameters in the file."""

    file: str
    sha256: Sha256
    parameters: Count


class DataSource(Record, frozen=True, kw_only=True):
    """Samples, and how they were split: `default_rng(seed).permutation(samples)`, hold-out first."""

    sha256: Sha256
    samples: Count
    search: Count
    holdout: Count
    seed: int
    scan_samples: Count


class Objective(Record, frozen=True, kw_only=True):
    """What was asked for. `confidence` null: point estimates were taken for it.

    `size`: bytes of the planned weights, compressed. `macs`: those that are left, a share up to 1, else a number.
    `limits`: on single weights, as options of the command line, such as `--freeze` and then `conv1*`; also which
    pickers competed beside the usual ones, and how finely levels were looked for.
    """

    kind: Literal["max-drop", "sparsity", "size", "macs", "knee"]
    max_drop: dict[str, float]
    sparsity: float | None
    confidence: float | None
    search_metric: str
    size: Count | None = None
    macs: float | None = None
    target: str | None = None
    limits: list[str] = field(default_factory=list)


class Totals(Record, frozen=True, kw_only=True):
    """Over the planned weights; `sparsity` is zeros over their elements. Bytes are of their values as stored."""

    parameters: Count
    zeros: Count
    sparsity: Fraction
    macs_dense: Count | None
    macs_nonzero: Count | None
    bytes_dense: Count
    bytes_zlib_dense: Count
    bytes_zlib_pruned: Count


class MetricQuality(Record, frozen=True, kw_only=True):
    """One metric on the hold-out split. `drop` is positive where the pruned model is worse; `low`, `high`: its 95 %
    interval, null with too few samples for one.

    `bound` is what the drop does not exceed at the confidence of the objective and this look. `search_drop` is what the
    search split said of the same plan, `predicted_drop` what single-layer curves, measured and
    predicted, add up to; null for metrics that searches do not look at, of which too few samples are taken.
    """

    unit: str
    higher_is_better: bool
    dense: float
    pruned: float
    drop: float
    low: float | None
    high: float | None
    bound: float
    limit: float | None
    search_drop: float | None
    predicted_drop: float | None


class Quality(Record, frozen=True, kw_only=True):
    """The check on samples that were not used for choosing. `verified` is null where there is no quality goal."""

    samples: Count
    looks: Count
    verified: bool | None
    metrics: dict[str, MetricQuality]
    failures: dict[str, str]


class Proposal(Record, frozen=True, kw_only=True):
    """One picker's best plan for the goal, by its drops on samples of the search split.

    `samples`: how many; all for the chosen one, while of a plan that cannot win only a few are taken.
    `gap`: by what share the sum of its predicted losses may be above the least possible; null where none is minimised.
    """

    picker: str
    baseline: bool
    sparsity: Fraction
    samples: Count
    drops: dict[str, float]
    gap: float | None


class Difference(Record, frozen=True, kw_only=True):
    """One metric on the hold-out split; `low`, `high`: the 95 % interval of the drop, null with too few samples."""

    drop: float
    low: float | None
    high: float | None


class Alternative(Record, frozen=True, kw_only=True):
    """What else could have been done, measured on the hold-out split, where nothing was chosen by it."""

    name: str
    sparsity: Fraction
    metrics: dict[str, Difference]


class Changes(Record, frozen=True, kw_only=True):
    """The file beside the plan that has every changed tensor, by its name in the model: safetensors."""

    file: str
    sha256: Sha256


class Choice(Record, frozen=True, kw_only=True):
    """Which picker's plan this is, and what the others said.

    `disagreement`: mean distance of the members' levels, weighted by elements; 0 where they agree.
    `exact`: whether every point and joint run took all samples; else as few as told, with an error rate of 1 % each.
    `carried_out`: how often a plan was carried out as a whole, each weight fitted in its turn.
    """

    picker: str
    exact: bool
    proposals: list[Proposal]
    disagreement: float | None
    points: Count
    joint_runs: Count
    carried_out: Count = 0


class Source(Record, frozen=True, kw_only=True):
    """What a weight is called where the model came from: `map.json` has it element by element.

    `transform`: how its parameters lie in it. `confidence`: `exact` and `scaled` by the numbers of a checkpoint,
    `metadata` and `name` by what the ONNX file says.
    """

    parameters: list[str]
    transform: str
    confidence: str


class PlannedWeight(Record, frozen=True, kw_only=True):
    """One weight. `dtype`: as stored; `encoding`: how it is kept and what stands between it and its first operator,
    such as `Constant -> DequantizeLinear`. `picks`: what each picker proposed.

    `effect`: whether zeroing all of it changes what the metrics read on the samples, or other outputs only; where it
    changes nothing, whether its operators run.

    `setting`: what the level comes to in the technique's own unit, such as bits. `limited`: what keeps its level in a
    range, such as an option or its shape. `not_updated`: why its kept elements are as they were, where the plan's
    others are updated. `source`: what it is called in the framework that it came from, where that is certain.
    """

    name: str
    op: str
    shape: list[Count]
    dtype: str
    encoding: str
    level: Fraction
    sparsity: Fraction
    zeros: Count
    pattern: str | None
    macs: Count | None
    effect: Literal["effective", "other outputs", "no effect", "not executed", "not measured"]
    picks: dict[str, float]
    failure: str | None
    sha256: Sha256
    setting: float | None = None
    limited: str | None = None
    not_updated: str | None = None
    source: Source | None = None


class SkippedParameters(Record, frozen=True, kw_only=True):
    """Stored parameters that are not planned, and why: one tensor, or a row of small ones."""

    name: str
    shape: list[Count]
    dtype: str
    tensors: Count
    parameters: Count
    reason: str


class Plan(Record, frozen=True, kw_only=True):
    """A sparsity plan: planned and skipped parameters add up to all parameters of the model file.

    `update`: what was done to kept elements, on the last `calibration` samples of the search split; with one, the
    changed tensors are in the file `changes`. `updates`: the same levels with milder updates. `baselines`: magnitude
    pruning by known rules at the same sparsity, nothing updated. `steps`: of iterative pruning, in order;
    `hurts_after`: after so many of them quality falls for certain, null where it never does.
    """

    schema: Literal["onnxsens.plan/1"]
    generator: Generator
    model: ModelSource
    data: DataSource
    technique: str
    level_kind: str
    objective: Objective
    totals: Totals
    quality: Quality
    choice: Choice
    weights: list[PlannedWeight]
    skipped: list[SkippedParameters]
    changed: list[str]
    update: str = "none"
    calibration: Count = 0
    changes: Changes | None = None
    updates: list[Alternative] = field(default_factory=list)
    steps: list[Alternative] = field(default_factory=list)
    hurts_after: Count | None = None
    baselines: list[Alternative] = field(default_factory=list)


def encode(plan: Plan) -> bytes:
    """The file's bytes."""
    return encoded(plan)


def write_plan(plan: Plan, path: Path) -> None:
    """Put the plan at `path`, complete or not at all."""
    write_atomically(path, [encode(plan)])


def read_plan(path: str | Path) -> Plan:
    """Read a plan, refusing whatever the schema does not know.

    Raises:
        PlanError: missing, unreadable, not JSON, another schema, or inconsistent.
    """
    path = Path(path)
    plan = read_record(path, Plan, SCHEMA, "plan", REMEDY, absent="check the path")
    refuse_inconsistent(plan, path)
    return plan


def refuse_inconsistent(plan: Plan, path: Path) -> None:
    """What a schema cannot say: names unique, zeros within sizes, parameters adding up."""
    names = [weight.name for weight in plan.weights]
    total = plan.totals.parameters + sum(row.parameters for row in plan.skipped)
    reason = None
    if len(set(names)) != len(names):
        reason = "it plans a weight twice"
    elif any(weight.zeros > size_of(weight) for weight in plan.weights):
        reason = "it zeroes more elements than a weight has"
    elif sum(size_of(weight) for weight in plan.weights) != plan.totals.parameters or total != plan.model.parameters:
        reason = "its parameters do not add up"
    elif sum(weight.zeros for weight in plan.weights) != plan.totals.zeros:
        reason = "its zeros do not add up"
    if reason:
        raise invalid(path, "plan", reason, REMEDY)


def size_of(weight: PlannedWeight) -> int:
    """Elements of a planned weight."""
    size = 1
    for dim in weight.shape:
        size *= dim
    return size


def json_schema() -> dict[str, Any]:
    """JSON Schema of a plan; shipped as `docs/plan.schema.json`."""
    return schema_of(Plan, SCHEMA)
