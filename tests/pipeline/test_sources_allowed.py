"""A run reads what the operator allows: other rows fail with a reason, and a manifest without any allowed row is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pipeline_fixtures import image_bytes, job, release, verdict, write_dataset

from anon_batch.errors import ConfigError
from anon_batch.pipeline.run import open_run
from anon_batch.storage import Storage

IDS = ["a.png", "b.png", "c.png", "d.png"]


def _write(tmp_path: Path, uris: list[str]) -> Path:
    base = tmp_path / "set"
    base.mkdir()
    (tmp_path / "secret.png").write_bytes(image_bytes(9))
    write_dataset(str(base), IDS, uri=pa.array(uris))
    return base


def _outcomes(run: object) -> dict[str, tuple[str, str | None]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(f"{run.release.uri}/provenance").to_pylist()  # type: ignore[attr-defined]
    return {row["image_id"]: (row["status"], row["reason"]) for row in rows}


def test_rows_outside_the_list_fail_and_the_others_are_published(tmp_path: Path) -> None:
    base = _write(tmp_path, ["src/a.png", "../secret.png", "http://169.254.169.254/latest/meta-data", "src/link.png"])
    (base / "src/link.png").symlink_to(tmp_path / "secret.png")
    run = release(job(str(base)))
    refused = ("failed", "source_refused")
    assert _outcomes(run) == {"a.png": ("anonymized", None), **dict.fromkeys(IDS[1:], refused)}
    assert verdict(run).faults == []
    audit = pa.concat_tables(list(_audit(run))).to_pylist()
    details = {row["image_id"]: row["detail"] for row in audit}
    assert "outside the manifest's own folder" in details["b.png"]
    assert "link-local or cloud metadata" in details["c.png"]
    assert "a link to a file outside" in details["d.png"]


def _audit(run: object) -> list[pa.Table]:
    import pyarrow.parquet as pq

    return [pq.read_table(path) for path in Path(run.ledger.uri).glob("audit/*.parquet")]  # type: ignore[attr-defined]


def test_a_manifest_without_an_allowed_row_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    base = _write(tmp_path, [f"{tmp_path}/secret.png"] * 4)
    with pytest.raises(ConfigError, match=r"no row .*secret\.png: a local file outside .* --set 'sources\.allow=\["):
        open_run(job(str(base)), ())
    assert not (base / "out").exists()
    run = release(job(str(base), sources__allow=[str(tmp_path)]))
    assert {status for status, _ in _outcomes(run).values()} == {"anonymized", "clean"}


def test_the_list_may_change_between_two_runs_of_a_job(tmp_path: Path) -> None:
    base = _write(tmp_path, ["src/a.png", "src/b.png", "src/c.png", "src/d.png"])
    open_run(job(str(base)), ())
    _, resumed = open_run(job(str(base), sources__allow=[str(base)]), ())
    assert resumed
    assert Storage().exists(str(base / "out-ledger/plan.json"))


def test_the_refusal_shows_no_password_and_no_query(tmp_path: Path) -> None:
    base = _write(tmp_path, ["http://user:hunter2@127.0.0.1:9/a/b.png?X-Amz-Signature=c0ffee/x"] * 4)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1 is this machine") as caught:
        open_run(job(str(base)), ())
    assert "hunter2" not in str(caught.value)
    assert "c0ffee" not in str(caught.value)
