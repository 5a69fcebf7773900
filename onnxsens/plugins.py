"""Where plug-ins are found: one explicit table of our own per kind, entry points for everybody else's.

A table maps a name to `module:attribute`, imported on first use, so that listing names costs no import.
Outsiders register under the entry-point group `onnxsens.<kind>`; a name of ours cannot be taken over.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from onnxsens.errors import SetupError, UsageError
from onnxsens.usercode import quiet

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The plug-ins of one kind, by name.

    Args:
        kind: the plural that names the entry-point group, such as `metrics`.
        noun: what one is called in messages, such as `metric`.
        table: our own, name to `module:attribute`.
    """

    kind: str
    noun: str
    table: Mapping[str, str]

    @cached_property
    def _foreign(self) -> dict[str, EntryPoint]:
        found = {point.name: point for point in entry_points(group=f"onnxsens.{self.kind}")}
        return {name: point for name, point in found.items() if name not in self.table}

    def names(self) -> list[str]:
        """Every name, ours first, each part sorted."""
        return sorted(self.table) + sorted(self._foreign)

    def get(self, name: str) -> T:
        """The plug-in called `name`.

        Raises:
            UsageError: there is none; the message names the nearest one and all others.
            SetupError: it is somebody else's, and does not load.
        """
        if name in self.table:
            module, _, attribute = self.table[name].partition(":")
            return cast(T, getattr(import_module(module), attribute))
        if name in self._foreign:
            return cast(T, loaded(self._foreign[name], self.noun))
        raise UsageError(unknown(self.noun, name, self.names()))


def sound(registry: Registry[T]) -> tuple[dict[str, T], list[str]]:
    """All plug-ins of a kind that load, ours first, and what is wrong with the others."""
    found: dict[str, T] = {}
    broken = []
    for name in registry.names():
        try:
            found[name] = registry.get(name)
        except SetupError as error:
            broken.append(str(error))
    return found, broken


def loaded(point: EntryPoint, noun: str) -> Any:
    """What somebody else registered.

    Raises:
        SetupError: it does not load.
    """
    try:
        with quiet():
            return point.load()
    except (Exception, SystemExit) as error:
        owner = point.dist.name if point.dist else point.value
        text = " ".join(str(error).split())[:200]
        raise SetupError(
            f"{noun} '{point.name}' of the package '{owner}' does not load: {type(error).__name__}: {text}; "
            "mend or uninstall it"
        ) from error


def unknown(noun: str, name: str, known: list[str]) -> str:
    """The message for a name that does not exist: the nearest one, and the list."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {noun} '{name}'; {hint}there are: {', '.join(known)}"
