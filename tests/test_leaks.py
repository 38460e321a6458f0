"""The scanner of public files finds a secret behind every encoding, and nothing in plain files."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leaks import assert_public, secrets_of
from PIL import Image

SECRET = "/private/SecretPlace/ärger"
RAW = SECRET.encode()


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", data)
    return buffer.getvalue()


def _tar(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _parquet(data: bytes) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([data.decode()])}), buffer, compression="zstd")
    return buffer.getvalue()


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "upper": lambda data: data.decode().replace("secret", "SECRET").encode(),
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "base64 in lines": base64.encodebytes,
    "base64 after a path": lambda data: b"image/png/" + base64.b64encode(data),
    "hex": lambda data: data.hex().encode(),
    "HEX with spaces": lambda data: data.hex(" ").upper().encode(),
    "percent": lambda data: urllib.parse.quote(data, safe="").encode(),
    "percent twice": lambda data: urllib.parse.quote(urllib.parse.quote(data, safe="")).encode(),
    "entities": lambda data: "".join(f"&#{ord(c)};" for c in data.decode()).encode(),
    "hex entities": lambda data: "".join(f"&#x{ord(c):x};" for c in data.decode()).encode(),
    "json": lambda data: json.dumps(data.decode()).replace("/", "\\/").encode(),
    "json of letters": lambda data: "".join(f"\\u{ord(c):04x}" for c in data.decode()).encode(),
    "css": lambda data: "".join(f"\\{ord(c):x} " for c in data.decode()).encode(),
    "javascript": lambda data: "".join(f"\\x{ord(c):02x}" for c in data.decode("latin-1")).encode(),
    "utf-16-le": lambda data: data.decode().encode("utf-16-le"),
    "utf-16-be": lambda data: data.decode().encode("utf-16-be"),
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zip": _zip,
    "tar": _tar,
    "parquet": _parquet,
    "json in base64 in entities": lambda data: html.escape(
        json.dumps({"a": base64.b64encode(b"x" + data).decode()})
    ).encode(),
    "zip in a data URL": lambda data: b"data:application/zip;base64," + base64.b64encode(_zip(data)),
    "gzip of json": lambda data: gzip.compress(json.dumps([data.decode()]).encode()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_found(way: str) -> None:
    wanted = SECRET if way not in ("javascript", "utf-16-le", "utf-16-be") else "/private/SecretPlace/"
    page = b"<p>A page with many ordinary words, and 12345678 numbers: <b>" + WAYS[way](RAW) + b"</b></p>"
    content = WAYS[way](RAW) if way in ("zip", "tar", "parquet") else page
    with pytest.raises(AssertionError, match="is in the text"):
        assert_public(content, [wanted])
    assert_public(content, ["/private/another/place"])


def test_short_secrets_are_refused() -> None:
    with pytest.raises(ValueError, match="less than 5 bytes"):
        assert_public("page", ["abc"])


def _data_url(pixels: np.ndarray, kind: str = "JPEG") -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=90)
    return f'<img src="data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}">'


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("divisor", [1, 2])
def test_a_piece_of_an_original_is_found_in_an_image_of_a_page(kind: str, divisor: int) -> None:
    random = np.random.default_rng(1)
    original = np.asarray(Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((160, 120)))
    changed = original.copy()
    changed[20:80, 40:100] = random.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    hidden = [original[20:80, 40:100]]

    def reduced(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize((160 // divisor, 120 // divisor), Image.Resampling.BOX))

    assert_public(_data_url(reduced(changed), kind), [], hidden)
    with pytest.raises(AssertionError, match="piece 0 of the originals"):
        assert_public(_data_url(reduced(original), kind), [], hidden)


def test_secrets_of_sources_and_a_ledger(tmp_path: Path) -> None:
    ledger, folder = tmp_path / "ledger", tmp_path / "place"
    ledger.mkdir()
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"image")
    (ledger / "run.key").write_bytes(bytes(range(32)))
    secrets = secrets_of([folder / "a.jpg"], ledger)
    assert str(folder).encode() in secrets
    assert bytes(range(32)) in secrets
    assert b"6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d" in secrets
