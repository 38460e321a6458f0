"""`anon-batch config --from-terraform` turns outputs of infra/terraform into keys of a job file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.config import keys_from_terraform, load_job
from anon_batch.errors import ConfigError

INFRA = Path(__file__).parents[2] / "infra"
PREFIX = "a-prefix-of-fifty-five-characters-as-long-as-they-may-be"
MADE = {
    "output": f"s3://{PREFIX}-release",
    "ledger": f"s3://{PREFIX}-ledger",
    "storage": {
        "options": {
            f"s3://{PREFIX}-{own}/": {"client_kwargs": {"region_name": "eu-central-1"}} for own in ("release", "ledger")
        }
    },
}


def _outputs(made: Any = MADE) -> str:
    """As `terraform output -json` prints them, shortened."""
    return json.dumps(
        {"reader_role_arn": {"value": "arn"}, "job": {"sensitive": False, "type": "dynamic", "value": made}}
    )


def test_the_printed_keys_make_a_job_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["config", "--from-terraform", "-", "--set", "name=faces"], input=_outputs())
    assert done.exit_code == 0, done.output
    path = tmp_path / "job.yaml"
    path.write_text("manifest: m.parquet\n" + done.stdout)
    job = load_job(path, {})
    assert (job.name, job.output_uri, job.ledger_uri) == (
        "faces",
        f"s3://{PREFIX}-release/faces",
        f"s3://{PREFIX}-ledger/faces",
    )
    assert job.storage.options == MADE["storage"]["options"]  # type: ignore[index]
    assert list(yaml.safe_load(done.stdout)) == ["name", "output", "ledger", "storage"]


def test_a_file_does_as_well(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text(_outputs())
    done = CliRunner().invoke(app, ["config", "--from-terraform", str(tmp_path / "out.json")])
    assert yaml.safe_load(done.stdout)["output"] == f"s3://{PREFIX}-release/release"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{}", "terraform apply"),
        ("[]", "terraform apply"),
        ('{"job": "s3://x"}', "terraform apply"),
        (_outputs({"output": "s3://x"}), "other keys"),
        (_outputs({**MADE, "more": 1}), "other keys"),
        (_outputs({**MADE, "output": None}), "does not name buckets"),
        (_outputs({**MADE, "storage": []}), "storage"),
    ],
)
def test_other_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        keys_from_terraform(text, {})


@pytest.mark.parametrize("settings", [{"name": "a/b"}, {"name": 5}, {"engine.workers": 3}])
def test_other_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name"):
        keys_from_terraform(_outputs(), settings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/no/such/file"], "No such file"),
        (["."], "directory"),
        (["-", "--set", "name="], "name"),
    ],
)
def test_errors_of_the_command(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["config", "--from-terraform", *arguments], input=_outputs())
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)


def test_a_job_file_beside_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("manifest: m.parquet\noutput: out\n")
    done = CliRunner().invoke(app, ["config", str(tmp_path / "job.yaml"), "--from-terraform", "-"], input=_outputs())
    assert "paste the keys" in str(done.exception)


def test_the_head_may_stop_the_machines_of_the_cluster_that_ray_up_starts() -> None:
    with (INFRA / "terraform/variables.tf").open() as file:
        variables = {name: own for entry in hcl2.load(file)["variable"] for name, own in entry.items()}
    cluster = yaml.safe_load((INFRA / "ray-cluster-aws.yaml").read_text(encoding="utf-8"))
    assert variables['"ray_cluster_name"']["default"].strip('"') == cluster["cluster_name"]
    for node in cluster["available_node_types"].values():
        assert "TagSpecifications" not in node["node_config"], "the head may tag machines alone"
