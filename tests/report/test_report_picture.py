"""The picture of the terminal in the docs."""

import getpass
import re
from pathlib import Path
from xml.etree import ElementTree

from commands import ROOT

PICTURE = ROOT / "docs" / "images" / "terminal.svg"


def test_it_is_small_asks_for_nothing_and_names_no_folder_of_a_machine() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert len(text) < 100_000
    assert not re.search(r"url\(\s*[\"']?http|<script|<image|@import|href=", text)
    assert not any(private in text for private in (str(ROOT), str(Path.home()), f"/{getpass.getuser()}/"))


def test_it_shows_the_readmes_first_command_and_what_that_comes_to() -> None:
    shown = " ".join(re.sub(r"<[^>]+>", " ", PICTURE.read_text(encoding="utf-8")).replace("&#160;", " ").split())
    for word in (
        "auto models/fashion_cnn.onnx",
        "--max-drop accuracy=0.01",
        "verified at 95% confidence",
        "next steps",
    ):
        assert word in shown
