"""Never measure twice; go on where it stopped; refuse what does not belong together."""

import multiprocessing
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from fakes import KnownCurves
from networks import convolutional, saved

from onnxsens.engine import Effect
from onnxsens.errors import InputError, RunMismatchError, StoreInUseError
from onnxsens.model import Inventory, load_model, take_inventory
from onnxsens.scan import Nobody, Sampling, Scanner, Store, SweetSpotter, TopDown, tolerance
from onnxsens.scan.tables import RUN
from onnxsens.techniques import make_technique

IDENTITY = {"model_sha256": "a" * 64, "data_sha256": "b" * 64, "threads": "2"}


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return take_inventory(load_model(saved(convolutional(), tmp_path / "m.onnx")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


def quadratic(weight: str, level: float) -> float:
    return level**2


def open_store(folder: Path, **changes: str) -> Store:
    return Store(folder, IDENTITY | changes, {"model": "m.onnx"}, "a test")


def scanner_of(store: Store, evaluator: KnownCurves, inventory: Inventory, samples: int = 100) -> Scanner:
    sizes = {"search": 400, "holdout": 400}
    return Scanner(store, evaluator, inventory, make_technique("magnitude"), ["kl"], Sampling(samples), sizes, Nobody())


def test_no_level_is_measured_twice_by_any_search(folder: Path, inventory: Inventory) -> None:
    evaluator = KnownCurves(quadratic)
    with open_store(folder) as store:
        scanner = scanner_of(store, evaluator, inventory)
        weight = inventory.weight("first")
        for _ in range(2):
            for search in (TopDown(), SweetSpotter()):
                for limit in (0.1, 0.3, 0.1):
                    scanner.search(weight, search, tolerance(limit), "kl")
    zeros = [scanner.zeros(weight, question.changes[0].level) for question in evaluator.asked]
    assert len(zeros) == len(set(zeros))
    assert {question.samples for question in evaluator.asked} == {(0, 100)}


def test_levels_that_zero_as_many_elements_are_one_point(folder: Path, inventory: Inventory) -> None:
    evaluator = KnownCurves(quadratic)
    with open_store(folder) as store:
        scanner = scanner_of(store, evaluator, inventory)
        head = inventory.weight("head")  # 30 elements
        assert scanner.point(head, 0.5).zeros == scanner.point(head, 0.51).zeros == 15
    assert len(evaluator.asked) == 1


def test_a_level_that_zeroes_nothing_is_the_dense_model_and_not_measured(folder: Path, inventory: Inventory) -> None:
    evaluator = KnownCurves(quadratic)
    with open_store(folder) as store:
        assert scanner_of(store, evaluator, inventory).point(inventory.weight("head"), 0.001).observed("kl").drop == 0
    assert evaluator.asked == []


def test_a_later_run_begins_with_what_an_earlier_one_measured(folder: Path, inventory: Inventory) -> None:
    first, second = KnownCurves(quadratic), KnownCurves(quadratic)
    picks = []
    for evaluator in (first, second):
        with open_store(folder) as store:
            scanner = scanner_of(store, evaluator, inventory)
            picks.append(scanner.search(inventory.weight("up"), TopDown(), tolerance(0.2), "kl"))
            scanner.joint({"up": 0.5, "head": 0.2}, "holdout", ["kl"])
    assert picks[0] == picks[1]
    assert len(first.asked) > 5
    assert second.asked == []


def test_joint_runs_come_back_with_their_per_sample_drops(folder: Path, inventory: Inventory) -> None:
    results = []
    for _ in range(2):
        with open_store(folder) as store:
            results.append(scanner_of(store, KnownCurves(quadratic), inventory).joint({"up": 0.5}, "holdout", ["kl"]))
    drops = [result.measurements["kl"].drops for result in results]
    assert drops[0] is not None and drops[1] is not None
    assert drops[0].tolist() == drops[1].tolist()
    assert results[0].sparsity == pytest.approx(24 / inventory.planned_parameters)


def test_more_samples_extend_a_point_and_repeat_none(folder: Path, inventory: Inventory) -> None:
    evaluator = KnownCurves(quadratic)
    weight = inventory.weight("first")
    for samples in (100, 250):
        with open_store(folder) as store:
            point = scanner_of(store, evaluator, inventory, samples).point(weight, 0.5)
    assert [question.samples for question in evaluator.asked] == [(0, 100), (100, 250)]
    assert point.measurements["kl"].samples == 250
    assert point.measurements["kl"].drop == pytest.approx(0.25)


def test_a_failed_metric_is_kept_as_a_failure_and_tried_again_in_another_process_only(
    folder: Path, inventory: Inventory
) -> None:
    for _ in range(2):
        evaluator = KnownCurves(quadratic, failing=("kl",))
        with open_store(folder) as store:
            scanner = scanner_of(store, evaluator, inventory)
            scanner.search(inventory.weight("head"), TopDown(), tolerance(0.5), "kl")
            pick = scanner.search(inventory.weight("head"), TopDown(), tolerance(0.5), "kl")
            failures = scanner.failures()
            assert scanner.zeros(inventory.weight("head"), pick.level) == 0
    assert failures == {"head": "it failed"}
    assert len(evaluator.asked) == len({question.changes for question in evaluator.asked})


def test_a_curve_is_made_of_what_this_conversation_asked_for(folder: Path, inventory: Inventory) -> None:
    """Else a resumed run would decide otherwise than an uninterrupted one."""
    weight = inventory.weight("first")
    with open_store(folder) as store:
        scanner_of(store, KnownCurves(quadratic), inventory).point(weight, 0.9)
    with open_store(folder) as store:
        scanner = scanner_of(store, KnownCurves(quadratic), inventory)
        scanner.point(weight, 0.5)
        assert [point.level for point in scanner.curve(weight, "kl").points] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("field", "fragment"),
    [("model_sha256", "another model"), ("data_sha256", "other data"), ("threads", "other --threads")],
)
def test_a_run_made_from_something_else_is_refused_by_name(folder: Path, field: str, fragment: str) -> None:
    open_store(folder).close()
    with pytest.raises(RunMismatchError, match=f"holds a run made with {fragment} .*there.*now"):
        open_store(folder, **{field: "changed"})
    open_store(folder).close()


def test_a_metric_whose_code_changed_is_refused(folder: Path) -> None:
    with open_store(folder) as store:
        store.claim_metrics({"mine.py:score": "one", "kl": ""})
    with open_store(folder) as store, pytest.raises(RunMismatchError, match=r"'mine\.py:score' has changed"):
        store.claim_metrics({"mine.py:score": "two"})


def hold(folder: str, held: Callable[[], None], release: Callable[[], None]) -> None:
    with open_store(Path(folder)):
        held()
        release()


def test_a_second_process_is_told_who_is_at_work(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(folder), held.set, release.wait))
    other.start()
    assert held.wait(60)
    try:
        with pytest.raises(StoreInUseError, match=f"in use by process {other.pid}"):
            open_store(folder)
    finally:
        release.set()
        other.join(30)
    open_store(folder).close()


def test_a_database_of_somebody_else_is_left_alone(folder: Path) -> None:
    with sqlite3.connect(folder / "scan.db") as database:
        database.execute("CREATE TABLE precious (value)")
    database.close()
    with pytest.raises(InputError, match="is no run store of ours"):
        open_store(folder)
    database = sqlite3.connect(folder / "scan.db")
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]
    database.close()


def test_that_a_weight_has_no_effect_is_only_known_of_the_samples_looked_at(folder: Path, inventory: Inventory) -> None:
    class Late(KnownCurves):
        """The first weight runs from sample 60 on, and matters from sample 150 on."""

        looked: ClassVar[list[tuple[str, int]]] = []

        def effect(self, weight: str, samples: int) -> Effect:
            self.looked.append((weight, samples))
            if weight != "first" or samples > 150:
                return "effective"
            return "no effect" if samples > 60 else "not executed"

    found = []
    for samples in (50, 50, 100, 200, 300, 50):
        with open_store(folder) as store:
            found.append(scanner_of(store, Late(quadratic), inventory, samples).look_for_effects()["first"])
    assert found == ["not executed", "not executed", "no effect", "effective", "effective", "effective"]
    assert [samples for weight, samples in Late.looked if weight == "first"] == [50, 100, 200]
    assert [samples for weight, samples in Late.looked if weight != "first"] == [50] * 3


def test_every_level_that_was_asked_for_is_told_with_what_it_comes_to(folder: Path, inventory: Inventory) -> None:
    with open_store(folder) as store:
        scanner = scanner_of(store, KnownCurves(quadratic), inventory)
        for level in (0.51, 0.5, 0.001):
            scanner.point(inventory.weight("head"), level)  # 30 elements
        assert [(point.asked, point.zeros) for point in scanner.levels()] == [(0.001, 0), (0.5, 15), (0.51, 15)]
        assert [(point.sparsity, point.zeros) for point in scanner.points()] == [(0.5, 15)]


def test_a_newer_schema_is_not_touched(folder: Path) -> None:
    open_store(folder).close()
    with sqlite3.connect(folder / "scan.db") as database:
        [row] = database.execute("SELECT made_by, identity, settings FROM run").fetchall()
        database.execute("DELETE FROM run")
        database.execute(RUN.insertion, RUN.sealed((99, *row)))
    database.close()
    before = (folder / "scan.db").read_bytes()
    with pytest.raises(RunMismatchError, match=r"has schema 99.*update onnxsens"):
        open_store(folder)
    assert (folder / "scan.db").read_bytes() == before


def test_points_can_be_read_without_us(folder: Path, inventory: Inventory) -> None:
    with open_store(folder) as store:
        scanner_of(store, KnownCurves(quadratic), inventory).point(inventory.weight("head"), 0.5)
    database = sqlite3.connect(folder / "scan.db")
    columns = "weight, technique, level_asked, level_achieved, metric, mean_drop, standard_error, samples, engine"
    [row] = database.execute(f"SELECT {columns} FROM point").fetchall()
    database.close()
    assert row == ("head", "magnitude", 0.5, 0.5, "kl", 0.25, 0.0, 100, "known")
