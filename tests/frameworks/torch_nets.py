"""PyTorch networks for the round trip, built from a seed, and the ways to export them.

Every weight gets values like those of a trained network: nothing is left at its initial value, rows differ in size, and
each BatchNorm has statistics of its own, so that a folded BatchNorm changes every weight. Importable without torch: it
is imported where a network is built. Knows nothing of onnxsens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

Exporter = Literal["script", "dynamo"]
EXPORTERS: tuple[Exporter, ...] = ("script", "dynamo")


@dataclass(frozen=True)
class Net:
    """One network.

    Attributes:
        build: gives it with its values and in eval mode, the same each time.
        example: an input, a batch of 16.
        dynamic: whether the newer exporter is asked for a batch of any size; it unrolls recurrent layers over their
            steps first, and takes three times as long with a size that it does not know.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[], torch.Tensor]
    dynamic: bool = True


def trained(model: nn.Module, seed: int) -> nn.Module:
    """`model` with random values everywhere, as after training: rows of unequal size, BatchNorm with statistics."""
    import torch
    from torch import nn

    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    def uniform(low: float, high: float, size: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(size, generator=draw)

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.copy_(0.1 * normal(*parameter.shape))
            else:
                fan_in = parameter[0].numel()
                rows = torch.exp(0.3 * normal(len(parameter))).reshape(-1, *[1] * (parameter.ndim - 1))
                parameter.copy_(1.5 * rows * normal(*parameter.shape) / fan_in**0.5)  # so that signals do not fade away
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                size = module.num_features
                module.weight.copy_(uniform(0.5, 1.5, size))
                module.weight[0] *= -1.0  # training does bring negative factors
                module.bias.copy_(0.2 * normal(size))
                module.running_mean.copy_(0.2 * normal(size))
                module.running_var.copy_(uniform(0.4, 2.0, size))
            elif isinstance(module, nn.LayerNorm):
                module.weight.copy_(uniform(0.7, 1.3, len(module.weight)))
    return model.eval()


def _cnn() -> nn.Module:
    """Conv+BN, depthwise+BN, a residual block, ConvTranspose, a conv with bias, Linear with and without bias."""
    import torch
    from torch import nn

    class ConvNorm(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
            self.bn = nn.BatchNorm2d(outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.bn(self.conv(x)))

    class CNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = ConvNorm(3, 16, 3, 2)
            self.depthwise = ConvNorm(16, 16, 3, 1, 16)
            self.pointwise = ConvNorm(16, 32, 1)
            self.res = nn.Sequential(ConvNorm(32, 32, 3), ConvNorm(32, 32, 3))
            self.up = nn.ConvTranspose2d(32, 24, 2, 2, bias=False)
            self.up_bn = nn.BatchNorm2d(24)
            self.up2 = nn.ConvTranspose2d(24, 16, 3, 2, 1)
            self.biased = nn.Conv2d(16, 24, 3)
            self.hidden = nn.Linear(24, 48, bias=False)
            self.head = nn.Linear(48, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pointwise(self.depthwise(self.stem(x)))
            x = x + self.res(x)
            x = torch.relu(self.up_bn(self.up(x)))
            x = torch.relu(self.biased(torch.relu(self.up2(x))))
            return self.head(torch.relu(self.hidden(x.mean((2, 3)))))

    return trained(CNN(), 1)


def _transformer() -> nn.Module:
    """Two encoder layers with different weights; the embedding's weight is the head's."""
    from torch import nn

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb = nn.Embedding(64, 32)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
            self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(32)
            self.head = nn.Linear(32, 64, bias=False)
            self.head.weight = self.emb.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.enc(self.emb(tokens))))

    return trained(Transformer(), 2)


def _recurrent(kind: Literal["GRU", "LSTM"], seed: int) -> nn.Module:
    """Two layers in one direction, then two in both, then a Linear over the last step."""
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = getattr(nn, kind)(20, 24, 2, batch_first=True)
            self.both = getattr(nn, kind)(24, 16, 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(32, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, _ = self.one(x)
            x, _ = self.both(x)
            return self.head(x[:, -1])

    return trained(Recurrent(), seed)


def _extra() -> nn.Module:
    """Conv with bias and BN, BN before a conv, ConvTranspose+BN, Conv1d, weight_norm, Linear+BN, a bare Parameter."""
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import weight_norm

    class Extra(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Conv2d(3, 16, 3, padding=1)
            self.c_bn = nn.BatchNorm2d(16)
            self.pre_bn = nn.BatchNorm2d(16)
            self.pre = nn.Conv2d(16, 16, 3, 2, 1)
            self.t = nn.ConvTranspose2d(16, 12, 2, 2)
            self.t_bn = nn.BatchNorm2d(12)
            self.c1 = nn.Conv1d(12, 20, 3, padding=1)
            self.wn = weight_norm(nn.Linear(20, 24))
            self.lin = nn.Linear(24, 32)
            self.lin_bn = nn.BatchNorm1d(32)
            self.raw = nn.Parameter(torch.empty(32, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.c_bn(self.c(x)))
            x = torch.relu(self.pre(torch.relu(self.pre_bn(x))))
            x = torch.relu(self.t_bn(self.t(x)))
            x = torch.relu(self.c1(x.mean(3))).mean(2)
            x = torch.relu(self.wn(x))
            x = torch.relu(self.lin_bn(self.lin(x)))
            return x @ self.raw

    model = trained(Extra(), 5)
    with torch.no_grad():
        model.c_bn.weight[3] = (
            0.0  # a channel that its BatchNorm switches off: nothing of the conv's weight is left of it
        )
    return model


def _twins() -> nn.Module:
    """Weights that look like others: equal, permuted, transposed, scaled copies; zeros, constants, symmetric ones."""
    import torch
    from torch import nn

    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv_a = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn_a = nn.BatchNorm2d(16)
            self.conv_b = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn_b = nn.BatchNorm2d(16)
            self.conv_c = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn_c = nn.BatchNorm2d(16)
            self.blur = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False)
            self.blur_bn = nn.BatchNorm2d(16)
            self.blur2 = nn.Conv2d(16, 16, 3, padding=1, groups=4)
            self.scale = nn.Conv2d(16, 16, 1, groups=16, bias=False)
            self.scale_bn = nn.BatchNorm2d(16)
            self.scale2 = nn.Conv2d(16, 16, 1, groups=16)
            self.first = nn.Linear(16, 16)
            self.equal = nn.Linear(16, 16)
            self.permuted = nn.Linear(16, 16)
            self.transposed = nn.Linear(16, 16)
            self.columns = nn.Linear(16, 16)
            self.symmetric = nn.Linear(16, 16)
            self.zero = nn.Linear(16, 16)
            self.zero2 = nn.Linear(16, 16)
            self.constant = nn.Linear(16, 16)
            self.constant2 = nn.Linear(16, 16)
            self.gates = nn.GRU(16, 16, batch_first=True)
            self.flat = nn.Linear(16, 16)
            self.flat_equal = nn.Linear(16, 16)
            self.head = nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            convs = (self.conv_a, self.bn_a), (self.conv_b, self.bn_b), (self.conv_c, self.bn_c)
            x = sum(torch.relu(norm(conv(x))) for conv, norm in convs)
            x = torch.relu(self.blur2(torch.relu(self.blur_bn(self.blur(x)))))
            x = torch.relu(self.scale2(torch.relu(self.scale_bn(self.scale(x)))))
            x = x.mean(3).transpose(1, 2)
            for layer in (self.first, self.equal, self.permuted, self.transposed, self.columns, self.symmetric):
                x = x + torch.tanh(layer(x))
            for layer in (self.zero, self.zero2, self.constant, self.constant2):
                x = x + torch.tanh(layer(x))
            x = self.gates(x)[0].mean(1)
            x = x + torch.tanh(self.flat(x))
            x = x + torch.tanh(self.flat_equal(x))
            return self.head(x)

    model = trained(Twins(), 6)
    draw = torch.Generator().manual_seed(66)
    with torch.no_grad():
        model.conv_b.weight.copy_(model.conv_a.weight)
        model.conv_c.weight.copy_(model.conv_a.weight * (0.5 + torch.rand(16, 1, 1, 1, generator=draw)))
        for blur in (model.blur, model.blur2):
            blur.weight.copy_((blur.weight + blur.weight.transpose(2, 3)) / 2)
        model.equal.load_state_dict(model.first.state_dict())
        model.permuted.weight.copy_(model.first.weight[torch.randperm(16, generator=draw)])
        model.columns.weight.copy_(model.first.weight[:, torch.randperm(16, generator=draw)])
        model.transposed.weight.copy_(model.first.weight.T)
        model.symmetric.weight.copy_((model.symmetric.weight + model.symmetric.weight.T) / 2)
        model.zero.weight.zero_()
        model.zero2.weight.zero_()
        model.constant.weight.fill_(0.125)
        model.constant2.weight.fill_(0.25)
        model.gates.weight_hh_l0[16:32] = model.gates.weight_hh_l0[:16]
        model.flat_equal.load_state_dict(model.flat.state_dict())
    return model


def _more() -> nn.Module:
    """Conv3d, grouped convs, and attention of three Linears of its own."""
    import torch
    from torch import nn
    from torch.nn import functional

    class More(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.volume = nn.Conv3d(1, 8, 3, padding=1, bias=False)
            self.volume_bn = nn.BatchNorm3d(8)
            self.grouped = nn.Conv2d(8, 24, 3, padding=1, groups=4, bias=False)
            self.grouped_bn = nn.BatchNorm2d(24)
            self.grouped2 = nn.Conv2d(24, 24, 3, padding=1, groups=2)
            self.q = nn.Linear(24, 24)
            self.k = nn.Linear(24, 24, bias=False)
            self.v = nn.Linear(24, 24)
            self.out = nn.Linear(24, 24)
            self.head = nn.Linear(24, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.volume_bn(self.volume(x))).mean(2)
            x = torch.relu(self.grouped2(torch.relu(self.grouped_bn(self.grouped(x)))))
            x = x.flatten(2).transpose(1, 2)
            q, k, v = (layer(x).unflatten(2, (4, 6)).transpose(1, 2) for layer in (self.q, self.k, self.v))
            x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            return self.head(x.mean(1))

    return trained(More(), 7)


def _noise(*shape: int) -> Callable[[], torch.Tensor]:
    def example() -> torch.Tensor:
        import torch

        return torch.randn(16, *shape, generator=torch.Generator().manual_seed(9))

    return example


def _tokens() -> torch.Tensor:
    import torch

    return torch.randint(0, 64, (16, 9), generator=torch.Generator().manual_seed(9))


NETS: dict[str, Net] = {
    net.name: net
    for net in (
        Net("cnn", _cnn, _noise(3, 16, 16)),
        Net("transformer", _transformer, _tokens),
        Net("gru", lambda: _recurrent("GRU", 3), _noise(3, 20), dynamic=False),
        Net("lstm", lambda: _recurrent("LSTM", 4), _noise(3, 20), dynamic=False),
        Net("extra", _extra, _noise(3, 12, 12)),
        Net("twins", _twins, _noise(3, 4, 8), dynamic=False),
        Net("more", _more, _noise(1, 4, 6, 6)),
    )
}


def export(net: Net, model: nn.Module, exporter: Exporter, path: Path) -> None:
    """Write `model`, the network with whatever values, as ONNX, opset 20; weights in the file itself."""
    import torch

    example = net.example()
    if example.is_floating_point():
        example = example.to(next(model.parameters()).dtype)
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "opset_version": 20}
    if exporter == "script":
        options |= {"dynamo": False, "dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}}
    else:
        options |= {"dynamo": True, "external_data": False, "verbose": False}
        if net.dynamic:
            options |= {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    logging.disable(logging.WARNING)  # a trace of thousands of lines, where anything listens
    try:
        torch.onnx.export(model, (example,), str(path), **options)
    finally:
        logging.disable(logging.NOTSET)


def save_checkpoint(model: nn.Module, path: Path) -> Path:
    """The state dict as .pt, .npz or .safetensors; the last holds tied tensors once, under the first name."""
    import torch
    from safetensors.torch import save_file

    state = model.state_dict()
    if path.suffix == ".pt":
        torch.save(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        first: dict[int, str] = {}
        for name, value in state.items():
            first.setdefault(value.data_ptr(), name)
        once = {name: value for name, value in state.items() if first[value.data_ptr()] == name}
        save_file(once, str(path))
    return path


def prunable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that layers multiply with, in model order; tied ones once, under their first name."""
    return {
        name: value.data
        for name, value in model.named_parameters()
        if value.ndim > 1 and not name.endswith(".original0")
    }


def neutralize(model: nn.Module) -> None:
    """Set norms so that they change nothing: what an exporter folds into weights is a factor of 1."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eps = 0.0
            module.weight.data.fill_(1.0)
            module.bias.data.fill_(0.0)
            module.running_mean.fill_(0.0)
            module.running_var.fill_(1.0)
    for length, direction in _weight_norms(model):
        length.copy_(direction.flatten(1).norm(dim=1).reshape(length.shape))


def fill(model: nn.Module, values: Mapping[str, np.ndarray]) -> None:
    """Give parameters new values; the others stay."""
    import torch

    state = model.state_dict()
    for name, new in values.items():
        state[name].copy_(torch.from_numpy(new))


def mask(model: nn.Module, masks: Mapping[str, np.ndarray]) -> None:
    """Zero what a mask has as 0."""
    import torch

    state = model.state_dict()
    for name, kept in masks.items():
        assert state[name].shape == kept.shape
        state[name].mul_(torch.from_numpy(kept))


def _weight_norms(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Lengths and directions of all weights under weight_norm."""
    named = dict(model.named_parameters())
    return [
        (value.data, named[name.removesuffix("0") + "1"].data)
        for name, value in named.items()
        if name.endswith(".original0")
    ]
