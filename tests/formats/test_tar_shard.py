"""Samples of a tar: equal samples give equal bytes, every reader finds them under their keys, and one image can be taken out."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from anon_batch.formats.tar_shard import (
    Sample,
    fits_header,
    is_readable_key,
    members_of,
    read_samples,
    record_of,
    sample_key,
    write_samples,
)

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("./_"), min_size=1, max_size=40)


def _two_views() -> list[Sample]:
    """Return a sample with two images as the two rows write it."""
    shared = (("k.json", b"{}"), ("k.cls", b"1"))
    return [
        Sample("k", (("k.left.jpg", b"L"), *shared, ("k.left.jpg.json", b"l"))),
        Sample("k", (("k.right.jpg", b"R"), *shared, ("k.right.jpg.json", b"r"))),
    ]


def test_rows_of_one_sample_are_one_with_each_member_once_and_images_first() -> None:
    [sample] = read_samples(write_samples(_two_views()))
    names = ["k.left.jpg", "k.right.jpg", "k.json", "k.cls", "k.left.jpg.json", "k.right.jpg.json"]
    assert [name for name, _ in sample.members] == names
    assert write_samples([sample]) == write_samples(_two_views())


def test_an_image_is_taken_out_with_its_record_and_the_rest_written_again_is_the_same() -> None:
    [sample] = read_samples(write_samples(_two_views()))
    parts = [sample.with_image(name) for name in sample.images]
    assert [name for name, _ in parts[0].members] == ["k.left.jpg", "k.json", "k.cls", "k.left.jpg.json"]
    assert write_samples(parts) == write_samples([sample])


@given(NAMES, st.sampled_from(["jpg", "left.png", "cls"]))
def test_keys_are_those_of_webdataset(key: str, extension: str) -> None:
    name = f"{key}.{extension}"
    base, _ = base_plus_ext(name)
    if base is not None and "\n" not in name:
        assert sample_key(name) == base
    if is_readable_key(key):
        assert (base, extension) == base_plus_ext(name) == (key, extension) or "\n" in name


@pytest.mark.parametrize("key", ["", "a/", ".a", "a/.b", "a.b", "__x__", "__MACOSX__/a", "a/b.c"])
def test_keys_that_readers_skip_or_cut_are_known(key: str) -> None:
    assert not is_readable_key(key)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("/"), min_size=1, max_size=280))
def test_a_name_fits_exactly_when_a_tar_can_hold_it(name: str) -> None:
    def write() -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
            tar.addfile(tarfile.TarInfo(name))
        return buffer.getvalue()

    plain = name.strip("/") or "x"
    name = plain
    if fits_header(name):
        write()
    else:
        with pytest.raises(ValueError, match="too long"):
            write()


def test_members_beside_an_image_are_the_text_fields_and_its_record() -> None:
    beside = members_of("d/k.left.jpg")
    assert {"d/k.cls", "d/k.json", "d/k.txt", record_of("d/k.left.jpg")} < beside
    assert beside.isdisjoint({"d/k.left.jpg", "d/k.npy", "d/k.right.jpg.json", "k.cls"})


def test_names_are_written_in_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample("é", (("é.jpg", b"1"),))
    expected = write_samples([sample])
    monkeypatch.setattr(tarfile, "ENCODING", "ascii")
    assert write_samples([sample]) == expected
    assert list(read_samples(expected)) == [sample]
    with tarfile.open(fileobj=io.BytesIO(expected), encoding="utf-8") as tar:
        assert tar.getnames() == ["é.jpg"]
