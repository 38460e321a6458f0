"""Releases that all tests of the review share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from review_releases import Made, make_release

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.config import ModelsConfig
from anon_batch.models.store import ModelStore
from anon_batch.release.review.plants import load_bank
from anon_batch.storage import Storage


@pytest.fixture(scope="session")
def bank() -> DonorBank:
    return load_bank(ModelStore(Storage(), ModelsConfig()))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return a release of a layout; tests must not change it."""
    kept: dict[str, Made] = {}

    def of(layout: str) -> Made:
        if layout not in kept:
            kept[layout] = make_release(tmp_path_factory.mktemp(f"review-{layout}"), layout)
        return kept[layout]

    return of
