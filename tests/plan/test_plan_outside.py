"""Pickers of others: what is wrong in them is told as theirs."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from fakes import NoisyCurves
from networks import model_of, normal, saved
from onnx import helper

from onnxsens.errors import InputError, SetupError, StoreInUseError, UsageError
from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.plan.pickers import MEMBERS, Family, Ground, Picker, family_of, members_with, pickers
from onnxsens.plan.pickers.outside import Outside
from onnxsens.plan.pickers.picker import TargetFamily
from onnxsens.plan.pickers.uniform import Uniform
from onnxsens.plugins import sound
from onnxsens.scan import Nobody, Sampling, Scanner, Store
from onnxsens.techniques import make_technique


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Of a model with the weights a and b."""
    folder = tmp_path_factory.mktemp("ground")
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    weights = {name: normal(np.random.default_rng(0), 4, 4) for name in ("a", "b")}
    proto = model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 4]}, weights)
    model = load_model(saved(proto, folder / "m.onnx"))
    inventory = take_inventory(model)
    with Store(folder, {}, {}, "a test") as store:
        evaluator, sampling = NoisyCurves(lambda weight, level: level), Sampling(2000, exact=False)
        sizes = {"search": 100, "holdout": 100}
        scanner = Scanner(store, evaluator, inventory, make_technique("magnitude"), ["kl"], sampling, sizes, Nobody())
        yield Ground(scanner, inventory.weights, lambda weight: dense_matrix(model, weight), "kl", 0.05, 0.01)


class Given(Family):
    """Levels that a test gives."""

    kind: ClassVar[str] = "given"
    highest, start, stride, precision = 1.0, 0.5, 0.25, 0.125

    def __init__(self, levels: Any) -> None:
        self.levels = levels

    def propose(self, boldness: float) -> Any:
        if isinstance(self.levels, BaseException):
            raise self.levels
        return self.levels

    def settle(self, boldness: float, most: int | None = None) -> Any:
        return self.propose(boldness)


def outside(given: object, ground: Ground) -> Outside:
    class Theirs(Picker):
        name = "theirs"

        def family(self, ground: Ground) -> Any:
            return given

    return Outside("theirs", Theirs, ground)


@pytest.mark.parametrize(
    ("levels", "fragment"),
    [
        ({"a": 0.5}, "gives 'b' no level"),
        ({"a": 0.5, "b": "much"}, "failed: ValueError"),
        ({"a": 0.5, "b": 10**400}, "failed: OverflowError"),
        (np.zeros(2), "gives 'a' no level"),
        ({"a": 0.5, "b": 1.5}, "gives 'b' the level 1.5"),
        ({"a": 0.5, "b": float("nan")}, "gives 'b' the level nan"),
        (None, "failed: TypeError"),
        (SystemExit(0), "failed: SystemExit: 0"),
        (ZeroDivisionError("by\nzero"), "failed: ZeroDivisionError: by zero"),
        (KeyError(), "failed: KeyError;"),
    ],
)
def test_what_is_no_plan_is_told_as_theirs(levels: Any, fragment: str, ground: Ground) -> None:
    family = outside(Given(levels), ground)
    for ask in (family.propose, family.settle) if levels is not None else (family.propose,):
        with pytest.raises(InputError) as told:
            ask(0.5)
        assert str(told.value).startswith("picker 'theirs', a plug-in, ") and fragment in str(told.value)


def test_a_plan_comes_out_in_the_order_of_the_weights(ground: Ground) -> None:
    family = outside(Given({"b": 1, "other": 7, "a": 0.25}), ground)
    assert list(family.propose(0.5).items()) == [("a", 0.25), ("b", 1.0)] == list((family.settle(0.5) or {}).items())
    assert (family.kind, family.highest, family.start, family.stride, family.precision) == (
        "given",
        1,
        0.5,
        0.25,
        0.125,
    )


def test_an_error_of_ours_on_the_way_stays_what_it_is(ground: Ground) -> None:
    with pytest.raises(StoreInUseError, match="busy"):
        outside(Given(StoreInUseError("busy")), ground).propose(0.5)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"highest": float("inf")}, "no search can follow"),
        ({"start": 2.0}, "no search can follow"),
        ({"stride": 0.0}, "no search can follow"),
        ({"precision": 0.0}, "no search can follow"),
        ({"precision": float("nan")}, "no search can follow"),
        ({"precision": 1e-300}, "no search can follow"),
        ({"stride": 1e-300}, "no search can follow"),
        ({"highest": "high"}, "failed: ValueError"),
        ({"start": None}, "failed: TypeError"),
    ],
)
def test_a_family_that_cannot_be_searched_is_refused(change: Mapping[str, Any], fragment: str, ground: Ground) -> None:
    family = Given({})
    for name, value in change.items():
        setattr(family, name, value)
    with pytest.raises(InputError, match=fragment):
        outside(family, ground)
    with pytest.raises(InputError, match="failed: AttributeError"):
        outside(object(), ground)


@pytest.mark.parametrize(
    ("gap", "fragment"),
    [("big", "failed: ValueError"), (float("nan"), "gives nan as its gap"), (-0.5, "gives -0.5 as its gap")],
)
def test_a_gap_is_a_share(gap: Any, fragment: str, ground: Ground) -> None:
    family = Given({"a": 0.5, "b": 0.5})
    family.gap = gap
    with pytest.raises(InputError, match=fragment):
        outside(family, ground).propose(0.5)
    family.gap = 0.25
    looked_at = outside(family, ground)
    looked_at.propose(0.5)
    assert looked_at.gap == 0.25


def test_what_it_prints_is_no_result(capsys: pytest.CaptureFixture[str], ground: Ground) -> None:
    class Talks(Given):
        def propose(self, boldness: float) -> Any:
            print("I propose")  # noqa: T201  # as a plug-in may
            return self.levels

    outside(Talks({"a": 0.5, "b": 0.5}), ground).propose(0.5)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "I propose\n")


def register(monkeypatch: pytest.MonkeyPatch, name: str, made: object) -> None:
    """As an installed package does."""

    class Point:
        dist = SimpleNamespace(name="their-package")

        def __init__(self) -> None:
            self.name = name

        def load(self) -> object:
            if isinstance(made, BaseException):
                raise made
            return made

    monkeypatch.setitem(pickers._foreign, name, Point())  # type: ignore[arg-type]


def test_their_turn_is_between_the_searches_and_the_baselines(monkeypatch: pytest.MonkeyPatch, ground: Ground) -> None:
    class Theirs(Picker):
        name = "theirs"

        def family(self, ground: Ground) -> Family:
            return TargetFamily(lambda target: {"a": target, "b": target})

    register(monkeypatch, "theirs", Theirs)
    assert members_with([]) == MEMBERS
    assert members_with(["theirs", "knapsack", "greedy", "theirs"]) == (*MEMBERS[:4], "theirs", "greedy", *MEMBERS[4:])
    assert isinstance(family_of("theirs", ground), Outside)
    assert not isinstance(family_of("uniform", ground), Outside)


def test_what_is_no_picker_or_does_not_load_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "number", 7)
    register(monkeypatch, "broken", ImportError("no module\nnamed x"))
    register(monkeypatch, "leaves", SystemExit(0))
    register(monkeypatch, "evolution", type("Theirs", (Uniform,), {}))
    register(monkeypatch, "unsure", type("Theirs", (Uniform,), {"baseline": "yes"}))
    for name, fragment in (("evolution", "have it renamed"), ("unsure", "no class of Pickers")):
        with pytest.raises(InputError, match=fragment):
            members_with([name])
    with pytest.raises(SetupError, match="does not load: SystemExit: 0"):
        members_with(["leaves"])
    with pytest.raises(InputError, match="picker 'number', a plug-in, is no class of Pickers"):
        members_with(["number"])
    with pytest.raises(
        SetupError, match=r"picker 'broken' of the package 'their-package' does not load: ImportError: no m"
    ):
        members_with(["broken"])
    with pytest.raises(UsageError, match="unknown picker 'gredy'; did you mean 'greedy'"):
        members_with(["gredy"])


def test_without_a_package_the_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("lost", "no_such_package_at_all:It", "onnxsens.pickers")
    monkeypatch.setitem(pickers._foreign, "lost", point)
    with pytest.raises(SetupError, match="of the package 'no_such_package_at_all:It' does not load: ModuleNotFound"):
        members_with(["lost"])


def test_the_others_of_a_kind_are_there_beside_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "broken", ImportError("gone"))
    found, broken = sound(pickers)
    assert set(found) == set(pickers.table)
    assert len(broken) == 1 and "their-package" in broken[0]
