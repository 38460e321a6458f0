"""`anon-batch c2pa`: a new version in which generated images are signed, whatever dies; all else stays as it was."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from certificates import make_certificates
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from leaks import assert_public, secrets_of
from metadata_scanner import scan_image
from PIL import Image
from pipeline_fixtures import FACES, DyingStorage, Killed, job, on_storage, release, verdict
from releases import RUN_KEY
from typer.testing import CliRunner, Result

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError, ConfigError, ResumeRefusedError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.outputs import read_outputs
from anon_batch.formats.release import Release
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.versions.begin import begin_version
from anon_batch.pipeline.versions.finish import publish_version
from anon_batch.release.c2pa.credentials import add_credentials, split_credentials
from anon_batch.release.c2pa.sign_release import Image as Place
from anon_batch.release.c2pa.sign_release import Signed, sign_images
from anon_batch.release.c2pa.signer import Signer, load_signer
from anon_batch.release.card.card import render_card
from anon_batch.release.report.finished import read_finished
from anon_batch.storage import Storage

LAYOUTS = ["files", "webdataset", "parquet"]
QUICKLY = ["files", *(pytest.param(own, marks=pytest.mark.full) for own in LAYOUTS[1:])]
KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP"}
FACE = {"x1": 30.0, "y1": 25.0, "x2": 80.0, "y2": 85.0, "ignore": False}
SIGNED = ["a b/it's.jpg", "b.png", "c.webp"]
IDS = [*SIGNED, "empty.jpg", "d.gif", "e.bmp", "f/empty.png"]
PEM = make_certificates(ec.generate_private_key(ec.SECP256R1()))
SIGNER = load_signer(PEM[0], "key", PEM[1], "cert")


def _image(seed: int, kind: str) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize((112, 96), Image.Resampling.BICUBIC)
    (image.convert("P") if kind == "GIF" else image).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Make a release of each layout, with generated faces in five formats."""
    base = tmp_path_factory.mktemp("c2pa")
    for seed, image_id in enumerate(IDS):
        path = base / "src" / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_image(seed, KINDS[image_id.rpartition(".")[2]]))
    faces = [[] if "empty" in image_id else [FACE] for image_id in IDS]
    uris = [str(base / "src" / image_id) for image_id in IDS]
    labels = [index % 2 for index in range(len(IDS))]
    table = pa.table({"image_id": IDS, "uri": uris, "faces": pa.array(faces, FACES), "label": labels})
    pq.write_table(table, base / "m.parquet")
    (base / "key").write_bytes(RUN_KEY)
    keys: dict[str, Any] = {"anonymize__face__method": "swap", "engine__shard_rows": 3}
    return {own: release(job(str(base), own, write__layout=own, **keys)) for own in LAYOUTS}


@pytest.fixture
def copy(made: dict[str, Run], tmp_path: Path) -> Callable[..., Run]:
    """Return a function that copies a release and its ledger, so that a test may change them."""

    def copied(own: str, name: str = "copy") -> Run:
        run, to = made[own], tmp_path / name
        shutil.copytree(run.release.uri, to)
        shutil.copytree(run.ledger.uri, tmp_path / f"{name}-ledger")
        again = on_storage(run, Storage())
        object.__setattr__(again, "release", Release(Storage(), str(to)))
        object.__setattr__(again, "ledger", Ledger(Storage(), str(to) + "-ledger"))
        return again

    return copied


def _sign(run: Run, signer: Signer = SIGNER) -> Signed:
    place = Release(run.release.storage, run.release.uri)
    return sign_images(place, Ledger(run.ledger.storage, run.ledger.uri), signer, lambda _: None)


def _rows(run: Run) -> dict[str, dict[str, Any]]:
    place = Release(Storage(), run.release.uri)
    return {row["image_id"]: row for spec in place.parts() for row in place.read_part(spec).table.to_pylist()}


def _images(run: Run) -> dict[str, bytes]:
    rows = _rows(run)
    places = [Place(0, name, own["output"], own["member"], own["sha256"], "") for name, own in rows.items()]
    found = {place.image_id: data for place, data in read_outputs(Release(Storage(), run.release.uri), places)}
    assert all(isinstance(data, bytes) for data in found.values())
    return found  # type: ignore[return-value]


def _columns(run: Run) -> list[dict[str, Any]]:
    """Return what loaders see in shards beside the images."""
    shards = sorted((Path(run.release.uri) / "shards").glob("*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard).drop_columns(["image"]).to_pylist()]


@pytest.mark.parametrize("own", LAYOUTS)
def test_generated_images_are_signed_in_a_new_version_and_all_else_stays(copy: Callable[..., Run], own: str) -> None:
    run = copy(own)
    rows, images, columns = _rows(run), _images(run), _columns(run)
    stats = (Path(run.release.uri) / "stats.json").read_bytes()
    assert _sign(run) == Signed(2, 3)
    for with_ledger in (True, False):
        assert verdict(run, with_ledger=with_ledger).faults == []
    signed = _images(run)
    assert signed == {
        name: add_credentials(data, KINDS[name.rpartition(".")[2]], SIGNER) if name in SIGNED else data
        for name, data in images.items()
    }
    changed = {"sha256", "size_bytes", "output"}
    for name, row in _rows(run).items():
        assert {**row, **dict.fromkeys(changed)} == {**rows[name], **dict.fromkeys(changed)}
        assert scan_image(split_credentials(signed[name])[0], marked=bool(row["synthetic"])) == []
    assert _columns(run) == columns
    assert json.loads((Path(run.release.uri) / "stats.json").read_text()) == json.loads(stats)
    version = Release(Storage(), run.release.uri).versions[-1]
    assert (version.number, version.kind, version.changes) == (2, "c2pa", {"signed": 3})
    assert _sign(run) == Signed(2, 0)


@pytest.mark.parametrize(
    ("own", "step"), [("files", 4), *(pytest.param(own, 1, marks=pytest.mark.full) for own in LAYOUTS)]
)
def test_a_death_at_any_change_and_the_same_command_again_give_the_same_release(
    copy: Callable[..., Run], own: str, step: int
) -> None:
    whole = copy(own, "whole")
    recorder = DyingStorage()
    _sign(on_storage(whole, recorder))
    expected = _images(whole)
    assert len(recorder.changes) > 8
    for dies_at in range(1, len(recorder.changes) + 1, step):
        run = copy(own, f"dies-{dies_at}")
        with pytest.raises(Killed):
            _sign(on_storage(run, DyingStorage(None, dies_at, after=dies_at % 2 == 0)))
        _sign(run)
        assert _images(run) == expected, recorder.changes[dies_at - 1]
        assert verdict(run).faults == []
        assert Release(Storage(), run.release.uri).version == 2


def test_another_certificate_replaces_the_signatures(copy: Callable[..., Run]) -> None:
    run = copy("files")
    _sign(run)
    key, chain = make_certificates(ed25519.Ed25519PrivateKey.generate())
    other = load_signer(key, "key", chain, "cert")
    assert _sign(run, other) == Signed(3, 3)
    assert all(data.count(b"c2pa.claim.v2") <= 1 for data in _images(run).values())
    assert verdict(run).faults == []


def test_a_killed_command_is_not_continued_with_another_certificate(copy: Callable[..., Run]) -> None:
    run = copy("files")
    with pytest.raises(Killed):
        _sign(on_storage(run, DyingStorage(None, 3)))
    key, chain = make_certificates(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ResumeRefusedError, match="another `anon-batch c2pa` has begun version 2"):
        _sign(run, load_signer(key, "key", chain, "cert"))


def _replace(run: Run, image_id: str, data: bytes) -> None:
    """Put another file where an image is, and its digest into the provenance."""
    (Path(run.release.uri) / _rows(run)[image_id]["output"]).write_bytes(data)
    for part in (Path(run.release.uri) / "provenance").iterdir():
        table = pq.read_table(part)
        rows = table.to_pylist()
        for row in rows:
            if row["image_id"] == image_id:
                row.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        pq.write_table(pa.Table.from_pylist(rows, table.schema), part)


def _carried(run: Run) -> list[str]:
    return [fault.partition(": carries ")[2] for fault in verdict(run).faults if ": carries " in fault]


def test_verify_refuses_credentials_that_should_not_be_there(copy: Callable[..., Run]) -> None:
    run = copy("files", "unsigned")
    _replace(run, "b.png", add_credentials(_images(run)["b.png"], "PNG", SIGNER))
    assert any("caBX" in fault for fault in _carried(run)), "no version of this release signs images"
    run = copy("files", "signed")
    _sign(run)
    _replace(run, "empty.jpg", add_credentials(_images(run)["empty.jpg"], "JPEG", SIGNER))
    assert any("JPEG segment FFEB" in fault for fault in _carried(run)), "nothing was generated in it"


def test_verify_finds_a_changed_image_by_its_own_credentials(copy: Callable[..., Run]) -> None:
    run = copy("files")
    _sign(run)
    for image_id in SIGNED:
        data = bytearray(_images(run)[image_id])
        data[data.index(b"compositeWithTrained", data.index(b"c2pa.actions.v2"))] ^= 0x20
        _replace(run, image_id, bytes(data))
        assert any("Content Credentials" in fault for fault in _carried(run)), image_id


def test_signed_images_hold_no_secret_of_the_sources(copy: Callable[..., Run], made: dict[str, Run]) -> None:
    run = copy("files")
    _sign(run)
    base = Path(made["files"].release.uri).parent
    secrets = secrets_of([base / "src" / image_id for image_id in IDS], Path(run.ledger.uri))
    for image_id in SIGNED:
        store = _images(run)[image_id]
        assert_public(store[store.index(b"jumb") :][:5000], [*secrets, image_id, base.name])


def test_the_card_says_that_images_are_signed(copy: Callable[..., Run]) -> None:
    run = copy("files")
    assert "Content Credentials" not in render_card(read_finished(run.release))
    _sign(run)
    said = render_card(read_finished(Release(Storage(), run.release.uri)))
    assert "5 images show a face or another region that a model generated" in said
    assert "3 images were signed in version 2 (Content Credentials, C2PA)." in said


def _command(run: Run, key: Path, cert: Path, *args: str) -> Result:
    return CliRunner().invoke(app, ["c2pa", run.release.uri, "--key", str(key), "--cert", str(cert), *args])


def _files(folder: Path, pair: tuple[bytes, bytes] = PEM) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    for name, data in zip(("key.pem", "cert.pem"), pair, strict=True):
        (folder / name).write_bytes(data)
    return folder / "key.pem", folder / "cert.pem"


@pytest.mark.parametrize("own", QUICKLY)
def test_the_command_is_followed_by_release_and_verify(copy: Callable[..., Run], own: str, tmp_path: Path) -> None:
    run, (key, cert) = copy(own), _files(tmp_path / "keys")
    sign = tmp_path / "sign"
    assert CliRunner().invoke(app, ["keys", "new", "--sign", str(sign)]).exit_code == 0
    assert CliRunner().invoke(app, ["release", run.release.uri, "--sign-key", str(sign)]).exit_code == 0
    done = _command(run, key, cert)
    assert done.exit_code == 0, done.output
    assert "signed   3 images: version 2" in done.output
    assert not (Path(run.release.uri) / "attestation.json").exists()
    assert CliRunner().invoke(app, ["release", run.release.uri, "--sign-key", str(sign)]).exit_code == 0
    checked = CliRunner().invoke(app, ["verify", run.release.uri, "--no-ledger", "--key", f"{sign}.pub"])
    assert checked.exit_code == 0, checked.output
    assert "nothing to sign" in _command(run, key, cert).output
    assert (Path(run.release.uri) / "attestation.json").exists()


def test_what_cannot_be_signed_is_refused_with_advice(copy: Callable[..., Run], tmp_path: Path) -> None:
    run = copy("files")
    curve, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    big = rsa.generate_private_key(65537, 2048)
    right, wrong = make_certificates(curve), make_certificates(other)
    cases = {
        "no private key": (b"x", right[1]),
        "no certificates": (right[0], b"x"),
        "of another key": (right[0], wrong[1]),
        "not valid now": make_certificates(curve, ends_in_days=-1),
        "does not say what its key is for": make_certificates(curve, purposes=()),
        "not for signatures": make_certificates(curve, signs=False),
        "use an ECDSA key": make_certificates(big),
        "signed by itself": (right[0], _self_signed(curve)),
    }
    for number, (said, pair) in enumerate(cases.items()):
        key, cert = _files(tmp_path / f"{number}", pair)
        assert said in str(_error(_command(run, key, cert), ConfigError)), said
    key, cert = _files(tmp_path / "right", right)
    assert "no such file" in str(_error(_command(run, key, tmp_path / "none"), ConfigError)).lower()
    assert "no ledger" in str(_error(_command(run, key, cert, "--ledger", str(tmp_path / "gone")), ConfigError))
    missing = CliRunner().invoke(app, ["c2pa", str(tmp_path / "no"), "--key", str(key), "--cert", str(cert)])
    assert "no release here" in str(_error(missing, ConfigError))
    assert Release(Storage(), run.release.uri).version == 1


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")]), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - dt.timedelta(1), now + dt.timedelta(1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _error(done: Result, kind: type[AnonBatchError]) -> BaseException:
    assert isinstance(done.exception, kind), done.exception
    return done.exception


def test_a_release_without_marks_is_not_signed(made: dict[str, Run], tmp_path: Path) -> None:
    base = str(Path(made["files"].release.uri).parent)
    keys: dict[str, Any] = {"anonymize__face__method": "swap", "write__mark_generated": False}
    run = release(job(base, "unmarked", **keys))
    key, cert = _files(tmp_path / "keys")
    assert "mark_generated" in str(_error(_command(run, key, cert), ConfigError))


def test_a_release_without_generated_images_has_nothing_to_sign(made: dict[str, Run], tmp_path: Path) -> None:
    run = release(job(str(Path(made["files"].release.uri).parent), "solid"))
    key, cert = _files(tmp_path / "keys")
    done = _command(run, key, cert)
    assert (done.exit_code, "nothing to sign" in done.output) == (0, True)
    assert not (Path(run.release.uri) / "versions").exists()


@pytest.mark.parametrize("form", ["png", pytest.param("webp", marks=pytest.mark.full)])
def test_images_in_another_format_are_signed_too(made: dict[str, Run], form: str) -> None:
    base = str(Path(made["files"].release.uri).parent)
    keys: dict[str, Any] = {"anonymize__face__method": "swap", "write__format": form}
    run = release(job(base, form, **keys))
    assert _sign(run) == Signed(2, 5)
    assert verdict(run).faults == []
    assert {row["output"] for name, row in _rows(run).items() if row["synthetic"]} == {
        f"images/{name}.v2.{form}" if not name.endswith(form) else f"images/{name.removesuffix(f'.{form}')}.v2.{form}"
        for name in IDS
        if "empty" not in name
    }


def test_a_version_that_another_command_published_and_did_not_end_is_not_finished_here(
    copy: Callable[..., Run],
) -> None:
    """Because that command may have more to delete, for example from the ledger."""
    run = copy("files")
    place, ledger = run.release, run.ledger
    begin_version(place, ledger, "erase", {"rows": []})
    publish_version(begin_version(place, ledger, "erase", {"rows": []}), [])
    with pytest.raises(ResumeRefusedError, match="`anon-batch erase` has published version 2 and did not end"):
        _sign(run)
    assert ledger.version_in_the_making() is not None
