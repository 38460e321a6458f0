"""Labels of training faces that the encoder of surroundings is taught beside its pairs: age group, sex and skin.

Codes of both halves must tell them, so that faces of one kind lie together.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from anon_batch.anonymize.faces.encoder import CODE

# Column of the table -> groups of its values, one class each; other values say nothing.
CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "age": (("baby", "child"), ("teen", "young"), ("middle",), ("old",)),
    "sex": (("f",), ("m",)),
    "skin": (("1",), ("2",), ("3",), ("4",), ("5",)),
}
_WEIGHT = 0.25  # of each class's cross entropy beside InfoNCE
_SCALE = 6.0  # of unit codes before the classifiers
_UNKNOWN = -100


class Labels(nn.Module):
    """Linear classifiers on codes, and the classes of the training faces.

    Args:
        table: tab separated, with a header: file, age, sex, skin; None teaches nothing.
        names: of the faces in their order; each is followed by its mirror image.
    """

    def __init__(self, table: Path | None, names: Sequence[str]) -> None:
        super().__init__()
        rows: dict[str, dict[str, str]] = {}
        if table is not None:
            rows = {row["file"]: row for row in csv.DictReader(table.read_text("utf-8").splitlines(), delimiter="\t")}
        self._classes = {column: _classes(column, rows, names) for column in CLASSES}
        self.heads = nn.ModuleDict({column: nn.Linear(CODE, len(groups)) for column, groups in CLASSES.items()})

    def loss(self, codes: Sequence[Tensor], picks: Tensor) -> Tensor:
        """Return what the classifiers' mistakes on codes (B, 48) of both halves cost; picks (B,) are numbers of faces."""
        total = codes[0].new_zeros(())
        for column, head in self.heads.items():
            wanted = self._classes[column][picks]
            if bool((wanted >= 0).any()):
                for code in codes:
                    total = total + _WEIGHT * F.cross_entropy(head(code * _SCALE), wanted, ignore_index=_UNKNOWN)
        return total


def _classes(column: str, rows: dict[str, dict[str, str]], names: Sequence[str]) -> Tensor:
    """Return the class of each face and of its mirror image, (2 n,) int64, -100 where it is not known."""
    number = {value: at for at, values in enumerate(CLASSES[column]) for value in values}
    found = [number.get(rows.get(name, {}).get(column, ""), _UNKNOWN) for name in names]
    return torch.tensor(found).repeat_interleave(2)
