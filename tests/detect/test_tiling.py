from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.config import DetectConfig, TileConfig
from anon_batch.detect.protocol import checked_detections
from anon_batch.detect.tiling import TiledDetector, View, views_of
from anon_batch.records import Preview


class BrightFinder:
    """A perfect finder of bright rectangles, if at least 6 px large; it sees the piece alone."""

    name = "bright"
    models = ()
    labels = ("face",)

    def find(self, pieces, scales):
        return [self._find(piece, scale) for piece, scale in zip(pieces, scales, strict=True)]

    def _find(self, piece, scale):
        import cv2

        count, _, stats, _ = cv2.connectedComponentsWithStats((piece[:, :, 0] > 128).astype(np.uint8))
        boxes = [[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:count] if min(w, h) * scale >= 6]
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        middle = np.repeat(((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None], 5, axis=1)
        return checked_detections("bright", boxes, np.full(len(boxes), 0.9, np.float32), middle)


def with_faces(width, height, faces):
    pixels = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in faces:
        pixels[y1:y2, x1:x2] = 255
    return Preview("image", pixels)


def found_by(image, size_px, overlap_px, scale=1.0):
    config = DetectConfig(tile=TileConfig(size_px=size_px, overlap_px=overlap_px))
    found = TiledDetector(BrightFinder(), scale, config).detect([image])[0]
    return found, sorted(found.boxes.astype(int).tolist())


@settings(deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.integers(40, 300),
    st.floats(0, 0.5),
    st.sampled_from([0.3, 0.5, 1.0, 1.7, 2.0]),
)
def test_windows_cover_every_pixel_and_overlap_enough(width, height, size, share, scale):
    overlap = int(share * size)
    whole, *windows = views_of(width, height, scale, TileConfig(size_px=size, overlap_px=overlap))
    assert whole[:4] == (0, 0, width, height)
    assert max(width, height) * whole.scale <= max(size, 1) + 1e-6
    if max(width, height) * scale <= size:
        assert not windows
        return
    for axis, length in ((0, width), (1, height)):
        spans = sorted({(view[axis], view[axis + 2]) for view in windows})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all((high - low) * scale <= size for low, high in spans)
        wanted = min(np.ceil(overlap / scale), spans[0][1] - 1)
        assert all(left[1] - right[0] >= wanted for left, right in pairwise(spans))
    assert {view.scale for view in windows} == {scale}


def test_small_images_and_size_0_are_searched_in_one_piece():
    assert views_of(100, 80, 2.0, TileConfig(size_px=200, overlap_px=50)) == [View(0, 0, 100, 80, 2.0)]
    assert views_of(9000, 9000, 1.0, TileConfig(size_px=0)) == [View(0, 0, 9000, 9000, 1.0)]


def test_a_strip_is_searched_along_its_length_only():
    views = views_of(1, 5000, 1.0, TileConfig())
    assert {(view.x1, view.x2) for view in views} == {(0, 1)}
    assert len(views) == 1 + 4


def test_faces_of_all_sizes_are_found_once_and_whole():
    faces = [[5, 5, 15, 15], [270, 200, 282, 214], [100, 350, 140, 390], [300, 20, 560, 330]]
    found, boxes = found_by(with_faces(600, 400, faces), size_px=200, overlap_px=40)
    assert boxes == sorted(faces)
    assert np.isfinite(found.landmarks).all()
    np.testing.assert_allclose(found.landmarks[:, 0], (found.boxes[:, :2] + found.boxes[:, 2:]) / 2)


def test_landmarks_from_other_windows_are_kept_in_px_of_the_image():
    found, _ = found_by(with_faces(600, 400, [[100, 350, 140, 390]]), size_px=200, overlap_px=60)
    assert found.witnesses.shape[1] > 0
    np.testing.assert_allclose(found.witnesses[0], np.full_like(found.witnesses[0], [120, 370]), atol=1)


@pytest.mark.parametrize("x", range(150, 215, 5))
def test_a_face_anywhere_on_a_seam_is_found_once_and_whole(x):
    face = [x, 90, x + 20, 110]
    assert found_by(with_faces(400, 200, [face]), size_px=200, overlap_px=40)[1] == [face]


def test_a_face_that_every_window_cuts_is_kept_in_parts():
    # 30 px wide: more than the overlap, and below the finder's 6 px once the image is downscaled to 200.
    face = [185, 1000, 215, 1030]
    image = with_faces(400, 2000, [face])
    boxes = found_by(image, size_px=200, overlap_px=2)[1]
    covered = np.zeros((2000, 400), np.bool_)
    for x1, y1, x2, y2 in boxes:
        covered[y1:y2, x1:x2] = True
    assert covered[1000:1030, 185:215].all()


def test_a_box_at_the_border_of_the_image_does_not_count_as_cut():
    face = [0, 90, 20, 110]
    assert found_by(with_faces(400, 200, [face]), size_px=200, overlap_px=40)[1] == [face]


def test_images_of_a_batch_keep_their_own_detections():
    one, two = with_faces(500, 100, [[400, 20, 430, 50]]), with_faces(50, 50, [[5, 5, 25, 25]])
    config = DetectConfig(tile=TileConfig(size_px=200, overlap_px=40))
    found = TiledDetector(BrightFinder(), 1.0, config).detect([one, two, one])
    large, small = [[400, 20, 430, 50]], [[5, 5, 25, 25]]
    assert [own.boxes.tolist() for own in found] == [large, small, large]
