"""The report: what it shows, what it must not contain, and that it loads nothing and runs no script."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import RUN_KEY, job, release, write_dataset
from servers import S3Server

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.formats.release import Release
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.run import Run, open_run
from anon_batch.release.report.compute import compute_figures
from anon_batch.release.report.finished import read_finished
from anon_batch.release.report.page import render, write_report
from anon_batch.release.verdict import check_release, kept_verdict
from anon_batch.storage import Storage, join

HOSTILE = "<script>alert(1)</script>&\"'<img src=x onerror=y>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Text, tags and attributes of a page; every tag that is opened must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        [found] = [row for row in self.rows if row and row[0] == first]
        return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    secret = tmp_path / "SECRETPLACE"
    write_dataset(str(secret), [f"{n}.png" for n in range(10)])
    (secret / "src" / "3.png").write_bytes(b"not an image")
    return release(
        job(str(secret), str(tmp_path / "public" / "out"), name="my-release", anonymize__face__method="pixelate")
    )


def _page(output: str) -> str:
    storage = Storage()
    opened = read_finished(Release(storage, output))
    uri = write_report(opened, compute_figures(opened), kept_verdict(opened.release, opened.run, opened.stats))
    assert uri == join(output, "report/index.html")
    return storage.read(uri).decode()


def test_the_page_shows_counts_accuracy_times_and_settings(run: Run) -> None:
    page = Page(_page(run.release.uri))
    assert page.row("anonymized")[1:3] == ["5", "50.0 %"]
    assert page.row("clean")[1:3] == ["4", "40.0 %"]
    assert page.row("failed: unsupported_format")[1] == "1"
    assert page.row("pixelate")[1:3] == ["5", "100.0 %"]
    recall = page.row("all")
    assert recall[1:4] == ["5", "0", "1.000"]
    assert recall[4] == "0.566 to 1.000"
    assert page.row("face")[1:] == ["5", "5", "5", "0", "5", "0", "1.000"]
    assert page.row("detection")[0]
    assert page.row("busy: detection")[0]
    assert re.search(r"idle for \d+\.\d %", page.text)
    assert page.row("anonymize.face.method") == ["anonymize.face.method", '"pixelate"']
    assert page.row("write.layout") == ["write.layout", '"files"']
    assert run.plan.run_id in page.text
    assert "The job uses no model" in page.text
    assert "was not verified" in page.text
    assert page.ids == [
        "rows",
        "gates",
        "verification",
        "regions",
        "accuracy",
        "time",
        "throughput",
        "models",
        "columns",
        "settings",
        "limits",
    ]


def test_the_page_loads_nothing_and_runs_no_script(run: Run) -> None:
    html = _page(run.release.uri)
    page = Page(html)
    assert not {"script", "img", "link", "iframe", "object", "embed", "a", "form", "svg"} & set(page.tags)
    assert not {name for _, name, _ in page.attributes} & {"src", "href", "srcset", "data", "action"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_page_contains_no_address_and_no_secret(run: Run) -> None:
    check_release(run.release, run.ledger)
    _page(run.release.uri)
    secrets = [b"SECRETPLACE", run.ledger.uri.encode(), RUN_KEY, RUN_KEY.hex().encode()]
    secrets += [
        hashlib.sha256(path.read_bytes()).hexdigest().encode()
        for path in Path(run.config.manifest).parent.glob("src/*.png")
    ]
    found = sorted(path for path in Path(run.release.uri, "report").iterdir())
    assert [path.name for path in found] == ["index.html", "verification.json"]
    for path in found:
        assert not [secret for secret in secrets if secret in path.read_bytes()], path
        assert str(run.release.uri).encode() not in path.read_bytes()


def test_private_settings_are_not_shown(run: Run) -> None:
    path = Path(run.release.uri, "run.json")
    record = json.loads(path.read_text())
    record["config"] |= {"storage": {"options": {"s3://private/": {"secret": "hunter2"}}}}
    path.write_text(json.dumps(record))
    html = _page(run.release.uri)
    assert "private" not in html.replace("the private ledger", "")
    assert "hunter2" not in html


def test_hostile_text_is_escaped(run: Run) -> None:
    path, stats_path = Path(run.release.uri, "run.json"), Path(run.release.uri, "stats.json")
    record, stats = json.loads(path.read_text()), json.loads(stats_path.read_text())
    record["config"]["name"] = record["tool_version"] = record["finished_at"] = HOSTILE
    record.pop("finished_at")
    record["models"] = [f"{HOSTILE}@{HOSTILE}"]
    record["config"]["anonymize"]["face"]["method"] = HOSTILE
    record["config"]["detect"][HOSTILE] = HOSTILE
    stats["methods"] = {HOSTILE: 3}
    stats["labels"][HOSTILE] = stats["labels"]["face"]
    stats["reasons"] = {"failed": {HOSTILE: 1}, HOSTILE: 1}
    stats["seconds"][HOSTILE] = 1.0
    stats["timing"]["worker_seconds"][HOSTILE] = 1.0
    stats["detection"]["bands"][HOSTILE] = stats["detection"]["bands"]["all"]
    path.write_text(json.dumps(record))
    stats_path.write_text(json.dumps(stats))
    html = _page(run.release.uri)
    page = Page(html)
    assert "<script" not in html
    assert "<img" not in html
    assert "script" not in page.tags
    assert page.text.count("<script>alert(1)</script>") >= 9
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_a_label_that_was_never_detected_is_shown_with_what_was_missed(run: Run) -> None:
    path = Path(run.release.uri, "stats.json")
    stats = json.loads(path.read_text())
    nothing = {"true_positives": 0, "false_positives": 0, "precision": None, "recall": 0.0, "average_precision": 0.0}
    stats["detection"]["labels"]["licence_plate"] = {"all": {"regions": 3, "missed": 3, **nothing}}
    path.write_text(json.dumps(stats))
    assert Page(_page(run.release.uri)).row("licence_plate")[1:] == ["0", "0", "0", "0", "3", "3", "0.000"]


def test_rendering_is_deterministic(run: Run) -> None:
    first = _page(run.release.uri)
    assert _page(run.release.uri + "/") == first
    opened = read_finished(run.release)
    assert render(opened, compute_figures(opened), None) == first


def test_the_verdict_is_kept_until_the_release_changes(run: Run) -> None:
    release, record, stats = run.release, run.release.read_run_json(), run.release.read_stats()
    verdict, faults = check_release(release, run.ledger)
    assert (verdict.faults_count, verdict.accounted, verdict.objects, faults) == (0, 10, 9, [])
    page = Page(_page(run.release.uri))
    assert "Verified, " in page.text
    assert "10 of 10 rows accounted for, 9 images read" in page.text
    assert "ids compared with the private ledger" in page.text
    assert kept_verdict(release, record, stats) == verdict
    assert kept_verdict(release, dataclasses.replace(record, run_id="another run"), stats) is None
    assert kept_verdict(release, record, StatsJson({**stats.summary, "rows": 11})) is None
    for damage in (b"{", b"[]", b"{}", b'{"run_id": 1}', b"\xff"):
        Path(run.release.uri, "report/verification.json").write_bytes(damage)
        assert kept_verdict(release, record, stats) is None


def test_the_page_shows_a_failed_verification_without_names(run: Run) -> None:
    Path(run.release.uri, "images/0.png").unlink()
    verdict, faults = check_release(run.release, None)
    assert (verdict.faults_count, faults) == (1, ["images/0.png: missing"])
    page = Page(_page(run.release.uri))
    assert "VERIFICATION FAILED: 1 fault" in page.text
    assert "ids not compared with the private ledger" in page.text
    assert "0.png" not in page.text


def test_without_ground_truth_the_page_says_that_missed_faces_are_unknown(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png"])
    run = release(job(str(tmp_path)))
    path = Path(run.release.uri, "stats.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"detection": None}))
    page = Page(_page(run.release.uri))
    assert "the number of missed regions is unknown" in page.text


def test_statistics_without_times_are_shown(run: Run) -> None:
    path = Path(run.release.uri, "stats.json")
    stats = json.loads(path.read_text())
    del stats["timing"]
    path.write_text(json.dumps(stats))
    page = Page(_page(run.release.uri))
    assert "idle for" not in page.text
    assert page.row("detection")[3:5] == ["unknown", "-"]


def test_a_missing_and_an_unfinished_release_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no release here"):
        read_finished(Release(Storage(), str(tmp_path / "nothing")))
    write_dataset(str(tmp_path), ["a.png"])
    run, _ = open_run(job(str(tmp_path)), ())
    with pytest.raises(ConfigError, match=r"not finished.*resume"):
        read_finished(run.release)


@pytest.mark.parametrize("damage", [None, b"{", b"[]", b"{}", b"\xff\xfe", b'{"seconds": 3}'])
def test_damaged_statistics_are_refused(run: Run, damage: bytes | None) -> None:
    path = Path(run.release.uri, "stats.json")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(IntegrityError, match=r"stats\.json"):
        compute_figures(read_finished(run.release))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("statuses", {"clean": "x"}),
        ("methods", {"solid": None}),
        ("scores", {"x": 1}),
        ("rows", "many"),
        ("detection", {"bands": {"all": {}}, "unsearched_images": 0}),
        ("seconds", {"read": "long"}),
        ("reasons", [1]),
        ("regions_per_image", {"x": 1}),
        (
            "detection",
            {
                "bands": {
                    "all": {
                        "regions": 1,
                        "true_positives": 1,
                        "false_positives": 0,
                        "missed": 0,
                        "recall": "<b>",
                        "precision": 1,
                        "average_precision": 1,
                    }
                },
                "unsearched_images": 0,
            },
        ),
    ],
)
def test_statistics_with_a_wrong_value_are_refused(run: Run, key: str, value: Any) -> None:
    path = Path(run.release.uri, "stats.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(IntegrityError, match=r"not statistics of this package|stats\.json: damaged"):
        compute_figures(read_finished(run.release))


def test_a_report_in_a_bucket(moto: S3Server, tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png", "b.png"])
    output = f"s3://{moto.new_bucket()}/out"
    config = job(str(tmp_path)).model_copy(
        update={"output": output, "ledger": str(tmp_path / "ledger"), "storage": moto.config()}
    )
    release(config)
    storage = Storage(moto.config())
    opened = read_finished(Release(storage, output))
    uri = write_report(opened, compute_figures(opened), None)
    assert uri == f"{output}/report/index.html"
    assert Page(storage.read(uri).decode()).row("anonymized")[1] == "1"


def test_gates_are_shown(run: Run) -> None:
    kept = GateResult("residual", "at_most", 0.2, 0.1, True, "1 of 10 checked images")
    unmeasured = GateResult("recall", "at_least", 0.9, None, False, "not measured")
    run.release.write_gates(Gates((kept, unmeasured)))
    page = Page(_page(run.release.uri))
    assert page.row("residual") == ["residual", "at most 20.0 %", "10.0 %", "passed", "1 of 10 checked images"]
    assert page.row("recall")[1:4] == ["at least 90.0 %", "-", "EXCEEDED"]
    run.release.write_gates(Gates(()))
    assert "The job sets no limits" in Page(_page(run.release.uri)).text
