"""What names say: how well a stored tensor and a parameter go together, where values alone cannot tell."""

import re

from onnxsens.frameworks.matching.normalization import split
from onnxsens.frameworks.matching.tensor import Tensor

NUMBERED = re.compile(r"_\d+$")
NONE, ALIKE, PATH, STATED = 0, 1, 2, 3


def strength(tensor: Tensor, parameter: str, beside: str = "") -> tuple[int, str]:
    """How strongly names link the two, and why; more is better, 0 is not at all.

    Args:
        beside: the parameter of the weight whose output this tensor is added to; empty where there is none.
    """
    if any(parameter in hint.parameters for hint in tensor.hints):
        hint = next(hint for hint in tensor.hints if parameter in hint.parameters)
        return STATED, f"the file says that {hint.function or 'the node'} reads '{parameter}'"
    module = split(parameter)[:-1]
    path = next((hint.path for hint in tensor.hints if module and hint.path and split(hint.path) == module), "")
    found = [
        (STATED, "same name" if tensor.name == parameter else ""),
        (PATH, f"node path '{path}'" if path else ""),
        (PATH, f"beside '{beside}'" if beside and module == split(beside)[:-1] else ""),
    ]
    return next(((rank, why) for rank, why in found if why), by_tokens(tensor, module))


def by_tokens(tensor: Tensor, module: list[str]) -> tuple[int, str]:
    """How strongly a module and the parts of a tensor's name go together."""
    tokens = [token.partition(":")[0] for token in split(tensor.name)]
    if module and contains(tokens, module):
        return PATH, "the same module in its name"
    if module and contains([NUMBERED.sub("", token) for token in tokens], [NUMBERED.sub("", part) for part in module]):
        return ALIKE, "a like module in its name"
    return NONE, ""


def contains(tokens: list[str], module: list[str]) -> bool:
    """Whether the module's parts follow each other somewhere, or all of them but the model's own name do."""
    for wanted in (module, module[1:]):
        if wanted and any(tokens[start : start + len(wanted)] == wanted for start in range(len(tokens))):
            return True
    return False


def clearest(ranked: list[tuple[int, str]]) -> int | None:
    """Which of the candidates is linked more strongly than every other; None where none is."""
    best = max(range(len(ranked)), key=lambda number: ranked[number][0], default=None)
    if best is None or ranked[best][0] == NONE:
        return None
    return best if [rank for rank, _ in ranked].count(ranked[best][0]) == 1 else None
