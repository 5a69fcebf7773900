"""From the text after `--data` to samples that fit the model: the one table of sources, and the way through."""

from collections.abc import Sequence
from pathlib import Path

from onnxsens.arrays import TensorSpec
from onnxsens.data.checks import fitting, refuse_unfeedable
from onnxsens.data.dataset import Dataset
from onnxsens.data.preprocessing import Preprocessing
from onnxsens.data.source import MAX_DATA_BYTES, Source, check_size
from onnxsens.data.splitting import seeded
from onnxsens.errors import DataError, UsageError
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
    max_data_bytes: int | None = None,
) -> Dataset:
    """Read samples and check them against the model; the first source that matches reads.

    Args:
        spec: a file, a folder, `file.py:function` or `random:N`.
        inputs: of the model.
        preprocessing: for the inputs that it applies to, batch by batch.
        seed: for sources that draw, at least 0.
        max_data_bytes: that all samples and labels may take once they are unpacked; None is 16 GiB.

    Raises:
        DataError: missing, unreadable, unsafe, or not fitting the model.
        UsageError: preprocessing that applies to nothing, or a text that makes no sense.
        MissingPackageError: the source needs a package that is not installed.
    """
    limit = MAX_DATA_BYTES if max_data_bytes is None else max_data_bytes
    if limit < 1:
        raise UsageError(f"--max-data-bytes {limit} is not a number of bytes; give 1 or more")
    if not any(one.presence != "default" for one in inputs):
        raise DataError(f"'{spec}' cannot be fed: the model has no inputs; give another model")
    refuse_unfeedable(inputs)
    try:
        name, source = _source_of(spec, limit)
        raw = source.read(spec, inputs, seeded(seed))
    except OSError as error:
        raise DataError(f"'{spec}' cannot be read: {error.strerror or error}; check path and permissions") from error
    arrays = [*raw.inputs.values(), *([] if raw.labels is None else [raw.labels])]
    check_size(sum(values.nbytes for values in arrays), limit, f"'{spec}'")
    fits = fitting(raw, inputs, preprocessing, f"'{spec}'")
    samples = fits.samples
    made = Dataset(samples.inputs, samples.labels, fits.specs, preprocessing, source=name, forms=fits.forms)
    one = sum(values.nbytes // max(len(values), 1) for values in samples.inputs.values() if values.ndim)
    if (made.rows or 0) * one > limit:
        raise DataError(
            f"the model fixes its batch to {made.rows:,} samples, which take more than the limit of {limit:,} bytes; "
            "export it with a smaller one, or give a higher --max-data-bytes"
        )
    return made


def _source_of(spec: str, limit: int) -> tuple[str, Source]:
    for name in sources.names():
        source = sources.get(name)(limit)
        if source.matches(spec):
            return name, source
    if not Path(spec).exists():
        raise DataError(f"'{spec}' does not exist; check the path")
    raise DataError(
        f"'{spec}' is no kind of samples that can be read; "
        "give an .npz or .npy file, a folder of .npz files or images, file.py:function or random:N"
    )
