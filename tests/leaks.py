"""A scanner of public pages and JSON files: fail where one holds a secret, however it is written.

It shares no code with the package. It takes encodings apart one inside the other (base64, hexadecimal digits, percent signs,
HTML entities, escapes of JSON, JavaScript and CSS, UTF-16, gzip, zlib, tar, zip, Parquet), and looks for secrets in every
layer. Images in it are compared with pieces of the originals that nobody may see.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import html
import io
import re
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Secret = str | bytes
_DEPTH = 5
_SHORTEST = 5  # bytes; what is shorter is found by chance
_CONTEXT = 40
_FILE_BYTES = 100
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/_-]{40,}\r?\n)*[A-Za-z0-9+/_-]{7,}={0,2}")
_TEXT = re.compile(rb"[\t\n\r -~\x80-\xff]*")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}[ :]?){5,}")
_ESCAPE = re.compile(rb"\\(?:u\{?|x|U)?([0-9a-fA-F]{1,8})\}?[ ]?|\\(.)", re.S)
_ALIKE = 0.97
_SMALLEST_PX = 12


def assert_public(content: Secret, secrets: Iterable[Secret], hidden: Sequence[np.ndarray] = ()) -> None:
    """Fail if the content of a public file holds a secret.

    Args:
        content: of the file.
        secrets: texts and bytes that must not be in it; upper and lower case count as equal.
        hidden: pieces of original images that must not be in an image of the file, (H, W, 3) RGB uint8. Pieces with a side
            under 12 px, and pieces of one colour, are not looked for.

    Raises:
        AssertionError: says which secret, behind which encodings, and what stands around it.
        ValueError: a secret is so short that it would be found by chance.
    """
    wanted = [_as_bytes(secret) for secret in secrets]
    if short := [secret for secret in wanted if len(secret) < _SHORTEST]:
        raise ValueError(f"secrets of less than {_SHORTEST} bytes: {short}")
    folded = list(dict.fromkeys(secret.lower() for secret in wanted))
    for path, layer in _layers(_as_bytes(content)):
        low = layer.lower()
        for secret in folded:
            at = low.find(secret)
            assert at < 0, f"{secret!r} is in {path}: {layer[max(0, at - _CONTEXT) : at + len(secret) + _CONTEXT]!r}"
        if hidden and (image := _image(layer)) is not None:
            for index, piece in enumerate(hidden):
                assert not _contains(image, piece), f"piece {index} of the originals is in an image in {path}"


def secrets_of(sources: Iterable[Path], ledger: Path) -> list[bytes]:
    """Return what no public file may hold about local sources and a ledger: addresses, digests, keys.

    Names of files and of the folder that holds them all are left out, because an image's id is public.
    """
    found: list[bytes] = [str(ledger).encode()]
    for source in sources:
        data = source.read_bytes()
        digests = [hashlib.new(name, data).digest() for name in ("sha256", "md5", "sha1")]
        found += [str(source.parent).encode(), *digests, *(digest.hex().encode() for digest in digests)]
    for key in ledger.rglob("*.key"):
        content = key.read_bytes()
        found += [content, content.hex().encode(), content.strip()]
    return list(dict.fromkeys(secret for secret in found if len(secret) >= _SHORTEST))


def _as_bytes(value: Secret) -> bytes:
    return value.encode("utf-8", errors="surrogatepass") if isinstance(value, str) else bytes(value)


def _layers(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the content, and all that its encodings hide, each with the way to it."""
    queue, seen = [("the text", content, 0)], set[bytes]()
    while queue:
        path, layer, depth = queue.pop(0)
        digest = hashlib.sha256(layer).digest()
        if not layer or digest in seen:
            continue
        seen.add(digest)
        yield path, layer
        if depth < _DEPTH:
            for name, decode in _DECODERS.items():
                queue += [(f"{path}, {name}", found, depth + 1) for found in decode(layer)]


def _text_layer(change: Callable[[str], str]) -> Callable[[bytes], Iterator[bytes]]:
    def decode(layer: bytes) -> Iterator[bytes]:
        changed = _as_bytes(change(layer.decode("latin-1")).encode("latin-1", errors="xmlcharrefreplace"))
        if changed != layer:
            yield changed

    return decode


def _entities(layer: bytes) -> Iterator[bytes]:
    if b"&" in layer and not _is_binary(layer):
        yield _as_bytes(html.unescape(layer.decode("utf-8", errors="replace")))


def _escapes(layer: bytes) -> Iterator[bytes]:
    if b"\\" in layer and not _is_binary(layer):
        yield _ESCAPE.sub(lambda m: _character(m[1]) if m[1] else m[2], layer)


def _character(digits: bytes) -> bytes:
    code = int(digits, 16)
    return chr(code).encode("utf-8", errors="surrogatepass") if code <= 0x10FFFF else digits


def _base64(layer: bytes) -> Iterator[bytes]:
    if _is_binary(layer):
        return
    for start in range(4):  # because what stands before may look like base64, for example a path
        found = []
        for token in dict.fromkeys(_BASE64.findall(layer)):
            plain = re.sub(rb"[\r\n=]", b"", token).translate(bytes.maketrans(b"-_", b"+/"))[start:]
            plain = plain[: len(plain) - (len(plain) % 4 == 1)]
            found.append(base64.b64decode(plain + b"=" * (-len(plain) % 4)))
        yield from _grouped(found)


def _hex(layer: bytes) -> Iterator[bytes]:
    if not _is_binary(layer):
        yield from _grouped(
            [binascii.unhexlify(re.sub(rb"[ :]", b"", token)) for token in dict.fromkeys(_HEX.findall(layer))]
        )


def _grouped(found: Sequence[bytes]) -> Iterator[bytes]:
    """Yield long layers alone, as they may be files, and short ones together, as a page has many words."""
    yield from (own for own in found if len(own) >= _FILE_BYTES)
    short = [own for own in found if len(own) < _FILE_BYTES]
    yield b"\n".join(short)
    yield b"\n".join(own for own in short if _TEXT.fullmatch(own))


def _utf_16(layer: bytes) -> Iterator[bytes]:
    if b"\0" in layer:
        for start in (0, 1):
            yield layer[start::2]


def _compressed(layer: bytes) -> Iterator[bytes]:
    for start in [m.start() for m in re.finditer(rb"\x1f\x8b\x08", layer)]:
        try:
            yield gzip.decompress(layer[start:])
        except (OSError, EOFError, zlib.error):
            yield _inflated(layer[start:], 31)
    for start in [m.start() for m in re.finditer(rb"x[\x01\x5e\x9c\xda]", layer)]:
        yield _inflated(layer[start:], 15)


def _inflated(data: bytes, window: int) -> bytes:
    try:
        return zlib.decompressobj(window).decompress(data)
    except zlib.error:
        return b""


def _archived(layer: bytes) -> Iterator[bytes]:
    if layer[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(layer)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif layer[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            yield from (file.read() for member in archive if (file := archive.extractfile(member)) is not None)
    elif layer[:4] == b"PAR1":
        try:
            table = pq.read_table(pa.BufferReader(layer))
        except (pa.ArrowException, OSError):  # because taking escapes out of a good one damages it
            return
        yield b"\n".join((table.schema.metadata or {}).values())
        yield from (_as_bytes(str(row)) for row in table.to_pylist())


def _is_binary(layer: bytes) -> bool:
    return b"\0" in layer[:4096]


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "HTML entities": _entities,
    "percent signs": _text_layer(lambda text: urllib.parse.unquote(text, "latin-1") if "%" in text else text),
    "escapes": _escapes,
    "base64": _base64,
    "hexadecimal digits": _hex,
    "UTF-16": _utf_16,
    "compression": _compressed,
    "archive": _archived,
}


def _image(layer: bytes) -> np.ndarray | None:
    """Return the image that the bytes are, (H, W, 3) RGB uint8, or None."""
    if layer[:2] not in (b"\xff\xd8", b"\x89P", b"RI", b"GI", b"BM", b"II", b"MM") and layer[4:8] != b"ftyp":
        return None
    image = cv2.imdecode(np.frombuffer(layer, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _contains(image: np.ndarray, piece: np.ndarray) -> bool:
    """Return whether the piece is in the image, at its own size or reduced to a half, a third or a quarter."""
    for divisor in (1, 2, 3, 4):
        height, width = piece.shape[0] // divisor, piece.shape[1] // divisor
        if min(height, width) < _SMALLEST_PX or height > image.shape[0] or width > image.shape[1]:
            continue
        small = cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA)
        if small.std() > 1 and cv2.matchTemplate(image, small, cv2.TM_CCOEFF_NORMED).max() > _ALIKE:
            return True
    return False
