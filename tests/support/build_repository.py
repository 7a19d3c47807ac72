#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the stand-in packages and a signed repository with the layout of GitLab's; needs dpkg-deb and gpg.

In the output directory: C(gpg.key), C(debian/{dists,pool}), C(ubuntu) (the same repository), and for each
version C(v19.4.0/binaries/gitlab-runner-linux-ARCH) with C(v19.4.0/release.sha256); C(latest): the last one.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

STANDIN = Path(__file__).resolve().parent / "standin"
SUITES = ("bullseye", "bookworm", "trixie", "forky", "jammy", "noble", "resolute")
ARCHITECTURES = ("amd64", "arm64")
KEY_OWNER = "Test stand-in repository <test@example.invalid>"
PYTHON = "python3 (>= 3.11) | python3-tomlkit"
# The real package also depends on git, curl and tar. The stand-in clones nothing, and hosts stay small.
DEPENDS = {
    "gitlab-runner": f"{PYTHON}, ca-certificates, gitlab-runner-helper-images (= {{version}})",
    "gitlab-runner-helper-images": "",
}


def output_of(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build_package(name: str, version: str, pool: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        (root / "DEBIAN").mkdir()
        depends = DEPENDS[name].format(version=version)
        control = [
            f"Package: {name}",
            f"Version: {version}",
            "Architecture: all",
            "Maintainer: rootless.gitlab_runner authors <test@example.invalid>",
            *([f"Depends: {depends}"] if depends else []),
            "Section: admin",
            "Priority: optional",
            f"Description: test stand-in for {name}",
            " This is not GitLab's package and of no use outside of tests.",
        ]
        (root / "DEBIAN/control").write_text("\n".join(control) + "\n", encoding="utf-8")
        if name == "gitlab-runner":
            for script in ("postinst", "prerm"):
                install(STANDIN / script, root / "DEBIAN" / script)
            install(STANDIN / "clear-docker-cache", root / "usr/share/gitlab-runner/clear-docker-cache")
            write_program(version, root / "usr/bin/gitlab-runner")
            (root / "usr/bin/gitlab-ci-multi-runner").symlink_to("gitlab-runner")
        else:
            (root / "usr/lib/gitlab-runner/helper-images").mkdir(parents=True)
        # gzip, because dpkg of Debian 11 cannot read the zstd that Ubuntu's dpkg-deb writes by default.
        output_of(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", scratch, str(pool)])


def install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def write_program(version: str, target: Path) -> None:
    text = (STANDIN / "gitlab-runner").read_text(encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    upstream = version.partition("-")[0]
    target.write_text(text.replace('VERSION = "0.0.0"', f'VERSION = "{upstream}"', 1), encoding="utf-8")
    target.chmod(0o755)


def write_binaries(version: str, output: Path) -> None:
    upstream = version.partition("-")[0]
    sums = ""
    for architecture in ARCHITECTURES:
        binary = output / f"v{upstream}/binaries/gitlab-runner-linux-{architecture}"
        write_program(version, binary)
        sums += f"{hashlib.sha256(binary.read_bytes()).hexdigest()} *binaries/{binary.name}\n"
    (output / f"v{upstream}/release.sha256").write_text(sums, encoding="ascii")
    latest = output / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(f"v{upstream}")


def packages_index(repository: Path) -> bytes:
    entries = []
    for deb in sorted((repository / "pool").rglob("*.deb")):
        lines = [
            output_of(["dpkg-deb", "--field", str(deb)]).rstrip(),
            f"Filename: {deb.relative_to(repository)}",
            f"Size: {deb.stat().st_size}",
            f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}",
        ]
        entries.append("\n".join([*lines, ""]))
    return "\n".join(entries).encode()


def write_suite(suite: str, index: bytes, repository: Path, gpg: list[str]) -> None:
    top = repository / "dists" / suite
    sums = []
    for architecture in ARCHITECTURES:
        folder = top / f"main/binary-{architecture}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in (("Packages", index), ("Packages.gz", gzip.compress(index, mtime=0))):
            (folder / name).write_bytes(data)
            sums.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-{architecture}/{name}")
    header = {
        "Origin": "test stand-in",
        "Label": "test stand-in",
        "Suite": suite,
        "Codename": suite,
        "Date": f"{datetime.datetime.now(datetime.timezone.utc):%a, %d %b %Y %H:%M:%S} UTC",
        "Architectures": " ".join(ARCHITECTURES),
        "Components": "main",
    }
    lines = [*(f"{key}: {value}" for key, value in header.items()), "SHA256:", *sums, ""]
    release = top / "Release"
    release.write_text("\n".join(lines), encoding="ascii")
    for action, name in (("--clear-sign", "InRelease"), ("--detach-sign", "Release.gpg")):
        output_of([*gpg, "--armor", "--output", str(top / name), action, str(release)])


def signing_key(home: str, faked_time: str | None) -> list[str]:
    """Make the key, or renew it if the directory has one, and return the start of a gpg command line."""
    gpg = ["gpg", "--homedir", home, "--batch", "--yes", "--quiet"]
    gpg += ["--pinentry-mode", "loopback", "--passphrase", ""]
    if faked_time:
        gpg += ["--faked-system-time", faked_time]
    listing = output_of([*gpg, "--with-colons", "--list-keys"]).splitlines()
    known = [line.split(":")[9] for line in listing if line.startswith("fpr:")]
    new_key = ["--quick-generate-key", KEY_OWNER, "rsa3072", "sign", "1y"]
    output_of([*gpg, *(["--quick-set-expire", known[0], "1y"] if known else new_key)])
    return gpg


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the stand-in packages and a signed repository.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--version", action="append", help="oldest first (default: 19.3.0-1 and 19.4.0-1)")
    parser.add_argument("--suite", action="append", help=f"default: {' '.join(SUITES)}")
    parser.add_argument("--key-home", help="keep the key in this GnuPG directory; one that is there is renewed")
    parser.add_argument("--faked-time", help="sign at this time (20200101T000000); the key lives one year")
    options = parser.parse_args()
    repository = options.output / "debian"
    pool = repository / "pool/main/g/gitlab-runner"
    pool.mkdir(parents=True, exist_ok=True)
    for version in options.version or ["19.3.0-1", "19.4.0-1"]:
        for name in DEPENDS:
            build_package(name, version, pool)
        write_binaries(version, options.output)
    # A short path: gpg-agent's socket is in there, and the name of a socket has to fit into 108 bytes.
    with tempfile.TemporaryDirectory(prefix="gpg") as scratch:
        home = options.key_home or scratch
        os.makedirs(home, 0o700, exist_ok=True)
        try:
            gpg = signing_key(home, options.faked_time)
            (options.output / "gpg.key").write_text(output_of([*gpg, "--armor", "--export"]), encoding="ascii")
            index = packages_index(repository)
            for suite in options.suite or SUITES:
                write_suite(suite, index, repository, gpg)
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    ubuntu = options.output / "ubuntu"
    ubuntu.unlink(missing_ok=True)
    ubuntu.symlink_to("debian")


if __name__ == "__main__":
    main()
