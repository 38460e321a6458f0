"""HTTP sessions that connect to allowed hosts only, whatever a redirect or a name server says."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anon_batch.errors import SourceRefusedError
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.hosts import literal_ip, refused_ip

if TYPE_CHECKING:
    from aiohttp import ClientSession


def client_maker(allowed: AllowedSources) -> Callable[..., Any]:
    """Return what fsspec's `get_client` calls to open a session.

    Every request is checked before it is sent, those after a redirect included, and so is every IP address that a name resolves
    to: both raise SourceRefusedError.
    """
    return functools.partial(_open_session, allowed)


async def _open_session(allowed: AllowedSources, **options: Any) -> ClientSession:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Resolver(AbstractResolver):  # type: ignore[misc]  # aiohttp is not followed
        def __init__(self) -> None:
            self._inner = aiohttp.ThreadedResolver()

        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
            found: list[ResolveResult] = await self._inner.resolve(host, port, family)
            for result in found:
                _check_ip(allowed, host, result["host"])
            return found

        async def close(self) -> None:
            await self._inner.close()

    async def check(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        url = str(request.url)
        if (reason := allowed.refusal(url)) is not None:
            raise SourceRefusedError(reason, url)
        return await handler(request)

    return aiohttp.ClientSession(
        **{"connector": aiohttp.TCPConnector(resolver=Resolver()), **options}, middlewares=(check,)
    )


def _check_ip(allowed: AllowedSources, host: str, address: str) -> None:
    if literal_ip(host) is not None or host == "localhost":  # the text of the address was checked
        return
    ip = ipaddress.ip_address(address.partition("%")[0])
    if (kind := refused_ip(ip, allowed.trust_of(host))) is not None:
        raise SourceRefusedError(f"{host} leads to {kind}", host)
