"""A signed release: one flipped byte anywhere is noticed, with the public key alone and on a copy that cannot be written."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_fixtures import job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError, ConfigError
from anon_batch.release.signature.attestation import PAYLOAD_TYPE
from anon_batch.release.signature.dsse import encode_for_signing
from anon_batch.release.signature.signing_key import key_id, read_private, read_public

IDS = [f"d/{n}.png" for n in range(4)]
LAYOUTS = ("files", "webdataset", "parquet")


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Make a signed release of each layout, and two pairs of keys."""
    folder = tmp_path_factory.mktemp("signed")
    write_dataset(str(folder), IDS, label=pa.array(range(4)))
    for name in ("mine", "other"):
        assert run("keys", "new", "--sign", folder / name)[0] == 0
    for layout in LAYOUTS:
        release(job(str(folder), layout, write__layout=layout))
        code, said = run("release", folder / layout, "--sign-key", folder / "mine")
        assert code == 0, said
    return folder


@pytest.fixture
def copy(base, tmp_path):
    shutil.copytree(base, tmp_path / "c")
    return tmp_path / "c"


def verify(folder: Path, layout: str, key: str = "mine.pub") -> tuple[int, str]:
    return run("verify", folder / layout, "--no-ledger", "--key", folder / key)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_reader_verifies_a_copy_without_the_ledger(copy, layout):
    shutil.rmtree(copy / f"{layout}-ledger")
    for path in sorted((copy / layout).rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (copy / layout).chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in (copy / layout).rglob("*")}
    code, said = verify(copy, layout)
    assert (code, said.rstrip().splitlines()[-1]) == (0, "verified")
    assert {path: path.stat().st_mtime_ns for path in (copy / layout).rglob("*")} == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_flipped_byte_anywhere_is_noticed(base, tmp_path_factory, data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    files = sorted(path.relative_to(base / layout) for path in (base / layout).rglob("*") if path.is_file())
    name = data.draw(st.sampled_from(files))
    content = bytearray((base / layout / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("flipped", numbered=True)
    shutil.copytree(base / layout, folder / layout)
    shutil.copy(base / "mine.pub", folder)
    (folder / layout / name).write_bytes(bytes(content))
    code, said = verify(folder, layout)
    # A run.json of another version is refused before it is compared.
    assert code in (2, 3), f"byte {at} of {name}: {said}"
    shutil.rmtree(folder)


def test_files_that_were_added_or_removed_are_named(copy):
    (copy / "files/evaluation.json").write_text("{}")
    (copy / "files/images/extra.png").write_bytes(b"x")
    assert "evaluation.json: not in the signed statement" in verify(copy, "files")[1]
    assert "images/extra.png: no provenance row names it" in verify(copy, "files")[1]
    (copy / "files/images/extra.png").unlink()  # because all releases are scanned in the end
    (copy / "files/gates.json").unlink()
    assert "gates.json: missing; the signed statement lists it" in verify(copy, "files")[1]
    (copy / "files/attestation.json").unlink()
    code, said = verify(copy, "files")
    assert code == 3
    assert "attestation.json: missing; the release is not signed" in said


def test_the_key_of_somebody_else_does_not_verify(copy):
    code, said = verify(copy, "files", "other.pub")
    assert code == 3
    mine, other = (read_public((copy / name).read_bytes(), "") for name in ("mine.pub", "other.pub"))
    assert key_id(mine) in said
    assert key_id(other) in said


def test_a_private_key_is_not_asked_of_a_reader(copy):
    assert "this is a private key" in verify(copy, "files", "mine")[1]


def test_openssl_verifies_it_by_hand(base, tmp_path):
    envelope = json.loads((base / "files/attestation.json").read_bytes())
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "pae").write_bytes(encode_for_signing(envelope["payloadType"], payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(base / "mine.pub"), "-rawin"]
    command += ["-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")]
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully"), done.stderr


def test_the_statement_is_an_in_toto_statement_of_slsa_provenance(base):
    envelope = json.loads((base / "files/attestation.json").read_bytes())
    assert envelope["payloadType"] == PAYLOAD_TYPE
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    names = [own["name"] for own in statement["subject"]]
    expected = {
        "run.json",
        "stats.json",
        "gates.json",
        "provenance/0000000000-4.parquet",
        "README.md",
        "croissant.json",
        "licences.json",
        "risk.json",
        "risk.md",
        "SHA256SUMS",
        "images/metadata.parquet",
        "report/index.html",
        "report/report.json",
        "report/verification.json",
    }
    assert set(names) == expected
    record = json.loads((base / "files/run.json").read_bytes())
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == record["run_id"]


def test_pre_authentication_encoding_is_that_of_the_specification():
    # The example of the DSSE protocol.
    assert encode_for_signing("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_nothing_is_signed_that_is_damaged_or_exceeds_a_gate(copy):
    (copy / "files/attestation.json").unlink()
    image = copy / "files/images/d/0.png"
    good = image.read_bytes()
    image.write_bytes(good[:-1])
    code, said = run("release", copy / "files", "--sign-key", copy / "mine")
    assert (code, "not signed: VERIFICATION FAILED: 1 fault" in said) == (3, True)
    image.write_bytes(good)
    write_dataset(str(copy), IDS)
    (copy / "src/d/0.png").write_bytes(b"no image")
    release(job(str(copy), "lossy"))
    code, said = run("release", copy / "lossy", "--sign-key", copy / "mine")
    assert (code, "not signed: a gate is exceeded" in said) == (10, True)
    assert not (copy / "files/attestation.json").exists()
    assert not (copy / "lossy/attestation.json").exists()


def test_a_signature_can_be_renewed(copy):
    assert run("release", copy / "files", "--sign-key", copy / "other")[0] == 0
    assert verify(copy, "files", "other.pub")[0] == 0


def test_keys_are_private_and_never_overwritten(tmp_path):
    code, said = run("keys", "new", "--sign", tmp_path / "key")
    assert code == 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert run("keys", "show", tmp_path / "key.pub")[1].strip() in said
    before = (tmp_path / "key").read_bytes()
    code, said = run("keys", "new", "--sign", tmp_path / "key")
    assert (code, "exists; name another file" in said) == (2, True)
    assert (tmp_path / "key").read_bytes() == before
    assert run("keys", "new", "--sign", tmp_path / "no/key")[0] == 2


ODD_KEYS = {
    "rubbish": b"hello",
    "an EC key": b"""-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
""",
}


@pytest.mark.parametrize(("name", "said"), [("rubbish", "no private key"), ("an EC key", "of another kind")])
def test_other_files_are_no_keys(name, said):
    with pytest.raises(ConfigError, match=said):
        read_private(ODD_KEYS[name], "k")
