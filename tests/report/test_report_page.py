"""A run as one page: what is on it, that nothing on it runs, and that it says nothing of this machine."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.made_runs import made_run
from onnxsens.gathering import foretold_of
from onnxsens.plan.planfile import (
    Choice,
    DataSource,
    Generator,
    MetricQuality,
    ModelSource,
    Objective,
    Plan,
    PlannedWeight,
    Proposal,
    Quality,
    SkippedParameters,
    Totals,
)
from onnxsens.report.page import page
from onnxsens.report.page.drawing import in_script
from onnxsens.report.page.gains import gains
from onnxsens.report.page.marks import Mark, Scale
from onnxsens.report.page.others import comparisons
from onnxsens.report.page.words import Alone, drop_alone, rows
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord
from onnxsens.scan.prediction import PredictedCurve

DIGEST = "0" * 64


def weight(name: str = "w", zeros: int = 50, **changes: Any) -> PlannedWeight:
    made = PlannedWeight(
        name=name, op="MatMul", shape=[10, 10], dtype="float32", encoding="initializer", level=zeros / 100,
        sparsity=zeros / 100, zeros=zeros, pattern="unstructured", macs=100, effect="effective", picks={},
        failure=None, sha256=DIGEST,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def plan_of(*weights: PlannedWeight, text: str = "plain", verified: bool | None = True) -> Plan:
    """A plan in which every text that a model, a user or another program can set is this one."""
    size, zeros = 100 * len(weights), sum(each.zeros for each in weights)
    metric = MetricQuality(
        unit=text, higher_is_better=True, dense=0.9, pruned=0.89, drop=0.01, low=0.005, high=0.015, bound=0.016,
        limit=0.02, search_drop=0.01, predicted_drop=None,
    )  # fmt: skip
    return Plan(
        schema="onnxsens.plan/1",
        generator=Generator(name=text, version=text, onnx=text, onnxruntime=text, numpy=text, provider=text),
        model=ModelSource(file=text, sha256=DIGEST, parameters=size + 7),
        data=DataSource(sha256=DIGEST, samples=10, search=5, holdout=5, seed=0, scan_samples=5),
        technique=text,
        level_kind="sparsity",
        objective=Objective(
            kind="max-drop", max_drop={text: 0.02}, sparsity=None, confidence=0.95, search_metric=text, target=None
        ),
        totals=Totals(
            parameters=size, zeros=zeros, sparsity=zeros / max(size, 1), macs_dense=None, macs_nonzero=None,
            bytes_dense=400, bytes_zlib_dense=300, bytes_zlib_pruned=200,
        ),
        quality=Quality(samples=5, looks=1, verified=verified, metrics={text: metric}, failures={text: text}),
        choice=Choice(
            picker=text,
            exact=False,
            proposals=[Proposal(picker=text, baseline=False, sparsity=0.5, samples=5, drops={text: 0.1}, gap=None)],
            disagreement=None,
            points=3,
            joint_runs=1,
        ),
        weights=list(weights),
        skipped=[
            SkippedParameters(name=text, shape=[7], dtype=text, tensors=1, parameters=7, reason=text),
        ],
        changed=[],
        update=text,
    )  # fmt: skip


def curve(name: str = "w", metric: str = "plain", *, drops: tuple[float, ...] = (0.1, 0.2, 0.4)) -> MeasuredCurve:
    levels = [(number + 1) / (len(drops) + 1) for number in range(len(drops))]
    points = tuple(
        CurvePoint(level, drop, drop - 0.01, drop + 0.01, 64) for level, drop in zip(levels, drops, strict=True)
    )
    return MeasuredCurve(name, "magnitude", metric, points)


def run_of(plan: Plan | None, *curves: MeasuredCurve, text: str = "plain", places: tuple[str, ...] = ()) -> RunRecord:
    return RunRecord(text, "onnxsens 1", plan, curves, {text: text}, places)


def page_of(text: str, name: str) -> str:
    return page(run_of(plan_of(weight(name, failure=text), text=text), curve(name, text), text=text))


class Elements(HTMLParser):
    """What a browser finds: elements with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.inside if self.tags and self.tags[-1][0] in ("script", "style") else self.words).append(data)


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onclick='alert(1)'",
    "<!--<script>",
    "{{7*7}}{% raw %}",
    "&lt;b&gt;",
    "]]>\u2028\u2029",
    "\x1b[2J\x00\x7f\u202e",
    "lone \ud800",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_text_is_text_wherever_it_stands(hostile: str) -> None:
    plain, other = Elements(page_of("plain", "w")), Elements(page_of(hostile, hostile))
    assert [tag for tag, _ in other.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in other.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert not set(page_of(hostile, hostile)) & set("\x00\x1b\x7f\u202e\u2028\u2029\ud800")


@given(st.text(max_size=50))
@settings(max_examples=60, deadline=None)
def test_any_name_leaves_the_page_as_it_is_built(name: str) -> None:
    assert [tag for tag, _ in Elements(page_of(name, name)).tags] == [
        tag for tag, _ in Elements(page_of("plain", "w")).tags
    ]


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists))
def test_a_script_block_holds_the_data_and_ends_nowhere_else(data: object) -> None:
    text = in_script(data)
    assert json.loads(text) == data
    assert text.isascii() and not set(text) & set("<>&\x7f")


def test_the_policy_allows_what_is_on_the_page_and_nothing_else() -> None:
    text = page_of("plain", "w")
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    policy = found.group(1)
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    for kind, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (content,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_nothing_on_the_page_is_loaded() -> None:
    for tag, attributes in Elements(page_of("plain", "w")).tags:
        assert not set(attributes) & {"src", "srcset", "style", "action"}
        assert not [name for name in attributes if name.startswith("on")], tag
        if "href" in attributes:
            address = attributes["href"] or ""
            away = re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/\d+", address)
            assert tag == "a" and (address.startswith("#") or (away and attributes["rel"] == "noreferrer noopener"))
    text = page_of("plain", "w").replace("http://www.w3.org/2000/svg", "")
    assert text.count("://") == text.count('<a href="https://github.com/')


def test_it_has_the_answer_the_plan_and_what_is_left_alone() -> None:
    made = plan_of(weight("a", 50), weight("b", 100, effect="no effect"), text="kl")
    words = " ".join(Elements(page(run_of(made, curve("a", "kl")))).words)
    assert "75.0 % of 200 weights are zero" in words and "verified at 95% confidence" in words
    assert "300 B compressed before, 200 B after" in words
    assert "0.005 to 0.015" in words and "limit 0.02" in words
    for name in ("a", "b", "MatMul", "10x10", "50.0 %", "no effect on these samples, left dense"):
        assert name in words


@pytest.mark.parametrize(
    ("verified", "said"), [(True, "verified at"), (False, "NOT verified at"), (None, "nothing was verified")]
)
def test_it_says_whether_the_plan_was_verified(verified: bool | None, said: str) -> None:
    assert said in page(run_of(plan_of(weight(), verified=verified)))


def test_a_scan_without_a_plan_is_shown_too() -> None:
    text = page(run_of(None, curve("a", "kl")))
    assert "There is no plan yet" in text and "The plan</h2>" not in text
    assert data_of(text)["weights"][0] | {"lines": []} == {"name": "a", "lines": []}


def test_what_else_could_have_been_done_is_compared_where_it_was_measured() -> None:
    made = made_run(3).plan
    assert made is not None
    tables = {(each.title.split(",")[0], each.metric): each for each in comparisons(made)}
    assert sorted(tables) == [
        ("Known rules at the same sparsity", "accuracy"),
        ("Known rules at the same sparsity", "kl"),
        ("The same levels with other updates of the kept weights", "accuracy"),
        ("The same levels with other updates of the kept weights", "kl"),
        ("steps", "accuracy"),
    ]
    steps = tables["steps", "accuracy"]
    assert [row.name for row in steps.rows] == ["step 1", "step 2", "step 3", "this plan"] and not steps.level
    assert [row.own for row in steps.rows] == [False, False, False, True]
    assert steps.rows[3].drop == "0.003" and steps.rows[3].interval == "-0.001 to 0.008"
    assert [row.mark.dot for row in steps.rows[:3]] == sorted(row.mark.dot for row in steps.rows[:3])


def test_points_are_foretold_by_the_other_points_of_their_weight_alone() -> None:
    shape = PredictedCurve("w", 100, (25, 50, 75), (0.02, 0.1, 0.4))
    levels, drops = (0.25, 0.5, 0.75), (0.1, 0.3, 0.9)
    several = curve("w", "kl", drops=drops)
    found = dict(foretold_of({"w": shape}, [several, curve("unknown", "kl")]))
    assert [(level, drop) for level, _, drop in found["w"]] == list(zip(levels, drops, strict=True))
    # Between two: a straight line over the logarithms of error and drop. Outside: a power of the error.
    share = math.log(0.1 / 0.02) / math.log(0.4 / 0.02)
    assert [said for _, said, _ in found["w"]] == pytest.approx(
        [0.3 * (0.02 / 0.1) ** (4 / 3), 0.1 * 9**share, 0.3 * (0.4 / 0.1) ** (4 / 3)]
    )
    assert dict(foretold_of({"w": shape}, [curve("w", "kl", drops=(0.3,))])) == {}


def test_weights_of_a_scan_are_compared_at_half_of_each() -> None:
    run = run_of(None, curve("a", "kl"), curve("b", "kl", drops=(0.1, 0.3)), curve("c", "kl", drops=(0.7,)), curve("d"))
    run = replace(run, search_metric="kl", technique="magnitude", predicted={"d": ((0.0, 0.0), (1.0, 0.9))})
    found = {row.name: (row.half, row.drop.drop) for row in rows(run)}
    assert found == {
        "a": (Alone("0.2", "measured"), "3 levels"),
        "b": (Alone("0.2", "between"), "2 levels"),
        "c": (Alone("0.7", "measured"), "1 level"),
        "d": (Alone("0.45", "predicted"), "0 levels"),
    }


def test_the_data_are_the_points_and_the_metric_of_the_search_comes_first() -> None:
    made = plan_of(weight("a", 50), text="kl")
    curves = (curve("a", "accuracy"), curve("a", "kl"), curve("zz", "kl", drops=(float("nan"),)))
    data = data_of(page(replace(run_of(made, *curves), search_metric="kl", technique="magnitude")))
    assert [metric["name"] for metric in data["metrics"]] == ["kl", "accuracy"] and data["search"] == 0
    first = data["weights"][0]
    assert first["level"] == 0.5 and [line[0] for line in first["lines"]] == [1, 0]
    metric, technique, *columns = first["lines"][1]
    assert (metric, data["techniques"][technique]) == (0, "magnitude")
    assert columns == [[0.25, 0.5, 0.75], [0.1, 0.2, 0.4], [0.01, 0.01, 0.01], 64]
    assert data["weights"][1]["lines"][0][2:] == [[], [], [], []]


def test_the_data_are_as_exact_as_they_are_shown() -> None:
    made = plan_of(weight("a", 33, sparsity=1 / 3), text="kl")
    long = MeasuredCurve("a", "magnitude", "kl", (CurvePoint(2 / 3, 1 / 7, 1 / 7 - 1 / 900, 1 / 7 + 1 / 900, 64),))
    run = replace(run_of(made, long), predicted={"a": ((0.0, 0.0), (1.0, 0.123456))}, search_metric="kl")
    found = data_of(page(run))["weights"][0]
    assert found["level"] == 0.3333 and found["lines"][0][2:5] == [[0.6667], [0.1429], [0.001111]]
    assert found["predicted"] == [0, [0, 0.123]]


@pytest.mark.parametrize(("layers", "most"), [(50, 200_000), (500, 3_000_000)])
def test_a_page_is_small_enough_for_a_mail(layers: int, most: int) -> None:
    assert len(page(made_run(layers, points=12)).encode()) < most


def test_the_same_records_give_the_same_bytes() -> None:
    assert page(made_run(9)) == page(made_run(9))


def test_the_command_of_any_plan_of_the_front_has_its_gap_where_the_sparsity_goes() -> None:
    before, after = data_of(page(made_run(3)))["front"]["command"]
    assert before == "onnxsens auto 'made up.onnx' -d samples.npz --sparsity" and after == "-o out/"
    assert data_of(page(replace(made_run(3), budget_command=())))["front"]["command"] is None
    assert data_of(page(replace(made_run(3), front=None)))["front"] is None


def test_of_an_answer_with_a_goal_the_command_and_the_names_in_the_framework_are_told() -> None:
    words = " ".join(Elements(page(made_run(3))).words)
    assert "onnxsens auto 'made up.onnx' -d samples.npz --max-drop accuracy=0.01 -o out/" in words
    assert "layers.2.weight (transposed)" in words and "seed 0" in words and "drop of accuracy at most 0.01" in words


def test_folders_of_this_machine_are_not_named() -> None:
    why = "metric '/home/ann/work/own.py:loss' raised in /home/ann: no '/var/data/x'"
    made = plan_of(weight("/conv1/weight", 50, failure=why), text=why)
    text = page(run_of(made, text=why, places=("/home/ann", "/home/ann/work", "/var/data")))
    assert "/home" not in text and "ann/" not in text and "/var/data" not in text
    assert "own.py:loss" in text and "/conv1/weight" in text


def test_the_drop_of_a_weight_by_itself_is_measured_between_two_that_were_or_predicted() -> None:
    points = {"w": curve(drops=(0.1, 0.2, 0.4)).points}
    assert drop_alone(weight(zeros=50), points) == Alone("0.2", "measured")
    assert drop_alone(weight(zeros=60), points) == Alone("0.28", "between")
    assert drop_alone(weight(zeros=90), points) == Alone("-")
    assert drop_alone(weight(zeros=0), points) == Alone("-")
    assert drop_alone(weight("other"), points) == Alone("-")
    assert drop_alone(weight(zeros=90), points, {"w": ((0.8, 0.4), (1.0, 0.8))}) == Alone("0.6", "predicted")
    assert drop_alone(weight(zeros=50), points, {"w": ((0.0, 0.0), (1.0, 9.0))}) == Alone("0.2", "measured")


def test_marks_lie_where_numbers_do_on_one_axis_with_zero() -> None:
    axis = Scale.of([0.02, 0.06, None, float("inf")])
    assert (axis.least, axis.most) == (0.0, 0.06)
    assert axis.mark(0.03, 0.02, None, 0.06) == Mark(dot=50.0, low=34.33, high=None, zero=3.0, limit=97.0)
    assert axis.at(float("nan")) == axis.at(0.06)
    assert Scale.of([]).mark(0.0, None, None) == Mark(3.0, None, None, 3.0, None)
    below = Scale.of([-0.5, 0.5])
    assert below.mark(-0.5, -0.5, 0.5) == Mark(3.0, 3.0, 97.0, 50.0, None)


def test_a_target_gains_from_the_weights_that_are_as_it_takes_them() -> None:
    conv = {"op": "Conv", "shape": [10, 10, 1, 1]}
    made = plan_of(
        weight("a", 90, **conv),
        weight("b", 50, **conv),
        weight("c", 90, op="Conv", shape=[1, 4, 5, 5]),
        weight("d", 0),
    )
    found = {each.name: each for each in gains(made)}
    assert found["xnnpack"].faster == "maybe" and found["xnnpack"].why.startswith("1 of 3 pruned weights")
    assert found["openvino-cpu"].faster == "no" and "Conv is none of MatMul, Gemm" in found["openvino-cpu"].why
    assert "stored as float32, not as int8" in found["ethos-u"].why
    assert "have to be 2:4" in found["tensorrt-2to4"].why and found["channel"].faster == "no"
    assert found["size-only"].faster == found["dense-runtime"].faster == "no"
    assert found["coreml-ane"].why == "2 of 3 pruned weights are as it takes them; the others: less than 75.0 % sparse"
    link = next(source for source in found["xnnpack"].sources if source.link)
    assert link.link == "https://github.com/google/XNNPACK/issues/1419"
    whole = plan_of(weight("a", 50, pattern="channel", op="Gemm"))
    assert next(each for each in gains(whole) if each.name == "channel").faster == "yes"
    assert next(iter(gains(whole))).faster == "yes"


def data_of(text: str) -> Any:
    """What the script is given."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


@pytest.mark.parametrize(("levels", "says"), [("sparsity", True), ("bits", False)])
def test_a_page_of_bits_does_not_speak_of_sparsity(levels: str, says: bool) -> None:
    run = made_run(3, levels=levels)
    for shown in (run, replace(run, front=None)):
        text = page(shown)
        body = text[text.index("<body") : text.index("<script", text.index("<body"))]
        said = " ".join(re.sub(r"<[^>]*>", " ", body).split())
        assert ("sparsit" in said) == says
        assert says or "share of 32 bits" in said or shown.front is None
