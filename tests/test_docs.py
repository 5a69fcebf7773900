"""The documentation: blocks run as they are shown, links lead somewhere, generated pages are what the code gives.

What a fence says of a block in Markdown:

- `sh` and `python` run, in the order of the page, in a folder beside the shipped models;
- `python title="quality.py"` is written to that file;
- with a title that begins with `needs ` or `with the files of ` it needs more than there is: see `ELSEWHERE`. Those of
  other frameworks run in environments of theirs, by `python -m tests.frameworks`;
- `py`, on the page of plug-ins, is a file of tests; how to write one of every kind is run by `test_docs_plug_ins.py`.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from commands import ROOT
from pages import DOCS, blocks, prepare, run

from onnxsens.cli import COMMANDS

PAGES = [
    DOCS / "tutorial.md",
    *sorted(page for page in (DOCS / "how-to").glob("*.md") if page.name != "write-a-plug-in.md"),
    *sorted((DOCS / "explanation").glob("*.md")),
]
ELSEWHERE = {
    ("how-to/from-jax.md", "needs JAX, Flax and optax"),
    ("how-to/from-jax.md", "needs JAX, Flax, optax and jax2onnx"),
    ("how-to/from-jax.md", "with the files of step 1"),
    ("how-to/from-jax.md", "with the files of step 2"),
    ("how-to/from-keras.md", "needs Keras and TensorFlow"),
    ("how-to/from-keras.md", "with the files of step 1"),
    ("how-to/from-keras.md", "with the files of step 3"),
    ("how-to/from-paddle.md", "needs Paddle and paddle2onnx"),
    ("how-to/from-paddle.md", "needs Paddle and safetensors"),
    ("how-to/from-paddle.md", "with the files of step 1"),
    ("how-to/gpus.md", "needs a GPU"),
}
ELSEWHERE_SAID = ("needs ", "with the files of ")
SHOWN_ONLY = {"text", "json", "toml", "yaml"}


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.fixture(scope="session")
def generate() -> Iterator[object]:
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate")
    sys.path.remove(str(DOCS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_runs_in_order(page: Path, folder: Path) -> None:
    for language, title, content in blocks(page):
        if language in SHOWN_ONLY or title.startswith(ELSEWHERE_SAID):
            continue
        if title:
            (folder / title).write_text(content)
        else:
            run(folder, language, content)


def test_blocks_that_do_not_run_here_are_few_and_known() -> None:
    found = {
        (name_of(page), title) for page in PAGES for _, title, _ in blocks(page) if title.startswith(ELSEWHERE_SAID)
    }
    assert found == ELSEWHERE
    for page in {page for page, title in found if title != "needs a GPU"}:
        kind = page.removeprefix("how-to/from-").removesuffix(".md")
        assert page in (ROOT / "tests" / "frameworks" / f"test_page_{kind}.py").read_text().replace('" / "', "/")


def test_every_fence_is_of_a_known_kind_and_closed() -> None:
    for page in PAGES:
        text = page.read_text()
        assert text.count("\n```") == 2 * len(blocks(page)), page
        known = SHOWN_ONLY | {"sh", "python"}
        assert {language for language, _, _ in blocks(page)} <= known, page


def test_blocks_that_need_other_frameworks_are_python(folder: Path) -> None:
    for page in PAGES:
        for language, _, content in blocks(page):
            if language == "python":
                compile(content, str(page), "exec")


@pytest.mark.parametrize("number", range(5))
def test_the_plug_ins_of_the_docs_keep_the_laws(number: int, folder: Path) -> None:
    files = [content for language, _, content in blocks(DOCS / "plug-ins.md") if language == "py"]
    assert len(files) == 5
    (folder / "test_plug_in.py").write_text(files[number])
    run(folder, "sh", f'"{sys.executable}" -m pytest -q -p no:cacheprovider test_plug_in.py')


def test_generated_pages_are_what_the_code_gives(generate: object) -> None:
    stale: Callable[[], list[str]] = generate.stale  # type: ignore[attr-defined]
    assert stale() == [], "run python docs/generate.py"


def test_every_command_has_a_section_with_an_example() -> None:
    reference = (DOCS / "reference" / "cli.md").read_text()
    for name in COMMANDS:
        section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", reference, re.DOTALL | re.MULTILINE)
        assert section, name
        assert f"\nonnxsens {name} " in section[1].partition("Example:")[2], name


def test_every_command_is_used_by_a_page_that_runs() -> None:
    shown = "\n".join(content for page in PAGES for language, _, content in blocks(page) if language == "sh")
    assert {name for name in COMMANDS if not re.search(rf"\bonnxsens {name}\b", shown)} == set()


def test_every_public_name_and_every_error_is_in_the_reference() -> None:
    import onnxsens
    from onnxsens import errors

    api = (DOCS / "reference" / "api.md").read_text()
    assert [name for name in onnxsens.__all__ if f"\n## `{name}` (" not in api] == []
    described = (DOCS / "reference" / "errors.md").read_text()
    tree = set(re.findall(r"\w+Error\b", (errors.__doc__ or "").partition("KeyboardInterrupt")[0]))
    assert tree and [name for name in tree if f"`{name}` |" not in described] == []


class Loads(HTMLParser):
    """What a page of the site loads, and where its links lead."""

    LOADED: tuple[tuple[str, str], ...] = (
        ("script", "src"),
        ("img", "src"),
        ("iframe", "src"),
        ("source", "src"),
        ("link", "href"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        for name, key in self.LOADED:
            if tag == name and key in given and given.get("rel") != "canonical":
                self.loaded.append(given[key])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Loads]:
    """The built site; a warning fails the build."""
    pytest.importorskip("mkdocs", reason="pip install -e '.[docs]'")
    pytest.importorskip("material", reason="pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for page in sorted(out.rglob("*.html")):
        found[page] = Loads()
        found[page].feed(page.read_text())
    assert (out / "search" / "search_index.json").stat().st_size > 10_000
    return found


@pytest.mark.slow
class TestTheSite:
    def test_nothing_is_loaded_from_elsewhere(self, site: dict[Path, Loads]) -> None:
        for page, loads in site.items():
            assert [each for each in loads.loaded if re.match(r"(\w+:)?//", each)] == [], page
        for style in next(iter(site)).parent.rglob("*.css"):
            assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", style.read_text()), style

    def test_every_link_and_anchor_leads_somewhere(self, site: dict[Path, Loads]) -> None:
        for page, loads in site.items():
            for link in loads.links:
                if re.match(r"[a-z]+:|//", link) or page.name == "404.html":
                    continue
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                target = target / "index.html" if target.is_dir() else target
                assert target.exists(), f"{page.name} -> {link}"
                if anchor and target in site:
                    assert anchor in site[target].ids | {"__skip"}, f"{page.name} -> {link}"

    def test_every_page_is_in_the_navigation(self, site: dict[Path, Loads]) -> None:
        listed = (ROOT / "mkdocs.yml").read_text()
        assert [name_of(page) for page in DOCS.rglob("*.md") if name_of(page) not in listed] == []
