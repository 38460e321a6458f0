"""What the documents say is compared with the code: links, commands, options, make targets, job files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from document_blocks import DOCUMENTS, ROOT, blocks

from anon_batch.cli.app import app
from anon_batch.config import JobConfig, validate
from tools import check_words, docs_hook, docs_reference

NAME = {"ids": lambda path: str(path.relative_to(ROOT))}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", DOCUMENTS, **NAME)
def test_links_lead_to_files_of_the_repository(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose):
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings], (
                f"{path.name}: {target}"
            )


def commands() -> dict[str, Any]:
    """Return the command as typed -> its click command."""
    return dict(docs_reference.commands(typer.main.get_command(app)))


def mentions() -> set[tuple[str, str]]:
    """Return (document, command line) of every `anon-batch ...` in code blocks and code spans."""
    found = set()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        spans = re.findall(r"(?<!`)`(?!`)([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        lines = [line for block in re.findall(r"```[^\n]*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        for code in (*spans, *lines):
            for match in re.finditer(r"(?:^|\$ |-- |&& )anon-batch((?: [^|&#;]+)?)", code.replace("\n", " ")):
                found.add((path.name, match[1].strip()))
    return found


def test_every_command_and_option_that_is_named_exists() -> None:
    known, seen = commands(), set()
    for document, line in mentions():
        words = line.split()
        if not words or words[0].isupper() or words[0].startswith("-"):
            continue
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known or any(key.startswith(f"{name} ") for key in known), f"{document}: anon-batch {line}"
        seen.add(name)
        options = {option for p in known[name].params for option in p.opts} if name in known else set()
        for option in re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", line):
            assert option in options | {"--help"}, f"{document}: anon-batch {line}: no {option}"
    undocumented = set(known) - seen - {key for key in known if key.partition(" ")[0] in seen}
    assert not undocumented


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        for name in re.findall(r"(?:`|^ {4}|^)make ([a-z][\w-]*)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in targets, f"{path.name}: make {name}"


@pytest.mark.parametrize(("page", "code"), blocks("job", "yaml"))
def test_job_files_in_documents_are_valid(page: str, code: str) -> None:
    validate(JobConfig, {"manifest": "m", "output": "o", **yaml.safe_load(code)}, page)


def test_quickstart_gives_each_job_an_output_of_its_own() -> None:
    """Because `run` refuses an output that holds another job's release, the page works only if no output repeats."""
    text = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
    outputs = re.findall(r"(?:^output: |--output )(\S+)", text, re.MULTILINE)
    assert len(outputs) == len(set(outputs)) == 3


def test_site_links_the_generated_pages() -> None:
    index = (ROOT / "docs/reference/index.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([\w-]+)\.md\)", docs_hook.reference_links(index))
    assert sorted(linked) == sorted(docs_reference.PAGES)


def test_reference_pages_describe_everything() -> None:
    for name, build in docs_reference.PAGES.items():
        rows = [line for line in build().splitlines() if line.startswith("| `")]
        assert rows or name == "exit-codes"
        assert not [row for row in rows if row.endswith("|  |")], f"{name}: a line without a description"


def test_banned_words_are_found_in_prose_and_identifiers() -> None:
    found = check_words.faults(
        "the picture\nsecond_look = anewOne\ntreatWell(x)\nuntreated treatment\nmend  # words: allow"
    )
    assert [(line, word) for line, word, _ in found] == [(1, "picture"), (2, "second look"), (2, "anew"), (3, "treat")]


def test_strip_of_before_and_after_is_small() -> None:
    assert 0 < (ROOT / "docs/before-after.jpg").stat().st_size < 400_000
