from __future__ import annotations

import os
import posixpath
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from anon_batch.errors import ManifestError
from anon_batch.formats.layout import IMAGE_SUFFIXES, image_key, output_name
from anon_batch.manifest import check_rows, open_manifest, rows_from_table
from anon_batch.manifest.addresses import Cell, cell_prefix, parse_cell, relative, resolve
from anon_batch.manifest.importers.patterns import expand_braces
from anon_batch.manifest.names import is_safe, unsafe
from anon_batch.manifest.schema import FIXED_SCHEMA
from anon_batch.storage import Storage, join

segments = st.sampled_from(
    ["..", ".", "", "a", "b.jpg", "~", "c:", "a\\b", "x\x00", "é" * 130, "a::b", ".partial-x", "ok.png", " "]
)
wild_ids = st.one_of(st.text(max_size=40), st.lists(segments, min_size=1, max_size=5).map("/".join))
plain_ids = st.from_regex(r"[a-c]{1,2}(/[a-c]{1,2}){0,2}(\.jpg|\.png|)", fullmatch=True)


def table_of(ids):
    given_columns = {"image_id": ids, "uri": ["/x"] * len(ids)}
    return pa.table(
        [pa.array(given_columns.get(f.name, [None] * len(ids)), f.type) for f in FIXED_SCHEMA],
        schema=FIXED_SCHEMA,
    )


def passes(ids, **options):
    try:
        check_rows(lambda: iter([table_of(ids[: len(ids) // 2]), table_of(ids[len(ids) // 2 :])]), **options)
    except ManifestError:
        return False
    return True


@given(wild_ids)
@example("a/../../etc/passwd")
@example("..")
def test_an_id_that_passes_stays_below_the_output_folder(image_id):
    if not is_safe(image_id):
        return
    for root in ("/out/release", "s3://bucket/release"):
        path = join(root, image_key(output_name(image_id, "JPEG", keep_format=True)))
        assert posixpath.normpath(path.removeprefix("s3:/")).startswith(
            posixpath.normpath(root.removeprefix("s3:/")) + "/images/"
        )
    assert not any(ord(c) < 32 for c in image_id)
    assert os.path.expanduser(image_id) == image_id
    assert all(len(part.encode()) <= 255 for part in output_name(image_id, "JPEG", keep_format=True).split("/"))


@given(st.lists(plain_ids, min_size=1, max_size=8), st.booleans())
def test_ids_that_pass_never_write_the_same_output(ids, keep_format):
    outputs = [output_name(i, "JPEG", keep_format) for i in ids]
    folders = {"/".join(o.split("/")[:d]) for o in outputs for d in range(1, o.count("/") + 1)}
    collide = len(set(outputs)) < len(outputs) or bool(folders & set(outputs))
    if passes(ids, keep_format=keep_format):
        assert not collide
    elif keep_format:  # nothing is refused without need: some format makes them collide
        formats = [output_name(i, f, keep_format) for i in set(ids) for f in ("JPEG", "PNG")]
        assert (
            len(set(ids)) < len(ids)
            or len(set(formats)) < sum(1 if i.endswith(IMAGE_SUFFIXES) else 2 for i in set(ids))
            or ({"/".join(o.split("/")[:d]) for o in formats for d in range(1, o.count("/") + 1)} & set(formats))
        )


@given(st.lists(st.sampled_from(["a.jpg", "b.jpg", "c", "", None, "../x", "d/e.png"]), min_size=1, max_size=6))
def test_only_complete_unique_safe_ids_pass(ids):
    assert passes(ids) == (len(set(ids)) == len(ids) and not set(ids) & {"", None, "../x"})


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.text("abc/.:#~ é", min_size=1, max_size=8)),
            st.one_of(st.none(), st.integers(0, 2**62)),
            st.one_of(st.none(), st.lists(st.floats(0, 100, width=32), max_size=3)),
        ),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 7),
    st.integers(1, 9),
)
def test_every_row_is_read_once_and_whole(rows, batch_rows, group_rows):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "m.parquet")
        regions = [
            None if f is None else [{"x1": v, "y1": v, "x2": v, "y2": v, "label": "face", "ignore": False} for v in f]
            for _, _, f in rows
        ]
        table = pa.table(
            {
                "image_id": [f"{n}.jpg" for n in range(len(rows))],
                "uri": pa.array([u and f"s3://b/{u}" for u, _, _ in rows], pa.string()),
                "size_bytes": pa.array([s for _, s, _ in rows], pa.int64()),
                "regions": pa.array(regions, FIXED_SCHEMA.field("regions").type),
                "extra": [u for u, _, _ in rows],
            }
        )
        pq.write_table(table, path, row_group_size=group_rows)
        read = []
        for piece in open_manifest(Storage(), path).iter_tables(batch_rows=batch_rows):
            assert len(piece) <= batch_rows
            read += rows_from_table(piece, len(read))
    assert [r.index for r in read] == list(range(len(rows)))
    assert [
        (r.extra["extra"], r.size_bytes, None if r.regions is None else r.regions.boxes[:, 0].tolist()) for r in read
    ] == rows
    assert all(r.uri == (u and f"s3://b/{u}") for r, (u, _, _) in zip(read, rows, strict=True))


@given(
    st.lists(st.text("ab/.:~#% é", min_size=1, max_size=10).map(lambda t: f"/data/set/{t}"), max_size=5),
    st.sampled_from(["/data", "/data/set/"]),
)
def test_relative_addresses_lead_back(uris, base):
    array = pa.array(uris, pa.string())
    assert resolve(relative(array, [(base, "")]), base).to_pylist() == uris


@given(st.text(min_size=1, max_size=20), st.integers(0, 10**9))
def test_cells_lead_back(column, row):
    uri = "s3://b/x#column=y&row=1/z.parquet"
    assert parse_cell(f"{cell_prefix(uri, column)}{row}") == Cell(uri, column, row)
    assert parse_cell("/data/a.jpg") is None


@given(st.integers(0, 50), st.integers(0, 20), st.integers(1, 4))
def test_braces_count_like_a_shell(first, more, width):
    written = expand_braces(f"s-{{{first:0{width}d}..{first + more:0{width}d}}}.tar")
    assert len(written) == more + 1
    assert [int(w[2:-4]) for w in written] == list(range(first, first + more + 1))
    assert all(len(w[2:-4]) >= width for w in written)


@given(wild_ids)
@example("a\n")
@example("a\u2028b")
@example("a\x9fb")
@example("n" * 251)
def test_one_name_is_judged_as_a_column_is(image_id):
    if image_id:
        assert is_safe(image_id) == (not unsafe(pa.array([image_id]))[0])
