# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "support/build_repository.py"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("dpkg-deb", "gpg", "gpgv"))), reason="needs dpkg-deb, gpg and gpgv"
)


def build(output, *options):
    command = [sys.executable, str(BUILD), str(output), "--suite", "bookworm", *options]
    subprocess.run(command, check=True, capture_output=True)


def signature(output, tmp_path):
    """The status lines of gpgv about the signed index."""
    keyring = tmp_path / "keyring.gpg"
    subprocess.run(["gpg", "--yes", "--dearmor", "-o", str(keyring), str(output / "gpg.key")], check=True)
    release = output / "debian/dists/bookworm/InRelease"
    command = ["gpgv", "--status-fd", "1", "--keyring", str(keyring), str(release)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def test_what_the_signed_index_names_is_there(tmp_path):
    output = tmp_path / "out"
    build(output, "--version", "19.3.0-1", "--version", "19.4.0-1")
    assert "VALIDSIG" in signature(output, tmp_path)
    suite = output / "debian/dists/bookworm"
    release = (suite / "Release").read_text(encoding="ascii")
    sums = [line.split() for line in release.partition("SHA256:\n")[2].splitlines()]
    assert len(sums) == 4
    for digest, size, name in sums:
        data = (suite / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), str(len(data))) == (digest, size)
    text = gzip.decompress((suite / "main/binary-amd64/Packages.gz").read_bytes()).decode()
    packages = [dict(re.findall(r"^(\S+): (.*)$", entry, re.M)) for entry in text.split("\n\n")]
    assert [(item["Package"], item["Version"]) for item in packages] == [
        (name, version)
        for name in ("gitlab-runner-helper-images", "gitlab-runner")
        for version in ("19.3.0-1", "19.4.0-1")
    ]
    for item in packages:
        data = (output / "debian" / item["Filename"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item["SHA256"]
        assert "test stand-in" in item["Description"]
    depends = packages[-1]["Depends"]
    assert "gitlab-runner-helper-images (= 19.4.0-1)" in depends


def test_the_binary_has_its_version_and_checksum(tmp_path):
    build(tmp_path, "--version", "19.4.0-1")
    binary = tmp_path / "latest/binaries/gitlab-runner-linux-amd64"
    shown = subprocess.run([sys.executable, str(binary), "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Version:      19.4.0 (test stand-in)\n")
    line = f"{hashlib.sha256(binary.read_bytes()).hexdigest()} *binaries/{binary.name}"
    assert line in (tmp_path / "v19.4.0/release.sha256").read_text(encoding="ascii").splitlines()


def test_an_expired_key_can_be_made_and_renewed(tmp_path, tmp_path_factory):
    home = tmp_path_factory.mktemp("key")
    build(tmp_path, "--key-home", str(home), "--faked-time", "20200101T000000")
    assert "KEYEXPIRED" in signature(tmp_path, tmp_path)
    build(tmp_path, "--key-home", str(home))
    renewed = signature(tmp_path, tmp_path)
    assert "KEYEXPIRED" not in renewed
    assert "VALIDSIG" in renewed
