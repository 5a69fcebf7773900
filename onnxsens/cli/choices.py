"""Names that options take: the nearest one is offered where a name is unknown, and a shell completes them.

What is installed is looked up when a shell asks, and not before: the lists are in packages that take time to import.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from onnxsens.plugins import unknown

if TYPE_CHECKING:
    Choice = click.Choice[str]
else:
    Choice = click.Choice  # no generic in older ones

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

PROVIDERS = ("auto", "cpu", "cuda", "tensorrt")
UPDATES = ("auto", "none", "bias", "batchnorm", "obs", "refit", "sequential", "reconstruct")


class OneOf(Choice):
    """One of a few names; another one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name.

        Raises:
            click.BadParameter: there is none like it.
        """
        if value not in self.choices:
            self.fail(unknown("choice", str(value)[:60], list(self.choices)), param, ctx)
        return str(value)


def among(*names: str) -> Completer:
    """Complete one of these."""
    return completing(lambda: names)


def installed(where: str, *more: str, suffix: str = "") -> Completer:
    """Complete a plug-in's name.

    Args:
        where: `module:table`.
        more: other names.
        suffix: what comes behind a name.
    """

    def names() -> Sequence[str]:
        module, _, table = where.partition(":")
        return [f"{name}{suffix}" for name in (*getattr(import_module(module), table).names(), *more)]

    return completing(names)


def completing(names: Callable[[], Sequence[str]]) -> Completer:
    """Complete what begins like the word so far."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]

    return complete


def files_or(*names: str) -> Completer:
    """Complete a path, or one of these."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in names if incomplete and name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]

    return complete


METRICS = installed("onnxsens.metrics:metrics", "top5")
LIMITS = installed("onnxsens.metrics:metrics", "top5", suffix="=")
TARGETS = installed("onnxsens.targets:targets")
PICKERS = installed("onnxsens.plan.pickers:pickers")
SEARCHES = installed("onnxsens.scan.searches:searches")
TECHNIQUES = installed("onnxsens.techniques.criteria:criteria", "bits", "auto", "magnitude:2:4")
EXPORTERS = installed("onnxsens.frameworks.exporters:exporters")
