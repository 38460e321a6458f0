"""A token: in memory for a Ray of this process, and a clear word where a cluster refuses ours. No Ray runs here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray
from ray.exceptions import AuthenticationError

from anon_batch.cluster import ray_cluster, ray_token
from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError, ExitCode

TOKEN = "canary5f1d"
VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_USE_TLS")


@pytest.fixture(autouse=True)
def _no_settings_of_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


class _Cluster(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes calls with the token alone, as Ray's ports do; without a token, all."""

    def __init__(self, token: str) -> None:
        self._token = token

    def service(self, details: Any) -> Any:
        sent = dict(details.invocation_metadata).get("authorization")

        def answer(_: bytes, context: Any) -> bytes:
            if self._token and sent != f"Bearer {self._token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


def _serve(token: str) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[_Cluster(token)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """Address of a cluster that asks for a token."""
    yield from _serve(TOKEN)


@pytest.fixture(scope="module")
def open_cluster() -> Iterator[str]:
    yield from _serve("")


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "asks for a token, and none was sent because RAY_AUTH_MODE is not set; set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": TOKEN}, "asks for a token, and none was sent because RAY_AUTH_MODE is not set"),
        ({"RAY_AUTH_MODE": "tokn"}, "none was sent because RAY_AUTH_MODE is 'tokn'"),
        ({"RAY_AUTH_MODE": "disabled"}, "none was sent because RAY_AUTH_MODE is 'disabled'"),
        ({"RAY_AUTH_MODE": "token"}, "there is none in HOME/.ray/auth_token (No such file"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": " "}, "there is none in HOME/.ray/auth_token (No such file"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "HOME/none"}, "there is none in HOME/none (No such file"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "HOME/empty"}, "there is none in HOME/empty (it is empty"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "HOME/bytes"}, "there is none in HOME/bytes (it is not"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "HOME"}, "there is none in HOME (Is a directory"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret9"}, "refuses this token, it has another one"),
    ],
)
def test_a_cluster_that_refuses_the_token_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guarded: str, scheme: str, variables: dict[str, str], said: str
) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("HOME", str(tmp_path)))
    with pytest.raises(ConfigError) as caught:
        ray_cluster.check_reachable(EngineConfig(address=f"{scheme}{guarded}"))
    assert said.replace("HOME", str(tmp_path)) in str(caught.value)
    assert "token" in str(caught.value)
    assert "secret9" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("place", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", ".ray/auth_token"])
def test_the_right_token_is_found_where_ray_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guarded: str, open_cluster: str, place: str
) -> None:
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(f"{TOKEN}\n" if place == ".ray/auth_token" else "another")
    (tmp_path / "t").write_text(TOKEN)
    if place.startswith("RAY"):
        monkeypatch.setenv(place, TOKEN if place == "RAY_AUTH_TOKEN" else str(tmp_path / "t"))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for address in (guarded, open_cluster):  # a cluster that asks for none takes any
        ray_cluster.check_reachable(EngineConfig(address=address))


def test_auto_sends_the_token_that_is_there_as_ray_does(
    monkeypatch: pytest.MonkeyPatch, guarded: str, open_cluster: str
) -> None:
    ray_token.check_token(open_cluster, here=True)
    with pytest.raises(ConfigError, match="none was sent because RAY_AUTH_MODE is not set"):
        ray_token.check_token(guarded, here=True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    ray_token.check_token(guarded, here=True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    with pytest.raises(ConfigError, match="refuses this token"):
        ray_token.check_token(guarded, here=True)


def _refuses() -> None:
    try:
        raise RuntimeError("Failed to connect to GCS. Unauthenticated: RPC error: InvalidAuthToken")
    except RuntimeError as exc:
        raise ConnectionError("Failed to connect to Ray cluster at h:1") from exc


def _has_none() -> None:
    raise AuthenticationError("Token authentication is enabled but no authentication token was found")


@pytest.mark.parametrize("fail", [_refuses, _has_none])
def test_errors_of_ray_itself_are_explained_as_well(monkeypatch: pytest.MonkeyPatch, fail: Any) -> None:
    """Where the check before cannot ask, e.g. through TLS."""
    monkeypatch.setattr(ray, "init", lambda **_: fail())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(ConfigError, match="the Ray cluster at h:1 asks for a token, and none was sent"),
        ray_cluster.connected(EngineConfig(address="h:1"), print),
    ):
        pass


@pytest.mark.parametrize(("mode", "own"), [(None, None), ("token", None), ("TOKEN", "mine"), ("disabled", None)])
def test_a_ray_of_this_process_gets_a_token_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str | None, own: str | None
) -> None:
    for name, value in (("RAY_AUTH_MODE", mode), ("RAY_AUTH_TOKEN", own)):
        if value is not None:
            monkeypatch.setenv(name, value)
    before = {name: os.environ.get(name) for name in VARIABLES}
    seen = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: seen.append({name: os.environ.get(name) for name in VARIABLES}))
    monkeypatch.setattr(ray, "shutdown", lambda: seen.append({name: os.environ.get(name) for name in VARIABLES}))
    for _ in range(2):
        with ray_cluster.connected(EngineConfig(), print):
            pass
        assert {name: os.environ.get(name) for name in VARIABLES} == before
    if mode == "disabled":
        assert {env["RAY_AUTH_TOKEN"] for env in seen} == {None}
        return
    assert {env["RAY_AUTH_MODE"] for env in seen} == {"token"}
    tokens = {env["RAY_AUTH_TOKEN"] for env in seen}
    assert tokens == {own} if own else len(tokens) == 2
    assert all(token and len(token) == 64 for token in tokens) or own
    assert list(tmp_path.iterdir()) == []
