"""The command that a report shows: read by the command line itself, it asks for what the run was asked for."""

import json
from dataclasses import asdict, replace
from inspect import signature

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report_page import plan_of

import onnxsens.cli.auto
import onnxsens.cli.scan
from onnxsens.cli.building import build_guard, build_options, goal_from
from onnxsens.options import Options
from onnxsens.plan import Goal, Plan
from onnxsens.plan.constraints import Constraints
from onnxsens.plan.planfile import Objective
from onnxsens.retelling import command_of

LEVEL = st.floats(0, 1, allow_nan=False)
PATTERN = st.text("abc*/:. =<'-", min_size=1, max_size=8).filter(lambda text: not text.startswith("-"))
LIMITS = st.lists(st.tuples(PATTERN, LEVEL), max_size=2).map(tuple)
CONSTRAINTS = st.builds(
    Constraints,
    LIMITS,
    LIMITS,
    LIMITS,
    st.lists(PATTERN, max_size=2).map(tuple),
    st.sampled_from([(), ("first",), ("first", "last")]),
    st.sampled_from([(), ("Gemm",), ("Conv", "LSTM")]),
    st.integers(0, 10**6),
)
DROPS = st.dictionaries(st.sampled_from(["accuracy", "kl", "top5"]), st.floats(0, 9), min_size=1)
GOALS = st.one_of(
    st.builds(Goal, constraints=CONSTRAINTS),
    st.builds(Goal, max_drop=DROPS, confidence=st.sampled_from([None, 0.95, 0.5, 0.99]), constraints=CONSTRAINTS),
    st.builds(Goal, sparsity=st.floats(0.01, 0.99), constraints=CONSTRAINTS),
    st.builds(Goal, size=st.integers(1, 2**50)),
    st.builds(Goal, macs=st.floats(0.01, 1e12)),
    st.builds(Goal, sparsity=st.just(0.5), target=st.just("tensorrt-2to4")),
)
OPTIONS = st.builds(
    Options,
    data=st.sampled_from(["samples.npz", "random:64", "data.py:batches"]),
    scale=st.one_of(st.none(), st.floats(0.1, 300)),
    mean=st.sampled_from([None, "0.5", "0.1,0.2"]),
    dims=st.dictionaries(st.sampled_from(["N", "x:1"]), st.integers(1, 512), max_size=2),
    holdout=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**40),
    metrics=st.lists(st.sampled_from(["accuracy", "agreement", "own.py:f"]), unique=True, max_size=2).map(tuple),
    search_metric=st.sampled_from([None, "kl"]),
    output=st.sampled_from([None, "logits"]),
    class_axis=st.sampled_from([None, -1, 2]),
    batch_size=st.integers(1, 512),
    scan_samples=st.integers(1, 9999),
    technique=st.sampled_from(["auto", "wanda:2:4", "bits"]),
    update=st.sampled_from(["auto", "none", "refit"]),
    exact=st.booleans(),
)


def asked(plan: Plan, goal: Goal) -> Plan:
    """The plan, as one that was made for a goal."""
    return replace_struct(
        plan,
        objective=Objective(
            kind=goal.kind,
            max_drop=dict(goal.max_drop),
            sparsity=goal.sparsity,
            confidence=goal.confidence,
            search_metric="kl",
            size=goal.size,
            macs=goal.macs,
            target=goal.target,
            limits=goal.constraints.words(),
        ),
    )


def replace_struct(plan: Plan, **changes: object) -> Plan:
    import msgspec

    return msgspec.structs.replace(plan, **changes)


def as_kept(options: Options) -> dict[str, object]:
    """As a store has it."""
    kept: dict[str, object] = json.loads(json.dumps(asdict(options)))
    del kept["guard"]
    return kept


def parsed(command: click.Command, words: list[str]) -> dict[str, object]:
    """What the command line makes of words."""
    with command.make_context(command.name, words[2:]) as context:
        return dict(context.params)


def built_from(found: dict[str, object]) -> Options:
    """The options among what was parsed."""
    wanted = (*signature(Options).parameters, *signature(build_guard).parameters, "dims", "metrics")
    return build_options(**{name: found[name] for name in dict.fromkeys(wanted) if name in found})


@given(GOALS, OPTIONS)
def test_the_command_line_reads_back_what_was_asked(goal: Goal, options: Options) -> None:
    plan = asked(plan_of(), goal)
    words = command_of(as_kept(options), plan, "m.onnx")
    assert words[:2] == ["onnxsens", "auto"]
    found = parsed(onnxsens.cli.auto.command, words)
    again = goal_from(found)
    wanted = goal if goal.max_drop else replace(goal, confidence=again.confidence)
    assert again == wanted
    built = built_from(found)
    metrics = tuple(name for name in options.metrics if name not in goal.max_drop)
    technique = "auto" if goal.target else options.technique  # chosen by the target
    assert built == replace(options, metrics=metrics, technique=technique)


@given(OPTIONS)
def test_of_a_scan_too(options: Options) -> None:
    words = command_of(as_kept(options), None, "m.onnx")
    assert words[:2] == ["onnxsens", "scan"]
    update = "auto" if options.update == "none" else options.update  # which is what it comes to in a scan
    assert built_from(parsed(onnxsens.cli.scan.command, words)) == replace(options, update=update)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"data": 3}, ""),
        (
            {"data": "/home/me/x/samples.npz", "provider": "CUDAExecutionProvider", "threads": 4, "technique": "obs"},
            "onnxsens auto m.onnx -d samples.npz --sparsity 0.25 --providers cuda -o out/",
        ),
        (
            {"data": "C:\\me\\batches.py:f", "provider": "CPUExecutionProvider", "custom_op_libs": ["/opt/my.so"]},
            "onnxsens auto m.onnx -d batches.py:f --sparsity 0.25 --custom-op-lib my.so -o out/",
        ),
    ],
)
def test_no_folder_is_in_it_and_nothing_that_only_sets_the_speed(settings: dict[str, object], expected: str) -> None:
    assert command_of(settings, asked(plan_of(), Goal(sparsity=0.25)), "m.onnx") == expected.split()


def test_a_run_with_a_front_says_how_to_measure_it() -> None:
    settings, plan = {"data": "samples.npz"}, plan_of()
    told = command_of(settings, plan, "m.onnx", front=True)
    assert told == [*command_of(settings, plan, "m.onnx")[:-2], "--pareto", "-o", "out/"]
    assert command_of({}, plan, "m.onnx", front=True) == []
