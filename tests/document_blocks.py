"""The Markdown files of the repository, and the code blocks in them that are tested."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True
)
DOCUMENTS = sorted(ROOT / name for name in _LISTED.stdout.splitlines() if (ROOT / name).is_file())


def blocks(marker: str, language: str) -> list[tuple[str, str]]:
    """Return (page, code) of every code block that follows the comment `<!-- test: MARKER -->`."""
    pattern = re.compile(rf"<!-- test: {marker} -->\n```{language}\n(.*?)```", re.DOTALL)
    return [(str(path.relative_to(ROOT)), code) for path in DOCUMENTS for code in pattern.findall(path.read_text())]
