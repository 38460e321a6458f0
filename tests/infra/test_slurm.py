"""infra/slurm.sbatch on a real Slurm cluster of two nodes: with stand-ins for Ray and the run, and one whole run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from linters import shellcheck
from misbehaving_plugin import SLOW
from releases import RUN_KEY, command, environment, make_images, make_manifest, parts_count, release_of
from servers import wait_for
from slurm_cluster import Slurm, slurm_cluster

from anon_batch.storage import Storage

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "infra/slurm.sbatch"
# Runs what follows `--` on the first node; notes who may read the token.
_RAY = """\
#!/bin/bash
[ "$SLURM_PROCID" = 0 ] || exec sleep 0.5
stat --format %a "$RAY_AUTH_TOKEN_PATH" >> modes
echo started >> starts; sleep "${SECONDS_TO_START:-0}"
while [ "$1" != -- ]; do shift; done; shift
exec "$@"
"""
_RUN = """\
#!/bin/bash
echo "$@" >> calls
trap 'echo stopped >> calls; exit 75' TERM
for _ in $(seq "${SECONDS_TO_RUN:-0}"); do sleep 1 & wait; done
exit "$CODE"
"""

_JOB = """\
manifest: manifest.parquet
output: {name}
detect: {{detectors: [misbehaving]}}
anonymize: {{face: {{method: pixelate}}}}
gates: {{failed: 0.0}}
run_key_file: key
engine: {{workers: 2, num_cpus: 1, shard_rows: 4}}
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with slurm_cluster() as cluster:
        yield cluster


@pytest.fixture
def work(slurm: Slurm, tmp_path: Path) -> Path:
    """A folder that the nodes share, with a space in its name."""
    folder = slurm.folder / "work" / f"{tmp_path.name} x"
    folder.mkdir()
    return folder


@pytest.fixture
def stubs(work: Path) -> dict[str, str]:
    """Variables with which the script finds the stand-ins."""
    folder = work / "programs"
    folder.mkdir()
    for name, text in {"ray": _RAY, "anon-batch": _RUN}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def calls(work: Path) -> list[str]:
    return (work / "calls").read_text(encoding="utf-8").splitlines()


def test_the_script_passes_shellcheck() -> None:
    assert shellcheck(SCRIPT.read_text(encoding="utf-8")) == ""


@pytest.mark.full
@pytest.mark.parametrize("code", [0, 1, 2, 3, 10, 130])
def test_it_ends_with_the_code_of_the_run_and_is_not_started_again(
    slurm: Slurm, work: Path, stubs: dict[str, str], code: int
) -> None:
    job = slurm.submit(SCRIPT, "--", "job.yaml", "--limit", "3", cwd=work, env=stubs | {"CODE": str(code)})
    ended = slurm.ended(job)
    assert (ended["ExitCode"], ended["Restarts"]) == (f"{code}:0", "0")
    assert ended["JobState"] == ("COMPLETED" if code == 0 else "FAILED")
    address = f"10.77.0.11:{20000 + job}"
    assert calls(work) == [f"run job.yaml --limit 3 --address {address}"]
    assert (work / "modes").read_text(encoding="utf-8") == "600\n"
    assert not list(work.glob(".anon-batch*")), "the token is still there"


@pytest.mark.full
def test_a_ray_that_does_not_start_is_a_failure(slurm: Slurm, work: Path, stubs: dict[str, str]) -> None:
    """`ray symmetric-run` ends with 0 then."""
    (work / "programs/ray").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    job = slurm.submit(SCRIPT, "--", "job.yaml", cwd=work, env=stubs)
    assert slurm.ended(job)["ExitCode"] == "1:0"
    assert "Ray did not start" in (work / f"anon-batch-{job}.log").read_text(encoding="utf-8")


@pytest.mark.full
def test_75_starts_again_until_it_is_too_often(slurm: Slurm, work: Path, stubs: dict[str, str]) -> None:
    variables = stubs | {"CODE": "75", "ANON_BATCH_MOST_RESTARTS": "1"}
    job = slurm.submit(SCRIPT, "--", "job.yaml", cwd=work, env=variables)
    slurm.start_again(job, 1)
    ended = slurm.ended(job)
    assert (ended["ExitCode"], ended["Restarts"]) == ("75:0", "1")
    assert len(calls(work)) == 2
    assert not list(work.glob(".anon-batch*"))


@pytest.mark.full
def test_a_job_that_is_cancelled_stays_so(slurm: Slurm, work: Path, stubs: dict[str, str]) -> None:
    job = slurm.submit(SCRIPT, "--", "job.yaml", cwd=work, env=stubs | {"CODE": "0", "SECONDS_TO_RUN": "60"})
    wait_for((work / "calls").exists, "the run to start", 30)
    slurm.command("scancel", str(job))
    ended = slurm.ended(job)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    assert calls(work)[1:] == ["stopped"], "the run had no time to end by itself"


@pytest.mark.full
def test_it_starts_again_before_its_time_is_over(slurm: Slurm, work: Path, stubs: dict[str, str]) -> None:
    """Slurm sends the signal up to a minute earlier than it was asked to."""
    variables = stubs | {"CODE": "0", "SECONDS_TO_RUN": "300"}
    job = slurm.submit(SCRIPT, "--time=2", "--signal=B:TERM@45", "--", "job.yaml", cwd=work, env=variables)
    wait_for(lambda: int(slurm.show(job)["Restarts"]) > 0, "the job to be put back", 400)
    assert calls(work)[1:] == ["stopped"]
    slurm.command("scancel", str(job))


@pytest.mark.full
def test_a_signal_before_the_run_begins_is_not_lost(slurm: Slurm, work: Path, stubs: dict[str, str]) -> None:
    job = slurm.submit(SCRIPT, "--", "job.yaml", cwd=work, env=stubs | {"CODE": "0", "SECONDS_TO_START": "20"})
    wait_for((work / "starts").exists, "the nodes to start", 30)
    slurm.command("scancel", "--signal=TERM", "--batch", str(job))
    wait_for(lambda: int(slurm.show(job)["Restarts"]) > 0, "the job to be put back", 15)
    assert not (work / "calls").exists()
    slurm.command("scancel", str(job))


@pytest.mark.full
def test_a_whole_run_on_two_nodes_survives_a_stop_and_equals_a_local_one(slurm: Slurm, work: Path) -> None:
    """A run with a broken image exceeds a gate: it ends with 10, and Slurm does not start it again."""
    make_images(work / "images", 240, dict.fromkeys(range(240), SLOW))
    (work / "images/class0/0000.png").write_bytes(b"broken")
    make_manifest(work / "images", str(work / "manifest.parquet"))
    (work / "key").write_bytes(RUN_KEY)
    for name in ("release", "local"):
        (work / f"{name}.yaml").write_text(_JOB.format(name=name), encoding="utf-8")
    programs = Path(sys.executable).parent
    variables = environment({"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "SLURM_EXPORT_ENV": "ALL"})
    variables |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{variables['PYTHONPATH']}"}
    variables |= {"ANON_BATCH_LOCAL": str(slurm.folder / "local")}
    job = slurm.submit(SCRIPT, "--time=15", "--", "release.yaml", cwd=work, env=variables)
    log = work / f"anon-batch-{job}.log"
    wait_for(lambda: parts_count(Storage(), str(work / "release")) >= 2, "two shards to be committed", 400)
    slurm.command("scancel", "--signal=TERM", "--batch", str(job))
    slurm.start_again(job, 1)
    ended = slurm.ended(job, 400)
    assert (ended["ExitCode"], ended["Restarts"]) == ("10:0", "1"), log.read_text(encoding="utf-8") + slurm.logs()
    assert "exit code 75: starting again" in log.read_text(encoding="utf-8")

    done = subprocess.run(
        command("run", "local.yaml"), env=variables, cwd=work, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 10, done.stderr
    assert release_of(Storage(), str(work / "release")) == release_of(Storage(), str(work / "local"))
