"""Makes `fashion_cnn.onnx`, and on request `fashion_mnist_test.npz`, again from the Fashion-MNIST files.

Stands alone: imports nothing of onnxsens, and needs torch, which onnxsens itself never does. Trains on the official
training split only and keeps the weights of the last epoch; the test split is run once, after the export, to report
the accuracy of what was written. The graph (names, operators, shapes) comes out the same each time. The weights do
not: a machine repeats itself for one seed, torch build and thread count, but another thread count or processor adds
floats in another order, and training amplifies that. Expect about the same accuracy, not the same bytes.

    python models/make_fashion_cnn.py -o remade_cnn.onnx --test-npz remade_test.npz

Threads are torch's own: set OMP_NUM_THREADS to leave cores to others.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import struct
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

DATA = Path("/usr/share/datasets/fashion-mnist")  # where the Debian package puts it
SIDE = 28
TRAIN, TEST = 60_000, 10_000  # images of the official splits
MEAN, STD = 0.2860, 0.3530  # of the training pixels, scaled to [0, 1]

BATCH = 128
PEAK_RATE = 0.1
WEIGHT_DECAY = 5e-4
SHIFT = 2  # pixels, at most, in each direction


def main() -> None:
    args = arguments()
    for written in (args.output, args.test_npz):
        check_writable(written, args.force)
    require("torch", "pip install torch==2.13.0")
    require("onnx", "pip install onnx")  # the exporter imports it
    import torch

    train_images = read_images(args.data, "train", TRAIN)
    train_labels = read_labels(args.data, "train", TRAIN)
    test_images = read_images(args.data, "t10k", TEST)
    test_labels = read_labels(args.data, "t10k", TEST)

    if args.test_npz is not None:
        with args.test_npz.open("wb") as file:  # savez would append ".npz" to a bare name
            np.savez_compressed(file, image=test_images, labels=test_labels)
        print(f"wrote {args.test_npz}")

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, seed {args.seed}, {args.epochs} epochs")
    torch.manual_seed(args.seed)
    model = fashion_cnn()
    train(model, train_images, train_labels, args.epochs)
    export(model, args.output)
    print(f"wrote {args.output}")
    logits, by = run_exported(args.output, model, normalised(test_images))
    print(f"test accuracy {100 * np.mean(logits.argmax(1) == test_labels):.2f} % of {TEST} images, by {by}")


def arguments() -> argparse.Namespace:
    parser = training_parser("Train the Fashion-MNIST CNN of models/ and export it to ONNX.")
    parser.add_argument("--test-npz", type=Path, metavar="FILE", help="also write the test split: image, labels")
    return parser.parse_args()


def training_parser(description: str) -> argparse.ArgumentParser:
    """What every training of one network is told; `make_fashion_nets.py` adds its own, as we do."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--epochs", type=positive, default=6, help="passes over the training split (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default: 0)")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"the four .gz files (default: {DATA})")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def fail(message: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).stem}: {message}")


def require(module: str, install: str) -> None:
    if importlib.util.find_spec(module) is None:
        fail(f"'{module}' is not installed; run: {install}")


def check_writable(path: Path | None, force: bool) -> None:
    """Before training, not after it."""
    if path is None:
        return
    if not path.parent.is_dir():
        fail(f"no folder '{path.parent}'; make it first")
    if path.exists() and not force:
        fail(f"'{path}' exists; name another file, or pass --force to overwrite it")


# --- data ---


def read_images(data: Path, split: str, count: int) -> np.ndarray:
    """uint8 `[count, 1, 28, 28]`."""
    return read_idx(data / f"{split}-images-idx3-ubyte.gz", (count, SIDE, SIDE))[:, None]


def read_labels(data: Path, split: str, count: int) -> np.ndarray:
    """int64 `[count]`, classes 0 to 9."""
    return read_idx(data / f"{split}-labels-idx1-ubyte.gz", (count,)).astype(np.int64)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an idx file of exactly this shape.

    Header, big-endian: two zero bytes, type (8: unsigned byte), number of axes, then each axis as uint32.
    """
    if not path.is_file():
        fail(f"no '{path}'; run: apt-get install dataset-fashion-mnist (Debian), or pass --data DIR")
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        fail(f"'{path}' cannot be read ({error}); install or download it again")
    if not content.startswith(header) or len(content) != len(header) + np.prod(shape):
        fail(f"'{path}' is not an idx file of {shape} bytes; pass --data DIR with the original Fashion-MNIST files")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def normalised(images: np.ndarray) -> np.ndarray:
    """What the network is fed: float32, of the shape given."""
    return ((images / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)


# --- network ---


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm, padded so that only the stride shrinks the image."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


def residual(inputs: int, outputs: int, stride: int) -> nn.Module:
    """ResNet's basic block, with a 1x1 convolution beside it where the shape changes."""
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(inputs, outputs, 3, stride)
            self.b = conv(outputs, outputs, 3)
            self.sc = nn.Identity() if stride == 1 and inputs == outputs else conv(inputs, outputs, 1, stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.b(torch.relu(self.a(x))) + self.sc(x))

    return Residual()


def fashion_cnn() -> nn.Module:
    """Float32 `[N, 1, 28, 28]` to logits `[N, 10]`; attribute names become node names in the exported file."""
    import torch
    from torch import nn

    class Separable(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.d = conv(inputs, inputs, 3, groups=inputs)
            self.p = conv(inputs, outputs, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.p(torch.relu(self.d(x))))

    class FashionCNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(1, 16, 3)
            self.b1 = residual(16, 16, stride=1)
            self.b2 = residual(16, 32, stride=2)
            self.b3 = Separable(32, 64)
            self.b4 = residual(64, 64, stride=2)
            self.fc1 = nn.Linear(64, 64)
            self.fc = nn.Linear(64, 10)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(image))
            x = self.b4(self.b3(self.b2(self.b1(x))))
            return self.fc(torch.relu(self.fc1(x.mean((2, 3)))))

    return FashionCNN()


def train(model: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Nesterov SGD, one learning-rate cycle over all epochs, images shifted and mirrored at random."""
    import torch
    from torch.nn import functional as F

    padded = torch.from_numpy(np.pad(images[:, 0], ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT))))
    target = torch.from_numpy(labels)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, cycle_momentum=False)
    model.to(memory_format=torch.channels_last).train()  # a third faster on a CPU; changes nothing in the export
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(augmented(padded, batch)), target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{epochs}: mean loss {total / len(images):.4f}, {seconds:.0f} s", flush=True)


def augmented(padded: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """The batch as the network is fed it, each image shifted by up to `SHIFT` pixels and mirrored half of the time."""
    import torch

    size, pixels = len(batch), torch.arange(SIDE)
    rows = pixels + torch.randint(2 * SHIFT + 1, (size, 1))
    columns = torch.where(torch.rand(size, 1) < 0.5, pixels, pixels.flip(0)) + torch.randint(2 * SHIFT + 1, (size, 1))
    crop = padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
    return ((crop.float() / 255 - MEAN) / STD)[:, None]


# --- export ---


def export(model: nn.Module, path: Path, fold: bool = True) -> None:
    """By the TorchScript exporter, which folds each BatchNorm into the convolution before it unless told not to."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are using the legacy TorchScript")  # on purpose
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, 1, SIDE, SIDE),),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=fold,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )


def run_exported(path: Path, model: nn.Module, images: np.ndarray) -> tuple[np.ndarray, str]:
    """Logits `[images, 10]` and what computed them: the file in onnxruntime, or without it the model in torch."""
    import torch

    batches = np.array_split(images, 10)
    if importlib.util.find_spec("onnxruntime") is None:
        with torch.no_grad():
            logits = [model(torch.from_numpy(batch)).numpy() for batch in batches]
        return np.concatenate(logits), "torch (onnxruntime is not installed: the file itself was not run)"
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = [session.run(["logits"], {"image": batch})[0] for batch in batches]
    return np.concatenate(logits), f"onnxruntime {onnxruntime.__version__}"


if __name__ == "__main__":
    main()
