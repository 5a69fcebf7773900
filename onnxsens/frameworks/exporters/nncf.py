"""A script that sets the masks of NNCF's pruning hooks."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.frameworks.exporters.script import (
    RANKING,
    READ_MASKS,
    READ_VALUES,
    files_beside,
    layer_rows,
    script,
    table,
)
from onnxsens.frameworks.exporters.torch_text import BUILD, LOAD_VALUES, PLACES, ROWS, VALUES_ARE_LOADED

IMPORTS = """
import argparse
import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path

import nncf
import numpy as np
import torch
from nncf.torch.function_hook.pruning.magnitude.algo import get_pruned_modules
from safetensors import safe_open
from torch import nn
"""

RATIO_IMPORTS = IMPORTS.replace("import json\n", "").replace("from safetensors import safe_open\n", "")

MASK_OF_RATIO = '''
def masks_of(model):
    """A mask for every layer: its least magnitudes go."""
    found = {}
    for parameter, layer in LAYERS.items():
        module, name = places(model, parameter, layer)[0]
        values = values_of(getattr(module, name))
        index = rows(owner(model, parameter, layer), parameter, layer["shape"], layer["pattern"])
        found[parameter] = ranked_mask(values, index, layer["zeros"], layer["pattern"])
    return found
'''

MASK_OF_FILE = '''
def masks_of(model, values=VALUES):
    """A mask for every layer, from the file beside; the updated values are loaded, with values=False they are not."""
    for parameter, layer in LAYERS.items():
        places(model, parameter, layer)  # refuses another model
    masks = read_masks()
    load_values(model, values)
    return masks
'''

PRUNE = '''
def prune_model(model, example_inputs, **options):
    """Give every weight that NNCF prunes its planned mask; the model is changed, and returned.

    Options are those of `masks_of`.
    """
    if type(model) is nn.Sequential:
        raise TypeError("NNCF adds a child to the model, which an nn.Sequential would call; wrap it in a module")
    masks = masks_of(model, **options)
    holders = {parameter: places(model, parameter, layer) for parameter, layer in LAYERS.items()}
    paths = {id(module): path for path, module in model.named_modules()}
    names = {
        parameter: {f"{paths[id(module)]}.{name}".lstrip(".") for module, name in found} | {parameter}
        for parameter, found in holders.items()
    }
    # One ratio for all: every mask is set below.
    nncf.prune(model, nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_LOCAL, ratio=0.5, examples_inputs=example_inputs)
    hooks = get_pruned_modules(model)
    missing = [parameter for parameter in LAYERS if not names[parameter] & hooks.keys()]
    if missing:
        raise KeyError(f"NNCF does not prune {', '.join(map(repr, missing))}; it has {', '.join(hooks)}")
    with torch.no_grad():
        for name, hook in hooks.items():
            parameter = next((each for each in LAYERS if name in names[each]), None)
            mask = np.ones(hook.binary_mask.shape, bool) if parameter is None else masks[parameter]
            hook.binary_mask.copy_(torch.from_numpy(mask))
    return model


def finish(model):
    """Put the zeros into the weights themselves, which hooks only mask as they are read."""
    with torch.no_grad():
        for name, hook in get_pruned_modules(model).items():
            weight = model.get_parameter(name)
            weight.copy_(torch.where(hook.binary_mask, weight, torch.zeros_like(weight)))
    return model


def zeros_of(model):
    """How many zeros each planned parameter has, after `finish`."""
    found = {}
    for parameter, layer in LAYERS.items():
        module, name = places(model, parameter, layer)[0]
        found[parameter] = int((getattr(module, name) == 0).sum())
    return found
'''

MAIN = """
if __name__ == "__main__":
    given = arguments(("--input-shape", "shape of an input, such as 1,3,224,224"))
    example = torch.zeros([int(size) for size in given.input_shape.split(",")])
    model = finish(prune_model(loaded(given), example))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("__nncf")}
    torch.save(own, given.output)
"""

MAIN_MASK = """
if __name__ == "__main__":
    given = arguments(
        ("--input-shape", "shape of an input, such as 1,3,224,224"),
        switches=[("--no-values", "do not load the updated values")],
    )
    example = torch.zeros([int(size) for size in given.input_shape.split(",")])
    values = not given.no_values and VALUES
    model = finish(prune_model(loaded(given), example, values=values))
    print(about_values(values))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("__nncf")}
    torch.save(own, given.output)
"""

TRAPS = (
    "nncf.prune takes one ratio for all layers, so the masks of its hooks are set afterwards, through an import that "
    "is internal to NNCF and may move.",
    "Calling nncf.prune again overwrites every mask.",
    "An nn.Sequential cannot be the model itself: NNCF adds a child to it.",
    "Hooks mask weights as they are read; the weights stay dense until finish(model).",
    "nncf.strip fails where torchao is not installed, and was not run with it.",
)


@dataclass(frozen=True)
class Nncf:
    """NNCF for PyTorch, before OpenVINO."""

    name: str = "nncf"
    title: str = "Masks for the pruning hooks of NNCF, on a PyTorch model"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "nncf 3.4.0, torch 2.13.0"

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        layers, left_out = select(self, export, refuses)
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_nncf import prune_model, finish; prune_model(model, inputs), train, finish(model).",
                "Or: python prune_nncf.py file.py:function --weights state.pt --input-shape 1,3,32,32 -o pruned.pt",
            ),
            traps=TRAPS,
            values=VALUES_ARE_LOADED.format(call="prune_model(model, inputs, values=False)"),
        )
        rows = {"LAYERS": table(layer_rows(layers))}
        doc = "Prune a PyTorch model as planned, by NNCF."
        if export.mode == "mask":
            constants = {**files_beside(export), **rows}
            parts: tuple[str, ...] = (
                READ_MASKS, READ_VALUES, PLACES, LOAD_VALUES, MASK_OF_FILE, PRUNE, BUILD, MAIN_MASK
            )  # fmt: skip
            return {"prune_nncf.py": script(head, doc, IMPORTS, constants, *parts)}
        parts = (PLACES, ROWS, RANKING, MASK_OF_RATIO, PRUNE, BUILD, MAIN)
        return {"prune_nncf.py": script(head, doc, RATIO_IMPORTS, rows, *parts)}


def refuses(layer: Layer) -> str | None:
    """NNCF finds weights of convolutions, matrix products and embeddings; it finds none in recurrent layers."""
    if layer.operator in {"GRU", "LSTM", "RNN"}:
        return f"NNCF prunes no weights of {layer.operator}"
    return None


EXPORTER = Nncf()
