"""`anon-batch identify`, and what other commands say while it was not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from drawn_people import write_people
from drawn_recogniser import drawn_recogniser
from typer.testing import CliRunner

from anon_batch.cli.app import app

COMPLIANCE = ("controller", "legal_basis", "art9_basis", "dpia_reference", "retention_until")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job file in a folder with a space and a quote in its name."""
    monkeypatch.setattr("anon_batch.cluster.identifying.preflight", lambda config: ())
    folder = write_people(tmp_path / "bob's data", [[(1, 40)], [(1, 40)], [(2, 40), (3, 24)]])
    drawn_recogniser(folder / "drawn.onnx")
    keys = {
        "manifest": str(folder / "m.parquet"),
        "output": str(folder / "out"),
        "detect": {"detectors": ["drawn_people"]},
        "anonymize": {"face": {"method": "swap"}},
        "identity": {"scope": "dataset", "source": "cluster", "embedder": str(folder / "drawn.onnx")},
        "compliance": {**dict.fromkeys(COMPLIANCE, "stated"), "retention_until": "2099-12-31"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(keys))
    return folder / "job.yaml"


def said(*args: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, [*args])
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


GIVEN = ("--set", "identity.threshold=0.8", "--set", "identity.max_false_pairs=null")


def test_it_says_what_it_found_and_with_which_error(job: Path) -> None:
    text, _ = said("identify", str(job), *GIVEN)
    assert "4 in 3 rows: 3 compared, 1 too small, turned or unsure" in text
    assert "1 person with several faces (2 in all, at most 2)" in text
    assert "an unknown number of false pairs among 3 pairs" in text
    assert "features of faces deleted" in text
    text, more = said("identify", str(job), *GIVEN)
    assert "Persons were found before, with the same settings." in more
    machine = json.loads(said("identify", str(job), *GIVEN, "--json")[0])
    assert machine["linked"] == 2
    assert machine["expected"] is None
    assert machine["new"] is False
    assert not {"fingerprint", "identity_key"} & set(machine)


def test_faces_that_wait_can_be_discarded(job: Path) -> None:
    from anon_batch.errors import ConfigError

    with pytest.raises(ConfigError, match="--discard deletes them"):
        said("identify", str(job))
    assert list((job.parent / "out-ledger/faces").glob("*.sealed"))
    assert "1 part with faces" in said("identify", str(job), "--discard")[0]
    left = {path.name for path in (job.parent / "out-ledger").rglob("*") if path.is_file()}
    assert left == {"identity.key"}
    assert json.loads(said("identify", str(job), "--discard", "--json")[0])["deleted_parts"] == 0


def test_a_job_is_not_submitted_before_its_persons_are_found(job: Path) -> None:
    from anon_batch.errors import ConfigError

    address = ("--address", "http://127.0.0.1:1", "--shared-mount")
    with pytest.raises(ConfigError, match="run `anon-batch identify` with this job first"):
        said("submit", str(job), *address)
    with pytest.raises(ConfigError, match=r"state compliance\.art9_basis"):
        said("submit", str(job), *address, "--set", "compliance.art9_basis=null")
