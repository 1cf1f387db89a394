"""The page in a real browser, at the width of a desk and of a phone, light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dp2bench.reports.report import write_report

from .synthetic import METHODS, write_many

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM") or next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = write_many(tmp_path_factory.mktemp("browser") / "run")
    return next(p for p in write_report(run, formats=["html"])).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH, and CHROMIUM names none")
    with api.sync_playwright() as playwright:
        # a container's root user has no sandbox; the page is ours
        quiet = ["--disable-gpu", "--disable-quic", "--disable-sync"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *quiet])
        yield started
        started.close()


@pytest.fixture(
    scope="module",  # drawing the charts takes longer than the tests
    params=[(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.goto(address)
    opened.wait_for_selector("html[data-ready]", timeout=60_000)
    yield opened
    context.close()
    assert said == []
    assert [url for url in asked if url != address and not url.startswith("data:")] == []


TABLE = "#passersby-reid-market1501-reid table.sortable"


def column(page: Any, index: int, table: str = f"{TABLE} >> nth=0") -> list[str]:
    return page.locator(table).evaluate(
        "(table, i) => [...table.tBodies[0].rows].map((row) => row.cells[i].firstChild.textContent.trim())",
        index,
    )


def test_nothing_is_wider_than_the_window(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for chart in page.locator(".plot").all():
        assert chart.evaluate("e => e.scrollWidth <= e.clientWidth + 1")


def test_every_chart_is_drawn_and_described(page):
    for plot in page.locator("[data-spec]").all():
        assert plot.locator("svg.marks").count() == 1
        assert plot.get_attribute("role") == "graphics-document"
        assert plot.get_attribute("aria-label")
        assert plot.locator("svg path").count() > 2


def test_tables_sort_by_click_and_by_key(page):
    before = column(page, 0)
    head = page.locator(TABLE).first.locator("thead tr:last-child th").nth(2)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(text.split()[0]) for text in column(page, 2)]
    assert values == sorted(values)
    assert column(page, 0) == before[::-1]
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, 0) == before


def test_the_first_screen_holds_people_verdicts_and_scores(page):
    table = page.locator("#overview table")
    assert page.locator("#overview .scroll").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert page.locator("#overview tbody tr").first.bounding_box()["y"] < 420
    assert (
        table.locator("tbody .verdict")
        .all_text_contents()[-1]
        .strip()
        .startswith("Hides identity: the attacker of market1501-reid reaches 2.5 % mAP")
    )
    assert table.locator("tbody img").count() >= 2 * len(METHODS)
    for image in table.locator("tbody tr").first.locator("img").all():
        assert image.evaluate("e => e.complete && e.naturalWidth > 0")
    wide = page.viewport_size["width"] > 560
    title = "passersby-reid: market1501-reid, clear-anonymized.mAP"
    assert table.locator(f'th[title^="{title}"]').is_visible() == wide
    if not wide:
        return
    failed = table.locator("th", has_text="AP ↑").get_by_role("button")
    for _ in range(2):
        failed.press("Space")
        assert column(page, 3, "#overview table")[-1] == "error"  # what is no number stays below, up or down


def test_the_sections_list_stays_and_marks_what_is_read(page):
    page.locator("#provenance").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('provenance').scrollIntoView()")
    page.wait_for_function("document.querySelector('nav [aria-current]').hash === '#provenance'")
    assert 0 <= page.locator("nav").bounding_box()["y"] < 5
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_function("document.querySelector('nav [aria-current]').hash === '#overview'")


def test_axes_are_called_what_is_chosen(page):
    plot = page.locator('[data-spec="privacy-utility"]')
    options = plot.locator("select").last.locator("option").all_text_contents()
    for chosen in options[:2]:
        plot.locator("select").last.select_option(chosen)
        plot.locator("svg .mark-text.role-axis-title").get_by_text(chosen).wait_for()


def test_before_and_after_by_keyboard_and_by_choice(page):
    box = page.locator("[data-compare]").first
    stage, slider = box.locator(".stage"), box.get_by_role("slider")
    assert stage.evaluate("e => e.style.getPropertyValue('--share')") == "50%"
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert stage.evaluate("e => e.style.getPropertyValue('--share')") == "55%"
    assert slider.get_attribute("aria-valuetext") == "55 % clear"
    under = box.locator('[data-role="under"]')
    first = under.get_attribute("src")
    box.get_by_label("Right").select_option("blur")
    assert stage.get_attribute("data-right") == "blur"
    assert under.get_attribute("src") != first
    button = box.locator('button[data-method="pixelate-8"][data-picture="3"]')
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert under.get_attribute("src") == button.locator("img").get_attribute("src")
    area = stage.bounding_box()
    stage.scroll_into_view_if_needed()
    stage.click(position={"x": area["width"] * 0.25, "y": area["height"] / 2})
    assert stage.evaluate("e => parseInt(e.style.getPropertyValue('--share'))") in range(24, 27)


def test_a_choice_of_score_redraws_the_chart(page):
    plot = page.locator('[data-spec="passersby-reid-market1501-reid-scores"]')
    assert plot.locator("svg").get_by_text("clear-anonymized.mAP").count() == 1
    plot.locator("select").select_option("clear-anonymized.rank-1")
    plot.locator("svg").get_by_text("clear-anonymized.rank-1").wait_for()


def test_text_can_be_read(page):
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) where text stands on the page or on a card."""
    ratio = page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const light = (name) => {
            canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
              .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const contrast = (a, b) => {
            const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
            return (x + 0.05) / (y + 0.05);
          };
          const found = {};
          for (const text of ["--text", "--muted", "--accent", "--right", "--wrong", "--warn"])
            for (const ground of ["--page", "--card"]) found[text + ground] = contrast(text, ground);
          found.warning = contrast("--warn", "--warn-page");
          for (let i = 1; i <= 6; i++) found["series" + i] = 1.5 * contrast(`--series-${i}`, "--card"); // 3 to 1 for graphics
          return found;
        }"""
    )
    assert {name: value for name, value in ratio.items() if value < 4.5} == {}


def test_without_scripts_every_number_is_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(address)
    assert opened.locator("#overview tbody tr").count() == 9
    context.close()


def test_a_run_of_one_method_has_a_page_too(browser, tmp_path: Path):
    run = write_many(tmp_path / "one", ("blur",))
    context = browser.new_context()
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.goto(write_report(run, formats=["html"])[0].as_uri())
    opened.wait_for_selector("html[data-ready]", timeout=60_000)
    assert said == []
    context.close()
