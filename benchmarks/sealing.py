"""What sealing costs: time to anonymize and encode an image with and without it, and bytes in the ledger.

    python -m benchmarks.sealing                      the sample
    python -m benchmarks.sealing FOLDER --method gan  own photographs

Sealing and encoding alternate, and the shortest of the repetitions of each image counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from anon_batch import Anonymizer
from anon_batch.imaging.jpeg.changed_blocks import restore_regions
from anon_batch.outcomes import Anonymized
from anon_batch.pipeline.sealer import Sealer
from anon_batch.records import EncodedImage
from anon_batch.sealing.envelope import Kek, open_sealed
from anon_batch.sealing.key_files import new_key

SAMPLE = Path(__file__).parents[1] / "manifests/sample/photos"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--method", default="solid")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--images", type=int, default=100, help="at most so many JPEGs with a face")
    args = parser.parse_args()
    anonymizer, key = Anonymizer(policy=args.method, key=bytes(32)), new_key()
    sealer = Sealer("run", [key.public], "region")
    whole_s, encode_s, seal_s, open_s = 0.0, 0.0, 0.0, 0.0
    images, regions, stored_bytes = 0, 0, 0
    for path in sorted(path for path in args.folder.rglob("*") if path.is_file()):
        started = time.perf_counter()
        [outcome] = anonymizer([path.read_bytes()], [path.name])
        taken_s = time.perf_counter() - started
        if not isinstance(outcome, Anonymized) or outcome.source.format != "JPEG":
            continue
        encodes, seals = [], []
        for _ in range(args.repetitions):
            started = time.perf_counter()
            encoded = anonymizer.encode(outcome)
            encodes.append(time.perf_counter() - started)
            assert isinstance(encoded, EncodedImage)
            started = time.perf_counter()
            sealed = sealer.keep(outcome, encoded).records
            seals.append(time.perf_counter() - started)
        started = time.perf_counter()
        kek = Kek.unwrap(sealer.wrapped, key)
        plain = [open_sealed(own, kek.data_key(own)) for own in sealed]
        if sealed[0].place.region >= 0:
            restore_regions(encoded.data, plain, outcome.source.orientation)
        open_s += time.perf_counter() - started
        whole_s, encode_s, seal_s = whole_s + taken_s, encode_s + min(encodes), seal_s + min(seals)
        images, regions = images + 1, regions + len(outcome.records)
        stored_bytes += sum(len(own.ciphertext) + len(own.wrapped_key) + len(own.commitment) for own in sealed)
        if images == args.images:
            break
    print(f"{images} JPEGs with {regions} regions, method {args.method}")
    print(
        f"seal     {seal_s / images * 1e3:.2f} ms an image, {seal_s / regions * 1e3:.2f} ms a region: "
        f"{seal_s / (whole_s + encode_s):+.1%} of the time to detect, anonymize and encode "
        f"({(whole_s + encode_s) / images * 1e3:.1f} ms)"
    )
    print(f"stored   {stored_bytes / regions:,.0f} bytes a region")
    print(f"restore  {open_s / images * 1e3:.2f} ms an image")


if __name__ == "__main__":
    main()
