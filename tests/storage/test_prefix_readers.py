"""Readers whose policy lets them list one prefix of a bucket: S3 denies them objects that are not there."""

from __future__ import annotations

import dataclasses

import pytest
from faultproxy import FaultProxy
from servers import S3Server

from anon_batch.errors import AccessDeniedError, ObjectNotFoundError
from anon_batch.storage import Storage


def test_an_object_that_is_not_there_is_missing_although_s3_says_denied(moto: S3Server) -> None:
    """S3 says so to readers whose policy lets them list one prefix only."""
    base = f"s3://{moto.new_bucket()}"
    Storage(moto.config()).put(f"{base}/a/there-too", b"x")
    Storage(moto.config()).put(f"{base}/a/there", b"x")
    with FaultProxy(moto.endpoint_url) as proxy:
        storage = Storage(dataclasses.replace(moto, endpoint_url=proxy.url).config())
        proxy.add("error", status=403, code="AccessDenied", key="/a/", times=None)
        for name in ("ther", "there-", "gone"):
            with pytest.raises(ObjectNotFoundError):
                storage.read(f"{base}/a/{name}")
            with pytest.raises(ObjectNotFoundError):
                storage.size(f"{base}/a/{name}")
            assert not storage.exists(f"{base}/a/{name}")
        for call in (storage.read, storage.size, storage.exists):
            with pytest.raises(AccessDeniedError):
                call(f"{base}/a/there")
        proxy.add("error", status=403, code="AccessDenied", key="list-type", times=None)
        with pytest.raises(AccessDeniedError):
            storage.read(f"{base}/a/gone")
