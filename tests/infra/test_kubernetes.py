"""infra/rayjob.yaml and its components are what KubeRay 1.7 and Kubernetes take, run a valid job, and pay for nothing idle."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hcl2
import kubernetes_validate
import pytest
import yaml
from external_data import KUBERAY, needs_data, needs_tool
from kubernetes_files import COMPONENTS, INFRA, documents, of_kind, pods, rayjob_validator
from packaging.version import Version
from typer.main import get_command

from anon_batch.cli.app import app
from anon_batch.config import JobConfig, load_job

LABEL = {"app.kubernetes.io/name": "anon-batch"}
GPU = "nvidia.com/gpu"


@pytest.fixture(params=[(), COMPONENTS], ids=lambda chosen: "+".join(chosen) or "plain")
def components(request: pytest.FixtureRequest) -> Sequence[str]:
    chosen: Sequence[str] = request.param
    return chosen


@pytest.fixture
def rayjob(components: Sequence[str]) -> dict[str, Any]:
    return of_kind("RayJob", components)


def _job(tmp_path: Path) -> JobConfig:
    path = tmp_path / "job.yaml"
    path.write_text(of_kind("ConfigMap")["data"]["job.yaml"])
    return load_job(path, {})


def _memory(text: str) -> int:
    assert text.endswith("Gi")
    return int(text[:-2]) * 2**30


@needs_data(KUBERAY)
def test_the_operators_schema_takes_the_job(rayjob: dict[str, Any]) -> None:
    rayjob_validator().validate(rayjob)


@needs_data(KUBERAY)
@pytest.mark.parametrize(
    "path", ["spec", "spec/rayClusterSpec", "spec/rayClusterSpec/autoscalerOptions", "spec/submitterPodTemplate/spec"]
)
def test_the_schema_refuses_a_key_that_it_does_not_know(path: str) -> None:
    changed = copy.deepcopy(of_kind("RayJob"))
    section = changed
    for key in path.split("/"):
        section = section[key]
    section["backofLimit"] = 3
    assert "backofLimit" in next(rayjob_validator().iter_errors(changed)).message


def test_kubernetes_takes_all_else(components: Sequence[str]) -> None:
    version, kinds = kubernetes_validate.latest_version(), []
    for document in documents(components):
        kinds.append(document["kind"])
        if document["kind"] != "RayJob":
            kubernetes_validate.validate(document, version, strict=True)
            continue
        for name, template in pods(document):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, **template["metadata"]},
                "spec": template["spec"],
            }
            kubernetes_validate.validate(pod, version, strict=True)
    assert kinds == ["Namespace", "ConfigMap", "ServiceAccount", "NetworkPolicy", "RayJob"]


def test_the_operators_own_rules_hold(rayjob: dict[str, Any]) -> None:
    """Those of validation.go and the rules (CEL) in the definition, which a JSON schema cannot hold."""
    spec, cluster = rayjob["spec"], rayjob["spec"]["rayClusterSpec"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", rayjob["metadata"]["name"])
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
    assert not spec.get("suspend") or spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] >= 0
    assert spec["backoffLimit"] >= 0
    assert all(spec[key] > 0 for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds") if key in spec)
    assert not {"clusterSelector", "deletionStrategy", "managedBy"} & set(spec), "their rules are not checked here"
    assert not {"gcsFaultToleranceOptions", "networkPolicy", "managedBy"} & set(cluster), (
        "their rules are not checked here"
    )
    assert cluster["authOptions"] == {"mode": "token"}, "Kubernetes' own tokens do not work with a RayJob"
    assert Version(cluster["rayVersion"]) >= Version("2.52")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert "labels" not in group["rayStartParams"]
        assert "resources" not in group
        assert group["template"]["spec"].get("restartPolicy", "Never") == "Never", "the autoscaler v2 replaces pods"
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        environment = group["template"]["spec"]["containers"][0].get("env", [])
        assert not [own for own in environment if own["name"] in ("RAY_enable_autoscaler_v2", "RAY_REDIS_ADDRESS")]


def test_every_pod_is_restricted_and_has_room_to_write(rayjob: dict[str, Any]) -> None:
    assert of_kind("Namespace")["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    dockerfile = (INFRA / "Dockerfile").read_text(encoding="utf-8")
    home = next(iter(re.findall(r"HOME=(\S+)", dockerfile)), "/home/ray")
    autoscaler = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for name, template in pods(rayjob):
        spec = template["spec"]
        own = spec["securityContext"]
        assert (own["runAsNonRoot"], own["runAsUser"] > 0, own["seccompProfile"]) == (
            True,
            True,
            {"type": "RuntimeDefault"},
        ), name
        disks = {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
        for container in (*spec["containers"], *([autoscaler] if name == "head" else [])):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {m["mountPath"] for m in container["volumeMounts"] if m["name"] in disks} == {"/tmp", home}, name
            assert (
                container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
                or name == "submitter"
            )
        assert "hostNetwork" not in spec
        assert spec.get("automountServiceAccountToken", True) == (name == "head"), (
            "the autoscaler alone asks Kubernetes"
        )


def test_ports_are_reached_by_these_pods_the_operator_and_prometheus_alone(rayjob: dict[str, Any]) -> None:
    policy = of_kind("NetworkPolicy")["spec"]
    assert policy["podSelector"] == {"matchLabels": LABEL}
    assert policy["policyTypes"] == ["Ingress"]
    for _, template in pods(rayjob):
        assert template["metadata"]["labels"] == LABEL
    own, *others = policy["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": LABEL}}]}
    assert [[port["port"] for port in rule["ports"]] for rule in others] == [[8265], [8080]]
    for group in (
        rayjob["spec"]["rayClusterSpec"]["headGroupSpec"],
        *rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ):
        assert not {"serviceType", "enableIngress"} & set(group)


def test_nothing_is_paid_for_idle_and_the_driver_keeps_its_machine(rayjob: dict[str, Any]) -> None:
    spec, cluster = rayjob["spec"], rayjob["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"]
    assert (cluster["autoscalerOptions"]["version"], cluster["autoscalerOptions"]["idleTimeoutSeconds"]) == ("v2", 120)
    assert (spec["shutdownAfterJobFinishes"], spec["submissionMode"]) == (True, "K8sJobMode")
    for group in cluster["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"], group["maxReplicas"] > 0) == (0, 0, True)
        taints = {own["key"] for own in group["template"]["spec"]["tolerations"]}
        assert {GPU, "cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority", "spot"} == taints
        assert int(group["rayStartParams"]["object-store-memory"]) < 2**30
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0", "workers on the head would starve the driver"
    assert head["template"]["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    [term] = head["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert {own["operator"] for own in term["matchExpressions"]} == {"NotIn"}
    assert "tolerations" not in head["template"]["spec"]


def test_the_entrypoint_is_a_command_whose_finish_is_a_success(rayjob: dict[str, Any]) -> None:
    program, command, job, *options = rayjob["spec"]["entrypoint"].split()
    assert (program, command, job) == ("anon-batch", "run", "/jobs/job.yaml")
    assert "--finished-exit-zero" in options, "a gate that is exceeded would start new clusters"
    known = {option for own in get_command(app).commands["run"].params for option in own.opts}  # type: ignore[attr-defined]
    assert {option for option in options if option.startswith("--")} <= known
    head = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [mounted] = [own["name"] for own in head["containers"][0]["volumeMounts"] if own["mountPath"] == "/jobs"]
    assert {"name": mounted, "configMap": {"name": of_kind("ConfigMap")["metadata"]["name"]}} in head["volumes"]


def test_ray_knows_what_its_pods_are_started_with(rayjob: dict[str, Any]) -> None:
    from ray.scripts.scripts import start

    known = {option.removeprefix("--") for own in start.params for option in own.opts}
    cluster = rayjob["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert set(group["rayStartParams"]) <= known


def test_the_job_is_valid_and_fits_into_either_group(tmp_path: Path) -> None:
    job = _job(tmp_path)
    engine = job.engine
    assert engine.workers is not None
    assert engine.memory_bytes is not None
    assert job.storage.sse is None
    assert job.ledger_uri.split("/")[2] != job.output_uri.split("/")[2], "readers see one bucket, not the other"
    gpu, cpu = of_kind("RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    have = gpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    each = round(have[GPU] / engine.num_gpus)
    assert engine.workers <= each * gpu["maxReplicas"]
    assert each * engine.num_cpus <= int(have["cpu"])
    assert each * engine.memory_bytes <= _memory(have["memory"])
    have = cpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert GPU not in have
    each = min(int(have["cpu"]) // engine.num_cpus, _memory(have["memory"]) // engine.memory_bytes)
    assert engine.workers <= each * cpu["maxReplicas"]


def test_names_agree_with_each_other_and_with_terraform(components: Sequence[str]) -> None:
    found = documents(components)
    namespace = of_kind("Namespace")["metadata"]["name"]
    assert {own["metadata"]["namespace"] for own in found if own["kind"] != "Namespace"} == {namespace}
    account = of_kind("ServiceAccount")["metadata"]["name"]
    for name, template in pods(of_kind("RayJob", components)):
        assert template["spec"].get("serviceAccountName") == (None if name == "submitter" else account)
    assert len({own["image"] for _, t in pods(of_kind("RayJob", components)) for own in t["spec"]["containers"]}) == 1
    with (INFRA / "terraform/variables.tf").open() as file:
        variables = {name: own for entry in hcl2.load(file)["variable"] for name, own in entry.items()}
    assert variables['"eks_namespace"']["default"].strip('"') == namespace
    assert f":{account}" in (INFRA / "terraform/roles.tf").read_text(encoding="utf-8")


def test_secrets_reach_the_driver_and_the_workers() -> None:
    rayjob = of_kind("RayJob", ["secrets"])
    head = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [mount] = [own for own in head["containers"][0]["volumeMounts"] if own["name"] == "run-key"]
    assert f"--set run_key_file={mount['mountPath']}/run.key" in rayjob["spec"]["entrypoint"]
    [volume] = [own for own in head["volumes"] if own["name"] == "run-key"]
    assert volume["secret"] == {"secretName": "anon-batch-run-key", "defaultMode": 0o440}
    for name, template in pods(rayjob):
        [container] = template["spec"]["containers"]
        assert ("envFrom" in container) == (name != "submitter")
        assert name == "head" or "run-key" not in str(template)


def test_a_queue_starts_the_job_and_its_waiting_is_no_failure() -> None:
    rayjob = of_kind("RayJob", ["kueue"])
    assert rayjob["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "anon-batch"}
    assert rayjob["spec"]["suspend"] is True
    assert "preRunningDeadlineSeconds" not in rayjob["spec"]
    assert rayjob["metadata"]["annotations"] == {"kueue.x-k8s.io/elastic-job": "true"}, "else no autoscaler may run"


@pytest.mark.parametrize(
    "components", [(), ("kueue",), ("secrets",), COMPONENTS], ids=lambda chosen: "+".join(chosen) or "plain"
)
@needs_tool("kubectl", "kubernetes-client")
def test_kubectl_puts_the_same_together(components: Sequence[str], tmp_path: Path) -> None:
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns("terraform", "*.lock"))
    path = tmp_path / "infra/kustomization.yaml"
    text = path.read_text(encoding="utf-8")
    for name in COMPONENTS:
        assert f"  # - kubernetes/{name} " in text
        text = text.replace(f"# - kubernetes/{name} ", f"- kubernetes/{name} #") if name in components else text
    path.write_text(text.replace("newName: REGISTRY/", "newName: registry.example.org/"))
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "infra")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = {own["kind"]: own for own in yaml.safe_load_all(done.stdout)}
    for document in documents(components):
        filled = yaml.safe_dump(document).replace("REGISTRY/", "registry.example.org/")
        assert made[document["kind"]] == yaml.safe_load(filled)
