"""The page in a real browser: it draws, answers to pointer and keyboard, fits every width, and asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, requests, sized
from simulated_runs import save_decided, told_decisions
from told_mixtures import told_evaluation, told_mixture, told_names

from taskpgm.portrait import Portrait
from taskpgm.report_page import write_page

CASES = ("pairwise", "coverage", "three hundred", "decisions")
TOTAL = "return document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, under hostile names; the pairwise one with an evaluation."""
    made = {}
    decisions = tmp_path_factory.mktemp("decisions")
    made["decisions"] = write_page(save_decided(told_decisions(told_names(18)), decisions / "run"))
    for case in CASES[:3]:
        kind: Any = "coverage" if case == "coverage" else "pairwise"
        folder = tmp_path_factory.mktemp(kind)
        mixture = told_mixture(kind, 300 if case == CASES[2] else 14, solved=case != CASES[2])
        mixture.to_json(folder / "mixture.json")
        if case == "pairwise":
            (folder / "evaluation.json").write_text(json.dumps(told_evaluation(tuple(mixture.weights))))
        made[case] = write_page(folder)
    return made


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def opened(window: Any, page: Path, width: int = 1280, dark: bool = False) -> None:
    """The page at this width; everything that was logged before is forgotten."""
    sized(window, width, dark=dark)
    window.get("about:blank")
    window.get_log("browser")
    requests(window)
    window.get(page.as_uri())
    assert window.execute_script("return document.documentElement.dataset.ready") == "yes"


def keys(window: Any, *names: str) -> None:
    from selenium.webdriver import ActionChains, Keys

    actions = ActionChains(window)
    for name in names:
        actions.send_keys(getattr(Keys, name))
    actions.perform()


def until(window: Any, holds: Callable[[], bool]) -> None:
    """Wait for what the browser does in its own time; fails after five seconds."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(window, 5, poll_frequency=0.05).until(lambda _: holds())


def hover(window: Any, selector: str, x: float | None = None, y: float | None = None) -> str:
    """The tooltip after pointing at the middle of an element, or so far from its upper left corner."""
    place = window.execute_script(
        "const node = document.querySelector(arguments[0]); node.scrollIntoView({block: 'center'});"
        "const box = node.getBoundingClientRect(); return [box.x, box.y, box.width, box.height];",
        selector,
    )
    left, top, width, height = place
    at = {"x": left + (width / 2 if x is None else x), "y": top + (height / 2 if y is None else y)}
    window.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    window.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **at})
    return tip(window)


def tip(window: Any) -> str:
    script = "const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.innerText"
    return str(window.execute_script(script))


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_logged_nothing_asked_for_and_no_name_acts(window: Any, pages: dict[str, Path], case: str) -> None:
    opened(window, pages[case])
    assert window.get_log("browser") == []
    assert [url for url in requests(window) if not url.startswith("data:")] == [pages[case].as_uri()]
    assert window.title == "How much of each task"
    assert window.execute_script("return document.querySelectorAll('main img, main [onload], main script').length") == 0


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_wider_than_the_window(window: Any, pages: dict[str, Path], case: str, width: int) -> None:
    opened(window, pages[case], width)
    assert window.execute_script(TOTAL) <= width
    window.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert window.execute_script(TOTAL) <= width
    right = "(each) => each.getBoundingClientRect().right"
    ends = window.execute_script(f"return Array.from(document.querySelectorAll('svg[role=img], canvas'), {right})")
    assert max(ends) <= width


def test_pointing_at_a_pair_tells_its_exact_value(window: Any, pages: dict[str, Path]) -> None:
    opened(window, pages["coverage"])
    portrait = Portrait(told_mixture("coverage", 14))
    alike = portrait.similarity
    assert alike is not None
    picture = "return document.querySelector('canvas').toDataURL()"
    before = window.execute_script(picture)
    side = window.execute_script("return document.querySelector('canvas').clientWidth")
    told = hover(window, "canvas", side - 5, side - 5)
    last = portrait.order[-1]
    assert float(told.split()[-1]) == pytest.approx(alike[1][last, last], rel=1e-5)
    window.execute_script("document.querySelector('canvas').focus()")
    keys(window, "TAB", "TAB")
    window.execute_script("document.querySelector('canvas').focus({focusVisible: true})")
    keys(window, "ARROW_DOWN", "ARROW_DOWN", "ARROW_RIGHT")
    row, column = portrait.order[2], portrait.order[1]
    assert float(tip(window).split()[-1]) == pytest.approx(alike[1][row, column], rel=1e-5)
    assert window.execute_script("return document.getElementById('live').textContent").strip() == tip(window).strip()
    keys(window, "ESCAPE")
    assert tip(window) == ""
    window.execute_script("document.querySelector('canvas').blur()")
    assert window.execute_script(picture) == before  # going through the cells leaves no trace


def test_bars_tell_their_weight_to_pointer_and_keyboard(window: Any, pages: dict[str, Path]) -> None:
    opened(window, pages["pairwise"])
    weights = np.sort(Portrait(told_mixture("pairwise", 14)).weights)[::-1]
    assert f"weight {weights[0]:.2%}" in hover(window, "#chart-mixture .hit").replace(" %", "%")
    window.execute_script("document.querySelector('#chart-mixture svg').focus({focusVisible: true})")
    keys(window, "ARROW_DOWN", "ARROW_DOWN")
    assert f"weight {weights[2]:.2%}" in tip(window).replace(" %", "%")
    keys(window, "END")
    assert f"weight {weights[-1]:.2%}" in tip(window).replace(" %", "%")


def test_every_chart_answers_to_the_keyboard(window: Any, pages: dict[str, Path]) -> None:
    for case, charts in (
        ("pairwise", ("map", "path", "energy", "evaluation")),
        ("coverage", ("curves",)),
        ("decisions", ("decisions", "expected")),
    ):
        opened(window, pages[case])
        for chart in charts:
            window.execute_script(
                f"document.querySelector('#chart-{chart} svg[role=img]').focus({{focusVisible: true}})"
            )
            keys(window, "ARROW_RIGHT")
            assert tip(window), chart
            window.execute_async_script("scrollBy(0, 3); requestAnimationFrame(() => setTimeout(arguments[0], 30))")
            assert tip(window), f"{chart}: scrolled away"
            assert window.execute_script("return document.querySelector('svg .active') !== null"), chart


def column(window: Any, place: int) -> list[str]:
    rows = "document.querySelector('#table-mixture').tBodies[0].rows"
    script = f"return Array.from({rows}, (row) => row.cells[arguments[0]].innerText)"
    return list(window.execute_script(script, place))


def test_tables_sort_by_click_and_by_key(window: Any, pages: dict[str, Path]) -> None:
    opened(window, pages["pairwise"])
    button = window.find_element("css selector", "#table-mixture th:nth-child(2) button")
    heading = "return document.querySelector('#table-mixture th:nth-child(2)').getAttribute('aria-sort')"
    before = [float(text.rstrip("%")) for text in column(window, 1)]
    assert before != sorted(before)
    assert window.execute_script(heading) is None
    button.click()
    assert [float(text.rstrip("%")) for text in column(window, 1)] == sorted(before, reverse=True)
    assert window.execute_script(heading) == "descending"
    window.execute_script("arguments[0].focus()", button)
    keys(window, "ENTER")
    assert [float(text.rstrip("%")) for text in column(window, 1)] == sorted(before)
    assert window.execute_script(heading) == "ascending"
    keys(window, "SPACE")
    assert window.execute_script(heading) == "descending"
    window.find_element("css selector", "#table-mixture th:nth-child(1) button").click()
    assert window.execute_script(heading) is None


def test_missing_numbers_sort_last_both_ways(window: Any, pages: dict[str, Path]) -> None:
    opened(window, pages["pairwise"])
    window.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    last = "return document.querySelector('#table-evaluation tbody tr:last-child').cells[6].innerText"
    for _ in range(2):
        window.find_element("css selector", "#table-evaluation th:nth-child(7) button").click()
        assert window.execute_script(last) == "–"


def test_dark_is_dark_and_light_is_light(window: Any, pages: dict[str, Path]) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    corner = (
        "const box = document.querySelector('canvas');"
        "return Array.from(box.getContext('2d').getImageData(box.width - 6, box.height - 40, 1, 1).data)"
    )
    seen = []
    for dark in (False, True):
        opened(window, pages["pairwise"], dark=dark)
        seen.append((window.execute_script(ground), window.execute_script(corner)))
    (light, light_cell), (dark_ground, dark_cell) = seen
    assert light == "rgb(255, 255, 255)"
    assert max(int(part) for part in dark_ground[4:-1].split(",")) < 60
    assert light_cell != dark_cell
    sized(window, 1280, dark=False)  # the other way while the page is open: the canvas is drawn again
    until(window, lambda: window.execute_script(corner) == light_cell)


def test_all_tasks_can_be_shown(window: Any, pages: dict[str, Path]) -> None:
    opened(window, pages["three hundred"])
    bars = "return document.querySelectorAll('#chart-mixture .bar').length"
    assert window.execute_script(bars) < 100
    button = window.find_element("css selector", "#chart-mixture > button")
    window.execute_script("arguments[0].click()", button)
    assert window.execute_script(bars) == 300
    assert button.get_attribute("aria-expanded") == "true"


def test_the_matrix_and_its_table_change_together(window: Any, pages: dict[str, Path]) -> None:
    opened(window, pages["pairwise"])
    choose = (
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change')); return document.querySelector('#table-one-task tbody').textContent"
    )
    first = window.execute_script(choose, "one-task", "3")
    second = window.execute_script(choose, "matrix", "1")
    assert first != second
    divergence = told_mixture("pairwise", 14).details["divergence"][3]
    shown = window.execute_script(
        "const cells = document.querySelectorAll('#table-one-task td:nth-child(2)');"
        "return Array.from(cells, (cell) => Number(cell.dataset.value))"
    )
    assert sorted(shown) == pytest.approx(sorted(divergence), rel=1e-5)


def test_a_screen_reader_finds_its_way(window: Any, pages: dict[str, Path]) -> None:
    for case in ("pairwise", "coverage", "decisions"):
        opened(window, pages[case])
        count = "return document.querySelectorAll(arguments[0]).length"
        assert window.execute_script(count, "html[lang=en]") == 1
        for landmark in ("header", "nav[aria-label]", "main", "footer", "h1"):
            assert window.execute_script(count, landmark) == 1, landmark
        assert window.execute_script(count, "section:not([aria-labelledby])") == 0
        assert window.execute_script(count, "table:not(:has(caption))") == 0
        assert window.execute_script(count, "th:not([scope])") == 0
        assert window.execute_script(count, "svg[role=img]:not(:has(title))") == 0
        assert window.execute_script(count, "figure svg:not([role=img]):not([aria-hidden])") == 0
        assert window.execute_script(count, "canvas:not([aria-label])") == 0
        assert window.execute_script(count, "select:not([id]), input:not([id])") == 0
        levels = window.execute_script(
            "return Array.from(document.querySelectorAll('h1,h2,h3,h4'), (h) => Number(h.tagName[1]))"
        )
        assert levels[0] == 1
        assert all(later <= earlier + 1 for earlier, later in pairwise(levels)), levels


@pytest.mark.parametrize("width", [1280, 400])
def test_no_label_is_cut_off(window: Any, pages: dict[str, Path], width: int) -> None:
    script = (
        "const found = [];"
        "for (const svg of document.querySelectorAll('svg[role=img]')) {"
        "  const room = svg.getBoundingClientRect();"
        "  for (const text of svg.querySelectorAll('text')) {"
        "    const box = text.getBoundingClientRect();"
        "    if (box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1)"
        "      found.push(svg.parentElement.parentElement.id + ': ' + text.textContent.toWellFormed());"
        "  }"
        "}"
        "return found;"
    )
    for case in CASES:
        opened(window, pages[case], width)
        assert window.execute_script(script) == [], case
