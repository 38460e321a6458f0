"""Content Credentials in a file: the C2PA library accepts them, nothing can hide in them, and their bytes repeat."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from certificates import make_certificates
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.mark import SOURCE_TYPE, add_mark
from anon_batch.release.c2pa.carriers import insert, wrap
from anon_batch.release.c2pa.cbor import Tagged, decode, encode
from anon_batch.release.c2pa.credentials import add_credentials, split_credentials
from anon_batch.release.c2pa.signer import Signer, load_signer

MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}
PEMS = {name: make_certificates(key) for name, key in KEYS.items()}


def _signer(name: str = "P-256") -> Signer:
    key, chain = PEMS[name]
    return load_signer(key, "key", chain, "chain")


def _file(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    samples = np.random.default_rng(2).integers(0, 256, (29, 43, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(samples).convert(mode).save(buffer, kind, **options)
    return add_mark(buffer.getvalue(), kind)


FILES = {
    "JPEG": _file("JPEG"),
    "JPEG CMYK": _file("JPEG", "CMYK"),
    "JPEG turned": _file("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "PNG": _file("PNG", "RGBA"),
    "WEBP": _file("WEBP"),
    "WEBP lossless": _file("WEBP", "RGBA", lossless=True),
}


def _kind(name: str) -> str:
    return name.split(maxsplit=1)[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("key", KEYS)
def test_the_library_accepts_them_and_finds_nothing_but_the_source_type(name: str, key: str) -> None:
    c2pa = pytest.importorskip("c2pa")
    signed = add_credentials(FILES[name], _kind(name), _signer(key))
    authority = PEMS[key][1].decode().partition("-----END CERTIFICATE-----\n")[2]
    settings = {"trust": {"user_anchors": authority}, "verify": {"verify_trust": True, "remote_manifest_fetch": False}}
    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    with c2pa.Reader(MIME[_kind(name)], io.BytesIO(signed), context=context) as reader:
        said = json.loads(reader.json())
    assert said["validation_state"] == "Trusted", said["validation_results"]
    assert said["validation_results"]["activeManifest"]["failure"] == []
    [manifest] = said["manifests"].values()
    assert set(manifest) == {
        *("claim_generator_info", "instance_id", "assertions", "signature_info", "label", "claim_version"),
    }
    assert manifest["claim_generator_info"] == [{"name": "anon-batch"}]
    [assertion] = manifest["assertions"]
    assert assertion["data"] == {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}]}
    with Image.open(io.BytesIO(signed)) as after, Image.open(io.BytesIO(FILES[name])) as before:
        assert np.array_equal(np.asarray(after), np.asarray(before))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("key", KEYS)
def test_the_bytes_repeat_and_nothing_but_a_block_is_added(name: str, key: str) -> None:
    signed = add_credentials(FILES[name], _kind(name), _signer(key))
    assert signed == add_credentials(FILES[name], _kind(name), _signer(key))
    assert split_credentials(signed) == (FILES[name], [])
    assert inspect(FILES[name], marked=True) == []
    assert inspect(signed, marked=True), "what is signed passes nowhere else"
    assert split_credentials(FILES[name]) == (FILES[name], [])


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_every_flipped_byte_is_found(name: str) -> None:
    signed = add_credentials(FILES[name], name, _signer("Ed25519"))
    for at in range(0, len(signed), 7):
        changed = bytearray(signed)
        changed[at] ^= 0x01
        plain, faults = split_credentials(bytes(changed))
        assert faults or inspect(plain, marked=True), f"byte {at} of {len(signed)}"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_the_library_sees_that_the_image_was_changed_as_verify_does(name: str) -> None:
    c2pa = pytest.importorskip("c2pa")
    signed = bytearray(add_credentials(FILES[name], name, _signer()))
    signed[-30 if name != "WEBP" else 60] ^= 0xFF
    assert split_credentials(bytes(signed))[1]
    with c2pa.Reader(MIME[name], io.BytesIO(bytes(signed))) as reader:
        assert reader.get_validation_state() == "Invalid"


def test_credentials_of_the_library_itself_are_refused() -> None:
    """It adds salts, its version and padding, and could add a thumbnail."""
    c2pa = pytest.importorskip("c2pa")
    key, chain = PEMS["P-256"]
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, key, None))
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    manifest = {
        "title": "a name that leads to the source",
        "claim_generator_info": [{"name": "anon-batch"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    signed = io.BytesIO()
    with c2pa.Builder.from_json(json.dumps(manifest)) as builder:
        builder.sign(signer, "image/jpeg", io.BytesIO(FILES["JPEG"]), signed)
    plain, faults = split_credentials(signed.getvalue())
    assert faults or inspect(plain, marked=True)


def test_credentials_of_another_image_are_refused() -> None:
    other = _file("JPEG", "L")
    signed = add_credentials(FILES["JPEG"], "JPEG", _signer())
    at = signed.index(b"\xff\xeb")
    block = signed[at : at + 2 + int.from_bytes(signed[at + 2 : at + 4], "big")]
    start = other.index(b"\xff\xe1")
    plain, faults = split_credentials(other[:start] + block + other[start:])
    assert plain == other
    assert any("of another image" in fault for fault in faults)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_store_that_is_none_is_a_fault(kind: str) -> None:
    for store in (b"", b"jumb", b"c2pa.signature\0" + bytes(20), b"c2pa.signature\0" + bytes(8) + encode([1])):
        broken = insert(FILES[kind], kind, wrap(store, kind))
        plain, faults = split_credentials(broken)
        assert plain == FILES[kind]
        assert any("cannot be read" in fault for fault in faults)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_damage_breaks_the_check(kind: str) -> None:
    signed = add_credentials(FILES[kind], kind, _signer())
    rng = np.random.default_rng(5)
    for _ in range(300):
        start, stop = np.sort(rng.integers(0, len(signed), 2))
        other = rng.bytes(int(rng.integers(0, 40)))
        plain, faults = split_credentials(signed[:start] + other + signed[stop:])
        assert faults or inspect(plain, marked=True)
    for length in (64_000, 64_900):  # what would be too long when it is written again
        signature = encode(Tagged(18, [bytes(length), {}, None, b""]))
        store = b"c2pa.signature\0" + bytes(8) + signature
        assert split_credentials(insert(FILES[kind], kind, wrap(store, kind)))[1]


def test_certificates_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="bytes in a JPEG"):
        wrap(bytes(70_000), "JPEG")
    with pytest.raises(ValueError, match="bytes in a TIFF"):
        wrap(b"", "TIFF")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(0, 99), inner, max_size=4)
        | st.builds(Tagged, st.integers(0, 99), inner)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_cbor_comes_back(value: Any) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60))
def test_damaged_cbor_is_an_error_or_a_value(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        return


def test_cbor_is_that_of_the_standard() -> None:
    """Examples of RFC 8949, appendix A."""
    for value, digits in (
        (23, "17"),
        (24, "1818"),
        (1000, "1903e8"),
        (1000000, "1a000f4240"),
        (-1, "20"),
        (-1000, "3903e7"),
        (b"\1\2\3\4", "4401020304"),
        ("IETF", "6449455446"),
        ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
        (Tagged(1, 1363896240), "c11a514b67b0"),
    ):
        assert encode(value).hex() == digits
    with pytest.raises(TypeError):
        encode(1.5)
