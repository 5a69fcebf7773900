"""Makes `fashion_resnet.onnx` and `fashion_vgg.onnx` again from the Fashion-MNIST files, one network a call.

Stands beside `make_fashion_cnn.py`, which holds the data, the training recipe and the export: what is said there of
torch, threads and repeatability holds here. Like it, imports nothing of onnxsens, trains on the official training split
only, keeps the weights of the last epoch, and runs the test split once, after the export. This file knows the networks
only.

    python models/make_fashion_nets.py resnet -o remade_resnet.onnx
    python models/make_fashion_nets.py vgg -o remade_vgg.onnx
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from make_fashion_cnn import (
    TEST,
    TRAIN,
    check_writable,
    conv,
    export,
    normalised,
    read_images,
    read_labels,
    require,
    residual,
    run_exported,
    train,
    training_parser,
)

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Network:
    build: Callable[[], nn.Module]
    fold: bool  # each BatchNorm into the convolution before it, in the exported file


def main() -> None:
    args = arguments()
    check_writable(args.output, args.force)
    require("torch", "pip install torch==2.13.0")
    require("onnx", "pip install onnx")  # the exporter imports it
    import torch

    train_images = read_images(args.data, "train", TRAIN)
    train_labels = read_labels(args.data, "train", TRAIN)
    test_images = read_images(args.data, "t10k", TEST)
    test_labels = read_labels(args.data, "t10k", TEST)

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, seed {args.seed}, {args.epochs} epochs")
    torch.manual_seed(args.seed)
    network = NETWORKS[args.network]
    model = network.build()
    started = time.perf_counter()
    train(model, train_images, train_labels, args.epochs)
    print(f"trained {sum(p.numel() for p in model.parameters())} parameters in {time.perf_counter() - started:.0f} s")
    export(model, args.output, network.fold)
    print(f"wrote {args.output}")
    logits, by = run_exported(args.output, model, normalised(test_images))
    print(f"test accuracy {100 * np.mean(logits.argmax(1) == test_labels):.2f} % of {TEST} images, by {by}")


def arguments() -> argparse.Namespace:
    parser = training_parser("Train a Fashion-MNIST network of models/ and export it to ONNX.")
    parser.add_argument("network", choices=sorted(NETWORKS), help="which one to train")
    return parser.parse_args()


# --- networks: float32 `[N, 1, 28, 28]` to logits `[N, 10]`; attribute names become node names in the exported file ---


def fashion_resnet() -> nn.Module:
    """ResNet-20 as for CIFAR-10, with a stem of stride 2 so that it costs a quarter.

    Source: He et al., CVPR 2016, arXiv:1512.03385, section 4.2. There the shortcuts that change shape have no weights;
    here they are 1x1 convolutions.
    """
    import torch
    from torch import nn

    class FashionResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(1, 16, 3, stride=2)
            self.s1 = nn.Sequential(residual(16, 16, 1), residual(16, 16, 1), residual(16, 16, 1))
            self.s2 = nn.Sequential(residual(16, 32, 2), residual(32, 32, 1), residual(32, 32, 1))
            self.s3 = nn.Sequential(residual(32, 64, 2), residual(64, 64, 1), residual(64, 64, 1))
            self.fc = nn.Linear(64, 10)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(image))
            return self.fc(self.s3(self.s2(self.s1(x))).mean((2, 3)))

    return FashionResNet()


def fashion_vgg() -> nn.Module:
    """Stacks of 3x3 convolutions between max-pools, then three Linear layers, which hold most of the weights.

    Source: Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556. There no BatchNorm; here it is there while training, and
    in the exported file it is folded, which leaves plain convolutions with a bias.
    """
    import torch
    from torch import nn

    def stack(*channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [conv(inputs, outputs, 3), nn.ReLU()]
        return nn.Sequential(*layers, nn.MaxPool2d(2))

    class FashionVGG(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.s1 = stack(1, 16, 16)
            self.s2 = stack(16, 32, 32)
            self.s3 = stack(32, 64, 64, 128)
            self.fc1 = nn.Linear(128 * 3 * 3, 640)
            self.fc2 = nn.Linear(640, 160)
            self.fc = nn.Linear(160, 10)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.s3(self.s2(self.s1(image))).flatten(1)
            return self.fc(torch.relu(self.fc2(torch.relu(self.fc1(x)))))

    return FashionVGG()


NETWORKS = {
    "resnet": Network(fashion_resnet, fold=False),  # tests and benchmarks need a graph that has BatchNormalization
    "vgg": Network(fashion_vgg, fold=True),
}


if __name__ == "__main__":
    main()
