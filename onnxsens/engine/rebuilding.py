"""A whole plan carried out at once: every weight at its level, each fitted to what the dense model has there.

Weight by weight in the order of the graph. The inputs of a weight are taken from the network as it is pruned up to
there, its targets from the dense one, so that it makes up for what those before it lost. Where a bias can take the mean
of what is missing, it does. Forward runs only.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from onnxsens.arrays import AnyArray, FloatArray, IntArray
from onnxsens.engine.exposed import Batch, exposed
from onnxsens.engine.input_moments import too_wide
from onnxsens.engine.lanes import Lanes
from onnxsens.engine.methods import Method, Rebuilt
from onnxsens.engine.pairs import PairedBuilder, Sums, places_to_look_at
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.spill import Spill
from onnxsens.engine.walking import Budget, Walk
from onnxsens.model import Weight, dense_matrix, stored_values
from onnxsens.model.features import Source
from onnxsens.model.input_rows import NoRowsError
from onnxsens.model.shifts import Shifts
from onnxsens.techniques import Sparsity
from onnxsens.techniques.layer import fit_layer
from onnxsens.techniques.moments import Moments
from onnxsens.techniques.threads import LARGE, threads_for


class Rebuilder:
    """Carries plans out on some samples.

    Args:
        sources: where the inputs of weights come from, or why that cannot be told.
        untouched: weights that keep every bit, such as those that are frozen.
        memory: bytes for tensors of all samples; what is more goes to `spill`, a folder.
        tell: told the name of each weight when it is done.
    """

    def __init__(
        self,
        runner: ModelRunner,
        sources: Mapping[str, tuple[Source, ...] | str],
        shifts: Shifts,
        *,
        untouched: Collection[str] = (),
        memory: int,
        spill: Path | None,
        seed: int = 0,
        tell: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._runner = runner
        self._sources = sources
        self._shifts = shifts
        self._untouched = frozenset(untouched)
        self.memory = memory
        self._spill = spill
        self._seed = seed
        self._tell = tell

    def rebuild(
        self, levels: Mapping[str, float], techniques: Mapping[str, Sparsity], method: Method, indices: IntArray
    ) -> Rebuilt:
        """The plan with these levels.

        Args:
            techniques: by weight; what says which elements go.
            indices: samples of the data set to fit on.
        Raises:
            ModelError: the model does not run.
        """
        return self._runner.fitting.fitted(lambda: _Rebuilding(self, levels, techniques, method, indices).run())

    @property
    def parts(self) -> tuple[ModelRunner, Mapping[str, tuple[Source, ...] | str], Shifts, frozenset[str]]:
        """What one rebuilding needs."""
        return self._runner, self._sources, self._shifts, self._untouched

    def budget(self) -> Budget:
        """A new one."""
        return Budget(self.memory, Spill(self._spill) if self._spill else None)

    def done(self, name: str) -> None:
        """Tell."""
        self._tell(name)

    def rng(self, number: int, source: int, start: int) -> np.random.Generator:
        """Which places are looked at does not depend on what was before."""
        return np.random.default_rng([self._seed, number, source, start])


class _Rebuilding:
    """One plan on its way."""

    def __init__(
        self,
        owner: Rebuilder,
        levels: Mapping[str, float],
        techniques: Mapping[str, Sparsity],
        method: Method,
        indices: IntArray,
    ) -> None:
        self._owner = owner
        self._runner, self._sources, self._shifts, self._untouched = owner.parts
        self._levels = levels
        self._techniques = techniques
        self._method = method
        size = self._runner.batch_size
        if self._runner.dataset.rows:
            indices = indices[: len(indices) // size * size or len(indices)]
        self._batches = [indices[start : start + size] for start in range(0, len(indices), size)]
        self._samples = len(indices)
        self._values: dict[str, AnyArray] = {}
        self._why_not: dict[str, str] = {}
        self._kept_rows: dict[str, int] = {}
        self._numbers = {weight.name: number for number, weight in enumerate(self._runner.inventory.weights)}

    def run(self) -> Rebuilt:
        """All weights in the order of the graph."""
        runner = self._runner
        names = runner.copy.names
        weights = sorted(runner.inventory.weights, key=lambda weight: runner.wiring.first_reader(names[weight.name]))
        budget = self._owner.budget()
        try:
            ports = {weight.name: self._ports(weight.name) for weight in weights}
            walk = Walk(
                runner,
                self._batches,
                [names[weight.name] for weight in weights],
                sorted({name for each in ports.values() for name in each}),
                budget,
            )
            for weight in weights:
                with threads_for(weight.matrix_shape[1]):
                    changed = {} if weight.name in self._untouched else self._weight(weight, walk, ports[weight.name])
                if self._method.sequential:
                    walk.settle(names[weight.name], changed)
                else:
                    walk.settle(names[weight.name], {})
                self._values |= changed
                self._owner.done(weight.name)
        finally:
            if budget.spill is not None:
                budget.spill.close()
        return Rebuilt(self._values, self._why_not, self._kept_rows)

    def _weight(self, weight: Weight, walk: Walk, ports: Sequence[str]) -> dict[str, AnyArray]:
        """New values of a weight and of what is beside it."""
        dense = dense_matrix(self._runner.model, weight)
        level = self._levels.get(weight.name, 0.0)
        technique = self._techniques[weight.name]
        moments: Moments | None = None
        if self._blind:
            pass
        elif isinstance(found := self._sources[weight.name], str):
            self._why_not[weight.name] = found
        else:
            try:
                moments = self._moments(weight, found, walk, ports)
            except NoRowsError as reason:
                self._why_not[weight.name] = str(reason)
        if moments is None:
            plain = technique if not technique.needs_moments else technique.without_moments()
            values = plain.once(dense, level)
            if level == 0 or np.array_equal(values, dense):  # its zeros may be those of the level already
                return {}
            return {weight.name: stored_values(self._runner.model, weight, values)}
        return self._fitted(weight, dense, level, technique, moments)

    @property
    def _blind(self) -> bool:
        """Whether nothing is looked at at all."""
        plain = not (self._method.update or self._method.bias or self._method.statistics)
        return plain and not any(technique.needs_moments for technique in self._techniques.values())

    def _fitted(
        self, weight: Weight, dense: FloatArray, level: float, technique: Sparsity, moments: Moments
    ) -> dict[str, AnyArray]:
        method = self._method
        shift = self._shifts.by_weight.get(weight.name) if method.bias else None
        fit = fit_layer(
            dense, level, technique, moments, update=method.update, masks=method.masks, bias=shift is not None
        )
        self._kept_rows[weight.name] = fit.kept_rows
        array = self._runner.model.array
        changed = {}
        if not np.array_equal(fit.values, dense):
            changed[weight.name] = stored_values(self._runner.model, weight, fit.values)
        if shift is not None and fit.shift is not None and np.any(fit.shift):
            changed[shift.name] = shift.moved(self._values.get(shift.name, array(shift.name)), fit.shift)
        statistics = self._shifts.statistics.get(weight.name) if method.statistics else None
        if statistics is not None:
            centred = moments.centred()
            rows = centred.blocks(fit.values)
            mean = np.einsum("gri,gi->gr", rows, moments.mean).reshape(-1)
            if statistics.bias:
                mean += self._values.get(statistics.bias, array(statistics.bias)).astype(np.float64)
            variance = np.einsum("gri,gri->gr", rows @ centred.inputs, rows).reshape(-1)
            changed[statistics.mean] = mean.astype(array(statistics.mean).dtype)
            changed[statistics.variance] = np.maximum(variance, 0).astype(array(statistics.variance).dtype)
        return changed

    def _ports(self, name: str) -> list[str]:
        """The tensors that the inputs of a weight are read from, in the working copy."""
        found = self._sources[name]
        if isinstance(found, str) or self._blind:
            return []
        nodes = {node.name: node for node in self._runner.wiring.nodes}
        names = []
        for source in found:
            for port in source.rows.ports:
                node = nodes[source.site]
                listed = node.input if port.kind == "input" else node.output
                names.append(listed[port.index] if port.index < len(listed) else "")
        return [] if "" in names else names

    def _moments(self, weight: Weight, sources: Sequence[Source], walk: Walk, ports: Sequence[str]) -> Moments:
        """Of the inputs, over all samples.

        Raises:
            NoRowsError: there are none.
        """
        if ports and walk.reaches(ports):
            walk.go_to(ports)
            tensors: Iterator[Batch] = walk.tensors(ports)
        else:
            changed = self._values if self._method.sequential else {}
            tensors = exposed(self._runner, sources, self._batches, changed)
        why_not = too_wide(sources[0].rows.groups, weight.matrix_shape[1], self._owner.memory)
        if why_not:
            raise NoRowsError(why_not)
        builder = PairedBuilder(sources[0].rows.groups, weight.matrix_shape[1])
        jobs = self._summing(weight, sources, tensors)
        # Products of large matrices keep all cores busy by themselves, and several would take much memory.
        lanes = self._runner.lanes if weight.matrix_shape[1] < LARGE else Lanes()
        for found in lanes.results(jobs):
            for sums in found:
                builder.add(sums)
        if not builder.taken:
            raise NoRowsError("its operator has no input on these samples")
        return builder.made()

    def _summing(
        self,
        weight: Weight,
        sources: Sequence[Source],
        tensors: Iterator[Batch],
    ) -> Iterator[Callable[[], list[Sums]]]:
        """For each batch, what sums up its share of the rows."""
        share = self._method.rows // len(sources)
        start = 0
        for batch, pruned, dense in tensors:
            stop = start + len(batch)
            count = max(share * stop // self._samples - share * start // self._samples, 1)
            yield partial(self._sums, weight, sources, pruned, dense, start, count)
            start = stop

    def _sums(
        self,
        weight: Weight,
        sources: Sequence[Source],
        pruned: Sequence[AnyArray],
        dense: Sequence[AnyArray] | None,
        start: int,
        count: int,
    ) -> list[Sums]:
        """Of one batch, for each of a weight's operators that has inputs there."""
        found = []
        taken = 0
        for number, source in enumerate(sources):
            own = slice(taken, taken + len(source.rows.ports))
            taken = own.stop
            places = source.rows.places(pruned[own])
            if places:
                rng = self._owner.rng(self._numbers[weight.name], number, start)
                chosen = places_to_look_at(places, count, rng)
                rows = source.rows.take(pruned[own], chosen)
                refuse_infinite(rows)
                found.append(Sums.of(rows, None if dense is None else source.rows.take(dense[own], chosen)))
        return found


def refuse_infinite(rows: AnyArray) -> None:
    """Nothing can be fitted to what is no number.

    Raises:
        NoRowsError: there is such a value.
    """
    if not np.isfinite(rows).all():
        raise NoRowsError("its input has values that are NaN or infinite")
