"""Limits per weight: what is typed, what it comes to, and what contradicts itself."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import convolutional, model_of, saved, tied
from onnx import helper

from onnxsens.errors import UsageError
from onnxsens.model import Weight, load_model, take_inventory
from onnxsens.plan.constraints import FREE, Constraints, Range, parse_constraints, ranges

# Elements: first 72, depthwise 36, up 48, head 30; in this order.
NAMES = ["first", "depthwise", "up", "head"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Weight]:
    return take_inventory(load_model(saved(convolutional(), tmp_path_factory.mktemp("m") / "m.onnx"))).weights


def limited(weights: Sequence[Weight], **typed: Sequence[str]) -> dict[str, Range]:
    """Those that are limited at all."""
    found = ranges(weights, parse_constraints(**typed))
    assert list(found) == NAMES
    return {name: limit for name, limit in found.items() if limit != FREE}


def test_nothing_asked_for_leaves_every_weight_free(weights: Sequence[Weight]) -> None:
    assert limited(weights) == {}


def test_each_option_limits_what_it_fits_and_says_so(weights: Sequence[Weight]) -> None:
    assert limited(weights, minimum=["f*=0.3"], maximum=["up=0.8"], pin=["head=0.5"], freeze=["dep*"]) == {
        "first": Range(0.3, 1, "--min 'f*=0.3'"),
        "depthwise": Range(0, 0, "--freeze 'dep*'"),
        "up": Range(0, 0.8, "--max 'up=0.8'"),
        "head": Range(0.5, 0.5, "--pin 'head=0.5'"),
    }


@pytest.mark.parametrize(
    ("skip", "dense"),
    [
        (["first"], {"first": "first"}),
        (["last"], {"head": "last"}),
        (["first,last"], {"first": "first", "head": "last"}),
        (["first", " last"], {"first": "first", "head": "last"}),
        (["Conv"], {"first": "Conv", "depthwise": "Conv"}),
        (["<36"], {"head": "'<36'"}),
        (["<37,<10"], {"depthwise": "'<37'", "head": "'<37'"}),
        (["<0"], {}),
        (["Gemm,<31"], {"head": "Gemm"}),
    ],
)
def test_skipped_weights_stay_dense(weights: Sequence[Weight], skip: list[str], dense: dict[str, str]) -> None:
    assert limited(weights, skip=skip) == {name: Range(0, 0, f"--skip {word}") for name, word in dense.items()}


def test_an_operator_skips_a_tied_weight_whichever_of_its_users_it_is(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"]),
        helper.make_node("Gemm", ["a", "shared"], ["b"]),
        helper.make_node("MatMul", ["b", "head"], ["y"]),
    ]
    values = {"shared": np.ones((4, 4), np.float32), "head": np.ones((4, 2), np.float32)}
    proto = model_of(nodes, {"x": [3, 4]}, {"y": [3, 2]}, values)
    found = ranges(
        take_inventory(load_model(saved(proto, tmp_path / "m.onnx"))).weights, Constraints(skip_operators=("Gemm",))
    )
    assert found == {"shared": Range(0, 0, "--skip Gemm"), "head": FREE}


def test_a_model_of_one_weight_begins_and_ends_with_it(tmp_path: Path) -> None:
    one = take_inventory(load_model(saved(tied(), tmp_path / "m.onnx"))).weights[:1]
    assert ranges(one, Constraints(skip=("first", "last"))) == {"shared": Range(0, 0, "--skip first")}
    assert ranges([], Constraints(skip=("first", "last"))) == {}


def test_all_limits_on_a_weight_hold_and_only_those_that_count_are_named(weights: Sequence[Weight]) -> None:
    found = limited(weights, minimum=["*=0.2", "f*=0.4"], maximum=["*=0.9", "first=0.7", "up=1"])
    assert found["first"] == Range(0.4, 0.7, "--min 'f*=0.4' and --max 'first=0.7'")
    assert found["up"] == Range(0.2, 0.9, "--min '*=0.2' and --max '*=0.9'")


def test_a_pin_within_limits_is_all_that_is_named(weights: Sequence[Weight]) -> None:
    found = limited(weights, minimum=["up=0.5"], maximum=["up=0.5"], pin=["up=0.5"])
    assert found == {"up": Range(0.5, 0.5, "--pin 'up=0.5'")}


def test_a_name_with_an_equals_sign_or_brackets_is_its_own_pattern(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w[0]=a"], ["y"])]
    proto = model_of(nodes, {"x": [3, 4]}, {"y": [3, 2]}, {"w[0]=a": np.ones((4, 2), np.float32)})
    odd = take_inventory(load_model(saved(proto, tmp_path / "m.onnx"))).weights
    spec = parse_constraints(pin=["w[0]=a=0.5"])
    assert ranges(odd, spec) == {"w[0]=a": Range(0.5, 0.5, "--pin 'w[0]=a=0.5'")}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"minimum": ["fist=0.3"]}, "--min 'fist' fits no weight of the model; did you mean 'first'?"),
        ({"maximum": ["q*=0.3"]}, "--max 'q*' fits no weight of the model; 'onnxsens inspect' lists them"),
        ({"pin": ["q*=0.3"]}, "--pin 'q*' fits no weight of the model; 'onnxsens inspect' lists them"),
        ({"freeze": ["haed"]}, "--freeze 'haed' fits no weight of the model; did you mean 'head'?"),
        ({"skip": ["Gem"]}, "--skip 'Gem' is the operator of no weight of the model; did you mean 'Gemm'?"),
        ({"skip": ["frist"]}, "--skip 'frist' is the operator of no weight of the model; did you mean 'first'?"),
        (
            {"skip": ["GRU"]},
            "--skip 'GRU' is the operator of no weight of the model; give first, last, '<N', or one of Conv, "
            "ConvTranspose, Gemm",
        ),
    ],
)
def test_what_fits_nothing_is_refused_with_what_may_be_meant(
    weights: Sequence[Weight], typed: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        limited(weights, **typed)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("typed", "low", "high"),
    [
        ({"minimum": ["*=0.8"], "maximum": ["up=0.5"]}, "0.8 (--min '*=0.8')", "0.5 (--max 'up=0.5')"),
        ({"pin": ["up=0.6"], "maximum": ["u*=0.5"]}, "0.6 (--pin 'up=0.6')", "0.5 (--max 'u*=0.5')"),
        ({"pin": ["up=0.4"], "minimum": ["u*=0.5"]}, "0.5 (--min 'u*=0.5')", "0.4 (--pin 'up=0.4')"),
        ({"pin": ["up=0.4", "u*=0.3"]}, "0.4 (--pin 'up=0.4')", "0.3 (--pin 'u*=0.3')"),
        ({"minimum": ["up=0.1"], "freeze": ["up"]}, "0.1 (--min 'up=0.1')", "0.0 (--freeze 'up')"),
        ({"minimum": ["up=0.1"], "skip": ["ConvTranspose"]}, "0.1 (--min 'up=0.1')", "0.0 (--skip ConvTranspose)"),
        (
            {"minimum": ["up=0.2", "up=0.7"], "maximum": ["up=0.9", "up=0.5"]},
            "0.7 (--min 'up=0.7')",
            "0.5 (--max 'up=0.5')",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused_and_both_are_named(
    weights: Sequence[Weight], typed: dict[str, list[str]], low: str, high: str
) -> None:
    with pytest.raises(UsageError) as caught:
        limited(weights, **typed)
    assert str(caught.value) == (
        f"no level of weight 'up' is at least {low} and at most {high}; change one of the two, or the weights that it "
        "is for"
    )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"minimum": ["0.5"]}, "--min '0.5' is not PATTERN=LEVEL; write for example --min 'conv*=0.5'"),
        ({"maximum": ["=0.5"]}, "--max '=0.5' is not PATTERN=LEVEL"),
        ({"pin": ["up=half"]}, "--pin 'up=half' is not PATTERN=LEVEL"),
        ({"pin": ["up=nan"]}, "--pin 'up=nan' is not PATTERN=LEVEL"),
        ({"pin": ["up=1.5"]}, "--pin 'up=1.5' is not a level; give one in [0, 1], such as 0.5"),
        ({"minimum": ["up=-1"]}, "--min 'up=-1.0' is not a level"),
        ({"maximum": ["up=inf"]}, "--max 'up=inf' is not a level"),
        ({"skip": ["first,,last"]}, "--skip 'first,,last' has an empty part; write for example --skip first,last"),
        ({"skip": ["<"]}, "--skip '<' is no number of elements; write for example --skip '<1000'"),
        ({"skip": ["<1k"]}, "--skip '<1k' is no number of elements"),
        ({"skip": ["<-3"]}, "--skip '<-3' is no number of elements"),
    ],
)
def test_what_has_not_its_form_is_refused(typed: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_constraints(**typed)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"pin": (("up", float("nan")),)}, "--pin 'up=nan' is not a level"),
        ({"skip": ("middle",)}, "--skip 'middle' is no end of a model; give first or last"),
        ({"smaller_than": -1}, "--skip '<-1' is no number of elements"),
    ],
)
def test_a_record_that_makes_no_sense_cannot_be_made(made: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Constraints(**made)


def test_free_limits_nothing() -> None:
    some = Range(0.2, 0.8, "--min 'a=0.2' and --max 'a=0.8'")
    assert FREE.meet(some, "w") == some == some.meet(FREE, "w")
    assert FREE.meet(FREE, "w") == FREE


EIGHTHS = st.integers(0, 8).map(lambda number: number / 8)
SOME = st.tuples(EIGHTHS, EIGHTHS).map(lambda ends: Range(min(ends), max(ends), "because"))


@given(st.lists(SOME, min_size=2, max_size=3))
def test_what_ranges_meet_in_is_what_each_of_them_holds_in_any_order(some: list[Range]) -> None:
    inside = [step / 8 for step in range(9) if all(limit.low <= step / 8 <= limit.high for limit in some)]
    for first, *others in permutations(some):
        met = first
        try:
            for other in others:
                met = met.meet(other, "w")
        except UsageError:
            assert inside == []
        else:
            assert (met.low, met.high) == (inside[0], inside[-1])
