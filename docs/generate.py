"""Write the reference and the pictures of the explanation from the code that they are about.

    python docs/generate.py          writes docs/reference/*.md
    python docs/generate.py --check  says which of them are not what the code gives, and ends with 1

The pages are kept in the repository, so that they can be read there; a test fails where one is stale.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import making_api  # noqa: E402  (beside this file, which is no package)
import making_cli  # noqa: E402
import making_tables  # noqa: E402

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/api.md": making_api.page,
    "reference/cli.md": making_cli.page,
    "reference/errors.md": making_tables.errors,
    "reference/names.md": making_tables.names,
    "reference/plan-schema.md": making_tables.plan_schema,
    "reference/settings.md": making_cli.settings,
}


def stale() -> list[str]:
    """Pages that are missing, or not what the code gives."""
    return [
        name
        for name, made in PAGES.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != made()
    ]


def main() -> int:
    """Write, or check."""
    if "--check" in sys.argv[1:]:
        old = stale()
        sys.stdout.write("".join(f"stale: docs/{name}; run python docs/generate.py\n" for name in old))
        return 1 if old else 0
    for name, made in PAGES.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
