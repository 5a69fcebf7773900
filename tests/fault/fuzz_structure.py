"""Models that parse and say something else than they did: shapes, types, operators, wiring, bodies, functions.

Works on the protobuf alone; what is made need not be a model that anybody would write.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.fault.mutators import HOSTILE

DIMS = (-1, 0, 1, 2, 3, 5, 8, 64, 1 << 20, 1 << 31, 1 << 40, 1 << 62, -(1 << 63), (1 << 63) - 1)
INTEGERS = (*DIMS, -2, -3, -7, 4, 7, 16, 31, 32, 63, 255, 65536, (1 << 31) - 1, -(1 << 31))
FLOATS = (0.0, -1.0, 1.0, 0.5, 1e-45, 3.4e38, -3.4e38, float("inf"), float("-inf"), float("nan"))
TEXTS = (*HOSTILE, "SAME_UPPER", "VALID", "ij,jk->ik", "i...j,j...->", "bilinear", "cubic", "linear", "\u00e4", "int32")
TRIPS = (0, 1, 2, 3, 7, -1, 100_000)
PLACES = (
    "",
    ".",
    "..",
    "m.onnx",
    "weights.bin",
    "no such file",
    "../m.onnx",
    "/etc/hostname",
    "a/../m.onnx",
    "/dev/zero",
)
NUMBER_TEXTS = ("0", "4", "-1", "4096", "99999999999999999999", "1e3", "", " 8", "0x10", "\u0663")
TYPES = range(27)
STEPS = (1, 1, 2, 3)


def changed(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """A model with one to three changes of its structure.

    Args:
        others: models that nodes may come from.
    """
    proto = onnx.ModelProto.FromString(content)
    for _ in range(rng.choice(STEPS)):
        rng.choice(CHANGES)(proto, rng, others)
    return proto.SerializeToString()


Change = Callable[[onnx.ModelProto, Random, Sequence[bytes]], None]


@cache
def operators() -> tuple[tuple[str, str], ...]:
    """Domain and name of every operator that the installed runtime knows of, and of every one of ONNX."""
    import onnxruntime.capi.onnxruntime_pybind11_state as state

    known = [(schema.domain, schema.name) for schema in state.get_all_operator_schema()]
    known += [(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas()]
    return tuple(sorted(set(known)))


@cache
def attributes_of(domain: str, name: str) -> tuple[tuple[str, int], ...]:
    """Names and types of an operator's attributes, where ONNX knows it."""
    found = [schema for schema in onnx.defs.get_all_schemas() if (schema.domain, schema.name) == (domain, name)]
    return tuple(sorted((each.name, each.type.value) for schema in found for each in schema.attributes.values()))


def graphs(proto: onnx.ModelProto) -> list[Any]:
    """The main graph, bodies, and functions: all that has nodes."""
    found: list[Any] = [proto.graph, *proto.functions]
    for holder in found:  # grows
        for node in holder.node:
            for attribute in node.attribute:
                found += [attribute.g] if attribute.HasField("g") else []
                found += attribute.graphs
    return found


def nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """All of them."""
    return [node for holder in graphs(proto) for node in holder.node]


def tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Initializers, sparse ones' parts, and those in attributes."""
    found = []
    for holder in graphs(proto):
        if isinstance(holder, onnx.GraphProto):
            found += list(holder.initializer)
            found += [part for sparse in holder.sparse_initializer for part in (sparse.values, sparse.indices)]
        found += [each.t for node in holder.node for each in node.attribute if each.HasField("t")]
    return found


def attributes(proto: onnx.ModelProto) -> list[AttributeProto]:
    """Of all nodes."""
    return [attribute for node in nodes(proto) for attribute in node.attribute]


def value_names(proto: onnx.ModelProto) -> list[str]:
    """All that can be read by a node of the main graph, and what is no name at all."""
    graph = proto.graph
    names = [each.name for each in (*graph.input, *graph.initializer)]
    return [*names, *(name for node in graph.node for name in node.output), "", "nothing"]


def infos(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Declared types."""
    found = []
    for holder in graphs(proto):
        if isinstance(holder, onnx.GraphProto):
            found += [*holder.input, *holder.output, *holder.value_info]
    return found


def one_of(rng: Random, items: Sequence[Any]) -> Iterator[Any]:
    """One, if there is any."""
    if items:
        yield items[rng.randrange(len(items))]


def dims_of_tensor(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for tensor in one_of(rng, tensors(proto)):
        dims = list(tensor.dims)
        match rng.randrange(5):
            case 0:
                dims.append(rng.choice(DIMS))
            case 1 if dims:
                del dims[rng.randrange(len(dims))]
            case 2:
                rng.shuffle(dims)
            case 3 if len(dims) > 1:
                dims = [dims[1] + 1, *dims[2:]]
            case _ if dims:
                dims[rng.randrange(len(dims))] = rng.choice(DIMS)
        tensor.dims[:] = dims


def type_of_tensor(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for tensor in one_of(rng, tensors(proto)):
        tensor.data_type = rng.choice((*TYPES, 99, -1, (1 << 31) - 1))


def payload_of_tensor(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for tensor in one_of(rng, tensors(proto)):
        match rng.randrange(7):
            case 0:
                tensor.raw_data = tensor.raw_data[: rng.randint(0, len(tensor.raw_data))]
            case 1:
                tensor.raw_data = tensor.raw_data + rng.randbytes(rng.randint(1, 9))
            case 2:
                tensor.float_data.extend(rng.choices(FLOATS, k=rng.randint(1, 8)))
            case 3:
                tensor.ClearField("raw_data")
                tensor.int32_data.extend(rng.choices((0, 1, 255, -1, 65536), k=rng.randint(1, 8)))
            case 4:
                tensor.string_data.append(rng.choice(HOSTILE).encode())
            case 5:
                tensor.segment.begin, tensor.segment.end = rng.choice(DIMS), rng.choice(DIMS)
            case _:
                special = np.array(rng.choice((np.nan, np.inf, -np.inf, 1e-45, 3.4e38)), np.float32).tobytes()
                tensor.raw_data = special * (len(tensor.raw_data) // 4)


def external_tensor(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for tensor in one_of(rng, tensors(proto)):
        tensor.data_location = TensorProto.EXTERNAL
        if rng.random() < 0.8:
            tensor.ClearField("raw_data")
        if rng.random() < 0.5:
            del tensor.external_data[:]
        for key in rng.sample(("location", "offset", "length", "checksum", "other"), rng.randint(0, 4)):
            value = rng.choice(PLACES if key == "location" else NUMBER_TEXTS)
            tensor.external_data.add(key=key, value=value)


def operator_of_node(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for node in one_of(rng, nodes(proto)):
        node.domain, node.op_type = rng.choice(operators())
        known = {entry.domain for entry in proto.opset_import}
        if node.domain not in known and rng.random() < 0.9:
            proto.opset_import.add(domain=node.domain, version=1)


def name_of_operator(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for node in one_of(rng, nodes(proto)):
        if rng.random() < 0.5:
            node.op_type = rng.choice(TEXTS)
        else:
            node.domain = rng.choice(TEXTS)


def attribute_value(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for attribute in one_of(rng, attributes(proto)):
        match rng.randrange(6):
            case 0:
                attribute.type = rng.choice(range(15))
            case 1:
                attribute.name = rng.choice((*TEXTS, "axis", "axes", "pads", "group", "body"))
            case 2:
                attribute.ref_attr_name = rng.choice((*TEXTS, "axis"))
            case _:
                fill(attribute, attribute.type, rng)


def added_attribute(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for node in one_of(rng, nodes(proto)):
        known = attributes_of(node.domain, node.op_type)
        name, kind = rng.choice(known) if known else ("axis", AttributeProto.INT)
        for old in [each for each in node.attribute if each.name == name and rng.random() < 0.9]:
            node.attribute.remove(old)
        fill(node.attribute.add(name=name, type=kind), kind, rng)


def fill(attribute: AttributeProto, kind: int, rng: Random) -> None:
    """Give it a value of a kind."""
    if kind == AttributeProto.INT:
        attribute.i = rng.choice(INTEGERS)
    elif kind == AttributeProto.INTS:
        if rng.random() < 0.6 and attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(INTEGERS)
        else:
            attribute.ints[:] = rng.choices(INTEGERS, k=rng.randint(0, 6))
    elif kind == AttributeProto.FLOAT:
        attribute.f = rng.choice(FLOATS)
    elif kind == AttributeProto.FLOATS:
        attribute.floats[:] = rng.choices(FLOATS, k=rng.randint(0, 6))
    elif kind == AttributeProto.STRING:
        attribute.s = rng.choice(TEXTS).encode("utf-8", "replace")
    elif kind == AttributeProto.STRINGS:
        attribute.strings[:] = [text.encode("utf-8", "replace") for text in rng.choices(TEXTS, k=rng.randint(0, 4))]
    elif kind == AttributeProto.TENSOR:
        attribute.t.CopyFrom(any_tensor(rng))
    elif kind == AttributeProto.GRAPH:
        attribute.g.ClearField(rng.choice(("node", "output", "input", "initializer")))


def any_tensor(rng: Random) -> TensorProto:
    """A small one."""
    kind = rng.choice((np.float32, np.int64, np.int32, np.uint8, np.bool_, np.float64, np.float16))
    shape = rng.choice(((), (0,), (1,), (2,), (3,), (2, 2), (1, 1, 1)))
    with np.errstate(all="ignore"):
        values = np.array(rng.choices((0, 1, -1, 3, 100, 1e30), k=int(np.prod(shape)))).astype(kind)
    return numpy_helper.from_array(values.reshape(shape), "any")


def removed_attribute(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for node in one_of(rng, [node for node in nodes(proto) if node.attribute]):
        del node.attribute[rng.randrange(len(node.attribute))]


def input_of_node(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    names = value_names(proto)
    for node in one_of(rng, nodes(proto)):
        match rng.randrange(4):
            case 0:
                node.input.append(rng.choice(names))
            case 1 if node.input:
                del node.input[rng.randrange(len(node.input))]
            case 2:
                inputs = list(node.input)
                rng.shuffle(inputs)
                node.input[:] = inputs
            case _ if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(names)


def output_of_node(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for node in one_of(rng, nodes(proto)):
        if rng.random() < 0.3 or not node.output:
            node.output.append(rng.choice((*value_names(proto), "more")))
        elif rng.random() < 0.3:
            del node.output[rng.randrange(len(node.output))]
        else:
            node.output[rng.randrange(len(node.output))] = rng.choice(value_names(proto))


def order_of_nodes(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for holder in one_of(rng, [each for each in graphs(proto) if each.node]):
        made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in holder.node]
        at = rng.randrange(len(made))
        match rng.randrange(3):
            case 0:
                del made[at]
            case 1:
                made.insert(rng.randint(0, len(made)), made[at])
            case _:
                rng.shuffle(made)
        del holder.node[:]
        holder.node.extend(made)


def versions(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    match rng.randrange(4):
        case 0:
            proto.ir_version = rng.choice((*INTEGERS, 1, 3, 4, 7, 9, 10, 13, 14))
        case 1 if proto.opset_import:
            del proto.opset_import[rng.randrange(len(proto.opset_import))]
        case 2:
            proto.opset_import.add(
                domain=rng.choice(("", "ai.onnx", "com.microsoft", "own")), version=rng.choice(INTEGERS)
            )
        case _:
            for entry in one_of(rng, proto.opset_import):
                entry.version = rng.choice((*range(1, 30), *INTEGERS))


def declared_type(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    for info in one_of(rng, infos(proto)):
        match rng.randrange(6):
            case 0:
                info.type.tensor_type.elem_type = rng.choice((*TYPES, 99))
            case 1:
                info.type.tensor_type.shape.dim.add(dim_value=rng.choice(DIMS))
            case 2:
                info.ClearField("type")
            case 3:
                info.type.sequence_type.elem_type.tensor_type.elem_type = rng.choice(TYPES)
            case 4:
                info.type.optional_type.elem_type.sequence_type.elem_type.tensor_type.elem_type = 1
            case _:
                for dim in one_of(rng, info.type.tensor_type.shape.dim):
                    if rng.random() < 0.3:
                        dim.dim_param = rng.choice(("N", "M", *HOSTILE))
                    else:
                        dim.dim_value = rng.choice(DIMS)


def interface(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    graph = proto.graph
    holder = rng.choice((graph.input, graph.output, graph.value_info))
    match rng.randrange(4):
        case 0 if holder:
            del holder[rng.randrange(len(holder))]
        case 1 if holder:
            holder.append(holder[rng.randrange(len(holder))])
        case 2:
            holder.append(helper.make_tensor_value_info(rng.choice(value_names(proto)), rng.choice((1, 7, 8, 9)), None))
        case _:
            for info in one_of(rng, holder):
                info.name = rng.choice((*value_names(proto), *HOSTILE))


def names(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    """One name, everywhere that it stands."""
    old, new = rng.choice(value_names(proto)), rng.choice((*HOSTILE, "ortshared_1_0_1_0_token_1", "ONNX::1"))
    for holder in graphs(proto):
        for node in holder.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
            if rng.random() < 0.2:
                node.name = new
        if isinstance(holder, onnx.GraphProto):
            for each in (*holder.input, *holder.output, *holder.value_info, *holder.initializer):
                each.name = new if each.name == old else each.name


def initializers(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    graph = proto.graph
    match rng.randrange(5):
        case 0 if graph.initializer:
            del graph.initializer[rng.randrange(len(graph.initializer))]
        case 1 if graph.initializer:
            graph.initializer.append(graph.initializer[rng.randrange(len(graph.initializer))])
        case 2:
            for tensor in one_of(rng, graph.initializer):
                graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)[:8]))
        case 3:
            for tensor in one_of(rng, graph.initializer):
                node = graph.node.add(op_type="Constant", output=[tensor.name])
                node.attribute.add(name="value", type=AttributeProto.TENSOR).t.CopyFrom(tensor)
                graph.initializer.remove(tensor)
        case _:
            sparse_initializer(proto, rng)


def sparse_initializer(proto: onnx.ModelProto, rng: Random) -> None:
    """In place of a dense one; indices may be nonsense."""
    graph = proto.graph
    for tensor in one_of(rng, [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]):
        count = rng.randint(0, 4)
        rank = len(tensor.dims) if rng.random() < 0.3 else 1
        picked = [rng.choice((0, 1, 2, 3, 5, *rng.choices(DIMS, k=1))) for _ in range(count * rank)]
        indices = np.array(sorted(picked) if rng.random() < 0.7 else picked, np.int64)
        made = graph.sparse_initializer.add(dims=list(tensor.dims) if rng.random() < 0.8 else rng.choices(DIMS, k=2))
        made.values.CopyFrom(numpy_helper.from_array(np.ones(count, np.float32), tensor.name))
        shape = (count,) if rank == 1 else (count, rank)
        made.indices.CopyFrom(numpy_helper.from_array(indices.reshape(shape), f"{tensor.name}.indices"))
        graph.initializer.remove(tensor)


def into_function(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    """A node's work done by a function, which may call itself, or another, or be there twice."""
    for node in one_of(rng, proto.graph.node):
        inner = onnx.NodeProto.FromString(node.SerializeToString())
        calls = [inner]
        name = f"made{len(proto.functions)}"
        if rng.random() < 0.3:
            called = rng.choice((name, "made0", "made1", "missing"))
            calls.append(helper.make_node(called, list(node.input), ["twice"], domain="own"))
        opsets = [helper.make_opsetid(each.domain, each.version) for each in proto.opset_import]
        formal = [each for each in dict.fromkeys(node.input) if each]
        made = helper.make_function("own", name, formal, list(node.output), calls, opsets[: rng.randint(0, 9)])
        if rng.random() < 0.2 and inner.attribute:
            made.attribute.append(inner.attribute[0].name)
            inner.attribute[0].ref_attr_name = inner.attribute[0].name
        proto.functions.extend([made] * rng.choice((1, 1, 1, 2)))
        if rng.random() < 0.9 and "own" not in {each.domain for each in proto.opset_import}:
            proto.opset_import.add(domain="own", version=1)
        node.CopyFrom(helper.make_node(name, formal, list(node.output), domain="own"))
        if rng.random() < 0.2:
            node.input.append("")


def into_body(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    """A node's work done in the body of an If, a Loop or a Scan, which may be nested or nonsense."""
    for node in one_of(rng, [each for each in proto.graph.node if each.output]):
        number = f"_{len(proto.graph.node)}_{rng.randrange(1000)}"
        inner = onnx.NodeProto.FromString(node.SerializeToString())
        inner.output[:] = [f"{name}{number}" for name in inner.output]
        outputs = [helper.make_empty_tensor_value_info(name) for name in inner.output]
        kind = rng.choice(("If", "If", "Loop", "Scan"))
        if rng.random() < 0.2:
            outputs = outputs[1:] if rng.random() < 0.5 else [*outputs, *outputs]
        body = helper.make_graph([inner], f"body{number}", [], outputs)
        if kind == "If":
            condition = numpy_helper.from_array(np.array(rng.choice((True, False))), f"condition{number}")
            proto.graph.initializer.append(condition)
            made = helper.make_node("If", [condition.name], list(node.output), then_branch=body, else_branch=body)
        elif kind == "Loop":
            condition = numpy_helper.from_array(np.array(True), f"condition{number}")
            trips = numpy_helper.from_array(np.array(rng.choice(TRIPS), np.int64), f"trips{number}")
            proto.graph.initializer.extend([condition, trips])
            body.input.append(helper.make_tensor_value_info(f"i{number}", TensorProto.INT64, []))
            body.input.append(helper.make_tensor_value_info(f"c{number}", TensorProto.BOOL, []))
            body.output.insert(0, helper.make_tensor_value_info(f"c{number}", TensorProto.BOOL, []))
            made = helper.make_node("Loop", [trips.name, condition.name], list(node.output), body=body)
        else:
            body.input.extend(helper.make_empty_tensor_value_info(name) for name in node.input if name)
            made = helper.make_node("Scan", list(node.input), list(node.output), body=body)
            made.attribute.add(
                name="num_scan_inputs", type=AttributeProto.INT, i=rng.choice((1, len(node.input), *DIMS))
            )
        node.CopyFrom(made)


def node_of_another(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    """With the initializers that it reads; fed with what there is here."""
    for content in one_of(rng, others):
        other = onnx.ModelProto.FromString(content)
        for node in one_of(rng, other.graph.node):
            stored = {tensor.name: tensor for tensor in other.graph.initializer}
            own = set(value_names(proto))
            made = proto.graph.node.add()
            made.CopyFrom(node)
            made.output[:] = [f"{name}_more" for name in node.output]
            for at, name in enumerate(node.input):
                if name in stored and name not in own:
                    proto.graph.initializer.append(stored[name])
                elif name not in own or rng.random() < 0.3:
                    made.input[at] = rng.choice(value_names(proto))
            if node.domain not in {each.domain for each in proto.opset_import}:
                proto.opset_import.add(domain=node.domain, version=1)
            for reader in one_of(rng, proto.graph.node):
                if reader.input and made.output:
                    reader.input[rng.randrange(len(reader.input))] = made.output[0]
            if rng.random() < 0.5 and made.output:
                proto.graph.output.append(helper.make_empty_tensor_value_info(made.output[0]))


def besides(proto: onnx.ModelProto, rng: Random, others: Sequence[bytes]) -> None:
    """What stands beside the graph."""
    match rng.randrange(4):
        case 0:
            proto.metadata_props.add(key=rng.choice(HOSTILE), value=rng.choice(HOSTILE))
        case 1:
            annotation = proto.graph.quantization_annotation.add(tensor_name=rng.choice(value_names(proto)))
            annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=rng.choice(value_names(proto)))
        case 2:
            proto.training_info.add().algorithm.CopyFrom(proto.graph)
        case _:
            proto.producer_name, proto.graph.name, proto.domain = rng.choices(HOSTILE, k=3)


CHANGES: tuple[Change, ...] = (
    dims_of_tensor,
    type_of_tensor,
    payload_of_tensor,
    external_tensor,
    operator_of_node,
    operator_of_node,
    name_of_operator,
    attribute_value,
    attribute_value,
    added_attribute,
    added_attribute,
    removed_attribute,
    input_of_node,
    input_of_node,
    output_of_node,
    order_of_nodes,
    versions,
    declared_type,
    interface,
    names,
    initializers,
    into_function,
    into_body,
    node_of_another,
    besides,
)
