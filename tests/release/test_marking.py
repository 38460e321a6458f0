"""Marks of generated content in a release: in every layout, in the images that need one alone, and verify sees each fault."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from metadata_scanner import scan_image, scan_release
from PIL import Image
from pipeline_fixtures import FACES, job, release, verdict
from releases import RUN_KEY

from anon_batch import Anonymizer
from anon_batch.errors import ManifestError
from anon_batch.formats.outputs import read_outputs
from anon_batch.imaging.metadata.mark import PACKET, add_mark
from anon_batch.imaging.metadata.strip import strip
from anon_batch.outcomes import Withheld
from anon_batch.pipeline.run import Run
from anon_batch.records import EncodedImage, GroundTruth
from anon_batch.release.card.card import render_card
from anon_batch.release.card.metadata import write_metadata
from anon_batch.release.report.finished import read_finished

KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF", "bmp": "BMP", "avif": "AVIF"}
FACE = {"x1": 30.0, "y1": 25.0, "x2": 80.0, "y2": 85.0, "ignore": False}
WITH_FACE = [f"a b/face'{suffix}.{suffix}" for suffix in KINDS]
IDS = [*WITH_FACE, "empty.jpg", "marked.jpg", "marked.png", "marked-face.png"]


def _image(seed: int, kind: str) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize((112, 96), Image.Resampling.BICUBIC)
    (image.convert("P") if kind == "GIF" else image).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset of every format with a face each, an image without one, and sources that hold a mark."""
    base = tmp_path_factory.mktemp("marking")
    for seed, image_id in enumerate(IDS):
        kind = KINDS[image_id.rpartition(".")[2]]
        data = _image(seed, kind)
        path = base / "src" / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(add_mark(data, kind) if image_id.startswith("marked") else data)
    with_face = {*WITH_FACE, "marked-face.png"}
    table = pa.table(
        {
            "image_id": IDS,
            "uri": [str(base / "src" / image_id) for image_id in IDS],
            "faces": pa.array([[FACE] if image_id in with_face else [] for image_id in IDS], FACES),
        }
    )
    pq.write_table(table, base / "m.parquet")
    (base / "key").write_bytes(RUN_KEY)
    return base


@functools.cache
def _release(base: Path, output: str, **keys: Any) -> Run:
    """Make a release, once: what damages it restores it."""
    return release(job(str(base), output, **{"anonymize__face__method": "swap", **keys}))


@pytest.fixture(scope="module")
def made(base: Path) -> Run:
    return _release(base, "files")


def _rows(run: Run) -> list[dict[str, Any]]:
    return [row for spec in run.release.parts() for row in run.release.read_part(spec).table.to_pylist()]


def _data(run: Run, image_id: str) -> bytes:
    return run.release.read(f"images/{image_id}")


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_images_with_a_generated_face_are_marked_and_no_others(base: Path, layout: str) -> None:
    run = _release(base, layout + "-own", write__layout=layout, engine__shard_rows=5)
    assert verdict(run).faults == []
    assert scan_release(Path(run.release.uri)) == []
    rows = {row["image_id"]: row for row in _rows(run)}
    assert {row["status"] for row in rows.values()} == {"anonymized", "clean"}
    generated = {image_id for image_id, row in rows.items() if row["regions"]}
    assert generated == {*WITH_FACE, "marked-face.png"}
    assert all(region["synthetic"] for image_id in generated for region in rows[image_id]["regions"])
    marked = {place.image_id for place, data in read_outputs(run.release, _places(rows)) if PACKET in data}
    assert marked == {image_id for image_id in generated if not image_id.endswith("bmp")}


class _Place(NamedTuple):
    image_id: str
    key: str
    member: str | None
    sha256: str


def _places(rows: dict[str, dict[str, Any]]) -> list[_Place]:
    return [_Place(name, row["output"], row["member"], row["sha256"]) for name, row in rows.items()]


def test_the_bytes_are_those_of_python_and_of_any_division_into_shards(base: Path, made: Run) -> None:
    again = _release(base, "again", engine__shard_rows=1)
    python = Anonymizer("manifest", policy="swap", key=RUN_KEY)
    for row in _rows(made):
        image_id = row["image_id"]
        assert _data(again, image_id) == _data(made, image_id)
        assert _encode(python, base, image_id, with_face=bool(row["regions"])) == _data(made, image_id)


def test_python_marks_what_it_generates(base: Path) -> None:
    assert PACKET in _encode(Anonymizer("manifest", policy="swap"), base, WITH_FACE[0])
    unmarked = Anonymizer("manifest", policy="swap", write={"mark_generated": False})
    assert PACKET not in _encode(unmarked, base, WITH_FACE[0])
    assert PACKET not in _encode(Anonymizer("manifest", policy="pixelate"), base, WITH_FACE[0])


def _encode(anonymizer: Anonymizer, base: Path, image_id: str, *, with_face: bool = True) -> bytes:
    box = np.array([[FACE[side] for side in ("x1", "y1", "x2", "y2")]] * with_face, np.float32).reshape(-1, 4)
    truth = GroundTruth(box, np.zeros(len(box), bool), ("face",) * len(box))
    [outcome] = anonymizer([(base / "src" / image_id).read_bytes()], [image_id], [truth])
    assert not isinstance(outcome, Withheld)
    encoded = anonymizer.encode(outcome)
    assert isinstance(encoded, EncodedImage)
    return encoded.data


def test_the_mark_of_a_source_does_not_survive_where_nothing_was_generated(base: Path, made: Run) -> None:
    for image_id in ("marked.jpg", "marked.png"):
        assert PACKET in (base / "src" / image_id).read_bytes()
        assert PACKET not in _data(made, image_id)
    assert _data(made, "marked-face.png").count(PACKET) == 1


@pytest.mark.parametrize("method", ["solid", "pixelate", "blur", "inpaint"])
def test_methods_that_generate_nothing_leave_no_mark(base: Path, method: str) -> None:
    run = _release(base, method, anonymize__face__method=method)
    assert verdict(run).faults == []
    assert all(PACKET not in _data(run, row["image_id"]) for row in _rows(run))


def test_a_job_may_switch_the_mark_off(base: Path) -> None:
    run = _release(base, "off", write__mark_generated=False)
    assert verdict(run).faults == []
    assert scan_release(Path(run.release.uri)) == []
    assert all(PACKET not in _data(run, row["image_id"]) for row in _rows(run))
    with _damage(run) as replace:
        replace(WITH_FACE[0], add_mark(_data(run, WITH_FACE[0]), "JPEG"))
        assert _about(run, WITH_FACE[0]) == "carries a mark of generated content, but nothing generated"


@contextmanager
def _damage(run: Run) -> Iterator[Callable[[str, bytes], None]]:
    """Give a function that puts another file where an image is, with its digest in the provenance; restore all at the end."""
    folder = Path(run.release.uri)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def replace(image_id: str, data: bytes) -> None:
        (folder / "images" / image_id).write_bytes(data)
        for part in (folder / "provenance").iterdir():
            table = pq.read_table(part)
            rows = table.to_pylist()
            for row in rows:
                if row["image_id"] == image_id:
                    row.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            pq.write_table(pa.Table.from_pylist(rows, table.schema), part)

    yield replace
    for path, data in before.items():
        path.write_bytes(data)


def _about(run: Run, image_id: str) -> str:
    [fault] = verdict(run).faults
    assert fault.startswith(f"images/{image_id}: ")
    return fault.removeprefix(f"images/{image_id}: ")


@pytest.mark.parametrize("image_id", [image_id for image_id in WITH_FACE if not image_id.endswith("bmp")])
def test_verify_misses_a_mark_that_was_removed_or_changed(made: Run, image_id: str) -> None:
    kept, kind = _data(made, image_id), KINDS[image_id.rpartition(".")[2]]
    with _damage(made) as replace:
        replace(image_id, kept.replace(b"compositeWithTrained", b"compositeWithtrained"))
        found = "; ".join(verdict(made).faults)
        assert "carries no mark of generated content" in found
        assert found.count("carries") == 2, "the packet itself is a finding too"
        if kind in ("JPEG", "PNG", "WEBP"):
            replace(image_id, strip(kept, kind))
            assert _about(made, image_id) == "carries no mark of generated content"
        replace(image_id, kept)
        assert verdict(made).faults == []


def test_verify_refuses_a_mark_where_nothing_was_generated(made: Run) -> None:
    with _damage(made) as replace:
        replace("empty.jpg", add_mark(_data(made, "empty.jpg"), "JPEG"))
        assert _about(made, "empty.jpg") == "carries a mark of generated content, but nothing generated"
        assert scan_image(_data(made, "empty.jpg"))


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_loaders_see_which_images_are_synthetic(base: Path, layout: str) -> None:
    run = _release(base, layout + "-own", write__layout=layout, engine__shard_rows=5)
    rows = {row["image_id"]: row["synthetic"] for row in _rows(run)}
    assert rows == {image_id: image_id in {*WITH_FACE, "marked-face.png"} for image_id in IDS}
    folder = Path(run.release.uri)
    if layout == "files":
        write_metadata(run.release)
        tables = [pq.read_table(folder / "images/metadata.parquet")]
    else:
        tables = [pq.read_table(path) for path in (folder / "shards").glob("*.parquet")]
    seen = {row["image_id"]: row["synthetic"] for table in tables for row in table.to_pylist()}
    for path in (folder / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            members = [json.load(tar.extractfile(info)) for info in tar if info.name.endswith(".json")]  # type: ignore[arg-type]
        seen |= {member["image_id"]: member["synthetic"] for member in members}
    assert seen == rows


def test_verify_compares_the_column_with_the_regions(made: Run) -> None:
    with _damage(made):
        for part in (Path(made.release.uri) / "provenance").iterdir():
            table = pq.read_table(part)
            turned = pc.invert(table.column("synthetic"))
            pq.write_table(table.set_column(table.column_names.index("synthetic"), "synthetic", turned), part)
        faults = verdict(made).faults
    assert "empty.jpg: status clean, synthetic True, but False by its regions" in faults
    assert len(faults) == len(IDS)


def test_a_column_of_that_name_in_the_manifest_is_refused_with_advice(base: Path, tmp_path: Path) -> None:
    table = pq.read_table(base / "m.parquet")
    pq.write_table(table.append_column("synthetic", pa.array([True] * len(table))), tmp_path / "m.parquet")
    (tmp_path / "key").write_bytes(RUN_KEY)
    with pytest.raises(ManifestError, match=r"`synthetic`.*rename, e\.g\. source_synthetic"):
        release(job(str(tmp_path)))
    own = {"sources.columns": {"synthetic": "source_synthetic"}, "sources.allow": [str(base / "src")]}
    renamed = release(job(str(tmp_path), **own))
    assert all(row["source_synthetic"] is True and row["synthetic"] is not True for row in _rows(renamed))


def test_the_card_says_how_many_images_are_synthetic_and_marked(base: Path, made: Run) -> None:
    count = len(WITH_FACE) + 1
    said = render_card(read_finished(made.release))
    assert f"**Synthetic content:** {count} images show a face or another region that a model generated" in said
    assert f"{count - 1} images hold a mark that says so" in said
    assert "1 image holds none, because the format BMP has no place for it. There is no watermark." in said

    off = render_card(read_finished(_release(base, "off", write__mark_generated=False).release))
    assert f"{count} images show" in off
    assert "The files themselves are not marked" in off
    assert "a mark that says so" not in off

    alike = render_card(read_finished(_release(base, "png-card", write__format="png").release))
    assert "Each holds a mark that says so" in alike
    assert "BMP" not in alike

    none = render_card(read_finished(_release(base, "solid", anonymize__face__method="solid").release))
    assert "**Synthetic content:** No image of this release shows anything that a model generated." in none
