"""Two users of a real store: the owner makes a signed release, a reader with the release alone learns nothing else.

The reader's policies are those that are published: the one of infra/terraform, and the one of docs/guides/storage.md.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hcl2
import pandas as pd
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from document_blocks import ROOT, blocks
from leaks import Secret, assert_public, secrets_of
from releases import environment, run_cli
from servers import S3Server

from anon_batch import keys
from anon_batch.storage import Storage

pytestmark = pytest.mark.ceph

PHOTOS = ROOT / "manifests/sample/photos"
INBOX = "shoot-of-a-demonstration"
READER = "arn:aws:iam:::user/reader"


@dataclass(frozen=True)
class Published:
    """A signed release in a bucket of its own, the ledger in another, the sources in a third.

    Args:
        layout: of the release.
        release, ledger, inbox: buckets.
        key: public key.
        secrets: what no reader may find.
    """

    server: S3Server
    layout: str
    release: str
    ledger: str
    inbox: str
    key: Path
    secrets: list[Secret]

    @property
    def output(self) -> str:
        return f"s3://{self.release}/set"

    @property
    def reader(self) -> S3Server:
        return self.server.of_reader()


def _call(server: S3Server, *args: str) -> str:
    done = run_cli(*args, env=server.env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["files", "webdataset", "parquet"])
def published(request: pytest.FixtureRequest, ceph: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Make a release by the command line as its owner, and let the reader read it by the policy of infra/terraform."""
    folder = tmp_path_factory.mktemp("keys")
    release, ledger, inbox = (ceph.new_bucket() for _ in range(3))
    output, storage = f"s3://{release}/set", Storage(ceph.config())
    for path in (path for path in PHOTOS.rglob("*") if path.is_file()):
        storage.put(f"s3://{inbox}/{INBOX}/{path.relative_to(PHOTOS)}", path.read_bytes())
    manifest, place = f"s3://{inbox}/m.parquet", ("--ledger", f"s3://{ledger}/set")
    truth = ("--ground-truth", str(ROOT / "manifests/sample/faces.json"))
    _call(ceph, "keys", "new", "--sign", str(folder / "release.key"))
    _call(ceph, "manifest", f"s3://{inbox}/{INBOX}", "-o", manifest, *truth)
    options = f"engine.workers=1 write.layout={request.param}".split()
    sets = [word for option in options for word in ("--set", option)]
    _call(ceph, "run", "--manifest", manifest, "--output", output, "--set", f"ledger=s3://{ledger}/set", *sets)
    _call(ceph, "evaluate", output, *place)
    _call(ceph, "report", output, *place)
    _call(ceph, "release", output, *place, "--sign-key", str(folder / "release.key"))
    secrets = [*_secrets(ceph, ledger, folder), release.encode(), ledger, inbox, INBOX, ceph.secret_key]
    _put_policy(ceph, release, _terraform_policy(release))
    return Published(ceph, request.param, release, ledger, inbox, folder / "release.key.pub", secrets)


def _terraform_policy(bucket: str) -> dict[str, Any]:
    """Return what infra/terraform lets the reader's role do, as a bucket policy for Ceph's user; Ceph has no KMS keys."""
    with (ROOT / "infra/terraform/roles.tf").open() as file:
        blocks = [block for entry in hcl2.load(file)["data"] for block in entry['"aws_iam_policy_document"'].items()]
    arn = f"arn:aws:s3:::{bucket}"

    def plain(values: list[str]) -> list[str]:
        return [value.strip('"').replace('${aws_s3_bucket.this["release"].arn}', arn) for value in values]

    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [READER]},
            "Action": plain(own["actions"]),
            "Resource": plain(own["resources"]),
        }
        for own in dict(blocks)['"reader"']["statement"]
        if not any(action.startswith("kms:") for action in plain(own["actions"]))
    ]
    assert len(statements) == 2
    return {"Version": "2012-10-17", "Statement": statements}


def _put_policy(server: S3Server, bucket: str, policy: dict[str, Any]) -> None:
    with server.client() as client:
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def _secrets(server: S3Server, ledger: str, folder: Path) -> list[Secret]:
    """Return addresses, digests, run key, seeds and boxes of all rows of a release."""
    storage, local = Storage(server.config()), folder / "ledger"
    for info in storage.list(f"s3://{ledger}/set"):
        path = local / info.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(storage.read(f"s3://{ledger}/set/{info.key}"))
    run_key = (local / "run.key").read_bytes()
    found: list[Secret] = secrets_of([path for path in PHOTOS.rglob("*") if path.is_file()], local)
    for row in [row for path in (local / "audit").iterdir() for row in pq.read_table(path).to_pylist()]:
        found.append(row["uri"])
        for index in range(16):
            seed = keys.seed(run_key, row["image_id"], index)
            found += [str(seed), f"{seed:016x}", seed.to_bytes(8, "big"), seed.to_bytes(8, "little")]
        for box in row["detections"]:
            numbers = [box[name] for name in ("x1", "y1", "x2", "y2")]
            found += [struct.pack("<4f", *numbers), *(str(number)[:8] for number in numbers if len(str(number)) > 8)]
    assert len(found) > 13 * 64
    return found


def _objects(server: S3Server, bucket: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield all that a user gets: each page of the listing, each object, and the headers of each answer."""
    with server.client() as client:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield "listing", json.dumps(page.get("Contents"), default=str).encode()
            for entry in page.get("Contents", []):
                answer = client.get_object(Bucket=bucket, Key=entry["Key"])
                with contextlib.closing(answer["Body"]) as body:
                    yield entry["Key"], body.read()
                headers = {**answer["ResponseMetadata"]["HTTPHeaders"], **answer["Metadata"]}
                yield f"headers of {entry['Key']}", json.dumps(headers, default=str).encode()


def test_a_reader_finds_no_address_digest_seed_box_or_key(published: Published) -> None:
    seen = list(_objects(published.reader, published.release))
    assert sum(name.startswith("headers of") for name, _ in seen) > 10
    secrets = [secret for secret in published.secrets if secret != published.release.encode()]
    for name, content in seen:
        try:
            assert_public(content, secrets)
        except AssertionError as exc:
            pytest.fail(f"{name}: {exc}")


def test_the_files_do_not_even_name_their_own_bucket(published: Published) -> None:
    for name, content in _objects(published.reader, published.release):
        if name != "listing" and not name.startswith("headers"):
            assert_public(content, [published.release])


def test_everything_else_is_denied(published: Published) -> None:
    bucket, ledger, inbox = published.release, published.ledger, published.inbox
    with published.reader.client() as client:
        assert client.list_buckets()["Buckets"] == []
        one = client.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
        for call, arguments in (
            ("list_objects_v2", {"Bucket": ledger}),
            ("list_objects_v2", {"Bucket": inbox}),
            ("get_object", {"Bucket": ledger, "Key": "set/run.key"}),
            ("head_object", {"Bucket": ledger, "Key": "set/run.key"}),
            ("get_object", {"Bucket": ledger, "Key": "set/plan.json"}),
            ("get_object", {"Bucket": inbox, "Key": "m.parquet"}),
            ("get_object", {"Bucket": inbox, "Key": f"{INBOX}/people/astronaut.png"}),
            ("copy_object", {"Bucket": bucket, "Key": "set/x", "CopySource": f"{ledger}/set/run.key"}),
            ("put_object", {"Bucket": bucket, "Key": one, "Body": b"x"}),
            ("put_object", {"Bucket": bucket, "Key": "set/images/more.png", "Body": b"x"}),
            ("delete_object", {"Bucket": bucket, "Key": one}),
            ("get_bucket_policy", {"Bucket": bucket}),
            ("put_bucket_policy", {"Bucket": bucket, "Policy": "{}"}),
            ("list_object_versions", {"Bucket": bucket}),
            ("list_multipart_uploads", {"Bucket": bucket}),
            ("get_object_acl", {"Bucket": bucket, "Key": one}),
        ):
            with pytest.raises(ClientError) as caught:
                getattr(client, call)(**arguments)
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, (call, arguments)


def test_a_reader_verifies_the_release_where_it_is(published: Published) -> None:
    said = _call(published.reader, "verify", published.output, "--no-ledger", "--key", str(published.key))
    assert said.splitlines()[-1] == "verified"


def test_a_reader_who_names_the_ledger_reads_what_to_do(published: Published) -> None:
    place = ("--ledger", f"s3://{published.ledger}/set")
    done = run_cli("verify", published.output, *place, env=published.reader.env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "--no-ledger" in done.stderr


def test_the_policy_of_the_guide_lets_a_reader_verify_one_release_beside_its_ledger(published: Published) -> None:
    [(_, text)] = blocks("reader policy", "json")
    bucket = published.server.new_bucket()
    with published.server.client() as client:
        for source, target in ((published.release, "faces"), (published.ledger, "faces-ledger")):
            for entry in client.list_objects_v2(Bucket=source)["Contents"]:
                key = entry["Key"].replace("set", target, 1)
                client.copy_object(Bucket=bucket, Key=key, CopySource=f"{source}/{entry['Key']}")
    _put_policy(published.server, bucket, json.loads(text.replace("releases", bucket)))
    output, key = f"s3://{bucket}/faces", ("--key", str(published.key))
    said = _call(published.reader, "verify", output, "--no-ledger", *key)
    assert said.splitlines()[-1] == "verified"
    forgotten = run_cli("verify", output, *key, env=published.reader.env)
    assert (forgotten.returncode, "--no-ledger" in forgotten.stderr) == (2, True), forgotten.stderr
    with published.reader.client() as client:
        assert client.list_objects_v2(Bucket=bucket, Prefix="faces/")["KeyCount"] > 10
        for prefix in ("", "faces", "faces-ledger/"):
            with pytest.raises(ClientError):
                client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        with pytest.raises(ClientError):
            client.get_object(Bucket=bucket, Key="faces-ledger/run.key")


def test_pandas_reads_the_provenance_from_the_store(published: Published) -> None:
    reader = published.reader
    client = {"endpoint_url": reader.endpoint_url}
    options = {"key": reader.access_key, "secret": reader.secret_key, "client_kwargs": client}
    rows = pd.read_parquet(f"{published.output}/provenance", storage_options=options)
    assert len(rows) == 13
    assert set(rows.status) == {"anonymized", "clean"}


def test_hugging_face_loads_images_from_the_store(published: Published, tmp_path: Path) -> None:
    """As the guide says, with a reader's credentials; in a process of its own, which finds the store by AWS_* variables alone."""
    pytest.importorskip("datasets")
    if published.layout == "webdataset":
        pytest.skip("no loader of tars on a store is documented")
    [(_, code)] = blocks(f"load {published.layout} from a store", "python")
    code = code.replace("s3://releases/faces", published.output)
    code += "rows = list(dataset)\nprint(len(rows), rows[0]['image'].size, rows[0]['image_id'])\n"
    env = environment({**published.reader.env, "HF_HOME": str(tmp_path)})
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "13 (512, 512) people/astronaut.png"
