"""Who watches a scan: a progress display, or nobody."""

from typing import Protocol


class Observer(Protocol):
    """Somebody who watches."""

    def stage(self, name: str, expected: int) -> None:
        """A stage begins; about so many evaluations are to come."""

    def evaluated(self, what: str, seconds: float) -> None:
        """One evaluation is done and stored."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def detail(self, text: str) -> None:
        """How something is done, for those who want to know."""


class Nobody:
    """Watches nothing."""

    def stage(self, name: str, expected: int) -> None:
        """Ignored."""

    def evaluated(self, what: str, seconds: float) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""

    def detail(self, text: str) -> None:
        """Ignored."""
