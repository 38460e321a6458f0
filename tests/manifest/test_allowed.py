"""What a manifest may name: the operator's list decides, whatever the spelling of an address."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anon_batch.config import SourcesConfig, load_job
from anon_batch.errors import ConfigError, SourceRefusedError
from anon_batch.manifest.allowed import AllowedSources


def rules(*allow: str, manifest: str = "/data/set/m.parquet") -> AllowedSources:
    return AllowedSources.of(SourcesConfig(allow=allow or None), manifest)


@pytest.mark.parametrize(
    "uri",
    [
        "/data/set/a.jpg",
        "/data/set/deep/er/a b#1.jpg",
        "/data/set/x/../a.jpg",
        "/data/set/m.parquet#column=image&row=3",
        "s3://bucket/a.jpg",
        "s3a://bucket/..a/b..jpg",
        "s3://bucket/a#column=image&row=1",
        "gs://bucket/a.jpg",
        "az://container/a.jpg",
        "abfs://container@account.dfs.core.windows.net/a.jpg",
        "https://images.example.org/a b.jpg?x=1&y=/../",
        "http://images.example.org:8080/a.jpg",
        "http://8.8.8.8/a.jpg",
        "memory://bucket/a.jpg",
    ],
)
def test_the_default_reads_the_manifests_folder_stores_and_the_public_internet(uri: str) -> None:
    assert rules().refusal(uri) is None


LOCAL = [
    "/etc/passwd",
    "/data/set/../../etc/passwd",
    "/data/setting/a.jpg",
    "/data/set/./../other/a.jpg",
    "//etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://localhost/etc/passwd",
    "local:///etc/passwd",
    "/etc/x.parquet#column=image&row=1",
]
PROTOCOLS = [
    "simplecache::s3://bucket/a.jpg",
    "zip://a.jpg::s3://bucket/a.zip",
    "filecache::http://169.254.169.254/",
    "s3://bucket/a.jpg::file:///etc/passwd",
    "reference://a",
    "github://org:repo@main/a.jpg",
    "dask://a.jpg",
    "data:text/plain;base64,aGVsbG8=",
    "data://text",
    "ftp://host/a.jpg",
    "sftp://host/etc/passwd",
    "ssh://host/a",
    "smb://host/a",
    "hdfs://host/a",
    "webhdfs://127.0.0.1/a",
    "git://x/a",
    "tar://a",
    "dir://a",
    "generic://a",
    "jupyter://host/a",
    "abfs://container@evil.example.org/a.jpg",
    "abfs://container@evil.example.org?.core.windows.net/a.jpg",
    "abfs://container@evil.example.org#.core.windows.net/a.jpg",
    "az://container@account.core.windows.net.evil.example.org/a.jpg",
    "abfss://c@evil.example.org\\.core.windows.net/a.jpg",
    "https:///etc/passwd",
    "http://host:port/a.jpg",
    "http://[::1/a.jpg",
    "s3://bucket/../other/a.jpg",
]
HOSTS = [
    "169.254.169.254",
    "169.254.170.2",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "2852039166",
    "0xA9FEA9FE",
    "0",
    "0.0.0.0",
    "127.0.0.1.",
    "①②⑦.⓪.⓪.①",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fc00::1]",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "metadata.google.internal",
    "user:pw@127.0.0.1",
    "images.example.org@127.0.0.1",
    "127.0.0.1\\@images.example.org",
    "images.example.org\\@127.0.0.1",
    "\t127.0.0.1",
    "127.0.0.1%00.example.org",
    "",
    "[127.0.0.1]",
]


@pytest.mark.parametrize(
    "uri", [*LOCAL, *PROTOCOLS, *[f"http://{h}/a.jpg" for h in HOSTS], "https://127.0.0.1:1/", "HTTP://127.0.0.1/"]
)
def test_the_default_refuses_other_files_hosts_and_protocols(uri: str) -> None:
    assert rules().refusal(uri), uri


@pytest.mark.parametrize(
    ("allow", "inside", "outside"),
    [
        (
            "s3://bucket/prefix/",
            ["s3://bucket/prefix/a.jpg", "s3a://bucket/prefix/b/c"],
            ["s3://bucket/prefix2/a", "s3://bucket/a", "s3://bucket2/prefix/a", "s3://bucket/prefix/../a", "gs://bucket/prefix/a"],
        ),
        ("s3://", ["s3://any/a"], ["gs://any/a", "/data/set/a.jpg", "https://host/a"]),
        (
            "https://host/images",
            ["https://host/images/a", "https://HOST:443/images/a?b=c", "https://user@host/images/a"],
            [
                "https://host.evil.org/images/a",
                "https://host/imagesx",
                "https://host/images/%2e%2e/a",
                "https://host/images/%252e%252e/a",
                "https://host/images/..%2fa",
                "https://host/images/..\\a",
                "http://host/images/a",
                "https://host:8443/images/a",
                "https://host@evil.org/images/a",
            ],
        ),
        ("http://127.0.0.1:8000/", ["http://127.0.0.1:8000/a"], ["http://127.0.0.1:22/a", "http://127.0.0.1/a", "http://127.1:8000/a"]),
        ("http://localhost:9000/", ["http://localhost:9000/a"], ["http://127.0.0.1:9000/a"]),
        ("https://", ["https://images.example.org/a"], ["https://10.0.0.1/a", "http://images.example.org/a"]),
        ("/other", ["/other/a.jpg", "/other"], ["/data/set/a.jpg", "/otherwise/a.jpg", "/other/../etc/passwd", "s3://b/a"]),
        ("file:///other", ["/other/a.jpg"], ["/etc/passwd"]),
        ("sftp://host/set/", ["sftp://host/set/a"], ["sftp://host/etc/passwd", "sftp://host/set/../a"]),
        ("abfs://c@custom.example.org/", ["abfs://c@custom.example.org/a"], ["abfs://c@evil.example.org/a"]),
    ],
)  # fmt: skip
def test_a_list_replaces_the_default_and_ends_at_whole_segments(
    allow: str, inside: list[str], outside: list[str]
) -> None:
    found = rules(allow)
    assert [uri for uri in inside if found.refusal(uri)] == []
    assert [uri for uri in outside if not found.refusal(uri)] == []
    assert found.refusal("/data/set/m.parquet#column=image&row=0") is None, "the operator named the manifest itself"


@pytest.mark.parametrize("manifest", ["s3://bucket/m.parquet", "/m.parquet"])
def test_a_manifest_in_a_bucket_or_the_root_folder_names_no_local_file(manifest: str) -> None:
    assert "outside" in str(rules(manifest=manifest).refusal("/etc/passwd"))


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("secret", "set/real.jpg", "set/in.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "set/out.jpg").symlink_to(tmp_path / "secret")
    (tmp_path / "set/folder").symlink_to(tmp_path)
    (tmp_path / "set/within.jpg").symlink_to(tmp_path / "set/in.jpg")
    os.mkfifo(tmp_path / "set/pipe.jpg")
    found = rules(manifest=str(tmp_path / "set/m.parquet"))
    for name in ("real.jpg", "within.jpg", "none.jpg"):
        found.check(str(tmp_path / "set" / name))
    for name, said in (("out.jpg", "link"), ("folder/secret", "link"), ("pipe.jpg", "pipe"), ("../secret", "outside")):
        with pytest.raises(SourceRefusedError, match=said):
            found.check(str(tmp_path / "set" / name))
    rules(str(tmp_path)).check(str(tmp_path / "set/out.jpg"))


def test_a_folder_that_is_itself_a_link_is_allowed_under_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.jpg").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("link", "real"):
        found = rules(manifest=str(tmp_path / name / "m.parquet"))
        found.check(str(tmp_path / name / "a.jpg"))
    rules(str(tmp_path / "link")).check(str(tmp_path / "real/a.jpg"))


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ("simplecache::s3://b/", "chained"),
        ("reference://x/", "leads to other addresses"),
        ("s3://b/../c/", "without dots"),
        ("http://h:port/", "not an address"),
        (" ", "empty"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused(allow: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AllowedSources.of(load_job(None, {"manifest": "m", "output": "o", "sources.allow": [allow]}).sources, "m")
