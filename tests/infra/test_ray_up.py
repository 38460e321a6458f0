"""`ray up infra/ray-cluster-aws.yaml` against an imitation of EC2, with stand-ins for ssh and rsync."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from servers import S3Server, moto_server

ROOT = Path(__file__).parents[2]
TOKEN = "do-not-show-this-token"
# Answers what Ray asks of a new machine, and notes everything else.
_SSH = """\
#!/bin/sh
for last; do :; done
printf '%s\\n' "$last" >> "$RECORD"
case "$last" in
  *'printenv HOME'*) echo /home/ray;;
  *State.Running*) echo false;;
  *Config.Env*) echo '["HOME=/home/ray"]';;
  *Runtimes*) echo 'map[runc:]';;
  *'command -v docker'*) echo /usr/bin/docker;;
  *.Mounts*) echo '[]';;
esac
"""


@dataclass
class Account:
    """An account of the imitation.

    Args:
        environment: of a process that uses it.
        ec2: client.
        values: what to write in place of each FILL_IN.
        record: what went to machines.
    """

    environment: dict[str, str]
    ec2: Any
    values: dict[str, str]
    record: Path

    def up(self, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `ray up` on a file."""
        (folder / "cluster.yaml").write_text(text, encoding="utf-8")
        ray = Path(sys.executable).parent / "ray"
        command = [str(ray), "up", "--yes", "--no-config-cache", str(folder / "cluster.yaml")]
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )

    def instances(self) -> list[dict[str, Any]]:
        reservations = self.ec2.describe_instances()["Reservations"]
        return [instance for reservation in reservations for instance in reservation["Instances"]]


@pytest.fixture(scope="module")
def cloud() -> Iterator[S3Server]:
    """moto's server, which here refuses machine images and instance types that do not exist."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_ENABLE_AMI_VALIDATION", "true")
        patch.setenv("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
        with moto_server() as server:
            yield server


@pytest.fixture
def account(cloud: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account with a security group, two instance profiles and a machine image."""
    environment = cloud.env | {"AWS_DEFAULT_REGION": "eu-central-1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName=tmp_path.name, Description="nodes", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="203.0.113.7/32"
    )
    head, worker = (
        iam.create_instance_profile(InstanceProfileName=f"{tmp_path.name}-{kind}")["InstanceProfile"]["Arn"]
        for kind in ("head", "worker")
    )
    programs, record = tmp_path / "programs", tmp_path / "record"
    programs.mkdir()
    record.touch()
    for name, text in {"ssh": _SSH, "rsync": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    token = tmp_path / ".anon-batch/token/auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN, encoding="utf-8")
    paths = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return Account(
        {**os.environ, **environment, "HOME": str(tmp_path), "PATH": paths, "RECORD": str(record)},
        ec2,
        {
            "FILL_IN_REGISTRY": "registry.example",
            "FILL_IN_IMAGE_ID": ec2.describe_images()["Images"][0]["ImageId"],
            "FILL_IN_SECURITY_GROUP_ID": group,
            "FILL_IN_HEAD_INSTANCE_PROFILE_ARN": head,
            "FILL_IN_WORKER_INSTANCE_PROFILE_ARN": worker,
        },
        record,
    )


@pytest.fixture
def text() -> str:
    return (ROOT / "infra/ray-cluster-aws.yaml").read_text(encoding="utf-8")


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        assert name in text
        text = text.replace(name, value)
    return text


@pytest.mark.full
def test_a_head_is_started_as_the_file_says(account: Account, text: str, tmp_path: Path) -> None:
    before = {group["GroupId"] for group in account.ec2.describe_security_groups()["SecurityGroups"]}
    done = account.up(filled(text, account.values), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    [instance] = [i for i in account.instances() if i["ImageId"] == account.values["FILL_IN_IMAGE_ID"]]
    assert instance["InstanceType"] == "m7i.xlarge"
    assert instance["IamInstanceProfile"]["Arn"] == account.values["FILL_IN_HEAD_INSTANCE_PROFILE_ARN"]
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [account.values["FILL_IN_SECURITY_GROUP_ID"]]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    volumes = account.ec2.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    )["Volumes"]
    assert [(volume["Encrypted"], volume["Size"]) for volume in volumes] == [(True, 150)]
    after = {group["GroupId"] for group in account.ec2.describe_security_groups()["SecurityGroups"]}
    assert after == before, "Ray made a group that opens port 22 to everybody"

    record = account.record.read_text(encoding="utf-8")
    [container] = [line for line in record.splitlines() if "docker run" in line]
    assert "/opt/cluster/token:/opt/cluster/token" in container
    assert "--env RAY_AUTH_TOKEN_PATH=/opt/cluster/token/auth_token" in container
    assert "pip install" not in record
    [start] = [line for line in record.splitlines() if "ray start" in line]
    assert "--disable-usage-stats" in start
    assert "RAY_enable_autoscaler_v2=1" in start
    assert TOKEN not in record + done.stdout + done.stderr


@pytest.mark.full
@pytest.mark.parametrize("left", ["FILL_IN_IMAGE_ID", "FILL_IN_SECURITY_GROUP_ID", "FILL_IN_HEAD_INSTANCE_PROFILE_ARN"])
def test_what_is_not_filled_in_is_refused_and_nothing_started(
    account: Account, text: str, tmp_path: Path, left: str
) -> None:
    before = len(account.instances())
    done = account.up(filled(text, {name: value for name, value in account.values.items() if name != left}), tmp_path)
    assert done.returncode != 0
    assert (left if "GROUP" not in left else "security group") in done.stdout + done.stderr
    assert len(account.instances()) == before
    assert account.record.read_text(encoding="utf-8") == ""
