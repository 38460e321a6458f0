"""Credentials in text and in addresses."""

from __future__ import annotations

import pytest

from anon_batch.cli.console import fail
from anon_batch.errors import ExitCode, ObjectNotFoundError, StorageError, ThrottledError
from anon_batch.redaction import redact, redact_address


@pytest.mark.parametrize(
    "text",
    [
        "GET https://b.s3.amazonaws.com/k?X-Amz-Signature=CANARY&x=1 failed",
        "url='http://h/a b.jpg?token=CANARY'",
        'fetch("https://acct.blob.core.windows.net/c/b?sv=1&sig=CANARY")',
        "abfs://c@acct.dfs.core.windows.net/b?sig=CANARY",
        "https://user:CANARY@host/x",
        "https://CANARY@host/x",
        "ftp://user:CANARY@host/x",
        "simplecache::https://h/x?CANARY",
        "AccountName=a;AccountKey=CANARY;",
        "{'secret': 'CANARY', 'x': 1}",
        "aws_secret_access_key = CANARY",
        "Authorization: Bearer CANARYCANARY",
        "X-Amz-Credential=CANARY/20260101/eu/s3/aws4_request",
        "X-Goog-Signature=CANARY",
        "the key AKIACANARYCANARY2345 is unknown",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert "CANARY" not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/what?.jpg",
        "abfs://container@account.dfs.core.windows.net/a.jpg",
        "no such host [https://host/a.jpg]",
        "/home/me/a?b=c.jpg",
        "12 of 40 tokens; what now? nothing",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert redact(text) == text
    assert redact_address(text) == text


@pytest.mark.parametrize("kind", [StorageError, ObjectNotFoundError, ThrottledError])
def test_no_storage_error_holds_a_query(kind: type[StorageError]) -> None:
    uri = "https://host/a b'\".jpg?CANARY with spaces"
    error = kind(f"{uri}: refused", uri)
    assert "CANARY" not in f"{error} {error!r} {error.uri} {error.message} {error.args}"
    assert str(error) == "https://host/a b'\".jpg?***: refused [https://host/a b'\".jpg?***]"


def test_no_error_on_the_terminal_holds_a_query(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("https://host/a.jpg?sig=CANARY is not in `sources.allow`", ExitCode.USAGE) == 2
    assert capsys.readouterr().err == "anon-batch: https://host/a.jpg?*** is not in `sources.allow`\n"
