"""Sessions of parts of a working copy, and the types of the tensors that parts exchange."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session
from onnxsens.files import TemporaryFolder
from onnxsens.model.cutting import CutModel


class Parts:
    """Opens parts with the runner's recipe, its external data and its libraries."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner

    def session(self, part: CutModel, changes: Mapping[str, AnyArray], *, optimisation: str | None = None) -> Session:
        """A session of a part.

        Args:
            changes: weight name to values, of weights that are initializers of the part.
        Raises:
            ModelError: it cannot be loaded.
        """
        copy = self._runner.copy
        recipe = self._runner.session_recipe
        with TemporaryFolder() as folder:
            path = folder / "part.onnx"
            part.write(path)
            own = replace(
                copy,
                path=path,
                data_folder=copy.data_folder or copy.path.parent,
                inline=frozenset(name for name in copy.inline if copy.names[name] in part.initializers),
            )
            chosen = replace(recipe, optimisation=optimisation) if optimisation else recipe
            return self._runner.opened(own, changes, self._runner.provider, chosen)

    def types(self, names: Collection[str]) -> tuple[dict[str, TensorSpec], dict[str, str]]:
        """Tensors of the whole model by name: those that come as arrays, and the others with their type in words.

        Shapes are left open: what a part is given has them.

        Raises:
            ModelError: the model cannot be loaded with these as outputs.
        """
        whole = self._runner.wiring.cut({}, sorted(names))
        session = self.session(whole, {}, optimisation="none")
        return {name: TensorSpec(name, dtype, None) for name, dtype in session.dtypes.items()}, session.unreadable
