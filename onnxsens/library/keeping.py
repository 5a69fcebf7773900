"""What a run of the library has in its hands beside its folder, and what keeps a folder that nobody named alive."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from onnxsens.errors import UsageError
from onnxsens.files import TemporaryFolder
from onnxsens.options import Guard, Options
from onnxsens.runs import resumed_options
from onnxsens.scan.settings import read_settings
from onnxsens.scan.store import FILE as STORE_FILE


@dataclass(frozen=True)
class Named:
    """What the caller has named in this process. A store never starts code that was not.

    Attributes:
        model: where the dense model is; None where the run's store says so.
        data: of a run that was made on a user's code, or in place of its own.
        metrics: such as are code; the run's others are in its store.
        keeps: a temporary folder that must not go before whoever has this.
    """

    model: Path | None = None
    data: str | None = None
    metrics: tuple[str, ...] = ()
    custom_op_libs: tuple[str, ...] = ()
    guard: Guard = field(default_factory=Guard)
    keeps: TemporaryFolder | None = None

    def options(self, folder: Path, also: tuple[str, ...] = ()) -> tuple[Path, Options]:
        """Model and options of the run in a folder.

        Args:
            also: metrics that a goal names.

        Raises:
            UsageError: the run used code that is not named here.
            InputError: there is no run.
        """
        path, options = resumed_options(folder, self.model, self.data, (*also, *self.metrics), self.custom_op_libs)
        return path, replace(options, guard=self.guard)

    def options_for_others(self, folder: Path) -> Options:
        """The same for other metrics than those of the run, which may be code that nobody needs now.

        Raises:
            UsageError: the run used samples or operators from code that is not named here.
            InputError: there is no run.
        """
        settings = read_settings(folder)
        metrics = settings.get("metrics")
        known = [*(metrics if isinstance(metrics, list) else []), settings.get("search_metric")]
        _, options = self.options(folder, tuple(each for each in known if isinstance(each, str)))
        return replace(options, metrics=(), search_metric=None)


def model_of(named: Named, folder: Path, given: str | Path | None) -> Path:
    """Where a plan's model is.

    Raises:
        UsageError: nobody says so.
    """
    if given is not None:
        return Path(given)
    if named.model is not None:
        return named.model
    if (folder / STORE_FILE).exists():
        known = read_settings(folder).get("model")
        if isinstance(known, str):
            return Path(known)
    raise UsageError("nothing beside the plan says where its model is; give model='model.onnx'")
