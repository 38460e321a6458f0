"""Canaries in everything private: source paths, signed addresses, passwords, keys, metadata, columns. None may be seen again.

Every output is searched as a whole: what commands print, the release, Ray's logs; Parquet files and tars are unpacked first.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image, PngImagePlugin
from pipeline_fixtures import BOX, FACES, image_bytes, process_all
from releases import run_cli
from servers import free_ports

from anon_batch import cli
from anon_batch.cluster import driver

CANARY = "Kanarie7q"
SECRETS = f"{CANARY}-aws-secret", f"{CANARY}-session", f"{CANARY}-option-secret", f"{CANARY}-run-key-0123456789abcdef"
ENV = {
    "AWS_ACCESS_KEY_ID": f"{CANARY}-aws-id",
    "AWS_SECRET_ACCESS_KEY": SECRETS[0],
    "AWS_SESSION_TOKEN": SECRETS[1],
}
Call = Callable[..., tuple[int, str]]


class _Web(BaseHTTPRequestHandler):
    """Serves one image, a 404 and a 500."""

    def do_GET(self) -> None:
        code = 404 if "missing" in self.path else 500 if "broken" in self.path else 200
        body = image_bytes(9) if code == 200 else CANARY.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def write_images(folder: Path) -> list[str]:
    """Write images that are full of canaries; return their paths, and those of a broken and of a missing one."""
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = CANARY, CANARY
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0), 29: CANARY}
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", CANARY)
    text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{CANARY}</x:xmpmeta>")
    xmp = f"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>{CANARY}</x:xmpmeta>".encode()
    for number in range(4):
        with Image.open(io.BytesIO(image_bytes(number))) as image:
            image.save(folder / f"{number}.jpg", exif=exif, comment=CANARY, icc_profile=CANARY.encode() * 20, xmp=xmp)
            image.save(folder / f"{number}.png", exif=exif, pnginfo=text)
    with (folder / "0.jpg").open("ab") as file:
        file.write(CANARY.encode())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + CANARY.encode())
    return [str(path) for path in sorted(folder.iterdir())] + [str(folder / "missing.png")]


def write_job(base: Path, web: str, *more: str) -> Path:
    """Write manifest, key and job file; return the latter."""
    uris = [
        *write_images(base / CANARY),
        f"http://{web}/{CANARY}/ok.png?X-Amz-Signature={CANARY}&token={CANARY}",
        f"http://{CANARY}:{CANARY}@{web}/{CANARY}/missing.png",
        f"http://{web}/{CANARY}/broken.png?sig={CANARY}",
        *more,
    ]
    count = len(uris)
    columns = {
        "image_id": [f"{number}.png" for number in range(count)],
        "uri": uris,
        "faces": pa.array([[BOX]] * count, FACES),
        "url": [f"https://example.org/{CANARY}?token={CANARY}"] * count,
        "exif": [json.dumps({"GPSLatitude": CANARY})] * count,
        "original_path": [f"/home/{CANARY}/x.png"] * count,
        "label": [number % 3 for number in range(count)],
    }
    pq.write_table(pa.table(columns), base / "m.parquet")
    (base / "key").write_bytes(SECRETS[3].encode())
    job = {
        "manifest": str(base / "m.parquet"),
        "output": str(base / "out"),
        "run_key_file": str(base / "key"),
        "detect": {"detectors": ["manifest"], "trust_boxes": True},
        "anonymize": {"face": {"method": "solid"}},
        "sources": {"allow": [str(base), f"http://{web}/", *(address.rsplit("/", 2)[0] + "/" for address in more)]},
        "engine": {"workers": 1, "shard_rows": 4, "attempts": 2},
        "storage": {
            "retries": 1,
            "retry_wait_s": 0,
            "retry_for_s": 1,
            "options": {"s3://": {"key": f"{CANARY}-option-key", "secret": SECRETS[2]}},
        },
    }
    (base / "job.yaml").write_text(yaml.safe_dump(job))
    return base / "job.yaml"


def forms(text: str) -> set[bytes]:
    """Return how a text may be hidden in plain sight."""
    raw = text.encode()
    # Without the first and last characters, which depend on what is around.
    shifted = {base64.b64encode(b"x" * shift + raw)[4 : (shift + len(raw)) * 8 // 6] for shift in range(3)}
    return {raw, raw.lower(), raw.hex().encode(), text.encode("utf-16-le"), quote(text).encode(), *shifted}


def seen(data: bytes, texts: tuple[str, ...] = (CANARY,)) -> list[str]:
    """Return the texts that bytes hold in any form."""
    return [text for text in texts if any(form in data for form in forms(text))]


def unpacked(path: Path) -> bytes:
    """Return a file's bytes with everything that it holds compressed."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(io.BytesIO(data))
        return data + repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    if path.suffix == ".tar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return data + repr([member.get_info() for member in tar]).encode()
    return data


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [CANARY] * 9}), tmp_path / "t.parquet", compression="zstd")
    texts = [f"..{CANARY}..".encode(), base64.b64encode(f"a{CANARY}bb".encode()), CANARY.encode().hex().encode()]
    assert all(seen(text) for text in texts)
    assert seen(unpacked(tmp_path / "t.parquet"))
    assert not seen(b"nothing")


def check(base: Path, call: Call, *settings: str) -> str:
    """Run all commands on a job; search what they print, and the release. Return what they printed."""
    job, printed = str(base / "job.yaml"), ""
    for arguments in (
        ("run", job, *settings),
        ("run", job, *settings, "--json"),
        ("run", job, *settings, "--method", "blur"),  # refused
        ("evaluate", str(base / "out"), "--job", job, "--scorer", "centerface", "--scorer-scale", "1"),
        ("status", str(base / "out"), "--json"),
        ("verify", str(base / "out")),
        ("report", str(base / "out")),
    ):
        code, said = call(*arguments)
        assert code in (0, 2, 10, 75), said
        assert not seen(said.encode()), f"{arguments[0]}: {said}"
        assert "Traceback" not in said
        printed += said
    for path in (base / "out").rglob("*"):
        if path.is_file():
            assert not seen(unpacked(path)), path
    for path in (base / "out-ledger").rglob("*"):
        if path.is_file():
            assert not seen(unpacked(path), SECRETS), path
    return printed


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Call commands here, without Ray."""
    monkeypatch.setattr(driver, "process_shards", lambda run, *_: process_all(run))
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)

    def call(*args: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_no_canary_is_seen_again(tmp_path: Path, web: str, in_process: Call, layout: str) -> None:
    write_job(tmp_path, web)
    said = check(tmp_path, in_process, "--set", f"write.layout={layout}")
    assert "9 anonymized, 0 clean, 0 withheld, 4 failed" in said
    assert "verified" in said
    rows = pq.read_table(sorted((tmp_path / "out/provenance").iterdir())[0])
    assert "label" in rows.column_names, "the harmless column is published"


@pytest.mark.full
def test_no_canary_is_seen_in_ray(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, web: str) -> None:
    """The real command; a second host answers nobody, so that the run also says what it retries."""
    [port] = free_ports(1)
    write_job(tmp_path, web, *[f"http://127.0.0.1:{port}/{CANARY}/{n}.png?sig={CANARY}" for n in range(3)])
    logs = Path("/tmp") / f"k{port}"  # short, because of Ray's sockets
    env = {**ENV, "RAY_TMPDIR": str(logs)}

    def call(*args: str) -> tuple[int, str]:
        done = run_cli(*args, env=env)
        return done.returncode, done.stdout + done.stderr

    said = check(tmp_path, call)
    assert "127.0.0.1" in said or "failed" in said
    searched = [path for path in logs.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("worker" in path.name for path in searched)
    assert [path for path in searched if seen(path.read_bytes())] == []
