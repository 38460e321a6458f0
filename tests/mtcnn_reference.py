"""MTCNN in plain torch, step by step as its paper has it: what the detector `mtcnn` is compared with.

Images and windows are resized in float, windows are cut one by one. Nothing is shared with the detector but the weights and how
OpenCV interpolates: torch repeats px where it enlarges by areas, with which a tenth fewer faces are found.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

DENSE = {"rnet": ("dense4",), "onet": ("dense5",), "pnet": ()}
POOLS = {"pnet": {"conv1": 2}, "rnet": {"conv1": 3, "conv2": 3}, "onet": {"conv1": 3, "conv2": 3, "conv3": 2}}
CONVOLUTIONS = {
    "pnet": ("conv1", "conv2", "conv3"),
    "rnet": ("conv1", "conv2", "conv3"),
    "onet": ("conv1", "conv2", "conv3", "conv4"),
}
HEADS = {
    "pnet": ("conv4_1", "conv4_2"),
    "rnet": ("dense5_1", "dense5_2"),
    "onet": ("dense6_1", "dense6_2", "dense6_3"),
}


def run(name, weights, pixels):
    """Return the network's outputs for pixels (B, 3, H, W) 0..255: how likely a face is, box offsets, and points if any."""
    values = (pixels - 127.5) / 128
    for layer in CONVOLUTIONS[name]:
        values = F.conv2d(values, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        values = F.prelu(values, weights[f"prelu{layer[-1]}.weight"])
        if layer in POOLS[name]:
            values = F.max_pool2d(values, POOLS[name][layer], 2, ceil_mode=True)
    for layer in DENSE[name]:
        values = values.permute(0, 3, 2, 1).flatten(1)
        values = F.prelu(
            F.linear(values, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), weights[f"prelu{layer[-1]}.weight"]
        )
    last = F.linear if DENSE[name] else F.conv2d
    heads = [last(values, weights[f"{head}.weight"], weights[f"{head}.bias"]) for head in HEADS[name]]
    return torch.softmax(heads[0], dim=1)[:, 1], *heads[1:]


def detect(weights, image, least_px, thresholds):
    """Return boxes (N, 4), scores (N,) and points (N, 5, 2) of an image (H, W, 3) uint8."""
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    boxes = _propose(weights["pnet"], pixels, least_px, thresholds[0])
    likely, offsets, *_ = _look("rnet", weights["rnet"], pixels, boxes, 24)
    good = likely >= thresholds[1]
    boxes = _moved(boxes[good], offsets[good])[_best(boxes[good], likely[good], 0.7)]
    boxes = _square(boxes)
    likely, offsets, points = _look("onet", weights["onet"], pixels, boxes, 48)
    good = likely >= thresholds[2]
    sides = (boxes[good, 2:] - boxes[good, :2])[:, None]
    points = boxes[good, None, :2] + points[good].reshape(-1, 2, 5).transpose(1, 2) * sides
    boxes, likely = _moved(boxes[good], offsets[good]), likely[good]
    kept = _best(boxes, likely, 0.4)
    kept = kept[_best(boxes[kept], likely[kept], 0.7, of_smaller=True)]
    return boxes[kept].numpy(), likely[kept].numpy(), points[kept].numpy()


def _propose(weights, pixels, least_px, threshold):
    height, width = pixels.shape[2:]
    factor, found = 12 / least_px, [torch.zeros(0, 5)]
    while min(height, width) * factor >= 12:
        small = _resized(pixels, round(height * factor), round(width * factor), area_below=0.5)
        likely, offsets = run("pnet", weights, small)
        rows, columns = torch.nonzero(likely[0] >= threshold, as_tuple=True)
        corners = torch.stack([columns, rows], dim=1) * 2.0
        windows = torch.cat([corners, corners + 12], dim=1)
        scale = torch.tensor([small.shape[3] / width, small.shape[2] / height]).repeat(2)
        kept = _best(windows, likely[0, rows, columns], 0.5)
        boxes = _moved(windows[kept], offsets[0, :, rows, columns].T[kept]) / scale
        found.append(torch.cat([boxes, likely[0, rows, columns][kept, None]], dim=1))
        factor *= 0.709
    everything = torch.cat(found)
    return _square(everything[_best(everything[:, :4], everything[:, 4], 0.7), :4])


def _look(name, weights, pixels, boxes, side):
    cuts = [_cut(pixels, box, side) for box in boxes.round().int().tolist()]
    return run(name, weights, torch.cat(cuts) if cuts else torch.zeros(0, 3, side, side))


def _cut(pixels, box, side):
    x1, y1, x2, y2 = box
    height, width = pixels.shape[2:]
    padding = (max(0, -x1), max(0, x2 - width), max(0, -y1), max(0, y2 - height))
    framed = F.pad(pixels, padding)
    left, top = x1 + padding[0], y1 + padding[2]
    window = framed[:, :, top : top + y2 - y1, left : left + x2 - x1]
    return _resized(window, side, side)


def _resized(pixels, height, width, area_below=1.0):
    array = np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())
    how = cv2.INTER_AREA if height < area_below * array.shape[0] else cv2.INTER_LINEAR
    return torch.from_numpy(cv2.resize(array, (width, height), interpolation=how)).permute(2, 0, 1)[None]


def _moved(boxes, offsets):
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes):
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    middle = (boxes[:, 2:] + boxes[:, :2]) / 2
    return torch.cat([middle - half, middle + half], dim=1)


def _best(boxes, scores, most, of_smaller=False):
    order, kept = torch.argsort(-scores, stable=True), []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        sides = torch.minimum(boxes[first, 2:], boxes[order, 2:]) - torch.maximum(boxes[first, :2], boxes[order, :2])
        shared = sides.clamp(min=0).prod(dim=1)
        whole = torch.minimum(areas[first], areas[order]) if of_smaller else areas[first] + areas[order] - shared
        order = order[shared < most * whole]
    return torch.tensor(kept, dtype=torch.long)
