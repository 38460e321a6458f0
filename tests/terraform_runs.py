"""Runs infra/terraform offline: the provider comes from a folder on this machine, the account is simulated by moto.

Terraform looks for providers in /usr/share/terraform/plugins and its other places of its own accord. Another folder with the same
layout, HOST/NAMESPACE/NAME/VERSION/PLATFORM/, is named by ANON_BATCH_TERRAFORM_PLUGINS.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import external_data
import pytest

PLUGINS_VARIABLE = "ANON_BATCH_TERRAFORM_PLUGINS"
FOLDER = Path(__file__).parents[1] / "infra/terraform"
VARIABLES = {
    "region": "eu-central-1",
    "prefix": "acme-faces",
    "input_bucket_arns": '["arn:aws:s3:::acme-photos"]',
    "image_repository_arns": '["arn:aws:ecr:eu-central-1:123456789012:repository/anon-batch"]',
    "operator_principal_arns": '["arn:aws:iam::123456789012:user/owner"]',
    "eks_oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/0123",
}
_OWN_FOLDERS = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)
# Buckets in the path, because no name resolves to moto's loopback address.
_OVERRIDE = 'provider "aws" {\n  s3_use_path_style = true\n}\n'


class Terraform:
    """A copy of infra/terraform with a state of its own.

    Args:
        folder: empty.
        endpoint: of moto; None where no account is needed.
    """

    def __init__(self, folder: Path, endpoint: str | None = None) -> None:
        self.folder = folder / "terraform"
        files = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars")
        shutil.copytree(FOLDER, self.folder, ignore=files)
        (self.folder / "simulated_override.tf").write_text(_OVERRIDE)
        values = {f"TF_VAR_{name}": value for name, value in VARIABLES.items()}
        self.env = {**os.environ, **values, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        if plugins := os.environ.get(PLUGINS_VARIABLE):
            config = folder / "terraformrc"
            config.write_text(
                f"provider_installation {{\n  filesystem_mirror {{\n    path = {json.dumps(plugins)}\n  }}\n}}\n"
            )
            self.env["TF_CLI_CONFIG_FILE"] = str(config)
        if endpoint is not None:
            self.env |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "secret"}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run one command; return what it printed."""
        command = ["terraform", f"-chdir={self.folder}", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return address -> attributes of everything that was applied."""
        state = json.loads(self("show", "-json"))
        return {own["address"]: own["values"] for own in state["values"]["root_module"]["resources"]}


def provider_version() -> str:
    """Return the version that the lock file pins."""
    found = re.search(r'^\s*version\s*=\s*"([\d.]+)"', (FOLDER / ".terraform.lock.hcl").read_text(), re.MULTILINE)
    assert found
    return found[1]


def skip_without_terraform() -> None:
    """Skip the running test where Terraform or the pinned provider is missing."""
    if shutil.which("terraform") is None:
        pytest.skip(f"{external_data.NO_TOOL}no terraform")
    version = provider_version()
    named = os.environ.get(PLUGINS_VARIABLE)
    folders = [Path(named)] if named else [Path(own).expanduser() for own in _OWN_FOLDERS]
    below = f"registry.terraform.io/hashicorp/aws/{version}"
    if not any((folder / below).is_dir() for folder in folders):
        pytest.skip(
            f"{external_data.NO_TOOL}no AWS provider {version} for Terraform; {PLUGINS_VARIABLE} names a folder with it"
        )
