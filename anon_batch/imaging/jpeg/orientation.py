"""Read what the EXIF and XMP segments of a JPEG say about its orientation."""

from __future__ import annotations

from collections.abc import Iterable

from anon_batch.imaging.orientation_claims import Orientation, read_exif, read_xmp, settle

_SOS, _APP1 = 0xDA, 0xE1
_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP_START = b"http://ns.adobe.com/xmp/extension/\0"
_MORE_XMP_HEAD = len(_MORE_XMP_START) + 32 + 4 + 4  # an id, the whole length, where this part begins


def read_jpeg_orientation(data: bytes, segments: Iterable[tuple[int, int, int]]) -> Orientation:
    """Return what the EXIF and XMP segments before the first scan say.

    Args:
        data: the file.
        segments: (marker, start, end) of each.
    """
    exif, odd, xmp = list[bytes](), list[bytes](), list[bytes]()
    for marker, start, end in segments:
        if marker == _SOS:
            break
        body = data[start + 4 : end] if marker == _APP1 else b""
        if body.startswith(b"Exif\0\0"):
            exif.append(body)
        elif body[:4].lower() == b"exif":
            odd.append(body)
        elif body.startswith(_XMP_START):
            xmp.append(body)
        elif body.startswith(_MORE_XMP_START):
            xmp.append(body[_MORE_XMP_HEAD:])
    # Pillow takes several blocks for the parts of one; OpenCV takes the first alone.
    joined = [exif[0] + b"".join(block[6:] for block in exif[1:])] if exif else []
    first = [read_exif(exif[0]) or Orientation()] if len(exif) > 1 else []
    # Extended XMP is cut into parts anywhere.
    packets = [*xmp[::-1], b"".join(xmp)] if len(xmp) > 1 else xmp
    return settle(
        [read_exif(joined[0]) if joined else None, *map(read_xmp, packets)],
        [*first, *map(read_exif, [*exif[1:], *odd])],
    )
