"""Reports of small releases, and their pages taken apart by a strict HTML parser."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element

import html5lib

from anon_batch.formats.release import Release
from anon_batch.release.report.compute import compute_report
from anon_batch.release.report.document import Report
from anon_batch.release.report.finished import read_finished
from anon_batch.release.report.page import render, write_report
from anon_batch.release.verdict import kept_verdict
from anon_batch.storage import Storage, join

SVG = "{http://www.w3.org/2000/svg}"
_BLOCKS = ("p", "li", "td", "th", "tr", "dt", "dd", "h2", "h3", "small", "figcaption", "caption", f"{SVG}text")
NOT_BREAKING = "\N{NO-BREAK SPACE}"


def report_of(output: str) -> Report:
    opened = read_finished(Release(Storage(), output))
    return compute_report(opened, kept_verdict(opened.release, opened.run, opened.stats))


def html_of(output: str) -> str:
    """Write the report as the command does; return the page."""
    storage = Storage()
    uri = write_report(Release(storage, output), report_of(output))
    assert uri == join(output, "report/index.html")
    page = storage.read(uri).decode()
    assert render(report_of(output)) == page
    return page


class Page:
    """A page; ParseError where its HTML breaks a rule."""

    def __init__(self, html: str) -> None:
        parser = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False)
        self.root: Element = parser.parse(html)

    @property
    def elements(self) -> list[Element]:
        return [own for own in self.root.iter() if isinstance(own.tag, str)]

    @property
    def tags(self) -> set[str]:
        return {str(own.tag).removeprefix(SVG) for own in self.elements}

    @property
    def attributes(self) -> list[tuple[str, str, str]]:
        return [(str(own.tag), name, value) for own in self.elements for name, value in own.attrib.items()]

    @property
    def ids(self) -> list[str]:
        return [value for _, name, value in self.attributes if name == "id"]

    @property
    def text(self) -> str:
        return " ".join(text_of(own) for own in self.root.iter("body"))

    def headings(self) -> list[tuple[str, str]]:
        return [(str(own.tag), text_of(own)) for own in self.elements if own.tag in ("h1", "h2", "h3", "h4")]

    def row(self, first: str) -> list[str]:
        """Return the cells of the one table row that begins so."""
        rows = [[text_of(cell) for cell in row if cell.tag in ("td", "th")] for row in self.root.iter("tr")]
        found = {tuple(row) for row in rows if row and row[0] == first}
        assert len(found) == 1, (first, found)
        return list(found.pop())

    def of(self, anchor: str) -> Element:
        [found] = [own for own in self.elements if own.get("id") == anchor]
        return found


def text_of(element: Element) -> str:
    """Return the visible text of an element, with plain spaces."""
    parts: list[str] = []

    def walk(own: Any) -> None:
        if own.tag in ("style", f"{SVG}title", f"{SVG}desc"):
            return
        parts.append(" " if own.tag in _BLOCKS else "")
        parts.append(own.text or "")
        for child in own:
            if isinstance(child.tag, str):
                walk(child)
            parts.append(child.tail or "")
        if own.tag in _BLOCKS:
            parts.append(" ")

    walk(element)
    return re.sub(r"\s+", " ", "".join(parts).replace(NOT_BREAKING, " ")).strip()
