"""The front: who is beaten, against the definition, and the file that it is kept in."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.engine import Measurement
from onnxsens.errors import PlanError
from onnxsens.plan.ensemble import Candidate
from onnxsens.plan.front import front_of, read_front, write_front
from onnxsens.scan import Joint


def candidate(sparsity: float, drop: float | None, picker: str = "knapsack", samples: int = 100) -> Candidate:
    """Measured in kl, or not at all."""
    measured = {} if drop is None else {"kl": Measurement(samples, drop * samples, drop**2 * samples, 0.0, drop)}
    return Candidate(picker, False, {"w": sparsity}, Joint({"w": sparsity}, sparsity, measured, {}))


plans = st.dictionaries(st.integers(0, 100), st.none() | st.integers(-3, 10), min_size=1).map(
    lambda found: [candidate(at / 100, None if drop is None else drop / 10) for at, drop in found.items()]
)


@given(plans)
def test_who_is_on_it_is_beaten_by_nobody_and_who_is_not_is(candidates: list[Candidate]) -> None:
    front = front_of(candidates, "kl")
    assert [point.sparsity for point in front.points] == sorted(each.sparsity for each in candidates)
    for point in front.points:
        drop = point.drops.get("kl", float("inf"))
        better = [
            other
            for other in front.points
            if other.sparsity > point.sparsity and other.drops.get("kl", float("inf")) <= drop
        ]
        assert point.on_front is (not better and drop < float("inf"))


@given(plans)
def test_along_it_drops_rise(candidates: list[Candidate]) -> None:
    drops = [point.drops["kl"] for point in front_of(candidates, "kl").points if point.on_front]
    assert all(one < other for one, other in pairwise(drops))


def test_a_point_says_whose_plan_it_is_and_on_how_many_samples() -> None:
    [point] = front_of([candidate(0.5, 0.1, "lamp", samples=64)], "kl").points
    assert (point.picker, point.samples, point.levels) == ("lamp", 64, {"w": 0.5})


def test_the_metric_and_drops_of_code_are_named_without_their_folder() -> None:
    plan = candidate(0.5, 0.1)
    measured = {"/home/me/mine.py:score": plan.joint.measurements["kl"]}
    own = Candidate("lamp", True, plan.levels, Joint(plan.levels, 0.5, measured, {}))
    front = front_of([own], "/home/me/mine.py:score")
    assert front.metric == "mine.py:score"
    assert list(front.points[0].drops) == ["mine.py:score"]
    assert front.points[0].on_front


@given(candidates=plans)
def test_what_is_written_is_read_again(candidates: list[Candidate], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("front") / "pareto.json"
    front = front_of(candidates, "kl")
    write_front(front, path)
    assert read_front(path) == front


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"schema": "onnxsens.pareto/2"}', b"\xff"])
def test_another_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "pareto.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PlanError, match="make it again with --pareto"):
        read_front(path)
