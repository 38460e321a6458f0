"""A real run on a real Ray is scraped over HTTP: all metrics are there, right, and name nothing of the user's."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from misbehaving_plugin import STARVE
from prometheus_client.parser import text_string_to_metric_families
from promql import expressions, names_in
from releases import make_images, make_manifest, run_cli
from webfaults import WebFaults

from anon_batch.cluster.metrics import METRICS

IMAGES, STARVED, MISSED = 24, 5, 7
RAYS_LABELS = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"} | {
    f"otel_scope_{name}" for name in ("name", "schema_url", "version")
}
LEAVES_AT_ONCE_S = 25  # Ray drops the metrics of a process about 20 s after its end
Series = Mapping[str, list[tuple[dict[str, str], float]]]


def scrape(port: int) -> Series:
    """Return name -> (labels, value) of all series that the node shows."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("Anna's photos")


@pytest.fixture(scope="module")
def series(folder: Path, ray_address: str, ray_metrics_port: int) -> Series:
    """What the head shows when a run has just ended in which a source answered late and a shard was tried twice."""
    make_images(folder / "images", IMAGES, {STARVED: STARVE})
    late, manifest = folder / "images/class0/0008.png", folder / "m.parquet"
    with WebFaults({late.name: late.read_bytes()}) as web:
        make_manifest(folder / "images", str(manifest), addresses={late.name: web.url(f"then/503/2/{late.name}")})
        _label_another_face(manifest, MISSED)
        arguments = ["--manifest", str(manifest), "--output", f"{folder}/out", "--address", ray_address]
        settings = {
            "name": "anna",
            "detect.detectors": "[misbehaving]",
            "anonymize.face.method": "solid",
            "engine.workers": 2,
            "engine.shard_rows": 6,
            "storage.retry_wait_s": 0.01,
            "sources.allow": f"[{folder}/, {web.url('')}]",
            "gates.withheld": 0.01,
            "gates.missed": 0.9,
        }
        done = run_cli(
            "run", *arguments, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))
        )
    assert done.returncode == 10, done.stderr
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    until = time.monotonic() + LEAVES_AT_ONCE_S
    while not _wanted() <= set(found):  # Ray's own metrics of the run come a few seconds later
        assert time.monotonic() < until, f"not shown: {_wanted() - set(found)}"
        found.update(scrape(ray_metrics_port))
        time.sleep(0.5)
    return _of_the_last_driver(found)


def _of_the_last_driver(found: Series) -> Series:
    """Return the series without those of other runs on the cluster, whose counters stay as long as it does."""
    started = {own["WorkerId"]: value for own, value in found["ray_anon_batch_started_timestamp_seconds"]}
    last = max(started, key=lambda worker: started[worker])
    return {
        name: [(own, value) for own, value in some if "anon_batch" not in name or own["WorkerId"] == last]
        for name, some in found.items()
    }


def _label_another_face(manifest: Path, row: int) -> None:
    """Put the labelled face of a row where the detector finds none."""
    table = pq.read_table(manifest)
    faces = table["faces"].to_pylist()
    faces[row][0].update(x1=40.0, y1=30.0, x2=60.0, y2=46.0)
    at = table.column_names.index("faces")
    pq.write_table(table.set_column(at, "faces", pa.array(faces, table["faces"].type)), manifest)


def _wanted() -> set[str]:
    return {name for expression in expressions() for name in names_in(expression)}


def _value(series: Series, name: str, **labels: str) -> float:
    return sum(value for own, value in series[f"ray_anon_batch_{name}"] if labels.items() <= own.items())


def test_dashboard_and_rules_name_what_is_shown(series: Series) -> None:
    for expression in expressions():
        for name, labels in names_in(expression).items():
            shown = {label for own, _ in series[name] for label in own}
            assert labels <= shown, f"{name} in {expression}"


def test_the_labels_are_those_that_the_documentation_names(series: Series) -> None:
    for name, metric in METRICS.items():
        ending = {"counter": "_total", "gauge": "", "histogram": "_bucket"}[metric.kind]
        labels = {*metric.labels, *RAYS_LABELS, *(("le",) if metric.kind == "histogram" else ())}
        for own, _ in series[f"ray_anon_batch_{name}{ending}"]:
            assert set(own) == labels, name


def test_no_label_names_a_path_an_image_or_the_job(series: Series, folder: Path) -> None:
    texts = {
        text for name, own in series.items() if "anon_batch" in name for labels, _ in own for text in labels.values()
    }
    for text in texts - {""}:
        assert not any(part in text for part in (str(folder), "Anna", "anna", ".png", "class0", "http:")), text


def test_what_happened_is_counted(series: Series) -> None:
    withheld = {"status": "withheld", "reason": "out_of_memory"}
    assert _value(series, "rows") == IMAGES
    assert _value(series, "rows_done", status="anonymized") == IMAGES - 1
    assert _value(series, "images_total", status="anonymized", reason="") == IMAGES - 1
    assert _value(series, "images_total", **withheld) == _value(series, "images_total", status="withheld") == 1
    assert _value(series, "regions_total", label="face", method="solid") == IMAGES - 1
    assert _value(series, "labelled_regions_total") == IMAGES - 1
    assert _value(series, "missed_regions_total") == 1
    assert _value(series, "read_bytes_total") > _value(series, "rows") * 1000
    assert _value(series, "written_bytes_total") > 0
    assert (
        _value(series, "shard_errors_total", code="out_of_memory")
        == _value(series, "shards_total", outcome="error")
        >= 1
    )
    assert _value(series, "storage_retries_total", code="transient_storage") == 2
    assert _value(series, "shard_seconds_count") == _value(series, "shards_total", outcome="committed")
    assert _value(series, "stage_seconds_count", stage="decode") == _value(series, "shards_total", outcome="committed")
    assert _value(series, "stage_thread_seconds_total", stage="encode") > 0
    assert 0 <= _value(series, "last_commit_timestamp_seconds") - _value(series, "started_timestamp_seconds") < 120


def test_gates_are_shown_when_the_run_ends(series: Series) -> None:
    assert _value(series, "gate_value", gate="withheld") == pytest.approx(1 / IMAGES)
    assert _value(series, "gate_limit", gate="withheld") == pytest.approx(0.01)
    assert _value(series, "gate_exceeded", gate="withheld") == 1
    assert _value(series, "gate_exceeded", gate="failed") == 0
    assert _value(series, "gate_value", gate="missed") > 0, "known when all rows are committed"
