"""A Python file out of a header, a table of the layers and text that never changes.

Names get into it as `repr` alone, in a table, so that none can end a string or reach into code.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from onnxsens.frameworks.exporters.header import commented
from onnxsens.frameworks.exporters.layer import Export, Layer


def script(head: Sequence[str], doc: str, imports: str, constants: Mapping[str, str], *parts: str) -> str:
    """The file's text.

    Args:
        head: lines of the header, without a comment sign.
        doc: one line for the module's docstring.
        imports: import statements.
        constants: source text by name, such as a `table`.
        parts: functions and what runs when the file is run.
    """
    assigned = "\n".join(f"{name} = {text}" for name, text in constants.items())
    blocks = [commented(head) + f'"""{doc}"""', imports.strip(), assigned, *(part.strip() for part in parts)]
    return "\n\n".join(blocks[:3]) + "\n\n\n" + "\n\n\n".join(blocks[3:]) + "\n"


def table(rows: Mapping[str, Any]) -> str:
    """A dict, a line for each key."""
    return "{\n" + "".join(f"    {key!r}: {value!r},\n" for key, value in rows.items()) + "}"


def layer_rows(layers: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """What scripts know of a layer, by the name of its parameter."""
    return {
        layer.parameter: {
            "aliases": layer.aliases,
            "shape": layer.shape,
            "zeros": layer.zeros,
            "pattern": layer.pattern,
        }
        for layer in layers
    }


def files_beside(export: Export) -> dict[str, str]:
    """Source text of the paths of masks and updated values, beside the script; of values None where there are none."""
    return {
        "MASKS": f"Path(__file__).with_name({export.masks_file!r})",
        "VALUES": "None" if export.weights_file is None else f"Path(__file__).with_name({export.weights_file!r})",
    }


READ_MASKS = '''
def read_masks(path=MASKS):
    """Every mask by the name of its parameter, in the parameter's shape; True where an element is kept."""
    with safe_open(path, framework="np") as file:
        about = file.metadata() or {}
        masks = {name: file.get_tensor(name) for name in file.keys()}
    if about.get("packing") == "bits":
        shapes = json.loads(about["shapes"])
        masks = {
            name: np.unpackbits(bits, count=math.prod(shapes[name])).reshape(shapes[name])
            for name, bits in masks.items()
        }
    for name, layer in LAYERS.items():
        if name not in masks:
            raise KeyError(f"{path} has no mask for {name!r}; it is not the file that was written with this script")
        zeros = masks[name].size - np.count_nonzero(masks[name])
        if masks[name].shape != layer["shape"] or zeros != layer["zeros"]:
            raise ValueError(f"the mask of {name!r} in {path} is not the one that was written with this script")
    return {name: masks[name].astype(bool) for name in LAYERS}
'''

RANKING = '''
def kept(magnitudes, zeros, pattern):
    """True where an element of magnitudes [out, in] is kept: exactly `zeros` are not, the earlier one of equals."""
    out, width = magnitudes.shape
    scores, unit = magnitudes.reshape(1, -1), 1
    if pattern == "row":
        scores = magnitudes
    elif pattern == "channel":
        scores, unit = magnitudes.sum(axis=1)[None], width
    elif pattern is not None and pattern.startswith("block"):
        rows, columns = map(int, pattern.removeprefix("block").split("x"))
        if out % rows or width % columns:
            raise ValueError(f"a weight of [{out}, {width}] has no whole blocks of {rows} x {columns}")
        blocks = magnitudes.reshape(out // rows, rows, width // columns, columns).sum(axis=(1, 3))
        scores, unit = blocks.reshape(1, -1), rows * columns
    elif pattern is not None:
        group = int(pattern.split(":")[1])
        if width % group:
            raise ValueError(f"{width} inputs do not divide into groups of {group}")
        scores = magnitudes.reshape(-1, group)
    share, rest = divmod(zeros, len(scores) * unit)
    if rest:
        raise ValueError(f"{zeros} zeros do not divide into the groups of {pattern!r}; export masks instead")
    mask = np.ones(scores.shape, bool)
    np.put_along_axis(mask, np.argsort(scores, axis=1, kind="stable")[:, :share], False, axis=1)
    if pattern == "channel":
        return mask.reshape(out, 1).repeat(width, axis=1)
    if unit > 1 or (pattern is not None and pattern.startswith("block")):
        return mask.reshape(blocks.shape).repeat(rows, axis=0).repeat(columns, axis=1)
    return mask.reshape(out, width)


def ranked_mask(values, rows, zeros, pattern):
    """A mask in the shape of `values` for the least magnitudes; rows[out, in] are places in the flat values."""
    mask = np.ones(values.size, bool)
    mask[rows] = kept(np.abs(values.reshape(-1).astype(np.float64))[rows], zeros, pattern)
    return mask.reshape(values.shape)
'''

# Read by a framework of safetensors, in whose types the values are: numpy has no bfloat16 of its own.
READ_VALUES = '''
def read_values(path, masks=MASKS, framework="np"):
    """Values of parameters and buffers that go with the masks, by name; none where `path` is None or False.

    The zeros were measured with these values: `masks` has to be of the same plan.
    """
    if not path:
        return {}
    with safe_open(masks, framework="np") as file:
        plan = (file.metadata() or {}).get("plan_sha256")
    with safe_open(path, framework=framework) as file:
        if (file.metadata() or {}).get("plan_sha256") != plan:
            raise ValueError(f"{path} and {masks} are of two plans; export both again")
        return {name: file.get_tensor(name) for name in file.keys()}


def about_values(values):
    """What is printed of the file of updated values."""
    if VALUES is None:
        return "no updated values came with these masks"
    if not values:
        return f"{VALUES.name}: left out, so the zeros alone are there"
    with safe_open(values, framework="np") as file:
        return f"{VALUES.name}: {len(file.keys())} updated tensors loaded"
'''

PLACE_VALUES = '''
def placed(values, shapes):
    """Updated values by the model's own names, of which `shapes` has the shapes."""
    found = {}
    for name, value in values.items():
        own = find(shapes, name, LAYERS[name]["aliases"] if name in LAYERS else ())
        if own in found:
            raise KeyError(f"two updated values are for {own!r}; check that it is the model of the plan")
        if tuple(shapes[own]) != tuple(value.shape):
            raise ValueError(
                f"the updated value of {name!r} is {tuple(value.shape)}, and {own!r} is {tuple(shapes[own])} here; "
                "check that it is the model of the plan"
            )
        found[own] = value
    return found
'''

FIND = '''
def find(names, parameter, aliases):
    """The one of `names` that is a parameter: the same, or the same but for what comes first."""
    for wanted in (parameter, *aliases):
        if wanted in names:
            return wanted
    ends = {
        name
        for wanted in (parameter, *aliases)
        if not wanted.startswith("layers/")  # a place in a file of Keras, which may end like another layer's name
        for name in names
        if name.endswith("/" + wanted) or wanted.endswith("/" + name)
    }
    if len(ends) == 1:
        return ends.pop()
    what = f"several that end alike: {', '.join(sorted(ends))}" if ends else "none like it"
    raise KeyError(f"no parameter is called {parameter!r}, there is {what}; check that it is the model of the plan")
'''
