"""What is damaged: small models that run, and small files of every kind that is read. Made anew, alike every time.

Models are those of the tests, of every operator that is known, of ONNX's own test cases, and the smallest shipped.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
NEWEST_IR, NEWEST_OPSET = 10, 26  # that the runtime takes; ONNX's own are ahead of it


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


def write_files(folder: Path) -> None:
    """Seeds of all other kinds, a folder each, and the run that some come from in `folder / "run"`."""
    run = folder / "run"
    make_run(run)
    copies = {
        "plan": ["plan.json"],
        "pareto": ["pareto.json"],
        "map": ["map.json"],
        "changes": ["changes.safetensors"],
        "masks": ["masks.safetensors"],
        "weights": ["weights.safetensors"],
        "safetensors": ["source.safetensors", "changes.safetensors"],
        "npz": ["samples.npz"],
    }
    for kind, names in copies.items():
        for name in names:
            put(folder / kind / name, (run / name).read_bytes())
    put(folder / "plan" / "plain.json", (run / "plain" / "plan.json").read_bytes())
    more_files(folder)


def put(path: Path, content: bytes) -> None:
    """A file, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def make_run(folder: Path) -> None:
    """All that a run leaves behind, of a small model with its checkpoint."""
    from safetensors.numpy import save_file

    from onnxsens.api import auto
    from onnxsens.options import Options
    from onnxsens.plan import Goal
    from tests.networks import convolutional, samples_file, saved

    folder.mkdir(parents=True)
    model = saved(convolutional(), folder / "model.onnx")
    data = samples_file(folder / "samples.npz", (2, 8, 8), 5, samples=60)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in convolutional().graph.initializer}
    save_file({f"net.{name}": values for name, values in tensors.items()}, folder / "source.safetensors")
    options = Options(str(data), threads=1, jobs=1)
    auto(model, options, folder, Goal(sparsity=0.5), pareto=True, checkpoint=folder / "source.safetensors")
    plain = folder / "plain"  # a plan that says which values are zero, and has no others
    plain.mkdir()
    auto(model, replace(options, technique="magnitude", update="none"), plain, Goal(sparsity=0.5))


def more_files(folder: Path) -> None:
    """Arrays, images, checkpoints and a store."""
    rng = np.random.default_rng(5)
    arrays = {"x": rng.standard_normal((4, 2, 8, 8), np.float32), "labels": np.arange(4)}
    for name, packed in (("packed", True), ("plain", False)):
        made = io.BytesIO()
        (np.savez_compressed if packed else np.savez)(made, **arrays)
        put(folder / "npz" / f"{name}.npz", made.getvalue())
    for name, values in arrays.items():
        put(folder / "npy" / f"{name}.npy", npy(values))
    put(folder / "npy" / "turned.npy", npy(np.asfortranarray(arrays["x"])))
    named = {"fc.weight": arrays["x"][0, 0], "fc.bias": arrays["x"][0, 0, 0], "n": np.arange(3)}
    put(folder / "arrays" / "named.npz", zipped([(f"{name}.npy", npy(values)) for name, values in named.items()]))
    put(folder / "flax" / "named.msgpack", flax(named))
    shards = {"metadata": {}, "weight_map": dict.fromkeys(("net.first", "net.head"), "source.safetensors")}
    put(folder / "shards" / "m.safetensors.index.json", json.dumps(shards).encode())
    put(folder / "labels" / "labels.csv", b"file,label\na.png,0\nb.png,2\n")
    write_images(folder / "images", rng)
    write_torch(folder / "torch", named)
    write_keras(folder / "keras", named)
    write_store(folder / "store")


def npy(values: np.ndarray) -> bytes:
    """An array as numpy saves it."""
    made = io.BytesIO()
    np.save(made, values)
    return made.getvalue()


def flax(tensors: dict[str, np.ndarray]) -> bytes:
    """Tensors as flax.serialization saves them."""
    import msgspec

    def kept(values: np.ndarray) -> msgspec.msgpack.Ext:
        held = msgspec.msgpack.encode((values.shape, values.dtype.name, values.tobytes()))
        return msgspec.msgpack.Ext(1, held)

    tree = {"params": {name: kept(values) for name, values in tensors.items()}}
    return msgspec.msgpack.encode(tree)


def write_images(folder: Path, rng: np.random.Generator) -> None:
    """One of each format, and of several modes."""
    from PIL import Image

    folder.mkdir(parents=True)
    pixels = rng.integers(0, 255, (12, 12, 3), np.uint8)
    for form in ("png", "jpg", "bmp", "webp"):
        Image.fromarray(pixels).save(folder / f"colour.{form}")
    Image.fromarray(pixels[:, :, 0]).save(folder / "grey.png")
    for name in ("a.png", "b.png"):
        put(folder.parent / "beside" / name, (folder / "grey.png").read_bytes())
    Image.fromarray(pixels).convert("P").save(folder / "palette.png")


def write_torch(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    """A state dict, where torch is installed."""
    try:
        import torch
    except ImportError:
        return
    folder.mkdir(parents=True)
    state = {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}
    torch.save(state, folder / "state.pt")
    torch.save({"epoch": 3, "state_dict": state}, folder / "before.pt", _use_new_zipfile_serialization=False)


def write_keras(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    """Weights in HDF5 as Keras names them, where h5py is installed."""
    try:
        import h5py
    except ImportError:
        return
    folder.mkdir(parents=True)
    with h5py.File(folder / "m.weights.h5", "w") as file:
        for number, values in enumerate(tensors.values()):
            group = file.create_group(f"layers/dense_{number}/vars")
            group.attrs["name"] = f"dense_{number}"
            group.create_dataset("0", data=values, track_times=False)


def write_store(folder: Path) -> None:
    """One that was filled and closed."""
    from onnxsens.scan.store import FILE, Store
    from tests.fault.commits import IDENTITY, MADE_BY, SETTINGS
    from tests.fault.store_damage import fill

    folder.mkdir(parents=True)
    with Store(folder, IDENTITY, SETTINGS, MADE_BY) as store:
        fill(store)
    for path in folder.iterdir():
        if path.name != FILE:
            path.unlink()


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
    np.random.seed(0)  # what they draw from
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
    made.ir_version = min(made.ir_version, NEWEST_IR)
    for entry in made.opset_import:
        if entry.domain in {"", "ai.onnx"}:
            entry.version = min(entry.version, NEWEST_OPSET)
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
