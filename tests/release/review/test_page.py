"""The page holds outputs alone, and knows what its verdicts prove."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from leaks import assert_public, secrets_of
from metadata_scanner import scan_image
from review_releases import LAYOUTS, SECRETS, Made

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.release.review.draw import ReviewSettings, Sample, draw_sample
from anon_batch.release.review.items import Item, make_items
from anon_batch.release.review.page import bounds, render_pages
from anon_batch.release.review.seal import unseal
from anon_batch.stats.sample_plan import corrected_bound

SETTINGS = ReviewSettings(claim=0.2, allow_uncaught=1)


def data_of(page: bytes) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.decode())
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def images_of(page: bytes) -> dict[int, bytes]:
    found = re.findall(r'<script type="text/plain" id="image-(\d+)">(.*?)</script>', page.decode())
    return {int(index): base64.b64decode(text) for index, text in found}


def reviewed(made: Made, bank: DonorBank) -> tuple[Sample, list[Item]]:
    sample = draw_sample(made.release, SETTINGS)
    return sample, make_items(made.release, sample, bank)


@pytest.mark.parametrize("layout", ["files", *(pytest.param(own, marks=pytest.mark.full) for own in LAYOUTS[1:])])
def test_no_source_and_no_original_is_in_the_page(made: Callable[[str], Made], bank: DonorBank, layout: str) -> None:
    own = made(layout)
    (page,) = render_pages(*reviewed(own, bank))
    sources = sorted((own.folder / "very private source").iterdir())
    secrets = [*SECRETS, "very private source", *secrets_of(sources, Path(f"{own.release.uri}-ledger"))]
    shown = set(data_of(page)["ids"])
    faces = [
        pixels[14:42, 72:92] for name, pixels in own.originals.items() if name in shown and int(name[-7:-4]) % 2 == 0
    ]
    assert len(faces) > 5
    assert_public(page, secrets, faces)
    name = next(name for name in data_of(page)["ids"] if int(name[-7:-4]) % 2)
    with pytest.raises(AssertionError, match="of the originals"):  # the scanner sees what the page shows
        assert_public(page, [], [own.originals[name][50:90, 10:60]])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_images_are_the_outputs_without_metadata(made: Callable[[str], Made], bank: DonorBank, layout: str) -> None:
    own = made(layout)
    (page,) = render_pages(*reviewed(own, bank))
    data, images = data_of(page), images_of(page)
    truth = unseal(data["review_id"], data["sealed"])
    assert len(images) == len(data["items"]) == len(data["ids"]) == len(truth)
    for index, jpeg in images.items():
        assert inspect(jpeg) == []
        assert scan_image(jpeg) == []
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert [pixels.shape[1], pixels.shape[0]] == data["items"][index]["shown"] == [120, 96]
        if truth[index] is None:
            original = own.originals[data["ids"][index]].astype(int)
            left = original[:, :40], pixels[:, :40]
            assert np.abs(left[0] - left[1]).mean() < 4


def test_the_page_loads_nothing_and_does_not_show_the_truth(made: Callable[[str], Made], bank: DonorBank) -> None:
    sample, items = reviewed(made("files"), bank)
    (page,) = render_pages(sample, items)
    text = page.decode()
    assert "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'" in text
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//""", text)
    assert "https://" not in text
    assert re.findall(r"http://[^\"]*", text) == ["http://www.w3.org/2000/svg"], "a name space, nothing to load"
    assert {key for item in data_of(page)["items"] for key in item} == {"size", "shown", "regions"}
    sizes = [[len(item.jpeg) for item in items if (item.planted is None) == kind] for kind in (True, False)]
    assert min(sizes[0]) < max(sizes[1])
    assert min(sizes[1]) < max(sizes[0]), "files do not tell which is which"


def test_large_releases_make_several_pages_of_one_review(made: Callable[[str], Made], bank: DonorBank) -> None:
    sample, items = reviewed(made("files"), bank)
    half = sum(len(item.jpeg) for item in items) // 2
    pages = list(render_pages(sample, items, half))
    heads = [data_of(page) for page in pages]
    assert len({head["review_id"] for head in heads}) == 1
    assert [head["part"] for head in heads] == list(range(len(pages)))
    assert sorted(index for page in pages for index in images_of(page)) == list(range(len(items)))
    for head, page in zip(heads, pages, strict=True):
        assert sorted(images_of(page)) == [head["first"] + index for index in range(len(head["items"]))]
    assert len(list(render_pages(sample, items, 1))) == len(items), "an image that is too large has a page of its own"


def test_the_bounds_are_those_of_the_statistics(made: Callable[[str], Made]) -> None:
    sample = draw_sample(made("files").release, SETTINGS)
    plan, table = sample.plan, bounds(sample, sample.plan.planted)
    assert table[0][plan.planted - 1] <= SETTINGS.claim, "the plan allows one uncaught face"
    assert table[0][plan.planted - 2] > SETTINGS.claim
    assert table[1][plan.planted] > SETTINGS.claim
    for missed, row in enumerate(table):
        for caught, bound in enumerate(row):
            expected = corrected_bound(missed, plan.images, caught, plan.planted, plan.strata)
            assert bound == pytest.approx(expected, abs=1e-8)


def test_images_are_scaled_down_to_the_longest_side(made: Callable[[str], Made], bank: DonorBank) -> None:
    own = made("files")
    sample = draw_sample(own.release, SETTINGS)
    items = make_items(own.release, sample, bank, max_side_px=60)
    (page,) = render_pages(sample, items)
    assert {tuple(item["shown"]) for item in data_of(page)["items"]} == {(60, 48)}
    assert {tuple(item["size"]) for item in data_of(page)["items"]} == {(120, 96)}
    assert cv2.imdecode(np.frombuffer(images_of(page)[0], np.uint8), cv2.IMREAD_COLOR).shape == (48, 60, 3)


def test_a_name_cannot_leave_the_page(made: Callable[[str], Made], bank: DonorBank) -> None:
    sample, items = reviewed(made("files"), bank)
    odd = Sample(sample.run_id, "</script><b>&", sample.settings, sample.plan, sample.outputs, sample.spare)
    (page,) = render_pages(odd, items)
    assert b"</script><b>" not in page
    assert b"&lt;/script&gt;&lt;b&gt;&amp;" in page
    assert data_of(page)["name"] == "</script><b>&"
