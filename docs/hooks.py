"""Pages of the site that have their place elsewhere in the repository: benchmarks, models, changes."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "benchmarks/README.md": "project/benchmarks.md",
    "models/README.md": "project/models.md",
    "CHANGELOG.md": "project/changes.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add them."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=moved(source, page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from docs/ to what is outside of it lead to where that is in the site."""
    uri = page.file.src_uri
    return markdown if uri in ELSEWHERE.values() else relinked(markdown, f"docs/{uri}", uri)


def moved(source: str, page: str) -> str:
    """The text, its links from its new place."""
    return relinked((ROOT / source).read_text(encoding="utf-8"), source, page)


def relinked(markdown: str, source: str, page: str) -> str:
    """Links that lead out of docs/, for the place of `page`; other files keep their name only."""
    here = str(PurePosixPath(page).parent)

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        place = normpath(PurePosixPath(source).parent / target)
        if place.startswith("docs/"):
            return f"[{text}]({relpath(place.removeprefix('docs/'), here)}{anchor})"
        if place in ELSEWHERE:
            return f"[{text}]({relpath(ELSEWHERE[place], here)}{anchor})"
        return text

    return re.sub(r"\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
