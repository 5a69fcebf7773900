"""Points on growing blocks of samples: no more than the question needs, none twice, and the same whoever measures."""

from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import NoisyCurves
from networks import convolutional, saved

from onnxsens.engine.crew import Alone, Crew, Done, Job
from onnxsens.engine.questions import Measurement, Question
from onnxsens.model import Inventory, load_model, take_inventory
from onnxsens.scan import Nobody, Pick, Sampling, Scanner, Store, SweetSpotter, TopDown, tolerance
from onnxsens.scan.ledger import Block, Entry
from onnxsens.scan.points import Joint
from onnxsens.scan.searches import Grid, Observed
from onnxsens.techniques import make_technique

SAMPLES = 2000


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return take_inventory(load_model(saved(convolutional(), tmp_path / "m.onnx")))


SIZES = {"first": 72, "depthwise": 36, "up": 48, "head": 30}


def cubic(weight: str, level: float) -> float:
    sparsity = round(level * SIZES[weight]) / SIZES[weight]  # levels with equal zeros are one variant
    return {"first": 4.0, "depthwise": 8.0, "up": 1.0, "head": 0.5}[weight] * sparsity**3


def scanner_of(
    store: Store, evaluator: NoisyCurves, inventory: Inventory, *, exact: bool = False, crew: Crew | None = None
) -> Scanner:
    sizes = {"search": SAMPLES, "holdout": SAMPLES}
    sampling = Sampling(SAMPLES, exact)
    technique = make_technique("magnitude")
    return Scanner(store, evaluator, inventory, technique, ["kl"], sampling, sizes, Nobody(), crew)


def store_in(folder: Path) -> Store:
    folder.mkdir(exist_ok=True)
    return Store(folder, {}, {}, "a test")


def picks_of(scanner: Scanner) -> dict[str, Pick]:
    found = {}
    for search in (TopDown(), SweetSpotter(), TopDown(start=0.4)):
        names = [weight.name for weight in scanner.weights]
        picks = scanner.search_all(dict.fromkeys(names, search), dict.fromkeys(names, tolerance(0.3)), "kl")
        found |= {f"{type(search).__name__} {search.start} {name}": pick for name, pick in picks.items()}
    return found


def samples_taken(evaluator: NoisyCurves) -> int:
    return sum(counts.total() for counts in evaluator.taken.values())


def test_a_search_takes_few_samples_and_picks_what_all_samples_would(tmp_path: Path, inventory: Inventory) -> None:
    stopped, exact = NoisyCurves(cubic), NoisyCurves(cubic)
    with store_in(tmp_path / "a") as a, store_in(tmp_path / "b") as b:
        early = picks_of(scanner_of(a, stopped, inventory))
        full = picks_of(scanner_of(b, exact, inventory, exact=True))
    assert early == full
    assert {question.samples[1] for question in exact.asked} <= {256, 512, 1024, SAMPLES}
    assert samples_taken(stopped) < 0.5 * samples_taken(exact)


def test_no_sample_of_a_point_is_taken_twice_and_none_is_left_out(tmp_path: Path, inventory: Inventory) -> None:
    evaluator = NoisyCurves(cubic)
    with store_in(tmp_path / "run") as store:
        scanner = scanner_of(store, evaluator, inventory)
        picks_of(scanner)
        for weight in scanner.weights:
            scanner.search(weight, Grid(), None, "kl")
        taken: dict[tuple[str, int], Counter[int]] = {}
        for (change,), counts in evaluator.taken.items():
            weight = inventory.weight(change.weight)
            taken.setdefault((weight.name, scanner.zeros(weight, change.level)), Counter()).update(counts)
    for counts in taken.values():
        assert set(counts.values()) == {1}
        assert sorted(counts) == list(range(len(counts)))


def test_whole_curves_take_all_samples_also_of_points_that_were_stopped_early(
    tmp_path: Path, inventory: Inventory
) -> None:
    evaluator = NoisyCurves(cubic)
    weight = inventory.weight("first")
    with store_in(tmp_path / "run") as store:
        scanner = scanner_of(store, evaluator, inventory)
        scanner.search(weight, TopDown(), tolerance(0.3), "kl")
        assert min(point.measurements["kl"].samples for point in scanner.points()) < SAMPLES
        scanner.search(weight, Grid(), None, "kl")
        levels = {point.asked: point.measurements["kl"].samples for point in scanner.levels()}
        assert all(levels[level] == SAMPLES for level in Grid().levels)


def test_what_is_known_of_a_point_does_not_depend_on_what_else_the_store_holds(
    tmp_path: Path, inventory: Inventory
) -> None:
    fresh, resumed = NoisyCurves(cubic), NoisyCurves(cubic)
    with store_in(tmp_path / "a") as store:
        expected = picks_of(alone := scanner_of(store, fresh, inventory))
        points = alone.points()
    with store_in(tmp_path / "b") as store:
        before = scanner_of(store, resumed, inventory)
        for weight in before.weights:
            before.search(weight, Grid(tuple(step / 20 for step in range(1, 21))), None, "kl")
    with store_in(tmp_path / "b") as store:
        after = scanner_of(store, resumed, inventory)
        assert picks_of(after) == expected
        assert after.points() == points


class Shuffled:
    """Three members who finish in an order of their own: the last one given is the first to be done."""

    size = 3

    def __init__(self, evaluator: NoisyCurves) -> None:
        self._evaluator = evaluator
        self._jobs: deque[Alone] = deque()

    def give(self, job: Job) -> None:
        member = Alone(self._evaluator)
        member.give(job)
        self._jobs.append(member)
        assert len(self._jobs) <= self.size

    def take(self) -> Done:
        member = self._jobs.pop()
        done = member.take()
        if not done.last:
            self._jobs.appendleft(member)
        return done

    def close(self) -> None:
        self._jobs.clear()


def test_the_same_points_come_out_whoever_measures_them(tmp_path: Path, inventory: Inventory) -> None:
    with store_in(tmp_path / "a") as a, store_in(tmp_path / "b") as b:
        one = scanner_of(a, NoisyCurves(cubic), inventory)
        evaluator = NoisyCurves(cubic)
        many = scanner_of(b, evaluator, inventory, crew=Shuffled(evaluator))
        assert picks_of(one) == picks_of(many)
        assert one.points() == many.points()
        assert one.look_for_effects() == many.look_for_effects()


class TestJointRuns:
    def test_end_when_they_have_enough_and_go_on_when_more_is_asked(self, tmp_path: Path, inventory: Inventory) -> None:
        evaluator = NoisyCurves(cubic)
        levels = dict.fromkeys(cubic_weights(inventory), 0.5)
        with store_in(tmp_path / "run") as store:
            scanner = scanner_of(store, evaluator, inventory)
            decided = scanner.sampling.decided_joint(below(0.1), SAMPLES)
            assert scanner.joint(levels, "search", ["kl"], decided).measurements["kl"].samples == 256
            assert scanner.joint(levels, "search", ["kl"], below_never, most=600).measurements["kl"].samples == 512
            assert scanner.joint(levels, "search", ["kl"]).measurements["kl"].samples == SAMPLES
            held = scanner.joint(levels, "holdout", ["kl"]).measurements["kl"]
            assert held.drops is not None and len(held.drops) == SAMPLES
        assert [question.samples for question in evaluator.asked] == [
            (0, 256),
            (256, 512),
            (512, 1024),
            (1024, SAMPLES),
            (0, SAMPLES),
        ]

    def test_nothing_known_of_a_metric_decides_nothing(self, tmp_path: Path, inventory: Inventory) -> None:
        evaluator = NoisyCurves(lambda weight, level: 0.0)
        levels = dict.fromkeys(cubic_weights(inventory), 0.5)
        with store_in(tmp_path / "run") as store:
            scanner = scanner_of(store, evaluator, inventory)
            decided = scanner.sampling.decided_joint(below(0.1), SAMPLES)
            assert scanner.joint(levels, "search", ["kl"], decided).measurements["kl"].samples == SAMPLES


def cubic_weights(inventory: Inventory) -> list[str]:
    return [weight.name for weight in inventory.weights]


def below(limit: float) -> Callable[[Joint], bool]:
    return lambda joint: joint.measurements["kl"].drop <= limit


def below_never(joint: Joint) -> bool:
    return False


class TestTheLedger:
    def block(self, start: int, samples: int, drop: float = 1.0) -> Block:
        return Block(start, Measurement(samples, drop * samples, drop**2 * samples, 0.0, drop))

    def test_tells_what_was_known_after_any_block(self) -> None:
        entry = Entry.of([("kl", self.block(0, 10)), ("kl", self.block(10, 30, 2.0)), ("kl", self.block(40, 60, 3.0))])
        assert entry.after(["kl"], 10)["kl"].total == 10
        assert entry.after(["kl"], 40)["kl"].total == 70
        assert entry.after(["kl"], 100)["kl"].samples == 100
        assert entry.after(["kl"], 50)["kl"].samples == 100  # there is no boundary at 50

    def test_what_lies_behind_a_gap_is_measured_anew(self) -> None:
        entry = Entry.of([("kl", self.block(0, 10)), ("kl", self.block(20, 10))])
        assert entry.lacking(["kl"], 30) == {(10, 30): ("kl",)}

    def test_metrics_that_lack_the_same_are_asked_together(self) -> None:
        entry = Entry.of([("kl", self.block(0, 10)), ("accuracy", self.block(0, 10))])
        assert entry.lacking(["kl", "accuracy", "agreement"], 20) == {
            (10, 20): ("kl", "accuracy"),
            (0, 20): ("agreement",),
        }

    def test_a_whole_set_metric_begins_again(self) -> None:
        entry = Entry.of([("f1", Block(0, Measurement(10, 1.0, 1.0, 1.0, 0.9, extendable=False)))])
        assert entry.lacking(["f1"], 10) == {}
        assert entry.lacking(["f1"], 20) == {(0, 20): ("f1",)}
        entry.put("f1", Block(0, Measurement(20, 1.0, 1.0, 1.0, 0.9, extendable=False)))
        assert entry.after(["f1"], 10)["f1"].samples == 20


class TestStartingSomewhere:
    @pytest.mark.parametrize("start", [0.0, 0.01, 0.37, 0.5, 0.93, 1.0])
    def test_searches_find_the_cliff_from_anywhere(self, start: float) -> None:
        for cliff in (0.0, 0.105, 0.5, 0.88, 1.0):
            accepts = tolerance(0.0)
            for search in (TopDown().starting_at(start), SweetSpotter().starting_at(start)):
                talk = search.search(accepts)
                asked = 0
                try:
                    level = next(talk)
                    while True:
                        asked += 1
                        level = talk.send(Observed(level, 0.0 if level <= cliff + 1e-12 else 1.0))
                except StopIteration as end:
                    pick = end.value
                assert asked <= search.most
                assert pick.level <= cliff + 1e-9
                reach = 0.01 if isinstance(search, TopDown) else 0.1
                assert pick.level >= min(cliff, 0.99) - reach - 1e-9, (search, cliff, pick)

    def test_near_the_answer_few_levels_are_asked_for(self) -> None:
        talk = TopDown().starting_at(0.62).search(tolerance(0.0))
        asked = []
        level = next(talk)
        try:
            while True:
                asked.append(level)
                level = talk.send(Observed(level, 0.0 if level <= 0.63 else 1.0))
        except StopIteration as end:
            assert end.value.level == 0.63
        assert len(asked) <= 4


@pytest.mark.parametrize("before", [300, 1999, 2000])
def test_blocks_end_at_the_same_places_however_many_samples_were_asked_for(
    tmp_path: Path, inventory: Inventory, before: int
) -> None:
    def scanner(store: Store, samples: int, evaluator: NoisyCurves) -> Scanner:
        sizes = {"search": SAMPLES, "holdout": SAMPLES}
        sampling = Sampling(samples, exact=False)
        technique = make_technique("magnitude")
        return Scanner(store, evaluator, inventory, technique, ["kl"], sampling, sizes, Nobody())

    with store_in(tmp_path / "fresh") as store:
        expected = picks_of(fresh := scanner(store, SAMPLES, NoisyCurves(cubic)))
        points = fresh.points()
    with store_in(tmp_path / "used") as store:
        earlier = scanner(store, before, NoisyCurves(cubic))
        for weight in earlier.weights:
            earlier.search(weight, Grid(tuple(step / 20 for step in range(1, 21))), None, "kl")
    with store_in(tmp_path / "used") as store:
        evaluator = NoisyCurves(cubic)
        after = scanner(store, SAMPLES, evaluator)
        assert picks_of(after) == expected
        for found, point in zip(after.points(), points, strict=True):
            assert found.measurements["kl"].samples == point.measurements["kl"].samples
            assert found.measurements["kl"].total == pytest.approx(point.measurements["kl"].total, rel=1e-12)


def test_a_whole_set_metric_beside_another_is_asked_in_one_piece_and_the_other_in_blocks() -> None:
    sampling = Sampling(SAMPLES, exact=False, whole=frozenset({"f1"}))
    assert sampling.stops(SAMPLES) == (SAMPLES,)
    asked = sampling.pieces([Question((), "search", (0, SAMPLES), ("f1", "kl"))])
    assert [(question.samples, question.metrics) for question in asked] == [
        ((0, 256), ("kl",)),
        ((0, SAMPLES), ("f1",)),
        ((256, 512), ("kl",)),
        ((512, 1024), ("kl",)),
        ((1024, SAMPLES), ("kl",)),
    ]
