"""An image file: its header, a preview for detectors, and its whole pixels for everything else."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from anon_batch.imaging.alpha import erase_hidden_colours, seen_without_compositing
from anon_batch.imaging.as_stored import seen_as_stored
from anon_batch.imaging.brighten import brighten, brighten_wide
from anon_batch.imaging.decode import decode_after_header
from anon_batch.imaging.downscale import downscale, fit_size, resize
from anon_batch.imaging.header import ImageHeader, read_image_header
from anon_batch.imaging.jpeg.decode import choose_divisor, decode_jpeg_fraction
from anon_batch.imaging.modes import to_8_bits, to_rgb
from anon_batch.imaging.orientation import difference_of, inverse_of, turn_upright
from anon_batch.records import DecodedImage, PixelArray, Preview


class View(NamedTuple):
    """An image as another reader shows it.

    Args:
        preview: what a detector sees.
        back: the orientation that turns it, and what is found in it, to stand as the image does.
    """

    preview: Preview
    back: int


class SourceImage:
    """One image file, decoded when its pixels are asked for. Only one thread may use it at a time.

    Make one with `open` or `from_array`. The object keeps what it decoded, so that a preview of the whole image and
    `decode` share one decoding, until `release` is called.

    Attributes:
        image_id: the manifest's id.
        data: the file; empty for an image made from an array.
        format: Pillow's name of the format: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.
        width, height: of the upright image, px.
        orientation: EXIF orientation 1..8 of the file.
        others: orientations that other readers may take.
    """

    def __init__(self, image_id: str, data: bytes, header: ImageHeader, decoded: DecodedImage | None = None) -> None:
        self.image_id = image_id
        self.data = data
        self.format = header.format
        self.width = header.width
        self.height = header.height
        self.orientation = header.orientation
        self.others = header.others
        self._header = header
        self._array = decoded
        self._decoded = decoded
        self._preview: tuple[int | None, Preview] | None = None
        self._publishable: bytes | None = None

    @classmethod
    def open(
        cls, image_id: str, data: bytes, *, max_pixels: int | None = None, max_bytes: int | None = None
    ) -> SourceImage:
        """Read the header of a file. No pixel is decoded.

        Args:
            image_id: the manifest's id.
            data: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, whatever the file's name says.
            max_pixels: upper bound of width times height; None sets no bound.
            max_bytes: upper bound of the file's length; None sets no bound.

        Raises:
            FailedError: `empty`, `too_many_bytes`, `too_many_pixels`, `unsupported_format`, `unsupported_mode`,
                `multi_frame`, `truncated`, or `decode` for all other damage.
        """
        return cls(image_id, data, read_image_header(data, max_pixels, max_bytes))

    @classmethod
    def from_array(cls, image_id: str, pixels: PixelArray) -> SourceImage:
        """Return an image of (H, W, 3) uint8 RGB pixels, which are not copied and must not change."""
        decoded = DecodedImage(image_id, pixels)
        return cls(image_id, b"", ImageHeader(decoded.format, decoded.width, decoded.height), decoded)

    @property
    def pixel_count(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def block_px(self) -> int:
        """Longer side of the blocks that a JPEG is coded in (its MCUs), px; 1 for other formats."""
        jpeg = self._header.jpeg
        return 1 if jpeg is None else 8 * max(max(c.horizontal, c.vertical) for c in jpeg.components)

    def preview(self, max_side_px: int | None = None) -> Preview:
        """Return pixels for detection.

        A flawless colour JPEG that is at least twice as long as `max_side_px` is decoded at a fraction of its sides, which
        reads all of its entropy-coded data. Every other image is decoded whole.

        Args:
            max_side_px: upper bound of the longer side; None returns all pixels.

        Raises:
            FailedError: `truncated`, `unsupported_mode` or `decode`, exactly as `decode` would.
        """
        if self._preview is None or self._preview[0] != max_side_px:
            self._preview = max_side_px, self._make_preview(max_side_px)
        return self._preview[1]

    def other_views(self, max_side_px: int | None = None) -> list[View]:
        """Return the image as other readers show it: without transparency, brighter, as stored, inverted, and turned otherwise.

        Most images have none: these are for files with transparency or a palette, for dark or pale images, for 16 bits, for
        CMYK with black, or that does not say whether it is inverted, and for an orientation that is stated twice, or in a way
        that not every reader takes.

        Args:
            max_side_px: as for `preview`.

        Raises:
            FailedError: as `preview`.
        """
        upright = [self.preview(max_side_px), *self._other_colours(max_side_px)]
        views = [View(preview, 1) for preview in upright[1:]]
        for other in sorted(self.others):
            back = difference_of(self.orientation, other)
            views += [View(_turned(preview, inverse_of(back)), back) for preview in upright]
        return views

    def _other_colours(self, max_side_px: int | None) -> list[Preview]:
        shown = [Preview(self.image_id, pixels) for pixels in self._read_otherwise()]
        shown = shown if max_side_px is None else [downscale(preview, max_side_px) for preview in shown]
        for preview in [self.preview(max_side_px), *shown]:
            if (brighter := brighten(preview.pixels)) is not None:
                shown.append(preview.resized(brighter))
        return shown

    def _read_otherwise(self) -> list[PixelArray]:
        jpeg = self._header.jpeg
        if jpeg is not None and len(jpeg.components) != 4:
            return []
        decoded = self.decode()
        if decoded.native is None:
            return []
        published = erase_hidden_colours(decoded.native, decoded.native_mode, decoded.palette)
        shown = seen_as_stored(published, decoded.native_mode)
        if jpeg is not None:
            is_doubtful = jpeg.adobe_transform is None
            return [*shown, to_rgb(255 - decoded.native, "CMYK")] if is_doubtful else shown
        shrink = partial(to_8_bits, white=decoded.white)
        shown += seen_without_compositing(decoded.native, decoded.native_mode, decoded.palette, shrink)
        brighter = brighten_wide(decoded)
        return shown if brighter is None else [*shown, brighter]

    def decode(self) -> DecodedImage:
        """Return the whole image.

        Raises:
            FailedError: `truncated`, `unsupported_mode` or `decode`.
        """
        if self._decoded is None:
            self._decoded = decode_after_header(self.image_id, self.data, self._header)
            self._publishable = self._decoded.source
        return self._decoded

    def publishable_data(self) -> bytes:
        """Return bytes with the same pixels that may be published after stripping their metadata.

        These are the file's own, unless extraneous data between a JPEG's coded blocks had to be dropped. A file whose
        pixels were not decoded yet is decoded here, because a damaged file must not be published.

        Raises:
            FailedError: as `decode`.
        """
        if self._publishable is None:
            self.decode()
        return self.data if self._publishable is None else self._publishable

    def release(self) -> None:
        """Free the pixels. They are decoded again when they are asked for."""
        self._decoded, self._preview = self._array, None

    def _make_preview(self, max_side_px: int | None) -> Preview:
        if max_side_px is not None and self._decoded is None:
            pixels = self._decode_fraction(max_side_px)
            if pixels is not None:
                height, width = pixels.shape[:2]
                return Preview(self.image_id, pixels, self.width / width, self.height / height)
        decoded = self.decode()
        whole = Preview(self.image_id, decoded.pixels)
        return whole if max_side_px is None else downscale(whole, max_side_px)

    def _decode_fraction(self, max_side_px: int) -> PixelArray | None:
        """Return upright pixels that fit into `max_side_px`; None where the image must be decoded whole."""
        jpeg = self._header.jpeg
        divisor = None if jpeg is None else choose_divisor(jpeg, max_side_px)
        if jpeg is None or divisor is None:
            return None
        pixels = decode_jpeg_fraction(self.data, jpeg, self._header.segments, divisor)
        if pixels is None:
            return None
        self._publishable = self.data  # because the fraction was decoded without the slightest flaw
        return turn_upright(resize(pixels, fit_size(jpeg.width, jpeg.height, max_side_px)), jpeg.orientation)


def _turned(preview: Preview, orientation: int) -> Preview:
    pixels = turn_upright(preview.pixels, orientation)
    scales = (preview.scale_x, preview.scale_y)
    return Preview(preview.image_id, pixels, *(scales if orientation < 5 else scales[::-1]))
