"""Images with something under little or no opacity, in every format and mode that can hold it, and readers that show it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image, features

from anon_batch.records import PixelArray

SIDE = 48
BOX = (12, 10, 36, 38)  # of the face, px
_YELLOW = (230, 200, 40)


def face(background: tuple[int, int, int] = (60, 90, 120)) -> PixelArray:
    """Return (SIDE, SIDE, 3) RGB: a background and a yellow face in BOX."""
    pixels = np.full((SIDE, SIDE, 3), background, np.uint8)
    x1, y1, x2, y2 = BOX
    pixels[y1:y2, x1:x2] = _YELLOW
    pixels[y1 + 6 : y1 + 10, x1 + 5 : x1 + 9] = pixels[y1 + 6 : y1 + 10, x2 - 9 : x2 - 5] = 20
    pixels[y2 - 8 : y2 - 5, x1 + 6 : x2 - 6] = 20
    return pixels


def is_face(pixels: PixelArray) -> bool:
    """Return whether the face's eyes and mouth, or their negative, differ from what surrounds them."""
    grey = pixels.astype(np.float32).mean(axis=2)
    x1, y1, x2, y2 = BOX
    eyes = [grey[y1 + 7 : y1 + 9, x : x + 2] for x in (x1 + 6, x2 - 8)]
    dark = [*eyes, grey[y2 - 7 : y2 - 6, x1 + 8 : x2 - 8]]
    skin = [grey[y1 + 13 : y2 - 10, x1 + 3 : x2 - 3], grey[y1 + 1 : y1 + 4, x1 + 3 : x2 - 3]]
    spread = max(float(part.std()) for part in (*dark, *skin))
    gaps = [abs(float(a.mean() - b.mean())) for a in dark for b in skin]
    return min(gaps) > 25 + 3 * spread


def opaque_readings(data: bytes) -> list[PixelArray]:
    """Return the image as readers show it that drop alpha, and alpha alone as grey."""
    image = Image.open(io.BytesIO(data))
    shown: list[PixelArray] = []
    if image.mode in ("RGBA", "LA", "PA", "RGBa"):
        whole = np.asarray(image.convert("RGBA"))
        alpha = whole[..., 3:].astype(int) - int(whole[..., 3].min())
        shown += [whole[..., :3], np.repeat((alpha * 255 // max(int(alpha.max()), 1)).astype(np.uint8), 3, axis=2)]
    elif image.mode == "P" and image.palette is not None:
        palette = np.zeros((256, 3), np.uint8)
        entries = np.frombuffer(image.palette.getdata()[1], np.uint8)[: 256 * 3].reshape(-1, 3)
        palette[: len(entries)] = entries
        shown.append(palette[np.asarray(image)])
    else:
        shown.append(np.asarray(image.convert("RGB")))
    for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED):
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if array is None:
            continue
        if array.dtype == np.uint16:
            array = (array >> 8).astype(np.uint8)
        shown.append(np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array[..., 2::-1])
    return shown


def composites(data: bytes) -> list[PixelArray]:
    """Return the image over black, grey and white."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return [
        np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, (v, v, v, 255)), image).convert("RGB"))
        for v in (0, 128, 255)
    ]


def alpha_of(low: int, dtype: Any = np.uint8) -> Any:
    """Return alpha: opaque at the border, `low` elsewhere."""
    alpha = np.full((SIDE, SIDE), np.iinfo(dtype).max, dtype)
    alpha[3:-3, 3:-3] = low
    return alpha


def file(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def rgba(low: int) -> Image.Image:
    return Image.fromarray(np.dstack([face(), alpha_of(low)]))


def grey(low: int) -> Image.Image:
    grey = np.asarray(Image.fromarray(face()).convert("L"))
    return Image.fromarray(np.dstack([grey, alpha_of(low)]))


def wide(low: int) -> bytes:
    samples = np.dstack([face()[..., ::-1].astype(np.uint16) * 257, alpha_of(low, np.uint16)])
    return bytes(cv2.imencode(".png", samples)[1].tobytes())


def wide_grey(low: int) -> bytes:
    """Return a PNG with 16 bits of grey and of alpha, which neither Pillow nor OpenCV writes."""
    grey = np.asarray(Image.fromarray(face()).convert("L")).astype(">u2") * 257
    rows = np.dstack([grey, alpha_of(low, np.uint16)]).astype(">u2").reshape(SIDE, -1)
    return png(16, 4, b"".join(b"\0" + row.tobytes() for row in rows))


def png(depth: int, colour: int, raw: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def palette(low: int) -> bytes:
    image = Image.fromarray(face()).quantize(8)
    return file(image, "PNG", transparency=bytes([low] * 8))


def tiff(low: int, kind: int) -> bytes:
    """Return a TIFF whose fourth sample is alpha of a kind: 0 unspecified, 1 associated, 2 unassociated."""
    colours, alpha = face().astype(np.uint16), alpha_of(low)
    if kind == 1:
        colours = colours * alpha[..., None] // 255
    pixels = np.dstack([colours.astype(np.uint8), alpha]).tobytes()
    shorts = [(259, 1), (262, 2), (277, 4), (284, 1), (338, kind)]
    longs = [(256, SIDE), (257, SIDE), (273, 256), (278, SIDE), (279, len(pixels))]
    entries = [struct.pack("<HHII", tag, 3, 1, value) for tag, value in shorts]
    entries += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs]
    entries.append(struct.pack("<HHII", 258, 3, 4, 200))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return head.ljust(200, b"\0") + struct.pack("<4H", 8, 8, 8, 8).ljust(56, b"\0") + pixels


def key_colour(mode: str) -> bytes:
    """Return a PNG whose face is all in the one transparent colour, but for its eyes and mouth."""
    if mode == "L":
        [[grey]] = np.asarray(Image.new("RGB", (1, 1), _YELLOW).convert("L")).tolist()
        return file(Image.fromarray(face()).convert("L"), "PNG", transparency=grey)
    return file(Image.fromarray(face()), "PNG", transparency=_YELLOW)


def gif() -> bytes:
    image = Image.fromarray(face(background=(128, 128, 128))).quantize(8)
    index = image.getpixel((BOX[0] + 2, BOX[1] + 2))
    return file(image, "GIF", transparency=index)


def alpha_face(colour: int = 128) -> Image.Image:
    """Return an image of one colour whose alpha is the face."""
    alpha = np.asarray(Image.fromarray(face()).convert("L"))
    return Image.fromarray(np.dstack([np.full((SIDE, SIDE, 3), colour, np.uint8), alpha]))


def hiding() -> Iterator[tuple[str, bytes]]:
    """Yield (name, file) of images whose face a reader without transparency shows."""
    for low in (1, 2, 3, 8, 40):
        yield f"PNG RGBA {low}", file(rgba(low), "PNG")
        yield f"PNG LA {low}", file(grey(low), "PNG")
        yield f"PNG palette {low}", palette(low)
        yield f"WEBP lossless {low}", file(rgba(low), "WEBP", lossless=True, exact=True)
        yield f"WEBP lossy {low}", file(rgba(low), "WEBP", quality=90, exact=True)
        yield f"TIFF unassociated {low}", tiff(low, 2)
        yield f"TIFF unspecified {low}", tiff(low, 0)
        yield f"TIFF Pillow {low}", file(rgba(low), "TIFF")
        yield f"TIFF LA {low}", file(grey(low), "TIFF")
        if features.check("avif"):
            yield f"AVIF {low}", file(rgba(low), "AVIF", quality=90)
    for low in (1, 20, 128, 129, 257, 1000):
        yield f"PNG 16 bits {low}", wide(low)
        yield f"PNG 16 bits grey {low}", wide_grey(low)
    yield "PNG RGB key", key_colour("RGB")
    yield "PNG L key", key_colour("L")
    yield "GIF", gif()
    yield "PNG alpha is the face", file(alpha_face(), "PNG")
    faint = alpha_face()
    faint.putalpha(faint.getchannel("A").point(lambda value: 235 + value * 20 // 255))
    yield "PNG nearly opaque alpha is the face", file(faint, "PNG")
    yield "WEBP alpha is the face", file(alpha_face(), "WEBP", lossless=True, exact=True)
    yield "TIFF associated 40", tiff(40, 1)


def fully_clear() -> Iterator[tuple[str, bytes]]:
    """Yield (name, file) of images whose face lies under alpha 0."""
    yield "PNG RGBA", file(rgba(0), "PNG")
    yield "PNG LA", file(grey(0), "PNG")
    yield "PNG palette", palette(0)
    yield "PNG 16 bits", wide(0)
    yield "PNG 16 bits grey", wide_grey(0)
    yield "WEBP lossless", file(rgba(0), "WEBP", lossless=True, exact=True)
    yield "WEBP lossy", file(rgba(0), "WEBP", quality=90, exact=True)
    yield "TIFF unassociated", tiff(0, 2)
    yield "TIFF Pillow", file(rgba(0), "TIFF")
    if features.check("avif"):
        yield "AVIF", file(rgba(0), "AVIF", quality=90)
