"""The pages in notebooks/ and the rendered docstrings: what they name is there, and settings in them are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import taskpgm as tp
from taskpgm.commands import COMMANDS
from taskpgm.config import RunConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "notebooks").glob("*.md"))
INLINE = re.compile(r"`([^`]+)`")


def quoted(page: Path) -> list[str]:
    return INLINE.findall(page.read_text())


def test_there_are_pages() -> None:
    assert [page.name for page in PAGES] == ["method_card.md", "which_number.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_files_that_a_page_names_are_there(page: Path) -> None:
    known = {command.__name__ for command in COMMANDS}
    for text in quoted(page):
        if text.startswith("taskpgm "):
            assert text.split()[1] in known, text
        if text.startswith("benchmarks/"):
            assert (ROOT / text).exists(), text


def test_settings_that_a_page_shows_are_taken() -> None:
    shown = [text for page in PAGES for text in quoted(page) if re.match(r"\w+: \{", text)]
    assert len(shown) >= 3
    for text in shown:
        given = {"tasks": ["a", "safety"], "model": {"name": "m"}, "mixture": {"unit": "tokens", "budget": 1000}}
        RunConfig.model_validate(given | yaml.safe_load(text))


def test_the_docstrings_render_with_every_public_name() -> None:
    """As `python -m pdoc taskpgm` shows them."""
    import pdoc

    page = pdoc.pdoc("taskpgm")
    for name in tp.__all__:
        assert f'id="{name}"' in page, name
