"""What the index of faces costs: time to index a face, bytes in the ledger, and time to open the index and to search it.

    python -m benchmarks.linking EMBEDDER                  the sample
    python -m benchmarks.linking EMBEDDER FOLDER           own photographs

CPU time, so that other programs do not count. Of the repetitions of each image the shortest counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from anon_batch import Anonymizer
from anon_batch.config import ModelsConfig
from anon_batch.formats.sealed import SealedShard, write_ciphertexts, write_keys
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Anonymized
from anon_batch.pipeline.face_index import FaceIndexer
from anon_batch.recognition.embedder import load_embedder
from anon_batch.recognition.templates import TemplateKey
from anon_batch.records import EncodedImage
from anon_batch.sealing.envelope import Kek, open_sealed
from anon_batch.sealing.key_files import new_key
from anon_batch.storage import Storage
from benchmarks.sealing import SAMPLE

_SEARCHED = 100_000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embedder")
    parser.add_argument("folder", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--images", type=int, default=100, help="at most so many with a face")
    args = parser.parse_args()
    embedder = load_embedder(ModelStore(Storage(), ModelsConfig()), args.embedder, 1)
    anonymizer, key = Anonymizer(policy="solid", key=bytes(32)), new_key()
    indexer = FaceIndexer("run", [key.public], embedder, 24)
    whole_s, index_s, images, indexed, others, records = 0.0, 0.0, 0, 0, 0, []
    for path in sorted(path for path in args.folder.rglob("*") if path.is_file()):
        started = time.process_time()
        [outcome] = anonymizer([path.read_bytes()], [path.name])
        encoded = anonymizer.encode(outcome) if isinstance(outcome, Anonymized) else None
        taken_s = time.process_time() - started
        if not isinstance(outcome, Anonymized) or not isinstance(encoded, EncodedImage):
            continue
        times = []
        for _ in range(args.repetitions):
            started = time.process_time()
            kept = indexer.keep(outcome, encoded)
            times.append(time.process_time() - started)
        whole_s, index_s, images = whole_s + taken_s, index_s + min(times), images + 1
        indexed, others = indexed + kept.counts["indexed"], others + kept.counts["not_indexed"]
        records += kept.records
        if images == args.images:
            break
    shard = SealedShard(tuple(records), (indexer.wrapped,))
    stored_bytes = len(write_ciphertexts(shard)) + len(write_keys(shard))
    started = time.process_time()
    kek = Kek.unwrap(indexer.wrapped, key)
    for own in records:
        open_sealed(own, kek.data_key(own))
    open_s = time.process_time() - started
    templates = np.random.default_rng(0).integers(0, 256, (_SEARCHED, 64), np.uint8)
    feature, planes = np.random.default_rng(1).normal(size=embedder.dimensions).astype(np.float32), TemplateKey.new()
    planes.template(feature)
    started = time.process_time()
    planes.similarities(feature, templates)
    search_s = time.process_time() - started
    print(f"{images} images with {indexed} faces in the index and {others} that are too small or without landmarks")
    print(
        f"index    {index_s / max(indexed, 1) * 1e3:.1f} ms a face, {index_s / images * 1e3:.1f} ms an image: "
        f"{index_s / whole_s:+.1%} of the time to detect, anonymize and encode ({whole_s / images * 1e3:.1f} ms)"
    )
    print(f"stored   {stored_bytes / max(indexed, 1):,.0f} bytes a face, {stored_bytes / images:,.0f} an image")
    print(f"open     {open_s / images * 1e3:.2f} ms an image; search {search_s * 1e3:.0f} ms for {_SEARCHED:,} faces")


if __name__ == "__main__":
    main()
