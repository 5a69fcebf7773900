"""Plans that are carried out, over a carrier and an evaluator that know their answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fakes import KnownCurves
from networks import convolutional, saved

from onnxsens.engine import DENSE, Answer, Change, Question
from onnxsens.engine.carrying import Carried, Order
from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.plan.climbing import CORRECTIONS, FINE, HIGHEST, Carrying, Climb, orders_of
from onnxsens.plan.ensemble import Accepts, Candidate, Ensemble
from onnxsens.plan.pickers import Ground, Levels
from onnxsens.plan.racing import race
from onnxsens.scan import Joint, Nobody, Sampling, Scanner, Store
from onnxsens.techniques import make_technique

SAMPLES = 4000
COST = {"first": 0.4, "depthwise": 0.8, "up": 0.1, "head": 0.05}
SIZES = {"first": 72, "depthwise": 36, "up": 48, "head": 30}
MEMBERS = ("uniform", "knapsack", "lamp")


def fourth(weight: str, level: float) -> float:
    return COST[weight] * (round(level * SIZES[weight]) / SIZES[weight]) ** 4


@dataclass
class KnownCarrier:
    """Remembers orders under their names."""

    orders: dict[str, Order] = field(default_factory=dict)
    asked: list[Order] = field(default_factory=list)

    def carry(self, order: Order) -> Carried:
        self.asked.append(order)
        self.orders[order.name] = order
        return Carried(order.name, (), {}, {}, 0.0)

    def compressed(self, name: str) -> dict[str, int]:
        return {}


class CarriedCurves(KnownCurves):
    """A plan that was carried out loses what it would as a sum of curves, times a factor of its order."""

    def __init__(self, carrier: KnownCarrier, factor: Callable[[Order], float]) -> None:
        super().__init__(lambda weight, level: self.scale * fourth(weight, level))
        self.scale = 1.0
        self.carrier = carrier
        self.factor = factor

    def answer(self, question: Question) -> Answer:
        if question.base == DENSE:
            self.scale = 1.0
            return super().answer(question)
        order = self.carrier.orders[question.base]
        self.scale = self.factor(order)
        changes = tuple(Change(name, "magnitude", level) for name, level in order.levels)
        answer = super().answer(replace(question, changes=changes))
        self.asked[-1] = question
        return answer


@dataclass
class Scene:
    """All that a climb needs."""

    scanner: Scanner
    ensemble: Ensemble
    carrier: KnownCarrier
    evaluator: CarriedCurves

    def climb(self, *, costly: bool = False, missing: Callable[[Candidate], float] = lambda candidate: 0.0) -> Climb:
        carrying = Carrying(self.carrier, "magnitude", "reconstruct", costly=costly)
        return Climb(self.ensemble, self.scanner, carrying, "kl", missing)

    def loss(self, picker: str, sparsity: float) -> float:
        """Of a picker's plan, carried out by the usual factor."""
        levels = self.ensemble.levels_at(picker, sparsity)
        return float("inf") if levels is None else 0.2 * sum(fourth(name, level) for name, level in levels.items())


Make = Callable[..., Scene]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    model = load_model(saved(convolutional(), tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    with Store(tmp_path, {}, {}, "a test") as store:

        def made(
            members: tuple[str, ...] = MEMBERS,
            factor: Callable[[Order], float] = lambda order: 0.2,
            samples: int = SAMPLES,
        ) -> Scene:
            carrier = KnownCarrier()
            evaluator = CarriedCurves(carrier, factor)
            sampling = Sampling(2000, exact=False)
            sizes = {"search": samples, "holdout": samples}
            technique = make_technique("magnitude")
            scanner = Scanner(store, evaluator, inventory, technique, ["kl"], sampling, sizes, Nobody())
            ground = Ground(scanner, inventory.weights, lambda weight: dense_matrix(model, weight), "kl", 0.05, 0.01)

            def measure(levels: Levels, accepts: Accepts | None = None, most: int | None = None) -> Joint:
                decided = accepts and sampling.decided_joint(accepts, samples)
                return scanner.joint(levels, "search", ["kl"], decided, most)

            ensemble = Ensemble(ground, measure, lambda plans, metric: race(scanner, plans, metric), members)
            return Scene(scanner, ensemble, carrier, evaluator)

        yield made


def within(limit: float) -> Accepts:
    return lambda joint: joint.measurements["kl"].drop <= limit


class TestWithinALimit:
    @pytest.mark.parametrize("limit", [0.0005, 0.005, 0.02, 0.05, 0.2])
    def test_the_boldest_accepted_sparsity_is_found_to_the_precision(self, make: Make, limit: float) -> None:
        scene = make(("uniform",))
        best = scene.climb().within(within(limit))[0]
        truth = max(at / 2000 for at in range(2000) if scene.loss("uniform", min(at / 2000, HIGHEST)) <= limit)
        assert best.joint.measurements["kl"].drop <= limit
        assert min(truth, HIGHEST) - FINE - len(SIZES) / sum(SIZES.values()) <= best.sparsity
        assert best.sparsity <= truth + len(SIZES) / sum(SIZES.values())

    def test_the_picker_that_loses_least_is_taken_and_comes_first(self, make: Make) -> None:
        scene = make()
        candidates = scene.climb().within(within(0.02))
        assert {each.picker for each in candidates} == set(MEMBERS)
        best, *others = candidates
        assert best.carried is not None
        losses = {picker: scene.loss(picker, best.sparsity) for picker in MEMBERS}
        assert losses[best.picker] == min(losses.values())
        assert all(each.carried is None for each in others)

    def test_where_nothing_is_accepted_there_is_no_plan(self, make: Make) -> None:
        assert make().climb().within(lambda joint: False) == []

    def test_where_all_is_accepted_it_ends_at_the_highest(self, make: Make) -> None:
        best = make(("uniform",)).climb().within(lambda joint: True)[0]
        assert best.sparsity == pytest.approx(HIGHEST, abs=2 * FINE)

    def test_a_stricter_second_look_begins_where_the_first_ended(self, make: Make) -> None:
        scene = make()
        climb = scene.climb()
        first = climb.within(within(0.02))[0]
        before = len(scene.carrier.orders)
        second = climb.within(within(0.01))[0]
        assert second.picker == first.picker
        assert second.sparsity < first.sparsity
        assert second.joint.measurements["kl"].drop <= 0.01
        assert len(scene.carrier.orders) - before <= 12


class TestSamples:
    def asked_of(self, scene: Scene, name: str) -> int:
        return max((question.samples[1] for question in scene.evaluator.asked if question.base == name), default=0)

    @pytest.mark.parametrize("samples", [600, 1100, SAMPLES])
    def test_that_choices_are_made_on_are_none_that_a_plan_was_fitted_on(self, make: Make, samples: int) -> None:
        scene = make(samples=samples)
        best = scene.climb().within(within(0.02))[0]
        assert best.carried is not None
        chosen_on = [order for order in scene.carrier.orders.values() if order.name != best.carried.name]
        assert len(chosen_on) > 5
        for order in chosen_on:
            assert 0 < self.asked_of(scene, order.name) <= samples - order.samples
        assert self.asked_of(scene, best.carried.name) == samples

    def test_no_choice_is_fitted_on_more_than_half_of_them(self, make: Make) -> None:
        scene = make()
        best = scene.climb().at(0.6)[0]
        assert best.carried is not None
        orders = [order for order in scene.carrier.orders.values() if order.name != best.carried.name]
        assert {order.samples for order in orders} == {512, SAMPLES // 2}

    def test_where_more_are_better_all_are_fitted_on_at_the_end(self, make: Make) -> None:
        scene = make(factor=lambda order: 100 / order.samples)
        best = scene.climb().at(0.6)[0]
        assert best.fitted_on == SAMPLES
        assert best.carried is not None
        assert scene.carrier.orders[best.carried.name].samples == SAMPLES

    def test_where_more_are_no_better_few_are_fitted_on(self, make: Make) -> None:
        assert make().climb().at(0.6)[0].fitted_on == 512


class TestWhereItTakesMinutes:
    def test_few_plans_are_carried_out_and_pickers_are_compared_without(self, make: Make) -> None:
        cheap, costly = make(), make()
        best = costly.climb(costly=True).within(within(0.02))[0]
        cheap.climb().within(within(0.02))
        assert len(costly.carrier.orders) <= 14 < len(cheap.carrier.orders)
        few = [dict(order.levels) for order in costly.carrier.orders.values() if order.samples == 512]
        uniform = [costly.ensemble.levels_at(MEMBERS[0], costly.scanner.sparsity(levels)) for levels in few]
        assert all(own == pytest.approx(levels, abs=0.05) for own, levels in zip(uniform, few, strict=True))
        assert best.carried is not None
        assert best.joint.measurements["kl"].drop <= 0.02

    def test_a_sparsity_takes_one(self, make: Make) -> None:
        scene = make()
        candidates = scene.climb(costly=True).at(0.6)
        assert len(scene.carrier.orders) == 1
        assert {each.picker for each in candidates} == set(MEMBERS)
        assert candidates[0].fitted_on == SAMPLES

    def test_what_is_carried_out_is_counted(self, make: Make) -> None:
        scene = make()
        climb = scene.climb()
        climb.within(within(0.02))
        assert climb.rebuilds == len(scene.carrier.asked)


class TestAtASparsity:
    def test_it_is_met_to_an_element_a_weight_and_the_least_loss_comes_first(self, make: Make) -> None:
        scene = make()
        best, *others = scene.climb().at(0.6)
        assert best.sparsity == pytest.approx(0.6, abs=len(SIZES) / sum(SIZES.values()))
        drops = [each.joint.measurements["kl"].drop for each in (best, *others)]
        assert drops == sorted(drops)

    def test_one_that_no_picker_reaches_has_no_candidate(self, make: Make) -> None:
        assert make().climb().at(1.1) == []

    def test_what_is_missing_is_saved_besides(self, make: Make) -> None:
        climb = make().climb(missing=lambda candidate: 0.7 - candidate.sparsity)
        assert 0.7 <= climb.at(0.6)[0].sparsity <= 0.72

    def test_it_gives_up_after_a_few_corrections(self, make: Make) -> None:
        asked: list[float] = []

        def missing(candidate: Candidate) -> float:
            asked.append(candidate.sparsity)
            return 0.01

        make(("uniform",)).climb(missing=missing).at(0.6)
        assert len(asked) == CORRECTIONS
        assert asked == sorted(asked)

    def test_other_methods_are_carried_out_on_the_same_samples_at_the_same_levels(self, make: Make) -> None:
        scene = make()
        best = scene.climb().at(0.6)[0]
        carrying = Carrying(scene.carrier, "magnitude", "reconstruct")
        found = orders_of(carrying, best, ["none", "refit"])
        orders = {method: scene.carrier.orders[carried.name] for method, carried in found.items()}
        assert {method: order.method for method, order in orders.items()} == {"none": "none", "refit": "refit"}
        assert all(dict(order.levels) == best.levels and order.samples == best.fitted_on for order in orders.values())


def test_the_knee_is_inside_and_carried_out(make: Make) -> None:
    best = make().climb().knee()[0]
    assert best.carried is not None
    assert 0.3 <= best.sparsity <= 0.95


def test_the_front_has_the_first_pickers_plan_or_none(make: Make) -> None:
    climb = make().climb()
    found = climb.best_at(0.5)
    assert found is not None
    assert found.picker == MEMBERS[0]
    assert climb.best_at(1.1) is None
