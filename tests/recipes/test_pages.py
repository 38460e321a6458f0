"""What every recipe has, and where it is named."""

from __future__ import annotations

import re

import pytest
from document_blocks import ROOT
from recipes.commands import NAMES, commands, job, page

EACH = pytest.mark.parametrize("name", NAMES)


def test_the_recipes_are_those_of_the_folder() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in (ROOT / "manifests/recipes").glob("*.md"))


@EACH
def test_a_recipe_has_three_commands(name: str) -> None:
    listed, sampled, whole = commands(name)
    assert listed.startswith("anon-batch manifest ")
    assert re.fullmatch(rf"anon-batch run jobs/{name}\.yaml --limit \d+", sampled)
    assert whole == f"anon-batch run jobs/{name}.yaml"
    assert f" -o {job(name)['manifest']}" in listed


@EACH
def test_a_recipe_says_what_a_reader_needs(name: str) -> None:
    text = (ROOT / page(name)).read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading != "What it takes"] == [
        "What comes out",
        "Oddities",
        "What the card must say",
    ]
    assert f"../../jobs/{name}.yaml" in text
    assert f"manifests/recipes/{name}.md" in (ROOT / f"jobs/{name}.yaml").read_text(encoding="utf-8")


@EACH
def test_a_job_says_under_which_terms_its_source_is(name: str) -> None:
    assert {"source_licence", "citation", "uses"} <= job(name)["compliance"].keys()
    assert job(name)["anonymize"] == {"face": {"method": "gan"}}


@pytest.mark.parametrize("document", ["docs/guides/datasets.md", "manifests/README.md"])
def test_the_lists_name_all_recipes(document: str) -> None:
    named = re.findall(r"recipes/([\w-]+)\.md\)", (ROOT / document).read_text(encoding="utf-8"))
    assert sorted(named) == sorted(NAMES)
