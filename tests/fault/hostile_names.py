"""Names that want to be something else, and small models that carry them wherever a model can hold a text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 12
FAKE = "error: all is lost"  # begins a line of ours, if a line break gets through
PLACEHOLDER = "InvalidUTF8Na"
INVALID = b"\xff\xfe\x80\xc3(\xed\xa0\x80\xf8\x1b[2J"

# By what they try. None holds another's characters by chance: a complaint then says which one got through.
NAMES: dict[str, str] = {
    "clears the screen": "a\x1b[2J\x1b[H",
    "sets the title": "a\x1b]0;owned\x07",
    "colours": "a\x1b[31mred",
    "C1 control": "a\x9b31m\x90b\x9c",
    "deletes": "a\x7f\x08\x08b",
    "ends the script": "</script><script>alert(1)</script>",
    "is an image": "<img src=x onerror=alert(1)>",
    "ends an attribute": "\" onmouseover='alert(1)' x=\"",
    "opens a comment": "<!--<script>",
    "is an entity": "&lt;b&gt;&#27;",
    "climbs": "../../x",
    "is absolute": "/tmp/onnxsens-hostile-x",
    "climbs on Windows": "..\\..\\x",
    "is a device": "CON",
    "breaks the line": f"a\n{FAKE}\r\n",
    "ends the text": "a\0b",
    "turns round": "\u202egnp.exe\u2066",
    "is invisible": "a\u200b\u200d\ufeff\u3164b",
    "breaks the line otherwise": f"a\u2028{FAKE}\u2029\x85\x0b\x0c",
    "is a formula": "=cmd|' /C calc'!A0",
    "is a sum": "+1+1",
    "is a difference": "-1+1",
    "is a call": "@SUM(1)",
    "is a formula after a tab": "\t=1+1",
    "is a formula after a return": "\r=1+1",
    "is a wide formula": "\uff1d1+1",
    "is a template": "{{7*7}}{% raw %}${7*7}<%= 7*7 %>#{7*7}",
    "is markup": "[red]x[/red][/x][link=file:///]",
    "is a command": "`id` $(id); id | cat & >x",
    "ends a string": "a\"b'c'''d\"\"\"e\\",
    "ends a string later": "a\\N{DIGIT ONE}\\x4\\",
    "formats": "%s%n{0}{x!r}",
    "is Python": "a\"]\nimport os\nos.system('id')  #",
    "is YAML": "- a: [b, {c: d}] &e *f !!g\n---",
    "is null": "null",
    "is empty space": "   ",
}


def mixed(rng: np.random.Generator, number: int) -> dict[str, str]:
    """As many names, each of several of the others one after the other."""
    known = list(NAMES.values())
    return {f"mixture {n}": "".join(rng.choice(known, size=int(rng.integers(2, 6)))) for n in range(number)}


def model_of(names: Sequence[str], rng: np.random.Generator, ends: Sequence[str] = ()) -> onnx.ModelProto:
    """A chain of products, one a name; each name is a weight's, and turns up in every other kind of text too.

    Args:
        ends: names of input and output, where they are not to be of these too.
    """
    named = iter_of(names)
    data = ends[0] if ends else next(named)
    graph = helper.make_graph([], next(named), [value(data, next(named))], [])
    hidden = data
    for number, name in enumerate(names, 1):
        weight = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
        graph.initializer.append(numpy_helper.from_array(weight, name))
        made = ends[1] if ends and number == len(names) else next(named)
        node = helper.make_node("MatMul", [hidden, name], [made], name=next(named), doc_string=next(named))
        graph.node.append(node)
        hidden = made
    graph.output.append(value(hidden, "N"))
    graph.doc_string = next(named)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for field in ("producer_name", "producer_version", "domain", "doc_string"):
        setattr(model, field, next(named))
    helper.set_model_props(model, {next(named): next(named) for _ in range(3)})
    return model


def iter_of(names: Sequence[str]) -> Iterator[str]:
    """The names over and over, each time with another number behind, so that none is there twice."""
    number = 0
    while True:
        for name in names:
            number += 1
            yield f"{name}{number}"


def value(name: str, batch: str) -> onnx.ValueInfoProto:
    """An input or output of any number of samples."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, WIDTH])


def not_utf8(model: onnx.ModelProto) -> bytes:
    """The model's bytes with what no text holds in the place of a placeholder."""
    assert len(INVALID) == len(PLACEHOLDER)
    return model.SerializeToString().replace(PLACEHOLDER.encode(), INVALID)


def checkpoint_of(model: onnx.ModelProto, path: Path) -> None:
    """Where the model came from: its weights the other way round, under names that are as bad. By hand: no library
    writes all of them.
    """
    entries: dict[str, object] = {}
    content = b""
    for number, tensor in enumerate(model.graph.initializer):
        values = np.ascontiguousarray(numpy_helper.to_array(tensor).T).tobytes()
        place = [len(content), len(content) + len(values)]
        entries[f"{tensor.name}.{number}.weight"] = {"dtype": "F32", "shape": [WIDTH, WIDTH], "data_offsets": place}
        content += values
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)


def tree(folder: Path) -> Mapping[str, int]:
    """Every file below a folder, by its path there, with its size."""
    return {str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()}
