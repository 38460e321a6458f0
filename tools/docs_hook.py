"""MkDocs hook that adds generated pages: the reference, and those that live at the root of the repository."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools import docs_reference

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to `files`."""
    repository = f"{config.repo_url}/blob/main"
    for source, page in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=site_links(text, repository)))
    for name, build in docs_reference.PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=build()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/, such as `../../jobs/coco.yaml`, to the repository, and link the generated pages."""
    if page.file.src_uri == "reference/index.md":
        markdown = reference_links(markdown)
    repository = f"{config.repo_url}/blob/main"
    return re.sub(
        r"\]\((?:\.\./)+(?=(?:jobs|infra|benchmarks|tools|anon_batch|manifests|LICENSE))", f"]({repository}/", markdown
    )


def reference_links(text: str) -> str:
    """Link the page names in the table of reference/index.md, which exist on the site alone.

    Raises:
        ValueError: the table lacks a page.
    """
    for name, build in docs_reference.PAGES.items():
        title = build().splitlines()[0].removeprefix("# ")
        if f"| {title} |" not in text:
            raise ValueError(f"docs/reference/index.md has no line for {title!r}")
        text = text.replace(f"| {title} |", f"| [{title}]({name}.md) |")
    return text


def site_links(text: str, repository: str) -> str:
    """Rewrite the relative links of a page at the repository's root so that they work inside docs/.

    Args:
        text: Markdown whose links start at the root of the repository.
        repository: address under which the repository's files can be read.

    Returns:
        The same text: links into docs/ and to other root pages stay inside the site, the rest lead to `repository`.
    """

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if target in ROOT_PAGES:
            return f"]({ROOT_PAGES[target]}{anchor})"
        if target.startswith("docs/"):
            return f"]({target.removeprefix('docs/')}{anchor})"
        return f"]({repository}/{target}{anchor})"

    return re.sub(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)", link, text)
