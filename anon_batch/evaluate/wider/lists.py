"""The lists of `eval_tools/ground_truth`: the faces of each validation image, and which of them are easy, medium and hard."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from anon_batch.errors import ConfigError, ObjectNotFoundError
from anon_batch.records import BoolArray
from anon_batch.storage import Storage, absolute, join

DIFFICULTIES = ("easy", "medium", "hard")
FACES_FILE = "wider_face_val.mat"

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class WiderFaces:
    """The labelled faces of one image.

    Args:
        boxes: (N, 4) xyxy, px: x, y, x + width, y + height.
        counted: difficulty -> (N,) whether a face counts; the others are ignored.
    """

    boxes: Boxes
    counted: Mapping[str, BoolArray]


WiderLists = Mapping[str, WiderFaces]


def list_file(difficulty: str) -> str:
    """Return the name of the file that says which faces count, e.g. `wider_easy_val.mat`."""
    return f"wider_{difficulty}_val.mat"


def wider_key(image_id: str) -> str:
    """Return what the lists call an image: its last folder and its name without suffix."""
    return "/".join(image_id.rpartition(".")[0].split("/")[-2:])


def read_lists(storage: Storage, folder: str) -> WiderLists:
    """Read the four files.

    Args:
        storage: to read with.
        folder: address of the folder that holds them.

    Returns:
        `event/name` without suffix -> the faces of the image, for all images of the validation set.

    Raises:
        ConfigError: a file is missing or is not such a list.
        StorageError: a file cannot be read.
    """
    root = absolute(folder)
    main = _load(storage, join(root, FACES_FILE))
    lists = {name: _load(storage, join(root, list_file(name))) for name in DIFFICULTIES}
    try:
        events = [str(event) for event in _cells(main["event_list"])]
        files = [[str(name) for name in _cells(own)] for own in _cells(main["file_list"], plain=False)]
        boxes = [list(_cells(own, plain=False)) for own in _cells(main["face_bbx_list"], plain=False)]
        kept = {
            name: [list(_cells(own, plain=False)) for own in _cells(content["gt_list"], plain=False)]
            for name, content in lists.items()
        }
        out: dict[str, WiderFaces] = {}
        for at, event in enumerate(events):
            for row, name in enumerate(files[at]):
                indices = {difficulty: kept[difficulty][at][row] for difficulty in DIFFICULTIES}
                out[f"{event}/{name}"] = _faces(boxes[at][row], indices)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{root}: not the lists of WIDER FACE's eval_tools ({type(exc).__name__}: {exc})") from None
    if not out:
        raise ConfigError(f"{root}: {FACES_FILE} names no image")
    return out


def _load(storage: Storage, address: str) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = loadmat(io.BytesIO(storage.read(address)))
    except ObjectNotFoundError:
        names = ", ".join([FACES_FILE, *map(list_file, DIFFICULTIES)])
        raise ConfigError(
            f"no {address}: the evaluation of WIDER FACE needs {names}. They are in eval_tools.zip of the data set's page, "
            "folder eval_tools/ground_truth; which faces are easy, medium or hard is written nowhere else"
        ) from None
    except Exception as exc:  # because loadmat raises whatever its parser meets
        raise ConfigError(f"{address}: not a MATLAB file ({type(exc).__name__}); unpack eval_tools.zip again") from None
    return content


def _cells(array: Any, *, plain: bool = True) -> Iterator[Any]:
    """Yield the contents of a column of cells; `plain` unwraps the one value in each."""
    if array.dtype != object or (array.ndim == 2 and array.size and 1 not in array.shape):
        raise ValueError(f"expected a column of cells, got {array.dtype} {array.shape}")
    for cell in array.ravel():
        yield cell.ravel()[0] if plain else cell


def _faces(boxes: Any, indices: Mapping[str, Any]) -> WiderFaces:
    xywh = np.asarray(boxes, np.float64).reshape(
        -1, 4
    )  # numbers without a sign in the file, which must not wrap around
    counted = {}
    for difficulty, own in indices.items():
        chosen = np.asarray(own, np.int64).ravel() - 1  # counted from 1
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(xywh)):
            raise ValueError(f"{difficulty}: face {chosen.max() + 1} of {len(xywh)}")
        counted[difficulty] = np.isin(np.arange(len(xywh)), chosen)
    return WiderFaces(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1), counted)
