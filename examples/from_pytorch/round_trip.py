"""From PyTorch and back: train, export, plan, hold the zeros, train a little more, export again."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import onnxsens
from onnxsens.frameworks.torch import apply

CLASSES, FEATURES = 6, 20


def samples(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Six classes, each two clouds of points."""
    centres = np.random.default_rng(0).normal(size=(2, CLASSES, FEATURES))
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=number)
    points = centres[rng.integers(2, size=number), labels] + rng.normal(size=(number, FEATURES))
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels)


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int, rate: float) -> None:
    """Adam on all samples at once."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()


def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of right answers."""
    with torch.no_grad():
        return float((net(x).argmax(dim=1) == y).float().mean())


def export(net: nn.Module, path: Path) -> None:
    """As ONNX, with a free batch axis."""
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["logits"]}
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        net, (torch.zeros(2, FEATURES),), str(path), dynamo=True, verbose=False, dynamic_shapes=({0: batch},), **options
    )


def main() -> None:
    """All of it, in a folder that is removed at the end."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(FEATURES, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, CLASSES))
    train(net, *samples(4000, seed=1), steps=150, rate=0.01)
    test_x, test_y = samples(4000, seed=2)
    print(f"trained: {accuracy(net, test_x, test_y):.3f} of the test samples right")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(net.eval(), folder / "net.onnx")
        torch.save(net.state_dict(), folder / "net.pt")
        x, y = samples(4000, seed=3)
        plan = onnxsens.auto(
            folder / "net.onnx",
            ({"x": x.numpy()}, y.numpy()),
            sparsity=0.9,
            checkpoint=folder / "net.pt",
            out=folder / "out",
        )
        print(f"planned: {plan.sparsity:.0%} zeros, drop {plan.quality.metrics['accuracy'].drop:.3f} on the hold-out")

        with apply(net, folder / "out/masks.safetensors", folder / "out/weights.safetensors") as masked:
            print(f"in PyTorch, nothing trained: {accuracy(net, test_x, test_y):.3f}")
            train(net, *samples(4000, seed=1), steps=60, rate=0.002)
            masked.check()  # every zero is still one
            for parameter, share in masked.sparsity.items():
                print(f"  {parameter}: {share:.0%} zeros")
        print(f"fine-tuned with the zeros held: {accuracy(net, test_x, test_y):.3f}")
        export(net, folder / "pruned.onnx")
        again = onnxsens.inspect(folder / "pruned.onnx").inventory.weights
        print(f"exported again, with {sum(each.zeros for each in again) / sum(each.size for each in again):.0%} zeros")


if __name__ == "__main__":
    main()
