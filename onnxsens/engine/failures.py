"""What ONNX Runtime says when it refuses a model or a run, turned into what a user can act on.

Its messages are free text that changes between versions: what none of the patterns knows is passed on as it is, on
one line. The patterns are those of 1.24 to 1.31.
"""

import re
from collections.abc import Callable

from onnxsens.engine.runtime import one_line, runtime
from onnxsens.model import Model
from onnxsens.model.interface import operand_types

LONGEST_NAME = 100
BUILT_IN = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
NEWEST_IR = r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"


def newest_ir(error: BaseException) -> int | None:
    """The newest IR version that the runtime takes, where `error` refuses a model for having a newer one."""
    found = re.search(NEWEST_IR, str(error))
    return int(found[2]) if found else None


def explained(error: BaseException, model: Model, provider: str) -> str:
    """Why it failed and what to do, on one line.

    Args:
        error: whatever came out of native code.
        provider: the execution provider that the model should run on.
    """
    if isinstance(error, UnicodeDecodeError):
        return "a name in the model is not UTF-8, so its reason cannot be shown; export the model with plain names"
    text = one_line(error, longest=None)
    for pattern, say in KNOWN:
        found = pattern.search(text)
        if found:
            return say(found, model, provider)
    return one_line(error)


def version() -> str:
    """`onnxruntime 1.31.1`."""
    return f"onnxruntime {runtime().__version__}"


def part(found: re.Match[str], name: str) -> str:
    """A name out of the model, short enough to leave room for the rest."""
    return found[name] if len(found[name]) <= LONGEST_NAME else found[name][: LONGEST_NAME - 3] + "..."


def operator_of(found: re.Match[str]) -> str:
    """`operator 'Conv' of domain 'ai.onnx'`."""
    return f"operator '{part(found, 'operator')}' of domain '{part(found, 'domain') or 'ai.onnx'}'"


def newer_opset(found: re.Match[str], model: Model, provider: str) -> str:
    """The opset is one that this runtime does not know yet."""
    have, domain, most = found.groups()
    return (
        f"the model is opset {have} of {domain}, and {version()} takes up to {most}; "
        f"export it with opset {most}, or install a newer onnxruntime"
    )


def newer_ir(found: re.Match[str], model: Model, provider: str) -> str:
    """Only for files that we cannot write again; a working copy is given an older version."""
    have, most = found.groups()
    return f"the model is IR version {have}, and {version()} takes up to {most}; install a newer onnxruntime"


def no_such_operator(found: re.Match[str], model: Model, provider: str) -> str:
    """A domain of nobody's, or of ours but not in this version."""
    domain = found["domain"]
    if domain in BUILT_IN:
        since = {entry.domain: entry.version for entry in model.proto.opset_import}.get(domain, "?")
        remedy = f"the model imports opset {since} of it; check the operator's name, or install a newer onnxruntime"
    else:
        remedy = "give its library with --custom-op-lib"
    return f"{operator_of(found)} has no kernel in {version()}; {remedy}"


def not_in_opset(found: re.Match[str], model: Model, provider: str) -> str:
    """The operator does not exist in the opset that the model imports."""
    return (
        f"{operator_of(found)} does not exist in opset {found['opset']} (node '{part(found, 'node')}'); "
        "export the model again, with the opset that has it"
    )


def not_imported(found: re.Match[str], model: Model, provider: str) -> str:
    """A node is of a domain that the model does not list."""
    return (
        f"{operator_of(found)} is of a domain that the model does not import; "
        "export it again, or give the library of a custom operator with --custom-op-lib"
    )


def no_kernel(found: re.Match[str], model: Model, provider: str) -> str:
    """The operator exists, and this provider has no kernel of it for these types."""
    operator, node = found["operator"], found["node"]
    types = ", ".join(operand_types(model.proto.graph, operator, node))
    named = f" (node '{part(found, 'node')}')" if node else ""
    return (
        f"operator '{part(found, 'operator')}' of opset {found['opset']}{named} has no kernel for "
        f"{types or 'its types'} on {provider} in {version()}; "
        "export the model in float32, or choose another provider with --providers"
    )


def wrong_type(found: re.Match[str], model: Model, provider: str) -> str:
    """An operand is of a type that the operator is not defined for."""
    return (
        f"operator '{part(found, 'operator')}' (node '{part(found, 'node')}') does not take {part(found, 'type')} for "
        f"'{part(found, 'input')}'; export the model with a type that it takes"
    )


def failed_in_a_node(found: re.Match[str], model: Model, provider: str) -> str:
    """A kernel gave up."""
    return f"operator '{part(found, 'operator')}' (node '{part(found, 'node')}') failed: {found['why']}"


Saying = Callable[[re.Match[str], Model, str], str]
KNOWN: tuple[tuple[re.Pattern[str], Saying], ...] = tuple(
    (re.compile(pattern), say)
    for pattern, say in (
        (r"Opset (\d+) is under development.* support for domain (\S+) is till opset (\d+)", newer_opset),
        (NEWEST_IR, newer_ir),
        (
            r"(?:Fatal error: )?(?P<domain>[^\s:]*):(?P<operator>[^\s:(]+)\(-?\d+\) is not a registered function/op",
            no_such_operator,
        ),
        (
            r'In Node, \("(?P<node>.*?)", (?P<operator>[^,]+), "(?P<domain>.*?)", -?\d+\).*'
            r"No Op registered for \S+ with domain_version of (?P<opset>\d+)",
            not_in_opset,
        ),
        (
            r'In Node, \(".*?", (?P<operator>[^,]+), ".*?", -?\d+\).*'
            r"No opset import for domain '?(?P<domain>[^' ]*)",
            not_imported,
        ),
        (
            r"Could not find an implementation for (?P<operator>[^\s(]+)\((?P<opset>-?\d+)\) "
            r"node with name '(?P<node>.*)'",
            no_kernel,
        ),
        (
            r"Type Error: Type '(?:tensor\()?(?P<type>[^')]*)\)?' of input parameter \((?P<input>.*?)\) "
            r"of operator \((?P<operator>.*?)\) in node \((?P<node>.*?)\) is invalid",
            wrong_type,
        ),
        (
            r"returned while running (?P<operator>\S+) node\. Name:'(?P<node>.*?)' Status Message: (?P<why>.{1,300})",
            failed_in_a_node,
        ),
    )
)
