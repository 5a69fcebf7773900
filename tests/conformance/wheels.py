"""The models inside the wheels of `requirements.txt`, found by what is installed; the packages are never imported."""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.conformance.cases import Case, fresh, wanted, with_samples
from tests.conformance.onnx_data import fed, lengths

SOURCE = "models in wheels"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"

Draw = Callable[[np.random.Generator], np.ndarray]


def noise(*shape: int, scale: float = 1.0) -> Draw:
    """Normal numbers in float32."""
    return lambda rng: rng.standard_normal(shape, np.float32) * np.float32(scale)


def pixels(*shape: int, top: float = 1.0) -> Draw:
    """Uniform numbers from 0 to `top` in float32."""
    return lambda rng: rng.random(shape, np.float32) * np.float32(top)


def tokens(*shape: int, count: int) -> Draw:
    """Integers below `count` in int32."""
    return lambda rng: rng.integers(0, count, shape, np.int32)


def number(value: int) -> Draw:
    """A single int64."""
    return lambda rng: np.array(value, np.int64)


# One call of each model, by file name: 64 samples of context and 512 of sound, a page of bytes, a line of text, ...
# Input by input in a fixed order, so that models that share names of inputs share their values.
SPEECH = {"input": noise(1, 576, scale=0.1), "state": noise(2, 1, 128, scale=0.1), "sr": number(16000)}
SPEECH_SEQUENCE = {
    "input": noise(4, 576, scale=0.1),
    "h": noise(1, 1, 128, scale=0.1),
    "c": noise(1, 1, 128, scale=0.1),
}
CALLS: dict[str, dict[str, Draw]] = {
    "silero_vad.onnx": SPEECH,
    "silero_vad_16k_op15.onnx": SPEECH,
    "silero_vad_16k_sequence.onnx": SPEECH_SEQUENCE,
    "silero_vad_half.onnx": SPEECH,
    "silero_vad_op18_ifless.onnx": SPEECH,
    "silero_vad_openvino_16k.onnx": SPEECH,
    "model.onnx": {"bytes": tokens(1, 2048, count=257)},
    "nmp.onnx": {"serving_default_input_2:0": noise(1, 43844, 1, scale=0.1)},
    "320n.onnx": {"images": pixels(1, 3, 320, 320)},
    "common.onnx": {"input1": pixels(1, 1, 64, 160)},
    "common_old.onnx": {"input1": pixels(1, 1, 64, 160)},
    "common_det.onnx": {"images": pixels(1, 3, 416, 416, top=255)},
    "ch_PP-OCRv4_det_infer.onnx": {"x": noise(1, 3, 160, 160)},
    "ch_PP-OCRv4_rec_infer.onnx": {"x": noise(1, 3, 48, 160)},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": noise(1, 3, 48, 192)},
}


def requirements() -> dict[str, str]:
    """Distributions and versions that the sweep is pinned to."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE))


def missing() -> list[str]:
    """What of the requirements is not installed, or in another version."""
    found = []
    for name, version in requirements().items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(f"{name} is not installed")
            continue
        if installed != version:
            found.append(f"{name} is {installed}, not {version}")
    return found


def installed_models() -> Iterator[tuple[str, Path]]:
    """Distribution and path of each ONNX file among the files of the requirements."""
    for name in requirements():
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        for file in sorted(files):
            if file.suffix == ".onnx":
                yield name, Path(str(file.locate()))


def wheel_models(scratch: Path, patterns: Sequence[str]) -> Iterator[Case]:
    """Every model of the wheels, with two seeded calls."""
    for distribution, path in installed_models():
        name = f"{distribution}/{path.stem}"
        if not wanted(f"{SOURCE}/{name}", patterns):
            continue
        folder = fresh(scratch, ["wheels", *name.split("/")])
        values = fed(onnx.load(str(path)))
        call = CALLS.get(path.name, {})
        case = Case(SOURCE, name, str(path), weighty=True)
        if not call:
            case = Case(SOURCE, name, str(path), weighty=True, notes=("not in the table of calls; shapes are guessed",))
        samples = [
            {value.name: sample(call.get(value.name) or guessed(value), value.name, seed) for value in values}
            for seed in range(2)
        ]
        yield with_samples(case, folder, samples)


def sample(draw: Draw, name: str, seed: int) -> np.ndarray:
    """One input; depends on its name and the seed only, so that encodings of one net are fed the same."""
    return draw(np.random.default_rng([seed, zlib.crc32(name.encode())]))


def guessed(value: onnx.ValueInfoProto) -> Draw:
    """Something of the declared type and shape."""
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    shape = lengths(value)
    if dtype.kind == "f":
        return lambda rng: rng.standard_normal(shape).astype(dtype)
    return lambda rng: rng.integers(0, 2, shape).astype(dtype)
