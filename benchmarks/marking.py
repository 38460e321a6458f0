"""What the mark of generated content costs: time to anonymize and to encode with and without it, and bytes.

    python -m benchmarks.marking                      the sample
    python -m benchmarks.marking FOLDER --format png  own photographs, written as PNG

Faces are replaced by `swap`. Both ways of encoding alternate, and the shortest of the repetitions of each image counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from anon_batch import Anonymizer
from anon_batch.outcomes import Anonymized
from anon_batch.records import EncodedImage

SAMPLE = Path(__file__).parents[1] / "manifests/sample/photos"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--format", default="keep")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--images", type=int, default=100, help="at most so many images with a face")
    args = parser.parse_args()
    makers = {
        marked: Anonymizer(policy="swap", write={"mark_generated": marked, "format": args.format}, key=bytes(32))
        for marked in (False, True)
    }
    seconds, bytes_, whole_s, images = {False: 0.0, True: 0.0}, {False: 0, True: 0}, 0.0, 0
    for path in sorted(path for path in args.folder.rglob("*") if path.is_file()):
        started = time.perf_counter()
        [outcome] = makers[False]([path.read_bytes()], [path.name])
        taken_s = time.perf_counter() - started
        if not isinstance(outcome, Anonymized) or not outcome.synthetic:
            continue
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(args.repetitions):
            for marked, maker in makers.items():
                started = time.perf_counter()
                encoded = maker.encode(outcome)
                times[marked].append(time.perf_counter() - started)
                assert isinstance(encoded, EncodedImage)
                bytes_[marked] += len(encoded.data)
        for marked, own in times.items():
            seconds[marked] += min(own)
        whole_s += taken_s
        images += 1
        if images == args.images:
            break
    more_ms = (seconds[True] - seconds[False]) / images * 1e3
    more_bytes = (bytes_[True] - bytes_[False]) / images / args.repetitions
    print(
        f"{images} images with a generated face, {bytes_[False] / images / args.repetitions:,.0f} bytes each without the mark"
    )
    print(
        f"encode   {seconds[False] / images * 1e3:.2f} ms without, {seconds[True] / images * 1e3:.2f} ms with: {more_ms:+.3f} ms"
    )
    print(
        f"of the whole time of an image ({(whole_s + seconds[False]) / images * 1e3:.1f} ms)  "
        f"{more_ms * images / 1e3 / (whole_s + seconds[False]):+.3%}"
    )
    print(f"bytes    {more_bytes:+.0f}, {more_bytes * images * args.repetitions / bytes_[False]:+.2%}")


if __name__ == "__main__":
    main()
