"""The review page: one or several HTML files that load nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from anon_batch.records import DEFAULT_LABEL
from anon_batch.release.review.draw import CONFIDENCE, Sample
from anon_batch.release.review.items import Item
from anon_batch.release.review.seal import review_id, seal
from anon_batch.stats.sample_plan import corrected_bound

VERDICT_FORMAT = "anon-batch review"
VERDICT_VERSION = 1
MAX_PAGE_BYTES = 160_000_000  # of images in one file; more makes browsers slow to open it
_BOUNDS_BEYOND = 10  # missed regions above what the plan allows, up to which the page knows the bound
_SCRIPTS = ("state.js", "stage.js", "boxes.js", "controls.js")


def render_pages(sample: Sample, items: Sequence[Item], max_bytes: int = MAX_PAGE_BYTES) -> Iterator[bytes]:
    """Yield the pages, one unless the images are too many for a browser; the same arguments give the same bytes.

    The page knows which images show a planted face, in a form that is not readable at a glance.

    Args:
        sample: what the images were drawn from.
        items: all images of the review.
        max_bytes: of the images in one page.
    """
    head = _head(sample, items)
    parts = list(_parts(items, max_bytes))
    for number, (start, stop) in enumerate(parts):
        own = {
            "part": number,
            "parts": len(parts),
            "first": start,
            "items": [_facts(item) for item in items[start:stop]],
        }
        yield _render({**head, **own}, items[start:stop], start, sample.name)


def bounds(sample: Sample, planted: int) -> list[list[float]]:
    """Return the upper bound of the share of outputs with a missed region, by missed ones and by caught planted faces."""
    plan = sample.plan
    most = min(plan.missed + _BOUNDS_BEYOND, plan.total)
    return [
        [
            round(corrected_bound(missed, plan.images, caught, planted, plan.strata, CONFIDENCE), 8)
            for caught in range(planted + 1)
        ]
        for missed in range(most + 1)
    ]


def _head(sample: Sample, items: Sequence[Item]) -> dict[str, Any]:
    ids, planted = [item.output.image_id for item in items], [item.planted for item in items]
    identity = review_id(sample, ids, planted)
    labels = {region.label for item in items for region in item.output.regions}
    return {
        "format": VERDICT_FORMAT,
        "version": VERDICT_VERSION,
        "review_id": identity,
        "run_id": sample.run_id,
        "sample_sha256": sample.sha256,
        "name": sample.name,
        "settings": sample.settings.to_json(),
        "ids": ids,
        "sealed": seal(identity, planted),
        "outputs": sample.outputs_count,
        "sampled": len(sample.outputs),
        "labels": [DEFAULT_LABEL, *sorted(labels - {DEFAULT_LABEL})],
        "bounds": bounds(sample, len(items) - len(sample.outputs)),
    }


def _parts(items: Sequence[Item], max_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of the images of each page."""
    start = size = 0
    for index, item in enumerate(items):
        if index > start and size + len(item.jpeg) > max_bytes:
            yield start, index
            start, size = index, 0
        size += len(item.jpeg)
    yield start, len(items)


def _facts(item: Item) -> dict[str, Any]:
    output = item.output
    regions = [[*extent, label, method] for extent, label, method, _ in output.regions]
    return {"size": [output.width, output.height], "shown": list(item.shown), "regions": regions}


def _render(data: Mapping[str, Any], items: Sequence[Item], start: int, name: str) -> bytes:
    # Within a script element only "<" could end the data early.
    text = json.dumps(data).replace("<", "\\u003c")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_file("review.html")).render(
        name=name,
        style=Markup(_file("review.css")),  # noqa: S704  files of this package
        script=Markup("\n".join(_file(script) for script in _SCRIPTS)),  # noqa: S704
        data=Markup(text),  # noqa: S704  escaped above
        images=[(start + index, item.jpeg) for index, item in enumerate(items)],
    )
    return page.encode("utf-8", errors="backslashreplace")


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
