"""What is measured: a model, its samples, and how they are fed; shipped ones by name, others made in a folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.making import make
from benchmarks.networks import NETWORKS
from onnxsens.options import Options

MODELS = Path(__file__).parent.parent / "models"
METRICS = ("accuracy", "kl")
IMAGES = Options(str(MODELS / "fashion_mnist_test.npz"), scale=255, mean="0.2860", std="0.3530", provider="cpu")
VOWELS = Options(str(MODELS / "japanese_vowels_test.npz"), provider="cpu")
SHIPPED = {
    **dict.fromkeys(("fashion_cnn", "fashion_resnet", "fashion_vgg"), IMAGES),
    **dict.fromkeys(("jv_transformer", "jv_lstm", "jv_gru", "jv_gru1_loop"), VOWELS),
}
NAMES = (*SHIPPED, *(name for name in NETWORKS if name != "chain"))


@dataclass(frozen=True)
class Case:
    """A model and how it is measured.

    Attributes:
        samples: of a point, at most.
        weight_bytes: of the model file where it is shipped, else of the stored tensors.
    """

    name: str
    model: Path
    options: Options
    samples: int
    weight_bytes: int


def case(name: str, folder: Path, samples: int, *, label: str = "", settings: dict[str, Any], **sizes: int) -> Case:
    """A shipped model, or one that is made now.

    Args:
        folder: where to make it, with as many samples as asked for.
        settings: of `Options`.
        sizes: of a made network.
    """
    if name in SHIPPED:
        model = MODELS / f"{name}.onnx"
        return Case(name, model, replace(SHIPPED[name], **settings), samples, model.stat().st_size)
    made = make(name, folder, samples, label=label, **sizes)
    options = Options(str(made.data), **{"provider": "cpu", **settings})
    return Case(label or name, made.model, options, samples, made.weight_bytes)
