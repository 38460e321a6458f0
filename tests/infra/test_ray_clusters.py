"""The clusters of `ray up`, checked by Ray's own code of the installed version, without a cloud."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from external_data import NO_TOOL
from linters import shellcheck
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from anon_batch.config import load_job

ROOT = Path(__file__).parents[2]
CLOUDS = ("aws", "gcp")
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
Cluster = dict[str, Any]


def cluster_file(cloud: str) -> Path:
    return ROOT / f"infra/ray-cluster-{cloud}.yaml"


@pytest.fixture(params=CLOUDS)
def written(request: pytest.FixtureRequest) -> Cluster:
    """The file as it is."""
    return dict(yaml.safe_load(cluster_file(request.param).read_text(encoding="utf-8")))


@pytest.fixture
def prepared(written: Cluster) -> Cluster:
    """The file with Ray's defaults, accepted by Ray's schema."""
    config = prepare_config(written)
    validate_config(config)
    return dict(config)


def commands(config: Cluster) -> list[str]:
    return [command for key in COMMANDS for command in config[key]]


def test_ray_adds_no_command_of_its_own(written: Cluster, prepared: Cluster) -> None:
    """What the file leaves out, Ray fills with commands that install packages on each machine."""
    assert commands(prepared) == commands(written)
    assert not any("pip install" in command for command in commands(prepared))


def test_nothing_is_kept_running_or_open(prepared: Cluster) -> None:
    head, *_ = types = list(prepared["available_node_types"].values())
    assert prepared["head_node_type"] == next(iter(prepared["available_node_types"])) == "head"
    assert head["resources"]["CPU"] == 0, "workers on the head would starve the driver"
    assert head["max_workers"] == 0
    assert [kind["min_workers"] for kind in types] == [0, 0, 0]
    assert prepared["provider"]["cache_stopped_nodes"] is False
    [start] = [command for command in prepared["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--disable-usage-stats" in start, "`ray up` turns them on"
    assert any("stop-when-idle" in command for command in prepared["initialization_commands"])


def test_the_store_of_objects_is_small(prepared: Cluster) -> None:
    for command in commands(prepared):
        if "ray start" in command:
            assert re.search(r"--object-store-memory=500000000\b", command)
    assert "--shm-size=1g" in prepared["docker"]["run_options"]


def test_every_machine_has_the_token_and_asks_for_it(prepared: Cluster) -> None:
    options = prepared["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    [path] = [option.partition("=")[2] for option in options if "RAY_AUTH_TOKEN_PATH" in option]
    assert str(Path(path).parent) in prepared["file_mounts"]
    assert not any(re.search(r"RAY_AUTH_TOKEN=|auth_token", command) for command in commands(prepared))


def test_every_type_names_its_own_image_and_network() -> None:
    aws, gcp = (yaml.safe_load(cluster_file(cloud).read_text(encoding="utf-8")) for cloud in CLOUDS)
    for kind in aws["available_node_types"].values():
        node = kind["node_config"]
        assert node["ImageId"] == "FILL_IN_IMAGE_ID"
        assert node["SecurityGroupIds"], "Ray would make a group that opens port 22 to everybody"
        assert node["IamInstanceProfile"]["Arn"].startswith("FILL_IN_")
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
        assert node["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])
    for kind in gcp["available_node_types"].values():
        node = kind["node_config"]
        assert [disk["initializeParams"]["sourceImage"] for disk in node["disks"]] == ["FILL_IN_SOURCE_IMAGE"]
        assert all("FILL_IN_PROJECT" in interface["subnetwork"] for interface in node["networkInterfaces"])
        assert all(account["email"].startswith("FILL_IN_") for account in node["serviceAccounts"])
        assert all(disk["autoDelete"] for disk in node["disks"])


def launched(config: Cluster, workers: int, unavailable: dict[str, float]) -> dict[str, int]:
    """What Ray's autoscaler would start for the workers of a job."""
    gpu = {
        "engine.num_gpus": 0.25,
        "engine.num_cpus": 3,
        "engine.memory_bytes": 6_000_000_000,
    }  # as docs/guides/gpu.md says
    engine = load_job(ROOT / "jobs/imagenet-train.yaml", gpu).engine
    need = {"CPU": float(engine.num_cpus), "GPU": engine.num_gpus, "memory": float(engine.memory_bytes or 0)}
    autoscaling = AutoscalingConfig(config, skip_content_hash=True)
    request = SchedulingRequest(
        node_type_configs=autoscaling.get_node_type_configs(),
        max_num_nodes=autoscaling.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(need)] * workers),
        recoverable_resource_availabilities=unavailable,
        disable_launch_config_check=True,
    )
    reply = ResourceDemandScheduler().schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def test_spot_machines_come_first_and_others_where_there_is_none(prepared: Cluster) -> None:
    assert launched(prepared, 0, {}) == {}
    assert launched(prepared, 32, {}) == {"gpu-spot": 8}
    assert launched(prepared, 32, {"gpu-spot": 0.0}) == {"gpu-on-demand": 8}
    assert launched(prepared, 4, {}) == {"gpu-spot": 1}, "four workers share one machine"


def test_the_spot_type_alone_is_spot() -> None:
    aws, gcp = (
        yaml.safe_load(cluster_file(cloud).read_text(encoding="utf-8"))["available_node_types"] for cloud in CLOUDS
    )
    spot = {name for name, kind in aws.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {"gpu-spot"}
    spot = {
        name
        for name, kind in gcp.items()
        if kind["node_config"].get("scheduling", {}).get("provisioningModel") == "SPOT"
    }
    assert spot == {"gpu-spot"}


@pytest.mark.parametrize(
    ("text", "code"), [("image: FILL_IN_REGISTRY/anon-batch", 1), ("image: registry/anon-batch", 0)]
)
def test_a_head_refuses_what_is_not_filled_in(prepared: Cluster, tmp_path: Path, text: str, code: int) -> None:
    """Ray writes the file, without its comments, to the head before these commands; workers have none."""
    [command] = [command for command in prepared["initialization_commands"] if "FILL_IN" in command]
    command = command.replace("/tmp/ray_tmp_mount", str(tmp_path))
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0
    folder = tmp_path / "anon-batch/~"
    folder.mkdir(parents=True)
    (folder / "ray_bootstrap_config.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert bool(code) == ("fill in every FILL_IN" in done.stderr)


def test_shell_commands_pass_shellcheck(prepared: Cluster) -> None:
    for command in commands(prepared):
        assert shellcheck(command + "\n", exclude="SC2154,SC2312,SC2088") == ""
    script = (ROOT / "infra/machine/stop-when-idle.sh").read_text(encoding="utf-8")
    assert shellcheck(script, shell="sh") == ""


def test_what_the_gcp_file_names_exists_in_googles_interface() -> None:
    discovery = pytest.importorskip("googleapiclient.discovery_cache", reason=f"{NO_TOOL}google-api-python-client")
    document = Path(discovery.__file__).parent / "documents/compute.v1.json"
    schemas = json.loads(document.read_text(encoding="utf-8"))["schemas"]
    for name, kind in yaml.safe_load(cluster_file("gcp").read_text(encoding="utf-8"))["available_node_types"].items():
        _check(kind["node_config"], {"$ref": "Instance"}, schemas, name)


def _check(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """Check a value against a schema of Google's discovery document: known fields, types, and values of enumerations."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kind = schema["type"]
    if kind == "object":
        assert isinstance(value, dict), where
        for key, part in value.items():
            assert key in schema["properties"], f"{where}: no field {key}"
            _check(part, schema["properties"][key], schemas, f"{where}.{key}")
    elif kind == "array":
        assert isinstance(value, list), where
        for part in value:
            _check(part, schema["items"], schemas, where)
    else:
        assert isinstance(value, {"boolean": bool, "integer": int, "string": (str, int)}[kind]), where
        assert "enum" not in schema or value in schema["enum"], where
