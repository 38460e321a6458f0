"""Hostile tars, tables and Parquet files: what `anon-batch manifest` and `run` are given instead of a list of images."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hostile_files import CANARY
from hostile_files.ordinary import encode

LONG = 10**6
_MB = 1 << 20


class HostileSource(NamedTuple):
    """A source that somebody else wrote.

    Args:
        group: what is wrong with it.
        name: of the file.
        data: the file.
        error: part of the message that refuses it; None where the images in it are listed.
        rows: how many images are listed.
    """

    group: str
    name: str
    data: bytes
    error: str | None = None
    rows: int = 0


def sources() -> Iterator[HostileSource]:
    """Yield all sources, small ones first."""
    yield from _tars()
    yield from _tables()
    yield from _parquet_files()


def _tars() -> Iterator[HostileSource]:
    image = encode("PNG")

    def tar(
        name: str, *members: tuple[dict[str, Any], bytes], error: str | None = None, rows: int = 0
    ) -> HostileSource:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for fields, data in members:
                info = tarfile.TarInfo("a.png")
                info.size = len(data)
                for key, value in fields.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(data))
        return HostileSource("tar", name, out.getvalue(), error, rows)

    good = ({"name": "good.png"}, image)
    links = [
        ({"name": f"{kind!r}.png", "type": kind, "linkname": target}, b"")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)
        for target in ("/etc/passwd", "../../secret")
    ]
    yield tar("links.tar", good, links[0], links[2], rows=1)
    devices = [
        ({"name": f"dev{n}.png", "type": kind, "devmajor": 1, "devminor": 3}, b"")
        for n, kind in enumerate((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE))
    ]
    yield tar("devices.tar", good, *devices, rows=1)
    yield tar("dotdot.tar", good, ({"name": "../../etc/cron.d/x.png"}, image), rows=1)
    yield tar("absolute.tar", good, ({"name": "/etc/x.png"}, image), rows=1)
    yield tar("newline.tar", good, ({"name": "a\nb.png"}, image), rows=1)
    yield tar("twice.tar", good, good, rows=1)
    yield tar("long-name.tar", good, ({"name": "x" * LONG + ".png"}, image), rows=1)
    yield tar(
        "canary-name.tar",
        good,
        ({"name": "b.png", "pax_headers": {"comment": CANARY.decode(), "x" * 100_000: "y"}}, image),
        rows=2,
    )
    yield tar("pax-size.tar", good, ({"name": "b.png", "pax_headers": {"size": "9" * 30}}, image), error="tar")
    yield tar("pax-float-size.tar", good, ({"name": "b.png", "pax_headers": {"size": "-5"}}, image), error="tar")
    yield tar(
        "pax-many.tar", good, ({"name": "b.png", "pax_headers": {f"k{n}": "v" for n in range(20_000)}}, image), rows=2
    )
    whole = tar("x", good, good).data
    yield HostileSource("tar", "huge-size.tar", _with_size(whole, 8**11 - 1), "truncated")
    yield HostileSource("tar", "negative-size.tar", _with_size(whole, -1), "tar")
    yield HostileSource(
        "tar", "huge-pax-header.tar", _with_size(tar("x", ({"name": "é" * 200 + ".png"}, image)).data, 8**11 - 1), "tar"
    )
    yield HostileSource("tar", "sparse.tar", _sparse(), "sparse")
    nested = image
    for _ in range(7):
        nested = tar("x", ({"name": "inner.tar"}, nested)).data
    yield HostileSource("tar", "nested.tar", nested, "nested more than")
    yield HostileSource("tar", "cut.tar", whole[: len(whole) // 2], "truncated")
    yield HostileSource("tar", "zeros.tar", bytes(100 * 512), "no image")
    yield HostileSource("tar", "noise.tar", CANARY * 1000, "tar")
    deep = b'{"a":' * 100_000
    yield tar("deep-json.tar", ({"name": "b.png"}, image), ({"name": "b.json"}, deep), rows=1)
    yield tar("long-json.tar", ({"name": "b.png"}, image), ({"name": "b.json"}, b'"' + b"x" * 2 * _MB + b'"'), rows=1)
    yield tar("nul-text.tar", ({"name": "b.png"}, image), ({"name": "b.txt"}, b"\0\xff\xfe" * 100), rows=1)


def _with_size(data: bytes, size: int) -> bytes:
    """Return a tar whose first header claims a size."""
    field = b"%011o\0" % size if size >= 0 else b"\xff" * 12
    head = bytearray(data[:512])
    head[124:136] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data[512:]


def _sparse() -> bytes:
    info = tarfile.TarInfo("hole.png")
    info.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
    head[386:410] = b"%011o\0" % 0 + b"%011o\0" % 1
    head[483:495] = b"%011o\0" % (8**11 - 1)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(1024)


def _tables() -> Iterator[HostileSource]:
    def table(name: str, data: bytes | str, error: str | None = None, rows: int = 0) -> HostileSource:
        return HostileSource("table", name, data.encode() if isinstance(data, str) else data, error, rows)

    yield table("one-line.csv", b"uri,text\na.png," + b"x" * (17 * _MB), "longer than")
    yield table("one-header.csv", b"x" * (17 * _MB), "longer than")
    yield table("quoted.csv", b'uri,text\na.png,"' + b"x\n" * (2 * _MB), "field larger")
    yield table("one-line.jsonl", b'{"uri": "a.png", "t": "' + b"x" * (17 * _MB) + b'"}', "longer than")
    yield table("nul.csv", "uri\na\0b.png\n", rows=1)
    yield table("nul-uri.csv", "uri,image_id\na\0b.png,x.png\n", rows=1)
    yield table("utf-16.csv", "uri\na.png\n".encode("utf-16"), "UTF-8")
    yield table("latin-1.csv", "uri\nä.png\n".encode("latin-1"), "UTF-8")
    yield table("binary.csv", bytes(range(256)) * 100, "UTF-8")
    yield table("columns.csv", ",".join(["uri", *(f"c{n}" for n in range(200_000))]) + "\n", "columns")
    yield table("values.csv", "uri\n" + ",".join("x" * 200_000) + "\n", "expected 1 values")
    yield table("deep.jsonl", '{"uri": "a.png", "x": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deep")
    yield table("deep-column.jsonl", '{"uri": "a.png", "x": ' + "[" * 300 + "]" * 300 + "}", rows=1)
    yield table("digits.jsonl", '{"uri": "a.png", "x": ' + "9" * 100_000 + "}", "not JSON")
    yield table("big-number.jsonl", '{"uri": "a.png", "x": ' + "9" * 400 + "}", "64 bits")
    yield table("nan.jsonl", '{"uri": "a.png", "x": NaN, "offset": Infinity}\n', rows=1)
    yield table("surrogate.jsonl", '{"uri": "\\ud800.png"}\n', "UTF-8")
    yield table(
        "keys.jsonl",
        "".join(json.dumps({"uri": f"{n}.png", **{f"k{n}_{m}": 1 for m in range(50)}}) + "\n" for n in range(3000)),
        "columns",
    )
    yield table("mixed.jsonl", '{"uri": "a.png", "x": 1}\n{"uri": "b.png", "x": [1]}\n', "types")
    yield table("uri-number.jsonl", '{"uri": 5}\n', "expected text")
    yield table("list.jsonl", "[1]\n", "expected an object")
    yield table("empty.csv", "", "no image")
    for column in ("uri", "image_id", "sha256", "offset", "caption"):
        cells = {"uri": "a.png", "image_id": "x.png", column: "9" * LONG}
        error = "no image" if column == "image_id" else None
        yield table(f"long-{column}.jsonl", json.dumps(cells) + "\n", error, 0 if error else 1)


def _parquet_files() -> Iterator[HostileSource]:
    def parquet(name: str, table: pa.Table, error: str | None = None, rows: int = 0, **options: Any) -> HostileSource:
        out = io.BytesIO()
        pq.write_table(table, out, **options)
        return HostileSource("Parquet", name, out.getvalue(), error, rows)

    image = encode("PNG")
    plain = pa.table({"image": pa.array([{"bytes": image, "path": "a.png"}] * 3)})
    ids = pa.array([f"{n}.png" for n in range(3)])
    whole = parquet("x", plain.append_column("image_id", ids)).data
    yield HostileSource("Parquet", "good.parquet", whole, rows=3)
    for cut in (4, 8, len(whole) // 2, len(whole) - 1, len(whole) - 9):
        yield HostileSource("Parquet", f"cut-{cut}.parquet", whole[:cut], "Parquet")
    yield HostileSource("Parquet", "footer-4g.parquet", whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:], "Parquet")
    yield HostileSource("Parquet", "footer-noise.parquet", whole[:-300] + CANARY * 12 + whole[-8:], "Parquet")
    rows = 200_000
    same = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int8()).fill_null(0), pa.array(["a.png"]))
    yield parquet("rows.parquet", pa.table({"uri": same}), rows=1, compression="zstd")
    caption = pa.DictionaryArray.from_arrays(pa.nulls(20_000, pa.int8()).fill_null(0), pa.array(["x" * LONG]))
    names = pa.array([f"{n}.png" for n in range(20_000)])
    yield parquet(
        "long-captions.parquet", pa.table({"uri": names, "caption": caption}), "hold over 256 MiB", compression="zstd"
    )
    yield parquet(
        "long-caption.parquet",
        pa.table({"uri": names.slice(0, 1), "caption": pa.array(["x" * 16 * _MB])}),
        "the dictionary of column",
        compression="zstd",
    )
    nested: pa.DataType = pa.string()
    for _ in range(200):
        nested = pa.struct([("x", nested)])
    yield parquet("deep.parquet", pa.table({"uri": names.slice(0, 1), "x": pa.nulls(1, nested)}), "too deeply nested")
    wide = pa.table({"uri": names.slice(0, 1), **{f"c{n}": pa.nulls(1, pa.int8()) for n in range(20_000)}})
    yield parquet("wide.parquet", wide, "columns")
    lists = pa.ListArray.from_arrays(pa.array([0, 100_000], pa.int32()), pa.nulls(100_000, pa.int8()).fill_null(0))
    yield parquet(
        "long-list.parquet", pa.table({"uri": names.slice(0, 1), "x": lists}), "values a row", compression="zstd"
    )


def write_all(folder: Path) -> list[tuple[Path, HostileSource]]:
    """Write each source into a folder of its own."""
    out = []
    for source in sources():
        path = folder / source.name.replace(".", "-") / source.name
        path.parent.mkdir(parents=True)
        path.write_bytes(source.data)
        out.append((path, source))
    return out
