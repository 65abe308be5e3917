"""The page in a real browser: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from report_runs import HOSTILE, NASTY, regressions

import expandr_ir
from expandr_ir.report.evidence import gather
from expandr_ir.report.page import page_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NAMES = ("chromium", "chromium-browser", "google-chrome")


def without(reason: str) -> None:
    """Skips, or fails where a browser was installed for these tests."""
    if os.environ.get("EXPANDR_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        without(f"playwright is not installed ({error}): pip install '.[test]'")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        without(f"none of {', '.join(NAMES)} is on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_text(page_of(gather(regressions(folder))), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, report):
    """Opens the page in a window of its own; nothing may be logged or asked of a network."""
    contexts, faults = [], []

    def run(*, scheme="light", width=1400, address="", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.goto(f"{report.as_uri()}{address}")
        return page

    yield run
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_it_opens_and_nothing_sticks_out(opened, scheme, width):
    page = opened(scheme=scheme, width=width)
    assert page.title() == "Tiny & <small>: 6 conditions"
    page.get_by_role("button", name="Open all").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("details.condition[open]").count() == 6
    page.get_by_role("button", name="Close all").click()
    assert page.locator("details.condition[open]").count() == 0


def test_the_last_metric_is_on_a_screen_of_1300_pixels(browser, tmp_path):
    recorded = Path(__file__).parents[2] / "docs" / "reproductions" / "results.json"
    path = tmp_path / "report.html"
    path.write_text(page_of(gather(recorded, collections=["scifact", "cacm", "dl19-pool"])), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1285, "height": 900})  # less a scroll bar
    page.goto(path.as_uri())
    tables = page.locator(".scroll:has(> .matrix)")
    assert tables.count() >= 6
    assert tables.evaluate_all("them => them.every(it => it.scrollWidth <= it.clientWidth)")
    page.close()


def test_every_link_leads_somewhere(opened):
    page = opened()
    addresses = page.eval_on_selector_all(
        "a[href]", "links => [...new Set(links.map(link => link.getAttribute('href')))]"
    )
    assert len(addresses) > 10
    for address in addresses:
        page.evaluate("address => { location.hash = address }", address)
        if address.startswith("#topic/"):
            page.wait_for_selector("#topic h2")
            assert page.locator("#topic .ranking").count() >= 1
        else:
            page.wait_for_selector("#main:not([hidden])")
            assert page.evaluate("address => document.getElementById(address.slice(1)) !== null", address)
    page = opened()
    page.locator(".matrix").get_by_role("link", name="worse").click()
    assert page.locator("details.condition[open] summary .title").all_inner_texts() == ["worse"]


@pytest.mark.parametrize("clipboard", [True, False])
def test_a_copied_command_runs(opened, tmp_path, clipboard):
    page = opened(permissions=["clipboard-read", "clipboard-write"] if clipboard else [])
    if not clipboard:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator("details.condition summary").first.click()
    button = page.locator("details.condition").first.locator(".copy").first
    button.click()
    page.wait_for_function("button => button.textContent !== 'Copy'", arg=button.element_handle())
    assert page.locator("#said").inner_text() == "Command copied"
    command = page.evaluate("navigator.clipboard.readText()") if clipboard else page.evaluate("String(getSelection())")
    shim = tmp_path / "expandr"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m expandr_ir "$@"\n')
    shim.chmod(0o755)
    package = str(Path(expandr_ir.__file__).parents[1])
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": package},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0.4583" in done.stdout


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme(opened, scheme):
    page = opened(scheme=scheme)

    def dark():
        return page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"

    button = page.locator("#theme")
    assert (button.inner_text(), dark()) == ("Theme: auto", scheme == "dark")
    button.click()
    assert (button.inner_text(), dark()) == ("Theme: light", False)
    button.click()
    assert (button.inner_text(), dark()) == ("Theme: dark", True)
    page.reload()
    assert (page.locator("#theme").inner_text(), dark()) == ("Theme: dark", True)


def test_a_topic_in_full(opened):
    page = opened()
    page.locator("details.condition").nth(1).locator("> summary").click()
    page.locator("details.condition").nth(1).locator(".helped a", has_text="topic 2").click()
    view = page.locator("#topic")
    page.locator("#main").wait_for(state="hidden")
    assert view.locator("h2").inner_text() == f"topic 2 {HOSTILE}"
    assert view.locator(".texts li").nth(0).inner_text() == f"{HOSTILE} 2"
    assert "written, and empty" in view.locator(".texts li").nth(1).inner_text()
    before, after = view.locator(".ranking").all()
    assert [row.split("\t")[0].strip() for row in before.locator("tbody tr").all_inner_texts()][:2] == ["1", "2"]
    assert "✓ relevant (1)" in before.locator("tbody tr").nth(1).inner_text()
    assert "✓ relevant (1)" in after.locator("tbody tr").nth(0).inner_text()
    assert "↑ 1" in after.locator("tbody tr").nth(0).inner_text()
    assert "not judged" in after.locator("tbody tr").nth(1).inner_text()
    assert "0.5000" in view.locator("h3", has_text="Before").inner_text()
    assert "1.0000" in view.locator("h3", has_text="After").inner_text()
    view.locator("select").select_option("worse")
    page.wait_for_function("document.querySelector('#topic select').value === 'worse'")
    assert page.url.endswith("/worse")
    view.get_by_role("link", name="Next topic").click()
    page.wait_for_function("!location.hash.includes('/2/')")
    page.go_back()
    page.wait_for_function("location.hash.includes('/2/')")
    view.get_by_role("link", name="All results").click()
    page.wait_for_selector("#main:not([hidden])")
    view.wait_for(state="hidden")


def test_the_list_of_topics(opened):
    page = opened()
    page.locator(".topic-list summary").click()
    rows = page.locator(".topic-table tbody tr")
    assert rows.count() == 4
    rows.nth(0).locator("a").click()
    page.wait_for_selector("#topic h2")
    page = opened(address="#topic/tiny/99/base")
    assert "not shown in full" in page.locator("#topic").inner_text()


def test_columns_are_sorted(opened):
    page = opened()
    header = page.locator(".matrix thead tr").nth(1).locator("th").nth(0)
    names = page.locator(".matrix tbody th a")
    original = names.all_inner_texts()
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert names.all_inner_texts() == [NASTY, "n4", "n2", "base", "worse", "dense"]
    header.locator("button").click()
    assert names.all_inner_texts() == ["worse", "base", "n2", "n4", NASTY, "dense"]
    header.locator("button").click()
    assert names.all_inner_texts() == original


def test_the_keyboard_reaches_what_the_mouse_does(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("details.condition summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.condition").first.get_attribute("open") is not None
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "copy"


def test_it_prints(opened):
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#theme").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 10_000
