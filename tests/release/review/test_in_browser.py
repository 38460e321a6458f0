"""The review page in headless Chromium: keys, mouse, boxes, what it keeps and what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Page, browser_page, needs_chromium
from review_releases import Made

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.release.review.combine import combine
from anon_batch.release.review.draw import ReviewSettings, Sample, draw_sample
from anon_batch.release.review.figures import review_evidence
from anon_batch.release.review.items import Item, make_items
from anon_batch.release.review.page import render_pages
from anon_batch.release.review.seal import unseal
from anon_batch.release.review.verdict_file import read_verdict_file

pytestmark = needs_chromium
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def reviewed(made: Callable[[str], Made], bank: DonorBank) -> tuple[Sample, list[Item]]:
    sample = draw_sample(made("files").release, ReviewSettings(claim=0.3, allow_uncaught=1))
    return sample, make_items(made("files").release, sample, bank)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not CHROMIUM:
        pytest.skip("browser: no Chromium here")
    with browser_page(tmp_path_factory.mktemp("profile")) as page:
        page.resize(1280, 800)
        yield page


@pytest.fixture
def page(browser: Page, reviewed: tuple[Sample, list[Item]], tmp_path: Path) -> Iterator[Page]:
    """Return the page as somebody sees it who opens it for the first time and starts."""
    (content,) = render_pages(*reviewed)
    (tmp_path / "review.html").write_bytes(content)
    browser.open(tmp_path / "review.html")
    browser.evaluate("localStorage.clear()")
    browser.errors.clear()
    browser.reload()
    start(browser)
    yield browser
    assert browser.errors == []
    assert all(url.startswith(("data:", "file:", "blob:", "about:")) for url in browser.requested)


def start(page: Page) -> None:
    page.press("Enter")
    page.wait("ready")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.press(key)
        page.wait("ready")


def state(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("state")
    return found


def truth_of(page: Page) -> list[Any]:
    return unseal(page.evaluate("data.review_id"), page.evaluate("data.sealed"))


def answer_all(page: Page, finds: Callable[[int], bool] = lambda _: True) -> int:
    """Answer every image by keys as somebody who finds the planted faces that `finds` says; return the number of keys."""
    truth, keys = truth_of(page), 0
    while page.evaluate("screen()") == "review":
        at = page.evaluate("state.at")
        own = ["m", " "] if truth[at] is not None and finds(at) else [" "]
        press(page, *own[:-1])
        page.press(own[-1])
        keys += len(own)
        page.wait(f"screen() !== 'review' || (ready && state.at !== {at})")
    return keys


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return where on the screen a point of the image is, in shares of its size."""
    left, top, width, height = page.evaluate("(r => [r.x, r.y, r.width, r.height])(canvas.getBoundingClientRect())")
    return left + x * width, top + y * height


def test_the_page_judges_as_the_import_does(page: Page, reviewed: tuple[Sample, list[Item]]) -> None:
    """A clean review by one key an image proves the claim after the last one, in the page and on import."""
    sample, items = reviewed
    keys = answer_all(page)
    assert keys == len(items) + sample.plan.planted, "one key for each fine image, two for a missed one"
    assert page.evaluate("screen()") == "confirm"
    page.press("Enter")
    assert page.evaluate("find('verdict').textContent").startswith("Proven: at most 30 %")
    file = page.evaluate("verdictFile()")
    read = read_verdict_file(json.loads(json.dumps(file)), "v.json", sample)
    evidence = review_evidence(sample, combine([read]), "")
    assert evidence.figures["review.proven"].value == 1
    assert evidence.figures["review.missed"].high == pytest.approx(page.evaluate("tally().best"), abs=1e-7)
    assert evidence.figures["review.catch_rate"].value == 1


@pytest.mark.parametrize("uncaught", [1, 2, 5])
def test_it_stops_at_the_right_count_and_says_what_is_not_proven(
    page: Page, reviewed: tuple[Sample, list[Item]], uncaught: int
) -> None:
    sample = reviewed[0]
    missed = [index for index, box in enumerate(truth_of(page)) if box is not None][:uncaught]
    answer_all(page, lambda at: at not in missed)
    judged = page.evaluate("tally().judged")
    page.press("Enter")
    figures = review_evidence(
        sample, combine([read_verdict_file(page.evaluate("verdictFile()"), "v", sample)]), ""
    ).figures
    assert figures["review.proven"].value == (uncaught <= 1)
    assert page.evaluate("find('verdict').className") == ("proven" if uncaught <= 1 else "open")
    if uncaught > 1:
        assert judged == len(reviewed[1])
        assert "Too many planted faces were not seen" in page.evaluate("find('explanation').textContent")
        assert f"{sample.plan.planted - uncaught} of {sample.plan.planted} planted" in page.evaluate(
            "find('explanation').textContent"
        )


def test_page_and_python_agree_on_what_is_caught(page: Page, reviewed: tuple[Sample, list[Item]]) -> None:
    """Random marks and boxes give the same counts and the same bound in both."""
    sample = reviewed[0]
    for seed in range(12):
        page.evaluate(
            f"(() => {{ let n = {seed + 1}; const random = () => (n = (n * 48271) % 2147483647) / 2147483647;"
            "state.marks = {}; for (const index of data.ids.keys()) { const kind = random(), boxes = [];"
            "if (kind < .5) for (let i = 0; i < 2 * random(); i++) { const x = 90 * random(), y = 70 * random();"
            "boxes.push({ box: [x, y, x + 5 + 20 * random(), y + 5 + 20 * random()], label: 'face' }); }"
            "if (random() < .9) state.marks[index] = { mark: kind < .5 && (truths[index] || random() < .03) ? 'missed' : 'fine',"
            "boxes: [], seconds: 1 }; if (state.marks[index]?.mark === 'missed') state.marks[index].boxes = boxes; } })()"
        )
        found, file = page.evaluate("tally()"), page.evaluate("verdictFile()")
        combined = combine([read_verdict_file(file, "v", sample)])
        assert (combined.caught, combined.planted) == (found["caught"], found["planted"])
        assert sum(own.mark == "missed" for own in combined.verdicts.values()) == found["missed"]
        assert len(sample.outputs) - len(combined.verdicts) == found["left"]
        high = review_evidence(sample, combined, "").figures["review.missed"].high
        beyond = found["missed"] + found["left"] >= page.evaluate("data.bounds.length")
        assert found["worst"] == (1 if beyond else pytest.approx(high, abs=1e-7))


def test_a_box_is_drawn_moved_resized_and_deleted_with_the_mouse(page: Page) -> None:
    press(page, "m")
    page.drag(place(page, 0.25, 0.25), place(page, 0.5, 0.5))
    (box,) = state(page)["marks"]["0"]["boxes"]
    assert box["box"] == pytest.approx([30, 24, 60, 48], abs=0.5)
    page.drag(place(page, 0.4, 0.4), place(page, 0.5, 0.4))
    assert state(page)["marks"]["0"]["boxes"][0]["box"] == pytest.approx([42, 24, 72, 48], abs=0.6)
    page.drag(place(page, 0.6, 0.5), place(page, 2.0, 2.0))
    x1, y1, x2, y2 = state(page)["marks"]["0"]["boxes"][0]["box"]
    assert ([x1, y1], [x2, y2]) == (pytest.approx([42, 24], abs=0.6), [120, 96]), "it ends at the image's border"
    page.click("#remove")
    assert state(page)["marks"]["0"] == {"mark": "missed", "boxes": [], "seconds": state(page)["marks"]["0"]["seconds"]}
    press(page, "z", "z")
    assert state(page)["marks"]["0"]["boxes"][0]["box"] == pytest.approx([42, 24, 72, 48], abs=0.6)


def test_a_box_is_drawn_without_a_mouse(page: Page) -> None:
    press(page, "b")
    (before,) = state(page)["marks"]["0"]["boxes"]
    assert state(page)["marks"]["0"]["mark"] == "missed"
    page.press("ArrowRight", "ArrowDown", "ArrowDown")
    page.press("ArrowRight", shift=True)
    page.press("ArrowLeft", alt=True)
    x1, y1, x2, y2 = before["box"]
    (box,) = state(page)["marks"]["0"]["boxes"]
    assert box["box"] == pytest.approx([x1 - 9, y1 + 2, x2 - 8, y2 + 2])
    press(page, "b", "[", "Delete")
    assert len(state(page)["marks"]["0"]["boxes"]) == 1
    press(page, " ")
    assert state(page)["at"] == 1


def test_verdicts_are_kept_and_taken_back(page: Page) -> None:
    press(page, " ", "u", "w", "f")
    marks = [state(page)["marks"][str(index)]["mark"] for index in range(4)]
    assert marks == ["fine", "ugly", "wrong_region", "fine"]
    page.reload()
    page.wait("ready")
    assert page.evaluate("screen()") == "review"
    assert state(page)["at"] == 4
    assert len(state(page)["marks"]) == 4
    press(page, "u", "z")
    assert (state(page)["at"], len(state(page)["marks"])) == (4, 4)
    press(page, "Backspace", "u")
    assert state(page)["marks"]["3"]["mark"] == "ugly"
    press(page, " ")
    assert len(state(page)["marks"]) == 5


def test_buttons_do_what_keys_do_and_leave_the_keyboard_to_the_image(page: Page) -> None:
    page.click("[data-mark=ugly]")
    page.wait("ready && state.at === 1")
    press(page, " ")
    assert [state(page)["marks"][str(index)]["mark"] for index in range(2)] == ["ugly", "fine"]
    page.click("#back")
    page.wait("ready && state.at === 1")
    assert page.evaluate("document.querySelector('[data-mark=fine]').getAttribute('aria-pressed')") == "true"
    page.click("#regions")
    assert page.evaluate("getComputedStyle(overlay).display") != "none"
    assert page.evaluate("overlay.classList.contains('bare')")


def test_the_image_is_zoomed_and_moved(page: Page) -> None:
    fitted = page.evaluate("view.scale")
    press(page, "+", "+")
    assert page.evaluate("view.scale") == pytest.approx(fitted * 1.25**2)
    x = page.evaluate("view.x")
    press(page, "ArrowRight")
    assert page.evaluate("view.x") == pytest.approx(x - 60)
    page.drag((400, 400), (450, 430))
    assert page.evaluate("view.x") == pytest.approx(x - 10)
    press(page, "1")
    assert page.evaluate("view.scale") == 1
    press(page, "0")
    assert page.evaluate("view.scale") == pytest.approx(fitted)
    assert not state(page)["marks"], "looking is no verdict"


def test_a_held_key_judges_one_image(page: Page) -> None:
    for repeat in (False, True, True, True):
        page.call("Input.dispatchKeyEvent", type="keyDown", key=" ", code="Space", text=" ", autoRepeat=repeat)
    page.wait("ready")
    assert len(state(page)["marks"]) == 1


def test_a_page_without_storage_says_so_and_works(page: Page) -> None:
    identifier = page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } });",
    )["identifier"]
    page.reload()
    start(page)
    press(page, " ", " ")
    assert len(state(page)["marks"]) == 2
    assert "does not keep your work" in page.evaluate("find('banner').textContent")
    assert page.evaluate("getComputedStyle(find('banner')).display") != "none"
    page.evaluate("state.marks = {}")  # so that leaving asks nothing
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=identifier)
    page.reload()


def test_storage_and_files_may_hold_anything(page: Page) -> None:
    own = page.evaluate("verdictFile()")
    for kept in (
        "null",
        "[]",
        "{",
        '{"marks": {"0": {"mark": "lovely"}, "1": {"mark": "missed", "boxes": [3]}, "x": 1}}',
    ):
        page.evaluate(f"localStorage.setItem(storageKey, {json.dumps(kept)})")
        page.reload()
        assert set(state(page)["marks"]) <= {"1"}
    page.evaluate("localStorage.clear()")
    page.reload()
    for text, wrong in (
        ("nonsense", "not a JSON file"),
        ("{}", "not a verdict file"),
        (json.dumps({**own, "review_id": "f" * 16}), "belongs to another review"),
    ):
        assert wrong in page.evaluate(f"mergeFile({json.dumps(text)}).wrong")
    other = {**own, "reviewer": "Ada", "marks": [{"item": 0, "mark": "ugly", "boxes": [], "seconds": 1}]}
    assert page.evaluate(f"mergeFile({json.dumps(json.dumps(other))})") == {"taken": 1}
    assert "This file is by Bob" in page.evaluate(
        f"mergeFile({json.dumps(json.dumps({**other, 'reviewer': 'Bob'}))}).wrong"
    )


def test_parts_of_a_large_review_go_together(
    browser: Page, reviewed: tuple[Sample, list[Item]], tmp_path: Path
) -> None:
    sample, items = reviewed
    parts = list(render_pages(sample, items, sum(len(item.jpeg) for item in items) // 2 + 1))
    for number, content in enumerate(parts):
        (tmp_path / f"part{number}.html").write_bytes(content)
    browser.open(tmp_path / "part0.html")
    files = []
    for number in range(len(parts)):
        browser.evaluate("localStorage.clear()")
        browser.open(tmp_path / f"part{number}.html")
        browser.evaluate("localStorage.clear()")
        browser.reload()
        start(browser)
        answer_all(browser)
        files.append(browser.evaluate("verdictFile()"))
        assert browser.evaluate("find('finish').hidden"), "one part proves nothing"
        assert "other parts" in browser.evaluate("find('confirm-text').textContent")
    for file in files[:-1]:
        browser.evaluate(f"mergeFile({json.dumps(json.dumps(file))})")
    browser.evaluate("confirm()")
    assert not browser.evaluate("find('finish').hidden")
    combined = combine([read_verdict_file({**file, "reviewer": "Ada"}, "v", sample) for file in files])
    assert review_evidence(sample, combined, "").figures["review.proven"].value == 1


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 800), (800, 500)])
def test_nothing_is_cut_off_on_small_screens(page: Page, width: int, height: int) -> None:
    page.resize(width, height)
    try:
        press(page, "m")
        page.wait("innerWidth === document.documentElement.clientWidth || true")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert page.evaluate("stage.clientHeight >= 150 && stage.clientWidth >= 300")
    finally:
        page.resize(1280, 800)


def test_controls_have_names_and_enough_contrast(page: Page) -> None:
    press(page, "m")
    assert page.evaluate(
        "[...document.querySelectorAll('button, input:not([type=file]), select')].filter((own) => own.checkVisibility() &&"
        "!(own.getAttribute('aria-label') || own.textContent.trim() || own.labels?.length)).length"
    ) == 0  # fmt: skip
    weakest = page.evaluate(
        "(() => { const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255)"
        ".map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };"
        "const ground = (own) => { for (let at = own; at; at = at.parentElement) {"
        "const c = getComputedStyle(at).backgroundColor; if (!/, 0\\)|transparent/.test(c)) return c; } return 'rgb(0,0,0)'; };"
        "return Math.min(...[...document.querySelectorAll('button, p, label, dt, dd, h1, h2, span')].filter((own) =>"
        "own.checkVisibility() && own.textContent.trim() && !own.disabled).map((own) => {"
        "const a = light(getComputedStyle(own).color), b = light(ground(own));"
        "return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); })); })()"
    )
    assert weakest >= 4.5, "WCAG 2.2, 1.4.3"


@pytest.mark.full
def test_three_hundred_outputs_take_a_key_each_and_less_than_ten_minutes(
    browser: Page, bank: DonorBank, tmp_path: Path
) -> None:
    """The page itself takes next to no time: what is left of ten minutes is for looking, two seconds an image."""
    from review_releases import make_release

    own = make_release(tmp_path, count=330)
    sample = draw_sample(own.release, ReviewSettings(claim=0.01, allow_uncaught=0))
    items = make_items(own.release, sample, bank)
    (content,) = render_pages(sample, items)
    (tmp_path / "long.html").write_bytes(content)
    begun = time.monotonic()
    browser.open(tmp_path / "long.html")
    browser.wait("screen() === 'intro'")
    loaded = time.monotonic() - begun
    start(browser)
    begun, keys = time.monotonic(), answer_all(browser)
    seconds = time.monotonic() - begun
    browser.press("Enter")
    assert browser.evaluate("find('verdict').textContent").startswith("Proven: at most 1 %")
    assert keys - sample.plan.planted == len(items)
    print(
        f"{len(items)} images, {len(content) / 1e6:.1f} MB: loaded in {loaded:.2f} s, {1000 * seconds / keys:.0f} ms a key"
    )
    assert loaded < 10
    assert seconds < 120
