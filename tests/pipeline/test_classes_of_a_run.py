"""Names of classes belong to a run as its rows do: every file has the same ones, and a resumed run refuses others."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import job, process_all, release, write_dataset

from anon_batch.errors import ResumeRefusedError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.pipeline.run import open_run

IDS = [f"{n}.png" for n in range(9)]


def manifest(base: Path, names: list[str]) -> None:
    write_dataset(str(base), IDS, label=pa.array([n % 2 for n in range(9)]))
    features = to_metadata({"label": {"names": names, "_type": "ClassLabel"}})
    pq.write_table(pq.read_table(base / "m.parquet").replace_schema_metadata(features), base / "m.parquet")


def test_every_shard_file_has_the_names_and_no_part_of_the_provenance(tmp_path: Path) -> None:
    manifest(tmp_path, ["a", "b"])
    release(job(str(tmp_path), write__layout="parquet"))
    shards = sorted((tmp_path / "out/shards").iterdir())
    assert len(shards) > 2
    for shard in shards:
        assert read_features(pq.read_schema(shard).metadata) == {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    for part in (tmp_path / "out/provenance").iterdir():  # because a thousand names would make every footer large
        assert read_features(pq.read_schema(part).metadata) == {}


def test_a_resumed_run_refuses_other_names(tmp_path: Path) -> None:
    manifest(tmp_path, ["a", "b"])
    process_all(open_run(job(str(tmp_path)), ())[0])
    manifest(tmp_path, ["b", "a"])
    with pytest.raises(ResumeRefusedError, match="manifest rows: was"):
        open_run(job(str(tmp_path)), ())
    manifest(tmp_path, ["a", "b"])
    assert open_run(job(str(tmp_path)), ())[1]
