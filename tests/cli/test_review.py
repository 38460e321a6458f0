"""`anon-batch review` as a user types it: the page, verdicts back, the evidence in the release."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from leaks import assert_public, secrets_of
from review_releases import LAYOUTS, SECRETS, Made, make_release

from anon_batch import cli
from anon_batch.config import ModelsConfig
from anon_batch.formats.verdicts_json import Verdicts
from anon_batch.models.store import ModelStore
from anon_batch.release.review.draw import ReviewSettings, draw_sample
from anon_batch.release.review.items import make_items
from anon_batch.release.review.page import render_pages
from anon_batch.release.review.plants import load_bank
from anon_batch.release.review.seal import unseal

CLAIM = ("--claim", "0.2", "--allow-uncaught", "1")


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Exit code, output, errors; in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err[-1500:]
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    return {layout: make_release(tmp_path_factory.mktemp(f"cli-{layout}"), layout) for layout in LAYOUTS}


@pytest.fixture
def made(kept: dict[str, Made], request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a copy of a release, with its ledger, of the layout that the test names."""
    output = kept[getattr(request, "param", "files")].release.uri
    for end in ("", "-ledger"):
        shutil.copytree(output + end, str(tmp_path / "out") + end)
    return str(tmp_path / "out")


@pytest.fixture(scope="module")
def clean(kept: dict[str, Made]) -> dict[str, Any]:
    """The verdict file of a reviewer who finds every planted face and nothing else."""
    release = kept["files"].release
    sample = draw_sample(release, ReviewSettings(claim=0.2, allow_uncaught=1))
    items = make_items(release, sample, load_bank(ModelStore(release.storage, ModelsConfig())))
    path = kept["files"].folder / "page.html"
    path.write_bytes(next(iter(render_pages(sample, items))))
    return answer(path)


def answer(
    page: Path, missed: dict[str, list[float]] | None = None, reviewer: str = "Ada", uncaught: int = 0
) -> dict[str, Any]:
    """Return the verdict file of a reviewer who finds all planted faces but `uncaught`, and boxes in the images of `missed`."""
    text = page.read_text()
    data = json.loads(text.partition('<script id="data" type="application/json">')[2].partition("</script>")[0])
    truth = unseal(data["review_id"], data["sealed"])
    marks = []
    for item, image_id in enumerate(data["ids"]):
        box = truth[item] if truth[item] is not None else (missed or {}).get(image_id)
        if truth[item] is not None and (uncaught := uncaught - 1) >= 0:
            box = None
        boxes = [] if box is None else [{"box": list(box), "label": "face"}]
        marks.append(
            {"item": item, "image_id": image_id, "mark": "missed" if boxes else "fine", "boxes": boxes, "seconds": 1.5}
        )
    keys = ("format", "version", "review_id", "run_id", "sample_sha256", "settings", "ids", "sealed")
    return {**{key: data[key] for key in keys}, "reviewer": reviewer, "finished": True, "marks": marks}


def sampled(verdicts: dict[str, Any]) -> list[str]:
    truth = unseal(verdicts["review_id"], verdicts["sealed"])
    return [name for name, box in zip(verdicts["ids"], truth, strict=True) if box is None]


@pytest.mark.parametrize("made", LAYOUTS, indirect=True)
def test_the_whole_loop(main: Any, made: str, kept: dict[str, Made], tmp_path: Path) -> None:
    code, out, err = main("review", made, *CLAIM)
    assert code == 0, err
    assert "to prove that at most 20 % show something that was missed" in out
    clean = answer(tmp_path / "review.html")
    (tmp_path / "ada.json").write_text(json.dumps(clean))
    code, out, err = main("review", made, "--import", "ada.json")
    assert code == 0, err
    assert "proven: at most 20 %" in out
    assert main("verify", made)[0] == 0
    name = sampled(clean)[0]
    (tmp_path / "bob.json").write_text(json.dumps(answer(tmp_path / "review.html", {name: [1, 2, 30.5, 40]}, "Bob", 1)))
    code, out, err = main("review", made, "--import", "ada.json", "--import", "bob.json")
    assert code == 0, err
    for text in ("by 2 reviewers: 1 missed", "not proven", "something was missed in 1 output", "Cohen's kappa"):
        assert text in out
    (private,) = Path(f"{made}-ledger", "review").iterdir()
    verdicts = Verdicts.from_json(private.read_bytes(), "v")
    assert private.name == f"verdicts-{clean['review_id']}.json"
    assert [(own.image_id, [box.edges for box in own.boxes]) for own in verdicts.verdicts if own.mark == "missed"] == [
        (name, [(1, 2, 30.5, 40)])
    ]
    assert verdicts.reviewers == ("Ada", "Bob")
    assert private.stat().st_mode & 0o077 == 0
    public = Path(made, "review.json")
    assert public.stat().st_mode & 0o044, "only the private file is private"
    own = kept["files"]
    sources = sorted((own.folder / "very private source").iterdir())
    secrets = [*SECRETS, *clean["ids"], "very private source", *secrets_of(sources, own.folder)]
    assert_public(public.read_bytes(), secrets)
    assert main("verify", made)[0] == 0


def test_a_gate_reads_the_bound(main: Any, tmp_path: Path) -> None:
    made = make_release(tmp_path / "data", gates__missed=0.25).release.uri
    assert main("review", made, *CLAIM)[0] == 0
    (tmp_path / "v.json").write_text(json.dumps(answer(tmp_path / "review.html")))
    code, out, _ = main("review", made, "--import", "v.json", "--json")
    read = json.loads(out)
    assert code == 0
    assert read["figures"]["review.proven"]["value"] == 1
    (gate,) = [gate for gate in read["gates"] if gate["name"] == "missed"]
    assert "upper bound" in gate["note"] or "ground-truth" in gate["note"]


def test_the_page_and_private_files_stay_out_of_the_release(main: Any, made: str, tmp_path: Path) -> None:
    code, _, err = main("review", made, "-o", f"{made}/review.html")
    assert (code, "which is published" in err) == (2, True)
    assert main("review", made, *CLAIM)[0] == 0
    (tmp_path / "v.json").write_text(json.dumps(answer(tmp_path / "review.html")))
    shutil.rmtree(f"{made}-ledger")
    code, _, err = main("review", made, "--import", "v.json")
    assert code == 2
    assert "--verdicts-to" in err
    code, _, err = main("review", made, "--import", "v.json", "--verdicts-to", f"{made}/v.json")
    assert (code, "which is published" in err) == (2, True)
    assert not Path(made, "review.json").exists(), "nothing public before the private file is written"
    assert main("review", made, "--import", "v.json", "--verdicts-to", "private.json")[0] == 0
    assert Path("private.json").stat().st_mode & 0o077 == 0
    assert Path(made, "review.json").stat().st_mode & 0o044
    assert main("verify", made, "--no-ledger")[0] == 0


def _tampered(verdicts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(verdicts)), **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: _tampered(v, run_id="other"), "this release is of run"),
        (lambda v: _tampered(v, sample_sha256="0" * 64), "the release has changed since this page was made"),
        (lambda v: _tampered(v, settings={**v["settings"], "seed": 5}), "the release has changed"),
        (lambda v: _tampered(v, ids=[*v["ids"][1:], v["ids"][0]]), "its list of images"),
        (lambda v: _tampered(v, sealed=v["sealed"][:-8]), "damaged"),
        (lambda v: _tampered(v, version=7), "version 7"),
        (lambda v: _tampered(v, marks=[{"item": 0, "mark": "lovely"}]), r"marks.0.mark"),
        (lambda v: _tampered(v, marks=[v["marks"][0], v["marks"][0]]), "two verdicts"),
        (lambda v: _tampered(v, marks=[{"item": 10**6, "mark": "fine"}]), "unknown"),
        (lambda v: _tampered(v, marks=[]), "no verdict on any sampled output"),
        (lambda v: _tampered(v, settings={**v["settings"], "claim": 7}), "settings.claim"),
        (
            lambda v: _tampered(
                v, marks=[{"item": 0, "mark": "missed", "boxes": [{"box": [500, 0, 600, 5], "label": "f"}]}]
            ),
            "lie",
        ),
    ],
)
def test_verdicts_that_do_not_belong_are_refused(
    main: Any, made: str, clean: dict[str, Any], change: Any, message: str, tmp_path: Path
) -> None:
    (tmp_path / "v.json").write_text(json.dumps(change(clean)))
    code, out, err = main("review", made, "--import", "v.json")
    assert (code, out) == (2, "")
    assert message in err
    assert not Path(made, "review.json").exists()


def test_verdicts_on_outputs_that_changed_are_refused(main: Any, clean: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps(clean))
    other = make_release(tmp_path / "again", anonymize__face__method="pixelate").release.uri
    code, _, err = main("review", other, "--import", "v.json")
    assert code == 2
    assert "its page shows run" in err


@pytest.mark.parametrize("kind", ["coco", "label-studio"])
def test_other_programs_get_and_give_files(main: Any, made: str, kind: str, tmp_path: Path) -> None:
    code, out, _ = main("review", made, *CLAIM, "--export", kind, "e.json", "--export-images", "images")
    assert code == 0
    assert "outputs" in out
    content = json.loads((tmp_path / "e.json").read_text())
    if kind == "label-studio":
        for task in content:
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
        (tmp_path / "e.json").write_text(json.dumps(content))
    code, out, err = main("review", made, "--import", "e.json")
    assert code == 0, err
    assert "attention not measured" in out
    assert "nothing is known about the reviewers" in out or "no planted faces" in out
    assert main("verify", made)[0] == 0


def test_wrong_use_is_refused(main: Any, made: str, tmp_path: Path) -> None:
    for args, message in (
        ((str(tmp_path / "nothing"),), "no release here"),
        ((made, "--claim", "1.5"), "expected a share above 0 and below 1"),
        ((made, "--import", "nowhere.json"), "no such file"),
        ((made, "--import", "v.json", "--export", "coco", "c.json"), "use one of them"),
    ):
        code, _, err = main("review", *args)
        assert code == 2
        assert message in err
    assert main("review", made, "--export", "xml", "c.json")[0] == 2
