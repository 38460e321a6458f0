"""Which addresses of a manifest may be read. The operator says so, never the manifest, because others may have written it."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from anon_batch.config import SourcesConfig
from anon_batch.errors import ConfigError, SourceRefusedError
from anon_batch.manifest.addresses import folder_of, parse_cell
from anon_batch.manifest.hosts import Trust, literal_ip, plain_host, refused_ip, refused_name
from anon_batch.storage import absolute, is_local, join

USUAL_PROTOCOLS = ("s3", "gs", "az", "abfs", "abfss", "https", "http", "memory")
# These read through another address, or one inside a file, so that a prefix says nothing about what they lead to.
_WRAPPERS = frozenset(
    [
        "blockcache",
        "cached",
        "dask",
        "data",
        "dir",
        "filecache",
        "generic",
        "git",
        "jlab",
        "jupyter",
        "libarchive",
        "reference",
        "simplecache",
        "tar",
        "zip",
    ]
)
_AZURE = frozenset({"az", "abfs", "abfss"})
_AZURE_HOSTS = (".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net")
_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_ODD_URL = re.compile(r"[\\\x00-\x1f\x7f]")
_ODD_HOST = re.compile(r"[\s%]")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.-]+")
_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
_DECODINGS = 3  # rounds of percent-decoding


class _Prefix(NamedTuple):
    """An entry of the list, or an address: protocol, host (or bucket) with port, path without slashes at its ends."""

    scheme: str
    authority: str
    path: str

    def holds(self, other: _Prefix) -> bool:
        if self.scheme != other.scheme or (self.authority and self.authority != other.authority):
            return False
        return not self.path or other.path == self.path or other.path.startswith(f"{self.path}/")


class _Server(NamedTuple):
    scheme: str
    authority: str
    refusal: str | None


@dataclass(frozen=True, slots=True)
class AllowedSources:
    """What may be read.

    Args:
        manifest: absolute address of the manifest, whose own cells may be read.
        folders: absolute local folders, as written and with links resolved.
        prefixes: of remote addresses.
        listed: whether the operator gave the list.
    """

    manifest: str
    folders: tuple[str, ...]
    prefixes: tuple[_Prefix, ...]
    listed: bool

    @classmethod
    def of(cls, config: SourcesConfig, manifest: str) -> AllowedSources:
        """Return what the job's `sources.allow` says, or the default for a manifest.

        Raises:
            ConfigError: an entry cannot be used.
        """
        uri = absolute(manifest)
        if config.allow is None:
            usual = tuple(_Prefix(name, "", "") for name in USUAL_PROTOCOLS)
            home = _spellings(folder_of(uri)) if is_local(uri) else ()
            return cls(uri, () if "/" in home else home, usual, listed=False)  # because "/" would allow every file
        local = [entry for entry in config.allow if is_local(entry)]
        remote = [_entry(entry) for entry in config.allow if not is_local(entry)]
        return cls(uri, tuple(f for entry in local for f in _spellings(absolute(entry))), tuple(remote), listed=True)

    @classmethod
    def of_list(cls, config: SourcesConfig, address: str) -> AllowedSources:
        """Return the same for a list of images that the operator named: a file, or a folder, whose images may be read."""
        is_file = address.lower().endswith((".parquet", ".csv"))
        return cls.of(config, address if is_file else join(address, "-"))

    def check(self, uri: str) -> None:
        """Check an address before it is read; follow the links of a local path.

        Raises:
            SourceRefusedError: it may not be read.
        """
        if (reason := self.refusal(uri)) is not None:
            raise SourceRefusedError(reason, uri)
        path = _file_of(uri)
        if is_local(path) and path != self.manifest:
            self._check_local(path, uri)

    def refusal(self, uri: str) -> str | None:
        """Return why an address may not be read; None if its text shows no reason. Nothing is read or resolved."""
        uri = _file_of(uri)
        if uri == self.manifest:
            return None
        if "::" in uri:
            return "a chained address (`::`); it is never read"
        if is_local(uri):
            path = os.path.normpath(uri) if "/." in uri or "//" in uri else uri
            return None if self._holds_path(path) else f"a local file outside {self._places()}"
        return self._remote_refusal(uri)

    def trust_of(self, host: str) -> Trust:
        """Return which IP addresses a host of http(s) may resolve to."""
        name = plain_host(host)
        named = any(_host_of(p.authority) == name for p in self.prefixes if p.scheme in _PORTS and p.authority)
        return "named" if named else "public"

    def _holds_path(self, path: str) -> bool:
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in self.folders)

    def _check_local(self, path: str, uri: str) -> None:
        try:
            real = os.path.realpath(path)
        except ValueError:  # it has a NUL in it
            raise SourceRefusedError("no path of a file", uri) from None
        if not self._holds_path(real):
            raise SourceRefusedError(f"a link to a file outside {self._places()}", uri)
        try:
            mode = os.stat(real).st_mode
        except OSError:
            return  # the read says what is wrong
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise SourceRefusedError("a pipe, socket or device, not a file", uri)

    def _remote_refusal(self, uri: str) -> str | None:
        found = _SCHEME.match(uri)
        scheme = found[1].lower() if found else ""
        if not scheme or scheme in _WRAPPERS or scheme in ("file", "local"):
            return f"the protocol {scheme or 'of this address'} is never read"
        if scheme in _PORTS:
            return self._http_refusal(uri)
        address = _parse(uri)
        if _DOTS.search(address.path):
            return "an address with `.` or `..` in its path"
        if not any(p.holds(address) for p in self.prefixes):
            return self._not_listed(scheme)
        if scheme in _AZURE and "@" in address.authority and not self._names(address):
            host = address.authority.rpartition("@")[2]
            if not _PLAIN_HOST.fullmatch(host) or not host.endswith(_AZURE_HOSTS):
                return f"{host} is no server of Azure, and would get its credentials"
        return None

    def _http_refusal(self, url: str) -> str | None:
        if _ODD_URL.search(url):
            return "an address with a backslash or control character"
        head, path = _split_url(url)
        server = _server(head)
        if isinstance(server, str):
            return server
        address = _Prefix(server.scheme, server.authority, path.strip("/"))
        if _has_dots(address.path):
            return "an address with `.` or `..` in its path"
        if not any(p.holds(address) for p in self.prefixes):
            return self._not_listed(f"{address.scheme}://{address.authority}")
        if any(p.authority == address.authority for p in self.prefixes if p.holds(address)):
            return None  # the operator named this very host
        return server.refusal

    def _names(self, address: _Prefix) -> bool:
        return any(p.authority == address.authority and p.holds(address) for p in self.prefixes)

    def _not_listed(self, what: str) -> str:
        why = "" if self.listed else ", and its protocol is not one of " + ", ".join(USUAL_PROTOCOLS)
        return f"{what} is not in `sources.allow`{why}"

    def _places(self) -> str:
        if not self.listed:
            return "the manifest's own folder" if self.folders else "the manifest's bucket (or folder, if that is `/`)"
        return "the folders of `sources.allow`"


def _file_of(uri: str) -> str:
    cell = parse_cell(uri)
    return uri if cell is None else cell.uri


def _spellings(path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((os.path.normpath(path), os.path.realpath(path))))


def _entry(entry: str) -> _Prefix:
    try:
        prefix = _parse(entry)
    except ValueError as exc:
        raise ConfigError(f"sources.allow: {entry}: not an address ({exc})") from None
    if prefix.scheme in _WRAPPERS:
        raise ConfigError(f"sources.allow: {entry}: `{prefix.scheme}` leads to other addresses, so it is never read")
    if not prefix.scheme or _has_dots(prefix.path):
        raise ConfigError(
            f"sources.allow: {entry}: expected a folder, PROTOCOL://, or PROTOCOL://HOST/PATH/ without dots"
        )
    return prefix


def _parse(uri: str) -> _Prefix:
    found = _SCHEME.match(uri)
    scheme = found[1].lower() if found else ""
    if scheme in _PORTS and uri[len(scheme) + 3 :]:
        head, path = _split_url(uri)
        server = _server(head)
        if isinstance(server, str):
            raise ValueError(server)
        return _Prefix(server.scheme, server.authority, path.strip("/"))
    authority, _, path = uri[len(scheme) + 3 :].partition("/")
    return _Prefix({"s3a": "s3", "gcs": "gs"}.get(scheme, scheme), authority, path.rstrip("/"))


def _split_url(url: str) -> tuple[str, str]:
    """Return protocol and server of an http URL, and its path."""
    start = url.index("://") + 3
    end = start + len(re.split(r"[/?#]", url[start:], maxsplit=1)[0])
    return url[:end], re.split(r"[?#]", url[end:], maxsplit=1)[0]


@functools.lru_cache(maxsize=4096)
def _server(head: str) -> _Server | str:
    """Return the server of `PROTOCOL://SERVER`, or what is wrong with it."""
    try:
        parts = urlsplit(head)
        scheme, host, port = parts.scheme.lower(), plain_host(parts.hostname or ""), parts.port
    except ValueError as exc:
        return f"not an address ({exc})"
    if not host or _ODD_HOST.search(parts.hostname or ""):
        return "an address without a host, or with a host that is none"
    shown = f"[{host}]" if ":" in host else host
    ip = literal_ip(host)
    kind = refused_name(host) if ip is None else refused_ip(ip)
    authority = shown if port in (None, _PORTS[scheme]) else f"{shown}:{port}"
    return _Server(scheme, authority, None if kind is None else f"{host} is {kind}")


def _host_of(authority: str) -> str:
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _has_dots(path: str) -> bool:
    """Return whether a URL's path has a `.` or `..` segment, percent-encoded ones included."""
    return any(_DOTS.search(text) for text in _decodings(path))


def _decodings(path: str) -> Iterator[str]:
    for _ in range(_DECODINGS):
        yield path
        if "%" not in path:
            return
        path = unquote(path).replace("\\", "/")
