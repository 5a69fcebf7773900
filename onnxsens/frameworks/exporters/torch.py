"""A script that prunes a PyTorch model with `torch.nn.utils.prune`."""

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
from onnxsens.frameworks.exporters.torch_text import BUILD, LOAD_VALUES, PLACES, RAN, ROWS, VALUES_ARE_LOADED

IMPORTS = """
import argparse
import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn.utils import prune
"""

RATIO_IMPORTS = IMPORTS.replace("import json\n", "").replace("from safetensors import safe_open\n", "")

PRUNE_BY_RATIO = '''
def prune_first(model, parameter, layer, module, name):
    """Zero the least magnitudes of one parameter."""
    zeros, pattern, shape = layer["zeros"], layer["pattern"], layer["shape"]
    holder, width = owner(model, parameter, layer), math.prod(shape[1:])
    if pattern is None:
        prune.l1_unstructured(module, name, amount=zeros)
    elif pattern == "channel" and isinstance(holder, (*CONVOLUTIONS, *AS_MATRIX)) and zeros % width == 0:
        # n=1: channels rank by the sum of their magnitudes, as in the plan.
        prune.ln_structured(module, name, amount=zeros // width, n=1, dim=0)
    else:
        places_of_rows = rows(holder, parameter, shape, pattern)
        mask = ranked_mask(values_of(getattr(module, name)), places_of_rows, zeros, pattern)
        prune.custom_from_mask(module, name, torch.from_numpy(mask).to(getattr(module, name).device))


def prune_model(model):
    """Zero the planned elements, and keep them zero in training until `finish`."""
    for parameter, layer in LAYERS.items():
        (module, name), *tied = places(model, parameter, layer)
        prune_first(model, parameter, layer, module, name)
        for other, own_name in tied:
            prune.custom_from_mask(other, own_name, getattr(module, name + "_mask"))
    model.refreshing = model.register_forward_pre_hook(refresh)
    return model
'''

PRUNE_BY_MASK = '''
def prune_model(model, masks=MASKS, values=VALUES):
    """Load the updated values, zero the planned elements, and keep them zero in training until `finish`.

    values=False loads none.
    """
    kept = read_masks(masks)
    found = {parameter: places(model, parameter, layer) for parameter, layer in LAYERS.items()}
    load_values(model, values, masks)
    for parameter, holders in found.items():
        for module, name in holders:
            mask = torch.from_numpy(kept[parameter]).to(getattr(module, name).device)
            prune.custom_from_mask(module, name, mask)
    model.refreshing = model.register_forward_pre_hook(refresh)
    return model
'''

FINISH = '''
def refresh(model, inputs):
    """Mask every weight anew, also of modules that are read and not called, such as out_proj of attention."""
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                hook(module, inputs)


def finish(model):
    """Make the zeros plain values of plain parameters: state_dict has its own keys again, and no zero is -0.0."""
    if hasattr(model, "refreshing"):
        model.refreshing.remove()
        del model.refreshing
    for module in model.modules():
        buffers = [name.removesuffix("_mask") for name, _ in module.named_buffers(recurse=False)]
        for name in [name for name in buffers if hasattr(module, name + "_mask") and hasattr(module, name + "_orig")]:
            mask = getattr(module, name + "_mask").bool()
            prune.remove(module, name)
            weight = getattr(module, name)
            with torch.no_grad():
                weight.copy_(torch.where(mask, weight, torch.zeros_like(weight)))
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
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
    given = arguments()
    model = finish(prune_model(loaded(given)))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    torch.save(model.state_dict(), given.output)
"""

MAIN_MASK = """
if __name__ == "__main__":
    given = arguments(switches=[("--no-values", "do not load the updated values")])
    values = not given.no_values and VALUES
    model = finish(prune_model(loaded(given), values=values))
    print(about_values(values))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    torch.save(model.state_dict(), given.output)
"""

TRAPS = (
    "Until finish(model) the state dict has weight_orig and weight_mask in place of weight.",
    "prune leaves -0.0 (and NaN, where a weight was not finite); finish makes every zero +0.0.",
    "prune masks a weight where its module is called; MultiheadAttention, and F.linear(x, self.head.weight), read "
    "weights of modules that they do not call. So all are masked anew whenever the model that was given to prune_model "
    "is called: call that one in training, not a part of it.",
    "Tied parameters are pruned as one, so that they stay tied.",
)
RATIO_TRAPS = (
    "Of equal magnitudes torch takes any; where a weight has more zeros than planned already, all of them stay.",
)


@dataclass(frozen=True)
class TorchPrune:
    """`torch.nn.utils.prune`, which reaches any parameter of any module."""

    name: str = "torch"
    title: str = "Zeros for a PyTorch model, by torch.nn.utils.prune"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = RAN

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        layers, left_out = select(self, export, no_reason)
        masked = export.mode == "mask"
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_torch import prune_model, finish; prune_model(model), fine-tune, finish(model).",
                "Or: python prune_torch.py file.py:function --weights state.pt -o pruned.pt",
            ),
            traps=TRAPS if masked else (*TRAPS, *RATIO_TRAPS),
            values=VALUES_ARE_LOADED.format(call="prune_model(model, values=False)"),
        )
        doc = "Prune a PyTorch model as planned."
        rows = {"LAYERS": table(layer_rows(layers))}
        if masked:
            constants = {**files_beside(export), **rows}
            parts: tuple[str, ...] = (
                READ_MASKS, READ_VALUES, PLACES, LOAD_VALUES, PRUNE_BY_MASK, FINISH, BUILD, MAIN_MASK
            )  # fmt: skip
            return {"prune_torch.py": script(head, doc, IMPORTS, constants, *parts)}
        parts = (PLACES, ROWS, RANKING, PRUNE_BY_RATIO, FINISH, BUILD, MAIN)
        return {"prune_torch.py": script(head, doc, RATIO_IMPORTS, rows, *parts)}


def no_reason(layer: Layer) -> None:
    """Every parameter can be reached."""


EXPORTER = TorchPrune()
