"""Who watches a scan: a progress display, or nobody."""

from typing import Protocol, runtime_checkable


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


@runtime_checkable
class PlanObserver(Observer, Protocol):
    """Somebody who also wants to know how far a choice has come; other observers are not told."""

    def best(self, text: str) -> None:
        """The best whole plan so far, of those that were measured; not checked yet."""


def tell_best(observer: Observer, text: str) -> None:
    """Pass it on to whoever wants to know."""
    if isinstance(observer, PlanObserver):
        observer.best(text)


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
