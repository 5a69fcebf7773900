"""A recipe for llm-compressor, in YAML."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import commented, header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.frameworks.exporters.torch_text import BY_TORCH

TRAPS = (
    "The modifier acts on optimizer steps in a training loop: without any, as in oneshot(), weights stay as they are, "
    "and no error is raised.",
    "A stage for each level: a YAML list of modifiers under pruning_modifiers is an empty recipe without an error, and "
    "two modifiers of one class in a stage are one.",
    "Recipe.yaml() merges modifiers of a group and loses some: keep this file, not what it writes.",
    "Targets are modules, not parameters, and one that matches none is no error.",
)
RATIO_TRAPS = (
    "Ratios lie between the planned count and the next, since they are multiplied and rounded down.",
    "Of equal magnitudes at the threshold all go.",
)
CONSTANT_TRAPS = (
    "ConstantPruningModifier holds the zeros that it finds, and also what is below 1e-8: put the masks in first, with "
    "the script of --to torch --mode mask.",
)


@dataclass(frozen=True)
class LlmCompressor:
    """llm-compressor: levels for MagnitudePruningModifier, or zeros for ConstantPruningModifier to hold."""

    name: str = "llmcompressor"
    title: str = "Pruning recipe for llm-compressor"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "llmcompressor 0.14.0.1, torch 2.13.0"

    def files(self, export: Export) -> Mapping[str, str]:
        """One recipe, in ASCII but for its comments."""
        masked = export.mode == "mask"
        layers, left_out = select(self, export, refuses_mask if masked else refuses_ratio)
        use = (
            "Use: put the masks in (prune_torch.py of --to torch --mode mask), then fine-tune with this recipe.",
            "from llmcompressor.recipe import Recipe; Recipe.create_instance('recipe_llmcompressor.yaml')",
        )
        head = header(
            self,
            export,
            layers,
            left_out,
            use=use if masked else ("Use: fine-tune with this recipe.", use[1]),
            traps=(*TRAPS, *(CONSTANT_TRAPS if masked else RATIO_TRAPS)),
            values="A recipe cannot load them: load them into the model, then mask it, then fine-tune. "
            + BY_TORCH.format(file=export.weights_file),
        )
        body = constant(layers) if masked else "".join(stages(layers))
        return {"recipe_llmcompressor.yaml": commented(head) + body}


def refuses_mask(layer: Layer) -> str | None:
    """Targets are modules: their parameter `weight` is meant."""
    module, _, name = layer.parameter.rpartition(".")
    if name != "weight" or not module:
        return "llm-compressor prunes the parameter 'weight' of modules only"
    return None


def refuses_ratio(layer: Layer) -> str | None:
    """Any element, or output channels of a two-dimensional convolution."""
    if reason := refuses_mask(layer):
        return reason
    if layer.pattern is None:
        return None
    if layer.pattern == "channel" and layer.operator == "Conv" and len(layer.shape) == 4:
        return None
    return f"MagnitudePruningModifier has no pattern '{layer.pattern}' for {layer.operator}; use --mode mask"


def stages(layers: Sequence[Layer]) -> Iterator[str]:
    """A stage for each group of layers that one level gives their planned zeros."""
    for number, (level, structure, group) in enumerate(grouped(layers)):
        yield (
            f"s{number}_stage:\n"
            "  pruning_modifiers:\n"
            "    MagnitudePruningModifier:\n"
            f"      targets: {targets(group)}\n"
            f"      mask_structure: {structure}\n"
            f"      init_sparsity: {level!r}\n"
            f"      final_sparsity: {level!r}\n"
            "      start: 0.0\n"
            "      end: 1.0\n"
            "      update: 1.0\n"
        )


def grouped(layers: Sequence[Layer]) -> Iterator[tuple[float, str, list[Layer]]]:
    """Levels in ascending order, each in the middle of what gives all of its layers exactly their zeros."""
    for structure in ("unstructured", "channel"):
        rows = [layer for layer in layers if (layer.pattern or "unstructured") == structure]
        rows.sort(key=lambda layer: layer.zeros / layer.size)
        group: list[Layer] = []
        ends: list[float] = []
        for layer in rows:
            units, going = counts(layer)
            if group and going / units >= min(ends):
                yield level_of(group), structure, group
                group, ends = [], []
            group.append(layer)
            ends.append((going + 1) / units)
        if group:
            yield level_of(group), structure, group


def counts(layer: Layer) -> tuple[int, int]:
    """How many units the layer has that go one by one, and how many of them go."""
    if layer.pattern is None:
        return layer.size, layer.zeros
    return layer.shape[0], layer.zeros * layer.shape[0] // layer.size


def level_of(group: Sequence[Layer]) -> float:
    """A level that, times the units of each layer and rounded down, is what is to go; at most 1."""
    found = [counts(layer) for layer in group]
    low, high = max(going / units for units, going in found), min((going + 1) / units for units, going in found)
    return min((low + high) / 2, 1.0)


def constant(layers: Sequence[Layer]) -> str:
    """One stage that holds every zero."""
    return (
        "s0_stage:\n"
        "  pruning_modifiers:\n"
        "    ConstantPruningModifier:\n"
        f"      targets: {targets(layers)}\n"
        "      start: 0.0\n"
        "      end: 1.0\n"
        "      update: 1.0\n"
    )


def targets(layers: Sequence[Layer]) -> str:
    """Modules by an expression that only their own name fits: a bare name may be that of a class, too."""
    modules = [layer.parameter.removesuffix(".weight") for layer in layers]
    return "[" + ", ".join(text(f"re:^{re.escape(module)}$") for module in modules) + "]"


def text(value: str) -> str:
    """A double-quoted YAML string in ASCII."""
    return '"' + "".join(map(character, value)) + '"'


def character(each: str) -> str:
    """A character within double quotes."""
    code = ord(each)
    if each in '"\\':
        return "\\" + each
    if " " <= each <= "~":
        return each
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


EXPORTER = LlmCompressor()
