"""Decides requests by AWS policies with their conditions, as the IAM User Guide describes evaluation and operators.

Because moto ignores the conditions of some policies and takes others for a refusal, it cannot tell whether they are right.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MATCH: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": fnmatch.fnmatchcase,
    "ArnLike": fnmatch.fnmatchcase,
    "Bool": lambda given, wanted: given.lower() == wanted.lower(),
}


def statements_of(*policies: str) -> list[dict[str, Any]]:
    """Return the statements of policies as JSON text."""
    return [statement for policy in policies for statement in _list(json.loads(policy)["Statement"])]


def allows(
    statements: Sequence[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
    principal: str | None = None,
) -> bool:
    """Return whether at least one statement allows a request and none denies it.

    Args:
        statements: of policies of one kind, e.g. all of a role.
        action, resource: e.g. `s3:GetObject` and an ARN.
        context: condition key -> value; keys that the request does not have are left out.
        principal: who asks, as ARN or service; None where the policy belongs to the principal.
    """
    effects = {
        statement["Effect"]
        for statement in statements
        if any(fnmatch.fnmatch(action.lower(), own.lower()) for own in _list(statement["Action"]))
        and any(fnmatch.fnmatchcase(resource, own) for own in _list(statement["Resource"]))
        and (principal is None or _is_named(statement["Principal"], principal))
        and _hold(statement.get("Condition", {}), {key.lower(): value for key, value in (context or {}).items()})
    }
    return effects == {"Allow"}


def denies(
    statements: Sequence[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Return whether a statement of a bucket's policy denies everybody a request."""
    everybody = {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}
    return not allows([everybody, *statements], action, resource, context, "arn:aws:iam::1:role/anybody")


def _hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _holds(operator, context.get(key.lower()), _list(wanted))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, given: str | None, wanted: Sequence[str]) -> bool:
    if operator == "Null":
        return (given is None) == (wanted == ["true"])
    if operator == "StringNotEquals":  # holds for a key that is not there, too
        return given not in wanted
    return given is not None and any(_MATCH[operator](given, own) for own in wanted)


def _is_named(principals: Any, principal: str) -> bool:
    if principals == "*":
        return True
    named = [own for kind in principals.values() for own in _list(kind)]
    return "*" in named or principal in named


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
