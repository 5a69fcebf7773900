"""Names for what an HDF5 file of Keras 3 or tf_keras holds: a tree of layers, each with numbered variables.

Knows groups as h5py shows them, no values.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from onnxsens.frameworks.checkpoints.checkpoint import listed, refuse_endless
from onnxsens.frameworks.checkpoints.keras_names import (
    Config,
    is_known,
    layer_keys,
    rank,
    snake_case,
    sublayer,
    sublayer_name,
    variable_names,
    without_number,
)

VARIABLES = "vars"
LAYERS = "layers"
# Groups beside the model's own: what an optimizer, metrics and losses keep.
ASIDE = ("optimizer", "metrics", "loss", "_loss_tracker", "_compile_metrics", "optimizer_weights")
MOST_GROUPS = 50_000  # that are looked into; groups may hold each other, so that there is no end to it
LARGEST_RATIO = 1032  # bytes that deflate can make of one
SLACK = 1 << 16  # bytes


@dataclass
class Names:
    """Names by the datasets' places in the file, in the model's order, and what there is to say about them.

    Attributes:
        nameless: the names of layers are not known, so that their places in the file stand in, and mislead.
    """

    keys: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    nameless: bool = False

    def unique(self) -> "Names":
        """The same; where several have a name, each is called by its place in the file."""
        seen: dict[str, int] = {}
        for name in self.keys.values():
            seen[name] = seen.get(name, 0) + 1
        repeated = [name for name, times in seen.items() if times > 1]
        if not repeated:
            return self
        keys = {key: key.lstrip("/") if seen[name] > 1 else name for key, name in self.keys.items()}
        note = f"{listed(repeated)}: several variables have this name, so each is called by its place in the file"
        return Names(keys, [*self.notes, note], self.nameless)


@dataclass(frozen=True)
class Layer:
    """What is known of one before its group is looked into. `kind`: its class in snake case; '' where not known."""

    prefix: str
    kind: str
    config: Config


@dataclass
class Tree:
    """A walk through one file. `config` is the model's as its archive has it, empty where there is none."""

    config: Config
    tf_keras: bool | None
    found: Names = field(default_factory=Names)
    numbered: list[str] = field(default_factory=list)
    left: int = field(default_factory=lambda: MOST_GROUPS)

    def names(self, file: Any) -> Names:
        """Raises:
        ValueError: the file links to others, or claims more values than it can hold.
        """
        inner = self.config.get("config")
        if self.tf_keras is None:
            if own_name(file):
                self.tf_keras = False  # which keeps no names
            else:
                self.found.nameless = True
        kind = snake_case(str(self.config.get("class_name", "")))
        self._layer(file, Layer("", kind, inner if isinstance(inner, Mapping) else {}))
        if self.numbered:
            self.found.notes.append(f"variables of {listed(self.numbered)} are numbered: the file does not name them")
        return self.found.unique()

    def _go_on(self, group: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {MOST_GROUPS:,} groups")
        place = str(group.name)
        refuse_endless(place, place.count("/"))

    def _layer(self, group: Any, layer: Layer) -> None:
        self._go_on(group)
        self._variables(group, layer)
        for attribute, child in sorted(children(group), key=lambda item: rank(item[0])):
            if attribute == VARIABLES or (not layer.prefix and attribute in ASIDE):
                continue
            if VARIABLES not in child:
                self._container(child, layer.prefix, self._layers(layer.config) if attribute == LAYERS else {})
                continue
            kind, config = sublayer(layer.kind, attribute, layer.config)
            if not own_name(child) and not kind and "name" not in config and len(child[VARIABLES]):
                self.found.nameless = True  # an attribute of a class of the user's own
            name = own_name(child) or sublayer_name(kind, attribute, config)
            self._layer(child, self._sublayer(layer.prefix, name, kind, config))

    def _container(self, group: Any, prefix: str, layers: Mapping[str, Config]) -> None:
        """A list or dict of layers, each under its class in snake case and a number."""
        self._go_on(group)
        places = {key: number for number, key in enumerate(layers)}
        for key, child in sorted(children(group), key=lambda item: places.get(item[0], len(places))):
            described = layers.get(key, {})
            inner = described.get("config", {})
            config = inner if isinstance(inner, Mapping) else {}
            if VARIABLES not in child:
                self._container(child, prefix, {})
                continue
            name = own_name(child) or config.get("name") or described.get("name")
            if not name:
                name = child.name.strip("/").removeprefix(prefix)
                self.found.nameless = True
            self._layer(child, self._sublayer(prefix, str(name), without_number(key), config))

    def _sublayer(self, prefix: str, name: str, kind: str, config: Config) -> Layer:
        """A layer keeps the name that its class gives it unless told otherwise, so a name can tell the class."""
        if not kind and is_known(without_number(name)):
            kind = without_number(name)
        return Layer(f"{prefix}{name}/", kind, config)

    def _layers(self, config: Config) -> dict[str, Config]:
        layers = config.get(LAYERS)
        if not isinstance(layers, list):
            return {}
        return layer_keys([layer for layer in layers if isinstance(layer, Mapping)])

    def _variables(self, group: Any, layer: Layer) -> None:
        if VARIABLES not in group:
            return
        variables = group[VARIABLES]
        held = [key for key, _ in children(variables)]
        if not held:
            return
        names = variable_names(layer.kind, len(held), layer.config, self.tf_keras)
        prefix = layer.prefix or f"{own_name(group) or 'model'}/"
        if names is None:
            self.numbered.append(prefix.rstrip("/"))
        for number, key in enumerate(held):
            dataset = variables[key]
            check_dataset(dataset)
            self.found.keys[dataset.name] = f"{prefix}{names[number] if names else f'{VARIABLES}/{key}'}"


def old_names(group: Any) -> Names:
    """What an older `.h5` lists: `fc/kernel:0` in the group of its layer is `fc/kernel`.

    Raises:
        ValueError: the file links to others, or claims more values than it can hold.
    """
    found = Names()
    for layer in [*names_in(group, "layer_names"), "top_level_model_weights"]:
        if layer not in group:
            continue
        for name in names_in(group[layer], "weight_names"):
            dataset = followed(group, f"{layer}/{name}")
            check_dataset(dataset)
            found.keys[dataset.name] = re.sub(r":\d+$", "", name)
    return found.unique()


def layer_groups(file: Any) -> Any | None:
    """The group of an older `.h5` that lists layers and names; None where the file is of the newer kind."""
    for group in (file, file.get("model_weights")):
        if group is not None and any(name.startswith("layer_names") for name in group.attrs):
            return group
    return None


def names_in(group: Any, attribute: str) -> list[str]:
    """A list of names, which HDF5 may have had to cut into several attributes."""
    if attribute in group.attrs:
        return [text_of(name) for name in group.attrs[attribute]]
    found: list[str] = []
    for number in count():
        if f"{attribute}{number}" not in group.attrs:
            break
        found.extend(text_of(name) for name in group.attrs[f"{attribute}{number}"])
    return found


def text_of(value: Any) -> str:
    """An attribute that is text, however HDF5 keeps it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def own_name(group: Any) -> str:
    """A layer's name as Keras 3 keeps it; '' where there is none."""
    return text_of(group[VARIABLES].attrs.get("name", "")) if VARIABLES in group else ""


def children(group: Any) -> Iterator[tuple[str, Any]]:
    """What is in a group, `dense_2` before `dense_10`.

    Raises:
        ValueError: something in it is a link.
    """
    for key in sorted(
        group, key=lambda key: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key)]
    ):
        yield key, followed(group, key)


def followed(group: Any, place: str) -> Any:
    """What is at a place in a group.

    Raises:
        ValueError: there is a link on the way, which could lead to another file.
    """
    for part in place.split("/"):
        if type(group.get(part, getlink=True)).__name__ != "HardLink":
            raise ValueError(f"'{part}' is a link")
        group = group[part]
    return group


def check_dataset(dataset: Any) -> None:
    """Raises:
    ValueError: its values are in another file, or more than it can hold.
    """
    if dataset.external or dataset.is_virtual:
        raise ValueError("values in another file")
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size > LARGEST_RATIO * dataset.id.get_storage_size() + SLACK:
        raise ValueError("more values than the file can hold")
