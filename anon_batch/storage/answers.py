"""What a server answered, read from the exceptions of fsspec's drivers and their HTTP clients."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

_MOST_LINKS = 8


class Answer(NamedTuple):
    """A refusal of a server.

    Args:
        status: of HTTP; None without an answer.
        code: the store's own name of the error, "" without one.
        wait_s: what `Retry-After` asks for, in seconds.
    """

    status: int | None = None
    code: str = ""
    wait_s: float | None = None


def answer_of(exc: BaseException) -> Answer:
    """Return the answer that led to an exception; an empty one if there was none."""
    for link in chain(exc):
        if (found := _answer(link)) is not None:
            return found
    return Answer()


def chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it, the nearest first."""
    link: BaseException | None = exc
    for _ in range(_MOST_LINKS):
        if link is None:
            return
        yield link
        # Because drivers raise FileNotFoundError while they handle unrelated errors, follow only its stated cause.
        unrelated = link.__suppress_context__ or isinstance(link, FileNotFoundError)
        link = link.__cause__ or (None if unrelated else link.__context__)


def _answer(link: BaseException) -> Answer | None:
    response: Any = getattr(link, "response", None)
    if isinstance(response, Mapping):  # botocore
        code = str(response.get("Error", {}).get("Code", ""))
        metadata = response.get("ResponseMetadata", {})
        status = metadata.get("HTTPStatusCode") or (code if code.isdecimal() else None)
        return Answer(_number(status), code, _wait(metadata.get("HTTPHeaders")))
    headers = getattr(link, "headers", None) or getattr(response, "headers", None)
    # aiohttp and azure; gcsfs. A `code` of aiohttp is that of its parser, which nobody answered.
    for name in ("status", "status_code", *(["code"] if type(link).__module__.startswith("gcsfs") else [])):
        if (status := _number(getattr(link, name, None))) is not None and 300 <= status < 1000:
            named: Any = getattr(link, "error_code", None)
            return Answer(status, str(getattr(named, "value", named) or ""), _wait(headers))
    return None


def _number(value: object) -> int | None:
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return int(value)
    return None


def _wait(headers: Any) -> float | None:
    """Return the seconds of `Retry-After`, which is a number or a date."""
    fields = {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {}
    text = fields.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
