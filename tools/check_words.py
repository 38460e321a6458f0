"""Fail on words that this project does not use, in prose and in identifiers. Run: `python -m tools.check_words`.

The glossary (docs/glossary.md) has the words to use. A line that must name such a word, for example a renamed key of the job
file, ends with the comment `words: allow`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SUFFIXES = {".py", ".md", ".yaml", ".yml", ".html", ".jinja", ".toml"}
INSTEAD = {
    "mend|mends|mended|mending": "fix, repair",
    "heed|heeds|heeded": "handle, respect",
    "anew": "again",
    "told": "given, reported",
    "whoever": "anyone who",
    "thereof|therein|whence": "of it, in it, from where",
    "strays?": "orphan",
    "strangers?": "unknown, other person",
    "pictures?|pictured": "image",
    "second looks?": "refine",
    "looks? again|looked again": "refine, detect again",
    "laid over|lay over": "blended",
    "treat|treats|treated|treating": "anonymize",
}
PATTERN = re.compile("|".join(rf"\b({words})\b" for words in INSTEAD))
EXEMPT = {"tools/check_words.py", "tests/docs/test_documents.py"}  # they name the words


def faults(text: str) -> list[tuple[int, str, str]]:
    """Return (line number, word, what to use instead) of every banned word; words are split at underscores and capitals."""
    found: list[tuple[int, str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", line).replace("_", " ").lower()
        if "words: allow" not in line:
            found += [(number, m[0], list(INSTEAD.values())[(m.lastindex or 1) - 1]) for m in PATTERN.finditer(plain)]
    return found


def main() -> int:
    """Print `file:line: word` for every banned word in the repository's files and return the exit code."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    count = 0
    for name in listed.stdout.splitlines():
        path = Path(name)
        if path.suffix not in SUFFIXES or name in EXEMPT:
            continue
        for number, word, instead in faults(path.read_text(encoding="utf-8")) if path.is_file() else ():
            print(f"{name}:{number}: '{word}': use {instead}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
