"""How exporters lay out the parameters that they name: for files without a checkpoint, and where values cannot tell."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from onnxsens.frameworks.matching.gates import PYTORCH, stacked_pieces
from onnxsens.frameworks.matching.tensor import MADE_OF, Confidence, Tensor
from onnxsens.frameworks.pieces import Piece, whole
from onnxsens.model.origins import Hint

NUMBERED = re.compile(r"_(\d+)$")
KINDS = {1: "weight_ih", 2: "weight_hh"}  # by the operator's input
TURNED = ("", "_reverse")
# What stands in place of `weight` where it is made from others; their masks are the weight's own.
PARAMETRIZED = ("parametrizations.weight.original1", "parametrizations.weight.original", "weight_v", "weight_orig")
RECURRENT = re.compile(r"^aten\.(gru|lstm|rnn_tanh|rnn_relu)(\.|$)")
FUSED = "FuseBatchNorm"

Shapes = Callable[[str], Sequence[int] | None]


@dataclass(frozen=True)
class Call:
    """A function that multiplies by a parameter.

    Attributes:
        operands: which of the values that it reads is the parameter; the first that is one.
        matrix: whether it lies `[out, in]`, however the ONNX operator wants it; else as it is in the file.
    """

    pattern: re.Pattern[str]
    operands: tuple[int, ...]
    matrix: bool = False


CALLS = (
    Call(re.compile(r"^aten\.linear(\.|$)"), (1,), matrix=True),
    Call(re.compile(r"^aten\.(convolution|conv\w*)(\.|$)"), (1,)),
    Call(re.compile(r"^aten\.embedding(\.|$)"), (0,)),
    Call(re.compile(r"^aten\.(matmul|mm|bmm)(\.|$)"), (1, 0)),
)


@dataclass(frozen=True)
class Stated:
    """What a file says of a tensor.

    Attributes:
        shapes: that its parameters must have.
        remade: as of a match.
    """

    pieces: tuple[Piece, ...]
    shapes: dict[str, tuple[int, ...]]
    confidence: Confidence
    evidence: str
    remade: bool = False


def stated(tensor: Tensor, known: Shapes | None, named: frozenset[str]) -> Iterator[Stated]:
    """What metadata, then names, say a tensor is; the surest first.

    Args:
        known: shapes of the parameters of a checkpoint, None for those that are not in it; None without a checkpoint.
        named: parameters that the file itself names.
    """
    for hint in tensor.hints:
        found = by_call(tensor, hint, named)
        if found is not None:
            yield found
    paths = [hint.path for hint in tensor.hints if hint.path and not hint.function]
    called_so = known is not None and known(tensor.name) is not None
    within = any(tensor.name.startswith(f"{path}.") for path in paths)
    if tensor.name in named or called_so or within:
        piece = whole(tensor.name, tensor.shape, tensor.shape)
        why = "the file names it as a parameter" if tensor.name in named else "the tensor's own name"
        yield Stated((piece,), {tensor.name: tensor.shape}, "metadata" if tensor.name in named else "name", why)
    for hint in tensor.hints:
        if hint.path in paths:
            found = by_path(tensor, hint)
            if found is None:
                continue
            twice = tensor.bias == f"{hint.path}.bias" and list(found.shapes) == [f"{hint.path}.weight"]
            sure = twice if known is None else all(known(name) for name in found.shapes)
            yield found if sure else replace(found, confidence="guess")


def by_path(tensor: Tensor, hint: Hint) -> Stated | None:
    """By where a node is in the source; what the parameter is called there is taken for granted."""
    why = f"node path '{hint.path}'"
    if hint.operator in PYTORCH:
        leaves = [f"{kind}_l{layer}{turned}" for kind in KINDS.values() for layer in range(9) for turned in TURNED]
        layer = NUMBERED.search(hint.node)
        place = int(layer[1]) if layer else 0
        names = tuple(f"{hint.path}.{leaf}" for leaf in leaves)
        found = recurrent(tensor, replace(hint, parameters=names, occurrence=place), why)
        return replace(found, confidence="name") if found else None
    if len(tensor.shape) < 2:
        return None
    name, shape, order = f"{hint.path}.weight", tensor.shape, None
    if tensor.bias.startswith(f"{hint.path}.") and tensor.bias.endswith("bias"):
        name, why = f"{tensor.bias.removesuffix('bias')}weight", f"{why}, and '{tensor.bias}' is added to what it gives"
    if hint.operator in ("MatMul", "Gemm"):
        lies = linear(tensor, hint)
        if lies is None:
            return None
        shape, order = lies
    return Stated((whole(name, shape, tensor.shape, order),), {name: shape}, "name", why)


def by_call(tensor: Tensor, hint: Hint, named: frozenset[str]) -> Stated | None:
    """By the call that a node comes from: its kind says which parameter it is, and how it lies."""
    if hint.rule.startswith(FUSED) or not hint.function:
        return None
    said = f"the file says that {hint.function} reads it"
    if RECURRENT.match(hint.function) and hint.operator in PYTORCH:
        return recurrent(tensor, hint, said)
    kind = next((kind for kind in CALLS if kind.pattern.match(hint.function)), None)
    if kind is None or len(tensor.shape) < 2:
        return None
    name = operand(hint)
    if not name:
        made = (f"{hint.path}.{leaf}" for leaf in PARAMETRIZED if hint.path)
        lone = f"{hint.path}.weight_v" in named and f"{hint.path}.weight_g" not in named  # of a spectral norm: a vector
        name = next((name for name in made if name in named and not (lone and name.endswith("weight_v"))), "")
        said = f"the file says that {hint.function} {MADE_OF}"
    if not name:
        return None
    shape, order = tensor.shape, None
    if kind.matrix:
        lies = linear(tensor, hint)
        if lies is None:
            return None
        shape, order = lies
    remade = said.endswith(MADE_OF)
    return Stated((whole(name, shape, tensor.shape, order),), {name: shape}, "metadata", said, remade)


def operand(hint: Hint) -> str:
    """The parameter that the call of a node multiplies by; empty where it is none, or not known."""
    kind = next((kind for kind in CALLS if kind.pattern.match(hint.function)), None)
    names = [hint.parameters[place] for place in kind.operands if place < len(hint.parameters)] if kind else []
    return next((name for name in names if name), "")


def linear(tensor: Tensor, hint: Hint) -> tuple[tuple[int, ...], tuple[int, ...] | None] | None:
    """Shape and order of a parameter `[out, in]`; None where it is not known how the operator of the hint sees it."""
    if len(tensor.shape) == 2 and hint.turned is not None:
        return (tensor.shape[::-1], (1, 0)) if hint.turned else (tensor.shape, None)
    if hint is not tensor.hints[0]:
        return None
    if len(tensor.shape) == 2 and tensor.turned is not None:
        turned = tensor.turned()
        return None if turned is None else (tensor.shape[::-1], (1, 0)) if turned else (tensor.shape, None)
    return tensor.shape, None


def recurrent(tensor: Tensor, hint: Hint, said: str) -> Stated | None:
    """W and R of a GRU, LSTM or RNN: gates in another order, both directions stacked, one node a layer."""
    kind = KINDS.get(hint.index)
    gates = PYTORCH[hint.operator]
    if kind is None or len(tensor.shape) != 3 or tensor.shape[1] % len(gates):
        return None
    directions, rows, columns = tensor.shape
    if directions > len(TURNED):
        return None
    pieces: list[Piece] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for direction in range(directions):
        leaf = f"{kind}_l{hint.occurrence}{TURNED[direction]}"
        name = next((name for name in hint.parameters if name.rpartition(".")[2] == leaf), None)
        if name is None:
            return None
        shapes[name] = (rows, columns)
        pieces += stacked_pieces(name, (rows, columns), direction, gates, turned=False)
    return Stated(tuple(pieces), shapes, "metadata", said)


def is_matrix(tensor: Tensor, order: Sequence[int]) -> bool | None:
    """Whether a source of two axes, standing in this order, is the weight's matrix `[out, in]`; None where unknown."""
    if tensor.turned is None or len(order) != 2:
        return None
    turned = tensor.turned()
    return None if turned is None else (tuple(order) == (0, 1)) != turned
