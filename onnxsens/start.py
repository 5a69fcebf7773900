"""Where the command begins: signals first, then all the rest."""

from onnxsens.signals import guard_start


def main() -> None:
    """The console script."""
    guard_start()
    from onnxsens.cli import main as run

    run()
