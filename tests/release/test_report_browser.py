"""The report in headless Chromium: nothing is cut off or unreadable, on a phone, a screen and paper, in light and dark."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, needs_chromium
from pipeline_fixtures import job, release, write_dataset
from report_evidence import add_all
from report_pages import html_of

from anon_batch.pipeline.run import Run

pytestmark = [pytest.mark.full, needs_chromium]
PAPER_PX = 688  # what A4 has between margins of 14 mm

# Looks at a page in a frame: what sticks out, which texts of plots are cut off or lie on each other, weak contrast.
LOOK = """
const page = document.getElementById("page"), found = {outside: [], cut: [], overlaps: [], faint: []};
const said = (element) => element.tagName + ": " + element.textContent.trim().slice(0, 40);
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(Number)
    .map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = (element, view) => {
  for (let own = element; own; own = own.parentElement) {
    const color = view.getComputedStyle(own).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
const crosses = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
page.onload = () => {
  const view = page.contentWindow, root = page.contentDocument, width = root.documentElement.clientWidth;
  found.width = root.scrollingElement.scrollWidth - width;
  found.background = view.getComputedStyle(root.body).backgroundColor;
  found.tables = root.querySelectorAll("table").length;
  for (const element of root.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest(".skip")) continue;
    if (box.right > width + 1 && !element.closest(SCROLLS ? ".scroll" : ".nothing")) found.outside.push(said(element));
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (own && !["TITLE", "STYLE"].includes(element.tagName.toUpperCase()) && !element.closest("title, desc")) {
      const style = view.getComputedStyle(element), svg = element.namespaceURI.endsWith("svg");
      const [a, b] = [light(svg ? style.fill : style.color), light(behind(element, view))].sort((x, y) => y - x);
      if ((a + .05) / (b + .05) < 4.5) found.faint.push(said(element) + " " + (a + .05) / (b + .05));
    }
  }
  for (const plot of root.querySelectorAll("figure > svg")) {
    const frame = plot.getBoundingClientRect(), texts = [...plot.querySelectorAll("text")];
    if (!frame.width) continue;
    const boxes = texts.map((text) => text.getBoundingClientRect());
    boxes.forEach((box, i) => {
      if (box.left < frame.left - 3 || box.right > frame.right + 3 ||
          box.bottom > frame.bottom + 2) found.cut.push(said(texts[i]));
      boxes.slice(i + 1).forEach((other, j) => {
        if (crosses(box, other)) found.overlaps.push(said(texts[i]) + " / " + said(texts[i + 1 + j]));
      });
      for (const bar of plot.querySelectorAll("rect.bar"))
        if (crosses(box, bar.getBoundingClientRect())) found.overlaps.push(said(texts[i]) + " / a bar");
    });
  }
  document.title = JSON.stringify(found);
};
"""


def look(page: str, width: int, folder: Path, *, dark: bool = False, paper: bool = False) -> dict[str, Any]:
    """Return what is wrong with the page in a frame so wide."""
    if paper:
        page = page.replace("@media print", "@media all").replace(
            "@media (prefers-color-scheme", "@media not all and (x"
        )
    frame = f'<iframe id="page" style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>'
    look_at = LOOK.replace("SCROLLS", str(not paper).lower())
    path = folder / "look.html"
    path.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><title>nothing</title><body>{frame}<script>{look_at}</script>",
        encoding="utf-8",
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1600,1000"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    dump = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    found = re.search(r"<title>(.*?)</title>", dump, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(html.unescape(found[1]))
    return content


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a page with everything, one with hostile names, and one of a release without outputs."""
    base = tmp_path_factory.mktemp("releases")
    return {"full": _full(base / "full"), "hostile": _hostile(base / "hostile"), "empty": _empty(base / "empty")}


def _run(base: Path) -> Run:
    write_dataset(str(base), [f"{n}.png" for n in range(12)])
    (base / "src" / "3.png").write_bytes(b"not an image")
    return release(job(str(base), name="my-release", anonymize__face__method="pixelate"))


def _full(base: Path) -> str:
    run = _run(base)
    add_all(run.release)
    return html_of(run.release.uri)


def _hostile(base: Path) -> str:
    run = _run(base)
    stats = json.loads(Path(run.release.uri, "stats.json").read_text())
    long = "W" * 300 + "<b>\u202e\x00"
    stats["methods"] = {long: 10**12, "b": 3}
    stats["reasons"] = {"failed": {f"{long}{n}": 10**9 for n in range(200)}}
    stats["labels"] = {long: next(iter(stats["labels"].values()))}
    stats["sizes_px"], stats["scores"] = {"0": 1, "1048576": 10**18}, {"0.0": 10**18}
    stats["missed"]["groups"]["slice_x"] = {
        f"{n}{long}": {"faces": 10**9, "uncovered": 5, "images": 7, "share": 0.5, "low": 0.1, "high": 0.9}
        for n in range(30)
    }
    Path(run.release.uri, "stats.json").write_text(json.dumps(stats))
    return html_of(run.release.uri)


def _empty(base: Path) -> str:
    write_dataset(str(base), ["0.png", "1.png"])
    for path in (base / "src").iterdir():
        path.write_bytes(b"not an image")
    return html_of(release(job(str(base))).release.uri)


@pytest.mark.parametrize("name", ["full", "hostile", "empty"])
@pytest.mark.parametrize(
    ("width", "dark", "paper"),
    [(360, False, False), (768, True, False), (1400, False, False), (PAPER_PX, False, True)],
)
def test_nothing_is_cut_off_or_unreadable(
    pages: dict[str, str], name: str, width: int, dark: bool, paper: bool, tmp_path: Path
) -> None:
    found = look(pages[name], width, tmp_path, dark=dark, paper=paper)
    assert found["width"] == 0
    assert found["tables"] > 5
    assert found["background"] == ("rgb(19, 23, 28)" if dark else "rgb(255, 255, 255)")
    for fault in ("outside", "cut", "overlaps", "faint"):
        assert found[fault] == [], fault


def test_a_page_that_is_cut_off_and_faint_is_found(tmp_path: Path) -> None:
    bad = "<!DOCTYPE html><body style='background:#fff'><p style='width:2000px;color:#bbb'>wide and faint</p>"
    found = look(bad, 360, tmp_path)
    assert found["width"] > 1000
    assert found["outside"]
    assert found["faint"]
