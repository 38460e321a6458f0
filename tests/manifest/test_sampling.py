from __future__ import annotations

import numpy as np

from anon_batch.manifest.sampling import sample_hashes, sample_threshold

IDS = [f"{index:03d}.png" for index in range(100)]


def _sample(ids: list[str], limit: int | None, seed: int) -> set[str]:
    hashes = sample_hashes(ids, seed)
    threshold = sample_threshold(hashes, limit)
    return {name for name, value in zip(ids, hashes, strict=True) if threshold is None or value <= np.uint64(threshold)}


def test_a_sample_depends_on_the_seed_and_not_on_the_order():
    assert len(_sample(IDS, 7, 1)) == 7
    assert _sample(IDS, 7, 1) == _sample(IDS[::-1], 7, 1) != _sample(IDS, 7, 2)
    assert _sample(IDS, 7, 1) < _sample(IDS, 20, 1)
    assert _sample(IDS, 100, 1) == _sample(IDS, None, 1) == set(IDS)


def test_hashes_never_change():
    assert sample_hashes(["a", "\u00e4/b.jpg"], 3).tolist() == [13347769648954442494, 110745220610146642]
    assert sample_hashes([], 3).tolist() == []
    assert len(sample_hashes(["\udcff.png"], 0)) == 1
