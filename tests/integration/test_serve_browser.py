"""The page of `expandr serve` in a real browser, against a real server whose LLM writes slowly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import uvicorn
from test_report_browser import browser  # noqa: F401 (a fixture)

import expandr_ir
from expandr_ir.collections import load_collection
from expandr_ir.config import generator_config
from expandr_ir.generators.fakes import EchoGenerator
from expandr_ir.io.runs import read_run
from expandr_ir.records import Generation
from expandr_ir.serve.app import create_app
from expandr_ir.serve.options import ServeOptions
from expandr_ir.serve.server import listen
from expandr_ir.serve.service import Service

pytestmark = [pytest.mark.slow, pytest.mark.java, pytest.mark.timeout(180)]

QUESTION = "keep only the last n lines of a log while reading it"
TEXT = "collections.deque with maxlen: a deque is a list-like sequence, optimized for data accesses near its endpoints."
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class SlowLLM(EchoGenerator):
    """Writes TEXT word by word, and markup where the query asks for it."""

    listener = None
    pause_s = 0.02

    def generate(self, requests):
        for generation in super().generate(requests):
            text = HOSTILE if "hostile" in generation.text else TEXT
            words = text.split()
            for end in range(1, len(words) + 1):
                self.listener(generation.key, " ".join(words[:end]))
                time.sleep(self.pause_s)
            yield Generation(generation.key, text, "stop", 1, len(words), 0.1, "slow")


@pytest.fixture(scope="module")
def llm():
    return SlowLLM(generator_config("echo"))


@pytest.fixture(scope="module")
def address(tmp_path_factory, llm):
    store = str(tmp_path_factory.mktemp("serve") / "store.sqlite")
    service = Service(ServeOptions(generator=["echo"], store=store), [load_collection("demo")])
    service.writers._loaded["echo"] = llm, threading.Lock()
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


def is_fault(message):
    """Errors and warnings, but for answers that the page explains itself: not yet, and not valid."""
    return message.type in {"error", "warning"} and not re.search("status of (503|400)", message.text)


@pytest.fixture
def opened(browser, address):  # noqa: F811
    """Opens the page in a window of its own; nothing may be logged, or asked of another server."""
    contexts, faults = [], []

    def run(*, scheme="light", width=1300, where="", **options):
        context = browser.new_context(viewport={"width": width, "height": 950}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: request.url.startswith((address, "data:")) or faults.append(request.url))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.goto(f"{address}{where}")
        until(page, "document.querySelectorAll('#topics option').length > 0", timeout=10_000)
        return page

    yield run
    for context in contexts:
        context.close()
    assert faults == []


def until(page, expression, arg=None, timeout=10_000):
    """Waits until JavaScript is true; Playwright's own way evaluates text in the page, which its policy forbids."""
    end = time.monotonic() + timeout / 1000
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(30)


def search(page, query=QUESTION, expander="query2doc-zs"):
    page.fill("#query", query)
    page.select_option("#expander", expander)
    page.click("#go")
    page.wait_for_selector("#after li", timeout=10_000)
    until(page, "document.getElementById('status').textContent === ''", timeout=10_000)


def titles(page, ranking):
    return page.eval_on_selector_all(f"{ranking} .title", "all => all.map(title => title.firstChild.textContent)")


def test_texts_stream_in_and_the_ranking_changes(opened, llm):
    page = opened()
    llm.pause_s = 0.1
    page.fill("#query", "what the last lines of a log are")
    page.select_option("#expander", "query2doc-zs")
    page.click("#go")
    seen = set()
    while not page.locator("#after li").count():
        seen.update(page.evaluate("[...document.querySelectorAll('#texts textarea')].map(area => area.value)"))
        time.sleep(0.05)
    llm.pause_s = 0.02
    assert len(seen - {""}) > 3
    assert all(TEXT.startswith(text) for text in seen)
    search(page)
    assert page.locator("#texts textarea").input_value() == TEXT
    assert page.locator("#before li").count() == page.locator("#after li").count() == 10
    assert page.locator("#before-run").inner_text() == "bm25-none"
    assert page.locator("#after-run").inner_text() == "bm25-repeat"
    assert "✓ relevant (2)" in page.locator("#after li", has_text="collections.deque").first.inner_text()
    assert "↑ new" in page.locator("#after li", has_text="collections.deque").first.inner_text()
    assert page.locator("#summary").inner_text().startswith("Relevant of the first 10 documents: ")


def test_a_document_shows_what_each_word_adds(opened):
    page = opened()
    search(page)
    item = page.locator("#after li", has_text="collections.deque").first
    item.locator("summary").focus()
    page.keyboard.press("Enter")
    item.locator(".terms tr").first.wait_for()
    rows = [row.split("\t") for row in item.locator(".terms tr").all_inner_texts()]
    origins = {row[0].strip(): row[1].strip() for row in rows}
    assert origins["deque"] == origins["maxlen"] == "added"
    assert len(rows) >= 4
    score = float(item.locator(".score").inner_text())
    assert sum(float(row[2]) for row in rows) == pytest.approx(score, abs=0.02)


def test_an_edited_text_changes_the_ranking_at_once(opened):
    page = opened()
    search(page)
    before = titles(page, "#after")
    page.select_option("#aggregation", "append")
    page.fill("#texts textarea", "heapq merge merge sorted iterables heapq.merge")
    until(page, "was => document.querySelector('#after .title').textContent !== was", arg=before[0])
    until(page, "document.getElementById('after').textContent.includes('heapq.merge')")
    page.click("#add")
    page.keyboard.type("textwrap.shorten shorten text width placeholder")
    until(page, "document.getElementById('after').textContent.includes('textwrap.shorten')")
    page.locator(".text button").first.click()
    until(page, "!document.getElementById('after').textContent.includes('heapq.merge')")


def test_a_link_restores_the_view_without_the_llm(opened):
    page = opened()
    search(page)
    page.select_option("#aggregation", "append")
    until(page, "document.getElementById('after-run').textContent === 'bm25-append'")
    page.fill("#texts textarea", f"{TEXT} More.")
    until(page, "location.hash.includes('More')")
    before = titles(page, "#after")
    where = page.url.partition("#")[2]
    assert parse_qs(where)["text"] == [f"{TEXT} More."]
    other = opened(where=f"#{where}")
    other.wait_for_selector("#after li")
    assert titles(other, "#after") == before
    assert other.input_value("#texts textarea") == f"{TEXT} More."
    assert other.input_value("#query") == QUESTION


def test_the_copied_command_and_python_give_the_ranking_shown(opened, tmp_path):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    search(page)
    shown = titles(page, "#after")
    shim = tmp_path / "expandr"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m expandr_ir "$@"\n')
    shim.chmod(0o755)
    package = str(Path(expandr_ir.__file__).parents[1])
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": package}
    for kind in ("command", "python"):
        page.click(f"[data-copy={kind}]")
        until(page, f"document.getElementById('status').textContent === 'The {kind} is copied'")
        copied = page.evaluate("navigator.clipboard.readText()")
        words = ["/bin/sh", "-c", copied] if kind == "command" else [sys.executable, "-c", copied]
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        if kind == "command":
            assert read_run(tmp_path / "query.run")["query"].doc_ids == shown
        else:
            assert all(title in done.stdout for title in shown)


def test_what_an_llm_and_a_user_write_is_text(opened):
    page = opened()
    search(page, query=f"hostile {HOSTILE}")
    assert page.locator("#texts textarea").input_value() == HOSTILE
    assert page.locator("main img, main script").count() == 0


def test_stop_ends_the_writing_and_what_is_not_valid_is_said(opened, llm):
    page = opened()
    llm.pause_s = 0.5
    page.fill("#query", "something that takes long")
    page.select_option("#expander", "query2doc-zs")
    page.click("#go")
    until(page, "document.querySelector('#texts textarea')?.value")
    page.click("#stop")
    llm.pause_s = 0.02
    assert page.locator("#status").inner_text() == "stopped"
    page.select_option("#expander", "")
    page.fill("#query", "\u202e")
    page.click("#go")
    until(page, "document.getElementById('status').className === 'fault'")
    assert "a query with a word in it is needed" in page.locator("#status").inner_text()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 1300), ("light", 380), ("dark", 380)])
def test_nothing_sticks_out_in_light_and_dark_wide_and_narrow(opened, scheme, width, tmp_path):
    page = opened(scheme=scheme, width=width)
    search(page)
    page.locator("#after li summary").first.click()
    page.locator("#after .terms tr").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = "getComputedStyle(document.body).backgroundColor"
    assert (page.evaluate(background) == "rgb(255, 255, 255)") == (scheme == "light")
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate(background) != "rgb(255, 255, 255)"
    shots = Path(os.environ.get("EXPANDR_SCREENSHOTS") or tmp_path)
    page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
    page.screenshot(path=shots / f"serve-{scheme}-{width}.png", full_page=True)
