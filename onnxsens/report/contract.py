"""The laws that every report format keeps, as tests for whoever writes one:

    class TestMine(FormatContract):
        @pytest.fixture
        def form(self) -> Format:
            return MINE

        @pytest.fixture
        def made(self) -> Callable[[str], RunRecord]:
            ...  # a run in which every text that a model or a user can set is the given one

Run by pytest, which this module does not import.
"""

import re
from collections.abc import Callable

from onnxsens.report.formats import Format
from onnxsens.results import RunRecord

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "a|b\\|c`d`*e*_f_[g](javascript:alert(1))",
    "=1+1",
    "$\\frac{1}$ {{7*7}} %s",
    "\n# title\r\n| a | b |",
    "naïve ☂ 𝒳 \u2028 \u202e \x85 \x0c \x00 \x1b[2J",
    "lone \ud800 surrogate",
    "w" * 5000,
    "",
)
# Of text that anybody may see: what moves the cursor or turns the line around. Line breaks are the format's own.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class FormatContract:
    """Subclass it with fixtures `form` and `made`."""

    def test_it_has_a_name_and_suffixes(self, form: Format) -> None:
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", form.name)
        assert form.suffixes and all(re.fullmatch(r"\.[a-z0-9.]+", suffix) for suffix in form.suffixes)

    def test_the_same_run_gives_the_same_bytes(self, form: Format, made: Callable[[str], RunRecord]) -> None:
        assert form.content(made("plain")) == form.content(made("plain"))

    def test_another_run_gives_others(self, form: Format, made: Callable[[str], RunRecord]) -> None:
        assert form.content(made("plain")) != form.content(made("other"))

    def test_it_takes_any_name(self, form: Format, made: Callable[[str], RunRecord]) -> None:
        for hostile in HOSTILE:
            assert form.content(made(hostile))

    def test_folders_of_this_machine_are_not_in_it(self, form: Format, made: Callable[[str], RunRecord]) -> None:
        content = form.content(made("raised in /home/ann/work: no /home/ann/work/x"))
        assert b"/home/ann" not in content
