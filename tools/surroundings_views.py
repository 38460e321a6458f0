"""Views of faces from which the encoder of surroundings is trained: thumbnails, masks, and what cameras do to them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from anon_batch.anonymize.faces import align, landmarks
from anon_batch.anonymize.faces.encoder import SIDE
from anon_batch.train.face_crops import FaceCrop
from anon_batch.train.matte import head_of, matte_of

ASPECT, CONTEXT = 0.74, 1.5  # width of a face's box, and side of the frame, in units of the box's height
IDEAL = (landmarks.CANONICAL - 0.5) * [ASPECT / CONTEXT, 1 / CONTEXT] + 0.5  # of the frame's side
INNER = 0.95  # of the box: what counts as the inner face
_CHIN, _NARROWER = 1.06, 0.12
_MATTE_SIDE, _MATTE_REACH = 192, 1.6  # px, and side in units of the box's longer one, of the image whose head is found
_BEHIND = 0.3  # share of the head below which a pixel is behind it
_KNOWN = 0.98  # share of a pixel that must be known
_WHOLE = 0.95  # the same after scaling up again

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Thumbnails of faces, each followed by its mirror image.

    Args:
        lab: (n, 3, 48, 48) float16, L 0 .. 100.
        valid: (n, 48, 48) bool, inside the image.
        behind: (n, 48, 48) bool, beside and above the head: what shows the place, not the person.
        boxes: (n, 6) float32: centre x and y, half width and height of the upright face, px; its angle in radians; the expansion
            from which on a mask contains all landmarks.
        sets: (n,) int64, number of the folder.
        held_out: (n,) bool.
    """

    lab: Tensor
    valid: Tensor
    behind: Tensor
    boxes: Tensor
    sets: Tensor
    held_out: Tensor


def thumbnail(face: FaceCrop) -> tuple[Array, Array, Array]:
    """Return Lab (48, 48, 3) and inside (48, 48) of a face in the landmarks' frame, and the transform (2, 3) into it."""
    to = landmarks.similarity(face.points[None].astype(np.float64), IDEAL[None] * SIDE)[0]
    scale = float(np.hypot(to[0, 0], to[1, 0]))
    half = to.copy()
    half[:, 2] += to[:, :2] @ [0.5, 0.5] - 0.5
    pixels = face.pixels.astype(np.float32) / np.float32(255)
    if scale < 1:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.45 / scale)
    small = cv2.warpAffine(pixels, half, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones(pixels.shape[:2], np.float32), half, (SIDE, SIDE))
    return cv2.cvtColor(small.clip(0, 1), cv2.COLOR_RGB2LAB), inside > _KNOWN, to


def collect(faces: Iterable[tuple[int, bool, FaceCrop]]) -> Faces:
    """Make thumbnails of faces (number of folder, whether held out, crop) and their mirror images."""
    rows = []
    for number, out, face in faces:
        for view in (face, face.mirror()):
            lab, inside, to = thumbnail(view)
            rows.append(
                (
                    lab.transpose(2, 0, 1).astype(np.float16),
                    inside,
                    behind_head(view, to),
                    _box(view, to).astype(np.float32),
                    number,
                    out,
                )
            )
    columns = [torch.from_numpy(np.array(column)) for column in zip(*rows, strict=True)]
    return Faces(*columns)


def behind_head(face: FaceCrop, to: Array) -> npt.NDArray[np.bool_]:
    """Return the pixels (48, 48) of the landmarks' frame that lie above the chin and not on the head.

    Args:
        face: the crop.
        to: (2, 3) transform from px of the crop into the frame.
    """
    x1, y1, x2, y2 = (float(v) for v in face.box)
    scale = _MATTE_SIDE / (_MATTE_REACH * max(x2 - x1, y2 - y1))
    shift = _MATTE_SIDE / 2 - scale * np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    cut = np.concatenate([np.eye(2) * scale, shift[:, None]], axis=1)
    pixels = align.warp_affine(face.pixels, cut, _MATTE_SIDE, cv2.BORDER_REPLICATE).clip(0, 255).astype(np.uint8)
    box = landmarks.apply(cut, face.box.reshape(2, 2).astype(np.float64)).ravel()
    head = head_of(pixels, box, matte_of(pixels, box))
    back = landmarks.inverse(cut)
    into = np.concatenate([to[:, :2] @ back[:, :2], (to[:, :2] @ back[:, 2] + to[:, 2])[:, None]], axis=1)
    share = align.warp_affine(head, into, SIDE, cv2.BORDER_REPLICATE)
    rows = np.arange(SIDE)[:, None] + 0.5 < SIDE / 2 + 0.5 * SIDE / CONTEXT
    return np.asarray((share < _BEHIND) & rows, np.bool_)


def draw_places(lab: Tensor, behind: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (B, 3, 48, 48) of which two thirds show the head before another place: a wall, or another image's place."""
    count = len(lab)
    wall = torch.rand(count, 3, 1, 1, generator=rng) * torch.tensor([100.0, 24.0, 30.0]).view(3, 1, 1)
    wall = wall - torch.tensor([0.0, 12.0, 15.0]).view(3, 1, 1)
    wall = torch.where(
        torch.rand(count, 1, 1, 1, generator=rng) < 0.3,
        wall * torch.tensor([0.15, 0.2, 0.2]).view(3, 1, 1) + torch.tensor([82.0, 0, 0]).view(3, 1, 1),
        wall,
    )
    x, y = _grid()
    slope = _normal(count, 2, rng) * 10 / SIDE
    wall = wall + torch.cat(
        [slope[:, :1] * (x - SIDE / 2) + slope[:, 1:] * (y - SIDE / 2), torch.zeros(count, 2, SIDE, SIDE)], 1
    )
    others = F.avg_pool2d(F.pad(lab[torch.randperm(count, generator=rng)], (2, 2, 2, 2), mode="replicate"), 5, 1)
    others = torch.roll(others, SIDE // 2, 3)
    which = torch.rand(count, 1, 1, 1, generator=rng)
    place = torch.where(which < 0.4, wall, torch.where(which < 0.66, others, lab))
    soft = F.avg_pool2d(F.pad(behind[:, None].float(), (1, 1, 1, 1), mode="replicate"), 3, 1)
    return lab + (place - lab) * soft


def _box(face: FaceCrop, to: Array) -> Array:
    """Return a face's row of `Faces.boxes`: a turned ellipse's sides from its bounding box, and the landmarks' expansion."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    width, height = x2 - x1, y2 - y1
    eyes = face.points[1] - face.points[0]
    angle = math.atan2(float(eyes[1]), float(eyes[0]))
    c2, s2 = math.cos(angle) ** 2, math.sin(angle) ** 2
    if c2 - s2 > 0.5:
        w2, h2 = (width**2 * c2 - height**2 * s2) / (c2 - s2), (height**2 * c2 - width**2 * s2) / (c2 - s2)
        if min(w2, h2) > 0:
            width, height = math.sqrt(w2), math.sqrt(h2)
    scale, turn = math.hypot(to[0, 0], to[1, 0]), math.atan2(to[1, 0], to[0, 0])
    centre = landmarks.apply(to, np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]))[0]
    half = np.array([width, height]) / 2 * scale
    points = landmarks.apply(to, face.points.astype(np.float64)) - centre
    c, s = math.cos(angle + turn), math.sin(angle + turn)
    u, v = (points @ [c, s]) / half[0], (points @ [-s, c]) / half[1]
    need = np.hypot(u / (1 - _NARROWER * np.clip(v, 0, 1) ** 2), np.where(v > 0, v / _CHIN, v)).max() + 0.05
    return np.array([*centre, *half, angle + turn, need])


def draw_known(boxes: Tensor, valid: Tensor, rng: torch.Generator) -> Tensor:
    """Return the known pixels (B, 1, 48, 48) float32 under drawn masks: of the face, and sometimes of neighbours and borders."""
    count = len(boxes)
    wide = torch.rand(count, generator=rng) < 0.25  # the plain ellipse of a face that was not well found
    expansion = torch.where(wide, 1.25 + 0.15 * _uniform(count, rng), 1.1 + 0.25 * _uniform(count, rng))
    known = valid & ~face_masks(boxes, expansion, wide)
    x, y = _grid()
    for share in (0.3, 0.1):  # other faces
        centre = torch.rand(count, 2, 1, 1, generator=rng) * SIDE
        radius = torch.rand(count, 1, 1, generator=rng) * SIDE * 0.3 * (_uniform(count, rng) < share).view(-1, 1, 1)
        known &= torch.hypot((x - centre[:, 0]) * 1.3, y - centre[:, 1]) >= radius
    angle = torch.randint(0, 4, (count, 1, 1), generator=rng) * (math.pi / 2)  # the image's border
    at = torch.where(_uniform(count, rng) < 0.2, 10 + 14 * _uniform(count, rng), 99).view(-1, 1, 1)
    known &= (x - SIDE / 2) * torch.cos(angle) + (y - SIDE / 2) * torch.sin(angle) < at
    return known[:, None].float()


def face_masks(boxes: Tensor, expansion: Tensor, plain: Tensor) -> Tensor:
    """Return the masks (B, 48, 48) bool of faces: turned, longer and narrower towards the chin; or plain ellipses."""
    x, y = _grid()
    cx, cy, rx, ry, angle, need = (v.view(-1, 1, 1) for v in boxes.unbind(1))
    plain, size = plain.view(-1, 1, 1), torch.maximum(expansion.view(-1, 1, 1), need)
    c, s = torch.cos(angle), torch.sin(angle)
    u, v = ((x - cx) * c + (y - cy) * s) / (rx * size), ((y - cy) * c - (x - cx) * s) / (ry * size)
    v = torch.where((v > 0) & ~plain, v / _CHIN, v)
    u = torch.where(plain, u, u / (1 - _NARROWER * v.clamp(0, 1) ** 2))
    return u**2 + v**2 <= 1


def inner_face() -> Tensor:
    """Return the pixels (1, 1, 48, 48) of the inner face in the landmarks' frame, float32."""
    x, y = _grid()
    half = 0.5 * INNER * SIDE / CONTEXT
    return (torch.hypot((x - SIDE / 2) / (ASPECT * half), (y - SIDE / 2) / half) < 1).float()[None]


def draw_light(lab: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Return images (B, 3, 48, 48) in drawn lights: L with a gain, an offset and sometimes a gamma; a and b likewise."""
    count = len(lab)
    gamma = torch.exp(0.5 * _normal(count, 1, rng) * strength * (torch.rand(count, 1, 1, 1, generator=rng) < 0.3))
    light = 100 * (lab[:, :1] / 100).clamp(0, 1) ** gamma
    light = light * torch.exp(0.1 * strength * _normal(count, 1, rng)) + 5 * strength * _normal(count, 1, rng)
    colour = lab[:, 1:] * torch.exp(0.2 * strength * _normal(count, 1, rng)) + 3 * strength * _normal(count, 2, rng)
    return torch.cat([light.clamp(0, 100), colour], 1)


def draw_camera(lab: Tensor, known: Tensor, least_px: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return images and known pixels as a camera may see them: displaced, small, blurred, noisy, compressed.

    Only known pixels spread, because those under a mask are erased before a job scales an image.
    """
    count = len(lab)
    move = torch.eye(2, 3) + torch.randn(count, 2, 3, generator=rng) * torch.tensor([[0.025, 0.02, 0.02]])
    both = torch.cat([lab * known, known], 1)
    both = F.grid_sample(both, F.affine_grid(move, list(both.shape), align_corners=False), align_corners=False)
    parts = [_small(part, int(side)) for part, side in zip(both.chunk(6), _sides(least_px, rng), strict=False)]
    both = torch.cat(parts)
    known = (both[:, 3:] > _WHOLE).float()
    colours = both[:, :3] / both[:, 3:].clamp(min=0.5)
    mean = (colours * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    filled = torch.where(known > 0, colours, mean)
    noise = torch.randn(lab.shape, generator=rng) * 2.5 * torch.rand(count, 1, 1, 1, generator=rng) ** 2
    return _compress(filled + noise, rng) * known, known


def _sides(least_px: int, rng: torch.Generator) -> Tensor:
    """Return sides, px, from `least_px`; every second one is the full one."""
    sides = torch.randint(least_px, SIDE, (6,), generator=rng)
    return torch.where(torch.arange(6) % 2 == 0, SIDE, sides)


def _small(both: Tensor, side: int) -> Tensor:
    """Return images with their known pixels at a smaller side and back; a small pixel is known if all of it is."""
    if side == SIDE:
        return both
    small = F.interpolate(both, (side, side), mode="area")
    known = (small[:, 3:] > _KNOWN).float()
    small = torch.cat([small[:, :3] / small[:, 3:].clamp(min=0.5) * known, known], 1)
    return F.interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False)


def _compress(lab: Tensor, rng: torch.Generator) -> Tensor:
    """Return the images, a third of them through JPEG."""
    qualities = torch.randint(20, 90, (len(lab),), generator=rng)
    for i in torch.nonzero(torch.rand(len(lab), generator=rng) < 0.33)[:, 0].tolist():
        rgb = cv2.cvtColor(np.ascontiguousarray(lab[i].permute(1, 2, 0).numpy()), cv2.COLOR_LAB2RGB)
        pixels = np.rint(rgb.clip(0, 1) * 255).astype(np.uint8)
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(qualities[i])])[1]
        again = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32) / np.float32(255)
        lab[i] = torch.from_numpy(cv2.cvtColor(again, cv2.COLOR_RGB2LAB)).permute(2, 0, 1)
    return lab


def _grid() -> tuple[Tensor, Tensor]:
    steps = torch.arange(SIDE) + 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x[None], y[None]


def _uniform(count: int, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng)


def _normal(count: int, channels: int, rng: torch.Generator) -> Tensor:
    return torch.randn(count, channels, 1, 1, generator=rng)
