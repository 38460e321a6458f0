"""Training of the encoder of surroundings: masks, what cameras do, pairs, and that it learns and goes on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import safetensors.numpy
import torch
from drawn_faces import write_faces

from anon_batch.anonymize.faces.encoder import SIDE, SurroundingsEncoder
from tools import surroundings_encoder as training
from tools import surroundings_views as views
from tools.surroundings_labels import Labels


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    two = [write_faces(folder / name, 8, seed=seed) for seed, name in enumerate(("one", "two"))]
    return views.collect(training.read_faces(two))


def test_thumbnails_are_followed_by_their_mirror_images(faces):
    assert faces.lab.shape == (40, 3, SIDE, SIDE)
    np.testing.assert_allclose(faces.lab[1].numpy()[:, :, ::-1], faces.lab[0].numpy(), atol=2)
    assert (faces.boxes[:, :2] - SIDE / 2).abs().max() < 2
    height = SIDE / views.CONTEXT / 2
    assert (faces.boxes[:, 3] - height).abs().max() < 4
    assert faces.held_out.sum() == 2 * 2 * 2


def test_masks_hold_the_landmarks_and_grow(faces):
    plain = torch.zeros(len(faces.boxes), dtype=torch.bool)
    small, large = (
        views.face_masks(faces.boxes, torch.full((len(plain),), expansion), plain) for expansion in (1.1, 1.3)
    )
    assert (large | ~small).all()
    assert (large.sum((1, 2)) > 1.2 * small.sum((1, 2))).all()
    for x, y in (views.IDEAL * SIDE).astype(int):
        assert small[:, y, x].all()


def test_only_known_pixels_spread():
    rng = torch.Generator().manual_seed(1)
    known = torch.ones(12, 1, SIDE, SIDE)
    known[:, :, 12:36, 12:36] = 0
    lab = torch.full((12, 3, SIDE, SIDE), 40.0)
    lab[:, :, 12:36, 12:36] = 5000.0
    seen, still_known = views.draw_camera(lab, known, 18, rng)
    assert (still_known.mean((1, 2, 3)) > 0.2).all()
    assert (still_known <= 1).all()
    assert seen.max() < 80
    assert (seen * (1 - still_known)).abs().max() == 0


def test_batches_come_from_one_folder_and_leave_held_out_faces_alone(faces):
    rng = torch.Generator().manual_seed(0)
    for picks in itertools.islice(training.batches(faces, rng), 20):
        assert len(set(faces.sets[picks].tolist())) == 1
        assert not faces.held_out[picks].any()
        assert len(set((picks // 2).tolist())) == len(picks) == 8


def test_training_learns_writes_both_halves_and_goes_on(faces, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "REPORT_STEPS", 1)
    output = tmp_path / "encoder.safetensors"
    names = [f"{n}.jpg" for n in range(len(faces.lab) // 2)]
    for minutes in (0.004, 0.008):
        training.train(faces, output, tmp_path, minutes, Labels(None, names))
    steps = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert steps == list(range(1, len(steps) + 1)), "the second training goes on where the first ended"
    tensors = safetensors.numpy.load_file(output)
    assert all(values.dtype == np.float16 for values in tensors.values())
    lab = faces.lab[:3].float().numpy().transpose(0, 2, 3, 1)
    codes = training.encode_faces(output, lab)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)
    own = SurroundingsEncoder(tensors).encode(lab[0], faces.valid[0].numpy())
    assert own.shape == codes[0].shape
    assert not np.allclose(own, codes[0], atol=1e-2), "the halves differ"


def test_labels_are_taught_where_they_are_known(tmp_path):
    table = tmp_path / "labels.tsv"
    table.write_text("file age sex skin\na.jpg child f 2\nb.jpg old u -\n".replace(" ", "\t"), "utf-8")
    labels = Labels(table, ["a.jpg", "b.jpg", "c.jpg"])
    codes = torch.nn.functional.normalize(torch.randn(2, 48, generator=torch.Generator().manual_seed(1)), dim=1)
    assert labels.loss([codes], torch.tensor([4, 5])).item() == 0, "nothing is known of the third face"
    picks = torch.tensor([0, 3])
    first = labels.loss([codes, codes], picks).item()
    optimizer = torch.optim.Adam(labels.parameters(), 0.05)
    for _ in range(40):
        optimizer.zero_grad()
        loss = labels.loss([codes, codes], picks)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
    assert labels.heads["age"](codes * 6).argmax(1).tolist() == [0, 3]


def test_other_places_stand_behind_the_head_alone(faces):
    lab, behind = faces.lab[::2].float(), faces.behind[::2]
    placed = views.draw_places(lab, behind, torch.Generator().manual_seed(2))
    changed = ((placed - lab).abs().amax(1) > 1e-3).flatten(1)
    head = ~(torch.nn.functional.max_pool2d(behind[:, None].float(), 3, 1, 1) > 0).flatten(1)
    assert head.float().mean() > 0.2
    assert not changed[head].any()
    others = changed.any(1)
    assert 0.4 < others.float().mean() < 0.9, "a third of the images keep their place"
    assert changed[others].float().sum() > 0.9 * behind.flatten(1)[others].sum()


def test_what_lies_behind_the_head_is_beside_and_above_it(faces):
    middle = faces.behind[:, SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8]
    assert not middle.any()
    below = round(SIDE / 2 + 0.5 * SIDE / views.CONTEXT)
    assert not faces.behind[:, below:].any(), "a neck belongs to the person"
    assert faces.behind[:, :below].float().mean() > 0.1


def test_loss_falls(faces, monkeypatch):
    monkeypatch.setattr(
        training, "draw_places", lambda lab, behind, rng: lab
    )  # because drawn faces differ most in the noise there
    torch.manual_seed(0)
    pair = training.Pair()
    rng = torch.Generator().manual_seed(0)
    picks = torch.arange(0, 20, 2)
    optimizer = torch.optim.AdamW(pair.parameters(), 2e-3)
    given = training.draw_pairs(faces, picks, rng)
    losses = []
    for _ in range(25):
        loss = training.loss_of(pair.eval(), *given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
