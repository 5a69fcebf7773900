"""Runs of any size that were never run: records of a random network, so that pages can be laid out and weighed."""

from math import prod
from typing import Any

import numpy as np

from onnxsens.plan.front import Front, FrontPoint
from onnxsens.plan.planfile import (
    Alternative,
    Choice,
    DataSource,
    Difference,
    Generator,
    MetricQuality,
    ModelSource,
    Objective,
    Plan,
    PlannedWeight,
    Proposal,
    Quality,
    SkippedParameters,
    Source,
    Totals,
)
from onnxsens.results import BUDGET, CurvePoint, MeasuredCurve, RunRecord

OPERATORS = ("Conv", "MatMul", "Gemm", "ConvTranspose", "GRU", "Gather", "LSTM", "Einsum", "QLinearConv")
PICKERS = ("sweet-spotter", "top-down", "blend", "knapsack", "evolution", "uniform", "erk", "lamp")
BASELINES = {"uniform", "erk", "lamp"}
GRID = tuple(step / 40 for step in range(41))
COMMAND = ("onnxsens", "auto", "made up.onnx", "-d", "samples.npz")


def difference(drop: float) -> Difference:
    return Difference(drop=drop, low=drop - 0.004, high=drop + 0.005)


def made_run(layers: int, seed: int = 0, *, points: int = 6, levels: str = "sparsity", front: bool = True) -> RunRecord:
    """A run of so many weights, the same for the same seed.

    Args:
        points: measured of each weight, by each of two metrics.
        levels: the plan's kind of level.
    """
    rng = np.random.default_rng(seed)
    names = [f"/model/layers.{number}/block/{OPERATORS[number % 3].lower()}/weight" for number in range(layers)]
    hard = rng.uniform(0.5, 3.5, layers)  # the larger, the later it hurts

    def drop(number: int, level: float) -> float:
        return float(2 * level ** (2 * hard[number]) * (1 + 0.1 * np.sin(9 * level + number)))

    weights = [planned(names[number], number, rng, levels) for number in range(layers)]
    curves = [
        MeasuredCurve(
            name,
            technique,
            metric,
            tuple(
                point(float(level), factor * drop(number, float(level)) + float(rng.normal(0, 0.004)))
                for level in np.sort(rng.uniform(0.1, 1, points))
            ),
        )
        for number, name in enumerate(names)
        for technique, metric, factor in (
            ("obs+obs", "accuracy", 0.3),
            ("obs+obs", "kl", 1.0),
            *((("random@0", "kl", 1.6),) if number % 4 == 0 else ()),
        )
    ]
    size = sum(prod(weight.shape) for weight in weights)
    zeros = sum(weight.zeros for weight in weights)
    return RunRecord(
        "made up.onnx",
        "onnxsens 1.0",
        plan_of(weights, size, zeros, levels),
        curves,
        {names[-1]: "the run was killed for memory at 90 %"},
        (),
        front=front_of(names, rng) if front else None,
        predicted={
            name: tuple((level, drop(number, level)) for level in GRID)
            for number, name in enumerate(names)
            if number % 7 != 3
        },
        foretold={name: ((0.5, drop(number, 0.5), 1.1 * drop(number, 0.5)),) for number, name in enumerate(names)},
        effects=dict.fromkeys(names, "effective"),
        dense={"accuracy": 0.91, "kl": 0.0},
        technique="obs+obs",
        search_metric="kl",
        command=(*COMMAND, "--max-drop", "accuracy=0.01", "-o", "out/"),
        budget_command=(*COMMAND, "--sparsity", BUDGET, "-o", "out/"),
    )


def point(level: float, drop: float) -> CurvePoint:
    return CurvePoint(level, drop, drop - 0.01, drop + 0.01, 512)


def planned(name: str, number: int, rng: np.random.Generator, levels: str) -> PlannedWeight:
    shape = [int(2 ** rng.integers(3, 9)), int(2 ** rng.integers(3, 9)), *([3, 3] if number % 3 == 0 else [])]
    level = float(rng.uniform(0.05, 0.98))
    zeros = round(prod(shape) * level) if levels == "sparsity" else 7
    return PlannedWeight(
        name=name,
        op=OPERATORS[0] if number % 3 == 0 else OPERATORS[int(rng.integers(1, len(OPERATORS)))],
        shape=shape,
        dtype="float32",
        encoding="initializer",
        level=level,
        sparsity=zeros / prod(shape),
        zeros=zeros,
        pattern="unstructured" if levels == "sparsity" else None,
        macs=1000,
        effect="effective",
        picks={picker: float(np.clip(level + rng.normal(0, 0.08), 0, 1)) for picker in PICKERS},
        failure="the run was killed for memory at 90 %" if number == 5 else None,
        sha256="0" * 64,
        setting=4.0 if levels == "bits" else None,
        source=Source(parameters=[f"layers.{number}.weight"], transform="transposed", confidence="exact"),
    )


def metric(unit: str, drop: float, limit: float | None, predicted: float | None) -> MetricQuality:
    return MetricQuality(
        unit=unit, higher_is_better=unit == "fraction", dense=0.91, pruned=0.91 - drop, drop=drop, low=drop - 0.004,
        high=drop + 0.005, bound=drop + 0.004, limit=limit, search_drop=drop * 0.9, predicted_drop=predicted,
    )  # fmt: skip


def plan_of(weights: list[PlannedWeight], size: int, zeros: int, levels: str) -> Plan:
    made: dict[str, Any] = {
        "objective": Objective(
            kind="max-drop", max_drop={"accuracy": 0.01}, sparsity=None, confidence=0.95, search_metric="kl",
            target=None,
        ),
        "totals": Totals(
            parameters=size, zeros=zeros, sparsity=zeros / size, macs_dense=10**9, macs_nonzero=4 * 10**8,
            bytes_dense=4 * size, bytes_zlib_dense=int(3.7 * size), bytes_zlib_pruned=size,
        ),
        "quality": Quality(
            samples=5000,
            looks=1,
            verified=True,
            metrics={"accuracy": metric("fraction", 0.003, 0.01, None), "kl": metric("nats", 0.02, None, 0.3)},
            failures={},
        ),
        "choice": Choice(
            picker=PICKERS[0],
            exact=False,
            proposals=[
                Proposal(
                    picker=picker, baseline=picker in BASELINES, sparsity=0.8, samples=2048,
                    drops={"accuracy": 0.003 * number, "kl": 0.01 * (number + 1)}, gap=0.001 if number == 3 else None,
                )
                for number, picker in enumerate(PICKERS)
            ],
            disagreement=0.03,
            points=100,
            joint_runs=50,
        ),
    }  # fmt: skip
    return Plan(
        schema="onnxsens.plan/1",
        generator=Generator(name="onnxsens", version="1", onnx="1", onnxruntime="1", numpy="2", provider="CPU"),
        model=ModelSource(file="made up.onnx", sha256="0" * 64, parameters=size + 7),
        data=DataSource(sha256="0" * 64, samples=10000, search=5000, holdout=5000, seed=0, scan_samples=2000),
        technique="obs",
        level_kind=levels,
        weights=weights,
        skipped=[
            SkippedParameters(name="b", shape=[7], dtype="float32", tensors=1, parameters=7, reason="a vector"),
        ],
        changed=[weight.name for weight in weights],
        update="reconstruct",
        updates=[
            Alternative(name=name, sparsity=0.8, metrics={"accuracy": difference(drop), "kl": difference(3 * drop)})
            for name, drop in (("none", 0.4), ("bias", 0.3), ("reconstruct", 0.003))
        ],
        baselines=[
            Alternative(name=name, sparsity=0.8, metrics={"accuracy": difference(0.5), "kl": difference(2.0)})
            for name in (("uniform", "erk", "lamp") if levels == "sparsity" else ())  # as plans have them
        ],
        steps=[
            Alternative(name=f"step {step}", sparsity=step / 4, metrics={"accuracy": difference(0.001 * step)})
            for step in (1, 2, 3)
        ],
        hurts_after=2,
        **made,
    )


def front_of(names: list[str], rng: np.random.Generator) -> Front:
    shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    return Front(
        schema="onnxsens.pareto/1",
        metric="kl",
        points=[
            FrontPoint(
                picker=PICKERS[number % 5],
                sparsity=share,
                samples=2048,
                drops={"accuracy": share**6 / 3, "kl": share**6},
                on_front=number != 4,
                levels={name: float(np.clip(share + rng.normal(0, 0.1), 0, 1)) for name in names},
            )
            for number, share in enumerate(shares)
        ],
    )
