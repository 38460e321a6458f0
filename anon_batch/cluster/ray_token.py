"""Ray's token: a random one for a Ray that only this process uses, and a clear word when a cluster refuses ours.

Ray looks for a token in RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names, and in ~/.ray/auth_token, and sends it where
RAY_AUTH_MODE is `token` (docs.ray.io, "Ray token authentication").
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

from anon_batch.errors import ConfigError

_MODE, _TOKEN, _PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_DEFAULT_PATH = "~/.ray/auth_token"
_PROBE_TIMEOUT_S = 5.0
_REFUSALS = ("Unauthenticated", "UNAUTHENTICATED", "InvalidAuthToken")
# Calls that change nothing, of the cluster's own port and of the one for `ray://`.
_CLUSTER_CALL, _CLIENT_CALL = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
NAME_IT = (
    f"set {_MODE}=token, and {_PATH} to a file that holds the cluster's token (`ray get-auth-token` prints it on the head) or "
    f"{_TOKEN} to the token itself"
)


@contextmanager
def private_token() -> Iterator[None]:
    """Make Ray clusters that start in the block ask for a token that only this process and its children know.

    Ray itself would write one into the home directory, readable by everybody, and fail where that cannot be written. A mode other
    than `token` and a token in RAY_AUTH_TOKEN, which a user has set, stay.
    """
    if os.environ.get(_MODE, "token").lower() != "token":
        yield
        return
    before = {name: os.environ.get(name) for name in (_MODE, _TOKEN)}
    os.environ[_MODE] = "token"
    os.environ[_TOKEN] = before[_TOKEN] or secrets.token_hex(32)
    _read_again()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        _read_again()


def _read_again() -> None:
    """Make Ray's C++ code read the environment again, which it did when it was imported."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def check_token(address: str, *, here: bool = False) -> None:
    """Check that a cluster takes this process's token, because Ray would try for half a minute and not name the reason.

    Args:
        address: `HOST:PORT` or `ray://HOST:PORT`.
        here: whether the cluster was found on this machine; Ray then sends a token that it finds, unless
            RAY_AUTH_MODE forbids it.

    Raises:
        ConfigError: it asks for another token, or for one at all; or the token that is asked for is not there.
    """
    mine = own_token(here=here)
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # because the call would need the certificates; `refused` reads Ray's own error
    headers = () if mine is None else (("authorization", f"Bearer {mine}"),)
    scheme, place = address.rpartition("//")[::2]
    with grpc.insecure_channel(place, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            call = channel.unary_unary(_CLIENT_CALL if scheme else _CLUSTER_CALL)
            call(b"", timeout=_PROBE_TIMEOUT_S, metadata=headers)
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise refused(address, sent=mine is not None) from None


def own_token(*, here: bool = False) -> str | None:
    """Return the token that this process sends; None if it sends none.

    Args:
        here: see `check_token`.

    Raises:
        ConfigError: it should send one, but has none.
    """
    if os.environ.get(_MODE, "token" if here else "").lower() != "token":
        return None
    if token := os.environ.get(_TOKEN, "").strip():
        return token
    path = os.environ.get(_PATH) or os.path.expanduser(_DEFAULT_PATH)
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        token, why = "", getattr(exc, "strerror", None) or "it is not text"
    else:
        why = "it is empty"
    if not token and _MODE in os.environ:
        raise ConfigError(f"{_MODE} is token, but there is none in {path} ({why}); {NAME_IT}")
    return token or None


def refused(address: str, *, sent: bool) -> ConfigError:
    """Return what a user reads when the cluster at `address` takes no connection for lack of the right token.

    Args:
        address: of the cluster.
        sent: whether a token was sent.
    """
    if sent:
        return ConfigError(f"the Ray cluster at {address} refuses this token, it has another one; {NAME_IT}")
    mode = f"{_MODE} is {os.environ[_MODE]!r}" if _MODE in os.environ else f"{_MODE} is not set"
    return ConfigError(f"the Ray cluster at {address} asks for a token, and none was sent because {mode}; {NAME_IT}")


def is_about_token(exc: BaseException | None) -> bool:
    """Return whether Ray failed because a cluster refused a token, from the errors that led to this one."""
    while exc is not None:
        if isinstance(exc, AuthenticationError) or any(word in str(exc) for word in _REFUSALS):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
