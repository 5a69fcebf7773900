"""Which way is chosen, from what was measured; and how close two outputs are."""

import numpy as np
import pytest

from onnxsens.engine.routes import Trial, choose, distance
from onnxsens.engine.shelf import MOST_SESSIONS, Shelf

WHOLE = Trial(opening=0.1, running=1.0)
BROKEN = Trial(failure="it does not run")


def as_input(once: float, running: float, error: float = 0.0) -> Trial:
    """One session for all levels."""
    return Trial(once=once, running=running, error=error)


def rebuilt(opening: float, running: float, error: float = 0.0) -> Trial:
    """A session for each level."""
    return Trial(opening=opening, running=running, error=error)


@pytest.mark.parametrize(
    ("given", "made", "chosen"),
    [
        (as_input(0.1, 0.5), rebuilt(0.1, 0.5), ("suffix", "input")),
        (as_input(0.1, 0.5), rebuilt(0.01, 0.47), ("suffix", "input")),  # not by more than 10 %
        (as_input(0.1, 0.5), rebuilt(0.01, 0.4), ("suffix", "rebuilt")),
        (as_input(0.1, 0.5), rebuilt(5.0, 0.4), ("suffix", "input")),  # a session for each level costs too much
        (BROKEN, rebuilt(0.1, 0.9), ("suffix", "rebuilt")),
        (BROKEN, BROKEN, ("reference", "rebuilt")),
        (as_input(9.0, 0.9), rebuilt(9.0, 0.9), ("suffix", "input")),
        (as_input(200.0, 0.9), rebuilt(20.0, 0.9), ("reference", "rebuilt")),
        (as_input(0.1, 5.0), rebuilt(0.1, 1.2), ("suffix", "rebuilt")),  # a part is not slower than the whole
    ],
)
def test_the_fastest_allowed_way_is_taken_unless_it_is_hardly_faster(
    given: Trial, made: Trial, chosen: tuple[str, str]
) -> None:
    route = choose({"input": given, "rebuilt": made}, WHOLE, batches=20, levels=9)
    assert (route.engine, route.weight) == chosen
    assert "\n" not in route.why


def test_a_head_made_for_each_level_is_preferred_and_dearer_where_two_pieces_are_slower_than_the_whole() -> None:
    split, given = Trial(once=0.1, opening=0.01, running=0.5), as_input(0.1, 0.49)
    assert choose({"split": split, "input": given}, WHOLE, batches=20, levels=9).weight == "split"
    slow = Trial(once=0.1, opening=0.01, running=1.3)
    assert choose({"split": slow}, WHOLE, batches=20, levels=9).engine == "reference"


@pytest.mark.parametrize(
    ("split", "enough"),
    [
        (Trial(once=0.5, opening=0.01, running=0.5), True),
        (Trial(once=0.5, opening=0.01, running=0.5, error=3e-7), True),  # no way is better by what it runs
        (Trial(once=0.5, opening=2.0, running=0.5), False),  # one session for all levels may save much
        (Trial(once=0.5, opening=0.01, running=1.1), False),
        (BROKEN, False),
    ],
)
def test_no_other_way_is_tried_where_it_could_save_next_to_nothing(split: Trial, enough: bool) -> None:
    assert split.suffices(WHOLE, batches=20, levels=9) is enough


def test_the_whole_models_bits_are_worth_a_little_time() -> None:
    rounded, exact = as_input(0.1, 0.50, error=2e-7), rebuilt(0.1, 0.51)
    assert choose({"input": rounded, "rebuilt": exact}, WHOLE, batches=20, levels=9).weight == "rebuilt"
    assert choose({"input": rounded, "rebuilt": rebuilt(0.1, 0.7)}, WHOLE, batches=20, levels=9).weight == "input"


def test_a_route_says_whether_it_is_exact_and_why_not() -> None:
    trials = {"input": as_input(0.1, 0.5, error=3e-7), "rebuilt": BROKEN}
    route = choose(trials, WHOLE, batches=20, levels=9)  # type: ignore[arg-type]
    assert not route.exact
    assert "3.0e-07" in route.why
    assert "it does not run" in route.why
    assert choose({"input": as_input(0.1, 0.5), "rebuilt": BROKEN}, WHOLE, batches=20, levels=9).exact


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
