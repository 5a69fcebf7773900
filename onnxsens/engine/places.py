"""How parts of a model are fed: with arrays where sessions run on the host, with held tensors where they do not.

The one place that knows the difference; whoever runs parts passes on what it was given. On the host, arrays are
faster: binding costs 30 to 100 us a run, and there is nothing to save.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from onnxsens.arrays import AnyArray
from onnxsens.engine.devices import HOLDABLE, HOST, Device, Held, hold
from onnxsens.engine.sessions import Session

Tensor: TypeAlias = AnyArray | Held


class Place(Protocol):
    """Where what parts are fed is kept.

    Attributes:
        holds: whether that is another place than where the data set's batches are.
    """

    holds: bool

    def take(self, values: AnyArray) -> Tensor:
        """An array as it is fed again and again.

        Raises:
            OutOfMemoryError: there is no room.
        """

    def changing(self, name: str, values: AnyArray) -> Tensor:
        """A weight as it is fed; each time with other values, of one type and shape.

        Args:
            values: not written to after this.
        Raises:
            OutOfMemoryError: there is no room.
        """

    def rest(self) -> None:
        """Let go of all weights."""

    def capture(self, session: Session, names: Sequence[str], feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs, to be fed to other sessions."""

    def read(self, session: Session, names: Sequence[str], feed: Mapping[str, Tensor]) -> dict[str, AnyArray]:
        """Outputs, to be looked at."""


class OnHost:
    """Arrays go in and come out."""

    holds = False

    def take(self, values: AnyArray) -> Tensor:
        """The array itself."""
        return values

    def changing(self, name: str, values: AnyArray) -> Tensor:
        """The array itself."""
        return values

    def rest(self) -> None:
        """Nothing is kept."""

    def capture(self, session: Session, names: Sequence[str], feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they come."""
        return dict(self.read(session, names, feed))

    def read(self, session: Session, names: Sequence[str], feed: Mapping[str, Tensor]) -> dict[str, AnyArray]:
        """As they come."""
        arrays = {name: value for name, value in feed.items() if not isinstance(value, Held)}
        return dict(zip(names, session.run(names, arrays), strict=True))


class OnDevice:
    """What is fed stays where sessions run, and only what is read comes back.

    A weight goes there once, and is then overwritten: masks are made on the host, where all levels share one ranking,
    and what a level costs is one copy of the weight.
    """

    holds = True

    def __init__(self, device: Device) -> None:
        self._device = device
        self._weights: dict[str, tuple[Held, AnyArray]] = {}

    def take(self, values: AnyArray) -> Tensor:
        """A copy there; what cannot be held, such as strings, stays here and is fed as it is."""
        return hold(values, self._device) if values.dtype.name in HOLDABLE.values() else values

    def changing(self, name: str, values: AnyArray) -> Tensor:
        """Copied only where these are other values than last time."""
        held, last = self._weights.get(name, (None, None))
        if held is None:
            held = hold(values, self._device)
        elif values is not last:
            held.update(values)
        self._weights[name] = held, values  # `values` is kept, so that no other array can be taken for it
        return held

    def rest(self) -> None:
        """Their memory is given back."""
        self._weights.clear()

    def capture(self, session: Session, names: Sequence[str], feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Left there."""
        return dict(session.run_held([], names, feed)[1])

    def read(self, session: Session, names: Sequence[str], feed: Mapping[str, Tensor]) -> dict[str, AnyArray]:
        """Brought to the host."""
        return dict(zip(names, session.run_held(names, [], feed)[0], strict=True))


def place_of(device: Device, *, held: bool | None) -> Place:
    """Where parts are fed from.

    Args:
        held: whether tensors are held; None decides by the device.
    """
    return OnDevice(device) if (device != HOST if held is None else held) else OnHost()
