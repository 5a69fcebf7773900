"""A script with the configuration of NVIDIA ModelOpt's 2:4 sparsity."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.frameworks.exporters.script import script, table
from onnxsens.frameworks.exporters.torch_text import BUILD

IMPORTS = """
import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

import modelopt.torch.sparsity as mts
import torch
"""

PRUNE = '''
def prune_model(model):
    """The model with the planned layers made 2:4 sparse; their zeros hold in training until `finish`."""
    modules = dict(model.named_modules())
    for name, layer in LAYERS.items():
        if name not in modules:
            raise KeyError(f"the model has no module {name!r}; check that it is the model of the plan")
        module = modules[name]
        if not isinstance(module, getattr(torch.nn, layer["class"].removeprefix("nn."))):
            raise TypeError(f"{name!r} is a {type(module).__name__} here and {layer['class']} in the configuration")
        if tuple(module.weight.shape) != layer["shape"]:
            raise ValueError(f"{name!r} is {tuple(module.weight.shape)} here and {layer['shape']} in the plan")
    model = mts.sparsify(model, mode=[("sparse_magnitude", CONFIG)])
    check(model)
    return model


def check(model):
    """ModelOpt only warns of a layer that it skips."""
    for name, zeros in zeros_of(model).items():
        if zeros < LAYERS[name]["zeros"]:
            raise ValueError(f"{name!r} has {zeros} zeros, {LAYERS[name]['zeros']} were planned; ModelOpt skipped it")


def finish(model):
    """Make the zeros plain values of plain modules, none of them -0.0."""
    model = mts.export(model)
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name in LAYERS:
            weight = modules[name].weight
            weight.copy_(torch.where(weight == 0, torch.zeros_like(weight), weight))
    return model


def zeros_of(model):
    """How many zeros each planned module's weight has."""
    modules = dict(model.named_modules())
    return {name: int((modules[name].weight == 0).sum()) for name in LAYERS}
'''

MAIN = """
if __name__ == "__main__":
    given = arguments()
    model = finish(prune_model(loaded(given)))
    for name, zeros in zeros_of(model).items():
        print(f"{name}: {zeros} zeros, {LAYERS[name]['zeros']} planned")
    torch.save(model.state_dict(), given.output)
"""

TRAPS = (
    "ModelOpt's sparsity is 2:4 and on or off for each layer, nothing else: other patterns and levels are left out.",
    "It skips weights whose output channels do not divide by 8 or input channels by 16, with a warning only; they are "
    "left out here, and one that is skipped all the same is an error.",
    "It needs the packages requests and huggingface_hub, which it does not declare.",
    "To keep the tested zeros, put masks in first (--to torch --mode mask): of a weight that is 2:4 already the same "
    "elements are chosen.",
)
CLASSES = {2: "nn.Linear", 4: "nn.Conv2d"}


@dataclass(frozen=True)
class ModelOpt:
    """NVIDIA ModelOpt, before TensorRT."""

    name: str = "modelopt"
    title: str = "2:4 sparsity for a PyTorch model, by NVIDIA ModelOpt"
    modes: tuple[Mode, ...] = ("ratio",)
    ran_with: str | None = "nvidia-modelopt 0.47.0, torch 2.13.0"

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        layers, left_out = select(self, export, refuses)
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_modelopt import prune_model, finish; model = prune_model(model), fine-tune, "
                "model = finish(model).",
                "Or: python prune_modelopt.py file.py:function --weights state.pt -o pruned.pt",
            ),
            traps=TRAPS,
        )
        chosen = {
            layer.parameter.removesuffix(".weight"): {
                "class": CLASSES[len(layer.shape)],
                "shape": layer.shape,
                "zeros": layer.zeros,
            }
            for layer in layers
        }
        config: dict[str, dict[str, dict[str, str] | None]] = {each: {"*": None} for each in CLASSES.values()}
        for name, row in chosen.items():
            config[str(row["class"])][glob.escape(name)] = {}  # a key is a wildcard pattern; later ones win
        constants = {"LAYERS": table(chosen), "CONFIG": table(config)}
        text = script(head, "Make layers 2:4 sparse as planned.", IMPORTS, constants, PRUNE, BUILD, MAIN)
        return {"prune_modelopt.py": text}


def refuses(layer: Layer) -> str | None:
    """ModelOpt makes weights of nn.Linear and nn.Conv2d 2:4 sparse."""
    if layer.pattern != "2:4":
        return f"its pattern is {layer.pattern or 'unstructured'}, and ModelOpt makes weights 2:4 sparse only"
    if not layer.parameter.endswith(".weight"):
        return "it is not the weight of a module"
    if layer.operator not in {"Conv", "Gemm", "MatMul"} or len(layer.shape) not in CLASSES:
        return f"ModelOpt takes nn.Linear and nn.Conv2d, not {layer.operator} with {len(layer.shape)} axes"
    if layer.shape[0] % 8 or layer.shape[1] % 16:
        return f"ModelOpt skips {layer.shape[0]} x {layer.shape[1]} channels, which do not divide by 8 and 16"
    return None


EXPORTER = ModelOpt()
