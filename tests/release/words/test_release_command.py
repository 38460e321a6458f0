"""`anon-batch release` writes the words of the state that ledger and keys are in, and signs nothing that claims too much."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from pipeline_fixtures import job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError
from anon_batch.formats.evidence_json import Evidence, Sample, Table
from anon_batch.formats.release import Release
from anon_batch.release.words.owner import NOT_STATED
from anon_batch.storage import Storage

IDS = [f"{n}.png" for n in range(4)]


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_dataset(str(folder), IDS)
    release(job(str(folder), "o", run_key_file=None, name="streets"))
    assert run("keys", "new", "--sign", folder / "sign")[0] == 0
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "c")
    return tmp_path / "c"


def sign(folder: Path, *more: object) -> tuple[int, str]:
    return run("release", folder / "o", "--sign-key", folder / "sign", *more)


def write_job(folder: Path, **keys: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({"name": "streets", "manifest": "m", "output": "o", **keys}))
    return path


def test_words_follow_the_state_of_ledger_and_keys(copy: Path) -> None:
    assert "says     Removed; pseudonymised for its controller, unlinked for recipients." in sign(copy)[1]
    assert "pseudonymised" in (copy / "o/README.md").read_text()
    assert "ids compared with the private ledger" in (copy / "o/report/index.html").read_text()
    destroy = ["keys", "destroy", "ledger", copy / "o", "--by", "Jane Doe", "--yes"]
    code, said = run(*destroy)
    assert (code, "release OUTPUT --no-ledger --sign-key KEY` renews" in said) == (0, True)
    assert run("verify", copy / "o", "--no-ledger", "--key", copy / "sign.pub")[0] == 3
    code, said = sign(copy)
    assert (code, "it was destroyed" in said, "--no-ledger" in said) == (2, True, True)
    assert "says     Removed; unlinked for its controller and for recipients." in sign(copy, "--no-ledger")[1]
    for name in ("README.md", "report/index.html", "report/report.json", "croissant.json"):
        text = (copy / "o" / name).read_text()
        assert "Jane Doe" in text, name
        assert "Pseudonymised" not in text, name
    assert "ids not compared with the private ledger" in (copy / "o/report/index.html").read_text()
    assert run("verify", copy / "o", "--no-ledger", "--key", copy / "sign.pub")[0] == 0


def test_a_ledger_that_is_elsewhere_is_not_taken_for_destroyed(copy: Path) -> None:
    (copy / "o-ledger").rename(copy / "elsewhere")
    assert "no ledger at" in sign(copy)[1]
    code, said = sign(copy, "--no-ledger")
    assert (code, "pseudonymised for its controller" in said) == (0, True)
    assert sign(copy, "--ledger", copy / "elsewhere")[0] == 0


def test_a_ledger_that_came_back_is_noticed(copy: Path) -> None:
    shutil.copytree(copy / "o-ledger", copy / "backup")
    assert run("keys", "destroy", "ledger", copy / "o", "--by", "Jane Doe", "--yes")[0] == 0
    shutil.copytree(copy / "backup", copy / "o-ledger")
    code, said = sign(copy)
    assert (code, "says that the ledger was destroyed, but" in said) == (3, True)
    assert not (copy / "o/attestation.json").exists()


def test_the_owner_may_speak_after_the_run(copy: Path) -> None:
    assert sign(copy)[0] == 0
    assert NOT_STATED in (copy / "o/README.md").read_text()
    own = write_job(copy, compliance={"contact": "faces@example.org", "licence": "CC0-1.0"})
    assert sign(copy, "--job", own)[0] == 0
    assert "| Contact | faces@example.org |" in (copy / "o/README.md").read_text()
    assert json.loads((copy / "o/croissant.json").read_bytes())["license"] == "https://spdx.org/licenses/CC0-1.0.html"
    assert "faces@example.org" in (copy / "o/report/index.html").read_text()
    assert sign(copy, "--job", write_job(copy))[0] == 0  # a job that gives access alone takes no word back
    assert "faces@example.org" in (copy / "o/README.md").read_text()
    assert run("verify", copy / "o", "--key", copy / "sign.pub")[0] == 0


def test_words_of_another_job_or_with_claims_are_refused(copy: Path) -> None:
    before = (copy / "o/run.json").read_bytes()
    other = write_job(copy, name="other", compliance={"contact": "x"})
    assert "needs the release's own job" in sign(copy, "--job", other)[1]
    claims = write_job(copy, compliance={"purpose": "a GDPR-compliant data set"})
    assert "which no release may claim" in sign(copy, "--job", claims)[1]
    assert (copy / "o/run.json").read_bytes() == before
    record = json.loads(before)
    record["config"]["compliance"]["purpose"] = "fully anonymous"
    (copy / "o/run.json").write_text(json.dumps(record))
    code, said = sign(copy)
    assert (code, "run.json: compliance: `purpose`: says 'anonymous'" in said) == (2, True)
    assert not (copy / "o/attestation.json").exists()


def test_nothing_is_signed_that_claims_too_much(copy: Path) -> None:
    place = Release(Storage(), str(copy / "o"))
    own = {"run_id": place.read_run_json().run_id, "stats_sha256": place.read_stats().sha256, "sample": Sample(1, 4, 0)}
    own |= {"created_at": "2026-01-02T03:04:05+00:00", "tool_version": "1"}
    classes = Table("Change of accuracy by class", ("class", "change"), (("safe", 0.1), ("anonymous", 0.2)), "")
    place.write_evidence("evaluation.json", Evidence(**own, tables={"utility.classes": classes}))
    assert sign(copy)[0] == 0  # because a class may have any name
    (copy / "o/attestation.json").unlink()
    table = Table("A guaranteed result", ("class",), (("safe",),), "")
    place.write_evidence("evaluation.json", Evidence(**own, tables={"utility.x": table}))
    code, said = sign(copy)
    assert (code, 'report/index.html: "guaranteed"' in said) == (3, True)
    assert not (copy / "o/attestation.json").exists()
