"""A small data set of six persons of the sample photographs, three images of each, among other people, and jobs that index it.

The others are synthetic donors of the package.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from drawn_recogniser import drawn_recogniser
from PIL import Image, ImageEnhance, ImageOps
from pipeline_fixtures import job
from releases import RUN_KEY

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.config import ModelsConfig
from anon_batch.models.store import ModelStore
from anon_batch.sealing.key_files import new_key
from anon_batch.storage import Storage

KEY, OTHER, NEW = new_key("x25519"), new_key("x25519"), new_key()
COMPLIANCE = {"controller": "X", "legal_basis": "Y", "dpia_reference": "Z", "retention": "a year", "art9_basis": "W"}
PEOPLE = Path(__file__).parents[1] / "manifests/sample/photos/people"
LONDON = ("003_neutral.jpg", "005_smiling.jpg", "007_neutral.jpg", "135_grey.jpg")
PERSONS, VARIANTS, OTHERS = 6, 3, 60


@cache
def portraits() -> tuple[Image.Image, ...]:
    """Return one portrait of each person, 256 px."""
    names = ["astronaut.png", "grace_hopper.jpg", *(f"london/{name}" for name in LONDON)]
    found = [ImageOps.exif_transpose(Image.open(PEOPLE / name)).convert("RGB") for name in names]
    return tuple(ImageOps.fit(image, (256, 256), centering=(0.5, 0.2)) for image in found)


def variant(person: int, number: int) -> bytes:
    """Return an image of a person, as another camera would take it."""
    image = portraits()[person]
    image = ImageEnhance.Brightness(image).enhance(1 - 0.08 * number)
    image = image.rotate(number, Image.Resampling.BICUBIC).resize((256 - 6 * number,) * 2, Image.Resampling.BICUBIC)
    return jpeg(image, 95 - 5 * number)


def jpeg(image: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@cache
def sources() -> dict[str, bytes]:
    """Return image id -> file: `p<person>/<variant>.jpg`, and `s<other>.jpg`."""
    found = {f"p{own}/{number}.jpg": variant(own, number) for own in range(PERSONS) for number in range(VARIANTS)}
    bank = DonorBank(ModelStore(Storage(), ModelsConfig()).load("donors"))
    impostors = {f"s{own}.jpg": jpeg(Image.fromarray(bank.donor(20 * own).pixels)) for own in range(OTHERS)}
    return {**found, **impostors}


def dataset(folder: Path) -> Path:
    """Write the images, a manifest with a column `person`, keys and a drawn recogniser."""
    for image_id, data in sources().items():
        path = folder / "src" / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    ids = list(sources())
    table = {
        "image_id": ids,
        "uri": [str(folder / "src" / image_id) for image_id in ids],
        "person": [image_id.partition("/")[0].removesuffix(".jpg") for image_id in ids],
    }
    pq.write_table(pa.table(table), folder / "m.parquet")
    (folder / "key").write_bytes(RUN_KEY)
    for name, key in (("k", KEY), ("other", OTHER), ("new", NEW)):
        (folder / name).write_bytes(key.pem())
        (folder / f"{name}.pub").write_bytes(key.public.pem)
    drawn_recogniser(folder / "net.onnx")
    (folder / "photo.jpg").write_bytes(variant(3, VARIANTS))  # of p3, and in no row
    return folder


def linked_job(folder: Path, output: str = "out", **more: Any) -> Any:
    """Return a job that indexes faces for KEY."""
    [first, *_] = pq.read_table(folder / "m.parquet").column("uri").to_pylist()
    keys = {
        "sources.allow": [
            str(Path(first).parents[1])
        ],  # because a copy of the data set names the images of the original
        "link.recipients": [str(folder / "k.pub")],
        "link.embedder": str(folder / "net.onnx"),
        "compliance": COMPLIANCE,
        "detect.detectors": ["centerface"],
        "detect.refine_small": False,
        "engine.shard_rows": 20,
    }
    return job(str(folder), output, **{**keys, **more})
