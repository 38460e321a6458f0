"""Reason codes: every code that the package raises is in the table, and nothing else can be published."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import anon_batch
from anon_batch.errors import FailedError, RowError, WithheldError
from anon_batch.reasons import REASONS

PACKAGE = Path(anon_batch.__file__).parent


def reason_codes() -> set[tuple[str, str]]:
    """(code, status) of every RowError that the sources make, and of every row that they give up."""
    trees = [ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in sorted(PACKAGE.rglob("*.py"))]
    constants = {
        target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("FailedError", "WithheldError"):
            status = node.func.id.removesuffix("Error").lower()
            found.add((_text_of(node.args[0], constants), status))
        elif node.func.id == "ProvenanceRow" and isinstance(node.args[1], ast.Constant) and len(node.args) > 2:
            found.add((_text_of(node.args[2], constants), str(node.args[1].value)))
    return found


def _text_of(node: ast.expr, constants: dict[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.Name), f"line {node.lineno}: a reason that is neither a literal nor a module's constant"
    return constants[node.id]


def test_the_table_holds_every_code_that_the_package_raises() -> None:
    assert reason_codes() == {(reason.code, reason.status) for reason in REASONS.values()}
    assert all(code == reason.code and reason.meaning and reason.fix for code, reason in REASONS.items())


@pytest.mark.parametrize("reason", ["", "odd", "/home/me/secret.jpg: broken", "encode"])
def test_a_failed_row_refuses_other_codes(reason: str) -> None:
    with pytest.raises(ValueError, match="not a reason code of status failed"):
        FailedError(reason)


@pytest.mark.parametrize("error", [FailedError("decode", "detail"), WithheldError("encode")])
def test_row_errors_can_be_pickled(error: RowError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.reason, copy.detail) == (type(error), error.reason, error.detail)
