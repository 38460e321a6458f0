"""Changes of recipients, versions and restorations that meet, or die: nothing that is sealed is lost."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from patch_fixtures import patch_release
from pipeline_fixtures import DyingStorage, Killed, release, verdict
from releases import command
from seal_fixtures import KEY, NEW, OTHER, WHO, dataset, is_source, open_all, place_of, sealed_job

from anon_batch.errors import ResumeRefusedError
from anon_batch.formats.access_log import AccessLog
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.versions.begin import begin_version
from anon_batch.release.reveal.rotate import rotate
from anon_batch.storage import Storage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return release(sealed_job(dataset(tmp_path)))


def killed(run: Run, dies_at: int) -> None:
    """Begin to change the recipients to NEW, and die at a change of the store."""
    with pytest.raises(Killed):
        list(rotate(place_of(run, DyingStorage(run.config.storage, dies_at)), [KEY], [NEW.public], WHO))


def test_two_changes_of_recipients_do_not_mix(run: Run) -> None:
    place = place_of(run)  # as it is before the other change
    first = rotate(place_of(run), [KEY], [NEW.public], WHO)
    next(first)
    with pytest.raises(ResumeRefusedError, match=r"a change of the recipients to .* has begun"):
        next(rotate(place, [KEY], [OTHER.public], WHO))
    with pytest.raises(ResumeRefusedError, match="need: any"):
        next(rotate(place, [KEY], [NEW.public, OTHER.public], WHO, "all"))
    list(rotate(place, [KEY], [NEW.public], WHO))  # two with the same recipients help each other
    list(first)
    assert all(is_source(name, own) for name, own in open_all(run, NEW).items())
    list(rotate(place_of(run), [NEW], [KEY.public], WHO))
    list(rotate(place_of(run), [KEY], [OTHER.public], WHO))
    assert all(is_source(name, own) for name, own in open_all(run, OTHER).items())
    assert verdict(run).faults == []
    assert not list(Path(run.ledger.uri, "keys").glob("rotation*"))


def test_no_version_begins_beside_a_change_of_recipients(run: Run) -> None:
    killed(run, 4)  # behind its marker
    with pytest.raises(ResumeRefusedError, match="keys rotate"):
        patch_release(run, anonymize__face__expansion=1.8)
    list(rotate(place_of(run), [KEY], [NEW.public], WHO))  # although the patch has left its plan
    patch_release(run, anonymize__face__expansion=1.8)
    assert all(is_source(name, own) for name, own in open_all(run, NEW).items())
    assert verdict(run).faults == []


def test_no_change_of_recipients_begins_beside_a_version(run: Run) -> None:
    begin_version(Release(Storage(), run.release.uri), Ledger(Storage(), run.ledger.uri), "erase", {"asked": "x"})
    with pytest.raises(ResumeRefusedError, match="a new version of the release has begun"):
        next(rotate(place_of(run), [KEY], [NEW.public], WHO))
    assert not list(Path(run.ledger.uri, "keys").glob("rotation*"))
    assert len(open_all(run)) == 4


def test_a_change_that_died_before_it_changed_anything_gives_way(run: Run) -> None:
    killed(run, 2)  # between its marker and the note that it wraps
    begun = Release(Storage(), run.release.uri), Ledger(Storage(), run.ledger.uri)
    with pytest.raises(ResumeRefusedError, match="recipients of what it keeps encrypted are being changed"):
        begin_version(*begun, "erase", {"asked": "x"})
    with pytest.raises(ResumeRefusedError, match="a new version of the release has begun"):
        next(rotate(place_of(run), [KEY], [NEW.public], WHO))
    begin_version(*begun, "erase", {"asked": "x"})
    assert len(open_all(run)) == 4


@pytest.mark.full
def test_a_killed_reveal_stays_in_the_log_and_can_be_repeated(tmp_path: Path) -> None:
    run = release(sealed_job(dataset(tmp_path)))
    given = [run.release.uri, "--key", str(tmp_path / "k"), "--all", "--by", "J", "--reason", "r"]
    process = subprocess.Popen(command("reveal", *given, "-o", str(tmp_path / "one")), stdout=subprocess.DEVNULL)
    log, deadline = AccessLog(Ledger(Storage(), run.ledger.uri)), time.monotonic() + 120
    while not log.read() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert log.read()[0].outcome == "begun"
    done = subprocess.run(
        command("reveal", *given, "-o", str(tmp_path / "two")), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert len([own for own in (tmp_path / "two").rglob("*") if own.is_file()]) == 4
    assert [own.outcome for own in log.read()][-1] == "opened 4"
