"""Where recipes run as they are written: an S3 server and a Ray cluster, both on this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from recipes.commands import Made, call, download, make, upload
from releases import command, environment
from servers import S3Server


@dataclass(frozen=True)
class Cloud:
    """An S3 server that the environment names, and the address of a Ray cluster that has the same environment."""

    server: S3Server
    ray_address: str

    def make(self, name: str, folder: Path) -> Made:
        """Execute a recipe.

        Args:
            name: of the recipe.
            folder: holds a folder for each bucket with its content, and what the recipe expects beside `jobs/`.
        """

        def run(*words: str) -> str:
            return self._run(folder, *words) if words[0] == "run" else call(*words)

        with self.server.client() as client:
            upload(client, folder)
            made = make(name, folder, run)
            download(client, folder)
        return made

    def _run(self, folder: Path, *words: str) -> str:
        line = command(*words, "--address", self.ray_address)
        done = subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr
