"""Measure anonymization methods side by side, and other programs with them: `make table`.

Photographs and pairs of persons come from MANIFEST and --pairs, else from ANON_BATCH_TEST_DATA, else the photographs are the
sample's. WIDER FACE comes from --wider. Each method's result is kept in OUTPUT/methods under the digest of its settings, inputs
and code: the same command again goes on where it was stopped, and measures again what has changed. Several processes with one
OUTPUT, which may be in an object store, share the work if each gets other --methods; the last one prints the table.

    python -m benchmarks.table --embedder mobilefacenet.onnx -o table
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from anon_batch.errors import AnonBatchError, ObjectNotFoundError
from anon_batch.evaluate.evaluation import evaluate
from anon_batch.evaluate.measures import FILENAME
from anon_batch.evaluate.samples import select_from_manifest
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.manifest.fetch import SourceReader
from anon_batch.process import limit_threads
from anon_batch.storage import Storage, absolute, join
from benchmarks.pace import measure_pace
from benchmarks.peers import PEERS, with_peer
from benchmarks.table_page import render
from benchmarks.table_sections import add_options, find_sections
from benchmarks.table_settings import Section, settings_digest, settings_of

TABLE_JSON, TABLE_PAGE = "table.json", "table.md"
PACE_IMAGES = 24


def main(arguments: list[str] | None = None) -> int:
    """Measure what is not measured yet, then print the table and write it to OUTPUT as Markdown and JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    _on_one_core()
    try:
        storage, sections = find_sections(options, parser)
        page, content = _table(storage, sections, options.output)
    except AnonBatchError as exc:
        print(f"benchmarks.table: {exc}", file=sys.stderr)
        return int(exc.exit_code)
    print(page)
    storage.put(join(absolute(options.output), TABLE_PAGE), page.encode())
    storage.put(join(absolute(options.output), TABLE_JSON), json.dumps(content, indent=1).encode())
    return 0


def _table(storage: Storage, sections: list[Section], output: str) -> tuple[str, dict[str, Any]]:
    content: dict[str, Any] = {"created_at": _now(), "command": sys.argv[1:], "sections": []}
    for section in sections:
        results = [measure(storage, section, method, output) for method in section.config.methods]
        content["sections"].append({"name": section.name, "title": section.title, "results": results})
    return render(content), content


def measure(storage: Storage, section: Section, method: str, output: str) -> dict[str, Any]:
    """Return a method's result: the kept one if its settings are the same, else a new one, which is kept.

    Raises:
        UsageError, StorageError: as `evaluate`.
    """
    settings = settings_of(section, method, storage)
    digest = settings_digest(settings)
    folder = join(absolute(output), f"methods/{section.name}-{method}-{digest}")
    address = join(folder, "result.json")
    try:
        result: dict[str, Any] = json.loads(storage.read(address))
    except (ObjectNotFoundError, ValueError):  # there is none, or it was cut off
        print(f"{section.name}: {method}: measuring", file=sys.stderr, flush=True)
    else:
        print(f"{section.name}: {method}: kept from {result['created_at']} ({address})", file=sys.stderr, flush=True)
        return result
    setups: list[Setup] = []
    adapt = _adapted(method, setups)
    measures = evaluate(section.of_method(method, folder), _report, adapt)
    pace = _pace(storage, section.config, setups[0])
    result = {
        "method": method,
        "digest": digest,
        "created_at": _now(),
        "settings": settings,
        "measures": measures.to_dict(),
        "pace": pace,
    }
    storage.put(address, json.dumps(result).encode())
    storage.delete(join(folder, FILENAME))  # because the result holds it
    return result


def _report(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _adapted(method: str, setups: list[Setup]) -> Callable[[Setup], Setup]:
    """Return what puts a peer in the place of our method, and remembers the setup."""

    def adapt(setup: Setup) -> Setup:
        setups.append(with_peer(setup, method) if method in PEERS else setup)
        return setups[-1]

    return adapt


def _pace(storage: Storage, config: EvaluationConfig, setup: Setup) -> dict[str, Any] | None:
    """Return the pace on the first images of the sample; None without a manifest."""
    if config.manifest is None:
        return None
    chosen = select_from_manifest(
        storage, config.manifest, limit=PACE_IMAGES, seed=config.seed, labelled_only=config.scorer is not None
    )
    reader = SourceReader(storage, config.allowed(chosen.address))
    files = [reader.read(row, config.job.limits.max_bytes) for row in islice(chosen.iterate(), PACE_IMAGES)]
    return asdict(measure_pace(setup.methods[0], files, config.run_key("pace")))


def _on_one_core() -> None:
    """Keep every library to one thread, because rates are those of one core."""
    import torch

    limit_threads(1)
    torch.set_num_threads(1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
