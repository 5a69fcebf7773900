"""A plan's journey to the source model and back, and what has to be true of it whatever the framework.

A framework's test file says how its nets are built, saved, masked and exported, and gets the tests of `RoundTrips`.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from round_trip import Arrays, Graph, Trip, origins, round_trip, stamps, true_masks

TOLERANCE = 1e-5  # of the largest output: rounding of a few layers in float32


Note = Callable[[str, object], None]


class Source(Protocol):
    """One net of a framework, and one way to export it. Names are those that the framework gives."""

    def build(self) -> Any:
        """The net, with the same values each time."""
        ...

    def values(self, model: Any) -> dict[str, np.ndarray]:
        """Parameters and statistics by name, in model order."""
        ...

    def put(self, model: Any, values: Arrays) -> None:
        """Write these values, in place."""
        ...

    def kernels(self, model: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is multiplied with or looked up."""
        ...

    def neutral(self, model: Any) -> dict[str, np.ndarray]:
        """Values of norms by which what is folded into is as good as unchanged."""
        ...

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Inputs, `[count, ...]`."""
        ...

    def save(self, model: Any, path: Path) -> None:
        """A checkpoint, of the kind that the path's ending says."""
        ...

    def export(self, model: Any, path: Path) -> None:
        """The ONNX file."""
        ...

    def apply(self, model: Any, masks: Path, weights: Path | None) -> Any:
        """The net with the zeros, and with updated values where there are any: the one that came in, or a new one."""
        ...

    def align(self, path: Path, like: Path) -> None:
        """Give the nodes of a second export the order of the first, where an exporter's order varies."""
        ...


class Journey:
    """One net there and back.

    Attributes:
        before: the source's values when the plan was made.
        after: its values with what the plan carried back.
        trip: the comparison of the two ONNX files.
    """

    def __init__(self, source: Source, suffix: str, folder: Path, update: str = "none") -> None:
        self.source, self.folder = source, folder
        self.model = folder / "model.onnx"
        checkpoint = folder / f"checkpoint{suffix}"
        dense = source.build()
        source.save(dense, checkpoint)
        source.export(dense, self.model)
        self.before = source.values(dense)
        self.kernels = source.kernels(dense)
        self.after: dict[str, np.ndarray] = {}
        name = onnx.load(self.model).graph.input[0].name
        samples = folder / "samples.npz"
        np.savez(samples, **{name: source.sample(128, 1)})
        inputs = {name: source.sample(16, 2)}
        self.trip: Trip = round_trip(
            self.model, checkpoint, self._carry, folder / "run", inputs, data=str(samples), update=update
        )

    def _carry(self, masks: Path, weights: Path | None, path: Path) -> None:
        model = self.source.apply(self.source.build(), masks, weights)
        self.after = self.source.values(model)
        self.source.export(model, path)
        self.source.align(path, self.model)

    @cached_property
    def pruned(self) -> set[str]:
        """Stored tensors that are not the same in pruned.onnx: the plan's weights and their copies."""
        before, after = Graph(self.model).tensors, Graph(self.trip.folder / "pruned.onnx").tensors
        return {name for name, values in before.items() if not np.array_equal(values, after[name])}

    def line(self) -> str:
        """What was matched and what came of it, for the summary of `python -m tests.frameworks`."""
        coverage = self.trip.coverage
        kinds = ", ".join(f"{share['tensors']} {kind}" for kind, share in coverage["weights"].items())
        parameters = f"{coverage['parameters_found']['tensors']} of {coverage['parameters']['tensors']} parameters"
        return f"{kinds}; {parameters}; outputs differ by {self.trip.difference:.1g}, dense {self.trip.effect:.2g}"

    def misplaced(self) -> dict[str, int]:
        """Elements of what the plan prunes that are zero in pruned.onnx or in the second export, and not in both."""
        return {name: count for name, count in self.trip.misplaced.items() if count and name in self.pruned}

    def truth(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The masks that pruned.onnx asks for, and where they bind: by following each element, not by matching."""
        model = self.source.build()
        self.source.put(model, {**self.source.neutral(model), **stamps(self.kernels)})
        path = self.folder / "stamped.onnx"
        self.source.export(model, path)
        self.source.align(path, self.model)
        found = origins(self.model, path, self.kernels)
        assert self.pruned <= found.keys(), f"elements of {self.pruned - found.keys()} could not be followed"
        followed = {name: places for name, places in found.items() if name in self.pruned}
        return true_masks(self.model, self.trip.folder / "pruned.onnx", followed, self.kernels)


class RoundTrips:
    """What is true of each journey. The subclass has a fixture `journey`, made once for all of these."""

    def test_every_weight_is_matched_without_a_guess(self, journey: Journey, record_property: Note) -> None:
        record_property("trip", journey.line())
        unsure = {name: one for name, one in journey.trip.mapped.items() if one.confidence not in ("exact", "scaled")}
        assert not unsure
        assert journey.trip.mapped.keys() == {one["name"] for one in journey.trip.plan["weights"]}

    def test_the_masked_model_exported_again_does_what_the_pruned_file_does(self, journey: Journey) -> None:
        assert journey.trip.effect > 1000 * TOLERANCE, "the plan changes too little to tell"
        assert journey.trip.difference < TOLERANCE

    def test_zeros_are_at_the_same_places(self, journey: Journey) -> None:
        assert journey.misplaced() == {}

    def test_the_source_gets_the_zeros_that_each_element_leads_to_and_no_other_change(self, journey: Journey) -> None:
        masks, binding = journey.truth()
        for name, before in journey.before.items():
            after = journey.after[name]
            if name not in masks:
                assert np.array_equal(before, after), f"'{name}' changed, and the plan does not prune it"
                continue
            kept = masks[name] != 0
            assert np.array_equal((after == 0)[binding[name]], ~kept[binding[name]]), f"zeros of '{name}'"
            assert np.array_equal(after[after != 0], before[after != 0]), f"values of '{name}'"


class TwinTrips(RoundTrips):
    """The same of nets whose weights look like one another. Which of two tensors of zeros is which, no one can tell."""

    def test_every_weight_is_matched_without_a_guess(self, journey: Journey, record_property: Note) -> None:
        record_property("trip", journey.line())
        tensors = Graph(journey.model).tensors
        unsure = {name: one for name, one in journey.trip.mapped.items() if one.confidence not in ("exact", "scaled")}
        assert {name: one for name, one in unsure.items() if tensors[name].any()} == {}
        assert {one.confidence for one in unsure.values()} <= {"ambiguous"}


class UpdatedTrips:
    """What is true of a plan that also changed what it kept."""

    def test_updated_values_go_back_too(self, journey: Journey, record_property: Note) -> None:
        record_property("trip", journey.line())
        assert (journey.trip.folder / "weights.safetensors").exists()
        changed = [name for name, before in journey.before.items() if moved(before, journey.after[name])]
        assert changed, "nothing but zeros was carried back"
        # Updates leave little of the effect. A factor is taken out of the values, and put in again.
        assert journey.trip.effect > 100 * TOLERANCE, "the plan changes too little to tell"
        assert journey.trip.difference < 10 * TOLERANCE
        assert journey.misplaced() == {}


def moved(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether an element that is not zero has another value."""
    return bool(((before != after) & (after != 0)).any())
