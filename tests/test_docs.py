"""What the documents say is held against the code. `python tests/test_docs.py --write` makes README's table of keys anew."""

from __future__ import annotations

import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PACKAGE = ROOT / "anon_batch"
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", ".git", "node_modules", ".pytest_cache", ".hypothesis", "demo"} & set(path.relative_to(ROOT).parts)
)
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
KEYS_BEGIN = "<!-- keys:begin (python tests/test_docs.py --write) -->"
KEYS_END = "<!-- keys:end -->"


def between(begin: str, end: str) -> str:
    text = README.read_text(encoding="utf-8")
    assert text.count(begin) == 1, f"README: {begin} must be there once"
    assert text.count(end) == 1, f"README: {end} must be there once"
    return text.partition(begin)[2].partition(end)[0]


def table(name: str) -> list[list[str]]:
    """Cells of the marked table, without its two header lines."""
    lines = [line for line in between(f"<!-- {name}:begin -->", f"<!-- {name}:end -->").splitlines() if line.strip()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def keys_table() -> str:
    from anon_batch.config import describe

    rows = ["| key | type | default | what it does |", "|---|---|---|---|"]
    for cells in describe():
        key, kind, default, text = (cell.replace("|", "\\|") for cell in cells)
        rows.append(f"| `{key}` | {kind} | {default if default == 'required' else f'`{default}`'} | {text} |")
    return "\n".join(rows)


def write() -> None:
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(KEYS_BEGIN)
    _, _, tail = rest.partition(KEYS_END)
    README.write_text(f"{head}{KEYS_BEGIN}\n{keys_table()}\n{KEYS_END}{tail}", encoding="utf-8")


def test_every_key_of_the_job_file_is_in_the_readme() -> None:
    assert between(KEYS_BEGIN, KEYS_END).strip() == keys_table(), (
        "README's keys differ: python tests/test_docs.py --write"
    )


def test_exit_codes() -> None:
    from anon_batch.errors import ExitCode

    documented = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert documented == [(str(int(code)), code.meaning, code.action) for code in ExitCode]


def test_columns_of_provenance_and_audit() -> None:
    from anon_batch.formats.audit import AUDIT_SCHEMA
    from anon_batch.formats.provenance import PROVENANCE_SCHEMA

    for name, schema in (("provenance", PROVENANCE_SCHEMA), ("audit", AUDIT_SCHEMA)):
        rows = table(name)
        assert [row[0].strip("`") for row in rows] == schema.names
        assert all(row[2] for row in rows), f"{name}: a column without description"
        for row, field in zip(rows, schema, strict=True):
            kind = str(field.type)
            assert kind == row[1] or (kind.startswith("list") and row[1].startswith("list of")), row[0]
            for inner in _fields_of(field.type):
                assert f"`{inner}`" in row[2] or (inner in ("x1", "y1", "x2", "y2") and "box" in row[2]), (
                    row[0],
                    inner,
                )


def _fields_of(kind: Any) -> list[str]:
    inner = getattr(kind, "value_type", kind)
    return [inner.field(i).name for i in range(inner.num_fields)]


def test_reason_codes() -> None:
    from anon_batch.reasons import REASONS

    rows = table("reasons")
    assert {(row[0].strip("`"), row[1]) for row in rows} == {(r.code, r.status) for r in REASONS.values()}
    assert len({row[0] for row in rows}) == len(rows)
    assert all(row[2] and row[3] for row in rows)


def _commands() -> dict[str, Any]:
    """Command as typed -> click command."""
    import typer.main

    from anon_batch.cli.app import app

    found = {"": typer.main.get_command(app)}
    for name, command in found[""].commands.items():  # type: ignore[attr-defined]
        found[name] = command
        found.update({f"{name} {sub}": inner for sub, inner in getattr(command, "commands", {}).items()})
    return found


def _mentions() -> set[tuple[str, str]]:
    """(document, command line) of every `anon-batch ...` in code blocks and code spans."""
    found = set()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        spans = re.findall(r"(?<!`)`(?!`)([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        blocks = [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
        for code in (*spans, *blocks, *indented):
            for match in re.finditer(r"(?:^|/|-- |\| |&& )anon-batch((?: [^|&#;]+)?)", code.replace("\n", " ")):
                found.add((path.name, match[1].strip()))
    return found


def test_every_command_and_option_that_is_named_exists() -> None:
    from typer.testing import CliRunner

    from anon_batch.cli.app import app

    commands, wide, seen = _commands(), {"COLUMNS": "300", "TERM": "dumb"}, set()
    for document, line in _mentions():
        words = line.split()
        if not words or words[0].isupper():
            continue
        name = (
            " ".join(words[:2]) if " ".join(words[:2]) in commands else ("" if words[0].startswith("-") else words[0])
        )
        assert name in commands, f"{document}: anon-batch {line}: no such command"
        seen.add(name)
        shown = CliRunner().invoke(app, [*name.split(), "--help"], env=wide)
        assert shown.exit_code == 0
        for option in re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", line):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown.output), (
                f"{document}: anon-batch {line}: no {option}"
            )
    assert set(commands) - seen <= {""}, f"commands that no document mentions: {set(commands) - seen}"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        for name in re.findall(r"(?:`|^ {4})make ([a-z][\w-]*)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in targets, f"{path.name}: make {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{path.name}: {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_job_files_are_valid(path: Path) -> None:
    from anon_batch.anonymize.registry import known_methods
    from anon_batch.config import load_job
    from anon_batch.detect.registry import known_detectors

    job = load_job(path, {})
    assert set(job.anonymize.ladder) <= set(known_methods())
    assert {detector.name for detector in job.detect.detectors} <= set(known_detectors())


def test_yaml_in_documents_is_valid() -> None:
    from anon_batch.config import JobConfig, validate

    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        validate(JobConfig, {"manifest": "m", "output": "o", **yaml.safe_load(block)}, "README")


def test_ray_cluster_file_fits_rays_schema() -> None:
    import jsonschema
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text(encoding="utf-8"))
    cluster = yaml.safe_load((ROOT / "infra/ray-cluster.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"].get("CPU") == 0, "workers on the head would starve the driver"


def test_rayjob_runs_a_valid_job(tmp_path: Path) -> None:
    from anon_batch.config import load_job

    documents = list(yaml.safe_load_all((ROOT / "infra/rayjob.yaml").read_text(encoding="utf-8")))
    by_kind = {document["kind"]: document for document in documents}
    spec = by_kind["RayJob"]["spec"]
    command, job_path = re.match(r"(anon-batch run) (/jobs/\S+)", spec["entrypoint"]).groups()  # type: ignore[union-attr]
    assert command in (f"anon-batch {name}" for name in _commands())
    (tmp_path / "job.yaml").write_text(by_kind["ConfigMap"]["data"][Path(job_path).name])
    job = load_job(tmp_path / "job.yaml", {})
    head, *groups = spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]
    [container] = head["template"]["spec"]["containers"]
    assert any(mount["mountPath"] == "/jobs" for mount in container["volumeMounts"])
    gpus = sum(
        group["maxReplicas"] * group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        for group in groups
    )
    assert job.engine.workers is not None
    assert job.engine.workers * job.engine.num_gpus <= gpus


def test_ray_versions_agree() -> None:
    rayjob = (ROOT / "infra/rayjob.yaml").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    from packaging.requirements import Requirement

    [ray] = [r for r in map(Requirement, project["project"]["dependencies"]) if r.name == "ray"]
    pinned = re.search(r"ARG RAY_VERSION=(\S+)", (ROOT / "infra/Dockerfile").read_text(encoding="utf-8"))
    assert pinned is not None
    assert pinned[1] in ray.specifier
    assert re.findall(r"rayVersion: \"?([\d.]+)", rayjob) == [pinned[1]]


def example(name: str) -> str:
    match = re.search(rf"<!-- example:{name} -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert match, f"README: no example {name}"
    return match[1]


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """README's two examples, installed as a package with README's entry points."""
    block = re.search(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    groups = tomllib.loads(block[1])["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    info = tmp_path / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "my_plugin.py").write_text(example("detector") + "\n" + example("method"))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_plugin", None)


@pytest.mark.usefixtures("plug_in")
def test_example_of_a_detector() -> None:
    from anon_batch.config import DetectConfig, DetectorConfig, ModelsConfig
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.detect.registry import models_of
    from anon_batch.models.store import ModelStore
    from anon_batch.records import DecodedImage
    from anon_batch.storage import Storage

    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    image = DecodedImage("a.png", pixels)
    mirrored = DecodedImage("b.png", np.ascontiguousarray(pixels[:, ::-1]))
    store = ModelStore(Storage(), ModelsConfig())

    def found(name: str, picture: DecodedImage) -> Any:
        config = DetectConfig(detectors=(DetectorConfig(name=name, threshold=0.0),))
        return build_detector(config, store).detect([picture])[0]

    assert models_of(DetectConfig(detectors=(DetectorConfig(name="centerface_mirrored"),))) == ("centerface",)
    own, plain = found("centerface_mirrored", image), found("centerface", mirrored)
    assert len(plain) > 0, "threshold 0 takes every peak"
    np.testing.assert_allclose(own.boxes[:, 0], 128 - plain.boxes[:, 2], atol=1e-3)
    np.testing.assert_allclose(own.boxes[:, 2], 128 - plain.boxes[:, 0], atol=1e-3)
    np.testing.assert_array_equal(own.boxes[:, 1::2], plain.boxes[:, 1::2])
    np.testing.assert_allclose(own.landmarks[:, 2, 0], 128 - plain.landmarks[:, 2, 0], atol=1e-3)
    assert set(own.detectors) == {"centerface_mirrored"}


@pytest.mark.usefixtures("plug_in")
def test_example_of_a_method() -> None:
    from anon_batch.anonymize.ladder import build_ladder
    from anon_batch.config import AnonymizeConfig
    from anon_batch.geometry import region_mask, regions_of
    from anon_batch.records import AnonymizedImage, DecodedImage, Detections

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = DecodedImage("a.png", pixels)
    boxes = np.array([[4, 4, 24, 24], [34, 30, 60, 60]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), np.full((2, 5, 2), np.nan, np.float32), ("x", "x"))
    regions = regions_of(found, 64, 64, 1.3, "ellipse")
    ladder = build_ladder(AnonymizeConfig(method="random_color"), None, 1, "cpu")
    first, again, other = (ladder.anonymize([(image, regions)], key)[0] for key in (b"k" * 32, b"k" * 32, b"o" * 32))
    for result in (first, again, other):
        assert isinstance(result, AnonymizedImage)
        assert result.methods == {0: "random_color", 1: "random_color"}
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert (first.pixels != other.pixels).any()
    x1, y1, x2, y2 = regions[0].extent
    inside = first.pixels[y1:y2, x1:x2][region_mask(regions[0])]
    assert len(np.unique(inside, axis=0)) == 1


def test_before_after_picture_is_small() -> None:
    assert 0 < (ROOT / "docs/before-after.jpg").stat().st_size < 400_000


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_docs.py --write")
    write()
