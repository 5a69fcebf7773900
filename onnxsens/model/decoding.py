"""Names that are not UTF-8: protobuf hands them out as bytes, which do not sort, hash or print as other names do."""

from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any

import onnx

from onnxsens.model.names import text

ABOUT = ("producer_name", "producer_version", "domain", "doc_string")


def decode_names(proto: onnx.ModelProto, graphs: Iterable[onnx.GraphProto]) -> int:
    """Make every such name in these graphs of a model text, the same everywhere, which no other name is; how many.

    What the model and its graph say of themselves is made text too.
    """
    all_graphs = list(graphs)
    for field in ABOUT:
        decode(proto, field)
    for graph in all_graphs:
        decode(graph, "name")
    names = {name for holder, field in places(all_graphs) for name in names_at(holder, field)}
    taken = {name for name in names if isinstance(name, str)}
    undecoded = {name for name in names if isinstance(name, bytes)}
    if not undecoded:
        return 0
    new: dict[bytes, str] = {}
    for name in sorted(undecoded):
        made = text(name)
        while made in taken:
            made += "#"
        taken.add(made)
        new[name] = made
    for holder, field in places(all_graphs):
        found = getattr(holder, field)
        if isinstance(found, bytes):
            setattr(holder, field, new[found])
        elif not isinstance(found, str):
            replace_in(found, new)
    return len(new)


def decode(holder: Any, field: str) -> None:
    """Make a field text if it is none; one that is not set stays so."""
    found = getattr(holder, field)
    if isinstance(found, bytes):
        setattr(holder, field, text(found))


def places(graphs: Iterable[onnx.GraphProto]) -> Iterator[tuple[Any, str]]:
    """Every field that names a node or a tensor, of messages that may be changed meanwhile."""
    for graph in graphs:
        for node in graph.node:
            yield from ((node, field) for field in ("input", "output", "name"))
        named = [*graph.initializer, *graph.input, *graph.output, *graph.value_info]
        named += [sparse.values for sparse in graph.sparse_initializer]
        yield from ((each, "name") for each in named)


def names_at(holder: Any, field: str) -> list[str | bytes]:
    """The names of a field that has one or many."""
    found = getattr(holder, field)
    return [found] if isinstance(found, str | bytes) else list(found)


def replace_in(names: MutableSequence[Any], new: dict[bytes, str]) -> None:
    """In a repeated field."""
    for number, name in enumerate(names):
        if isinstance(name, bytes):
            names[number] = new[name]
