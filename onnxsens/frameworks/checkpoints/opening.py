"""From a path to a checkpoint: what the content is, else what the name says, else a line on what to do."""

from difflib import get_close_matches
from pathlib import Path

from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints.checkpoint import Checkpoint, Format, unreadable
from onnxsens.frameworks.checkpoints.safetensors import in_folder
from onnxsens.plugins import Registry

HEAD = 4096  # bytes that formats are told apart by
AS_NPZ = "save its weights as .npz: numpy.savez('model.npz', **{name: array, ...})"
GIVE_SOURCE = "hand in the weights as the source framework saved them"

# What else people hand in, by first bytes.
FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer", "run 'git lfs pull' to fetch the file itself"),
    (b"<!DOCTYPE", "an HTML page", "download the file itself, not the page about it"),
    (b"<html", "an HTML page", "download the file itself, not the page about it"),
    (b"\x93NUMPY", "a single array without a name", "save it with its name: numpy.savez('model.npz', **{name: array})"),
    (b"GGUF", "a GGUF file, whose weights are quantized", GIVE_SOURCE),
)
# And by how the name ends.
ONNX = (".onnx", ".ort")
FOREIGN_SUFFIXES = {
    ".pdparams": "a Paddle file; save numpy.savez('model.npz', **{p.name: p.numpy() for p in model.parameters()})",
    ".pb": f"a TensorFlow graph; {AS_NPZ}",
    ".tflite": f"a TensorFlow Lite model; {GIVE_SOURCE}",
    ".index": f"a TensorFlow checkpoint; load it with its model, then {AS_NPZ}",
    ".pte": f"an ExecuTorch program; {GIVE_SOURCE}",
    ".engine": f"a TensorRT engine; {GIVE_SOURCE}",
}
# What marks a folder.
FOLDERS = (
    ("saved_model.pb", "a TensorFlow SavedModel", "save the Keras model as .keras, or its weights as .npz"),
    ("_CHECKPOINT_METADATA", "an Orbax checkpoint", "save flax.serialization.to_bytes(params) as .msgpack"),
    ("_METADATA", "an Orbax checkpoint", "save flax.serialization.to_bytes(params) as .msgpack"),
    ("checkpoint", "a folder of TensorFlow checkpoints", "save the model's weights as .npz"),
    ("pytorch_model.bin", "a model's folder", "name its file 'pytorch_model.bin'"),
    (
        "pytorch_model.bin.index.json",
        "a model in several .bin shards",
        "save it as safetensors: model.save_pretrained(folder, safe_serialization=True)",
    ),
)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """The names and shapes of a checkpoint's tensors; values are read when asked for.

    Raises:
        CheckpointError: no such file, damaged, of a format that is not read, or holding what is refused.
        MissingPackageError: its format needs a package that is not installed; the message has the install line.
    """
    from onnxsens.frameworks.checkpoints import checkpoints

    path = Path(path)
    try:
        if path.is_dir():
            return open_folder(path)
        if not path.exists():
            raise missing(path)
        head = head_of(path)
        return chosen(path, head, checkpoints).open(path)
    except OSError as error:
        raise unreadable(path, error) from error


def head_of(path: Path) -> bytes:
    """How the file begins.

    Raises:
        CheckpointError: it is empty, or known not to be a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{path}' is no regular file; name a file")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise CheckpointError(f"checkpoint '{path}' is empty; copy or save it again")
    for magic, what, remedy in FOREIGN:
        if head.startswith(magic):
            raise CheckpointError(f"checkpoint '{path}' is {what}; {remedy}")
    return head


def chosen(path: Path, head: bytes, registry: Registry[Format]) -> Format:
    """The format that the content is of, else the one that the name ends like.

    Raises:
        CheckpointError: there is none.
    """
    for form in map(registry.get, registry.names()):  # ours first: others are not even loaded then
        if form.recognises(path, head):
            return form
    formats = [registry.get(name) for name in registry.names()]
    name = path.name.lower()
    if name.endswith(ONNX) or looks_like_onnx(head):
        raise CheckpointError(f"checkpoint '{path}' is an ONNX model; {GIVE_SOURCE}")
    for suffix, what in FOREIGN_SUFFIXES.items():
        if name.endswith(suffix):
            raise CheckpointError(f"checkpoint '{path}' is {what}")
    for form in formats:
        if name.endswith(form.suffixes):
            return form
    suffixes = sorted({suffix for form in formats for suffix in form.suffixes})
    near = get_close_matches(path.suffix.lower(), suffixes, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    known = ", ".join(f"{form.name} ({' '.join(form.suffixes)})" for form in formats)
    raise CheckpointError(
        f"checkpoint '{path}' is of an unknown format; {hint}read are: {known}; from anything else, {AS_NPZ}"
    )


def looks_like_onnx(head: bytes) -> bool:
    """A protobuf message that begins with an IR version and goes on with a text or the graph."""
    return head[:1] == b"\x08" and 0 < head[1] < 32 and head[2:3] in {b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42"}


def missing(path: Path) -> CheckpointError:
    """The error for a path that leads to nothing, with the nearest name beside it."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "check the path"
    return CheckpointError(f"checkpoint '{path}' does not exist; {hint}")


def open_folder(path: Path) -> Checkpoint:
    """The safetensors of a folder.

    Raises:
        CheckpointError: it holds none, or it is not clear which.
    """
    found = in_folder(path)
    if found is not None:
        return found
    for entry, what, remedy in FOLDERS:
        if (path / entry).exists():
            raise CheckpointError(f"checkpoint '{path}' is {what}; {remedy}")
    raise CheckpointError(f"checkpoint '{path}' is a folder without safetensors; name the file of the weights")
