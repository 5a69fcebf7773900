"""What is done to weights in a run: which elements go, how the others make up for them, and what a scan does of it."""

from dataclasses import dataclass

from onnxsens.engine.methods import METHODS
from onnxsens.errors import UsageError
from onnxsens.model import Inventory, Model
from onnxsens.model.features import input_sources
from onnxsens.options import Options
from onnxsens.plugins import unknown
from onnxsens.techniques import Sparsity, Technique, make_sparsity, make_technique

AUTO = "auto"
NONE = "none"
FITTED = frozenset({"obs", "refit", "sequential", "reconstruct"})  # updates that change kept elements


@dataclass(frozen=True)
class Way:
    """As decided for a run.

    Attributes:
        masks: the technique without an update: which elements go.
        update: name of a method; a plan is carried out by it.
        scanned: what a point of a scan does to one weight: the cheap form of the update.
    """

    masks: Technique
    update: str
    scanned: Technique


def plain(spec: str) -> str:
    """A technique's spec, with magnitude where it leaves the criterion to us."""
    name, separator, pattern = spec.partition(":")
    return f"magnitude{separator}{pattern}" if name == AUTO else spec


def choose_way(options: Options, update: str, model: Model, inventory: Inventory) -> Way:
    """What the options say, and what their `auto` means for this model.

    Args:
        update: what `auto` means where the inputs of weights can be read.
    Raises:
        UsageError: there is no such update; or it is asked for, and the inputs of no weight can be read.
    """
    if options.technique.partition(":")[0] != AUTO and not isinstance(
        other := make_technique(options.technique), Sparsity
    ):
        if options.update not in {AUTO, NONE}:
            raise UsageError(f"--update {options.update} is for sparsities, and '{other.name}' is none; leave it out")
        return Way(other, NONE, other)
    chosen = update if options.update == AUTO else options.update
    if chosen not in METHODS:
        raise UsageError(f"--update: {unknown('update', chosen, [AUTO, *METHODS])}")
    if chosen != NONE:
        sources = input_sources(model, inventory)
        if all(isinstance(found, str) for found in sources.values()):
            if options.update != AUTO:
                reason = next(iter(sources.values()))
                raise UsageError(f"--update {chosen} needs the inputs of weights, and none can be read: {reason}")
            chosen = NONE
    fitted = chosen in FITTED
    name, separator, pattern = options.technique.partition(":")
    spec = f"{'obs' if fitted else 'magnitude'}{separator}{pattern}" if name == AUTO else options.technique
    given = make_sparsity(spec)
    masks = given.updated_by("")
    return Way(masks, chosen, masks.updated_by("obs") if fitted else given)
