"""The commands of the recipes, executed on miniatures as the pages have them."""

from __future__ import annotations

import gc
import io
import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pyarrow.parquet as pq
import yaml
from document_blocks import ROOT, blocks
from typer.testing import CliRunner

from anon_batch.cli.app import app

NAMES = ("imagenet-train", "imagenet-val", "imagenet-hf", "imagenet-wds", "coco", "open-images", "wider", "datacomp")
BUCKETS = ("my-datasets", "my-releases", "my-restricted", "open-images-dataset")
_PUBLIC = ("open-images-dataset",)


def page(name: str) -> str:
    """Return the path of a recipe below the repository."""
    return f"manifests/recipes/{name}.md"


def commands(name: str) -> list[str]:
    """Return the commands of a recipe, each in one line."""
    [code] = [code for path, code in blocks("recipe", "sh") if path == page(name)]
    return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def job(name: str) -> dict[str, Any]:
    """Return the content of a recipe's job file."""
    found: dict[str, Any] = yaml.safe_load((ROOT / f"jobs/{name}.yaml").read_text(encoding="utf-8"))
    return found


def sample_size(name: str) -> str:
    """Return the number of images that the second command of a recipe takes."""
    found = re.search(r"--limit (\d+)$", commands(name)[1])
    assert found
    return found[1]


@dataclass(frozen=True)
class Made:
    """What the commands of a recipe made.

    Args:
        name: of the recipe.
        folder: where they ran. Holds a folder for each bucket, with what is in it now.
        printed: what each command printed.
    """

    name: str
    folder: Path
    printed: list[str] = field(default_factory=list)

    @property
    def release(self) -> Path:
        return self.folder / _local(job(self.name)["output"])

    @property
    def sample(self) -> Path:
        """The release of the second command."""
        return self.release.with_name(f"{self.release.name}-sample-{sample_size(self.name)}")

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the provenance, in the order of the source."""
        found: list[dict[str, Any]] = pq.read_table(self.release / "provenance").to_pylist()
        return found

    def manifest(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.folder / _local(job(self.name)["manifest"])).to_pylist()
        return found


def make(name: str, folder: Path, run: Callable[..., str]) -> Made:
    """Execute the three commands of a recipe and those that publish a release, in the working directory `folder`.

    Args:
        name: of the recipe.
        folder: holds the miniature.
        run: executes `anon-batch` with these words; returns what it printed.
    """
    made = Made(name, folder)
    (folder / "jobs").mkdir()
    (folder / f"jobs/{name}.yaml").write_text((ROOT / f"jobs/{name}.yaml").read_text(encoding="utf-8"))
    output, ledger = job(name)["output"], job(name).get("ledger", f"{job(name)['output']}-ledger")
    with _working_in(folder):
        for line in commands(name):
            program, *words = shlex.split(line)
            assert program == "anon-batch"
            made.printed.append(run(*words))
        call("verify", output, "--ledger", ledger)
        call("keys", "new", "--sign", "release.key")
        call("release", output, "--sign-key", "release.key", "--ledger", ledger, "--job", f"jobs/{name}.yaml")
        call("verify", output, "--no-ledger", "--key", "release.key.pub")
    return made


def call(*words: str) -> str:
    """Run a command in this process; return what it printed.

    Raises:
        AssertionError: it does not end with 0.
    """
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, f"anon-batch {shlex.join(words)}: {done.exit_code}\n{done.output}\n{done.exception!r}"
    return done.output


def upload(client: boto3.client, folder: Path) -> None:
    """Put the folders that are called as the buckets into new buckets."""
    for bucket in BUCKETS:
        client.create_bucket(Bucket=bucket)
        access = {"ACL": "public-read"} if bucket in _PUBLIC else {}
        for path in sorted((folder / bucket).rglob("*")):
            if path.is_file():
                key = str(path.relative_to(folder / bucket))
                client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), **access)


def download(client: boto3.client, folder: Path) -> None:
    """Fetch what is in the buckets and delete them."""
    for bucket in BUCKETS:
        for entry in _objects(client, bucket):
            path = folder / bucket / entry
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=bucket, Key=entry)["Body"].read())
            client.delete_object(Bucket=bucket, Key=entry)
        client.delete_bucket(Bucket=bucket)


class Loaded(NamedTuple):
    """What an example left behind: its names, and the lines that it printed."""

    names: dict[str, Any]
    printed: list[str]


def load(made: Made, folder: Path) -> list[Loaded]:
    """Execute the Python code of a recipe in a new folder beside which its release and its source lie."""
    folder.mkdir()
    beside = [made.release, *made.folder.iterdir(), *(made.folder / "my-datasets").glob("*")]
    for path in {path for path in beside if path.is_dir()}:
        (folder / path.name).symlink_to(path)
    return [_execute(code, folder) for path, code in blocks("recipe load", "python") if path == page(made.name)]


def _execute(code: str, folder: Path) -> Loaded:
    names: dict[str, Any] = {"__name__": "example"}
    with _working_in(folder), redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some loaders leave closing files to the collector
        exec(compile(code, "example", "exec"), names)
        gc.collect()
    return Loaded(names, printed.getvalue().splitlines())


def _objects(client: Any, bucket: str) -> Sequence[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for listed in pages for entry in listed.get("Contents", ())]


def _local(address: str) -> str:
    return address.removeprefix("s3://")


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
