"""What levels save: laws over all kinds of budget, and each against a count of its own."""

import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from fakes import KnownCurves
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import model_of, normal, saved
from onnx import helper

from onnxsens.arrays import AnyArray
from onnxsens.model import Model, Weight, dense_matrix, load_model, stored_values, take_inventory
from onnxsens.plan.budgets import CompressedBytes, Macs, Saving, Zeros
from onnxsens.scan import Nobody, Sampling, Scanner, Store
from onnxsens.techniques import make_sparsity

SHAPES = {"narrow": (50, 24), "wide": (24, 96), "last": (96, 7)}
USES = {"narrow": 9, "wide": 4, "last": 1}  # of each element, by a sample
unhurried = settings(deadline=None)  # the machine may be busy
MACS = {name: rows * columns * USES[name] for name, (rows, columns) in SHAPES.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    rng = np.random.default_rng(0)
    weights = {name: normal(rng, *shape) for name, shape in SHAPES.items()}
    weights["wide"][:, :30] = 0  # zeros that are there already
    nodes = [
        helper.make_node("MatMul", [before, name], [after])
        for before, name, after in [("x", "narrow", "a"), ("a", "wide", "b"), ("b", "last", "y")]
    ]
    proto = model_of(nodes, {"x": ["N", 50]}, {"y": ["N", 7]}, weights)
    return load_model(saved(proto, tmp_path_factory.mktemp("budgets") / "m.onnx"))


@pytest.fixture(scope="module")
def scanner(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanner]:
    evaluator = KnownCurves(lambda weight, level: level)
    with Store(tmp_path_factory.mktemp("store"), {}, {}, "a test") as store:
        sizes = {"search": 100, "holdout": 100}
        technique = make_sparsity("magnitude")
        yield Scanner(store, evaluator, take_inventory(model), technique, ["kl"], Sampling(100), sizes, Nobody())


@pytest.fixture(scope="module")
def compressed(model: Model, scanner: Scanner) -> CompressedBytes:
    def stored(weight: Weight, level: float) -> AnyArray:
        return stored_values(model, weight, make_sparsity("magnitude").once(dense_matrix(model, weight), level))

    return CompressedBytes(scanner, stored)


@pytest.fixture(scope="module")
def savings(scanner: Scanner, compressed: CompressedBytes) -> Mapping[str, Saving]:
    return {"zeros": Zeros(scanner), "macs": Macs(scanner, MACS), "bytes": compressed}


def pruned(model: Model, name: str, level: float) -> np.ndarray:
    """By magnitude, `round(level * size)` of the smallest; shares no code with what is tested."""
    values = model.array(name).copy()
    values.reshape(-1)[np.argsort(np.abs(values), axis=None, kind="stable")[: round(level * values.size)]] = 0
    return values


some_levels = st.fixed_dictionaries({name: st.floats(0, 1) for name in SHAPES})
hundredths = st.fixed_dictionaries({name: st.integers(0, 100).map(lambda number: number / 100) for name in SHAPES})
KINDS = ["zeros", "macs", "bytes"]


@pytest.mark.parametrize("kind", KINDS)
@unhurried
@given(levels=some_levels, name=st.sampled_from(list(SHAPES)), more=st.floats(0.02, 1))
def test_more_zeros_never_save_less(
    savings: Mapping[str, Saving], kind: str, levels: dict[str, float], name: str, more: float
) -> None:
    bolder = levels | {name: min(levels[name] + more, 1.0)}
    assert savings[kind].of(bolder) >= savings[kind].of(levels) - 1e-12


@pytest.mark.parametrize("kind", KINDS)
@unhurried
@given(levels=some_levels)
def test_a_saving_is_a_share(savings: Mapping[str, Saving], kind: str, levels: dict[str, float]) -> None:
    assert 0 <= savings[kind].of(levels) <= 1


@pytest.mark.parametrize("kind", ["macs", "bytes"])
def test_the_dense_model_saves_nothing_but_by_zeros_that_it_has(savings: Mapping[str, Saving], kind: str) -> None:
    assert savings[kind].of({}) == savings[kind].of(dict.fromkeys(SHAPES, 0.0))
    assert savings["bytes"].of({}) == 0.0
    assert savings["bytes"].exactly({}) == savings["bytes"].total
    assert savings["macs"].of({}) == pytest.approx(24 * 30 * USES["wide"] / sum(MACS.values()))
    assert savings["zeros"].of({}) == 24 * 30 / sum(rows * columns for rows, columns in SHAPES.values())


def test_with_nothing_left_all_zeros_and_macs_are_saved(savings: Mapping[str, Saving]) -> None:
    everything = dict.fromkeys(SHAPES, 1.0)
    assert savings["zeros"].of(everything) == savings["macs"].of(everything) == 1.0


@unhurried
@given(levels=some_levels)
def test_macs_are_those_of_the_elements_that_are_left(
    model: Model, savings: Mapping[str, Saving], levels: dict[str, float]
) -> None:
    left = sum(np.count_nonzero(pruned(model, name, level)) * USES[name] for name, level in levels.items())
    assert savings["macs"].of(levels) == pytest.approx(1 - left / sum(MACS.values()))


@unhurried
@given(levels=hundredths)
def test_bytes_at_whole_hundredths_are_those_of_zlib(
    model: Model, compressed: CompressedBytes, levels: dict[str, float]
) -> None:
    taken = sum(len(zlib.compress(pruned(model, name, level).tobytes(), 6)) for name, level in levels.items())
    assert compressed.bytes_of(levels) == compressed.exactly(levels) == taken
    assert compressed.of(levels) == pytest.approx(1 - taken / compressed.total)


@unhurried
@given(levels=some_levels)
def test_exact_bytes_are_those_of_zlib_at_any_level_and_the_others_near_them(
    model: Model, compressed: CompressedBytes, levels: dict[str, float]
) -> None:
    taken = sum(len(zlib.compress(pruned(model, name, level).tobytes(), 6)) for name, level in levels.items())
    assert compressed.exactly(levels) == taken
    assert compressed.bytes_of(levels) == pytest.approx(taken, abs=0.01 * compressed.total)


def test_bytes_of_some_weights_are_parts_of_those_of_all(compressed: CompressedBytes) -> None:
    levels = {"narrow": 0.25, "wide": 0.5, "last": 0.75}
    parts = [compressed.bytes_of(levels, only={name}) for name in SHAPES]
    assert sum(parts) == compressed.bytes_of(levels)
    assert compressed.bytes_of(levels, only=()) == 0


def test_prices_are_what_a_zero_saves(scanner: Scanner, savings: Mapping[str, Saving]) -> None:
    for weight in scanner.weights:
        assert savings["zeros"].price(weight) == 1
        assert savings["macs"].price(weight) == USES[weight.name]
        assert savings["bytes"].price(weight) == 4  # float32
        one = 1 / weight.size
        start = {weight.name: 0.9}
        gained = savings["macs"].of({weight.name: 0.9 + one}) - savings["macs"].of(start)
        assert gained * sum(MACS.values()) == pytest.approx(USES[weight.name])
