"""Help with options under headings, so that a long list can be read."""

import click

from onnxsens.cli.config import TYPED, key_of

OTHERS = "Options"
# Keys of options under each heading, which come in this order; what is in none is under the first.
HEADINGS: dict[str, tuple[str, ...]] = {
    OTHERS: (),
    "Goal": ("max-drop", "sparsity", "size", "macs", "pareto", "confidence", "iterative"),
    "Limits on weights": ("min", "max", "pin", "freeze", "skip", "target", "weights"),
    "Samples": ("data", "max-data-bytes", "scale", "mean", "std", "dim", "holdout", "seed"),
    "What is measured": (
        *("metric", "search-metric", "scan-samples", "technique", "update", "search", "levels", "tolerance"),
        *("control", "predict", "picker", "step", "resolution", "exact", "output", "class-axis"),
    ),
    "How it runs": (
        *("providers", "batch-size", "threads", "jobs", "cache-memory", "custom-op-lib", "in-process", "patience"),
        *("worker-memory", "time-limit", "dry-run"),
    ),
    "Files": (
        *("out", "checkpoint", "model", "map", "by-name", "packed", "accept-guesses", "force", "max-model-bytes"),
        *("strict-links", "accept-changed"),
    ),
    "Settings and output": ("config", "save-config", "verbose", "quiet", "no-color", "json", "debug", "help"),
}


class Grouped(click.Command):
    """A command whose options are listed under headings, and that keeps the words it was called with."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each heading that has options."""
        found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                found[heading_of(param)].append(record)
        for heading, records in found.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def heading_of(param: click.Parameter) -> str:
    """Under which heading an option is."""
    key = key_of(param) if isinstance(param, click.Option) else ""
    return next((heading for heading, keys in HEADINGS.items() if key in keys), OTHERS)
