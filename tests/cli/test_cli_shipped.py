"""The main job on the shipped models with few labels."""

import json
from pathlib import Path

import pytest
from commands import onnxsens

RECURRENT_AND_TRANSFORMER = ["jv_transformer", "jv_lstm", "jv_gru"]


@pytest.mark.parametrize("name", RECURRENT_AND_TRANSFORMER)
class TestFewLabels:
    def test_a_limit_that_cannot_be_shown_is_refused_before_the_scan(
        self, models: Path, tmp_path: Path, name: str
    ) -> None:
        data = models / "japanese_vowels_test.npz"
        done = onnxsens(
            "auto", models / f"{name}.onnx", "-d", data, "--max-drop", "accuracy=0.01", "-o", tmp_path / "run"
        )
        assert done.returncode == 5
        assert "0.01 in accuracy cannot be shown with 185 hold-out samples at 95% confidence" in done.stderr
        assert "give 762 samples in all, --max-drop accuracy=0.021 or more, or --confidence none" in done.stderr
        assert not (tmp_path / "run").exists()

    def test_point_estimates_are_taken_where_asked(self, models: Path, tmp_path: Path, name: str) -> None:
        data = models / "japanese_vowels_test.npz"
        limit = ("--max-drop", "accuracy=0.01", "--confidence", "none")
        done = onnxsens("auto", models / f"{name}.onnx", "-d", data, *limit, "-o", tmp_path, "--json")
        made = json.loads(done.stdout)
        accuracy = made["quality"]["metrics"]["accuracy"]
        assert made["quality"]["verified"] is (accuracy["drop"] <= 0.01)
        assert done.returncode == (0 if made["quality"]["verified"] else 5)
        assert made["quality"]["verified"] is True
        assert made["totals"]["sparsity"] > 0.3

    def test_random_samples_and_kl_need_no_labels(self, models: Path, tmp_path: Path, name: str) -> None:
        limit = ("--max-drop", "kl=0.05")
        done = onnxsens("auto", models / f"{name}.onnx", "-d", "random:256", *limit, "-o", tmp_path, "--json")
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        assert made["quality"]["verified"] is True
        assert made["quality"]["metrics"]["kl"]["bound"] <= 0.05
        assert made["totals"]["sparsity"] > 0.3
