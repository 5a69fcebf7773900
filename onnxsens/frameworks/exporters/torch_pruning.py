"""A script that removes channels with Torch-Pruning."""

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

import torch
import torch_pruning as tp
"""

PRUNE = '''
def ratios(model):
    """The ratio for every module of the plan. Torch-Pruning keys are module objects, not names."""
    modules = dict(model.named_modules())
    found = {}
    for name, (shape, share) in LAYERS.items():
        if name not in modules:
            raise KeyError(f"the model has no module {name!r}; check that it is the model of the plan")
        module = modules[name]
        if tuple(module.weight.shape) != shape:
            raise ValueError(f"the weight of {name!r} is {tuple(module.weight.shape)} here and {shape} in the plan")
        channels = getattr(module, "out_channels", None) or getattr(module, "out_features", None)
        if channels is None:
            raise TypeError(f"{name!r} is a {type(module).__name__}, whose channels are not known")
        going = round(share * channels)
        if going == channels:
            raise ValueError(f"the plan zeroes all {channels} channels of {name!r}; a layer without any cannot be made")
        # Half a channel less: what is kept is rounded down there, and a plain ratio could cost one channel more.
        found[module] = (going - 0.5) / channels
    return found


def prune_model(model, example_inputs, keep=()):
    """Remove the planned shares of channels, least magnitudes first; the layers named in `keep` stay as they are."""
    modules = dict(model.named_modules())
    kept = [modules[name] for name in keep]
    chosen = {module: ratio for module, ratio in ratios(model).items() if all(module is not other for other in kept)}
    model.eval()
    before = shapes(model, example_inputs)
    pruner = tp.pruner.MagnitudePruner(
        model,
        example_inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.0,
        pruning_ratio_dict=chosen,
        ignored_layers=kept,
    )
    pruner.step()
    if shapes(model, example_inputs) != before:
        raise ValueError(
            f"outputs were {before} and are {shapes(model, example_inputs)}: a layer of the plan makes the model's "
            "outputs; name it in `keep`, and start from a fresh model"
        )
    return model


def shapes(model, example_inputs):
    """The shapes of all outputs."""
    with torch.no_grad():
        outputs = model(*example_inputs) if isinstance(example_inputs, tuple) else model(example_inputs)
    flat, _ = torch.utils._pytree.tree_flatten(outputs)
    return [tuple(each.shape) for each in flat if isinstance(each, torch.Tensor)]


def channels_of(model):
    """Output channels of each planned module: now, and in the plan's model."""
    modules = dict(model.named_modules())
    sizes = {}
    for name, (shape, _) in LAYERS.items():
        transposed = isinstance(modules[name], torch.nn.modules.conv._ConvTransposeNd)
        now = modules[name].out_channels if hasattr(modules[name], "out_channels") else modules[name].out_features
        sizes[name] = now, shape[1] * modules[name].groups if transposed else shape[0]
    return sizes
'''

MAIN = """
if __name__ == "__main__":
    given = arguments(("--input-shape", "shape of an input, such as 1,3,224,224"))
    example = torch.zeros([int(size) for size in given.input_shape.split(",")])
    model = prune_model(loaded(given), example)
    for name, (now, before) in channels_of(model).items():
        print(f"{name}: {now} of {before} channels")
    torch.save(model.state_dict(), given.output)
"""

TRAPS = (
    "Channels are removed, not zeroed: the file that was tested has them still, with biases and BatchNorm shifts that "
    "go here. Measure the pruned model.",
    "Layers that are added, concatenated or follow each other channel by channel move together: of a group, the ratio "
    "of its first layer counts, and others of the plan in the same group are not as planned. channels_of(model) tells.",
    "A layer that makes the model's outputs must not lose channels: prune_model refuses, name it in `keep`.",
    "Torch-Pruning takes module objects, so that a name that is not there would be lost; here it is an error.",
    "The state dict has new shapes: to load it, make the model, prune_model it (ratios decide the shapes, whatever the "
    "weights are), then load_state_dict.",
)


@dataclass(frozen=True)
class TorchPruning:
    """Torch-Pruning, which cuts whole channels out of a model."""

    name: str = "torch-pruning"
    title: str = "Channels to remove from a PyTorch model, by Torch-Pruning"
    modes: tuple[Mode, ...] = ("ratio",)
    ran_with: str | None = "torch-pruning 1.6.1, torch 2.13.0"

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        layers, left_out = select(self, export, refuses)
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_torch_pruning import prune_model; prune_model(model, example_inputs).",
                "Or: python prune_torch_pruning.py file.py:function --weights in.pt --input-shape 1,3,32,32 -o out.pt",
            ),
            traps=TRAPS,
        )
        rows = {layer.parameter.removesuffix(".weight"): (layer.shape, layer.zeros / layer.size) for layer in layers}
        text = script(head, "Remove channels as planned.", IMPORTS, {"LAYERS": table(rows)}, PRUNE, BUILD, MAIN)
        return {"prune_torch_pruning.py": text}


def refuses(layer: Layer) -> str | None:
    """Torch-Pruning removes channels of modules, nothing else."""
    if layer.pattern != "channel":
        return f"its pattern is {layer.pattern or 'unstructured'}, and Torch-Pruning removes whole channels only"
    if not layer.parameter.endswith(".weight"):
        return "it is not the weight of a module"
    if layer.operator not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return f"channels of {layer.operator} cannot be removed"
    return None


EXPORTER = TorchPruning()
