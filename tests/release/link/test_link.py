"""A run indexes faces, recipients find a person by a photograph, nobody else does; versions, rotation and deaths keep it so."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import link_dataset
import numpy as np
import pytest
from link_commands import WHO, cli
from link_dataset import COMPLIANCE, KEY, NEW, OTHER, PERSONS, VARIANTS, dataset, linked_job, variant
from patch_fixtures import patch_release, rows_of
from PIL import Image
from pipeline_fixtures import DyingStorage, Killed, on_storage, process_all, release, verdict
from releases import RUN_KEY

from anon_batch.config import ModelsConfig
from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats.access_log import AccessLog
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.pipeline import face_index
from anon_batch.pipeline.face_index import FaceIndexer
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.recognition.templates import TemplateKey
from anon_batch.release.link.index import FaceIndex
from anon_batch.release.link.photo import Photo
from anon_batch.release.link.search import Search, search
from anon_batch.release.link.tools import LinkTools
from anon_batch.release.link.virtual import read_run_key
from anon_batch.release.reveal.reveal import Asked
from anon_batch.release.reveal.rotate import rotate
from anon_batch.release.reveal.sealed_release import SealedRelease
from anon_batch.sealing.key_files import PrivateKey
from anon_batch.storage import Storage

OF_P3 = ["p3/0.jpg/0", "p3/1.jpg/0", "p3/2.jpg/0"]


@pytest.fixture(scope="module", autouse=True)
def same_planes() -> Iterator[None]:
    """Give all templates the same planes, because a drawn recogniser tells little apart, and tests must not be chance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TemplateKey, "new", lambda: TemplateKey(bytes(range(32))))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = dataset(tmp_path_factory.mktemp("made"))
    release(linked_job(folder))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the finished release, its ledger and its keys. The sources and the recogniser stay where they are."""
    return Path(shutil.copytree(made, tmp_path / "own"))


def place_of(folder: Path, output: str = "out") -> SealedRelease:
    storage = Storage()
    return SealedRelease(
        Release(storage, str(folder / output)), Ledger(storage, str(folder / f"{output}-ledger")), "link"
    )


def find(folder: Path, key: PrivateKey = KEY, output: str = "out", photo: bytes | None = None) -> Search:
    place = place_of(folder, output)
    tools = LinkTools(place, ModelsConfig(), None)
    feature = tools.feature_of(Photo("photo", photo or variant(3, VARIANTS)))
    return search(FaceIndex(place, [key]), feature, 1)


def names(found: Search) -> list[str]:
    return sorted(own.place.name for own in found.hits)


def link(folder: Path, *more: object) -> tuple[int, str]:
    given = ("--key", folder / "k", "--photo", folder / "photo.jpg", *WHO)
    return cli("link", folder / "out", *given, *more)


def run_of(folder: Path, output: str = "out", **more: Any) -> Run:
    return open_run(linked_job(folder, output, **more), ())[0]


def test_a_photograph_finds_the_persons_images_and_nobody_elses(folder: Path) -> None:
    for person in (0, 2, 3, 4):
        found = find(folder, photo=variant(person, VARIANTS))
        assert {own.place.image_id.partition("/")[0] for own in found.hits} == {f"p{person}"}
        assert found.expected is not None
        assert found.expected.low <= found.expected.value <= found.expected.high <= 1.001
    assert names(find(folder)) == OF_P3


def test_the_command_prints_ids_and_scores_and_logs_who_asked(folder: Path) -> None:
    code, said = link(folder)
    assert code == 0, said
    assert [line.split()[2] for line in said.splitlines() if line.startswith("hit")] == find_names(
        said
    ) == OF_P3 or said
    assert "hits of other people expected" in said
    assert "not in the index (2 too small)" in said
    code, text = link(folder, "--json")
    values = json.loads(text)
    assert sorted(f"{own['image_id']}/{own['region']}" for own in values["ranked"]) == OF_P3
    assert values["expected_false_hits"]["high"] <= values["max_false_hits"] * 1.001
    entries = AccessLog(place_of(folder).ledger).read()
    assert [own.outcome.partition(" among")[0] for own in entries] == ["begun", "3 hits"] * 2
    assert (entries[0].verb, entries[0].by, entries[0].case) == ("link", "Jane Doe", "12/26")
    assert entries[0].photo == KEY.code_of((folder / "photo.jpg").read_bytes()) != OTHER.code_of(b"")
    rows = {row["image_id"]: at for at, row in enumerate(rows_of(run_of(folder)))}
    assert sorted(entries[1].rows) == sorted((rows[f"p3/{number}.jpg"], 0) for number in range(VARIANTS))
    log = b"".join(path.read_bytes() for path in (folder / "out-ledger/access").iterdir())
    assert b"p3" not in log


def find_names(said: str) -> list[str]:
    return sorted(line.split()[2] for line in said.splitlines() if line.startswith("hit"))


def test_the_release_is_the_one_without_an_index(folder: Path) -> None:
    plain = release(linked_job(folder, "plain", **{"link.recipients": []}))
    with_index = run_of(folder)
    hidden = ("image_id", "sha256", "regions", "status", "size_bytes")
    assert [[row[name] for name in hidden] for row in rows_of(plain)] == [
        [row[name] for name in hidden] for row in rows_of(with_index)
    ]
    assert not any((folder / f"plain-ledger/{name}").exists() for name in ("link", "linkkeys", "keys"))
    assert "link" not in json.loads((folder / "plain/run.json").read_bytes())["config"]
    assert json.loads((folder / "out/run.json").read_bytes())["config"]["link"] == {
        "what": "templates",
        "recipients": 1,
    }
    counted = json.loads((folder / "out/stats.json").read_bytes())["checks"]["link"]
    assert counted["not_indexed"] == 2
    assert counted["indexed"] == len(FaceIndex(place_of(folder), [KEY]).faces)
    assert "link" not in json.loads((folder / "plain/stats.json").read_bytes())["checks"]


def test_nobody_else_opens_it(folder: Path) -> None:
    code, said = cli("link", folder / "out", "--key", folder / "other", "--photo", folder / "photo.jpg", *WHO)
    assert (code, "opens nothing here" in said) == (2, True)
    with pytest.raises(IntegrityError):
        find(folder, OTHER)
    assert AccessLog(place_of(folder).ledger).read() == []


def test_no_secret_and_no_template_is_in_any_file_or_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, secrets, plain = dataset(tmp_path), list[bytes](), list[bytes]()

    class Known(FaceIndexer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            secrets.extend((self._kek._key, self._key.secret))

    to_bytes = face_index.FaceRecord.to_bytes

    def noted(self: Any) -> bytes:
        plain.extend(own.template for own in self.faces if own.template)
        return to_bytes(self)

    monkeypatch.setattr(face_index.FaceRecord, "to_bytes", noted)
    monkeypatch.setattr("anon_batch.pipeline.shard.FaceIndexer", Known)
    run = release(linked_job(folder, **{"engine.shard_rows": 40}))
    raw = KEY._keys[0].private_bytes_raw()  # type: ignore[call-arg, union-attr]
    assert len(secrets) == 2 * len(list((folder / "out-ledger/link").iterdir()))
    assert len(set(plain)) > PERSONS * VARIANTS
    texts = [
        path.read_bytes() for place in ("out", "out-ledger") for path in (folder / place).rglob("*") if path.is_file()
    ]
    captured = "".join(capfd.readouterr())
    for secret in (*secrets, raw, *plain):
        assert not any(secret in text for text in (*texts, pickle.dumps(run)))
        assert secret.hex() not in captured
    for own in (TemplateKey(secrets[1]), FaceIndexer("run", [KEY.public], None, 24)):  # type: ignore[arg-type]
        assert secrets[1].hex() not in repr(own)
        with pytest.raises(TypeError):
            pickle.dumps(own)
    assert not list((folder / "out").rglob("*link*"))


def test_a_face_that_cannot_be_indexed_withholds_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, secret = dataset(tmp_path), TemplateKey.new()

    def fail(self: Any, feature: np.ndarray) -> bytes:
        raise ValueError(f"no template {secret!r}")

    monkeypatch.setattr(TemplateKey, "template", fail)
    run = release(linked_job(folder, gates={"withheld": 1.0}))
    assert {row["reason"] for row in rows_of(run)} == {"link"}
    assert verdict(run).faults == []
    audit = b"".join(path.read_bytes() for path in (folder / "out-ledger/audit").iterdir())
    assert b"TemplateKey()" in audit
    assert secret.secret not in audit
    assert "link" not in json.loads((folder / "out/stats.json").read_bytes())["checks"]


@pytest.mark.parametrize("part", ["link", "linkkeys"])
def test_every_changed_byte_is_found(folder: Path, part: str) -> None:
    """A flipped byte of a part is refused, or changes nothing that is found."""
    path = next(p for p in sorted((folder / f"out-ledger/{part}").iterdir()) if p.name.startswith("0000000000-"))
    good, refused = path.read_bytes(), 0
    feature = np.random.default_rng(0).normal(size=128)
    right = FaceIndex(place_of(folder), [KEY])
    for at in range(0, len(good), max(1, len(good) // 40)):
        changed = bytearray(good)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        try:
            found = FaceIndex(place_of(folder), [KEY])
            assert (found.faces, found.others) == (right.faces, right.others)
            np.testing.assert_array_equal(found.scores(feature), right.scores(feature))
        except (IntegrityError, ConfigError):
            refused += 1
    assert refused > 15


def test_records_of_two_images_cannot_change_places(folder: Path) -> None:
    place = place_of(folder)
    [spec, attempt, _] = next(iter(place.shards()))
    sealed = place.store.read(spec, attempt, place.run_id)
    one, two, *rest = sealed.records
    swapped = (
        one.__class__(one.place, two.kek_id, two.ciphertext, two.wrapped_key, two.commitment),
        one.__class__(two.place, one.kek_id, one.ciphertext, one.wrapped_key, one.commitment),
        *rest,
    )
    place.store.put(spec, attempt, sealed._replace(records=swapped))
    with pytest.raises(IntegrityError, match="was changed"):
        find(folder)


def test_a_missing_part_is_a_fault(folder: Path) -> None:
    run = run_of(folder)
    assert verdict(run).faults == []
    for part in ("link", "linkkeys"):
        path = next((folder / f"out-ledger/{part}").iterdir())
        data = path.read_bytes()
        path.unlink()
        assert any("missing" in fault for fault in verdict(run).faults)
        path.write_bytes(data)
    for part in ("link", "linkkeys"):
        shutil.rmtree(folder / f"out-ledger/{part}")
    assert any("what the index of faces holds of p0/0.jpg" in fault for fault in verdict(run).faults)
    with pytest.raises(IntegrityError, match="not in the index of faces"):
        find(folder)


def test_a_run_without_the_owners_words_or_a_recogniser_does_not_start(folder: Path) -> None:
    for gone in COMPLIANCE:
        with pytest.raises(ConfigError, match=f"link: templates.*compliance.{gone}"):
            run_of(folder, "fresh", compliance={k: v for k, v in COMPLIANCE.items() if k != gone})
    with pytest.raises(ConfigError, match="one bucket"):
        open_run(linked_job(folder).model_copy(update={"output": "s3://b/out", "ledger": None}), ())
    for wrong in ("k", "key", "no such file"):
        with pytest.raises(ConfigError, match=r"link\.recipients"):
            run_of(folder, "fresh", **{"link.recipients": [str(folder / wrong)]})
    with pytest.raises(ConfigError, match=r"names a key of seal\.recipients"):
        run_of(folder, "fresh", **{"seal.recipients": [str(folder / "k.pub")]})
    with pytest.raises(ConfigError, match=r"link\.embedder: .*nowhere\.onnx"):
        run_of(folder, "fresh", **{"link.embedder": str(folder / "nowhere.onnx")})
    with pytest.raises(ConfigError, match="would stay in the ledger"):
        run_of(folder, "fresh", **{"link.embedder": "https://jane:secret@example.org/net.onnx"})
    assert not (folder / "fresh").exists()
    assert not (folder / "fresh-ledger").exists()


@pytest.mark.full
def test_a_resume_with_another_index_is_refused(folder: Path) -> None:
    link_dataset.drawn_recogniser(folder / "another.onnx", seed=1)
    for more in (
        {"link.recipients": []},
        {"link.recipients": [str(folder / "other.pub")]},
        {"link.min_face_px": 30},
        {"link.embedder": str(folder / "another.onnx")},
    ):
        with pytest.raises(ResumeRefusedError, match="the run began with an index of faces"):
            run_of(folder, **more)
    release(linked_job(folder, "plain", **{"link.recipients": []}))
    with pytest.raises(ResumeRefusedError, match="began with no index of faces"):
        run_of(folder, "plain")


@pytest.mark.full
@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_every_change_of_a_run_loses_nothing(tmp_path: Path, after: bool) -> None:
    folder, dies_at = dataset(tmp_path), 1
    while True:
        config = linked_job(folder, f"o{dies_at}", **{"sample.limit": 34, "engine.shard_rows": 17})
        storage = DyingStorage(config.storage, dies_at, after=after)
        try:
            run, _ = open_run(config, (), storage)
            process_all(on_storage(run, storage))
            finalize(on_storage(run, storage))
            break
        except (Killed, AssertionError):
            pass
        again = release(config)
        assert verdict(again).faults == [], (dies_at, verdict(again).faults)
        found = find(folder, output=f"o{dies_at}-sample-34")
        assert len(found.ranked) >= 34
        dies_at += 1
    assert dies_at > 15


@pytest.mark.full
def test_a_patch_indexes_what_it_does_again(folder: Path) -> None:
    before = find(folder)
    run = run_of(folder)
    patch_release(run, anonymize__face__expansion=1.8)
    after = find(folder)
    assert names(after) == OF_P3
    assert len(after.ranked) == len(before.ranked)
    assert verdict(run).faults == []
    parts = {
        part: {own.name for own in (folder / "out-ledger" / part).iterdir()} for part in ("link", "linkkeys", "audit")
    }
    assert parts["link"] == parts["linkkeys"] == parts["audit"], "what the new version replaced is gone"


def test_who_is_erased_is_found_no_more(folder: Path) -> None:
    assert cli("erase", folder / "out", "--ids", "p3/1.jpg", "--yes")[0] == 0
    assert names(find(folder)) == ["p3/0.jpg/0", "p3/2.jpg/0"]
    assert b"p3/1.jpg" not in b"".join(p.read_bytes() for p in (folder / "out-ledger").rglob("*") if p.is_file())
    assert verdict(run_of(folder)).faults == []


def test_the_recipients_change_and_the_index_stays(folder: Path) -> None:
    rotate = ["keys", "rotate", folder / "out", "--key", folder / "k", "--to", folder / "new.pub", *WHO]
    code, said = cli(*rotate)
    assert (code, "records open to 1 recipient" in said) == (0, True), said
    assert names(find(folder, NEW)) == OF_P3
    with pytest.raises(IntegrityError):
        find(folder, KEY)
    assert "opens the index of faces" in cli("keys", "check", folder / "out", "--key", folder / "new")[1]
    assert cli("keys", "check", folder / "out", "--key", folder / "k")[0] == 2
    code, said = cli("keys", "list", folder / "out")
    assert code == 0
    assert NEW.public.key_id in said
    assert "templates of faces" in said
    assert "rotate" in said


def test_all_recipients_together_search(folder: Path) -> None:
    list(rotate(place_of(folder), [KEY], [NEW.public, OTHER.public], Asked("J", "r"), "all"))
    place = place_of(folder)
    with pytest.raises(ConfigError, match="needed together"):
        place.check_keys([NEW])
    with pytest.raises(IntegrityError):
        find(folder, NEW)
    feature = LinkTools(place, ModelsConfig(), None).feature_of(Photo("photo", variant(3, VARIANTS)))
    assert names(search(FaceIndex(place, [NEW, OTHER]), feature, 1)) == OF_P3
    given = ("--photo", folder / "photo.jpg", "--key", folder / "new", *WHO)
    code, said = cli("link", folder / "out", *given)
    assert (code, "needed together" in said) == (2, True), said
    code, said = cli("link", folder / "out", *given, "--key", folder / "other")
    assert (code, find_names(said)) == (0, OF_P3), said


@pytest.mark.full
def test_seals_and_index_have_keys_of_their_own(folder: Path) -> None:
    run = release(linked_job(folder, "both", **{"seal.recipients": [str(folder / "other.pub")], "sample.limit": 40}))
    both = run.release.uri
    assert verdict(run).faults == []
    assert "opens what is sealed" in cli("keys", "check", both, "--key", folder / "other")[1]
    assert "opens the index of faces" in cli("keys", "check", both, "--key", folder / "k")[1]
    code, said = cli("keys", "rotate", both, "--key", folder / "k", "--to", folder / "other.pub", *WHO)
    assert (code, "to destroy each alone" in said) == (2, True), said
    assert cli("reveal", both, "--key", folder / "k", "--all", "-o", folder / "b", "--by", "J", "--reason", "r")[0] == 2
    assert cli("keys", "destroy", "seal", both, "--by", "DPO", "--yes")[0] == 0
    assert len(find(folder, output="both-sample-40").ranked) >= 40
    assert verdict(run).faults == []


def test_destroying_the_index_leaves_the_rest_and_changes_the_words(folder: Path) -> None:
    def words() -> str:
        code, said = cli("release", folder / "out", "--sign-key", folder / "sign")
        assert code in (0, 10), said
        return (folder / "out/README.md").read_text("utf-8")

    assert cli("keys", "new", "--sign", folder / "sign")[0] == 0
    assert "The link finds a person's images by a photograph" in words()
    assert link(folder)[0] == 0
    code, said = cli("keys", "destroy", "link", folder / "out", "--by", "DPO", "--yes")
    assert (code, "link: deleted" in said) == (0, True), said
    left = [path for path in (folder / "out-ledger").rglob("*") if path.is_file()]
    assert not {"link", "linkkeys", "keys"} & {path.parent.name for path in left}
    assert "The link was destroyed" in (after := words())
    assert "finds a person's images" not in after
    assert verdict(run_of_finished(folder)).faults == []
    code, said = link(folder)
    assert (code, "index of faces was destroyed" in said) == (2, True), said
    code, said = cli("keys", "check", folder / "out", "--key", folder / "k")
    assert (code, "index of faces was destroyed" in said) == (2, True), said
    code, said = cli("keys", "list", folder / "out")  # the log of searches stays
    assert (code, "destroyed  the index of faces" in said, "by Jane Doe" in said) == (0, True, True), said
    (folder / "out-ledger/keys").mkdir(exist_ok=True)
    (folder / "out-ledger/keys/link.json").write_bytes(b"{}")
    assert any("says that the link was destroyed" in fault for fault in verdict(run_of_finished(folder)).faults)


def run_of_finished(folder: Path) -> Run:
    """A run object for `verdict`, without opening the run again."""
    run = run_of(folder, "unused", **{"link.recipients": []})
    storage = Storage()
    place = Release(storage, str(folder / "out")), Ledger(storage, str(folder / "out-ledger"))
    return Run(run.config, run.plan, *place, run.run_key)


@pytest.mark.full
def test_one_region_is_compared_alone(folder: Path) -> None:
    code, said = link(folder, "--face", "p3/0.jpg/0")
    assert (code, "same       yes" in said) == (0, True), said
    code, said = link(folder, "--face", "p4/0.jpg/0", "--json")
    assert (code, json.loads(said)["decision"]) == (0, "not the same")
    small = next(iter(FaceIndex(place_of(folder), [KEY]).others)).name
    for name, words in ((small, "it is too small"), ("p3/0.jpg/9", "no region"), ("p3/0.jpg", "no region")):
        code, said = link(folder, "--face", name)
        assert (code, words in said) == (2, True), said
    assert [own.outcome for own in AccessLog(place_of(folder).ledger).read()][-1] == "failed"


@pytest.mark.full
def test_what_cannot_be_searched_with_is_named(folder: Path, tmp_path: Path) -> None:
    people = link_dataset.PEOPLE
    grey = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), (120, 120, 120)).save(grey)
    tiny = tmp_path / "tiny.png"
    link_dataset.portraits()[3].resize((32, 32)).save(tiny)
    link_dataset.drawn_recogniser(tmp_path / "another.onnx", seed=1)
    base: list[object] = ["link", folder / "out", "--key", folder / "k"]
    for more, words in (
        ([*WHO], "--photo FILE or --virtual FILE"),
        ([*WHO, "--photo", grey], "no face was found"),
        ([*WHO, "--photo", tiny], "no face was found|begins at 24 px"),
        ([*WHO, "--photo", people / "london/six_people.jpg"], "shows 6 faces; choose one by --photo-face (0: "),
        ([*WHO, "--photo", people / "london/six_people.jpg", "--photo-face", 6], "it shows faces 0 to 5"),
        ([*WHO, "--photo", folder / "k"], "cannot be read as an image"),
        ([*WHO, "--photo", tmp_path / "nothing"], "cannot be read"),
        (["--photo", grey, "--by", "J"], "say who asks and why"),
        ([*WHO, "--photo", folder / "photo.jpg", "--virtual", grey, "--face", "a/0"], "leave out --virtual"),
        ([*WHO, "--virtual", folder / "photo.jpg"], "needs a run with `identity`"),
        ([*WHO, "--photo", folder / "photo.jpg", "--embedder", tmp_path / "another.onnx"], "its sha256 differ"),
        ([*WHO, "--photo", folder / "photo.jpg", "--embedder", tmp_path / "none.onnx"], "name it by --embedder"),
    ):
        code, said = cli(*base, *more)
        assert (code, any(own in said for own in words.split("|"))) == (2, True), (more, said)
    assert AccessLog(place_of(folder).ledger).read() == []
    code, said = cli(*base, *WHO, "--photo", people / "london/six_people.jpg", "--photo-face", 2, "--json")
    assert (code, json.loads(said)["ranked"]) == (0, [])


def test_another_run_key_is_refused_instead_of_leading_to_nobody(folder: Path, tmp_path: Path) -> None:
    place, other = place_of(folder), tmp_path / "another's key"
    assert read_run_key(place, str(folder / "key")) == RUN_KEY
    for wrong in (bytes(len(RUN_KEY)), b"short", b""):
        other.write_bytes(wrong)
        with pytest.raises(ConfigError, match="not the run key of"):
            read_run_key(place, str(other))


@pytest.mark.full
def test_too_few_faces_decide_nothing(folder: Path) -> None:
    release(linked_job(folder, "few", **{"sample.limit": 20}))
    given = ["--key", folder / "k", "--photo", folder / "photo.jpg", *WHO]
    code, said = cli("link", folder / "few-sample-20", *given)
    assert (code, "threshold  none: fewer than 30 faces" in said) == (0, True), said
    assert "hit " not in said


def test_a_new_key_for_links(tmp_path: Path) -> None:
    code, said = cli("keys", "new", "--link", tmp_path / "mine")
    assert (code, "the index of faces stays closed" in said) == (0, True)
    assert oct((tmp_path / "mine").stat().st_mode)[-3:] == "600"
    assert cli("keys", "new", "--link", "a", "--seal", "b")[0] == 2
