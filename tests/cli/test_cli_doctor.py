"""What `doctor` finds."""

import json
from pathlib import Path

from commands import document, onnxsens


def test_versions_and_the_providers_that_start_are_told() -> None:
    found = document("doctor")
    assert {"onnxsens", "onnx", "numpy"} <= found["versions"].keys()
    assert found["providers"]["CPUExecutionProvider"] == "starts"
    assert found["problems"] == []


def test_both_wheels_of_onnxruntime_together_are_a_problem_with_its_remedy(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        (tmp_path / f"{name}-9.9.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9\n"
        (tmp_path / f"{name}-9.9.dist-info" / "METADATA").write_text(metadata)
    root = str(Path(__file__).parent.parent.parent)
    done = onnxsens("doctor", "--json", PYTHONPATH=f"{tmp_path}:{root}")
    assert done.returncode == 4
    assert "the CPU wheel wins silently" in json.loads(done.stdout)["problems"][0]
    assert done.stderr.count("\n") == 1 and "pip uninstall" in done.stderr
