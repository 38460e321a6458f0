"""A run seals, recipients restore, nobody else does; versions, rotation and deaths keep it so."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from patch_fixtures import files_of, patch_release, rows_of
from PIL import Image
from pipeline_fixtures import DyingStorage, Killed, on_storage, process_all, release, verdict
from seal_fixtures import (
    BOXES,
    COMPLIANCE,
    KEY,
    NEW,
    OTHER,
    WHO,
    cli,
    dataset,
    is_source,
    open_all,
    place_of,
    sealed_job,
    sources,
)

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.access_log import AccessLog
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.release.reveal.reveal import Revealed, reveal
from anon_batch.release.reveal.rotate import rotate
from anon_batch.release.reveal.sealed_release import Wanted, open_keks
from anon_batch.storage import Storage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return release(sealed_job(dataset(tmp_path)))


def test_everything_comes_back_exactly(run: Run) -> None:
    opened = open_all(run)
    assert sorted(opened) == ["c.png", "e.jpg", "p/a.jpg", "p/d.jpg"]
    assert all(is_source(name, own) for name, own in opened.items())
    assert [opened[name].whole for name in ("c.png", "p/a.jpg")] == [True, False]
    assert verdict(run).faults == []


@pytest.mark.parametrize("name", ["files", "webdataset", "parquet"])
def test_the_release_is_the_one_without_seals(tmp_path: Path, name: str) -> None:
    folder = dataset(tmp_path)
    plain = release(sealed_job(folder, "plain", write__layout=name, **{"seal.recipients": []}))
    sealed = release(sealed_job(folder, "sealed", write__layout=name))
    hidden = ("image_id", "output", "member", "sha256", "regions", "status", "size_bytes")
    pick = lambda own: [  # noqa: E731
        {
            key: re.sub(r"-[0-9a-f]{8}-\d+\.", ".", value) if key == "output" and value else value
            for key, value in row.items()
            if key in hidden
        }
        for row in rows_of(own)
    ]
    assert pick(plain) == pick(sealed)
    assert not (tmp_path / "plain-ledger/sealed").exists()
    assert not (tmp_path / "plain-ledger/keys").exists()
    assert "seal" not in json.loads((tmp_path / "plain/run.json").read_bytes())["config"]
    assert all(is_source(image_id, own) for image_id, own in open_all(sealed).items())
    assert verdict(sealed).faults == []


def test_whole_files_on_request(tmp_path: Path) -> None:
    run = release(sealed_job(dataset(tmp_path), seal__what="file"))
    opened = open_all(run)
    assert {name: own.data for name, own in opened.items()} == {n: d for n, d in sources().items() if BOXES[n]}
    assert verdict(run).faults == []


def test_one_region_leaves_the_others_closed(run: Run) -> None:
    [own] = reveal(place_of(run), [KEY], [Wanted("p/a.jpg", (1,))], WHO)
    before = Image.open(io.BytesIO(files_of(run)["images/p/a.jpg"])).convert("RGB")
    after = Image.open(io.BytesIO(own.data)).convert("RGB")
    changed = (np.asarray(before) != np.asarray(after)).any(axis=2)
    assert not changed[:24, :24].any()
    assert changed[34:48, 44:56].any()
    assert (own.regions, own.of) == (1, 2)


def test_nobody_else_opens_it(run: Run) -> None:
    place = place_of(run)
    with pytest.raises(ConfigError, match="opens nothing here"):
        place.check_key(OTHER, "other")
    with pytest.raises(IntegrityError):
        list(reveal(place, [OTHER], place.all_images(), WHO))
    assert AccessLog(place.ledger).read()[-1].outcome.startswith("ended at image 0")


def test_no_secret_is_in_any_file_or_argument(run: Run, tmp_path: Path) -> None:
    texts = [own.pem() for own in (KEY,)]
    raw = KEY._keys[0].private_bytes_raw()  # type: ignore[call-arg, union-attr]
    carried = pickle.dumps(run)
    for path in [*(tmp_path / "out").rglob("*"), *(tmp_path / "out-ledger").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in (*texts, raw)), path
            if path.parts[-2] in ("sealed", "sealkeys", "keys", "access"):
                assert not any(source[200:260] in data for source in sources().values()), path
    assert raw not in carried
    assert not list((tmp_path / "out").rglob("*seal*"))


@pytest.mark.parametrize("part", ["sealed", "sealkeys"])
def test_every_changed_byte_is_found(run: Run, part: str) -> None:
    """A flipped byte of a part is refused, or changes nothing that is opened."""
    path = next(p for p in sorted((Path(run.ledger.uri) / part).iterdir()) if p.name.startswith("0000000000-"))
    good = path.read_bytes()
    right = {name: own.data for name, own in open_all(run).items()}
    refused = 0
    for at in range(0, len(good), max(1, len(good) // 60)):
        changed = bytearray(good)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        place = place_of(run)
        try:
            found = {own.image_id: own.data for own in reveal(place, [KEY], [Wanted("p/a.jpg")], WHO)}
            assert found == {"p/a.jpg": right["p/a.jpg"]}
        except (IntegrityError, ConfigError):
            refused += 1
    path.write_bytes(good)
    assert refused > 15


def test_a_missing_part_is_a_fault(run: Run) -> None:
    for part in ("sealed", "sealkeys"):
        path = next((Path(run.ledger.uri) / part).iterdir())
        data = path.read_bytes()
        path.unlink()
        assert any("missing" in fault for fault in verdict(run).faults)
        path.write_bytes(data)
    shutil.rmtree(Path(run.ledger.uri) / "sealed")
    shutil.rmtree(Path(run.ledger.uri) / "sealkeys")
    assert any("not its regions" in fault for fault in verdict(run).faults)


def test_a_run_without_the_owners_words_does_not_start(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    for gone in COMPLIANCE:
        with pytest.raises(ConfigError, match=f"compliance.{gone}"):
            open_run(sealed_job(folder, compliance={k: v for k, v in COMPLIANCE.items() if k != gone}), ())
    with pytest.raises(ConfigError, match="one bucket"):
        open_run(sealed_job(folder).model_copy(update={"output": "s3://b/out", "ledger": None}), ())
    for wrong in ("k", "key", "no such file"):
        with pytest.raises(ConfigError, match=r"seal\.recipients"):
            open_run(sealed_job(folder, **{"seal.recipients": [str(folder / wrong)]}), ())


def test_a_resume_with_other_recipients_is_refused(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    release(sealed_job(folder))
    for recipients in ([], ["other.pub"], ["k.pub", "other.pub"]):
        with pytest.raises(ResumeRefusedError, match="the run began with seals"):
            open_run(sealed_job(folder, **{"seal.recipients": [str(folder / name) for name in recipients]}), ())
    with pytest.raises(ResumeRefusedError, match="what: file"):
        open_run(sealed_job(folder, seal__what="file"), ())
    release(sealed_job(folder, "plain", **{"seal.recipients": []}))
    with pytest.raises(ResumeRefusedError, match="began with no seals"):
        open_run(sealed_job(folder, "plain"), ())


@pytest.mark.full
@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_every_change_of_a_run_loses_nothing(tmp_path: Path, after: bool) -> None:
    folder, dies_at = dataset(tmp_path), 1
    while True:
        config = sealed_job(folder, f"o{dies_at}")
        storage = DyingStorage(config.storage, dies_at, after=after)
        try:
            run, _ = open_run(config, (), storage)
            process_all(on_storage(run, storage))
            finalize(on_storage(run, storage))
            break
        except (Killed, AssertionError):
            pass
        again = release(config)
        assert all(is_source(name, own) for name, own in open_all(again).items()), dies_at
        assert verdict(again).faults == [], (dies_at, verdict(again).faults)
        dies_at += 1
    assert dies_at > 20


def test_a_patch_seals_what_it_does_again(run: Run) -> None:
    patch_release(run, anonymize__face__expansion=1.8)
    opened = open_all(run)
    assert all(is_source(name, own) for name, own in opened.items())
    assert len(opened) == 4
    assert verdict(run).faults == []


def test_what_is_erased_opens_nowhere(run: Run, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(run.ledger.uri, backup)
    assert cli("erase", run.release.uri, "--ids", "p/a.jpg", "--yes")[0] == 0
    assert sorted(open_all(run)) == ["c.png", "e.jpg", "p/d.jpg"]
    assert b"p/a.jpg" not in b"".join(p.read_bytes() for p in Path(run.ledger.uri).rglob("*") if p.is_file())
    assert verdict(run).faults == []
    assert (
        cli(
            "keys",
            "rotate",
            run.release.uri,
            "--key",
            tmp_path / "k",
            "--to",
            tmp_path / "new.pub",
            "--by",
            "J",
            "--reason",
            "r",
        )[0]
        == 0
    )
    # Yesterday's copy of the ledger does not open with today's key.
    for part in ("sealed", "sealkeys"):
        for path in (backup / part).iterdir():
            shutil.copy(path, Path(run.ledger.uri) / part / path.name)
    old = place_of(run).store
    for path in (backup / "sealkeys").iterdir():
        spec, attempt = re.fullmatch(r"(\d+-\d+)-(.+)\.parquet", path.name).groups()  # type: ignore[union-attr]
        parsed = layout.parse_shards_file(path.name)
        assert parsed is not None
        keks = old.read(parsed, attempt, run.plan.run_id).keks
        with pytest.raises(IntegrityError):
            open_keks(keks, [NEW])
        assert spec == parsed.name


def test_rotation(run: Run, tmp_path: Path) -> None:
    place = place_of(run)
    assert sum(rotate(place, [KEY], [NEW.public], WHO)) == 6
    assert all(is_source(name, own) for name, own in open_all(run, NEW).items())
    with pytest.raises(ConfigError, match="opens nothing here"):
        place_of(run).check_key(KEY, "k")
    with pytest.raises(ConfigError, match="recipients already"):
        list(rotate(place_of(run), [NEW], [NEW.public], WHO))
    with pytest.raises(ConfigError, match="named twice"):
        list(rotate(place_of(run), [NEW], [KEY.public, KEY.public], WHO))
    patch_release(run, anonymize__face__expansion=1.8)
    assert all(is_source(name, own) for name, own in open_all(run, NEW).items())
    assert verdict(run).faults == []


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_every_change_of_a_rotation_loses_nothing(run: Run, after: bool, tmp_path: Path) -> None:
    dies_at = 1
    kept = tmp_path / "kept"
    shutil.copytree(run.ledger.uri, kept)
    while True:
        shutil.rmtree(run.ledger.uri)
        shutil.copytree(kept, run.ledger.uri)
        try:
            list(
                rotate(place_of(run, DyingStorage(run.config.storage, dies_at, after=after)), [KEY], [NEW.public], WHO)
            )
            break
        except Killed:
            pass
        if place_of(run).seals.opens(KEY, run.plan.run_id):
            list(rotate(place_of(run), [KEY], [NEW.public], WHO))
        assert all(is_source(name, own) for name, own in open_all(run, NEW).items()), dies_at
        dies_at += 1
    assert dies_at > 5


def test_a_ticket_opens_one_region_without_the_ledger(run: Run, tmp_path: Path) -> None:
    out, tickets = tmp_path / "back", tmp_path / "t.json"
    more = ["--by", "J", "--reason", "court order", "--case", "1"]
    given = ["keys", "ticket", run.release.uri, "--key", tmp_path / "k", "--for", tmp_path / "other.pub", "-o", tickets]
    assert cli(*given, "--region", "e.jpg/1", *more)[0] == 0
    shutil.move(run.ledger.uri, tmp_path / "elsewhere")
    opens = ["reveal", run.release.uri, "--ticket", tickets, "-o", out]
    code, said = cli(*opens, "--key", tmp_path / "k")
    assert (code, "for another key" in said) == (2, True)
    code, said = cli(*opens, "--key", tmp_path / "other")
    assert (code, "1 of 2 regions" in said) == (0, True), said
    fields = json.loads(tickets.read_bytes())
    for key in ("image_id", "region", "run_id"):
        changed = {**fields, "tickets": [{**fields["tickets"][0], key: 0 if key == "region" else "p/a.jpg"}]}
        tickets.write_text(json.dumps(changed))
        assert cli(*opens, "--key", tmp_path / "other")[0] in (2, 3)
    tickets.write_text("{}")
    assert "no tickets" in cli(*opens, "--key", tmp_path / "other")[1]


def test_the_log_comes_first_and_shows_every_change(run: Run) -> None:
    place = place_of(run)

    class NoLog(Storage):
        def put_if_absent(self, uri: str, data: bytes) -> None:
            raise IntegrityError("no log")

    with pytest.raises(IntegrityError, match="no log"):
        next(reveal(place_of(run, NoLog()), [KEY], [Wanted("p/a.jpg")], WHO))
    opened = reveal(place, [KEY], [Wanted("p/a.jpg")], WHO)
    next(opened)
    [entry] = AccessLog(place.ledger).read()
    assert (entry.verb, entry.by, entry.case, entry.rows, entry.outcome) == (
        "reveal",
        "Jane Doe",
        "12/26",
        ((0, 0), (0, 1)),
        "begun",
    )
    assert list(opened) == []
    assert [own.outcome for own in AccessLog(place.ledger).read()] == ["begun", "opened 1"]
    open_all(run)
    paths = sorted((Path(run.ledger.uri) / "access").iterdir())
    assert len(paths) == 4
    data = paths[1].read_bytes()
    for damage in (lambda: paths[1].unlink(), lambda: paths[1].write_bytes(data.replace(b"opened 1", b"opened 0"))):
        damage()
        with pytest.raises(IntegrityError, match="the entry before it was changed or is missing"):
            AccessLog(place.ledger).read()
        with pytest.raises(IntegrityError):
            next(reveal(place, [KEY], [Wanted("p/a.jpg")], WHO))
        paths[1].write_bytes(data)


def test_destroying_the_seal_leaves_run_key_and_ledger(run: Run, tmp_path: Path) -> None:
    run_key_stays = cli("keys", "destroy", "seal", run.release.uri, "--by", "DPO", "--yes")
    assert run_key_stays[0] == 0, run_key_stays
    left = [p for p in Path(run.ledger.uri).rglob("*") if p.is_file() and p.parts[-2] in ("sealed", "sealkeys", "keys")]
    assert left == []
    record = json.loads((tmp_path / "out/destroyed.json").read_bytes())
    assert [(own["what"], own["complete"]) for own in record["things"]] == [("seal", True)]
    assert verdict(run).faults == []
    code, said = cli(
        "reveal", run.release.uri, "--key", tmp_path / "k", "--all", "-o", tmp_path / "b", "--by", "J", "--reason", "r"
    )
    assert (code, "was destroyed" in said) == (2, True), said
    assert cli("keys", "destroy", "ledger", run.release.uri, "--by", "DPO", "--yes")[0] == 0
    assert not Path(run.ledger.uri).exists()


def test_what_cannot_be_asked_for_is_named(run: Run, tmp_path: Path) -> None:
    base = ["reveal", run.release.uri, "--key", tmp_path / "k", "-o", tmp_path / "back"]
    who = ["--by", "J", "--reason", "r"]
    for more, words in (
        ([*who], "name what to open"),
        ([*who, "--image", "nobody.jpg"], "not in this release"),
        ([*who, "--image", "p/b.jpg"], "nothing was anonymized in it"),
        ([*who, "--region", "p/a.jpg/2"], "has regions 0 to 1"),
        ([*who, "--region", "p/a.jpg"], "expected ID/INDEX"),
        ([*who, "--region", f"p/a.jpg/{'9' * 5000}"], "expected ID/INDEX"),
        ([*who, "--region", "c.png/0"], "sealed as a whole file"),
        ([*who, "--all", "--image", "p/a.jpg"], "--all opens everything"),
        (["--image", "p/a.jpg", "--by", "J"], "say who asks and why"),
        (["--image", "p/a.jpg", "--by", " ", "--reason", "r"], "say who asks and why"),
        (["--all", "--by", "J\naccess 7  by Eve", "--reason", "r"], "one line of printable characters"),
        (["--all", "--by", "J", "--reason", "r\x1b[2K"], "one line of printable characters"),
    ):
        code, said = cli(*base, *more)
        assert (code, words in said) == (2, True), (more, said)
    assert not (tmp_path / "back").exists()
    assert AccessLog(place_of(run).ledger).read() == []
    code, said = cli(*base[:-1], tmp_path / "out/back", *who, "--all")
    assert (code, "originals need a place of their own" in said) == (2, True)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    code, said = cli("reveal", tmp_path / "link/out", *base[2:-1], tmp_path / "out/back", *who, "--all")
    assert (code, "originals need a place of their own" in said) == (2, True), "a link leads into the release too"
    assert cli(*base, *who, "--all")[0] == 0
    assert [oct((tmp_path / "back" / name).stat().st_mode)[-3:] for name in ("c.png", "p/a.jpg")] == ["600", "600"]
    code, said = cli(*base, *who, "--all")
    assert (code, "exists; name an empty folder" in said) == (2, True)


def test_an_interrupted_reveal_says_where_it_wrote(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, own: Revealed) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("anon_batch.release.reveal.reveal.write_revealed", interrupted)
    base = ["reveal", run.release.uri, "--key", tmp_path / "k", "-o", tmp_path / "back", "--by", "J", "--reason", "r"]
    code, said = cli(*base, "--all")
    assert (code, "To go on, name an empty folder" in said) == (130, True)
    assert "ended at image 1" in AccessLog(place_of(run).ledger).read()[-1].outcome


def test_keys_new_list_and_check(run: Run, tmp_path: Path) -> None:
    code, said = cli("keys", "new", "--seal", tmp_path / "mine")
    assert (code, "key id" in said) == (0, True)
    assert oct((tmp_path / "mine").stat().st_mode)[-3:] == "600"
    assert cli("keys", "show", tmp_path / "mine.pub")[1].strip() in said
    assert "exists" in cli("keys", "new", "--seal", tmp_path / "mine")[1]
    assert cli("keys", "new")[0] == cli("keys", "new", "--seal", "a", "--sign", "b")[0] == 2
    assert cli("keys", "check", run.release.uri, "--key", tmp_path / "k")[0] == 0
    assert cli("keys", "check", run.release.uri, "--key", tmp_path / "mine")[0] == 2
    code, said = cli("keys", "list", run.release.uri)
    assert (code, KEY.public.key_id in said, "6 records of 4 images" in said) == (0, True, True), said


def test_an_image_whose_original_cannot_be_sealed_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anon_batch.pipeline import sealer

    def fail(*_: object) -> list[bytes]:
        raise MemoryError

    monkeypatch.setattr(sealer, "pack_regions", fail)
    run = release(sealed_job(dataset(tmp_path), gates={"withheld": 1.0}))
    reasons = {row["image_id"]: row["reason"] for row in rows_of(run)}
    assert reasons == {"p/a.jpg": "seal", "p/b.jpg": None, "c.png": None, "p/d.jpg": "seal", "e.jpg": "seal"}
    assert sorted(open_all(run)) == ["c.png"]
    assert not (tmp_path / "out/images/p/a.jpg").exists()
