"""infra/machine/stop-when-idle.sh with stand-ins for what it asks and does."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from external_data import NO_TOOL

SCRIPT = Path(__file__).parents[2] / "infra/machine/stop-when-idle.sh"
# Answers with the processes of the minute, which are lines of the file: names, comma-separated.
_PGREP = """\
#!/bin/sh
minute=$(wc -l < "$FOLDER/minutes")
running=$(sed -n "${minute}p" "$FOLDER/running")
case "$1 $2" in
  "-x gcs_server") name=gcs;;
  "-x raylet") name=raylet;;
  -f*) name=job;;
esac
case ",$running," in *",$name,"*) exit 0;; esac
exit 1
"""
# A minute passes; one too many ends the test.
_SLEEP = """\
#!/bin/sh
echo >> "$FOLDER/minutes"
[ "$(wc -l < "$FOLDER/minutes")" -le "$(wc -l < "$FOLDER/running")" ] || kill "$PPID"
"""
_SHUTDOWN = '#!/bin/sh\nwc -l < "$FOLDER/minutes" > "$FOLDER/stopped"\n'

# A Ray head with a job server, alone in its namespaces, before, during and after a job.
_REAL = """\
ip link set lo up
ray start --head --node-ip-address 127.0.0.1 --port 6399 --object-store-memory 500000000 >/dev/null || exit 1
{needed}
needed && echo before
ray job submit --address http://127.0.0.1:8265 --no-wait -- sleep 10 >/dev/null
for _ in $(seq 30); do needed && echo during && break; sleep 1; done
for _ in $(seq 60); do needed || break; sleep 1; done
needed || echo ended
"""


def stopped_after(folder: Path, minutes: list[str]) -> int | None:
    """Return the minute in which a machine with these processes stops that may be idle for three; None if it goes on."""
    for name, text in {"pgrep": _PGREP, "sleep": _SLEEP, "shutdown": _SHUTDOWN}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    (folder / "running").write_text("".join(f"{names}\n" for names in minutes), encoding="utf-8")
    (folder / "minutes").touch()
    variables = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "FOLDER": str(folder)}
    subprocess.run(["sh", str(SCRIPT), "3"], env=variables, check=False, capture_output=True, timeout=30)
    stopped = folder / "stopped"
    return int(stopped.read_text(encoding="utf-8")) if stopped.exists() else None


@pytest.mark.parametrize(
    ("minutes", "minute"),
    [
        (["gcs,raylet,job"] * 9, None),
        (["gcs,raylet"] * 9, 3),
        (["gcs,raylet,job"] * 4 + ["gcs,raylet"] * 9, 7),
        (["gcs,raylet", "gcs,raylet", "gcs,raylet,job"] * 3, None),
        (["raylet"] * 9, None),
        (["raylet"] * 5 + [""] * 9, 8),
        ([""] * 9, 3),
    ],
    ids=[
        "head with a job",
        "idle head",
        "head after a job",
        "head between jobs",
        "worker",
        "worker without its head",
        "machine on which Ray never started",
    ],
)
def test_a_machine_stops_when_nothing_needs_it(tmp_path: Path, minutes: list[str], minute: int | None) -> None:
    assert stopped_after(tmp_path, minutes) == minute


@pytest.mark.full
def test_a_real_head_is_needed_while_a_job_runs() -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"{NO_TOOL}only root may make network namespaces")
    text = SCRIPT.read_text(encoding="utf-8")
    needed = text[text.index("needed() {") : text.index("idle=0")]
    isolated = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "bash"]
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        variables = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_TMPDIR": folder,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        (Path(folder) / "script").write_text(_REAL.format(needed=needed), encoding="utf-8")
        command = [*isolated, f"{folder}/script"]  # a file, because the command line of `bash -c` would be found
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout.split() == ["during", "ended"], done.stderr
