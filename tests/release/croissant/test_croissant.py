"""croissant.json: mlcroissant loads images and columns of every layout, and each number is that of its file."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from croissant_reader import read_records
from pipeline_fixtures import FACES, job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.formats.release import Release
from anon_batch.formats.version_json import Tombstone, Version
from anon_batch.models.registry import MODELS
from anon_batch.release.croissant import records
from anon_batch.release.croissant.describe import describe
from anon_batch.release.licence_address import address_of
from anon_batch.release.report.finished import FinishedRelease, read_finished
from anon_batch.stats.missed_figures import missed_figures
from anon_batch.storage import Storage

mlcroissant = pytest.importorskip("mlcroissant")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant uses
IDS = [f"{'cat' if n % 2 else 'dog'}/{n} x.png" for n in range(6)]
DAY = dt.date(2026, 3, 5)
LAYOUTS = ("files", "webdataset", "parquet")
COLUMNS = {
    "label": pa.array([n % 2 for n in range(6)]),
    "coarse": pa.array([None, 1, 0, 1, 0, 1]),
    "score": pa.array([n / 2 for n in range(6)]),
    "ok": pa.array([True, None] * 3),
    "tags": pa.array([["a", "b"]] * 6),
    "day": pa.array([DAY] * 6),
    "a/b |`c` <d>": pa.array(["x"] * 6),
    "half": pa.array([{"x": 1}] * 6),
}
FEATURES = {
    "label": {"names": ["dog", "cat"], "_type": "ClassLabel"},
    "coarse": {"names": ["pet", "<b>", ""], "_type": "ClassLabel"},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("croissant")
    manifest = write_dataset(str(folder), IDS, extra=COLUMNS)
    table = pq.read_table(manifest).replace_schema_metadata(
        {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
    )
    pq.write_table(table, manifest)
    (folder / "src" / IDS[5]).write_bytes(b"no image")
    assert CliRunner().invoke(app, ["keys", "new", "--sign", str(folder / "sign")]).exit_code == 0
    said = {"licence": "CC BY-NC 4.0", "citation": "@misc{x}", "uses": 'for "tests"'}
    said |= {"maintenance": "nobody's", "contact": "a@b.org"}
    for layout in LAYOUTS:
        own = {f"compliance__{key}": text for key, text in said.items()}
        release(job(str(folder), layout, write__layout=layout, gates__failed=0.5, **own))
        done = CliRunner().invoke(app, ["release", str(folder / layout), "--sign-key", str(folder / "sign")])
        assert done.exit_code == 0, done.output
    return folder


def content(folder: Path) -> dict[str, object]:
    return json.loads((folder / "croissant.json").read_text())


def finished(folder: Path) -> FinishedRelease:
    return read_finished(Release(Storage(), str(folder)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mlcroissant_finds_nothing_wrong(base, layout, caplog):
    mlcroissant.Dataset(jsonld=str(base / layout / "croissant.json"))
    found = [line for message in caplog.messages for line in message.splitlines() if line.startswith("  -")]
    assert [line for line in found if "datePublished" not in line] == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_come_with_their_columns(base, layout):
    rows = {row["images/image_id"].decode(): row for row in read_records(base / layout, "images")}
    assert set(rows) == set(IDS[:5])
    for at, name in enumerate(IDS[:5]):
        row = rows[name]
        assert row["images/image"].size == (24, 20)
        assert (row["images/label"], row["images/score"], row["images/tags"]) == (at % 2, at / 2, [b"a", b"b"])
        assert row["images/coarse"] == [None, 1, 0, 1, 0, 1][at]
        assert row["images/ok"] == [True, None][at % 2]
        assert row["images/day"].date() == DAY
        assert row["images/a%2Fb%20%7C%60c%60%20%3Cd%3E"] == b"x"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_provenance_holds_every_row_and_its_columns(base, layout):
    rows = read_records(base / layout, "provenance")
    assert [row["provenance/image_id"].decode() for row in rows] == IDS
    assert [row["provenance/label"] for row in rows] == [0, 1] * 3
    assert [row["provenance/status"] for row in rows][-1] == b"failed"


def test_names_of_classes_are_an_enumeration(base):
    assert [
        (row["coarse_classes/number"], row["coarse_classes/name"])
        for row in read_records(base / "parquet", "coarse_classes")
    ] == [
        (0, "pet"),
        (1, "<b>"),
        (2, ""),
    ]
    [images] = [own for own in content(base / "parquet")["recordSet"] if own["@id"] == "images"]
    [label] = [own for own in images["field"] if own["name"] == "label"]
    assert label["dataType"] == ["sc:Integer", "cr:Label"]
    assert label["references"] == {"field": {"@id": "label_classes/number"}}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_column_has_a_type_of_its_own(base, layout):
    for own in content(base / layout)["recordSet"]:
        if not own["@id"].endswith("_classes"):
            names = [field["name"] for field in own["field"]]
            assert {*COLUMNS} - {"half"} <= set(names)  # Croissant has no type for the structure
            assert len(names) == len(set(names))


def test_tars_are_files_with_their_digests(base):
    objects = [own for own in content(base / "webdataset")["distribution"] if own["@type"] == "cr:FileObject"]
    found = {own["contentUrl"]: own["sha256"] for own in objects}
    sums = dict(line.split("  ")[::-1] for line in (base / "webdataset/SHA256SUMS").read_text().splitlines())
    assert found == {name: digest for name, digest in sums.items() if name.endswith(".tar")}
    assert all(tarfile.is_tarfile(base / "webdataset" / name) for name in found)


def test_too_many_tars_are_one_set_without_records_of_images(base, monkeypatch):
    monkeypatch.setattr(records, "MOST_ARCHIVES", 1)
    found = describe(finished(base / "webdataset"))
    assert [own["@id"] for own in found["distribution"]] == ["provenance-files", "shard-files"]
    assert "images" not in [own["@id"] for own in found["recordSet"]]


def test_the_owners_words_stand_under_their_keys(base):
    found = content(base / "files")
    assert found["license"] == "https://spdx.org/licenses/CC-BY-NC-4.0.html"
    assert [own["sc:termCode"] for own in found["usageInfo"]] == ["DUO_0000046"]
    assert found["citeAs"] == "@misc{x}"
    assert found["rai:dataUseCases"] == ['for "tests"']
    assert found["rai:dataReleaseMaintenancePlan"] == "nobody's Contact: a@b.org"
    assert found["rai:dataSocialImpact"] == "Not stated by the owner."


@pytest.mark.parametrize(
    ("licence", "address"),
    [
        ("CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0.html"),
        ("cc by-nc-sa 3.0", "https://spdx.org/licenses/CC-BY-NC-SA-3.0.html"),
        ("CC0", "https://spdx.org/licenses/CC0-1.0.html"),
        ("mit", "https://spdx.org/licenses/MIT.html"),
        ("https://a.org/terms", "https://a.org/terms"),
        ("CC BY", None),
        ("CC BY 4.0, but no faces may be searched for in it", None),
        ("our own terms", None),
        ("javascript:alert(1)", None),
    ],
)
def test_a_licence_has_the_address_of_its_name(licence, address):
    assert address_of(licence) == address


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_are_those_of_statistics_and_gates(base, layout):
    found = content(base / layout)
    stats = json.loads((base / layout / "stats.json").read_text())
    gates = json.loads((base / layout / "gates.json").read_text())["gates"]
    images = stats["statuses"]["anonymized"] + stats["statuses"]["clean"]
    assert found["description"].startswith(f"{images} images, ")
    assert found["rai:dataManipulationProtocol"].startswith(
        f"{stats['regions_anonymized']} regions in {images} images. "
    )
    lost = f"{stats['statuses']['withheld']} withheld, {stats['statuses']['failed']} failed of {stats['rows']} rows"
    assert found["rai:dataCollectionMissingData"].startswith(lost)
    assert all(f"{gate['name']}: {gate['note']}" in found["rai:dataLimitations"][-1] for gate in gates)
    assert (found["version"], found["dateModified"]) == ("1.0.0", found["dateCreated"])


def test_missed_faces_and_their_groups_are_those_of_the_statistics(tmp_path):
    box = {"x1": 4.0, "y1": 4.0, "x2": 23.0, "y2": 19.0, "ignore": False}
    truth = pa.array([[box]] * 6, FACES)
    write_dataset(str(tmp_path), IDS, faces=truth, slice_camera=pa.array(["a", "b"] * 3))
    release(job(str(tmp_path)))
    own = finished(tmp_path / "out")
    figures, _ = missed_figures(own.stats.summary)
    found = describe(own)
    text = " ".join([*found["rai:dataLimitations"], *found["rai:dataBiases"]])
    figure = figures["missed.from_16_px"]
    assert figure.value is not None
    assert f"n = {figure.n}" in text
    [camera] = [line for line in found["rai:dataBiases"] if "by camera" in line]
    for group in ("a", "b"):
        own_figure = figures[f"missed.slice_camera.{group}"]
        shown = re.search(rf"{group} ([\d.]+)\s%[^,]*, n = (\d+)", camera)
        assert (float(shown[1]), int(shown[2])) == (round(100 * own_figure.value, 1), own_figure.n)


def test_networks_of_bodies_are_not_called_detectors(base):
    own = finished(base / "files")
    models = tuple(f"{name}@{MODELS[name].sha256}" for name in ("person", "person_outline", "person_pose"))
    lines = describe(dataclasses.replace(own, run=dataclasses.replace(own.run, models=models)))["rai:dataBiases"]
    called = {
        line.partition(". ")[2].partition(" ")[0]: line.startswith("Detectors")
        for line in lines
        if " was trained on" in line
    }
    assert called == {"person": True, "person_outline": False, "person_pose": False}


def test_a_later_version_counts_up(base):
    own = finished(base / "files")
    first = Version(1, "run", own.run.run_id, own.run.finished_at, "0" * 64)
    second = Version(
        2,
        "erase",
        own.run.run_id,
        "2026-03-06T00:00:00+00:00",
        "0" * 64,
        tombstones=(Tombstone(0),),
        changes={"erased": 1},
    )
    place = Release(Storage(), own.release.uri)
    place._versions = (first, second)
    found = describe(dataclasses.replace(own, release=place))
    assert (found["version"], found["dateModified"], found["dateCreated"]) == (
        "2.0.0",
        "2026-03-06T00:00:00+00:00",
        own.run.finished_at,
    )
    assert [activity["sc:name"] for activity in found["prov:wasGeneratedBy"]] == [
        f"anon-batch run: version 1 of run {own.run.run_id}",
        f"anon-batch erase: version 2 of run {own.run.run_id}",
    ]
