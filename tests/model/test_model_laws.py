"""Laws that hold for every model, on generated ones: 1,150 graphs in each run, the same ones every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import pytest
from expectations import Known
from graphs import Generated, graphs
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from protos import edited, outputs, renamed, reordered, runs, stored_elements, tagged
from test_model_working import session_of

from onnxsens.model import (
    Inventory,
    Model,
    Weight,
    dense_matrix,
    load_model,
    stored_values,
    take_inventory,
    write_model,
)
from onnxsens.model.working import write_working_copy
from onnxsens.techniques import make_technique

PHASES = [Phase.explicit, Phase.generate, Phase.shrink]  # what explains a failure costs more than it says
LEVELS = st.floats(0, 1)
MAGNITUDE = make_technique("magnitude")


def laws(examples: int) -> settings:
    """The same graphs in every run, and no limit of time for one."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, phases=PHASES)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """ONNX Runtime warns of much that is right."""
    onnxruntime.set_default_logger_severity(4)
    yield
    onnxruntime.set_default_logger_severity(2)


@contextmanager
def opened(proto: onnx.ModelProto) -> Iterator[tuple[Model, Inventory, Path]]:
    """The model as a user's file, in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(proto.SerializeToString())
        model = load_model(path)
        yield model, take_inventory(model), Path(folder)


def by_tag(model: Model, inventory: Inventory) -> dict[str, Weight]:
    """The planned weights, whatever they are called."""
    return {model.stored[weight.name].tensor.doc_string: weight for weight in inventory.weights}


def pruned(model: Model, weight: Weight, level: float) -> np.ndarray:
    """What is to be stored for a weight at a level."""
    return stored_values(model, weight, MAGNITUDE.prepare(dense_matrix(model, weight)).at(level))


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@laws(450)
@given(graphs())
def test_every_stored_element_is_planned_or_skipped_and_every_weight_is_read_as_its_operator_reads_it(
    generated: Generated,
) -> None:
    with opened(generated.proto) as (model, inventory, _):
        skipped = sum(row.parameters for row in inventory.skipped)
        assert inventory.planned_parameters + skipped == stored_elements(generated.proto)
        assert inventory.parameters == stored_elements(generated.proto)
        assert {weight.name for weight in inventory.weights} == {known.name for known in generated.known}
        weights = by_tag(model, inventory)
        for known in generated.known:
            weight = weights[known.tag]
            assert weight.name == known.name
            assert tuple(consumer.operator for consumer in weight.consumers) == known.consumers
            assert weight.zeros == int((known.seen == 0).sum())
            np.testing.assert_array_equal(dense_matrix(model, weight), known.matrix())
            check_round_trip(weight, known)


def check_round_trip(weight: Weight, known: Known) -> None:
    """The layout is a permutation, and nothing is lost on the way there and back."""
    numbers = np.arange(weight.size).reshape(weight.shape)
    matrix = weight.layout.to_matrix(numbers)
    np.testing.assert_array_equal(matrix, known.positions)
    assert sorted(matrix.reshape(-1).tolist()) == list(range(weight.size))
    assert same_bits(weight.layout.from_matrix(weight.layout.to_matrix(known.stored)), known.stored)


@laws(300)
@given(graphs(), LEVELS, st.data())
def test_a_pruned_file_differs_in_the_pruned_elements_only(
    generated: Generated, level: float, data: st.DataObject
) -> None:
    assume(runs(generated.proto, generated.feed))
    chosen = data.draw(st.sets(st.sampled_from(generated.known), min_size=1))
    with opened(generated.proto) as (model, inventory, folder):
        weights = by_tag(model, inventory)
        for at in (0.0, level, 1.0):
            values = {weights[known.tag].name: pruned(model, weights[known.tag], at) for known in chosen}
            write_model(model, values, folder / "out.onnx")
            if at == 0:
                assert (folder / "out.onnx").read_bytes() == model.path.read_bytes()
            written = onnx.load(str(folder / "out.onnx"))
            edit = edited(generated.proto, {known.tag: known.pruned(at) for known in chosen})
            assert written == edit
            for known in chosen:
                check_zeros(known, values[weights[known.tag].name], at)
            if at == level:
                check_outputs(written, edit, generated.feed)


def check_zeros(known: Known, values: np.ndarray, level: float) -> None:
    """As many as the level says, or as there were; the others have their bits."""
    gone = (values == known.zero) & ~((values == 0) & np.signbit(values.astype(np.float64)))
    there = int((known.seen == 0).sum())
    steps = MAGNITUDE.steps((values.size, 1), level)
    assert steps == round(level * values.size)
    assert int((values == known.zero).sum()) == max(steps, there)
    assert same_bits(values[~gone], known.stored[~gone])


def check_outputs(one: onnx.ModelProto, other: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    for first, second in zip(outputs(one, feed), outputs(other, feed), strict=True):
        assert same_bits(first, second)


@laws(250)
@given(graphs(), LEVELS, st.randoms(use_true_random=False))
def test_renaming_or_reordering_changes_nothing(generated: Generated, level: float, random: object) -> None:
    rng = np.random.default_rng(random.getrandbits(32))
    key = int(rng.integers(1, 2**16))
    twins = [
        renamed(generated.proto, lambda name: f"{hash_of(name, key)}/{name}"),
        reordered(generated.proto, rng),
    ]
    with opened(generated.proto) as (model, inventory, _):
        weights = by_tag(model, inventory)
        for proto in twins:
            with opened(proto) as (twin, other, folder):
                others = by_tag(twin, other)
                assert {tag: facts(weight) for tag, weight in weights.items()} == {
                    tag: facts(weight) for tag, weight in others.items()
                }
                values = {}
                for tag, weight in weights.items():
                    np.testing.assert_array_equal(dense_matrix(model, weight), dense_matrix(twin, others[tag]))
                    values[others[tag].name] = pruned(twin, others[tag], level)
                    assert same_bits(values[others[tag].name], pruned(model, weight, level))
                write_model(twin, values, folder / "out.onnx")
                assert onnx.load(str(folder / "out.onnx")) == edited(
                    proto, {known.tag: known.pruned(level) for known in generated.known}
                )


def facts(weight: Weight) -> tuple:
    """What the inventory says of a weight besides names; operators side by side are in no order."""
    kinds = [(consumer.operator, consumer.shape, consumer.rows, consumer.elements) for consumer in weight.consumers]
    return weight.shape, weight.dtype, weight.encoding, sorted(kinds), len(weight.readers), weight.zeros, weight.sha256


def hash_of(name: str, key: int) -> int:
    """Puts names in another order."""
    return sum(ord(letter) * key**place for place, letter in enumerate(name, 1)) % 65521


@laws(150)
@given(graphs(), LEVELS, st.data())
def test_a_working_copy_says_to_the_bit_what_the_written_file_says(
    generated: Generated, level: float, data: st.DataObject
) -> None:
    assume(runs(generated.proto, generated.feed))
    known = data.draw(st.sampled_from(generated.known))
    with opened(generated.proto) as (model, inventory, folder):
        weight = by_tag(model, inventory)[known.tag]
        copy = write_working_copy(model, inventory, folder)
        changes = {weight.name: pruned(model, weight, level)}
        write_model(model, changes, folder / "out.onnx")
        written = outputs(without_default_inputs(onnx.load(str(folder / "out.onnx"))), generated.feed)
        working = session_of(model, copy, changes).run(None, generated.feed)
        for one, other in zip(written, working, strict=True):
            assert same_bits(one, other)


def without_default_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Stored tensors that are inputs too would be variables, and rounded otherwise; the engine makes them constants."""
    stored = {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name not in stored]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    return proto


def test_the_generator_makes_what_it_is_meant_to_make() -> None:
    """Every operator, every way of keeping and every place turns up; else the laws would say less than they seem to."""
    operators: set[str] = set()
    encodings: set[str] = set()
    places: set[str] = set()
    tied: list[Weight] = []

    @laws(400)
    @given(graphs())
    def look(generated: Generated) -> None:
        assert tagged(generated.proto).keys() >= {known.tag for known in generated.known}
        with opened(generated.proto) as (_, inventory, _):
            for weight in inventory.weights:
                operators.update(consumer.operator for consumer in weight.consumers)
                encodings.update(weight.encoding.split(" -> "))
                encodings.add(weight.dtype)
                places.add(weight.place.split(" '")[0])
                tied.extend([weight] if len(weight.consumers) > 1 else [])

    look()
    assert operators == {"Conv", "ConvTranspose", "MatMul", "Gemm", "GRU", "LSTM", "Einsum", "Gather"}
    kept = {"initializer", "Constant", "sparse", "sparse Constant"}
    moves = {"Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Split", "Slice", "Concat"}
    types = {"float32", "float16", "float64", "bfloat16", "int8", "uint8"}
    assert encodings == kept | moves | types | {"Cast", "DequantizeLinear"}
    assert places == {"", "body of If", "body of Loop", "function"}
    assert tied
