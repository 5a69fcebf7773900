"""What is damaged: small models that run, and small files of every kind that is read. Made anew, alike every time.

Models are those of the tests, of every operator that is known, of ONNX's own test cases, and the smallest shipped.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fault.mutators import zipped

SHIPPED = Path(__file__).parent.parent.parent / "models"
LARGEST = 20_000  # bytes of a model
DATA_FILE = "weights.bin"  # of the model whose values lie outside
GENERATED = 40


@dataclass(frozen=True)
class Seed:
    """A sound file."""

    name: str
    content: bytes


def write_models(folder: Path) -> None:
    """All seeds that are models, and the data file that one of them has."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, proto in (*networks(), *of_operators(), *of_node_cases(), *generated()):
        content = proto.SerializeToString()
        if len(content) <= LARGEST:
            (folder / f"{name}.onnx").write_bytes(content)
    for name in ("jv_gru1", "jv_gru1_loop"):
        (folder / f"{name}.onnx").write_bytes((SHIPPED / f"{name}.onnx").read_bytes())
    outside = onnx.load(str(with_values_outside(folder)), load_external_data=False)
    assert {entry.value for entry in outside.graph.initializer[0].external_data if entry.key == "location"} == {
        DATA_FILE
    }


def read_seeds(folder: Path) -> list[Seed]:
    """By name, so that a number chooses the same one everywhere."""
    return [Seed(path.stem, path.read_bytes()) for path in sorted(folder.glob("*.onnx"))]


def networks() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Of the tests."""
    from tests import networks

    makers = (
        "convolutional",
        "tied",
        "tied_embedding",
        "of_the_batch",
        "with_dead_weight",
        "with_idle_branch",
        "noisy",
    )
    for name in makers:
        yield name, getattr(networks, name)()


def with_values_outside(folder: Path) -> Path:
    """A model with external data, under the name that is in it."""
    from tests.networks import convolutional

    path = folder / "outside.onnx"
    onnx.save_model(
        convolutional(),
        str(path),
        save_as_external_data=True,
        location=DATA_FILE,
        size_threshold=0,
        convert_attribute=False,
    )
    return path


def of_operators() -> Iterator[tuple[str, onnx.ModelProto]]:
    """One for every operator whose weights are known."""
    from onnx_cases import STANDARD
    from runtime_cases import RUNTIME

    for number, case in enumerate((*STANDARD.values(), *RUNTIME.values())):
        yield f"operator_{number:03}", case.proto()


def generated() -> list[tuple[str, onnx.ModelProto]]:
    """With weights kept in all the ways that are known, in bodies and functions too."""
    from graphs import graphs
    from hypothesis import Phase, given, settings

    found: list[onnx.ModelProto] = []

    @settings(max_examples=GENERATED, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(graphs())
    def collect(made: object) -> None:
        found.append(made.proto)  # type: ignore[attr-defined]

    collect()
    return [(f"generated_{number:03}", proto) for number, proto in enumerate(found)]


def of_node_cases() -> Iterator[tuple[str, onnx.ModelProto]]:
    """ONNX's own, beside a weight that can be pruned: their inputs stored, or stored and fed."""
    for name, model, inputs in node_cases():
        for fed in (False, True):
            made = beside_a_weight(model, inputs, fed=fed)
            if made is not None:
                yield f"case_{name}{'_fed' if fed else ''}", made


@cache
def node_cases() -> list[tuple[str, onnx.ModelProto, tuple[object, ...]]]:
    """Of all operators, with their inputs."""
    np.random.seed(0)  # noqa: NPY002 - it is what they draw from
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    return [(case.name, case.model, tuple(case.data_sets[0][0])) for case in found if case.model and case.data_sets]


def beside_a_weight(model: onnx.ModelProto, inputs: tuple[object, ...], *, fed: bool) -> onnx.ModelProto | None:
    """The model, whose inputs have values, and a product beside it; None where some input is no tensor of numbers.

    Args:
        fed: inputs stay inputs, which keeps their values from being folded.
    """
    if not all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in inputs):
        return None
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = min(made.ir_version, 10)
    graph = made.graph
    for info, value in zip(graph.input, inputs, strict=True):
        assert isinstance(value, np.ndarray)
        graph.initializer.append(numpy_helper.from_array(value, info.name))
    if not fed:
        del graph.input[:]
    weight = np.arange(12, dtype=np.float32).reshape(4, 3) / 10 - 0.5
    graph.initializer.append(numpy_helper.from_array(weight, "own_weight"))
    graph.input.append(helper.make_tensor_value_info("own_x", TensorProto.FLOAT, ["N", 4]))
    graph.node.append(helper.make_node("MatMul", ["own_x", "own_weight"], ["own_logits"]))
    graph.output.insert(0, helper.make_tensor_value_info("own_logits", TensorProto.FLOAT, ["N", 3]))
    if not any(entry.domain in {"", "ai.onnx"} for entry in made.opset_import):
        made.opset_import.add(domain="", version=17)
    return made
