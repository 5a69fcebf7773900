"""What the weights of a model really do on given samples: whether their operators run, and how much they multiply."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice

from onnxsens.arrays import IntArray
from onnxsens.engine.executions import Recorded, executions
from onnxsens.engine.providers import CPU, Provider
from onnxsens.engine.runner import ModelRunner
from onnxsens.files import TemporaryFolder
from onnxsens.model.naming import write_named_copy


def measure_macs(runner: ModelRunner, sample: IntArray) -> dict[str, int]:
    """Multiply-accumulates per sample of every prunable weight, over all runs of its consumers, on the CPU.

    Every iteration of a loop counts; a branch that is not taken, and a node that no output depends on, count nothing.

    Args:
        sample: `[1]`; what it takes is counted.
    Raises:
        ModelError: the model does not run on this sample.
    """
    with named_sessions(runner, Provider(CPU, "where MACs are counted")) as (recorded, tokens):
        ran = executions(recorded, set(tokens.values()), [runner.feed(sample)])
    rows = runner.dataset.rows or len(sample)
    return {
        weight.name: sum(
            consumer.macs(run.inputs[consumer.data], run.outputs[0])
            for consumer in weight.consumers
            for run in ran[tokens[consumer.site]]
        )
        // rows
        for weight in runner.inventory.weights
    }


def executed_weights(runner: ModelRunner, indices: IntArray) -> set[str]:
    """The weights with a consumer that runs on these samples, and that an output depends on.

    Raises:
        ModelError: the model does not run.
    """
    size = min(runner.batch_size, len(indices))
    remaining = (runner.feed(indices[start : start + size]) for start in range(0, len(indices), size))
    executed: set[str] = set()
    with named_sessions(runner, runner.provider) as (recorded, tokens):
        # One batch tells of nearly all; only for what did not run there the others are looked at.
        for some in (islice(remaining, 1), remaining):
            missing = [weight for weight in runner.inventory.weights if weight.name not in executed]
            wanted = {tokens[consumer.site] for weight in missing for consumer in weight.consumers}
            with runner.fitting.room(size):
                ran = executions(recorded, wanted, some) if wanted else {}
            executed |= {
                weight.name for weight in missing if any(ran[tokens[consumer.site]] for consumer in weight.consumers)
            }
    return executed


@contextmanager
def named_sessions(runner: ModelRunner, provider: Provider) -> Iterator[tuple[Recorded, dict[str, str]]]:
    """What opens sessions of a named copy, for as long as it is needed; and the tokens of sites."""
    with TemporaryFolder() as folder:
        copy, tokens = write_named_copy(
            runner.model, runner.inventory, folder, fed=runner.fed, ir_version=runner.ir_version
        )
        recipe = replace(runner.recipe, provider=provider.name, optimisation="none")
        yield partial(runner.opened, copy, {}, provider, recipe), tokens
