"""Which way is chosen, from what was measured; and how close two outputs are."""

import numpy as np
import pytest

from onnxsens.engine.routes import Trial, choose, distance
from onnxsens.engine.shelf import MOST_SESSIONS, Shelf

WHOLE = Trial(opening=0.1, running=1.0)
BROKEN = Trial(failure="it does not run")


@pytest.mark.parametrize(
    ("given", "rebuilt", "chosen"),
    [
        (Trial(0.1, 0.5), Trial(0.1, 0.5), ("suffix", "input")),
        (Trial(0.1, 0.5), Trial(0.01, 0.47), ("suffix", "input")),  # not by more than 10 %
        (Trial(0.1, 0.5), Trial(0.01, 0.4), ("suffix", "rebuilt")),
        (Trial(0.1, 0.5), Trial(5.0, 0.4), ("suffix", "input")),  # a session for each level costs too much
        (BROKEN, Trial(0.1, 0.9), ("suffix", "rebuilt")),
        (BROKEN, BROKEN, ("reference", "rebuilt")),
        (Trial(9.0, 0.9), Trial(9.0, 0.9), ("suffix", "input")),
        (Trial(200.0, 0.9), Trial(20.0, 0.9), ("reference", "rebuilt")),
        (Trial(0.1, 5.0), Trial(0.1, 1.2), ("suffix", "rebuilt")),  # a part is not slower than the whole
    ],
)
def test_the_fastest_allowed_way_is_taken_unless_it_is_hardly_faster(
    given: Trial, rebuilt: Trial, chosen: tuple[str, str]
) -> None:
    route = choose({"input": given, "rebuilt": rebuilt}, WHOLE, batches=20, levels=9)
    assert (route.engine, route.weight) == chosen
    assert "\n" not in route.why


def test_the_whole_models_bits_are_worth_a_little_time() -> None:
    rounded, exact = Trial(0.1, 0.50, error=2e-7), Trial(0.1, 0.51)
    assert choose({"input": rounded, "rebuilt": exact}, WHOLE, batches=20, levels=9).weight == "rebuilt"
    assert choose({"input": rounded, "rebuilt": Trial(0.1, 0.7)}, WHOLE, batches=20, levels=9).weight == "input"


def test_a_route_says_whether_it_is_exact_and_why_not() -> None:
    trials = {"input": Trial(0.1, 0.5, error=3e-7), "rebuilt": BROKEN}
    route = choose(trials, WHOLE, batches=20, levels=9)  # type: ignore[arg-type]
    assert not route.exact
    assert "3.0e-07" in route.why
    assert "it does not run" in route.why
    assert choose({"input": Trial(0.1, 0.5), "rebuilt": BROKEN}, WHOLE, batches=20, levels=9).exact


def test_distance_is_in_parts_of_the_largest_magnitude() -> None:
    one = np.float32([[-10, 1], [2, 3]])
    assert distance(one, one.copy()) == 0
    assert distance(one, one + np.float32([[0, 0], [0, 0.1]])) == pytest.approx(0.01, rel=1e-5)
    assert distance(one, one.astype(np.float64)) == np.inf
    assert distance(one, one[:1]) == np.inf


def test_what_is_not_finite_has_to_be_the_same() -> None:
    one = np.float32([np.nan, np.inf, 1])
    assert distance(one, one.copy()) == 0
    assert distance(one, np.float32([np.nan, -np.inf, 1])) == np.inf
    assert distance(one, np.float32([0, np.inf, 1])) == np.inf
    assert distance(one, np.float32([np.nan, np.inf, 1.5])) == pytest.approx(0.5)


def test_other_classes_are_no_rounding() -> None:
    assert distance(np.int64([3, 4]), np.int64([3, 5])) == np.inf
    assert distance(np.zeros(3, np.float32), np.float32([0, 0, 1e-9])) == np.inf


def test_a_shelf_gives_back_what_was_used_least_lately_before_it_takes_more() -> None:
    shelf = Shelf(100)
    made: list[str] = []

    def get(name: str, size: int) -> object:
        return shelf.session((name, 0), size, lambda: made.append(name) or object())  # type: ignore[func-returns-value,arg-type,return-value]

    first = get("a", 40)
    get("b", 40)
    assert get("a", 40) is first
    get("c", 40)
    assert get("a", 40) is first
    get("b", 40)
    get("large", 1000)
    get("b", 40)
    assert made == ["a", "b", "c", "b", "large", "b"]
    shelf.sweep("")
    get("d", 1)
    get("e", 1)
    shelf.sweep("e")
    assert set(shelf._kept) == {("d", 0)}
    for number in range(2 * MOST_SESSIONS):
        get(str(number), 0)
    assert len(shelf._kept) == MOST_SESSIONS
