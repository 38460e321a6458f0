"""A small dataset whose originals a run seals, and what opens them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pipeline_fixtures import FACES, job
from releases import RUN_KEY
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.imaging.jpeg.changed_blocks import read_coefficients
from anon_batch.pipeline.run import Run
from anon_batch.release.reveal.reveal import Asked, Revealed, reveal
from anon_batch.release.reveal.sealed_release import SealedRelease
from anon_batch.sealing.key_files import PrivateKey, new_key
from anon_batch.storage import Storage

KEY, OTHER, NEW = new_key("x25519"), new_key("x25519"), new_key()
WHO = Asked("Jane Doe", "a request of the person", "12/26")
COMPLIANCE = {"controller": "X", "legal_basis": "Y", "dpia_reference": "Z", "retention": "a year"}
BOXES: dict[str, list[tuple[int, int, int, int]]] = {
    "p/a.jpg": [(4, 4, 20, 24), (40, 30, 60, 52)],
    "p/b.jpg": [],
    "c.png": [(8, 8, 24, 30)],
    "p/d.jpg": [(4, 4, 20, 24)],
    "e.jpg": [(10, 20, 40, 60), (30, 50, 60, 70)],
}


def photo(seed: int, kind: str, **options: Any) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, (14, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((72, 80), Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def sources() -> dict[str, bytes]:
    turned = Image.Exif()
    turned[0x0112], turned[0x010E] = 6, "a note"
    return {
        "p/a.jpg": photo(1, "JPEG", quality=90),
        "p/b.jpg": photo(2, "JPEG"),
        "c.png": photo(3, "PNG"),
        "p/d.jpg": photo(4, "JPEG", exif=turned),
        "e.jpg": photo(5, "JPEG", subsampling="4:2:2", progressive=True),
    }


def dataset(folder: Path) -> Path:
    for name, data in sources().items():
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).write_bytes(data)
    faces = [
        [dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True), ignore=False) for box in own]
        for own in BOXES.values()
    ]
    table = {
        "image_id": pa.array(list(BOXES)),
        "uri": pa.array([str(folder / "src" / name) for name in BOXES]),
        "faces": pa.array(faces, FACES),
    }
    pq.write_table(pa.table(table), folder / "m.parquet")
    (folder / "key").write_bytes(RUN_KEY)
    for name, key in (("k", KEY), ("other", OTHER), ("new", NEW)):
        (folder / name).write_bytes(key.pem())
        (folder / f"{name}.pub").write_bytes(key.public.pem)
    return folder


def sealed_job(folder: Path, output: str = "out", **more: Any) -> Any:
    keys = {"seal.recipients": [str(folder / "k.pub")], "compliance": COMPLIANCE, "engine.shard_rows": 2}
    return job(str(folder), output, **{**keys, **more})


def place_of(run: Run, storage: Storage | None = None) -> SealedRelease:
    return SealedRelease(Release(storage or Storage(), run.release.uri), Ledger(storage or Storage(), run.ledger.uri))


def open_all(run: Run, *keys: PrivateKey) -> dict[str, Revealed]:
    place = place_of(run)
    return {own.image_id: own for own in reveal(place, keys or [KEY], place.all_images(), WHO)}


def is_source(name: str, own: Revealed) -> bool:
    if own.whole:
        return own.data == sources()[name]
    return all(map(np.array_equal, read_coefficients(own.data), read_coefficients(sources()[name])))


def cli(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output
