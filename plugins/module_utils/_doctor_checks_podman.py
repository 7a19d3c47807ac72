# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks of Podman: its version, socket, storage and networks."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import (
    ERROR,
    INFO,
    RESTART_LOSS,
    WARNING,
    Finding,
    Host,
    Skip,
    Table,
    in_range,
    sed_pattern,
    set_sysctls,
    version,
)

CHECKS = Table()
# In the words of crun, of runc and of Podman. A file that is to be mounted and not there is said otherwise.
FAULT_OF_AN_IMAGE = re.compile(
    r"executable file .*not found|open executable: permission denied|unable to find (user|group) "
    r"|exec: .*: (no such file or directory|permission denied)",
    re.IGNORECASE,
)


PRUNE = "podman system prune --all --force"


def reset(host: Host, *between: str) -> tuple[str, ...]:
    """Commands that empty the store, run others while Podman is down, and start again."""
    return (
        host.stop_jobs(),
        host.systemctl_user("stop podman.socket podman.service"),
        host.as_user("podman system reset --force"),
        *between,
        host.systemctl_user("start podman.socket"),
        host.start_jobs(),
    )


def reset_loss(host: Host) -> str:
    images, containers = host.get("podman.info.images", "all"), host.get("podman.info.container_count", "all")
    return (
        f"The store {host.get('store.graph_root')} is emptied: {images} images, {containers} containers and every "
        "volume, caches of jobs included. Save what is wanted first (podman save, podman volume export)."
    )


def packaged(host: Host) -> tuple[str, ...]:
    """The network tools that this version of Podman uses."""
    return ("passt",) if in_range(host.podman, ">=5") else ("slirp4netns",)


# --- Podman itself ---


@CHECKS.check(
    "podman.missing",
    ERROR,
    title="Podman is not installed",
    why="The jobs run in the runner user's Podman.",
    variable="podman_packages",
    reference="podman(1)",
)
def podman_missing(host: Host) -> Optional[Finding]:
    if host.need("commands").get("podman"):
        return None
    manager = host.get("units.user_manager.ActiveState") == "active"
    enable = [host.systemctl_user(command) for command in ("daemon-reload", "enable --now podman.socket") if manager]
    return Finding(
        "There is no podman in PATH.",
        ("podman: not found",),
        (
            host.install("podman", "uidmap:shadow-utils", "netavark", "aardvark-dns", "crun"),
            # Debian's package enables the socket of root.
            "systemctl disable --now podman.socket",
            *enable,
        ),
    )


@CHECKS.check(
    "podman.version_min",
    ERROR,
    title="Podman is too old for GitLab Runner",
    why="GitLab supports Podman 4.2.0 and later; older ones lack calls of the Docker API that jobs need, and names "
    "of services.",
    applies="Ubuntu 20.04 and 22.04, Debian 11",
    variable="podman_minimum_version",
    reference="GitLab Runner: Use Podman",
    after=("podman.missing",),
)
def version_min(host: Host) -> Optional[Finding]:
    if in_range(host.podman, ">=4.2"):
        return None
    return Finding(
        f"Podman is {host.podman}, and GitLab Runner needs 4.2 or later; {host.get('os.name', 'this release')} has no "
        "newer one.",
        (f"podman --version: {host.podman}", f"/etc/os-release: {host.get('os.name')}"),
        ("apt-get full-upgrade --yes  # then upgrade to a release with Podman 4.2 or later: Debian 12, Ubuntu 24.04",)
        if host.get("os.family") == "debian"
        else ("dnf upgrade --yes podman",),
        "The release of the operating system has to be upgraded.",
    )


@CHECKS.check(
    "podman.kubic",
    ERROR,
    title="Podman comes from the Kubic repository",
    why="The repository devel:kubic has been abandoned since 2022: no fixes arrive, and its packages stand in the "
    "way of the distribution's.",
    applies="Ubuntu 20.04 and 22.04, hosts set up in 2021",
    variable="podman_packages",
    reference="containers/podman issues 14302 and 14336",
)
def kubic(host: Host) -> Optional[Finding]:
    found = [*host.need("kubic")["sources"], *host.need("kubic")["keys"]]
    if not found:
        return None
    return Finding(
        f"{found[0]} is of the Kubic repository.",
        tuple(found),
        (
            f"rm {' '.join(map(shlex.quote, found))}",
            "apt-get update",
            "apt-get install --yes --allow-downgrades podman/$(. /etc/os-release; echo $VERSION_CODENAME)",
        ),
    )


def _stderr(host: Host) -> list[str]:
    found = host.facts["podman"].get("stderr")
    if not isinstance(found, list):
        raise Skip((found or {}).get("error", "podman was not run"))
    return found


# --- the store ---


@CHECKS.check(
    "storage.driver_vfs",
    ERROR,
    title="The store uses the vfs driver",
    why="vfs copies the whole image for each container: starts take several times as long, and the disk fills up. "
    "Podman before 4.6 takes it by itself when storage.conf names no driver.",
    applies="Debian 12 by default",
    variable="podman_storage_conf",
    reference="containers-storage.conf(5)",
    after=("podman.missing",),
)
def driver_vfs(host: Host) -> Optional[Finding]:
    conf = host.need("storage_conf")
    wanted = (conf["parsed"].get("storage") or {}).get("driver")
    driver = host.get("podman.info.driver")
    drivers = host.need("store")["drivers"]
    if driver is None and drivers:
        driver = "vfs" if "vfs" in drivers and "overlay" not in drivers else "overlay"
    change = host.edit(_own_conf(host), ("storage", "driver", '"overlay"')) if wanted != "overlay" else ()
    if driver == "vfs":
        return Finding(
            f"The store {host.get('store.graph_root')} was made by the vfs driver.",
            (f"podman info: graphDriverName {driver}", f"{conf['path']}: driver = {wanted}"),
            reset(host, *change),
            reset_loss(host),
        )
    if driver is None and (wanted == "vfs" or (not wanted and in_range(host.podman, "<4.6"))):
        return Finding(
            f"Podman {host.podman} will make a vfs store, because {conf['path']} names {wanted or 'no driver'}.",
            (f"{conf['path']}: driver = {wanted}", f"{host.get('store.graph_root')}: no store yet"),
            change,
        )
    return None


def _own_conf(host: Host) -> dict[str, Any]:
    """The user's storage.conf, which a remedy edits even where the system's is in force."""
    conf = host.need("storage_conf")
    if conf["path"] == conf["own"]:
        return dict(conf)
    return {"path": conf["own"], "exists": False, "parsed": {}, "lines": {}}


def _driver_option(host: Host, key: str) -> tuple[Optional[str], str]:
    """An option of the driver, and the table that it is in.

    Of the system's file Podman takes no such option for a user, before version 6.
    """
    conf = host.need("storage_conf")
    if conf["path"] != conf["own"] and in_range(host.podman, "<6"):
        return None, "storage.options.overlay"
    options = (conf["parsed"].get("storage") or {}).get("options") or {}
    overlay = options.get("overlay") or {}
    table = "storage.options.overlay" if key in overlay else "storage.options"
    return overlay.get(key) or options.get(key), table


def _mount_program(host: Host) -> Optional[str]:
    return _driver_option(host, "mount_program")[0] if host.get("storage_conf") else None


def native_overlay(host: Host) -> bool:
    """Whether the kernel can do overlay for a user on the file system of the store."""
    host.need("store")
    new_enough = version(host.need("kernel.release")) >= (5, 13) or host.get("os.family") == "redhat"
    return new_enough and host.get("store.kernel_xattr") is not False


@CHECKS.check(
    "storage.fuse_stale",
    WARNING,
    title="The store goes through fuse-overlayfs without need",
    why="The kernel can do overlay for users since 5.13 (on a tmpfs since 6.6), and is about ten times as fast with "
    "small files. Whether fuse is used is decided when the store is made, and kept.",
    applies="hosts that were upgraded, and those set up in 2021",
    variable="podman_storage_conf",
    reference="containers-storage.conf(5)",
    after=("storage.driver_vfs",),
)
def fuse_stale(host: Host) -> Optional[Finding]:
    flag = host.need("store").get("mount_program")
    program, table = _driver_option(host, "mount_program")
    if flag != "true" and not program:
        return None
    if not native_overlay(host):
        return None
    change = host.edit(host.need("storage_conf"), (table, "mount_program", None)) if program else ()
    exists = host.need("store")["exists"]
    return Finding(
        f"{'storage.conf names ' + program if program else 'The store was made with fuse-overlayfs'}, and Linux "
        f"{host.need('kernel.release')} can do without on {host.get('store.mount.fstype', 'this file system')}.",
        (
            f"{host.get('store.graph_root')}/overlay/.has-mount-program: {flag}",
            f"storage.conf: mount_program = {program}",
        ),
        reset(host, *change) if exists else change,
        reset_loss(host) if exists else "",
    )


@CHECKS.check(
    "storage.fuse_needed",
    ERROR,
    title="The store needs fuse-overlayfs, which is not there or not used",
    why="Before Linux 5.13, and on a tmpfs before 6.6, the kernel cannot do overlay for users: some images cannot be "
    "unpacked ('operation not supported').",
    applies="Ubuntu 20.04, Debian 11; with a tmpfs Debian 12 and Ubuntu 22.04",
    variable="podman_storage_conf",
    reference="containers/podman issue 14655",
    after=("storage.driver_vfs",),
)
def fuse_needed(host: Host) -> Optional[Finding]:
    if native_overlay(host):
        return None
    program, installed = _mount_program(host), host.get("commands.fuse-overlayfs")
    if installed and (program or host.need("store").get("mount_program") == "true"):
        return None
    fstype = host.get("store.mount.fstype", "its file system")
    own = _own_conf(host)
    # Without a driver in the same file the options of drivers count for nothing.
    driver = () if (own["parsed"].get("storage") or {}).get("driver") else (("storage", "driver", '"overlay"'),)
    option = ("storage.options.overlay", "mount_program", '"/usr/bin/fuse-overlayfs"')
    change = host.edit(own, *driver, option) if not program else ()
    exists = host.need("store")["exists"]
    return Finding(
        f"Linux {host.need('kernel.release')} cannot do overlay for users on {fstype}, and fuse-overlayfs is "
        f"{'not used' if installed else 'not installed'}.",
        (
            f"kernel: {host.need('kernel.release')}",
            f"user.* attributes on {fstype}: {host.get('store.kernel_xattr')}",
        ),
        (
            *(() if installed else (host.install("fuse-overlayfs"),)),
            *(reset(host, *change) if exists and change else change),
        ),
        reset_loss(host) if exists and change else "",
    )


@CHECKS.check(
    "storage.dev_fuse",
    ERROR,
    title="/dev/fuse is closed to users",
    why="fuse-overlayfs, in the store or in jobs that build images, cannot open it.",
    reference="Podman troubleshooting 24",
)
def dev_fuse(host: Host) -> Optional[Finding]:
    used = host.need("store").get("mount_program") == "true" or _mount_program(host)
    asked = [
        runner
        for runner in host.get("runner.config.runners", [])
        if "/dev/fuse" in str(runner.get("docker", {}).get("devices"))
    ]
    return _device(host, "/dev/fuse", "fuse") if used or asked else None


@CHECKS.check(
    "net.dev_tun",
    ERROR,
    title="/dev/net/tun is closed to users",
    why="slirp4netns and pasta give a rootless container its network through it.",
    reference="Podman troubleshooting 24",
)
def dev_tun(host: Host) -> Optional[Finding]:
    return _device(host, "/dev/net/tun", "tun")


def _device(host: Host, path: str, module: str) -> Optional[Finding]:
    mode = host.need("devices").get(path)
    if mode and int(mode, 8) & 0o006 == 0o006:
        return None
    return Finding(
        f"{path} {f'has mode {mode}' if mode else 'does not exist'}.",
        (f"{path}: {mode or 'not there'}",),
        (
            *(() if mode else (f"modprobe {module}",)),
            "mkdir -p /etc/udev/rules.d",
            f'echo \'KERNEL=="{path.rpartition("/")[2]}", MODE="0666"\' > /etc/udev/rules.d/90-rootless-{module}.rules',
            f"chmod 0666 {path}",
        ),
    )


@CHECKS.check(
    "storage.metacopy",
    WARNING,
    title="The mount option metacopy slows builds down",
    why="The kernel refuses metacopy for users; Podman then does without its fast way to compare layers.",
    variable="podman_storage_conf",
    reference="containers-storage.conf(5)",
)
def metacopy(host: Host) -> Optional[Finding]:
    value, table = _driver_option(host, "mountopt")
    if not value or "metacopy=on" not in value.split(","):
        return None
    if _mount_program(host) and not native_overlay(host):
        return None
    wanted = ",".join(part for part in value.split(",") if part != "metacopy=on") or "nodev"
    return Finding(
        f'{host.need("storage_conf")["path"]} has mountopt = "{value}".',
        (
            f'{host.need("storage_conf")["path"]}: mountopt = "{value}"',
            f"podman info: Native Overlay Diff {host.get('podman.info.native_diff')}",
        ),
        host.edit(host.need("storage_conf"), (table, "mountopt", f'"{wanted}"')),
    )


@CHECKS.check(
    "storage.rootless_path",
    WARNING,
    title="storage.conf names the store twice",
    why="Where graphroot is given, rootless_storage_path is ignored; Podman 6 warns about it.",
    variable="podman_storage_conf",
    reference="containers-storage.conf(5)",
)
def rootless_path(host: Host) -> Optional[Finding]:
    conf = host.need("storage_conf")
    storage = conf["parsed"].get("storage") or {}
    if conf["path"] != conf["own"] or not {"graphroot", "rootless_storage_path"} <= set(storage):
        return None
    return Finding(
        f"{conf['path']} has graphroot {storage['graphroot']} and rootless_storage_path "
        f"{storage['rootless_storage_path']}.",
        tuple(f"{conf['path']}: {key} = {storage[key]}" for key in ("graphroot", "rootless_storage_path")),
        host.edit(conf, ("storage", "rootless_storage_path", None)),
    )


@CHECKS.check(
    "storage.db_mismatch",
    ERROR,
    title="storage.conf does not fit the store that exists",
    why="Podman keeps driver and places of the store in a database in it. When storage.conf is changed afterwards it "
    "either ignores the change or stops.",
    variable="podman_storage_conf",
    reference="containers/podman issues 20068, 21683 and 24738",
    after=("storage.driver_vfs",),
)
def db_mismatch(host: Host) -> Optional[Finding]:
    lines = [
        line
        for line in _stderr(host)
        if re.search(r"does not match|overwritten by graph driver|configuration mismatch", line)
    ]
    if not lines:
        return None
    line = lines[0].replace('\\"', '"')
    driver = re.search(r'overwritten by graph driver "(\w+)"', line)
    place = re.search(r'database (\w+(?: \w+)?) "?([^"\s]+)"? does not match', line)
    changes: tuple[str, ...] = ()
    if driver:
        changes = host.edit(_own_conf(host), ("storage", "driver", f'"{driver.group(1)}"'))
    elif place and place.group(1).startswith(("graph", "static", "storage graph")):
        root = re.sub("/libpod$", "", place.group(2))
        changes = host.edit(_own_conf(host), ("storage", "graphroot", f'"{root}"'))
    elif place and "run" in place.group(1):
        changes = host.edit(_own_conf(host), ("storage", "runroot", f'"{place.group(2)}"'))
    return Finding(
        f"Podman says: {line[:300]}",
        tuple(lines[:3]),
        changes or reset(host),
        "" if changes else reset_loss(host),
    )


@CHECKS.check(
    "storage.boltdb",
    WARNING,
    title="The store has an old database",
    why="Podman 6 cannot read BoltDB any more, which Podman used by default up to 4.7.",
    applies="hosts that were upgraded from Podman 4.7 or older",
    podman=">=5",
    reference="Podman 5.8 and 6.0 release notes",
)
def boltdb(host: Host) -> Optional[Finding]:
    if not host.need("store").get("boltdb"):
        return None
    migrates = in_range(host.podman, ">=5.8")
    return Finding(
        f"{host.get('store.graph_root')} has a BoltDB database, and Podman is {host.podman}.",
        (f"{host.get('store.graph_root')}/libpod/bolt_state.db: exists",),
        (host.stop_jobs(), host.as_user("podman system migrate --migrate-db"), host.start_jobs())
        if migrates
        else reset(host),
        "Running containers are stopped." if migrates else reset_loss(host),
        severity=ERROR if in_range(host.podman, ">=6") else WARNING,
    )


@CHECKS.check(
    "storage.boot_id",
    ERROR,
    title="State of the last boot is in the way",
    why="The run time directory of Podman must be empty after a reboot, so it belongs on a tmpfs. Podman 5.1 and "
    "later refuses to run when it finds the state of another boot.",
    applies="hosts with runroot on a disk",
    podman=">=5.1",
    variable="podman_storage_conf",
    reference="containers-storage.conf(5)",
)
def boot_id(host: Host) -> Optional[Finding]:
    lines = [line for line in _stderr(host) if "unhandled reboot" in line]
    if not lines:
        return None
    folders = re.findall(r'\\?"(/[^"\\]+)\\?"', lines[0])
    # They come from files of the user: nothing is deleted as root, and nothing that holds more than such state.
    kept = [host.home, host.runtime_dir, host.get("store.graph_root", host.home)]
    spared = [
        folder
        for folder in folders
        if posixpath.normpath(folder) != folder or any(f"{path}/".startswith(f"{folder}/") for path in kept)
    ]
    run_root = (host.get("storage_conf.parsed.storage") or {}).get("runroot")
    return Finding(
        "Podman refuses to run, because it finds the state of an earlier boot"
        + (f" in {' and '.join(folders)}." if folders else "."),
        tuple(lines[:2]),
        (
            host.stop_jobs(),
            # Not in podman unshare, which refuses to run, too.
            *(
                host.as_user(f"ls -la {shlex.quote(folder)}  # delete what is Podman's, and nothing else")
                if folder in spared
                else host.as_user(f"rm -rf -- {shlex.quote(folder)}")
                for folder in folders
            ),
            *(host.edit(_own_conf(host), ("storage", "runroot", None)) if run_root else ()),
            host.start_jobs(),
        ),
    )


@CHECKS.check(
    "storage.wrong_mount",
    ERROR,
    title="The tmpfs of the store is not mounted",
    why="Podman silently makes an empty store below the mount point, on the disk of the system.",
    applies="hosts with container storage on a tmpfs",
    variable="tmpfs_storage_path",
    reference="mount(8), fstab(5)",
)
def wrong_mount(host: Host) -> Optional[Finding]:
    tmpfs = host.need("tmpfs")
    if not tmpfs["path"]:
        raise Skip("the store is not meant to be on a tmpfs")
    if tmpfs["mounted"]:
        return None
    mount = host.get("store.mount", {})
    return Finding(
        f"{tmpfs['path']} is to be a tmpfs, but is on {mount.get('fstype')} ({mount.get('source')}).",
        (
            f"/etc/fstab: {'tmpfs at ' + tmpfs['path'] if tmpfs['fstab'] else 'no entry'}",
            f"mounted: {mount.get('fstype')} at {mount.get('target')}",
        ),
        (
            host.stop_jobs(),
            host.systemctl_user("stop podman.socket podman.service"),
            f"mount {shlex.quote(tmpfs['path'])}",
            host.systemctl_user("start podman.socket"),
            host.start_jobs(),
        ),
        "Images that were fetched to the disk in the meantime are hidden by the mount.",
    )


@CHECKS.check(
    "storage.stale_namespace",
    ERROR,
    title="Podman does not see the file system that the store is on",
    why="Podman keeps a mount namespace alive between commands. A file system that was mounted after it was made may "
    "not be in it, so that containers work on what lies below the mount point.",
    variable="tmpfs_storage_path",
    reference="podman-system-migrate(1), mount_namespaces(7)",
    after=("storage.wrong_mount",),
)
def stale_namespace(host: Host) -> Optional[Finding]:
    store = host.need("store")
    seen, real = store.get("pause_mount"), store["mount"]
    if seen is None:
        raise Skip("Podman has no pause process, and so no namespace that could be stale")
    if (seen.get("fstype"), seen.get("source")) == (real.get("fstype"), real.get("source")):
        return None
    return Finding(
        f"{store['graph_root']} is on {real.get('fstype')}, but Podman sees {seen.get('fstype')} there.",
        (
            f"/proc/self/mountinfo: {real.get('target')} {real.get('fstype')} {real.get('source')}",
            f"mountinfo of Podman's pause process: {seen.get('target')} {seen.get('fstype')} {seen.get('source')}",
        ),
        (host.systemctl_user("stop podman.service"), host.as_user("podman system migrate")),
        "podman system migrate stops every running container of the user.",
    )


@CHECKS.check(
    "storage.below_var_lib",
    ERROR,
    title="The store is where containers cannot see it",
    why="Podman before version 5 puts a directory of its own over /var/lib when it connects containers to a network: "
    "a store below it vanishes, and containers do not start. With a /var/lib/cni it takes that instead.",
    applies="Debian 12, Ubuntu 22.04 and 24.04",
    podman="<5",
    reference="containers/common, libnetwork: rootless network namespace",
)
def below_var_lib(host: Host) -> Optional[Finding]:
    root = host.need("store")["graph_root"]
    # Where this is, Podman's directory goes over it alone.
    if not root.startswith("/var/lib/") or host.get("cni.var_lib"):
        return None
    return Finding(
        f"The store is {root}, Podman is {host.podman}, and there is no /var/lib/cni.",
        (f"{host.need('storage_conf')['path']}: graphroot = {root}",),
        ("install -d -m 0755 /var/lib/cni",),
    )


@CHECKS.check(
    "storage.nfs",
    ERROR,
    title="The store is on a network file system",
    why="Network file systems know nothing of subordinate ids: files of other users cannot be created on them.",
    reference="Podman troubleshooting 14",
    variable="podman_storage_conf",
)
def nfs(host: Host) -> Optional[Finding]:
    mount = host.need("store")["mount"]
    if not re.match(r"nfs|cifs|smb|lustre|gpfs|ceph|fuse\.sshfs|9p|afs", mount.get("fstype", "")):
        return None
    # A directory of its own, not the one that the role for a tmpfs mounts.
    target = f"/srv/{host.user}-containers"
    return Finding(
        f"{host.get('store.graph_root')} is on {mount['fstype']} ({mount['source']}).",
        (f"mount: {mount['source']} on {mount['target']} type {mount['fstype']}",),
        (
            host.stop_jobs(),
            f"install -d -o {shlex.quote(host.user)} -g {host.gid} -m 0700 {shlex.quote(target)}",
            *host.edit(_own_conf(host), ("storage", "graphroot", f'"{target}/storage"')),
            host.start_jobs(),
        ),
        "The new store is empty; the old one stays where it is.",
    )


@CHECKS.check(
    "session.noexec_home",
    ERROR,
    title="The store is on a file system without execution",
    why="No program of an image can be started from it.",
    reference="Podman troubleshooting 7",
)
def noexec(host: Host) -> Optional[Finding]:
    mount = host.need("store")["mount"]
    options = mount.get("options", "").split(",")
    if "noexec" not in options:
        return None
    entry = next((entry for entry in host.get("fstab", []) if entry["target"] == mount["target"]), None)
    return Finding(
        f"{mount['target']}, which holds {host.get('store.graph_root')}, is mounted noexec.",
        (f"mount: {mount['target']} ({mount['options']})",),
        (
            *(_fstab(entry, "s/noexec/exec/") if entry and "noexec" in entry["options"] else ()),
            f"mount -o remount,exec {shlex.quote(mount['target'])}",
        ),
    )


def _full(host: Host, key: str) -> list[tuple[str, int]]:
    return sorted(
        ((path, space[key]) for path, space in host.need("store")["space"].items() if space[key] > 85),
        key=lambda item: -item[1],
    )


@CHECKS.check(
    "storage.space",
    WARNING,
    title="A file system that Podman writes to is nearly full",
    why="Pulling an image needs room in the store and, while it is unpacked, in /var/tmp.",
    variable="podman_prune_above",
    reference="podman-system-prune(1)",
)
def space(host: Host) -> Optional[Finding]:
    return _space(host, "used_percent", "space")


@CHECKS.check(
    "storage.inodes",
    WARNING,
    title="A file system that Podman writes to has few free inodes",
    why="Images consist of many small files: inodes can run out while there is still room.",
    reference="df(1)",
)
def inodes(host: Host) -> Optional[Finding]:
    return _space(host, "inodes_percent", "inodes")


def _space(host: Host, key: str, what: str) -> Optional[Finding]:
    full = _full(host, key)
    if not full:
        return None
    store = host.get("store.graph_root", "")
    ours = host.get("commands.rootless-podman")
    commands = []
    for path, _percent in full:
        if store.startswith(path.rstrip("/") + "/") or path == store:
            commands.append(host.as_user("rootless-podman prune" if ours else PRUNE))
        elif path.startswith("/var/tmp"):
            commands.append("find /var/tmp -xdev -maxdepth 1 -name 'container_images_*' -mmin +1440 -exec rm -rf {} +")
        else:
            folder = shlex.quote(path)
            commands.append(f"du -x --max-depth=2 --human-readable {folder} | sort --human-numeric-sort | tail")
    return Finding(
        f"{full[0][1]} % of the {what} of {full[0][0]} are in use.",
        tuple(f"{path}: {percent} % of the {what} used" for path, percent in full),
        tuple(dict.fromkeys(commands)),
        _prune_loss(commands),
        severity=ERROR if full[0][1] > 95 else WARNING,
    )


def _prune_loss(commands: list[str]) -> str:
    if any(command.endswith(PRUNE) for command in commands):
        return (
            "Stopped containers, and the images and networks that no container uses, are deleted. Images of the host "
            "itself (localhost/*) have to be built or imported again: save them first (podman save)."
        )
    if any("prune" in command for command in commands):
        return "What the hourly timer removes is deleted: old images, and in a full store unused caches of jobs too."
    return ""


@CHECKS.check(
    "storage.quota",
    ERROR,
    title="A size limit for containers is set where the file system has none",
    why="overlay.size works on XFS with project quotas only; elsewhere no container starts.",
    variable="podman_storage_conf",
    reference="containers-storage.conf(5), QUOTAS",
)
def quota(host: Host) -> Optional[Finding]:
    size, table = _driver_option(host, "size")
    mount = host.need("store")["mount"]
    if not size or (mount.get("fstype") == "xfs" and re.search(r"p(rj)?quota", mount.get("options", ""))):
        return None
    return Finding(
        f'storage.conf has size = "{size}", and {mount.get("target")} is {mount.get("fstype")} without project quotas.',
        (
            f"{host.need('storage_conf')['path']}: size = {size}",
            f"mount: {mount.get('target')} type {mount.get('fstype')} ({mount.get('options')})",
        ),
        host.edit(host.need("storage_conf"), (table, "size", None)),
    )


# --- a store on a tmpfs ---


def _tmpfs(host: Host) -> dict[str, Any]:
    tmpfs = host.need("tmpfs")
    if not tmpfs["path"]:
        raise Skip("the store is not on a tmpfs")
    return dict(tmpfs)


def _option(options: str, name: str) -> Optional[str]:
    found = re.search(rf"(?:^|,){name}=([^,]*)", options or "")
    return found.group(1) if found else None


def _fstab(entry: Optional[dict[str, Any]], *commands: str) -> tuple[str, ...]:
    """A command that runs sed's commands on one entry of /etc/fstab."""
    if not entry:
        return ()
    address = rf"\|^[^#]*[[:space:]]{sed_pattern(entry['target'])}[[:space:]]|"
    return (f"sed -i {shlex.quote(address + '{' + ';'.join(commands) + '}')} /etc/fstab",)


@CHECKS.check(
    "tmpfs.huge",
    ERROR,
    title="The tmpfs takes a huge page for each file",
    why="huge=always gives 2 MiB to each small file: an image of 98 MB was seen to occupy 5 GB. huge=within_size is "
    "as fast for large files and wastes nothing.",
    applies="hosts with container storage on a tmpfs",
    variable="tmpfs_storage_huge",
    reference="Linux: filesystems/tmpfs",
)
def tmpfs_huge(host: Host) -> Optional[Finding]:
    tmpfs = _tmpfs(host)
    entry = tmpfs["fstab"] or {}
    mounted, configured = _option(tmpfs["options"], "huge"), _option(entry.get("options", ""), "huge")
    if "always" not in (mounted, configured):
        return None
    return Finding(
        f"{tmpfs['path']} is mounted with huge={mounted or configured}.",
        (f"mount: {tmpfs['path']} ({tmpfs['options']})", f"/etc/fstab: {entry.get('options', 'no entry')}"),
        (
            *(_fstab(tmpfs["fstab"], "s/huge=always/huge=within_size/") if configured == "always" else ()),
            *((f"mount -o remount,huge=within_size {shlex.quote(tmpfs['path'])}",) if mounted == "always" else ()),
        ),
        "Files that are there keep their huge pages until they are deleted.",
    )


@CHECKS.check(
    "tmpfs.size",
    WARNING,
    title="The tmpfs is too large for the memory",
    why="When a tmpfs fills up what the jobs need to run, the kernel can only kill processes, or the machine locks up.",
    applies="hosts with container storage on a tmpfs",
    variable="tmpfs_storage_size",
    reference="Linux: filesystems/tmpfs",
)
def tmpfs_size(host: Host) -> Optional[Finding]:
    tmpfs = _tmpfs(host)
    if not tmpfs["space"]:
        raise Skip("the tmpfs is not mounted")
    memory = host.need("memory.total") + (0 if "noswap" in tmpfs["options"] else host.need("memory.swap"))
    size = tmpfs["space"]["size"]
    if size <= 0.75 * memory:
        return None
    wanted = f"{memory // 2 // 2**20}m"
    return Finding(
        f"{tmpfs['path']} may grow to {size // 2**20} MiB, and the host has {memory // 2**20} MiB of memory and swap.",
        (f"mount: {tmpfs['path']} ({tmpfs['options']})", f"/proc/meminfo: {memory // 2**20} MiB"),
        (
            *_fstab(tmpfs["fstab"], f"s/size=[^,[:space:]]*/size={wanted}/"),
            f"mount -o remount,size={wanted} {shlex.quote(tmpfs['path'])}",
        ),
    )


@CHECKS.check(
    "tmpfs.uid",
    ERROR,
    title="The tmpfs does not belong to the runner user",
    why="The owner is a number in /etc/fstab, and the number of a system user differs between hosts.",
    applies="hosts with container storage on a tmpfs",
    variable="tmpfs_storage_user",
    reference="Linux: filesystems/tmpfs",
    after=("storage.wrong_mount",),
)
def tmpfs_uid(host: Host) -> Optional[Finding]:
    tmpfs = _tmpfs(host)
    found, entry = tmpfs["status"] or {}, tmpfs["fstab"] or {}
    gid = host.need("user.gid")
    configured = (_option(entry.get("options", ""), "uid"), _option(entry.get("options", ""), "gid"))
    wrong_now = found.get("uid") != host.uid
    # A name is as good as its number, and the group of root gets no rights that root lacks.
    groups = (None, "0", "root", str(gid), *host.get("user.groups", ()))
    right_later = configured[0] == host.user or (configured[0] == str(host.uid) and configured[1] in groups)
    wrong_later = bool(entry) and not right_later
    if not wrong_now and not wrong_later:
        return None
    where = (
        f"{tmpfs['path']} belongs to uid {found.get('uid')}"
        if wrong_now
        else f"/etc/fstab mounts {tmpfs['path']} for uid {configured[0] or 0}, gid {configured[1] or 0}"
    )
    owner = [
        rf"s/\b{name}=[^,[:space:]]*/{name}={number}/"
        if present is not None
        else rf"s/[[:space:]]tmpfs[[:space:]]\+[^[:space:]]*/&,{name}={number}/"
        for name, number, present in (("uid", host.uid, configured[0]), ("gid", gid, configured[1]))
    ]
    return Finding(
        f"{where}, and {host.user} is uid {host.uid}, gid {gid}.",
        (
            f"{tmpfs['path']}: uid {found.get('uid')}, mode {found.get('mode')}",
            f"/etc/fstab: {entry.get('options', 'no entry')}",
        ),
        (
            *(_fstab(entry, *owner) if wrong_later else ()),
            *((f"chown {host.uid}:{gid} {shlex.quote(tmpfs['path'])}",) if wrong_now else ()),
        ),
    )


@CHECKS.check(
    "tmpfs.inodes",
    ERROR,
    title="The tmpfs runs out of inodes",
    why="A tmpfs has one inode for every four KiB of half the memory, unless nr_inodes= says otherwise.",
    applies="hosts with container storage on a tmpfs",
    variable="tmpfs_storage_inodes",
    reference="Linux: filesystems/tmpfs",
    after=("storage.wrong_mount",),
)
def tmpfs_inodes(host: Host) -> Optional[Finding]:
    tmpfs = _tmpfs(host)
    if not tmpfs["space"]:
        raise Skip("the tmpfs is not mounted")
    used = tmpfs["space"]["inodes_percent"]
    if used <= 90:
        return None
    wanted = max(10 * tmpfs["space"]["inodes"], 2**20)
    return Finding(
        f"{used} % of the inodes of {tmpfs['path']} are in use.",
        (f"df -i {tmpfs['path']}: {used} %",),
        (
            f"mount -o remount,nr_inodes={wanted} {shlex.quote(tmpfs['path'])}",
            *(
                _fstab(tmpfs["fstab"], f"s/nr_inodes=[^,[:space:]]*/nr_inodes={wanted}/")
                if "nr_inodes=" in (tmpfs["fstab"] or {}).get("options", "")
                else ()
            ),
        ),
    )


@CHECKS.check(
    "tmpfs.memlimit",
    WARNING,
    title="A memory limit of jobs also counts their files",
    why="What a container writes to a tmpfs is charged to its memory limit: a job that only writes files is killed.",
    applies="hosts with container storage on a tmpfs",
    variable="runner_runners",
    reference="Linux: cgroup-v2",
)
def tmpfs_memlimit(host: Host) -> Optional[Finding]:
    tmpfs = _tmpfs(host)
    limited = [(index, runner) for index, runner in enumerate(host.runners) if runner.get("docker", {}).get("memory")]
    if not limited:
        return None
    return Finding(
        f"The runner {limited[0][1].get('name')} limits jobs to {limited[0][1]['docker']['memory']}, files on "
        f"{tmpfs['path']} included.",
        tuple(
            f"config.toml: {runner.get('name')}: memory = {runner['docker']['memory']}" for _index, runner in limited
        ),
        host.edit(
            host.need("runner.config"),
            *((f"runners[{index}].docker", "memory", None) for index, _runner in limited),
        ),
        "Jobs are not limited in memory any more.",
    )


@CHECKS.check(
    "selinux.label",
    ERROR,
    title="The store has the wrong SELinux label",
    why="Processes in containers may only read files with a container label.",
    applies="hosts with SELinux",
    reference="containers-storage.conf(5), Podman troubleshooting 11",
)
def selinux_label(host: Host) -> Optional[Finding]:
    selinux = host.need("selinux")
    if not selinux["enforcing"]:
        raise Skip("SELinux is not enforcing")
    kind = (selinux["context"] or "").split(":")[2:3]
    if not kind:
        raise Skip("the store has no SELinux label that could be read")
    if re.match(r"container_|data_home_t", kind[0]):
        return None
    root, home_store = host.need("store.graph_root"), f"{host.home}/.local/share/containers/storage"
    return Finding(
        f"{root} has the label {selinux['context']}.",
        (f"ls -Zd {root}: {selinux['context']}",),
        (
            f"semanage fcontext -a -e {shlex.quote(home_store)} {shlex.quote(root)}",
            f"restorecon -R {shlex.quote(root)}",
        ),
    )


# --- the network ---


@CHECKS.check(
    "net.backend",
    WARNING,
    title="Podman uses the old network backend",
    why="CNI is gone from Podman 5 on, and its names of services do not work without a further plugin.",
    applies="Ubuntu 22.04, Debian 11, and hosts that were upgraded from them",
    reference="Podman 5.0 release notes",
    after=("podman.version_min",),
)
def net_backend(host: Host) -> Optional[Finding]:
    backend = host.get("podman.info.network_backend") or host.need("store.network_backend")
    if backend != "cni":
        return None
    configured = host.get("containers_conf.merged.network", {}).get("network_backend")
    return Finding(
        f"The network backend is cni, with Podman {host.podman}.",
        (f"podman info: networkBackend {backend}", f"containers.conf: network_backend = {configured}"),
        (
            host.install("netavark", "aardvark-dns"),
            *reset(
                host,
                *(
                    host.edit(host.need("containers_conf.own"), ("network", "network_backend", '"netavark"'))
                    if configured == "cni"
                    else ()
                ),
            ),
        ),
        reset_loss(host),
        severity=ERROR if in_range(host.podman, ">=5") else WARNING,
    )


@CHECKS.check(
    "net.cni_podman_missing",
    ERROR,
    title="The default network does not exist",
    why="With CNI the network 'podman' is a file that can be lost: CNI network \"podman\" not found.",
    applies="the network backend CNI",
    reference="podman-network-create(1)",
)
def cni_podman_missing(host: Host) -> Optional[Finding]:
    if host.need("podman.info.network_backend") != "cni":
        raise Skip("the network backend is not CNI; netavark always has the default network")
    networks = host.need("podman")["networks"]
    if isinstance(networks, dict):
        raise Skip(networks["error"])
    name = host.get("containers_conf.merged.network", {}).get("default_network", "podman")
    if any(network["name"] == name for network in networks):
        return None
    return Finding(
        f"There is no network {name}.",
        (f"podman network ls: {', '.join(network['name'] for network in networks) or 'none'}",),
        (host.as_user(f"podman network create {shlex.quote(name)}"),),
    )


@CHECKS.check(
    "net.cni_100",
    ERROR,
    title="A network's file is newer than the CNI plugins",
    why="An update of Podman 3.4 on Ubuntu 22.04 wrote cniVersion 1.0.0, which the plugins 0.9.1 of the same release "
    "refuse.",
    applies="Ubuntu 22.04",
    reference="Launchpad bug 2024394, containers/podman issue 21511",
)
def cni_100(host: Host) -> Optional[Finding]:
    files = host.need("cni")["version_100"]
    plugins = host.get("packages", {}).get("containernetworking-plugins", "")
    if not files or (plugins and in_range(plugins, ">=1.0")):
        return None
    return Finding(
        f"{files[0]} has cniVersion 1.0.0, and the plugins are {plugins or 'of an unknown version'}.",
        tuple(f"{path}: cniVersion 1.0.0" for path in files),
        (f'sed -i \'s/"cniVersion": *"1.0.0"/"cniVersion": "0.4.0"/\' {" ".join(map(shlex.quote, files))}',),
    )


@CHECKS.check(
    "net.netavark_missing",
    ERROR,
    title="netavark or aardvark-dns is not installed",
    why="They make the networks of containers and resolve their names. podman only recommends them, so that a "
    "minimal host lacks them.",
    podman=">=4",
    variable="podman_packages",
    reference="podman-network(1)",
    after=("podman.missing",),
)
def netavark_missing(host: Host) -> Optional[Finding]:
    if host.get("podman.info.network_backend") == "cni":
        raise Skip("the network backend is CNI")
    missing = [name for name in ("netavark", "aardvark-dns") if not host.need("commands").get(name)]
    if not missing:
        return None
    return Finding(
        f"{' and '.join(missing)} cannot be found.",
        tuple(f"{name}: not in PATH nor /usr/lib/podman" for name in missing),
        (host.install(*missing),),
    )


@CHECKS.check(
    "net.firewall_tool",
    ERROR,
    title="netavark has no tool to set up its rules",
    why="Older releases of netavark call iptables, Podman 6 nft. Neither is a hard dependency.",
    podman=">=4",
    variable="podman_packages",
    reference="Podman 6.0 release notes",
    after=("podman.missing",),
)
def firewall_tool(host: Host) -> Optional[Finding]:
    commands = host.need("commands")
    driver = host.get("containers_conf.merged.network", {}).get("firewall_driver", "")
    if driver == "none" or host.get("podman.info.network_backend") == "cni":
        raise Skip("netavark does not set up rules here")
    if in_range(host.podman, ">=6") or driver == "nftables":
        fits = [("nft", "nftables")]
    elif in_range(host.podman, "<5") or driver == "iptables":
        fits = [("iptables", "iptables")]
    else:
        fits = [("nft", "nftables"), ("iptables", "iptables")]
    if any(commands.get(name) for name, _package in fits):
        return None
    return Finding(
        f"{' or '.join(name for name, _package in fits)} is not installed, which netavark of Podman {host.podman} "
        "needs.",
        tuple(f"{name}: not in PATH" for name, _package in fits),
        (host.install(fits[0][1]),),
    )


@CHECKS.check(
    "net.modules",
    WARNING,
    title="A kernel module for networks is not loaded",
    why="A user cannot load modules, so that they have to be there before the first container.",
    applies="minimal hosts",
    reference="modules-load.d(5), containers/podman issue 12661",
)
def net_modules(host: Host) -> Optional[Finding]:
    modules = host.need("modules")
    loaded = {name: modules.get(name) for name in ("nf_tables", "tun", "bridge")}
    # Up to version 4 Podman has iptables make the rules: the variant of nf_tables, or the one of ip_tables.
    if not loaded["nf_tables"] and in_range(host.podman, "<5") and modules.get("ip_tables") is not False:
        loaded["nf_tables"] = modules.get("ip_tables")
    missing = [name for name, state in loaded.items() if state is False]
    if not missing:
        if None in loaded.values():
            raise Skip("what is built into this kernel is not known (no /lib/modules)")
        return None
    return Finding(
        f"The modules {', '.join(missing)} are not loaded.",
        tuple(f"/proc/modules: no {name}" for name in missing),
        (
            f"printf '%s\\n' {' '.join(missing)} >> /etc/modules-load.d/rootless-gitlab-runner.conf",
            *(f"modprobe {name}" for name in missing),
        ),
    )


@CHECKS.check(
    "net.aardvark_old",
    WARNING,
    title="aardvark-dns is too old for many networks",
    why="Up to 1.10.0 it can lose the names of services when networks come and go for each build.",
    applies="Debian 12, Ubuntu 24.04",
    reference="GitLab Runner: Use Podman, containers/aardvark-dns issue 389",
)
def aardvark_old(host: Host) -> Optional[Finding]:
    have = host.need("versions").get("aardvark-dns")
    if not isinstance(have, str):
        raise Skip("the version of aardvark-dns is not known")
    jobs = int(host.need("runner.config.concurrent"))
    services = [runner for runner in host.docker_runners if runner.get("docker", {}).get("services")]
    # Nobody can do much about the version of a release: say so only where it can do harm.
    if in_range(have, ">1.10.0") or not services or jobs < 2:
        return None
    return Finding(
        f"aardvark-dns is {have}, and {jobs} jobs with services may run at once.",
        (
            f"aardvark-dns --version: {have}",
            f"config.toml: {services[0].get('name')} has services, concurrent = {jobs}",
        ),
        ("sed -i 's/^concurrent *=.*/concurrent = 1/' " + shlex.quote(host.need("runner.config.path")),),
        "Until the release is upgraded, only one job runs at a time.",
    )


@CHECKS.check(
    "net.tool",
    ERROR,
    title="The tool that connects containers to the network is not installed",
    why="Podman uses slirp4netns before version 5 and pasta since then.",
    variable="podman_packages",
    reference="podman-run(1)",
    after=("podman.missing",),
)
def net_tool(host: Host) -> Optional[Finding]:
    configured = host.get("containers_conf.merged.network", {}).get("default_rootless_network_cmd")
    default = "pasta" if in_range(host.podman, ">=5") else "slirp4netns"
    tool = configured or default
    packages = {"pasta": "passt", "slirp4netns": "slirp4netns"}
    if tool not in packages:
        return Finding(
            f"containers.conf names {tool} as the tool for networks, which Podman does not know.",
            (f"containers.conf: default_rootless_network_cmd = {tool}",),
            host.edit(host.need("containers_conf.own"), ("network", "default_rootless_network_cmd", f'"{default}"')),
        )
    if host.need("commands").get(tool):
        return None
    return Finding(
        f"{tool} is not installed, which Podman {host.podman} uses.",
        (f"{tool}: not in PATH",),
        (host.install(packages[tool]),),
    )


@CHECKS.check(
    "net.subnets",
    WARNING,
    title="A network of containers hides a network of the host",
    why="A container reaches other containers instead of the machines with these addresses.",
    variable="podman_containers_conf",
    reference="containers.conf(5), default_subnet_pools",
)
def subnets(host: Host) -> Optional[Finding]:
    routes = host.need("routes")
    networks = host.need("podman")["networks"]
    if isinstance(networks, dict):
        raise Skip(networks["error"])
    clashes = []
    for network in networks:
        for subnet in network["subnets"]:
            for route in routes:
                address, _space, interface = route.partition(" ")
                if _overlap(subnet, address):
                    clashes.append((network["name"], subnet, address, interface))
    if not clashes:
        return None
    name, subnet, address, interface = clashes[0]
    # Builds with a network of their own never use the default network.
    only_default = all(clash[0] == "podman" for clash in clashes)
    runners = host.get("runner.config.runners", [])
    used = any(runner.get("executor") == "docker" and not per_build(runner) for runner in runners)
    free = next(
        (
            pool
            for pool in ("172.30.0.0/16", "192.168.192.0/18", "10.213.0.0/16")
            if not any(_overlap(pool, r.split()[0]) for r in routes)
        ),
        None,
    )
    own = host.need("containers_conf.own")
    default = any(clash[0] == "podman" for clash in clashes)
    if free:
        changes: list[tuple[str, str, Optional[str]]] = [
            ("network", "default_subnet_pools", f'[{{"base" = "{free}", "size" = 24}}]')
        ]
        if default:
            changes.append(("network", "default_subnet", f'"{free.partition("/")[0].rsplit(".", 1)[0]}.0/24"'))
        edit = host.edit(own, *changes)
    else:
        keys = "default_subnet_pools and default_subnet" if default else "default_subnet_pools"
        edit = host.editor(own, f"set {keys} in [network] to networks that no route covers")
    others = sorted({clash[0] for clash in clashes if clash[0] != "podman"})
    return Finding(
        f"The network {name} ({subnet}) overlaps {address} of {interface}.",
        tuple(f"podman network {n}: {s}; {i}: {a}" for n, s, a, i in clashes[:5]),
        (
            *edit,
            *(host.as_user(f"podman network rm {shlex.quote(other)}") for other in others),
            host.systemctl_user("stop podman.service"),
        ),
        (f"The networks {', '.join(others)} are removed. " if others else "") + RESTART_LOSS,
        severity=INFO if only_default and not used else WARNING,
    )


def _overlap(left: str, right: str) -> bool:
    try:
        return ipaddress.ip_network(left, strict=False).overlaps(ipaddress.ip_network(right, strict=False))
    except (TypeError, ValueError):
        return False


def per_build(runner: dict[str, Any]) -> bool:
    """Whether a runner makes a network for each build."""
    flag = (runner.get("feature_flags") or {}).get("FF_NETWORK_PER_BUILD")
    in_environment = any(
        re.match(r"FF_NETWORK_PER_BUILD=(1|true)$", entry, re.IGNORECASE) for entry in runner.get("environment", [])
    )
    return bool(flag) or in_environment


@CHECKS.check(
    "net.low_ports",
    INFO,
    title="The runner is to listen on a port that users may not open",
    why="A process that is not root cannot listen on ports below net.ipv4.ip_unprivileged_port_start.",
    variable="userns_sysctls",
    reference="ip(7), Podman troubleshooting 48",
)
def low_ports(host: Host) -> Optional[Finding]:
    first = host.sysctl("net.ipv4.ip_unprivileged_port_start")
    if first is None:
        raise Skip("the kernel does not have net.ipv4.ip_unprivileged_port_start")
    ports = [
        int(number)
        for address in host.need("runner.config").get("listen", [])
        for number in re.findall(r":(\d+)$", address)
    ]
    low = [port for port in ports if port < int(first)]
    if not low:
        return None
    return Finding(
        f"config.toml has the runner listen on port {low[0]}, and users may open ports from {first} on.",
        (f"net.ipv4.ip_unprivileged_port_start: {first}", f"config.toml: port {low[0]}"),
        set_sysctls({"net.ipv4.ip_unprivileged_port_start": str(low[0])}),
        severity=ERROR,
    )


@CHECKS.check(
    "net.ping",
    INFO,
    title="ping does not work in containers",
    why="Only the groups of this range may open the socket that ping uses without a privilege.",
    variable="userns_sysctls",
    reference="icmp(7), Podman troubleshooting 5",
)
def net_ping(host: Host) -> Optional[Finding]:
    value = host.sysctl("net.ipv4.ping_group_range")
    if value is None:
        raise Skip("the kernel does not have net.ipv4.ping_group_range")
    first, last = map(int, value.split())
    if first <= host.need("user.gid") <= last:
        return None
    return Finding(
        f"net.ipv4.ping_group_range is {value}, without the group {host.need('user.gid')} of {host.user}.",
        (f"/proc/sys/net/ipv4/ping_group_range: {value}",),
        set_sysctls({"net.ipv4.ping_group_range": "0 2147483647"}),
    )


@CHECKS.check(
    "net.dns",
    INFO,
    title="The host only knows a name server on itself",
    why="Containers cannot reach 127.0.0.1 of the host; Podman replaces it by the tool's own forwarder, or by public "
    "servers. Where systemd-resolved or NetworkManager is that server, Podman reads from their files which ones it "
    "asks.",
    applies="hosts with dnsmasq or another resolver of their own",
    variable="runner_runners",
    reference="containers/common libnetwork/resolvconf, containers/aardvark-dns issue 248",
)
def net_dns(host: Host) -> Optional[Finding]:
    servers, path = host.need("resolv"), "/etc/resolv.conf"
    own = [runner for runner in host.get("runner.config.runners", []) if runner.get("docker", {}).get("dns")]
    if not servers or own:
        return None
    instead = host.get("resolv_instead")
    if instead:
        servers, path = instead["servers"], instead["path"]
    if not all(server.startswith("127.") or server == "::1" for server in servers):
        return None
    named = f"names {', '.join(servers)} only" if servers else "names no server"
    return Finding(
        f"{path} {named}.",
        (f"{path}: {', '.join(servers) or 'no nameserver'}",),
        host.editor(
            {"path": host.need("config_path"), "exists": True},
            "set dns in [runners.docker] to name servers that containers reach",
        ),
    )


@CHECKS.check(
    "podman.fails",
    ERROR,
    title="Podman does not work at all",
    why="When 'podman info' fails as the runner user, every job does.",
    reference="podman-info(1)",
    after=(
        "podman.missing",
        "userns.subuid_missing",
        "userns.newuidmap",
        "userns.clone_sysctl",
        "userns.max",
        "userns.apparmor",
        "userns.store_foreign_ids",
        "session.config_owner",
        "session.linger",
        "session.user_manager",
        "session.runtime_dir",
        "storage.fuse_needed",
        "storage.dev_fuse",
        "storage.db_mismatch",
        "storage.boot_id",
        "storage.wrong_mount",
        "storage.stale_namespace",
        "storage.quota",
        "net.netavark_missing",
        "net.tool",
    ),
)
def podman_fails(host: Host) -> Optional[Finding]:
    info = host.facts["podman"].get("info", {})
    if not str(info.get("error", "")).startswith("podman info:"):
        host.need("podman.info")
        return None
    debug = host.as_user("podman --log-level=debug info")
    stderr = host.facts["podman"].get("stderr")
    if not isinstance(stderr, list):
        # It gave no answer in time: what it waits for, other commands of Podman would wait for as well.
        processes = f"ps -o pid,stat,wchan:24,etime,args -u {shlex.quote(host.user)}"
        return Finding(f"'podman info' fails: {info['error'].partition(': ')[2]}", (info["error"],), (processes, debug))
    return Finding(
        f"'podman info' fails: {info['error'].partition(': ')[2]}",
        tuple(stderr[-5:]),
        (host.as_user("podman system migrate"), debug),
        "podman system migrate stops every running container of the user.",
    )


# --- the socket ---


@CHECKS.check(
    "socket.enabled",
    ERROR,
    title="The user's podman.socket is not enabled or not active",
    why="GitLab Runner talks to Podman through this socket. It has to come up with the user's manager at each boot.",
    variable="podman_user",
    reference="podman-system-service(1)",
    after=("podman.missing", "session.linger", "session.user_manager", "session.runtime_dir"),
)
def socket_enabled(host: Host) -> Optional[Finding]:
    unit = host.need("user_units.socket")
    enabled, active = unit.get("UnitFileState") or unit.get("LoadState"), unit.get("ActiveState")
    if enabled == "enabled" and active == "active":
        return None
    return Finding(
        f"podman.socket of {host.user} is {enabled} and {active}.",
        (
            f"systemctl --user show podman.socket: UnitFileState={enabled} ActiveState={active} "
            f"Result={unit.get('Result')}",
        ),
        (
            host.systemctl_user("daemon-reload"),
            *((host.systemctl_user("unmask podman.socket"),) if enabled == "masked" else ()),
            *((host.systemctl_user("reset-failed podman.socket"),) if active == "failed" else ()),
            host.systemctl_user("enable --now podman.socket"),
        ),
    )


@CHECKS.check(
    "socket.path",
    ERROR,
    title="The socket file is missing or not the user's",
    why="When the file has been deleted, systemd listens on and nobody can reach it, until the socket unit is "
    "restarted.",
    reference="systemd.socket(5)",
    after=("podman.missing", "session.linger", "session.user_manager", "session.runtime_dir", "socket.enabled"),
)
def socket_path(host: Host) -> Optional[Finding]:
    path, found = host.need("socket")["path"], host.need("socket").get("status")
    if found and "error" in found:
        raise Skip(found["error"])
    if found and found["uid"] == host.uid:
        return None
    seen = f"belongs to uid {found['uid']}" if found else "does not exist"
    return Finding(
        f"{path} {seen}.",
        (f"{path}: {seen}",),
        (
            host.systemctl_user("stop podman.service podman.socket"),
            f"rm -f {shlex.quote(path)}",
            host.systemctl_user("start podman.socket"),
        ),
        RESTART_LOSS,
    )


@CHECKS.check(
    "socket.ping",
    ERROR,
    title="Podman does not answer through its socket",
    why="The runner gets 'Cannot connect to the Docker daemon'.",
    reference="podman-system-service(1)",
    after=(
        "podman.missing",
        "podman.fails",
        "socket.enabled",
        "socket.path",
        "session.linger",
        "session.user_manager",
        "session.runtime_dir",
    ),
)
def socket_ping(host: Host) -> Optional[Finding]:
    answer = host.need("socket.ping")
    if answer["status"] == 200:
        return None
    path = host.need("socket")["path"]
    seen = (
        f"answers with status {answer['status']}" if answer["status"] else f"does not answer ({answer.get('reason')})"
    )
    return Finding(
        f"{path} {seen}.",
        (f"GET /_ping: {answer['status'] or answer.get('reason')}",),
        (
            host.systemctl_user("daemon-reload"),
            host.systemctl_user("stop podman.service"),
            host.systemctl_user("restart podman.socket"),
        ),
        RESTART_LOSS,
    )


@CHECKS.check(
    "socket.api_version",
    ERROR,
    title="Podman speaks too old a version of the Docker API",
    why="GitLab Runner 19.2 and later asks for API 1.40 at least.",
    reference="moby client, GitLab Runner 19.2",
    after=("podman.version_min",),
)
def api_version(host: Host) -> Optional[Finding]:
    have = host.need("socket.ping.api_version")
    if version(have) >= (1, 40):
        return None
    return Finding(
        f"Podman offers API {have}; GitLab Runner needs 1.40.",
        (f"GET /_ping: Api-Version {have}",),
        (host.install("podman"), host.systemctl_user("stop podman.service")),
        RESTART_LOSS,
    )


@CHECKS.check(
    "socket.service_root",
    WARNING,
    title="The Podman of root listens as well",
    why="A job or a misconfigured runner that reaches that socket runs containers as root.",
    reference="podman-system-service(1)",
)
def service_root(host: Host) -> Optional[Finding]:
    state = host.need("units.podman_root.ActiveState")
    if state != "active":
        return None
    return Finding(
        "podman.socket of the system is active: /run/podman/podman.sock starts containers as root.",
        ("systemctl show podman.socket: ActiveState=active",),
        ("systemctl disable --now podman.socket",),
    )


@CHECKS.check(
    "service.timeout",
    WARNING,
    title="podman.service kills its containers when it stops",
    why="With the packaged KillMode=process only the API service ends when it has been idle. Any other mode takes "
    "the containers with it.",
    reference="containers/podman issue 7294",
    after=("podman.missing",),
)
def service_timeout(host: Host) -> Optional[Finding]:
    unit = host.need("user_units.service")
    mode = unit.get("KillMode")
    if unit.get("LoadState") != "loaded":
        raise Skip("the user has no podman.service")
    if mode == "process":
        return None
    return Finding(
        f"podman.service of {host.user} has KillMode={mode}.",
        (f"systemctl --user show podman.service: KillMode={mode} FragmentPath={unit.get('FragmentPath')}",),
        (host.systemctl_user("revert podman.service"), host.systemctl_user("daemon-reload")),
    )


@CHECKS.check(
    "api.409",
    ERROR,
    title="Containers could not be prepared: received 409 or 500",
    why="'Unable to upgrade to tcp, received 409' (500 from Podman 5.3 on) hides why a container could not be "
    "created. The cause is in the journal of Podman's service.",
    reference="containers/podman issues 20179 and 19930",
)
def received_409(host: Host) -> Optional[Finding]:
    lines = host.need("journal")["attach"]
    if isinstance(lines, dict):
        raise Skip(lines["error"])
    causes = [
        match.group(1)
        for line in lines
        for match in [re.search(r"preparing container \w+ for attach: (.*)", line)]
        # An image that cannot run the command of a job is no fault of the host; none has that of the doctor's probe.
        if match and "/rootless-probe" not in line and not FAULT_OF_AN_IMAGE.search(match.group(1))
    ]
    if not causes:
        return None
    cause = causes[-1]
    hint, remedy, loss = _explain(host, cause)
    return Finding(
        f"Containers could not be prepared in the last day ({len(causes)}), the last "
        f"one because of: {cause.strip()[:200]}" + (f" ({hint})" if hint else ""),
        tuple(causes[-3:]),
        remedy,
        loss,
    )


def _explain(host: Host, cause: str) -> tuple[str, tuple[str, ...], str]:
    """What a cause means, what to do, and what that interrupts."""
    if "oom_score_adj" in cause:
        return "crun 1.9 sets oom_score_adj where Podman before 4.7 may not", (host.install("crun", "podman"),), ""
    paths = re.findall(r"(?:/[\w.@-]+)+", cause) if re.search("permission denied", cause, re.IGNORECASE) else []
    if paths:
        # A job can have named any other path, and is not to say what becomes open to all.
        given = _given_to_jobs(host, paths) if re.search(r"\b(mount|open)", cause) else {}
        closed = [entry["path"] for parents in given.values() for entry in parents if _closed(host, entry)]
        remedies = (f"namei -l {[*given, *paths][0]}", *(f"chmod o+x {shlex.quote(folder)}" for folder in closed))
        return "a directory on the way cannot be entered by the container's user", remedies, ""
    if "keyring" in cause or "Disk quota" in cause:
        remedy = "sysctl -w kernel.keys.maxkeys=20000 kernel.keys.maxbytes=500000"
        return "the key quota of the user is used up", (remedy,), ""
    if "RLIMIT" in cause or "setrlimit" in cause:
        remedy = f"cat /proc/$(systemctl show --value -p MainPID user@{host.uid})/limits"
        return "the container asks for more than the hard limit", (remedy,), ""
    if "cgroup" in cause:
        return "the user manager has not got a cgroup controller", (host.open_controllers(),), ""
    return "", (f"journalctl _UID={host.uid} --since=-1h --grep='preparing container'",), ""


def _given_to_jobs(host: Host, paths: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The first of some paths that config.toml gives to jobs, if any, with what is known of the way to it."""
    for path in paths:
        for given, parents in host.get("certificates.host_paths", {}).items():
            if f"{path}/".startswith(f"{given.rstrip('/')}/"):
                return {path: parents}
    return {}


def _closed(host: Host, entry: dict[str, Any]) -> bool:
    """Whether the runner user, who is root in its containers, cannot enter a directory."""
    if "mode" not in entry or not entry.get("folder", True) or entry["uid"] == host.uid:
        return False
    return not int(entry["mode"], 8) & (0o011 if entry["gid"] == host.gid else 0o001)


@CHECKS.check(
    "tmpfs.helper_image",
    WARNING,
    title="The store is empty and nothing may be pulled",
    why="After a reboot a store on a tmpfs is empty. With pull_policy never, or without a registry, each job fails "
    "until the images are loaded again.",
    applies="hosts with container storage on a tmpfs",
    variable="podman_images",
    reference="gitlab-org/gitlab-runner issue 29576",
    after=("storage.wrong_mount", "storage.stale_namespace", "podman.fails"),
)
def helper_image(host: Host) -> Optional[Finding]:
    tmpfs = _tmpfs(host)
    never = [
        runner for runner in host.docker_runners if runner.get("docker", {}).get("pull_policy") in ("never", ["never"])
    ]
    images = host.need("podman.info.images") if host.need("store")["exists"] else 0
    if not never or images:
        return None
    image = str(never[0]["docker"].get("image", "IMAGE"))
    action = "load --input IMAGE.tar" if image.startswith("localhost/") else f"pull {shlex.quote(image)}"
    return Finding(
        f"{tmpfs['path']} holds no image, and the runner {never[0].get('name')} never pulls one.",
        (f"config.toml: {never[0].get('name')}: pull_policy = never", "podman info: 0 images"),
        (host.as_user(f"podman {action}"),),
    )


# --- logs and leftovers ---


@CHECKS.check(
    "log.driver",
    WARNING,
    title="Logs of containers vanish",
    why="journald stores the messages of a system user (uid below 1000) in the system's journal, which the user "
    "cannot read: 'podman logs' prints nothing, and services of jobs have no log.",
    variable="podman_containers_conf",
    reference="containers/podman issues 19600 and 24088",
)
def log_driver(host: Host) -> Optional[Finding]:
    driver = host.need("podman.info.log_driver")
    if driver != "journald" or (host.uid >= 1000 and not 61184 <= host.uid <= 65519):
        return None
    return Finding(
        f"Podman logs to journald, and {host.user} is the system user {host.uid}.",
        (f"podman info: logDriver {driver}",),
        (
            *host.edit(
                host.need("containers_conf.own"),
                ("containers", "log_driver", '"k8s-file"'),
                ("engine", "events_logger", '"file"'),
            ),
            host.systemctl_user("stop podman.service"),
        ),
        RESTART_LOSS,
    )


@CHECKS.check(
    "log.unbounded",
    INFO,
    title="Logs of containers grow without a limit",
    why="A service that writes much fills the store.",
    variable="podman_containers_conf",
    reference="containers.conf(5), log_size_max",
)
def log_unbounded(host: Host) -> Optional[Finding]:
    if host.need("podman.info.log_driver") != "k8s-file":
        raise Skip("logs do not go to files")
    if int(host.get("containers_conf.merged.containers", {}).get("log_size_max", -1)) > 0:
        return None
    return Finding(
        "containers.conf sets no log_size_max.",
        (f"containers.conf: read from {', '.join(host.need('containers_conf')['sources']) or 'no file'}",),
        host.edit(host.need("containers_conf.own"), ("containers", "log_size_max", "52428800")),
    )


@CHECKS.check(
    "conmon.orphans",
    WARNING,
    title="Processes of containers that are gone still run",
    why="A conmon that outlived its container keeps ports, mounts and memory.",
    reference="containers/podman issue 7294",
)
def conmon_orphans(host: Host) -> Optional[Finding]:
    containers = host.need("podman")["containers"]
    if isinstance(containers, dict):
        raise Skip(containers["error"])
    known = {entry[0] for entry in containers}
    # Podman lists the containers of one store. There may be others, each with a conmon, by its option --root.
    store = host.get("podman.info.graph_root")
    orphans = [
        entry
        for entry in host.need("limits")["conmon"]
        if entry["container"] not in known and entry["root"] in (None, store) and entry["age"] > 10
    ]
    if not orphans:
        return None
    return Finding(
        f"conmon of {host.user} watches containers that are gone ({len(orphans)}), such as pid {orphans[0]['pid']}.",
        tuple(
            f"pid {entry['pid']}: container {entry['container'][:12]}, {entry['age']} s old" for entry in orphans[:5]
        ),
        (f"kill {' '.join(str(entry['pid']) for entry in orphans)}",),
        "conmon passes the signal on: what still runs in these containers ends.",
    )


@CHECKS.check(
    "prune.timer",
    INFO,
    title="Nothing removes old images",
    why="Images of jobs pile up until the store is full.",
    variable="podman_prune",
    reference="podman-image-prune(1)",
    after=("podman.missing",),
)
def prune_timer(host: Host) -> Optional[Finding]:
    prune = host.need("prune")
    if prune["timers"] or prune["crontabs"]:
        return None
    user, folder = f"runuser -u {shlex.quote(host.user)} --", shlex.quote(f"{host.home}/.config/systemd/user")
    command = "podman image prune --all --force --filter until=168h"
    service = ["[Unit]", "Description=Remove old images", "[Service]", "Type=oneshot", f"ExecStart={command}"]
    timer = ["[Unit]", "Description=Remove old images", "[Timer]", "OnCalendar=daily", "Persistent=true"]
    timer += ["[Install]", "WantedBy=timers.target"]
    return Finding(
        f"No timer and no cron job of {host.user} or of the system prunes images.",
        ("timers.target.wants: no prune timer",),
        (
            f"{user} mkdir -p {folder}",
            f"printf '%s\\n' {' '.join(map(shlex.quote, service))} | {user} tee {folder}/podman-image-prune.service",
            f"printf '%s\\n' {' '.join(map(shlex.quote, timer))} | {user} tee {folder}/podman-image-prune.timer",
            host.systemctl_user("daemon-reload"),
            host.systemctl_user("enable --now podman-image-prune.timer"),
        ),
        "Images that no container uses and that are older than a week are deleted every day.",
    )


@CHECKS.check(
    "image.short_names",
    INFO,
    title="Images without a registry in their name cannot be found",
    why="Podman asks the registries of unqualified-search-registries for such a name. Podman 4 and later completes "
    "names that come through the Docker API to docker.io by itself, Podman 3 does not.",
    variable="podman_unqualified_search_registries",
    reference="containers-registries.conf(5)",
    after=("podman.missing",),
)
def short_names(host: Host) -> Optional[Finding]:
    registries = host.need("registries")
    if registries["search"]:
        return None
    return Finding(
        "unqualified-search-registries is empty, so that 'podman pull alpine' finds nothing.",
        ("/etc/containers/registries.conf and its drop-ins: no unqualified-search-registries",),
        host.edit(registries["dropin"], ("", "unqualified-search-registries", '["docker.io"]')),
        severity=ERROR if in_range(host.podman, "<4") else INFO,
    )


# --- probes ---


@CHECKS.check(
    "probe.container",
    ERROR,
    title="A container cannot be started through the socket",
    why="What the runner does first for each job did not work when it was tried.",
    reference="podman-run(1)",
    after=("socket.ping", "podman.fails"),
)
def probe_container(host: Host) -> Optional[Finding]:
    return _probe(host, "container")


@CHECKS.check(
    "probe.pull",
    ERROR,
    title="An image cannot be pulled through the socket",
    why="The registry cannot be reached, does not trust the host, or the store cannot take the image.",
    reference="podman-pull(1)",
    after=("socket.ping", "podman.fails"),
)
def probe_pull(host: Host) -> Optional[Finding]:
    return _probe(host, "pull")


def _probe(host: Host, kind: str) -> Optional[Finding]:
    probe = host.need("probe")
    if probe["kind"] != kind:
        raise Skip(f"another probe was asked for (probe: {probe['kind']})")
    if probe["ok"]:
        return None
    last = probe["output"][-1] if probe["output"] else "no message"
    action = "pull" if kind == "pull" else "run --rm"
    url = shlex.quote(f"unix://{host.need('socket')['path']}")
    command = f"podman --url {url} {action} {shlex.quote(probe['image'])}"
    return Finding(
        f"{'Pulling' if kind == 'pull' else 'Starting'} {probe['image']} failed: {last}",
        tuple(probe["output"]),
        (f"journalctl _UID={host.uid} --since=-10min --no-pager", host.as_user(command)),
    )
