"""What the stages give back: records, for the report, for `--json`, for people who call the library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxsens.model import Inventory, Model
from onnxsens.plan.verification import Verdict
from onnxsens.scan import Pick, Point


@dataclass(frozen=True)
class Inspection:
    """What is in a model file.

    Attributes:
        macs: per sample and weight; empty where the model could not be run.
        macs_note: why they are missing, or on what shapes they were counted.
    """

    model: Model
    inventory: Inventory
    macs: Mapping[str, int]
    macs_note: str


@dataclass(frozen=True)
class ScanResult:
    """Points of a scan, and what each search picked, by search and weight.

    Attributes:
        effects: whether zeroing a whole weight changes any output.
        failures: weights with a point that could not be measured, and why.
        tolerance: on the search metric; None where searches ran without one.
    """

    points: Sequence[Point]
    picks: Mapping[str, Mapping[str, Pick]]
    effects: Mapping[str, bool]
    failures: Mapping[str, str]
    search_metric: str
    tolerance: float | None


@dataclass(frozen=True)
class Applied:
    """A pruned model was written."""

    path: Path
    changed: Sequence[str]
    zeros: int
    parameters: int


@dataclass(frozen=True)
class Verification:
    """A plan on given samples, beside the dense model.

    Attributes:
        split: `holdout` where the samples are those the plan was made with, else `all`.
    """

    verdicts: Mapping[str, Verdict]
    failures: Mapping[str, str]
    split: str
    samples: int

    @property
    def holds(self) -> bool:
        """Whether every limit is kept."""
        return not self.failures and all(verdict.holds for verdict in self.verdicts.values())


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from scratch: evaluations of a point, joint runs, and seconds of both."""

    weights: int
    points: int
    joint_runs: int
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """What is installed, which providers start (or why not), and what is wrong."""

    python: str
    platform: str
    versions: Mapping[str, str]
    providers: Mapping[str, str]
    problems: Sequence[str]
