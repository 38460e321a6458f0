"""Read the text chunks of a PNG in which readers look for EXIF and XMP."""

from __future__ import annotations

import re
import zlib

_KEYWORDS = frozenset(
    {
        b"exif",
        b"raw profile type exif",
        b"raw profile type app1",
        b"raw profile type xmp",
        b"xml:com.adobe.xmp",
        b"xmp",
    }
)
_PROFILE = re.compile(rb"\s*[^\n]*\n\s*[0-9]+\s*\n([0-9a-fA-F\s]*)")  # a name, a length, and hexadecimal digits
_MAX_BYTES = 1 << 20  # because Pillow refuses a file with a longer text


def read_profile(name: bytes, body: bytes) -> tuple[bytes, bytes] | None:
    """Return (keyword in small letters, content) of a tEXt, zTXt or iTXt chunk that may hold EXIF or XMP.

    Returns:
        None for any other chunk, and for one whose content cannot be read.
    """
    keyword, _, rest = body.partition(b"\0")
    keyword = keyword.strip().lower()
    if name not in (b"tEXt", b"zTXt", b"iTXt") or keyword not in _KEYWORDS:
        return None
    is_packed = name == b"zTXt" or (name == b"iTXt" and rest[:1] not in (b"", b"\0"))
    if name == b"zTXt":
        rest = rest[1:]
    elif name == b"iTXt":
        rest = rest[2:].split(b"\0", 2)[-1]
    if is_packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _MAX_BYTES)
        except zlib.error:
            return None
    if keyword.startswith(b"raw profile") and (coded := _PROFILE.match(rest)) is not None:
        digits = b"".join(coded[1].split())
        rest = bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    return keyword, rest
