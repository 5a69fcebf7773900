"""Parts of scripts for PyTorch that several formats share: finding parameters, rows of a weight, building the model."""

PLACES = '''
def places(model, parameter, layer):
    """Every (module, name) that holds a parameter: its own names, and whatever else in the model is tied to it."""
    found = dict(model.named_parameters(remove_duplicate=False))
    own = [name for name in (parameter, *layer["aliases"]) if name in found]
    if not own:
        pruned = any(name.endswith("_orig") for name in found)
        hint = "it was pruned already: call finish(model) first" if pruned else "check that it is the model of the plan"
        raise KeyError(f"the model has no parameter {parameter!r}; {hint}")
    if tuple(found[own[0]].shape) != layer["shape"]:
        raise ValueError(f"{parameter!r} is {tuple(found[own[0]].shape)} here and {layer['shape']} in the plan")
    tied = [name for name, value in found.items() if name in own or value is found[own[0]]]
    holders = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in tied]
    return list({(id(module), name): (module, name) for module, name in holders}.values())


def owner(model, parameter, layer):
    """The module that a parameter belongs to; of one that is made of others, such as by weight_norm, their module."""
    found = dict(model.named_parameters(remove_duplicate=False))
    name = next(name for name in (parameter, *layer["aliases"]) if name in found)
    return model.get_submodule(name.split(".parametrizations.")[0] if ".parametrizations." in name
                               else name.rpartition(".")[0])
'''

ROWS = '''
AS_MATRIX = (nn.Linear, nn.Embedding, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def rows(module, parameter, shape, pattern):
    """Places in the flat weight as [out, in]: kernel positions one after the other, input channels fastest."""
    index = np.arange(math.prod(shape)).reshape(shape)
    if pattern is None:
        return index.reshape(1, -1)
    if isinstance(module, CONVOLUTIONS):
        return np.moveaxis(index, 1, -1).reshape(shape[0], -1)
    if isinstance(module, TRANSPOSED):
        index = index.reshape(module.groups, shape[0] // module.groups, *shape[1:])
        return np.moveaxis(index, 1, -1).reshape(module.groups * shape[1], -1)
    if isinstance(module, AS_MATRIX) and len(shape) == 2:
        return index
    raise TypeError(
        f"what is a row of {parameter!r} in a {type(module).__name__} is not known; add the class to AS_MATRIX where "
        "its weight is [out, in], or export with --mode mask"
    )


def values_of(weight):
    """A parameter's values as float32, on the host."""
    return weight.detach().float().cpu().numpy()
'''

BUILD = '''
def build(spec):
    """The model that a function makes: 'file.py:function' or 'package.module:function'."""
    place, _, function = spec.rpartition(":")
    if not place:
        raise SystemExit(f"{spec!r} names no function that makes the model; write file.py:function")
    if place.endswith(".py"):
        found = importlib.util.spec_from_file_location(Path(place).stem, place)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    else:
        sys.path.insert(0, "")
        module = importlib.import_module(place)
    return getattr(module, function)()


def arguments(*more, switches=()):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="'file.py:function' or 'package.module:function' that returns the nn.Module")
    parser.add_argument("--weights", help="a state dict to load first")
    for name, text in more:
        parser.add_argument(name, required=True, help=text)
    for name, text in switches:
        parser.add_argument(name, action="store_true", help=text)
    parser.add_argument("-o", "--output", required=True, help="where the pruned state dict goes")
    return parser.parse_args()


def loaded(given):
    """The model, with weights."""
    model = build(given.model)
    if given.weights:
        model.load_state_dict(torch.load(given.weights, map_location="cpu", weights_only=True))
    return model
'''

LOAD_VALUES = '''
def load_values(model, path=VALUES, masks=MASKS):
    """Give parameters and buffers what the plan's update made of them. Nothing is changed unless all of it fits."""
    values = read_values(path, masks, "pt")
    buffers = dict(model.named_buffers(remove_duplicate=False))
    found = {**buffers, **dict(model.named_parameters(remove_duplicate=False))}
    held = {}
    for name, value in values.items():
        aliases = LAYERS[name]["aliases"] if name in LAYERS else ()
        held[name] = [found[own] for own in (name, *aliases) if own in found]
        if not held[name]:
            raise KeyError(
                f"{path} has a value of {name!r}, and the model has no such parameter or buffer; check that it is the "
                "model of the plan, and not pruned yet"
            )
        for place in held[name]:
            if place.shape != value.shape:
                raise ValueError(f"{name!r} is {tuple(place.shape)} here and {tuple(value.shape)} in {path}")
    with torch.no_grad():
        for name, value in values.items():
            for place in held[name]:
                place.copy_(value)
    return model
'''

VALUES_ARE_LOADED = (
    "The script loads them before it masks, into parameters and buffers; to leave them out: {call}, or --no-values."
)
BY_TORCH = (
    "prune_torch.py of --to torch --mode mask does both, them first; by hand: model.load_state_dict(safetensors.torch."
    "load_file('{file}'), strict=False), and look at the unexpected keys that it returns."
)

RAN = "torch 2.13.0"
