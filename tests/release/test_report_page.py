"""The report: what it shows, what it must not contain, and that it loads nothing and runs no script."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import job, release, write_dataset
from report_evidence import add_all
from report_pages import Page, html_of, report_of, text_of
from servers import S3Server

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.formats.release import Release
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.run import Run, open_run
from anon_batch.release.report.compute import compute_report
from anon_batch.release.report.finished import read_finished
from anon_batch.release.report.page import render, write_report
from anon_batch.release.verdict import check_release, kept_verdict
from anon_batch.storage import Storage

HOSTILE = "<script>alert(1)</script>&\"'<img src=x onerror=y>"
TURNED = "abc\u202edcba\u0000\u200b\ud800"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    secret = tmp_path / "SECRETPLACE"
    write_dataset(str(secret), [f"{n}.png" for n in range(10)])
    (secret / "src" / "3.png").write_bytes(b"not an image")
    return release(
        job(str(secret), str(tmp_path / "public" / "out"), name="my-release", anonymize__face__method="pixelate")
    )


def _change(run: Run, file: str, **fields: Any) -> None:
    path = Path(run.release.uri, file)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_page_shows_counts_accuracy_times_and_settings(run: Run) -> None:
    page = Page(html_of(run.release.uri))
    assert page.row("anonymized")[1:3] == ["5", "50.0 %"]
    assert page.row("clean")[1:3] == ["4", "40.0 %"]
    assert page.row("unsupported_format")[1:4] == ["failed", "1", "10.0 %"]
    assert page.row("unsupported_format")[5] == "convert it"
    assert page.row("pixelate")[1:3] == ["5", "100.0 %"]
    assert page.row("all")[1:4] == ["5", "0", "100.0 % 56.6 % to 100.0 %"]
    assert page.row("face")[1:] == ["5", "5", "5", "0", "5", "0"]
    assert page.row("detection")[0]
    assert page.row("busy: detection")[0]
    assert re.search(r"idle for \d+(\.\d+)? %", page.text)
    assert page.row("anonymize.face.method") == ["anonymize.face.method", '"pixelate"']
    assert page.row("write.layout") == ["write.layout", '"files"']
    assert run.plan.run_id in page.text
    assert "The job used no network" in page.text
    assert "was not verified" in page.text


def test_the_verdict_is_first_and_every_part_has_its_heading(run: Run) -> None:
    page = Page(html_of(run.release.uri))
    assert page.headings() == [
        ("h1", "my-release"),
        ("h2", "This release is not within the limits that its job set."),
        ("h2", "The three questions"),
        ("h3", "Were faces missed?"),
        ("h3", "Can somebody be recognised?"),
        ("h3", "Is the data still worth training on?"),
        ("h2", "What this release is"),
        ("h2", "Evidence: missed faces"),
        ("h2", "Evidence: recognition"),
        ("h2", "Evidence: use for training"),
        ("h2", "Rows"),
        ("h2", "Detections and their treatment"),
        ("h2", "Time and throughput"),
        ("h2", "Models"),
        ("h2", "What is published"),
        ("h2", "Settings"),
        ("h2", "From the owner"),
        ("h2", "Limits of the evidence"),
    ]


def test_the_page_can_be_read_without_eyes(run: Run) -> None:
    add_all(run.release)
    page = Page(html_of(run.release.uri))
    assert page.root.get("lang") == "en"
    assert {"header", "main", "nav", "footer"} <= page.tags
    assert len(page.ids) == len(set(page.ids))
    for element in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((element.get(name) or "").split()) <= set(page.ids)
        if str(element.tag).endswith("}svg"):
            assert element.get("aria-hidden") == "true" or (
                element.get("role") == "img" and element.get("aria-labelledby")
            )
        if element.tag == "table":
            assert element.find("caption") is not None or element.find("thead") is not None
            assert all(cell.get("scope") for cell in element.iter("th"))
        if element.tag == "figure":
            assert element.find("details") is not None, "a plot without its data"


def test_the_page_loads_nothing_and_runs_no_script(run: Run) -> None:
    add_all(run.release)
    html = html_of(run.release.uri)
    page = Page(html)
    assert (
        not {"script", "img", "link", "iframe", "object", "embed", "form", "image", "use", "foreignObject"} & page.tags
    )
    assert not {name for _, name, _ in page.attributes} & {"src", "srcset", "data", "action", "style", "xlink:href"}
    assert all(value.startswith("#") and value[1:] in page.ids for _, name, value in page.attributes if name == "href")
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_private_settings_are_not_shown(run: Run) -> None:
    path = Path(run.release.uri, "run.json")
    record = json.loads(path.read_text())
    record["config"] |= {"storage": {"options": {"s3://private/": {"secret": "hunter2"}}}}
    path.write_text(json.dumps(record))
    html = html_of(run.release.uri)
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
    html = html_of(run.release.uri)
    page = Page(html)
    assert "<script" not in html
    assert "<img" not in html
    assert not {"script", "img"} & page.tags
    assert page.text.count("<script>alert(1)</script>") >= 9
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_text_that_turns_or_hides_is_shown_as_it_is_written(run: Run) -> None:
    _change(run, "stats.json", methods={TURNED: 3}, reasons={"failed": {TURNED: 1}})
    html = html_of(run.release.uri)
    assert not set(TURNED) - set("abcd") & set(html)
    assert "abc\\u202edcba\\u0000\\u200b\\ud800" in Page(html).text


def test_many_reasons_are_cut_and_counted(run: Run) -> None:
    _change(run, "stats.json", reasons={"failed": {f"reason_{n:05}": n for n in range(10_000)}})
    html = html_of(run.release.uri)
    assert "The 40 most frequent of 10,000 reasons; the others have 49,595,820 rows." in Page(html).text.replace(
        "\xa0", " "
    )
    assert len(html) < 200_000


@pytest.mark.parametrize("number", [0, 1, 10**15, 10**30])
def test_numbers_of_any_size_are_shown(run: Run, number: int) -> None:
    stats = json.loads(Path(run.release.uri, "stats.json").read_text())
    statuses = dict.fromkeys(stats["statuses"], number)
    sizes, scores = {"0": number, "512": number}, {"0.0": number, "0.99": number}
    _change(run, "stats.json", rows=4 * number, statuses=statuses, sizes_px=sizes, scores=scores, detections=number)
    page = Page(html_of(run.release.uri))
    assert page.row("clean")[1] == f"{number:,}"
    assert not re.search(r"\bnan\b", page.text)


def test_a_label_that_was_never_detected_is_shown_with_what_was_missed(run: Run) -> None:
    path = Path(run.release.uri, "stats.json")
    stats = json.loads(path.read_text())
    nothing = {"true_positives": 0, "false_positives": 0, "precision": None, "recall": 0.0, "average_precision": 0.0}
    stats["detection"]["labels"]["licence_plate"] = {"all": {"regions": 3, "missed": 3, **nothing}}
    path.write_text(json.dumps(stats))
    assert Page(html_of(run.release.uri)).row("licence_plate")[1:] == ["0", "0", "0", "0", "3", "3"]


def test_rendering_is_deterministic(run: Run) -> None:
    add_all(run.release)
    first = html_of(run.release.uri)
    assert html_of(run.release.uri + "/") == first
    assert render(report_of(run.release.uri)) == first
    assert report_of(run.release.uri).to_json() == report_of(run.release.uri).to_json()


def test_the_verdict_is_kept_until_the_release_changes(run: Run) -> None:
    release, record, stats = run.release, run.release.read_run_json(), run.release.read_stats()
    verdict, faults = check_release(release, run.ledger)
    assert (verdict.faults_count, verdict.accounted, verdict.objects, faults) == (0, 10, 9, [])
    page = Page(html_of(run.release.uri))
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
    page = Page(html_of(run.release.uri))
    assert "VERIFICATION FAILED: 1 fault," in page.text
    assert "This release is damaged or incomplete. Do not publish it." in page.text
    assert "ids not compared with the private ledger" in page.text
    assert "0.png" not in page.text


def test_without_ground_truth_the_page_says_that_missed_faces_are_unknown(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png"])
    run = release(job(str(tmp_path)))
    path = Path(run.release.uri, "stats.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"detection": None, "missed": None}))
    page = Page(html_of(run.release.uri))
    assert "Not measured: run anon-batch review OUTPUT" in text_of(page.of("missed"))
    assert "The manifest has no ground truth" in page.text


def test_statistics_without_times_are_shown(run: Run) -> None:
    path = Path(run.release.uri, "stats.json")
    stats = json.loads(path.read_text())
    del stats["timing"]
    path.write_text(json.dumps(stats))
    page = Page(html_of(run.release.uri))
    assert "idle for" not in page.text
    assert page.row("detection")[3:5] == ["–", "–"]


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
        compute_report(read_finished(run.release), None)


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
        compute_report(read_finished(run.release), None)


def test_a_report_in_a_bucket(moto: S3Server, tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png", "b.png"])
    output = f"s3://{moto.new_bucket()}/out"
    config = job(str(tmp_path)).model_copy(
        update={"output": output, "ledger": str(tmp_path / "ledger"), "storage": moto.config()}
    )
    release(config)
    storage = Storage(moto.config())
    opened = read_finished(Release(storage, output))
    uri = write_report(opened.release, compute_report(opened, None))
    assert uri == f"{output}/report/index.html"
    assert Page(storage.read(uri).decode()).row("anonymized")[1] == "1"


def test_gates_are_shown_in_words(run: Run) -> None:
    kept = GateResult("residual", "at_most", 0.2, 0.1, True, "1 of 10 checked images")
    unmeasured = GateResult("recall", "at_least", 0.9, None, False, "not measured: no ground truth")
    missed = GateResult("missed", "at_most", 0.0005, 0.02, False, "2 of 100 ground-truth regions")
    run.release.write_gates(Gates((kept, unmeasured, missed)))
    page = Page(html_of(run.release.uri))
    assert text_of(page.of("gate-1")).startswith(
        "passed At most 20 %: images in which a face is left, by the residual check."
    )
    assert text_of(page.of("gate-1")).endswith("10.0 % measured")
    assert text_of(page.of("gate-2")).startswith(
        "not measured At least 90 %: labelled faces that the detectors found; where"
    )
    assert "column regions" in text_of(page.of("gate-2"))
    assert text_of(page.of("gate-3")).startswith("exceeded At most 0.05 %: ")
    assert "The limit missed is exceeded. The limit recall was not measured, which counts as exceeded." in page.text
    run.release.write_gates(Gates(()))
    assert "This job set no limits" in Page(html_of(run.release.uri)).text


def test_everything_that_was_measured_is_shown(run: Run) -> None:
    add_all(run.release)
    page = Page(html_of(run.release.uri))
    for anchor, said in {
        "missed": "People who reviewed a sample saw a missed face in 0.0 % of the images (95 % bound: at most 1.1 %)",
        "recognised": "From the anonymized face alone, the strongest attacker recognises 6.2 % of the persons at the first guess",
        "useful": "A face detector keeps 98.1 % of its average precision (95 % interval: 96.9 % to 99.3 %)",
    }.items():
        assert said in text_of(page.of(anchor))
    plots = {value for tag, name, value in page.attributes if tag == "figure" and name == "id"}
    assert plots >= {
        "plot-reidentification-det",
        "plot-reidentification-attackers",
        "plot-utility-classes",
        "plot-groups-age",
        "plot-missed-size",
        "plot-residual-recall",
        "plot-sizes",
        "plot-scores",
        "plot-throughput",
    }
    assert "The worst 20 of 1,000 rows." in page.text
    assert page.row("weather, sunny")[1:] == ["17", "a measure that this version does not know"]
    assert page.row("c") == ["c", "2.50"]
    assert "utility, segmentation: no ground truth with masks" in page.text
    assert "never that so few were missed" in page.text


def test_one_class_is_shown(run: Run) -> None:
    add_all(run.release, classes=1)
    assert Page(html_of(run.release.uri)).row("class 0000")[2] == "50"


def test_measures_of_another_state_are_not_shown(run: Run) -> None:
    add_all(run.release)
    _change(run, "stats.json", rows=11)
    page = Page(html_of(run.release.uri))
    assert "strongest attacker recognises" not in page.text
    assert "Not measured: run anon-batch evaluate OUTPUT" in page.text
    assert "evaluation.json was measured on another state of this release" in page.text


def test_a_release_without_any_output_is_shown(tmp_path: Path) -> None:
    base = tmp_path / "a"
    write_dataset(str(base), ["0.png", "1.png"])
    for path in (base / "src").iterdir():
        path.write_bytes(b"not an image")
    page = Page(html_of(release(job(str(base))).release.uri))
    assert page.row("failed")[1:3] == ["2", "100.0 %"]
    assert "No region was found that had to be anonymized" in page.text
    add_all(Release(Storage(), str(base / "out")))
    Page(html_of(str(base / "out")))
