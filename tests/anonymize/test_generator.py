"""The generator's network: identity at first, any side, and weights that come back."""

from __future__ import annotations

import json
import struct

import pytest
import safetensors
import safetensors.torch
import torch

from anon_batch.anonymize.faces.generator import INPUTS, MAPS, Generator, GeneratorShape, load_generator, save_generator
from anon_batch.errors import ModelError

SMALL = GeneratorShape((8, 16, 16), 6, 12)
SMOOTH = GeneratorShape((8, 16, 16), 6, 12, 64, smooth=True)


def stirred(shape=SMALL, seed=0):
    """A network without a zero in it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Generator(shape)
        for values in network.parameters():
            torch.nn.init.normal_(values, std=0.1)
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Networks this small are faster so, and on a busy machine by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(side, count=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand((count, INPUTS, side, side), generator=rng), torch.randn((count, SMALL.latent), generator=rng)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "generator.safetensors"
    save_generator(stirred(), str(path), {"steps": "12"})
    return path


@pytest.mark.parametrize("shape", [SMALL, SMOOTH])
@pytest.mark.parametrize("side", [64, 128])
def test_new_network_returns_the_composite(side, shape):
    images, latent = inputs(side)
    assert torch.equal(Generator(shape)(images, latent), images[:, :3])


def test_smooth_network_changes_light_and_colour_by_a_bounded_field():
    images, latent = inputs(64)
    images[:, :3] = -1 + 0.5 * images[:, :3]
    made = stirred(SMOOTH)(images, latent)
    change = made - images[:, :3]
    assert change.abs().max() > 0.02
    images[:, :3] = -1
    dark = stirred(SMOOTH)(images, latent)
    slope = (dark[:, :, :, 1:] - dark[:, :, :, :-1]).abs()
    assert slope.max() < 0.1 * (dark.amax() - dark.amin()), "no edge that the images do not have"
    network = stirred(SMOOTH)
    torch.nn.init.constant_(network.head.bias, 1e3)
    assert torch.isfinite(network(images, latent)).all()
    assert (network(images, latent) - images[:, :3]).abs().max() < 1.2


@pytest.mark.parametrize("side", [8, 64, 128, 256])
def test_any_side_divisible_by_the_levels_works(side):
    images, latent = inputs(side)
    made = stirred()(images, latent)
    assert made.shape == (2, 3, side, side)
    assert torch.isfinite(made).all()
    assert not torch.equal(made, images[:, :3])


def test_images_need_not_be_square():
    images, latent = inputs(64)
    assert stirred()(torch.cat([images, images], 3), latent).shape == (2, 3, 64, 128)


@pytest.mark.parametrize("shape", [SMALL, SMOOTH])
def test_every_input_counts(shape):
    network, (images, latent) = stirred(shape), inputs(64)
    made = network(images, latent)
    for channel in range(INPUTS):
        other = images.clone()
        other[:, channel] = 1 - other[:, channel]
        change = network(other, latent) - other[:, :3] - (made - images[:, :3])
        assert change.abs().max() > 1e-3, channel
    assert (network(images, -latent) - made).abs().max() > 1e-3


def test_landmark_maps_reach_the_decoder():
    network = stirred()
    torch.nn.init.zeros_(network.stem.weight[:, -4 * MAPS :])  # the encoder is blind to them
    images, latent = inputs(64)
    other = images.clone()
    other[:, -MAPS:] = 0
    assert (network(other, latent) - network(images, latent)).abs().max() > 1e-3


def test_faces_of_a_call_do_not_mix():
    network, (images, latent) = stirred(), inputs(64)
    alone = network(images[1:], latent[1:])
    assert torch.allclose(network(images, latent)[1:], alone, atol=1e-5)


def test_weights_come_back_within_half_precision(saved):
    again = load_generator(saved.read_bytes())
    assert again.shape == SMALL
    images, latent = inputs(64)
    expected = stirred()(images, latent)
    made = again(images, latent)
    assert made.dtype == torch.float32
    assert (made - expected).abs().max() < 5e-3 * expected.abs().max()
    assert not torch.allclose(expected, images[:, :3], atol=0.05)  # so that this says something


def test_a_smooth_network_comes_back(tmp_path):
    path = tmp_path / "smooth.safetensors"
    save_generator(stirred(SMOOTH), str(path), {})
    again = load_generator(path.read_bytes())
    assert again.shape == SMOOTH
    images, latent = inputs(64)
    assert torch.allclose(again(images, latent), stirred(SMOOTH)(images, latent), atol=5e-3)


def test_a_second_saving_changes_nothing(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    save_generator(load_generator(saved.read_bytes()), str(again), {"steps": "12"})
    first, second = (safetensors.torch.load(path.read_bytes()) for path in (saved, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_loaded_network_is_ready_to_run(saved):
    network = load_generator(saved.read_bytes())
    assert not network.training
    assert not any(values.requires_grad for values in network.parameters())


def test_file_holds_shape_and_notes(saved):
    with safetensors.safe_open(saved, "pt") as file:
        notes = file.metadata()
        assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118 - no mapping
    assert notes["steps"] == "12"
    assert json.loads(notes["shape"]) == {
        "channels": [8, 16, 16],
        "latent": 6,
        "style": 12,
        "side": 128,
        "smooth": False,
    }


def rewritten(data, change):
    """The file with another header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def other_shape(**changes):
    def change(header):
        shape = json.loads(header["__metadata__"]["shape"]) | changes
        header["__metadata__"]["shape"] = json.dumps(shape)

    return change


DAMAGES = {
    "empty": lambda data: b"",
    "text": lambda data: b"these are no weights",
    "cut short": lambda data: data[: len(data) // 2],
    "header cut": lambda data: data[:100],
    "header broken": lambda data: data[:8] + b"\xfe" * 40 + data[48:],
    "no metadata": lambda data: rewritten(data, lambda header: header.pop("__metadata__")),
    "no shape": lambda data: rewritten(data, lambda header: header["__metadata__"].pop("shape")),
    "a shape that is no JSON": lambda data: rewritten(data, lambda header: header["__metadata__"].update(shape="{")),
    "fewer channels": lambda data: rewritten(data, other_shape(channels=[8, 16])),
    "no channels": lambda data: rewritten(data, other_shape(channels=[])),
    "channels below zero": lambda data: rewritten(data, other_shape(channels=[8, -16, 16])),
    "a longer latent": lambda data: rewritten(data, other_shape(latent=7)),
    "an unknown key": lambda data: rewritten(data, other_shape(depth=3)),
    "a latent of words": lambda data: rewritten(data, other_shape(latent="six")),
    "a weight missing": lambda data: without_a_weight(data),
}


def without_a_weight(data):
    tensors = safetensors.torch.load(data)
    del tensors["head.bias"]
    notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return safetensors.torch.save(tensors, notes)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_bytes_are_refused(saved, damage):
    with pytest.raises(ModelError, match=r"generator: the weights cannot be read"):
        load_generator(damage(saved.read_bytes()))
