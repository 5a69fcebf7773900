"""Inputs of a weight that depend on the weight itself, such as a recurrent one: from whole runs, batch by batch."""

from collections.abc import Iterator, Mapping, Sequence

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.engine.runner import ModelRunner
from onnxsens.files import TemporaryFolder
from onnxsens.model.exposing import write_exposing_copy
from onnxsens.model.features import Source
from onnxsens.model.input_rows import NoRowsError

Batch = tuple[IntArray, list[AnyArray], list[AnyArray] | None]


def exposed(
    runner: ModelRunner, sources: Sequence[Source], batches: Sequence[IntArray], changed: Mapping[str, AnyArray]
) -> Iterator[Batch]:
    """By batch: its samples, the tensors as pruned so far, and in the dense model where they differ.

    The weight itself has its dense values in both.

    Args:
        changed: what was changed so far.
    Raises:
        NoRowsError: a tensor is none of numbers.
        ModelError: the model does not run.
    """
    places = [(source.site, port) for source in sources for port in source.rows.ports]
    fed = {spec.name for spec in runner.dataset.specs}
    with TemporaryFolder() as folder:
        exposing = write_exposing_copy(runner.copy, dict.fromkeys(places), folder / "inner.onnx", fed=fed)
        sessions = [
            runner.opened(exposing.copy, values, runner.provider, runner.session_recipe)
            for values in ([changed, {}] if changed else [{}])
        ]
        for batch in batches:
            feed = runner.feed(batch)
            found = []
            for session in sessions:
                if session.unreadable:
                    kind = next(iter(session.unreadable.values()))
                    raise NoRowsError(f"its input is a {kind}, which cannot be read")
                with runner.fitting.room(len(batch)):
                    values = dict(zip(session.readable, session.run(session.readable, feed), strict=True))
                tensors = {**feed, **values}
                found.append([tensors[exposing.names[place]] for place in places])
            yield batch, found[0], found[1] if len(found) > 1 else None
