"""Encode the surroundings of a face, so that donors whose inner face fits them have a near code.

Two small networks are trained together (tools/surroundings_encoder.py): one sees what lies outside a face's mask, the other the
inner face, and codes of one image are nearer to each other than to those of other images (InfoNCE, van den Oord et al. 2018).
A job runs the first; codes of the donors' inner faces come with their bank.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from anon_batch.errors import ModelError
from anon_batch.records import BoolArray, FloatArray

SIDE = 48  # px of what is encoded, in the landmarks' frame
CODE = 48  # length of a code
CHANNELS = (32, 48, 80, 112)
PREFIX = "surroundings."  # of the tensors' names
_GROUPS = 4
_HIDDEN = 128
_DROPOUT = 0.3
_MEAN, _SCALE = (50.0, 8.0, 12.0), (25.0, 12.0, 14.0)  # of L, a, b


class EncoderNetwork(nn.Module):
    """Maps Lab images with unknown pixels to codes."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, last = CHANNELS
        self.layers = nn.Sequential(
            *_layer(4, first, 5, 2),
            *_layer(first, second, 3, 2),
            *_layer(second, second, 3, 1),
            *_layer(second, third, 3, 2),
            *_layer(third, third, 3, 1),
            *_layer(third, last, 3, 1),
        )
        self.head = nn.Sequential(
            nn.Linear(last * (SIDE // 8) ** 2, _HIDDEN), nn.SiLU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, CODE)
        )

    def forward(self, lab: Tensor, known: Tensor) -> Tensor:
        """Return unit codes, (B, 48).

        Args:
            lab: (B, 3, 48, 48), L 0 .. 100; what lies under unknown pixels has no influence.
            known: (B, 1, 48, 48), 1 or 0.
        """
        scaled = (lab - lab.new_tensor(_MEAN).view(3, 1, 1)) / lab.new_tensor(_SCALE).view(3, 1, 1)
        features = self.layers(torch.cat([torch.where(known > 0, scaled, 0), known], 1))
        return F.normalize(self.head(features.flatten(1)), dim=1)


class SurroundingsEncoder:
    """Encodes the surroundings of one face at a time, on the CPU.

    Args:
        tensors: weights by name, `surroundings.` before each; others are ignored.

    Raises:
        ModelError: the weights are not those of such a network.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[np.floating]]) -> None:
        self._network = load_half(tensors, PREFIX)

    def encode(self, lab: FloatArray, known: BoolArray) -> FloatArray:
        """Return the code of the surroundings, (48,) float32 of length 1.

        Each face has a call of its own in one thread, because the last bits of a sum may depend on how a library divides it.

        Args:
            lab: (48, 48, 3) float32, L 0 .. 100, in the frame in which the landmarks lie at their canonical places.
            known: (48, 48) bool, the pixels outside all masks and inside the image.
        """
        threads = torch.get_num_threads()
        if threads != 1:
            torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                # torch's own memory is aligned, numpy's is not always, and sums may be ordered by that.
                image = torch.tensor(np.ascontiguousarray(lab.transpose(2, 0, 1), np.float32))[None]
                mask = torch.tensor(known.astype(np.float32))[None, None]
                code: FloatArray = self._network(image, mask)[0].numpy()
        finally:
            if threads != 1:
                torch.set_num_threads(threads)
        return code


def load_half(tensors: Mapping[str, npt.NDArray[np.floating]], prefix: str) -> EncoderNetwork:
    """Return the network whose weights have names with this prefix, float32, ready to run.

    Raises:
        ModelError: the weights are not those of such a network.
    """
    network = EncoderNetwork()
    own = {
        name.removeprefix(prefix): torch.tensor(np.asarray(values, np.float32))
        for name, values in tensors.items()
        if name.startswith(prefix)
    }
    try:
        network.load_state_dict(own)
    except RuntimeError as exc:
        raise ModelError(f"encoder of surroundings: its weights do not fit this version ({exc})") from None
    return network.eval().requires_grad_(False)


def _layer(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    return convolution, nn.GroupNorm(_GROUPS, outputs), nn.SiLU()
