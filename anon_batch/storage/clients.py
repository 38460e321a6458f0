"""Options of fsspec's drivers: timeouts, encryption, and no retries of their own, because they would multiply with ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem

from anon_batch.config import StorageConfig
from anon_batch.storage.addresses import is_http, is_s3

_CONNECT_S = 10.0
_MOST_TIMEOUTS = 10  # because a server that sends a byte now and then would hold a thread for ever


def with_defaults(uri: str, options: Mapping[str, Any], config: StorageConfig) -> dict[str, Any]:
    """Return the options of a driver: those of the user, and defaults of this package for the rest."""
    connect_s = min(_CONNECT_S, config.timeout_s)
    if is_s3(uri):
        return {
            "use_listings_cache": False,
            **options,
            "config_kwargs": {
                "retries": {"max_attempts": 0},
                "max_pool_connections": 64,
                "connect_timeout": connect_s,
                "read_timeout": config.timeout_s,
                **options.get("config_kwargs", {}),
            },
            "s3_additional_kwargs": {**_encryption(config), **options.get("s3_additional_kwargs", {})},
        }
    if is_http(uri):
        return {**options, "client_kwargs": {"timeout": _timeout(config), **options.get("client_kwargs", {})}}
    if _is_google(uri):
        return {"requests_timeout": _timeout(config), "use_listings_cache": False, **options}
    if _is_azure(uri):
        seconds = max(1, round(config.timeout_s))
        return {
            "connection_timeout": max(1, round(connect_s)),
            "read_timeout": seconds,
            "use_listings_cache": False,
            **options,
        }
    return dict(options)


def tune(uri: str, fs: fsspec.AbstractFileSystem) -> None:
    """Set what a driver takes as attributes only."""
    if isinstance(fs, AsyncFileSystem):
        fs.loop.set_exception_handler(_report_unless_of_a_connection)
    if is_s3(uri):
        fs.retries = 1
        fs.max_concurrency = 1  # because otherwise each `read` of a small image takes two requests: one for its size
    elif _is_google(uri):
        import gcsfs.retry

        gcsfs.retry.is_retriable = lambda _: False
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # because it logs tracebacks of errors that we report
    elif _is_azure(uri):
        for policy in fs.service_client._pipeline._impl_policies:  # noqa: SLF001  no option reaches them
            if hasattr(policy, "total_retries"):
                policy.total_retries = 0


def _report_unless_of_a_connection(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Drop what asyncio would print of a lost connection, because its request fails with an error that we report."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


def _is_google(uri: str) -> bool:
    return uri.startswith(("gs://", "gcs://"))


def _is_azure(uri: str) -> bool:
    return uri.startswith(("abfs://", "abfss://", "az://"))


def _timeout(config: StorageConfig) -> Any:
    import aiohttp

    connect_s = min(_CONNECT_S, config.timeout_s)
    total_s = config.timeout_s * _MOST_TIMEOUTS
    return aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s, sock_read=config.timeout_s)


def _encryption(config: StorageConfig) -> Mapping[str, str]:
    kwargs = {}
    if config.sse:
        kwargs["ServerSideEncryption"] = config.sse
    if config.sse_kms_key_id:
        kwargs["SSEKMSKeyId"] = config.sse_kms_key_id
    return kwargs
