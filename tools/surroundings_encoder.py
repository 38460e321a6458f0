"""Train the encoder of surroundings, and encode donors with its other half.

    python -m tools.surroundings_encoder FACES ... --labels labels.tsv --output encoder.safetensors --work FOLDER --minutes 30

Each FACES folder holds crops/ and meta.jsonl as `anon-batch train` reads them. Surroundings and inner face of one image are a
pair; all other images of the batch, which come from the same folder, are not (InfoNCE, van den Oord et al. 2018). Both halves
see the image in lights and through cameras of their own, so that a generator's texture does not give pairs away, and most heads
stand before another place, because a place says nothing about a face. The labels' table teaches age group, sex and skin beside
that. Faces that are held out are not trained on; the ranks of their own inner faces among all held-out ones are printed. FOLDER
keeps the state: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from anon_batch.anonymize.faces.encoder import PREFIX, EncoderNetwork, load_half
from anon_batch.records import FloatArray
from anon_batch.train.face_crops import FaceCrop, is_held_out, read_crops, read_listing
from tools.surroundings_labels import Labels
from tools.surroundings_views import (
    Faces,
    collect,
    draw_camera,
    draw_known,
    draw_light,
    draw_places,
    face_masks,
    inner_face,
)

FACE_PREFIX = "face."
BATCH = 224
RATE, WEIGHT_DECAY = 1.5e-3, 0.05
WARM_STEPS = 100
AVERAGED = 0.005  # share of the newest weights in their average
LEAST_PX = 18  # side to which surroundings are scaled down at most; a face of 16 px has 24
GREY = 0.07  # share of surroundings without colour
REPORT_STEPS = 200
CODES_A_CALL = 256

LabelLoss = Callable[[Sequence[Tensor]], Tensor]


class Pair(nn.Module):
    """Both halves, and the logarithm of the scale of their products."""

    def __init__(self) -> None:
        super().__init__()
        self.surroundings, self.face = EncoderNetwork(), EncoderNetwork()
        self.scale = nn.Parameter(torch.tensor(2.3))


def encode_faces(path: Path, thumbnails: FloatArray) -> FloatArray:
    """Return the codes of inner faces, (n, 48) float32, each of length 1.

    Args:
        path: of the weights.
        thumbnails: (n, 48, 48, 3) float32 Lab, L 0 .. 100, landmarks at their canonical places.
    """
    network = load_half(safetensors.numpy.load_file(path), FACE_PREFIX)
    images = torch.tensor(thumbnails).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        codes = [network(part, inner_face().expand(len(part), -1, -1, -1)) for part in images.split(CODES_A_CALL)]
    return torch.cat(codes).numpy()


def draw_pairs(faces: Faces, picks: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return surroundings with their known pixels, and inner faces with theirs."""
    lab = draw_light(faces.lab[picks].float(), 1.0, rng)
    known = draw_known(faces.boxes[picks], faces.valid[picks], rng)
    placed = draw_places(lab, faces.behind[picks], rng)
    around, known = draw_camera(draw_light(placed, 0.6, rng), known, LEAST_PX, rng)
    around[:, 1:] *= torch.rand(len(picks), 1, 1, 1, generator=rng) >= GREY
    inner = inner_face().expand(len(picks), -1, -1, -1)
    return around, known, *draw_camera(draw_light(lab, 0.6, rng), inner, 30, rng)


def loss_of(
    pair: Pair, around: Tensor, known: Tensor, face: Tensor, inner: Tensor, labels: LabelLoss | None = None
) -> Tensor:
    """Return the symmetric InfoNCE loss of a batch, and that of the labels."""
    codes = pair.surroundings(around, known), pair.face(face, inner)
    products = pair.scale.exp() * codes[0] @ codes[1].T
    own = torch.arange(len(products))
    loss = (F.cross_entropy(products, own) + F.cross_entropy(products.T, own)) / 2
    return loss if labels is None else loss + labels(codes)


def batches(faces: Faces, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield numbers of faces: of one folder each, every image at most once, mirrored or not, none held out."""
    images = torch.nonzero(~faces.held_out[::2])[:, 0]
    sets = faces.sets[::2][images]
    while True:
        one = images[sets == sets[int(torch.randint(len(sets), (1,), generator=rng))]]
        picks = one[torch.randperm(len(one), generator=rng)[:BATCH]]
        yield picks * 2 + torch.randint(0, 2, (len(picks),), generator=rng)


@torch.inference_mode()
def ranks(pair: Pair, faces: Faces, *, small: bool) -> Tensor:
    """Return the rank of each held-out image's own inner face among all, 0 the best; `small`: through bad cameras."""
    picks = torch.nonzero(faces.held_out)[::2, 0]
    lab, inner = faces.lab[picks].float(), inner_face().expand(len(picks), -1, -1, -1)
    narrow = torch.zeros(len(picks), dtype=torch.bool)
    masks = face_masks(faces.boxes[picks], torch.full((len(picks),), 1.15), narrow)
    around, known = lab, (faces.valid[picks] & ~masks)[:, None].float()
    if small:
        rng = torch.Generator().manual_seed(1)
        around, known = draw_camera(draw_light(lab, 0.6, rng), known, LEAST_PX, rng)
    products = pair.surroundings(around, known) @ pair.face(lab, inner).T
    better: Tensor = (products > products.diagonal()[:, None]).sum(1)
    return better


def report(pair: Pair, faces: Faces) -> str:
    """Return ranks on held-out images in words."""
    words = []
    for small in (False, True):
        found = ranks(pair, faces, small=small)
        top = [f"{float((found < k).float().mean()):.2f}" for k in (1, 10)]
        words.append(f"median rank {int(found.median()) + 1} of {len(found)}, first {top[0]}, first ten {top[1]}")
    return f"held out: {words[0]}; through bad cameras: {words[1]}; scale {pair.scale.exp().item():.1f}"


def save(pair: Pair, path: Path, notes: dict[str, str]) -> None:
    """Write the weights as float16 safetensors."""
    tensors = {
        name: values.half().contiguous()
        for name, values in pair.state_dict().items()
        if name.startswith((PREFIX, FACE_PREFIX))
    }
    written = path.with_suffix(".part")
    safetensors.torch.save_file(tensors, written, notes)
    written.replace(path)


def train(faces: Faces, output: Path, work: Path, minutes: float, labels: Labels | None = None) -> None:
    """Train for a number of minutes of all runs together, and write the averaged weights after each report."""
    pair, average, rng = Pair(), Pair(), torch.Generator().manual_seed(0)
    average.load_state_dict(pair.state_dict())
    taught = nn.ModuleList([pair] if labels is None else [pair, labels])
    optimizer = torch.optim.AdamW(taught.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    step, spent = 0, 0.0
    kept = work / "state.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        taught.load_state_dict(state["taught"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        rng.set_state(state["rng"])
        step, spent = state["step"], state["spent"]
    losses: list[float] = []
    for picks in batches(faces, rng):
        begun = time.monotonic()
        done = min(spent / (60 * minutes), 1)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_STEPS) * (0.5 + 0.5 * math.cos(math.pi * done))
        label_loss = None if labels is None else partial(labels.loss, picks=picks)
        loss = loss_of(pair.train(), *draw_pairs(faces, picks, rng), label_loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        share = max(AVERAGED, 1 / (step + 1))
        for old, new in zip(average.parameters(), pair.parameters(), strict=True):
            old.data.lerp_(new.data, share)
        losses.append(loss.item())
        spent += time.monotonic() - begun
        if step % REPORT_STEPS == 0 or done == 1:
            words = report(average.eval(), faces)
            print(f"{step} steps, {spent:.0f} s, loss {np.mean(losses[-REPORT_STEPS:]):.3f}; {words}", flush=True)
            notes = {"steps": str(step), "report": words, "scale": json.dumps(average.scale.exp().item())}
            save(average, output, notes)
            state = {"taught": taught.state_dict(), "average": average.state_dict(), "rng": rng.get_state()}
            state |= {"optimizer": optimizer.state_dict(), "step": step, "spent": spent}
            torch.save(state, kept.with_suffix(".part"))
            os.replace(kept.with_suffix(".part"), kept)
        if done == 1:
            return


def read_faces(folders: Sequence[Path]) -> Iterator[tuple[int, bool, FaceCrop]]:
    """Yield number of the folder, whether it is held out, and each face."""
    for number, folder in enumerate(folders):
        for face in read_crops([folder]):
            yield number, is_held_out(face.name), face


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FACES")
    parser.add_argument("--labels", type=Path, metavar="TABLE")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=20)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    chosen.work.mkdir(parents=True, exist_ok=True)
    names = [entry.name for folder in chosen.folders for entry in read_listing(folder)]
    labels = None if chosen.labels is None else Labels(chosen.labels, names)
    train(collect(read_faces(chosen.folders)), chosen.output, chosen.work, chosen.minutes, labels)


if __name__ == "__main__":
    main()
