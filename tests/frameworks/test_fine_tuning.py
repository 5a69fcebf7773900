"""Every example of docs/fine-tuning.md runs as it stands, beside a file of masks, and ends with the zeros in place."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.numpy

from onnxsens.frameworks.sparse_files import MASKS_FORMAT, pack

TEXT = (Path(__file__).parents[2] / "docs" / "fine-tuning.md").read_text()
EXAMPLES = dict(re.findall(r"^## (\w+)\n+```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))
# Framework, and what the two masked parameters are called there, in its layout.
NAMES = {
    "PyTorch": ("torch", {"0.weight": (32, 16), "2.weight": (4, 32)}),
    "Keras": ("keras", {"fc/kernel": (16, 32), "out/kernel": (32, 4)}),
    "JAX": ("optax", {"params/layers_0/kernel": (16, 32), "params/layers_2/kernel": (32, 4)}),
}


def test_every_framework_has_its_example() -> None:
    assert set(EXAMPLES) == set(NAMES)


@pytest.mark.parametrize("title", sorted(NAMES))
def test_the_example_runs_and_keeps_its_zeros(tmp_path: Path, title: str, needed: Callable[[str], ModuleType]) -> None:
    framework, shapes = NAMES[title]
    needed(framework)
    rng = np.random.default_rng(0)
    masks = {name: rng.permutation(np.arange(np.prod(shape)) % 4 == 0).reshape(shape) for name, shape in shapes.items()}
    metadata = {
        "format": MASKS_FORMAT,
        "packing": "bits",
        "shapes": str({name: list(shape) for name, shape in shapes.items()}).replace("'", '"'),
    }
    packed = {name: pack(mask) for name, mask in masks.items()}
    safetensors.numpy.save_file(packed, str(tmp_path / "masks.safetensors"), metadata)
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[title]],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sparsity = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert len(sparsity) == 2
    assert all(share == pytest.approx(0.75) for share in sparsity.values())
