"""What differs between two runs: which weight is which, curves side by side, ranks, and every text of it."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from onnxsens.contrast import Side, contrast, spearman
from onnxsens.contrast.curves import compared, mean_drop
from onnxsens.contrast.origins import fields_of
from onnxsens.contrast.pairing import paired
from onnxsens.errors import UsageError
from onnxsens.plan.planfile import Alternative, Source
from onnxsens.report.contract import HOSTILE, UNSEEN
from onnxsens.report.differences import WRITERS, document, shown, summary
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord
from tests.report.test_report_formats import kinds
from tests.report.test_report_page import plan_of, weight


def curve_at(*points: tuple[float, float], name: str = "w", error: float = 0.01, metric: str = "kl") -> MeasuredCurve:
    made = tuple(CurvePoint(level, drop, drop - 2 * error, drop + 2 * error, 100) for level, drop in points)
    return MeasuredCurve(name, "magnitude", metric, made)


def run_of(*curves: MeasuredCurve, plan: Any = None, **changes: Any) -> RunRecord:
    made = RunRecord("m.onnx", "onnxsens 1", plan, curves, {}, (), technique="magnitude", search_metric="kl")
    return replace(made, **changes)


def sourced(name: str, parameter: str, **changes: Any) -> Any:
    source = Source(parameters=[parameter], transform="as it is", confidence="name")
    return weight(name, source=source, **changes)


def pairs(a: Any, b: Any) -> list[tuple[str | None, str | None, str | None]]:
    return [(each.a, each.b, each.rule) for each in paired(run_of(plan=a), run_of(plan=b))]


def test_weights_are_matched_by_name_first_and_what_is_left_by_source() -> None:
    a = plan_of(weight("fc"), sourced("onnx::1", "conv.weight"), weight("gone"))
    b = plan_of(sourced("onnx::7", "conv.weight"), weight("fc"), weight("new"))
    assert pairs(a, b) == [
        ("fc", "fc", "name"), ("onnx::1", "onnx::7", "source"), ("gone", None, None), (None, "new", None),
    ]  # fmt: skip


def test_with_no_name_and_no_source_in_common_by_operator_and_shape_in_order() -> None:
    a = plan_of(weight("a1"), weight("a2"), weight("a3", op="Conv"))
    b = plan_of(weight("b1", op="Conv"), weight("b2"), weight("b3"), weight("b4"))
    assert pairs(a, b) == [("a1", "b2", "order"), ("a2", "b3", "order"), ("a3", "b1", "order"), (None, "b4", None)]
    notes = contrast(Side(run_of(plan=a)), Side(run_of(plan=b))).notes
    assert any("a guess" in note for note in notes)


def test_one_common_name_is_enough_not_to_guess() -> None:
    assert pairs(plan_of(weight("fc"), weight("a")), plan_of(weight("fc"), weight("b"))) == [
        ("fc", "fc", "name"), ("a", None, None), (None, "b", None),
    ]  # fmt: skip


def test_a_source_of_two_weights_matches_neither() -> None:
    a = plan_of(sourced("a1", "q.weight"), sourced("a2", "q.weight", op="Conv"))
    b = plan_of(sourced("b1", "q.weight", op="Conv"))
    assert pairs(a, b) == [("a1", None, None), ("a2", "b1", "order")]


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_every_weight_is_in_exactly_one_pair(first: list[str], second: list[str]) -> None:
    found = paired(run_of(plan=plan_of(*map(weight, first))), run_of(plan=plan_of(*map(weight, second))))
    assert sorted(pair.a for pair in found if pair.a is not None) == sorted(first)
    assert sorted(pair.b for pair in found if pair.b is not None) == sorted(second)


def test_points_at_the_same_level_are_compared_as_they_are() -> None:
    found = compared(curve_at((0.5, 0.1), error=0.03), curve_at((0.5004, 0.2), error=0.04))
    [point] = found.points
    assert point.measured == "both" and point.difference == pytest.approx(0.1)
    assert (point.a_error, point.b_error) == (pytest.approx(0.03), pytest.approx(0.04))
    assert found.p == pytest.approx(2 * stats.norm.sf(2))


def test_points_between_others_are_on_the_line_and_said_to_be() -> None:
    found = compared(curve_at((0.4, 0.1), (0.8, 0.5)), curve_at((0.6, 0.2)))
    at_04, at_06 = found.points
    assert (at_04.measured, at_06.measured) == ("a", "b")
    assert at_04.b == pytest.approx(0.4 / 0.6 * 0.2)  # between the dense weight and 0.6
    assert at_06.a == pytest.approx(0.3) and at_06.b == 0.2  # 0.8 is beyond the other's reach
    assert at_06.p == 1.0  # within what the neighbours span


def test_outside_of_what_neighbours_span_the_nearer_one_decides() -> None:
    found = compared(curve_at((0.5, 0.32)), curve_at((0.4, 0.1), (0.6, 0.3))).points
    middle = next(each for each in found if each.measured == "a")
    assert middle.difference == pytest.approx(-0.12)  # from the line
    assert middle.p == pytest.approx(2 * stats.norm.sf(0.02 / (0.01 * 2**0.5)))  # from the neighbour


def test_a_mean_drop_is_the_area_worked_out_by_hand() -> None:
    made = curve_at((0.5, 0.2), (1.0, 1.0))
    assert mean_drop(made, 1.0) == pytest.approx(0.5 * 0.1 + 0.5 * 0.6)
    assert mean_drop(made, 0.75) == pytest.approx((0.5 * 0.1 + 0.25 * 0.4) / 0.75)
    assert mean_drop(made, 0.25) == pytest.approx(0.05)


def test_ranks_worked_out_by_hand() -> None:
    assert spearman([(1, 10), (2, 20), (3, 15)]) == pytest.approx(1 - 6 * 2 / (3 * 8))
    assert spearman([(1, 1), (2, 2)]) is None
    assert spearman([(1, 1), (1, 2), (1, 3)]) is None


def test_a_run_and_itself_differ_in_nothing() -> None:
    side = Side(run_of(curve_at((0.5, 0.1)), plan=plan_of(weight("w"), text="kl")), {"seed": "0"}, {"step": 0.1})
    found = contrast(side, side)
    assert not found.more_than_noise and not any(each.differs for each in (*found.fields, *found.weights))
    assert [each.difference for each in found.curves[0].points] == [0.0]
    assert "everything else is the same in both" in summary(found)


def test_choices_alone_are_differences_and_no_more_than_noise() -> None:
    a, b = plan_of(weight("w", 50, picks={"x": 0.5}), text="kl"), plan_of(weight("w", 40, picks={"x": 0.4}), text="kl")
    found = contrast(Side(run_of(plan=a)), Side(run_of(plan=b)))
    [pair] = found.weights
    assert pair.differs and (pair.a_zeros, pair.b_zeros) == (50, 40) and (pair.a_picks, pair.b_picks) == (
        {"x": 0.5}, {"x": 0.4},
    )  # fmt: skip
    assert not found.more_than_noise
    assert {each.name for each in found.fields if each.differs} == {"zeros", "sparsity"}


def test_a_weight_in_one_only_is_more_than_noise() -> None:
    sides = Side(run_of(plan=plan_of(weight("w"), weight("v")))), Side(run_of(plan=plan_of(weight("w"))))
    same = contrast(*sides)
    assert same.only_in_one and not same.more_than_noise and same.reasons == []
    other = replace(sides[1], identity={"model_sha256": "1" * 64})
    found = contrast(sides[0], other)
    assert found.reasons == ["1 weights are in one of the two models only"]
    assert found.more_than_noise and [pair.name for pair in found.only_in_one] == ["v"]


def test_quality_of_plans_is_compared_by_their_intervals() -> None:
    a = plan_of(weight("w"), text="kl")
    quality = a.quality.metrics["kl"]
    worse = msgspec.structs.replace(quality, drop=0.05, low=0.045, high=0.055)
    samples = msgspec.structs.replace(a.quality, samples=100)
    a = msgspec.structs.replace(a, quality=samples)
    b = msgspec.structs.replace(a, quality=msgspec.structs.replace(samples, metrics={"kl": worse}))
    [row] = contrast(Side(run_of(plan=a)), Side(run_of(plan=b))).quality
    error = 0.01 / (2 * stats.norm.ppf(0.975)) * 2**0.5
    assert row.p == pytest.approx(2 * stats.norm.sf(0.04 / error)) and row.more_than_noise


def test_other_metrics_and_techniques_are_compared_as_far_as_they_go_and_said() -> None:
    a = run_of(curve_at((0.5, 0.1)), curve_at((0.5, 0.2), metric="accuracy"))
    b = run_of(replace(curve_at((0.5, 0.3), metric="accuracy"), technique="obs"), technique="obs", search_metric="mse")
    found = contrast(Side(a), Side(b))
    assert found.metric == "accuracy" and found.curves[0].points[0].difference == pytest.approx(0.1)
    assert any("by magnitude, those of B by obs" in note for note in found.notes)
    assert any("A searches by kl, B by mse" in note for note in found.notes)
    with pytest.raises(UsageError, match="unknown metric of both runs 'kl'"):
        contrast(Side(a), Side(b), "kl")
    other = run_of(curve_at((0.5, 0.3), metric="own"))
    assert any("none is both's" in note for note in contrast(Side(run_of(curve_at((0.5, 0.1)))), Side(other)).notes)


def test_a_plan_alone_has_no_curves_and_that_is_said() -> None:
    found = contrast(Side(run_of(curve_at((0.5, 0.1)))), Side(run_of(plan=plan_of(weight("w")))))
    assert not found.curves and any("B holds no curves" in note for note in found.notes)


def test_of_a_folder_without_curves_it_is_not_said_to_give_one() -> None:
    folder = run_of(plan=plan_of(weight("w")), places=("/runs/a",))
    notes = contrast(Side(folder), Side(run_of(curve_at((0.5, 0.1))))).notes
    assert "A holds no curves, so none are compared" in notes


def test_where_the_curves_of_an_iterative_plan_are_is_said() -> None:
    plan = msgspec.structs.replace(plan_of(weight("w")), steps=[Alternative(name="step 1", sparsity=0.5, metrics={})])
    notes = contrast(Side(run_of(curve_at((0.5, 0.1)))), Side(run_of(plan=plan))).notes
    assert any(note.startswith("B holds no curves") and note.endswith("in the folder steps") for note in notes)


def test_levels_of_different_kinds_are_not_compared() -> None:
    one = plan_of(weight("w", 50), text="kl")
    other = msgspec.structs.replace(plan_of(weight("w", 50, level=0.8), text="kl"), level_kind="bits")
    bits = replace(curve_at((0.5, 0.9)), technique="bits")
    for plans in ((one, other), (None, None)):
        a = Side(run_of(curve_at((0.5, 0.1)), plan=plans[0]))
        b = Side(run_of(bits, plan=plans[1], technique="bits"))
        found = contrast(a, b)
        assert found.metric is None and not found.curves and not found.more_than_noise
        assert any("levels of A are sparsity, those of B are bits" in note for note in found.notes)
        assert not any(pair.differs for pair in found.weights)


def test_in_a_narrow_terminal_the_verdict_stays() -> None:
    name = "onnx::a_name_that_takes_room"
    found = contrast(
        Side(run_of(curve_at((0.5, 0.1), (0.7, 0.3), name=name))), Side(run_of(curve_at((0.6, 0.9), name=name)))
    )
    console = Console(file=io.StringIO(), width=60, color_system=None, force_terminal=True)
    console.print(shown(found))
    text = console.file.getvalue()
    assert "verdict" in text and "no room for: error" in text


def test_no_folder_is_in_what_runs_were_made_from() -> None:
    settings = {
        "model": "/home/ann/m.onnx", "data": "/home/ann/d.py:f", "metrics": ["/home/ann/own.py:loss"],
        "custom_op_libs": ["/home/ann/lib.so"], "dims": {"n": 3}, "scale": None,
    }  # fmt: skip
    found = fields_of(run_of(), run_of(), {}, {}, settings, settings | {"data": "random:3"})
    values = {each.name: (each.a, each.b) for each in found}
    assert values["data"] == ("d.py:f", "random:3") and values["metrics"][0] == "own.py:loss"
    assert values["custom_op_libs"][0] == "lib.so" and values["dims"][0] == "n=3"
    assert "/home" not in repr(found)


def hostile_difference(text: str) -> Any:
    a = run_of(curve_at((0.5, 0.1), name=text, metric=text), plan=plan_of(weight(text), text=text), search_metric=text)
    b = run_of(curve_at((0.5, 0.9), name=text, metric=text), plan=plan_of(weight(text, 60), text="o"), model=text)
    return contrast(Side(a, {"seed": text}), Side(replace(b, search_metric=text), {"seed": "1"}))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_text_is_text_in_every_format(hostile: str) -> None:
    found = hostile_difference(hostile)
    texts = {name: writer(found).decode() for name, writer in WRITERS.items()}
    assert kinds(texts["md"]) == kinds(WRITERS["md"](hostile_difference("plain")).decode()) or not hostile
    assert json.loads(texts["json"], parse_constant=pytest.fail)["schema"] == "onnxsens.diff/1"
    for row in csv.reader(io.StringIO(texts["csv"])):
        assert not any(cell.startswith(("=", "@", "\t")) for cell in row)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(shown(found))
    assert not UNSEEN.search(console.file.getvalue()) and not UNSEEN.search(texts["md"] + texts["csv"])


def test_the_document_has_every_field_and_what_follows() -> None:
    found = document(hostile_difference("w"))
    assert found["more_sensitive"] == ["w"] and found["less_sensitive"] == [] and found["more_than_noise"] is True
    assert found["curves"][0]["points"][0]["difference"] == pytest.approx(0.8)


def test_in_80_columns_a_row_is_a_line() -> None:
    found = contrast(
        Side(run_of(curve_at((0.5, 0.1), name="onnx::Conv_110"))),
        Side(run_of(curve_at((0.5, 0.9), (0.7, 0.95), name="onnx::Conv_110"))),
    )
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(shown(found))
    lines = console.file.getvalue().splitlines()
    [row] = [line for line in lines if line.startswith("onnx::Conv_110")]
    assert row.split() == ["onnx::Conv_110", "50.0", "%", "0.1", "0.9", "+0.8", "0.014", "0", "differs"]


def test_what_was_not_measured_there_is_said_to_be_about() -> None:
    found = contrast(Side(run_of(curve_at((0.5, 0.9)))), Side(run_of(curve_at((0.4, 0.1), (0.6, 0.3)))))
    row = next(line for line in WRITERS["md"](found).decode().splitlines() if line.startswith("| w |"))
    assert "| 0.9 | about 0.2 |" in row
