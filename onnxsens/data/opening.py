"""From the text after `--data` to samples that fit the model: the one table of sources, and the way through."""

from collections.abc import Sequence
from pathlib import Path

from onnxsens.arrays import TensorSpec
from onnxsens.data.checks import fitting, refuse_unfeedable
from onnxsens.data.dataset import Dataset
from onnxsens.data.preprocessing import Preprocessing
from onnxsens.data.source import Source
from onnxsens.data.splitting import seeded
from onnxsens.errors import DataError
from onnxsens.plugins import Registry

sources: Registry[type[Source]] = Registry(
    kind="sources",
    noun="data source",
    table={
        "function": "onnxsens.data.function:Function",
        "images": "onnxsens.data.images:Images",
        "npy": "onnxsens.data.npy:Npy",
        "npz": "onnxsens.data.npz:Npz",
        "random": "onnxsens.data.random_samples:Random",
        "shards": "onnxsens.data.shards:Shards",
    },
)


def open_dataset(
    spec: str,
    inputs: Sequence[TensorSpec],
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008 - a frozen record, safe to share
    *,
    seed: int = 0,
) -> Dataset:
    """Read samples and check them against the model; the first source that matches reads.

    Args:
        spec: a file, a folder, `file.py:function` or `random:N`.
        inputs: of the model.
        preprocessing: for the inputs that it applies to, batch by batch.
        seed: for sources that draw, at least 0.

    Raises:
        DataError: missing, unreadable, unsafe, or not fitting the model.
        UsageError: preprocessing that applies to nothing, or a text that makes no sense.
        MissingPackageError: the source needs a package that is not installed.
    """
    if not any(one.presence != "default" for one in inputs):
        raise DataError(f"'{spec}' cannot be fed: the model has no inputs; give another model")
    refuse_unfeedable(inputs)
    try:
        name, source = _source_of(spec)
        raw = source.read(spec, inputs, seeded(seed))
    except OSError as error:
        raise DataError(f"'{spec}' cannot be read: {error.strerror or error}; check path and permissions") from error
    fits = fitting(raw, inputs, preprocessing, f"'{spec}'")
    samples = fits.samples
    return Dataset(samples.inputs, samples.labels, fits.specs, preprocessing, source=name, forms=fits.forms)


def _source_of(spec: str) -> tuple[str, Source]:
    for name in sources.names():
        source = sources.get(name)()
        if source.matches(spec):
            return name, source
    if not Path(spec).exists():
        raise DataError(f"'{spec}' does not exist; check the path")
    raise DataError(
        f"'{spec}' is no kind of samples that can be read; "
        "give an .npz or .npy file, a folder of .npz files or images, file.py:function or random:N"
    )
