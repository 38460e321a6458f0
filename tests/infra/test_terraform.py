"""infra/terraform is applied to a simulated account: each role does its work and nothing else, the outputs lead to a release."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from document_blocks import blocks
from iam_decisions import allows, denies, statements_of
from releases import make_images, run_cli
from servers import S3Server, moto_server
from terraform_runs import VARIABLES, Terraform, skip_without_terraform

from anon_batch.config import keys_from_terraform

pytestmark = pytest.mark.full

REGION = VARIABLES["region"]
ACCOUNT = "123456789012"
RELEASE, LEDGER, LOGS, PHOTOS = "acme-faces-release", "acme-faces-ledger", "acme-faces-logs", "acme-photos"
BY_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
SSE, KEY_ID = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"


@dataclass(frozen=True)
class Applied:
    """What `terraform apply` made in moto.

    Args:
        resources: address -> attributes.
        outputs: as `terraform output -json` prints them.
    """

    server: S3Server
    terraform: Terraform
    resources: dict[str, dict[str, Any]]
    outputs: str

    def policy(self, *addresses: str) -> list[dict[str, Any]]:
        """Return the statements of the policies of some resources."""
        return statements_of(*(self.resources[address]["policy"] for address in addresses))

    def arn(self, address: str) -> str:
        return str(self.resources[address]["arn"])

    def client(self, service: str, credentials: dict[str, str] | None = None) -> Any:
        keys = credentials or {"aws_access_key_id": "owner", "aws_secret_access_key": "secret"}
        return boto3.client(service, endpoint_url=self.server.endpoint_url, region_name=REGION, **keys)

    def take(self, role: str) -> dict[str, str]:
        """Return credentials of a role, as boto3 takes them."""
        with contextlib.closing(self.client("sts")) as sts:
            taken = sts.assume_role(RoleArn=self.arn(f"aws_iam_role.{role}"), RoleSessionName="test")["Credentials"]
        names = {
            "aws_access_key_id": "AccessKeyId",
            "aws_secret_access_key": "SecretAccessKey",
            "aws_session_token": "SessionToken",
        }
        return {name: taken[key] for name, key in names.items()}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    skip_without_terraform()
    with moto_server() as server:
        terraform = Terraform(tmp_path_factory.mktemp("terraform"), server.endpoint_url)
        terraform("init", "-input=false", "-lockfile=readonly")
        terraform("apply", "-auto-approve", "-input=false")
        yield Applied(server, terraform, terraform.resources(), terraform("output", "-json"))


@pytest.fixture(scope="module")
def enforced(applied: Applied) -> Iterator[dict[str, dict[str, str]]]:
    """Credentials of worker, head and reader; from here on moto enforces the policies of roles.

    Because it ignores the conditions of bucket policies and would deny everything, those are taken away; `denies` looks at them.
    """
    with contextlib.closing(applied.client("s3")) as s3:
        for bucket in (RELEASE, LEDGER, LOGS):
            s3.delete_bucket_policy(Bucket=bucket)
        s3.create_bucket(Bucket=PHOTOS, CreateBucketConfiguration={"LocationConstraint": REGION})
    taken = {role: applied.take(role) for role in ("worker", "head", "reader")}
    _enforce_after(applied, "0")
    yield taken
    _enforce_after(applied, "inf")


def _enforce_after(applied: Applied, requests: str) -> None:
    address, plain = f"{applied.server.endpoint_url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(address, requests.encode(), plain)
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


def test_the_files_are_formatted_and_valid_and_the_lock_fits(tmp_path: Path) -> None:
    skip_without_terraform()
    terraform = Terraform(tmp_path)
    terraform("fmt", "-check", "-diff")
    terraform("init", "-input=false", "-backend=false", "-lockfile=readonly")
    terraform("validate")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("prefix", "Acme_Faces", "lower-case letters"),
        ("prefix", "a" * 56, "55"),
        ("access_log_days", "0", "1 or more"),
        ("eks_oidc_provider_arn", "oidc.eks.eu-central-1.amazonaws.com/id/0123", "provider's ARN"),
        ("input_bucket_arns", "[]", "at least one bucket"),
        ("input_bucket_arns", '["arn:aws:s3:::photos/*"]', "without a key"),
    ],
)
def test_wrong_variables_are_explained(applied: Applied, variable: str, value: str, said: str) -> None:
    arguments = ("plan", "-input=false", "-no-color", "-refresh=false", "-var", f"{variable}={value}")
    with pytest.raises(AssertionError, match=said):
        applied.terraform(*arguments)


def test_a_second_apply_changes_nothing(applied: Applied) -> None:
    applied.terraform("plan", "-input=false", "-detailed-exitcode")


def test_the_outputs_fill_a_job_file_as_the_guide_shows(applied: Applied) -> None:
    [(_, text)] = blocks("from terraform", "yaml")
    assert keys_from_terraform(applied.outputs, {"name": "imagenet-anon"}) == yaml.safe_load(text)


def test_buckets_keep_no_versions_and_are_private(applied: Applied) -> None:
    with contextlib.closing(applied.client("s3")) as s3:
        for bucket in (RELEASE, LEDGER, LOGS):
            assert s3.get_bucket_versioning(Bucket=bucket).get("Status") is None
            assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
            [rule] = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
            assert rule["ObjectOwnership"] == "BucketOwnerEnforced"
        for name, bucket in (("release", RELEASE), ("ledger", LEDGER)):
            [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
            default = rule["ApplyServerSideEncryptionByDefault"]
            assert default == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": applied.arn(f'aws_kms_key.this["{name}"]')}
        logging = s3.get_bucket_logging(Bucket=LEDGER)["LoggingEnabled"]
        assert (logging["TargetBucket"], logging["TargetPrefix"]) == (LOGS, "ledger/")


def test_the_buckets_refuse_plain_http(applied: Applied) -> None:
    for name in ("release", "ledger", "logs"):
        policy = applied.policy(f'aws_s3_bucket_policy.this["{name}"]')
        for resource in (f"arn:aws:s3:::acme-faces-{name}", f"arn:aws:s3:::acme-faces-{name}/set/run.key"):
            assert denies(policy, "s3:GetObject", resource, {"aws:SecureTransport": "false"})
            assert not denies(policy, "s3:GetObject", resource, {"aws:SecureTransport": "true"})


@pytest.mark.parametrize("name", ["release", "ledger"])
def test_the_buckets_refuse_every_encryption_but_their_own_key(applied: Applied, name: str) -> None:
    policy = applied.policy(f'aws_s3_bucket_policy.this["{name}"]')
    own, other = (
        applied.arn(f'aws_kms_key.this["{key}"]') for key in (name, {"release": "ledger", "ledger": "release"}[name])
    )
    cases: list[tuple[dict[str, str], bool]] = [
        ({}, False),  # the bucket's default
        ({SSE: "aws:kms", KEY_ID: own}, False),
        ({SSE: "aws:kms", KEY_ID: other}, True),
        ({SSE: "aws:kms"}, True),  # the account's key
        ({SSE: "aws:kms:dsse"}, True),
        ({SSE: "AES256"}, True),
        ({KEY_ID: other}, True),
        ({"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}, True),
    ]
    for headers, refused in cases:
        context = {"aws:SecureTransport": "true", **headers}
        assert denies(policy, "s3:PutObject", f"arn:aws:s3:::acme-faces-{name}/set/x", context) == refused, headers
        assert not denies(policy, "s3:GetObject", f"arn:aws:s3:::acme-faces-{name}/set/x", context)


def test_s3_alone_writes_access_logs(applied: Applied) -> None:
    policy = applied.policy('aws_s3_bucket_policy.this["logs"]')
    place, service = f"arn:aws:s3:::{LOGS}/ledger/2026-01-01", "logging.s3.amazonaws.com"
    context = {"aws:SecureTransport": "true", "aws:SourceAccount": ACCOUNT, "aws:SourceArn": f"arn:aws:s3:::{LEDGER}"}
    assert allows(policy, "s3:PutObject", place, context, service)
    assert not allows(policy, "s3:PutObject", place, {**context, "aws:SourceArn": "arn:aws:s3:::another"}, service)
    assert not allows(policy, "s3:PutObject", place, {**context, "aws:SourceAccount": "1"}, service)
    for role in ("worker", "head", "reader"):
        assert not allows(policy, "s3:PutObject", place, context, applied.arn(f"aws_iam_role.{role}"))
        own = [address for address in applied.resources if address.startswith("aws_iam_role_policy.")]
        assert not allows(applied.policy(*own), "s3:GetObject", place)


@pytest.mark.parametrize(
    ("key", "role", "action", "allowed"),
    [
        ("release", "worker", "kms:GenerateDataKey", True),
        ("release", "worker", "kms:Decrypt", True),
        ("release", "head", "kms:GenerateDataKey", True),
        ("release", "reader", "kms:Decrypt", True),
        ("release", "reader", "kms:GenerateDataKey", False),
        ("ledger", "worker", "kms:GenerateDataKey", True),
        ("ledger", "head", "kms:Decrypt", True),
        ("ledger", "reader", "kms:Decrypt", False),
        ("ledger", "reader", "kms:GenerateDataKey", False),
    ],
)
def test_who_may_use_which_key(applied: Applied, key: str, role: str, action: str, allowed: bool) -> None:
    arn, principal = applied.arn(f'aws_kms_key.this["{key}"]'), applied.arn(f"aws_iam_role.{role}")
    policy = applied.policy(f'aws_kms_key.this["{key}"]')
    own = {
        "worker": "aws_iam_role_policy.worker",
        "head": "aws_iam_role_policy.head_data",
        "reader": "aws_iam_role_policy.reader",
    }
    assert allows(policy, action, arn, BY_S3, principal) == allowed
    assert allows(applied.policy(own[role]), action, arn, BY_S3) == allowed
    assert not allows(policy, action, arn, {"kms:ViaService": "ec2.eu-central-1.amazonaws.com"}, principal)


def test_an_administrator_manages_keys_and_decrypts_nothing(applied: Applied) -> None:
    for key in ("release", "ledger"):
        arn, policy = applied.arn(f'aws_kms_key.this["{key}"]'), applied.policy(f'aws_kms_key.this["{key}"]')
        root = f"arn:aws:iam::{ACCOUNT}:root"
        for action in ("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DescribeKey", "kms:TagResource"):
            assert allows(policy, action, arn, {}, root), action
        for action in ("kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt", "kms:ReEncryptFrom", "kms:CreateGrant"):
            assert not allows(policy, action, arn, BY_S3, root), action


TAG, OTHER_TAG = (
    {f"aws:{kind}/ray-cluster-name": value for kind in ("RequestTag", "ResourceTag")} for value in ("anon-batch", "x")
)
MACHINE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"


@pytest.mark.parametrize(
    ("action", "resource", "context", "allowed"),
    [
        ("ec2:RunInstances", MACHINE, TAG, True),
        ("ec2:RunInstances", MACHINE, OTHER_TAG, False),
        ("ec2:RunInstances", MACHINE, {}, False),
        ("ec2:RunInstances", MACHINE.replace(REGION, "us-east-1"), TAG, False),
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-1", {}, True),
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/subnet-1", {}, True),
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:spot-instances-request/sir-1", {}, True),
        ("ec2:CreateTags", MACHINE, {**TAG, "ec2:CreateAction": "RunInstances"}, True),
        ("ec2:CreateTags", MACHINE, {"aws:RequestTag/ray-cluster-name": "anon-batch"}, False),  # to adopt a machine
        ("ec2:CreateTags", MACHINE, {"aws:ResourceTag/ray-cluster-name": "anon-batch"}, True),
        ("ec2:TerminateInstances", MACHINE, TAG, True),
        ("ec2:StopInstances", MACHINE, TAG, True),
        ("ec2:StartInstances", MACHINE, TAG, True),
        ("ec2:TerminateInstances", MACHINE, OTHER_TAG, False),
        ("ec2:TerminateInstances", MACHINE, {}, False),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": REGION}, True),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "us-east-1"}, False),
        ("ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1", TAG, False),
        ("ec2:ModifyInstanceAttribute", MACHINE, TAG, False),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/acme-faces-worker", {"iam:PassedToService": "ec2.amazonaws.com"}, True),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/acme-faces-worker", {"iam:PassedToService": "ecs.amazonaws.com"}, False),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/acme-faces-head", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        (
            "iam:CreateServiceLinkedRole",
            f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
            {"iam:AWSServiceName": "spot.amazonaws.com"},
            True,
        ),
        ("iam:CreateServiceLinkedRole", f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/x/y", {"iam:AWSServiceName": "x"}, False),
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/x", {}, False),
    ],
)  # fmt: skip
def test_the_head_starts_and_stops_machines_of_its_cluster_alone(
    applied: Applied, action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    policy = applied.policy("aws_iam_role_policy.head_machines", "aws_iam_role_policy.head_data")
    assert allows(policy, action, resource, context) == allowed
    for role in ("worker", "reader"):
        assert not allows(applied.policy(f"aws_iam_role_policy.{role}"), action, resource, context)


def test_machines_pull_the_image_and_push_none(applied: Applied) -> None:
    for role in ("worker", "head_data"):
        policy, place = applied.policy(f"aws_iam_role_policy.{role}"), f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository"
        assert allows(policy, "ecr:GetAuthorizationToken", "*")
        assert allows(policy, "ecr:BatchGetImage", f"{place}/anon-batch")
        assert not allows(policy, "ecr:BatchGetImage", f"{place}/another")
        assert not allows(policy, "ecr:PutImage", f"{place}/anon-batch")


def test_who_may_take_which_role(applied: Applied) -> None:
    def may(role: str, action: str, principal: str, **context: str) -> bool:
        trust = statements_of(applied.resources[f"aws_iam_role.{role}"]["assume_role_policy"])
        named = [{**statement, "Resource": "*"} for statement in trust]
        return allows(
            named, f"sts:{action}", "*", {key.replace("__", ":"): value for key, value in context.items()}, principal
        )

    oidc = VARIABLES["eks_oidc_provider_arn"]
    issuer = oidc.partition("oidc-provider/")[2]
    account = {f"{issuer}__sub": "system:serviceaccount:anon-batch:anon-batch", f"{issuer}__aud": "sts.amazonaws.com"}
    assert may("worker", "AssumeRole", "ec2.amazonaws.com")
    assert may("worker", "AssumeRole", f"arn:aws:iam::{ACCOUNT}:user/owner")
    assert not may("worker", "AssumeRole", f"arn:aws:iam::{ACCOUNT}:root")
    assert may("worker", "AssumeRoleWithWebIdentity", oidc, **account)
    assert not may(
        "worker",
        "AssumeRoleWithWebIdentity",
        oidc,
        **{**account, f"{issuer}__sub": "system:serviceaccount:x:anon-batch"},
    )
    assert not may("worker", "AssumeRoleWithWebIdentity", oidc, **{**account, f"{issuer}__aud": "x"})
    assert not may("head", "AssumeRoleWithWebIdentity", oidc, **account)
    assert may("reader", "AssumeRole", ACCOUNT) or may("reader", "AssumeRole", f"arn:aws:iam::{ACCOUNT}:root")


def test_a_worker_makes_a_release_with_the_printed_job_and_a_reader_sees_nothing_else(
    applied: Applied, enforced: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    make_images(tmp_path / "photos", 4)
    _enforce_after(applied, "inf")
    with contextlib.closing(applied.client("s3")) as s3:
        for path in (tmp_path / "photos").rglob("*.png"):
            s3.put_object(Bucket=PHOTOS, Key=str(path.relative_to(tmp_path)), Body=path.read_bytes())
    _enforce_after(applied, "0")
    manifest = f"s3://{LEDGER}/manifests/faces.parquet"  # beside the ledger, because it names the sources
    job = {
        **keys_from_terraform(applied.outputs, {"name": "faces"}),
        "manifest": manifest,
        "detect": {"detectors": ["centerface"]},
        "anonymize": {"face": {"method": "solid"}},
        "engine": {"workers": 1},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    worker, reader = (_variables(applied.server, enforced[role]) for role in ("worker", "reader"))
    output, ledger = f"s3://{RELEASE}/faces", f"s3://{LEDGER}/faces"
    key = ("--key", str(tmp_path / "release.key.pub"))
    place = (output, "--ledger", ledger, "--job", str(tmp_path / "job.yaml"))
    for arguments in (
        ("manifest", f"s3://{PHOTOS}/photos", "-o", manifest, "--job", str(tmp_path / "job.yaml")),
        ("run", str(tmp_path / "job.yaml")),
        ("keys", "new", "--sign", str(tmp_path / "release.key")),
        ("report", *place),
        ("release", *place, "--sign-key", str(tmp_path / "release.key")),
        ("verify", *place, *key),
    ):
        done = run_cli(*arguments, env=worker)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run_cli("verify", output, "--no-ledger", *key, env=reader)
    assert done.returncode == 0, done.stdout + done.stderr
    refused = run_cli("verify", output, "--ledger", ledger, env=reader)
    assert (refused.returncode, "--no-ledger" in refused.stderr) == (2, True), refused.stderr
    _reader_is_denied(applied, enforced["reader"])
    _worker_is_denied(applied, enforced["worker"])


def _variables(server: S3Server, credentials: dict[str, str]) -> dict[str, str]:
    named = {name.upper(): value for name, value in credentials.items()}
    return {"AWS_ENDPOINT_URL": server.endpoint_url, **named}


def _reader_is_denied(applied: Applied, credentials: dict[str, str]) -> None:
    with contextlib.closing(applied.client("s3", credentials)) as s3:
        assert s3.list_objects_v2(Bucket=RELEASE)["KeyCount"] > 5
        one = s3.list_objects_v2(Bucket=RELEASE, Prefix="faces/images/")["Contents"][0]["Key"]
        s3.get_object(Bucket=RELEASE, Key=one)["Body"].close()
        for call, arguments in (
            ("list_objects_v2", {"Bucket": LEDGER}),
            ("list_object_versions", {"Bucket": LEDGER}),
            ("get_object", {"Bucket": LEDGER, "Key": "faces/run.key"}),
            ("head_object", {"Bucket": LEDGER, "Key": "faces/run.key"}),
            ("get_object", {"Bucket": LEDGER, "Key": "manifests/faces.parquet"}),
            ("put_object", {"Bucket": LEDGER, "Key": "faces/x", "Body": b"x"}),
            ("delete_object", {"Bucket": LEDGER, "Key": "faces/run.key"}),
            ("put_object", {"Bucket": RELEASE, "Key": one, "Body": b"x"}),
            ("delete_object", {"Bucket": RELEASE, "Key": one}),
            ("list_objects_v2", {"Bucket": PHOTOS}),
            ("list_objects_v2", {"Bucket": LOGS}),
        ):
            _denied(s3, call, arguments)
    with contextlib.closing(applied.client("kms", credentials)) as kms:
        key = applied.arn('aws_kms_key.this["ledger"]')
        _denied(kms, "generate_data_key", {"KeyId": key, "KeySpec": "AES_256"})
        _denied(kms, "describe_key", {"KeyId": key})
    with contextlib.closing(applied.client("ec2", credentials)) as ec2:
        _denied(ec2, "run_instances", {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1})


def _worker_is_denied(applied: Applied, credentials: dict[str, str]) -> None:
    with contextlib.closing(applied.client("s3", credentials)) as s3:
        for call, arguments in (
            ("put_object", {"Bucket": PHOTOS, "Key": "photos/x.png", "Body": b"x"}),
            ("list_objects_v2", {"Bucket": LOGS}),
            ("put_bucket_versioning", {"Bucket": LEDGER, "VersioningConfiguration": {"Status": "Enabled"}}),
            ("put_bucket_policy", {"Bucket": RELEASE, "Policy": "{}"}),
            ("delete_bucket", {"Bucket": RELEASE}),
        ):
            _denied(s3, call, arguments)
    with contextlib.closing(applied.client("ec2", credentials)) as ec2:
        _denied(ec2, "run_instances", {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1})


def _denied(client: Any, call: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(client, call)(**arguments)
    status = caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert status in (400, 403), (call, arguments, caught.value)
    assert caught.value.response["Error"]["Code"] in (
        "AccessDenied",
        "AccessDeniedException",
        "403",
        "UnauthorizedOperation",
    )
