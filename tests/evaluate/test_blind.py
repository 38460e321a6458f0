"""The blind test: its sample, its page, and the page in a browser where there is one."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from anon_batch.evaluate.blind_page import render_blind_page
from anon_batch.evaluate.blind_sample import CLASSES, BlindFace, BlindSample, natural_cell, only_around
from anon_batch.geometry import regions_of
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized
from anon_batch.records import AnonymizedImage, Detections, PixelArray
from anon_batch.stats.intervals import wilson

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")


def flat(value: int, side: int = 60) -> PixelArray:
    return np.full((side, side, 3), value, np.uint8)


def face(number: int, side_px: float = 50.0, size: int = 60) -> BlindFace:
    """Return a face whose original is even and whose output is odd."""
    size_class = CLASSES[sum(side_px >= bound for bound in (48, 96))]
    return BlindFace(size_class, side_px, flat(2 * number, size), {"m": flat(2 * number + 1, size)})


def data_of(page: bytes) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.decode())
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def shown(item: dict[str, Any]) -> PixelArray:
    data = base64.b64decode(item["image"].partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


FACES = [face(number, side, size) for number, (side, size) in enumerate([(20, 46), (60, 138), (120, 276)] * 8)]


def test_every_face_is_shown_once_at_natural_size_and_half_are_replaced() -> None:
    items = data_of(render_blind_page(FACES, "m", 0))["items"]
    values = [int(shown(item)[0, 0, 0]) for item in items]
    assert sorted(value // 2 for value in values) == list(range(24))
    assert sum(value % 2 for value in values) == 12
    for item in items:
        height, width = shown(item).shape[:2]
        assert (item["width"], item["height"]) == (width, height)
        assert item["zoom"] == (2 if item["side_px"] < 40 else 1)


def test_a_seed_gives_one_page_and_another_one_another_order() -> None:
    page = render_blind_page(FACES, "m", 3)
    assert page == render_blind_page(FACES, "m", 3)
    orders = [
        [int(shown(item)[0, 0, 0]) for item in data_of(render_blind_page(FACES, "m", seed))["items"]] for seed in (3, 4)
    ]
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_the_page_loads_nothing_and_does_not_show_the_truth() -> None:
    page = render_blind_page(FACES, "m", 0).decode()
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "http://" not in page
    assert "https://" not in page
    assert "Private:" in page
    items = data_of(page.encode())["items"]
    assert {key for item in items for key in item} == {"image", "width", "height", "zoom", "size_class", "side_px"}
    sealed = base64.b64decode(data_of(page.encode())["sealed"])
    assert len(set(sealed)) > 8, "equal answers must not look equal"


def test_a_name_cannot_leave_the_data() -> None:
    odd = "</script><b>"
    faces = [BlindFace(CLASSES[0], 20, flat(1), {odd: flat(2)})]
    page = render_blind_page(faces, odd, 0)
    assert data_of(page)["method"] == odd
    assert b"</script><b>" not in page


def detections(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    marks = np.full((count, 5, 2), np.nan, np.float32)
    return Detections(np.array(boxes, np.float32), np.ones(count, np.float32), marks, ("x",) * count)


def output_of(pixels: PixelArray, *extents: tuple[int, int, int, int]) -> Anonymized:
    """Return an output whose regions are rectangles."""
    height, width = pixels.shape[:2]
    regions = tuple(regions_of(detections(*extents), width, height, 1.0, "rectangle"))
    result = AnonymizedImage(pixels, np.ones((height, width), np.bool_), {region.index: "m" for region in regions})
    return Anonymized(SourceImage.from_array("x", pixels), result, detections(*extents), regions, frozenset())


def test_the_sample_holds_every_size_and_is_seeded() -> None:
    def sampled(seed: int) -> list[tuple[str, int]]:
        sample = BlindSample(seed, faces=9)
        for value in range(60):
            side = 120 if value < 4 else 60 if value % 2 else 20
            original = flat(value, 300)
            box = (100, 100, 100 + side, 100 + side)
            sample.offer(original, {"m": output_of(flat(200, 300), box)}, detections(box))
        return [(own.size_class, int(own.original[0, 0, 0])) for own in sample.faces("m")]

    chosen = sampled(0)
    assert [size for size, _ in chosen] == list(CLASSES) * 3
    assert len(set(chosen)) == 9
    assert chosen == sampled(0) != sampled(1)


def test_faces_that_are_too_small_too_large_or_withheld_are_not_shown() -> None:
    sample = BlindSample(0)
    boxes = ((10, 10, 24, 24), (300, 300, 800, 800))
    sample.offer(flat(1, 1500), {"m": output_of(flat(2, 1500), *boxes)}, detections(*boxes))
    sample.offer(flat(1, 100), {}, detections((10, 10, 40, 40)))
    assert sample.faces("m") == []


def test_only_the_face_in_the_middle_and_those_that_touch_it_are_replaced() -> None:
    boxes = ((10, 10, 30, 30), (25, 25, 50, 50), (45, 10, 60, 30), (70, 70, 90, 90))
    made = only_around(0, flat(1, 100), output_of(flat(2, 100), *boxes))
    expected = flat(1, 100)
    for x1, y1, x2, y2 in boxes[:3]:
        expected[y1:y2, x1:x2] = 2
    assert np.array_equal(made, expected)
    alone = only_around(3, flat(1, 100), output_of(flat(2, 100), *boxes))
    assert (alone == 2).sum() == 3 * 20 * 20


def test_cells_keep_the_images_resolution_and_end_at_its_border() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)
    assert np.array_equal(natural_cell(pixels, np.array([40, 30, 60, 50], np.float32)), pixels[17:63, 27:73])
    assert np.array_equal(natural_cell(pixels, np.array([-5, -5, 15, 15], np.float32)), pixels[:28, :28])


DRIVER = """
<script>
try {
  const known = KNOWN, widths = [];
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
  const click = (id) => find(id).click();
  while (!find("asking").hidden && widths.length < LIMIT) {
    const replaced = known[state.answers.length];
    widths.push(find("image").getBoundingClientRect().width);
    ANSWER
  }
  const found = results();
  document.title = JSON.stringify({ widths, found, kept: JSON.parse(localStorage.getItem(storageKey)), tsv: tsv(found),
    summary: find("summary").textContent, rows: find("rows").children.length });
} catch (error) { document.title = JSON.stringify({ error: String(error) }); }
</script>
"""


def drive(page: bytes, answer: str, folder: Path, limit: int = 99) -> dict[str, Any]:
    """Answer the faces in a headless browser and return what the page holds then.

    Args:
        page: to open.
        answer: JavaScript that answers one face, `replaced` or not.
        folder: of the page and of the browser's profile.
        limit: number of faces to answer.
    """
    path, truth = folder / "page.html", [int(shown(item)[0, 0, 0]) % 2 == 1 for item in data_of(page)["items"]]
    driver = DRIVER.replace("KNOWN", json.dumps(truth)).replace("ANSWER", answer).replace("LIMIT", str(limit))
    path.write_bytes(page.replace(b"</body>", driver.encode() + b"</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    dump = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(.*?)</title>", dump, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert "error" not in content, content
    return content | {"truth": truth}


@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        ('press(replaced ? "p" : "R");', 1.0),
        ('press("ArrowRight");', 0.5),
        ('click(replaced ? "real" : "replaced");', 0.0),
        ('press("x"); click("replaced"); if (widths.length < 24) { press("Backspace"); press("ArrowLeft"); }', None),
    ],
)
def test_answers_by_key_and_mouse_are_counted(answer: str, accuracy: float | None, tmp_path: Path) -> None:
    done = drive(render_blind_page(FACES, "m", 0), answer, tmp_path)
    found, rows = done["found"], done["found"]["verdicts"]
    assert [row["truth"] == "replaced" for row in rows] == done["truth"]
    if accuracy is None:  # all judged real after a wrong key and a step back, but the last
        accuracy = (12 + (1 if done["truth"][-1] else -1)) / 24
        assert [row["answer"] for row in rows] == ["real"] * 23 + ["replaced"]
    assert found["all"]["judged"] == 24
    assert found["all"]["accuracy"] == pytest.approx(accuracy)
    assert found["all"]["interval"] == pytest.approx(wilson(24 * accuracy, 24))
    assert {name: own["judged"] for name, own in found["size_classes"].items()} == dict.fromkeys(CLASSES, 8)
    assert f"of 24, {100 * accuracy:.1f} %" in done["summary"]
    assert done["rows"] == 4
    assert sorted(set(done["widths"])) == [92, 138, 276], "px for px, and twice for tiny faces"
    lines = [line.split("\t") for line in done["tsv"].splitlines()]
    assert lines[0] == ["face", "size_class", "side_px", "truth", "answer", "right", "seconds"]
    assert [line[4] for line in lines[1:]] == [row["answer"] for row in rows]


@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_a_page_goes_on_where_it_was_left(tmp_path: Path) -> None:
    page = render_blind_page(FACES, "m", 0)
    assert len(drive(page, 'press("r");', tmp_path, limit=9)["kept"]["answers"]) == 9
    done = drive(page, 'press("p");', tmp_path)
    assert len(done["widths"]) == 24 - 9
    assert [row["answer"] for row in done["found"]["verdicts"]] == ["real"] * 9 + ["replaced"] * 15
