"""`seal.need: all`: only all recipients together open what is sealed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from patch_fixtures import patch_release
from pipeline_fixtures import release, verdict
from seal_fixtures import KEY, NEW, OTHER, WHO, cli, dataset, is_source, open_all, place_of, sealed_job

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.pipeline.run import Run, open_run
from anon_batch.release.reveal.rotate import rotate

TO = {"seal.recipients": ["k.pub", "other.pub", "new.pub"], "seal.need": "all"}
KEYS = [KEY, OTHER, NEW]
SAYS = ["--by", "J", "--reason", "r"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = dataset(tmp_path)
    keys = {**TO, "seal.recipients": [str(folder / name) for name in TO["seal.recipients"]]}
    return release(sealed_job(folder, **keys))


def test_all_keys_open_it_and_fewer_do_not(run: Run) -> None:
    opened = open_all(run, *KEYS)
    assert len(opened) == 4
    assert all(is_source(name, own) for name, own in opened.items())
    for count in (1, 2):
        for some in combinations(KEYS, count):
            with pytest.raises(ConfigError, match="needed together"):
                place_of(run).check_keys(some)
            with pytest.raises(IntegrityError):
                open_all(run, *some)
    assert verdict(run).faults == []


def test_a_patch_keeps_it_so(run: Run) -> None:
    patch_release(run, anonymize__face__expansion=1.8)
    assert all(is_source(name, own) for name, own in open_all(run, *KEYS).items())
    with pytest.raises(IntegrityError):
        open_all(run, KEY)


def test_rotation_changes_how_many_are_needed(run: Run) -> None:
    publics = [own.public for own in KEYS]
    with pytest.raises(ConfigError, match="recipients already"):
        list(rotate(place_of(run), KEYS, publics, WHO, "all"))
    list(rotate(place_of(run), KEYS, publics, WHO, "any"))
    assert all(is_source(name, own) for name, own in open_all(run, OTHER).items())
    list(rotate(place_of(run), [NEW], publics[:2], WHO, "all"))
    assert all(is_source(name, own) for name, own in open_all(run, KEY, OTHER).items())
    with pytest.raises(IntegrityError):
        open_all(run, KEY, NEW)


def test_a_resume_that_needs_fewer_is_refused(run: Run, tmp_path: Path) -> None:
    keys = {"seal.recipients": [str(tmp_path / name) for name in TO["seal.recipients"]]}
    with pytest.raises(ResumeRefusedError, match=r"need: all.*need: any"):
        open_run(sealed_job(tmp_path, **keys), ())


def test_from_the_command_line(run: Run, tmp_path: Path) -> None:
    given = [part for name in ("k", "other", "new") for part in ("--key", tmp_path / name)]
    output = run.release.uri
    assert "all of them together" in cli("keys", "list", output)[1]
    assert "2 of the 3 keys" in cli("keys", "check", output, *given[:4])[1]
    assert "open what is sealed" in cli("keys", "check", output, *given)[1]
    code, said = cli("reveal", output, *given[:4], "--all", "-o", tmp_path / "b", *SAYS)
    assert (code, NEW.public.key_id[:16] in said, "--key once for each" in said) == (2, True, True), said
    code, said = cli("reveal", output, *given, *given[:2], "--all", "-o", tmp_path / "b", *SAYS)
    assert (code, "the same key twice" in said) == (2, True), said
    assert cli("reveal", output, *given, "--all", "-o", tmp_path / "b", *SAYS)[0] == 0
    ticket = ["keys", "ticket", output, *given, "--for", tmp_path / "other.pub", "--region", "e.jpg/1"]
    assert cli(*ticket, "-o", tmp_path / "t", *SAYS)[0] == 0
    opens = ["reveal", output, "--ticket", tmp_path / "t", "-o", tmp_path / "c", "--key", tmp_path / "other"]
    assert "1 of 2 regions" in cli(*opens)[1]
    code, said = cli("keys", "rotate", output, *given, "--to", tmp_path / "k.pub", "--need", "some", *SAYS)
    assert (code, "expected any or all" in said) == (2, True), said
    assert cli("keys", "rotate", output, *given, "--to", tmp_path / "k.pub", *SAYS)[0] == 0
    assert cli("keys", "check", output, *given[:2])[0] == 0
    log = cli("keys", "list", output)[1]
    assert all(own.public.key_id[:16] in log for own in KEYS)
