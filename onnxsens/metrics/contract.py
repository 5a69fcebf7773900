"""The laws that every metric keeps, as tests for whoever writes one:

    class TestMine(MetricContract):
        @pytest.fixture
        def metric(self) -> Metric:
            return Mine()

Override `labels` where yours needs others than class indices or values of the output's shape, and `layouts` where it
cannot read one of them. Knows nothing of ONNX, sessions or splits, and does not import pytest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array
from onnxsens.metrics.batch import Batch
from onnxsens.metrics.metric import Metric, PerSampleMetric, WholeSetMetric, check, drop
from onnxsens.metrics.reading import Reading, normal_axis

OUTPUT = "scores"


@dataclass(frozen=True)
class Layout:
    """Shape of an output `[n, ...]`, and the axis of its classes."""

    shape: tuple[int, ...]
    class_axis: int


class MetricContract:
    """Subclass it with a fixture `metric`."""

    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout((12, 7), -1),
        Layout((12, 7), 1),
        Layout((12, 5, 7), -1),
        Layout((12, 7, 3, 4), 1),
    )

    def labels(self, metric: Metric, output: AnyArray, layout: Layout, rng: np.random.Generator) -> AnyArray:
        """Labels for `output`: class indices, or values of its shape."""
        if not metric.class_output:
            return rng.normal(size=output.shape).astype(np.float32)
        shape = list(output.shape)
        classes = shape.pop(normal_axis(layout.class_axis, output.ndim) or 0)
        return rng.integers(0, classes, size=shape)

    def batch(self, metric: Metric, layout: Layout) -> Batch:
        """A dense model's outputs and those of one that lost a little; float32, two samples unchanged."""
        rng = np.random.default_rng(0)
        dense = rng.normal(size=layout.shape).astype(np.float32)
        noise = rng.normal(size=layout.shape).astype(np.float32)
        noise[:2] = 0.0
        return Batch(
            pruned={OUTPUT: dense + noise},
            dense={OUTPUT: dense},
            labels=self.labels(metric, dense, layout, rng),
            reading=Reading(OUTPUT, layout.class_axis, "logits" if metric.class_output else "values"),
        )

    def test_what_is_declared_has_the_right_types(self, metric: Metric) -> None:
        assert metric.name
        assert isinstance(metric.name, str)
        assert isinstance(metric.unit, str)
        assert isinstance(metric.source_digest, str)
        for flag in (metric.higher_is_better, metric.needs_labels, metric.class_output, metric.binary):
            assert isinstance(flag, bool)

    def test_values_are_finite_float64_and_one_a_sample(self, metric: Metric) -> None:
        for layout in self.layouts:
            batch = self.batch(metric, layout)
            check(metric, batch)
            resolved = metric.resolve(batch)
            if isinstance(resolved, WholeSetMetric):
                assert all(len(array) == len(batch) for array in resolved.keep(batch).values())
            values = evaluate(resolved, batch)
            assert values.dtype == np.float64
            assert values.shape == ((len(batch),) if isinstance(resolved, PerSampleMetric) else (1,))
            assert np.isfinite(values).all()

    def test_how_the_samples_are_cut_into_batches_does_not_matter(self, metric: Metric) -> None:
        for layout in self.layouts:
            batch = self.batch(metric, layout)
            resolved = metric.resolve(batch)
            parts = [part(batch, 0, 1), part(batch, 1, 8), part(batch, 8, 12)]
            if isinstance(resolved, PerSampleMetric):
                joined = np.concatenate([resolved.per_sample(one) for one in parts])
            else:
                kept = [resolved.keep(one) for one in parts]
                joined = np.array([resolved.value({key: np.concatenate([k[key] for k in kept]) for key in kept[0]})])
            np.testing.assert_allclose(joined, evaluate(resolved, batch), rtol=1e-12, atol=1e-12)

    def test_without_labels_nothing_beats_the_dense_model(self, metric: Metric) -> None:
        if metric.needs_labels:
            return
        for layout in self.layouts:
            batch = self.batch(metric, layout)
            resolved = metric.resolve(batch)
            best = evaluate(resolved, replace(batch, pruned=batch.dense))
            lost = drop(metric, best, evaluate(resolved, batch))
            assert (lost >= -1e-12).all()
            assert lost.max() > 0.0

    def test_the_dense_model_loses_nothing_against_itself(self, metric: Metric) -> None:
        for layout in self.layouts:
            batch = self.batch(metric, layout)
            resolved = metric.resolve(batch)
            itself = replace(batch, pruned=batch.dense)
            copied = replace(batch, pruned={OUTPUT: batch.dense[OUTPUT].copy()})
            assert (drop(metric, evaluate(resolved, itself), evaluate(resolved, copied)) == 0.0).all()

    def test_a_drop_is_positive_where_quality_is_lost(self, metric: Metric) -> None:
        worse, better = (0.25, 0.75) if metric.higher_is_better else (0.75, 0.25)
        assert drop(metric, better, worse) == 0.5
        assert drop(metric, worse, better) == -0.5

    def test_arrays_that_came_in_are_unchanged(self, metric: Metric) -> None:
        for layout in self.layouts:
            batch, untouched = self.batch(metric, layout), self.batch(metric, layout)
            evaluate(metric.resolve(batch), batch)
            np.testing.assert_array_equal(batch.pruned[OUTPUT], untouched.pruned[OUTPUT])
            np.testing.assert_array_equal(batch.dense[OUTPUT], untouched.dense[OUTPUT])
            np.testing.assert_array_equal(batch.targets, untouched.targets)

    def test_a_nan_in_a_sample_shows_in_its_value(self, metric: Metric) -> None:
        for layout in self.layouts:
            batch = self.batch(metric, layout)
            broken = batch.pruned[OUTPUT].copy()
            broken[3] = np.nan
            resolved = metric.resolve(batch)
            values = evaluate(resolved, replace(batch, pruned={OUTPUT: broken}))
            assert np.isnan(values).tolist() == [
                i == 3 or isinstance(resolved, WholeSetMetric) for i in range(len(values))
            ]

    def test_a_binary_metric_has_only_zeros_and_ones(self, metric: Metric) -> None:
        if metric.binary:
            batch = self.batch(metric, Layout((12, 7), -1))
            assert set(evaluate(metric.resolve(batch), batch).tolist()) <= {0.0, 1.0}


def evaluate(metric: PerSampleMetric | WholeSetMetric, batch: Batch) -> Float64Array:
    """`[n]`, or `[1]` of a metric of the whole set."""
    if isinstance(metric, PerSampleMetric):
        return metric.per_sample(batch)
    return np.array([metric.value(metric.keep(batch))])


def part(batch: Batch, start: int, stop: int) -> Batch:
    """The samples `start` to `stop`."""

    def cut(outputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        return {name: array[start:stop] for name, array in outputs.items()}

    labels = None if batch.labels is None else batch.labels[start:stop]
    return Batch(cut(batch.pruned), cut(batch.dense), labels, batch.reading)
