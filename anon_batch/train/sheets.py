"""Sample sheets, which a training writes while it runs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from anon_batch.errors import StorageError
from anon_batch.records import PixelArray
from anon_batch.train.batches import Batch

_ACROSS = 8


def write_sheet(path: Path, batch: Batch, image: Tensor) -> None:
    """Write truth, composite and generated image below one another for each face of a batch, 8 faces in a row.

    Raises:
        StorageError: the file cannot be written.
    """
    shown = (batch.truth, batch.inputs[:, :3], image)
    columns = [np.concatenate([_pixels(one) for one in three]) for three in zip(*(p.cpu() for p in shown), strict=True)]
    columns += [np.zeros_like(columns[0])] * (-len(columns) % _ACROSS)
    lines = [np.concatenate(columns[i : i + _ACROSS], axis=1) for i in range(0, len(columns), _ACROSS)]
    data = cv2.imencode(path.suffix, np.concatenate(lines)[:, :, ::-1])[1]
    try:
        path.write_bytes(data.tobytes())
    except OSError as exc:
        raise StorageError(f"cannot write the sample sheet: {exc.strerror or exc}", str(path)) from None


def _pixels(image: Tensor) -> PixelArray:
    values = ((image.float() + 1) * 127.5).clamp(0, 255).round().byte()
    return np.asarray(values.permute(1, 2, 0).numpy(), np.uint8)
