# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each check of the doctor a host that it finds something on: a healthy host's facts with a few of them changed.

The unit tests prove with them that each check fires, and the documentation shows what it says then.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

FACTS = Path(__file__).parents[1] / "unit/plugins/module_utils/doctor_facts"
DELETE = object()
USER, UID = "gitlab-runner", 995
SOCKET = f"unix:///run/user/{UID}/podman/podman.sock"
MESSAGE = "preparing container 0123456789ab for attach: "

# Facts by path; the parts of a path are separated by spaces.
Changes = dict[str, Any]


def healthy(name: str = "healthy_debian13") -> dict[str, Any]:
    """The facts of a host that the roles have built."""
    return json.loads((FACTS / f"{name}.json").read_text())


def changed(facts: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """A copy of the facts in which some are different."""
    facts = copy.deepcopy(facts)
    for path, value in changes.items():
        *parents, last = path.split()
        value = value if value is DELETE else copy.deepcopy(value)
        target: Any = facts
        for part in parents:
            if isinstance(target, list):
                target = target[int(part)]
            else:
                if not isinstance(target.get(part), (dict, list)):
                    target[part] = {}
                target = target[part]
        if value is DELETE:
            del target[last]
        elif isinstance(target, list):
            target[int(last)] = value
        else:
            target[last] = value
    return facts


def storage(**options: Any) -> Changes:
    """A storage.conf of the user with these keys in [storage], and where they are."""
    path = f"/home/{USER}/.config/containers/storage.conf"
    overlay = options.pop("overlay", {})
    parsed = {"storage": {"driver": "overlay", **options, **({"options": {"overlay": overlay}} if overlay else {})}}
    lines = {"[storage]": 1, **{f"storage.{key}": number for number, key in enumerate(parsed["storage"], 2)}}
    if overlay:
        lines["[storage.options.overlay]"] = 10
        lines.update({f"storage.options.overlay.{key}": number for number, key in enumerate(overlay, 11)})
    return {"storage_conf": {"path": path, "own": path, "exists": True, "parsed": parsed, "lines": lines}}


def mount(fstype: str, options: str = "rw,nodev", source: str = "") -> dict[str, str]:
    return {"target": "/srv/rootless-containers", "fstype": fstype, "source": source or fstype, "options": options}


def tmpfs(options: str, fstab: str = "", **facts: Any) -> Changes:
    entry = {"target": "/srv/rootless-containers", "fstype": "tmpfs", "options": fstab, "line": 3}
    return {
        "tmpfs": {
            "path": "/srv/rootless-containers",
            "mounted": True,
            "options": options,
            "fstab": entry if fstab else None,
            "status": {"path": "/srv/rootless-containers", "uid": UID, "gid": UID, "mode": "0700", "folder": True},
            "space": {"size": 2**31, "used_percent": 3, "inodes_percent": 1},
            **facts,
        }
    }


def runner(**docker: Any) -> Changes:
    """One runner with these keys in [runners.docker], and where they are."""
    section = {
        "name": "ci-1",
        "url": "https://gitlab.example.com",
        "executor": "docker",
        "environment": docker.pop("environment", []),
        "feature_flags": docker.pop("feature_flags", {"FF_NETWORK_PER_BUILD": True}),
        **({"tls-ca-file": docker.pop("ca")} if "ca" in docker else {}),
        "docker": {"host": SOCKET, "image": "alpine:3", "services": [], **docker},
    }
    lines = {"concurrent": 1, "[runners[0]]": 3, "runners[0].environment": 7, "[runners[0].docker]": 10}
    lines.update({f"runners[0].docker.{key}": number for number, key in enumerate(section["docker"], 11)})
    if section["feature_flags"]:
        lines["[runners[0].feature_flags]"] = 8
    return {
        "runner config runners": [section],
        "runner config lines": lines,
    }


def attach(cause: str) -> Changes:
    return {"journal attach": [MESSAGE + cause]}


def ids(*entries: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [
        {"owner": owner, "start": start, "count": count, "line": line}
        for line, (owner, start, count) in enumerate(entries, 1)
    ]


HANGS = {"error": "podman info: no answer within 30 seconds"}
CLOSED = [
    {"path": "/srv", "uid": 0, "gid": 0, "mode": "0755", "folder": True},
    {"path": "/srv/ci", "uid": 0, "gid": 0, "mode": "0700", "folder": True},
    {"path": "/srv/ci/cache", "uid": UID, "gid": UID, "mode": "0700", "folder": True},
]
MISSING_USER = {"error": f"the user {USER} does not exist"}
DENIED = 'audit: type=1400 audit(1.0:1): apparmor="DENIED" operation="open" profile="{}" name="/x" fsuid=100033'
SIGNAL = (
    'audit: type=1400 audit(1.0:1): apparmor="DENIED" operation="signal" class="signal" profile="pasta" pid=4711 '
    'comm="podman" requested_mask="receive" denied_mask="receive" signal=term peer="{}"'
)
EXECSTART = "{{ path=/usr/bin/{0} ; argv[]=/usr/bin/{0} {1} ; ignore_errors=no ; pid=0 }}"
CA = "/etc/gitlab-runner/certs/gitlab.example.com.crt"

CASES: dict[str, list[Changes]] = {
    "user.missing": [{"user": MISSING_USER}],
    "userns.subuid_missing": [
        {"subids subuid": [], "subids subgid": []},
        {"subids subuid": ids(("alice", 100000, 65536))},
        {"subids subgid": []},
    ],
    "userns.subuid_size": [
        {"subids subuid": ids((USER, 300000, 1000)), "subids subgid": ids((USER, 300000, 1000))},
        {"subids subuid": ids((str(UID), 300000, 65535)), "subids subgid": ids((USER, 300000, 65536))},
    ],
    "userns.subuid_overlap": [
        {
            "subids subuid": ids(("bob", 165536, 65536), (USER, 200000, 65536)),
            "subids subgid": ids(("bob", 165536, 65536), (USER, 200000, 65536)),
        },
        {"subids users": [["ldapuser", 131100]], "subids subuid": ids((USER, 131072, 65536))},
        {
            "subids subuid": ids(
                ("bob", 200010, 10), ("bob", 300010, 10), (USER, 200000, 40000), (USER, 300000, 40000)
            ),
            "subids subgid": ids((USER, 200000, 40000), (USER, 300000, 40000)),
        },
        {"subids subuid": ids(("bob", 200010, 10), (str(UID), 200000, 65536))},
    ],
    "userns.subgid_mismatch": [
        {"subids subuid": ids((USER, 131072, 65536)), "subids subgid": ids((USER, 262144, 65536))},
        {"subids subuid": ids((USER, 100000, 131072)), "subids subgid": ids((USER, 100000, 65536))},
        {
            "subids subuid": ids((USER, 131072, 65536), ("bob", 262144, 65536)),
            "subids subgid": ids((USER, 262144, 65536)),
        },
    ],
    "userns.mapping_stale": [
        {
            "subids subuid": ids((USER, 131072, 65536), (USER, 524288, 65536)),
            "subids subgid": ids((USER, 131072, 65536), (USER, 524288, 65536)),
            "podman info uidmap": [[0, UID, 1], [1, 131072, 65536]],
        },
    ],
    "userns.store_foreign_ids": [
        {
            "store exists": True,
            "store foreign_ids": {"owners": [f"{UID} {UID}", "200000 200000", "200999 200999"], "complete": True},
        },
        {"store exists": True, "store foreign_ids": {"owners": [f"{UID} {UID}", "0 0"], "complete": False}},
        {
            "store exists": True,
            "subids backup": ids((USER, 300000, 65536)),
            "store foreign_ids": {"owners": ["300999 300999"], "complete": True},
        },
    ],
    "userns.newuidmap": [
        {"idmap_tools newuidmap": {"path": None}, "idmap_tools newgidmap": {"path": None}},
        {
            "idmap_tools newgidmap": {
                "path": "/usr/bin/newgidmap",
                "uid": 0,
                "gid": 0,
                "mode": "0755",
                "capable": False,
                "setuid": False,
            }
        },
    ],
    "userns.clone_sysctl": [{"sysctl kernel.unprivileged_userns_clone": "0"}],
    "userns.max": [{"sysctl user.max_user_namespaces": "0"}, {"sysctl user.max_user_namespaces": "500"}],
    "userns.apparmor": [
        {
            "sysctl kernel.apparmor_restrict_unprivileged_userns": "1",
            "podman path": "/usr/local/bin/podman",
            "apparmor profiles": [
                {"file": "/etc/apparmor.d/podman", "name": "podman", "attaches": "/usr/bin/podman", "userns": True}
            ],
        },
    ],
    "userns.pasta_apparmor": [
        {"journal denials": [SIGNAL.format("podman")]},
        {"journal denials": [SIGNAL.format("/opt/podman//x")]},
        {"journal denials": [DENIED.format("pasta")]},
    ],
    "apparmor.host_profile_attaches": [
        {"journal denials": [DENIED.format("rsyslogd")], "subids subuid": ids((USER, 100000, 65536))},
    ],
    "session.linger": [{"session linger": False}],
    "session.user_manager": [{"units user_manager ActiveState": "inactive"}],
    "session.runtime_dir": [
        {"session runtime_dir": None},
        {"session runtime_dir": {"path": f"/run/user/{UID}", "uid": 0, "gid": 0, "mode": "0755", "folder": True}},
    ],
    "session.dbus": [
        {"session bus": False, "packages dbus-user-session": DELETE},
        {"session bus": False},
    ],
    "session.cgroup_manager": [
        {"podman info cgroup_manager": "cgroupfs"},
        {"podman info cgroup_manager": "cgroupfs", "containers_conf merged engine cgroup_manager": "cgroupfs"},
    ],
    "cgroup.version": [{"cgroup fstype": "tmpfs"}],
    "cgroup.delegation": [
        {"cgroup available": ["cpu", "cpuset", "io", "memory", "pids"], "cgroup delegated": ["memory", "pids"]},
        {
            "cgroup available": ["cpu", "cpuset", "io", "memory", "pids"],
            "cgroup delegated": ["cpu", "memory", "pids"],
            **runner(cpuset_cpus="0,1"),
        },
    ],
    "session.config_owner": [{"session foreign": [[f"/home/{USER}/.config", 0], [f"/home/{USER}/.config/systemd", 0]]}],
    "sysctl.keys": [
        {"sysctl kernel.keys.maxkeys": "200", "runner config concurrent": 10},
        {"sysctl kernel.keys.maxkeys": "200", "keys": {"used": 190, "limit": 200}},
    ],
    "sysctl.inotify": [
        {"sysctl fs.inotify.max_user_instances": "128"},
        {"sysctl fs.inotify.max_user_watches": "8192"},
    ],
    "sysctl.map_count": [{"sysctl vm.max_map_count": "65530", **runner(services=["elasticsearch:8"])}],
    "limits.nofile_nproc": [
        {
            "containers_conf merged containers default_ulimits": ["nproc=65536:65536"],
            "limits nproc": {"soft": "100", "hard": "4096"},
        },
        {"limits nofile": {"soft": "1024", "hard": "4096"}, **runner(ulimit={"nofile": "65536:65536"})},
    ],
    "limits.tasksmax": [{"limits tasks_max": "4915", "runner config concurrent": 16}],
    "kernel.vsyscall": [
        {"kernel vsyscall": "none", "kernel machine": "x86_64", **runner(image="centos:6")},
        {"kernel vsyscall": "xonly", "kernel machine": "x86_64", **runner(image="docker.io/library/centos:6.10")},
    ],
    "sudo.rs": [{"sudo": {"rs": True, "scripts": ["/usr/local/bin/prune-images"]}}],
    "podman.missing": [{"commands podman": None}],
    "podman.version_min": [{"podman version": "3.4.4"}, {"podman version": "4.1.1"}],
    "podman.kubic": [
        {"kubic": {"sources": ["/etc/apt/sources.list.d/devel:kubic:libcontainers:stable.list"], "keys": []}},
    ],
    "podman.fails": [
        {
            "podman info": {"error": "podman info: Error: creating runtime: mkdir /x: read-only file system"},
            "podman stderr": ["Error: creating runtime: mkdir /x: read-only file system"],
        },
        {key: HANGS for key in ("podman info", "podman stderr", "podman containers", "podman networks")},
    ],
    "socket.enabled": [
        {"user_units socket UnitFileState": "disabled", "user_units socket ActiveState": "inactive"},
        {"user_units socket UnitFileState": "masked", "user_units socket ActiveState": "inactive"},
        {"user_units socket ActiveState": "failed"},
    ],
    "socket.path": [
        {"socket status": None},
        {"socket status": {"path": "x", "uid": 0, "gid": 0, "mode": "0660", "folder": False}},
    ],
    "socket.ping": [
        {"socket ping": {"status": 0, "reason": "Connection refused"}},
        {"socket ping": {"status": 500, "api_version": "1.41"}},
    ],
    "socket.api_version": [{"socket ping": {"status": 200, "api_version": "1.39"}}],
    "socket.service_root": [{"units podman_root ActiveState": "active"}],
    "service.timeout": [{"user_units service KillMode": "control-group", "user_units service LoadState": "loaded"}],
    "api.409": [
        {
            **attach("crun: mount `/srv/ci/cache` to `cache`: Permission denied: OCI permission denied"),
            "certificates host_paths": {"/srv/ci/cache": CLOSED},
        },
        attach("mount /home/gitlab-runner/cache/x: permission denied"),
        attach("crun: write to `/proc/self/oom_score_adj`: Permission denied"),
        attach("crun: create keyring `abc`: Disk quota exceeded: OCI runtime error"),
        attach("crun: setrlimit `RLIMIT_NPROC`: Operation not permitted"),
        attach("crun: the requested cgroup controller `cpuset` is not available"),
        attach("rootlessport listen tcp 0.0.0.0:80: bind: address already in use"),
    ],
    "storage.driver_vfs": [
        {"podman info driver": "vfs", "store exists": True, **storage(driver="vfs")},
        {
            "podman info": {"error": "no store yet"},
            "podman version": "4.3.1",
            "store exists": False,
            "store drivers": [],
            "storage_conf": {
                "path": f"/home/{USER}/.config/containers/storage.conf",
                "own": f"/home/{USER}/.config/containers/storage.conf",
                "exists": False,
                "parsed": {},
                "lines": {},
            },
        },
    ],
    "storage.fuse_stale": [
        {
            "store mount_program": "true",
            "store exists": True,
            **storage(overlay={"mount_program": "/usr/bin/fuse-overlayfs"}),
        },
        {"store mount_program": "true", "store exists": True},
    ],
    "storage.fuse_needed": [
        {"store kernel_xattr": False, "store exists": False, "commands fuse-overlayfs": None},
        {
            "kernel release": "5.10.0-28-amd64",
            "store exists": True,
            "commands fuse-overlayfs": "/usr/bin/fuse-overlayfs",
        },
    ],
    "storage.dev_fuse": [
        {"devices /dev/fuse": "0600", "store mount_program": "true"},
        {"devices /dev/fuse": None, **runner(devices=["/dev/fuse"])},
    ],
    "net.dev_tun": [{"devices /dev/net/tun": "0600"}, {"devices /dev/net/tun": None}],
    "storage.metacopy": [storage(overlay={"mountopt": "nodev,metacopy=on"})],
    "storage.rootless_path": [
        storage(graphroot="/srv/rootless-containers/graphroot", rootless_storage_path="/srv/other")
    ],
    "storage.db_mismatch": [
        {
            "podman stderr": [
                'level=error msg="User-selected graph driver \\"overlay\\" overwritten by graph driver \\"btrfs\\" '
                "from "
                'database - delete libpod local files to resolve"'
            ]
        },
        {
            "podman stderr": [
                'Error: database static dir "/srv/old/libpod" does not match our static dir "/srv/new/libpod": '
                "database "
                "configuration mismatch"
            ]
        },
        {
            "podman stderr": [
                'Error: database run root "/run/user/995/old" does not match our run root "/run/user/995/containers": '
                "database configuration mismatch"
            ]
        },
    ],
    "storage.boltdb": [
        {"store boltdb": True, "podman version": "5.4.2"},
        {"store boltdb": True, "podman version": "5.8.6"},
        {"store boltdb": True, "podman version": "6.0.0"},
    ],
    "storage.boot_id": [
        {
            "podman version": "5.4.2",
            "podman info": {"error": "podman info: Error: current system boot ID differs"},
            "podman stderr": [
                "Error: current system boot ID differs from cached boot ID; an unhandled reboot has occurred. Please "
                'delete directories "/var/tmp/run" and "/var/tmp/libpod" and re-run Podman'
            ],
            **storage(runroot="/var/tmp/run"),
        },
    ],
    "storage.wrong_mount": [
        {
            **tmpfs("", fstab="size=2G,uid=995,gid=995", mounted=False, space=None),
            "store mount": {"target": "/", "fstype": "ext4", "source": "/dev/vda1", "options": "rw"},
        },
    ],
    "storage.stale_namespace": [
        {
            "store mount": mount("tmpfs"),
            "store pause_mount": {"target": "/", "fstype": "ext4", "source": "/dev/vda1", "options": "rw"},
        },
    ],
    "storage.below_var_lib": [
        {
            "podman version": "4.3.1",
            "store graph_root": "/var/lib/rootless-containers/storage",
        },
    ],
    "storage.nfs": [{"store mount": mount("nfs4", source="nas:/export")}],
    "session.noexec_home": [
        {"store mount": mount("ext4", "rw,nosuid,noexec")},
        {
            "store mount": mount("ext4", "rw,nosuid,noexec"),
            "fstab": [{"target": "/srv/rootless-containers", "fstype": "ext4", "options": "nosuid,noexec", "line": 4}],
        },
    ],
    "storage.space": [
        {"store space": {"/srv/rootless-containers": {"size": 2**31, "used_percent": 97, "inodes_percent": 1}}},
        {"store space": {"/var/tmp": {"size": 2**31, "used_percent": 90, "inodes_percent": 1}}},
        {"store space": {f"/run/user/{UID}": {"size": 2**31, "used_percent": 88, "inodes_percent": 1}}},
    ],
    "storage.inodes": [
        {"store space": {"/srv/rootless-containers": {"size": 2**31, "used_percent": 9, "inodes_percent": 93}}},
    ],
    "storage.quota": [{"store mount": mount("ext4"), **storage(overlay={"size": "10G"})}],
    "tmpfs.huge": [
        tmpfs("rw,size=2097152k,huge=always", fstab="size=2G,uid=995,gid=995,huge=always"),
        tmpfs("rw,size=2097152k", fstab="size=2G,uid=995,gid=995,huge=always"),
    ],
    "tmpfs.size": [
        {
            **tmpfs(
                "rw,size=64g",
                fstab="size=64g,uid=995,gid=995",
                space={"size": 2**36, "used_percent": 1, "inodes_percent": 1},
            ),
            "memory": {"total": 2**34, "swap": 0},
        },
    ],
    "tmpfs.uid": [
        tmpfs("rw", fstab="size=2G,uid=996,gid=996", status={"path": "x", "uid": 996, "gid": 996, "mode": "0700"}),
        tmpfs("rw", fstab="size=2G,uid=996,gid=996"),
        tmpfs("rw", fstab="size=2G"),
        tmpfs("rw", fstab="size=2G,uid=995,gid=996"),
    ],
    "tmpfs.inodes": [
        tmpfs(
            "rw",
            fstab="size=2G,uid=995,gid=995,nr_inodes=10k",
            space={"size": 2**31, "inodes": 10240, "used_percent": 3, "inodes_percent": 95},
        ),
    ],
    "tmpfs.memlimit": [{**tmpfs("rw"), **runner(memory="512m")}],
    "tmpfs.helper_image": [
        {**tmpfs("rw"), "podman info images": 0, **runner(pull_policy="never", image="registry.example.com/ci:1")},
        {**tmpfs("rw"), "podman info images": 0, **runner(pull_policy=["never"], image="localhost/ci:1")},
    ],
    "selinux.label": [{"selinux": {"enforcing": True, "context": "system_u:object_r:tmpfs_t:s0"}}],
    "net.backend": [
        {"podman info network_backend": "cni", "podman version": "4.3.1"},
        {
            "podman info network_backend": "cni",
            "podman version": "5.4.2",
            "containers_conf merged network network_backend": "cni",
            "containers_conf own lines": {"[network]": 3, "network.network_backend": 4},
        },
    ],
    "net.cni_podman_missing": [{"podman info network_backend": "cni", "podman networks": []}],
    "net.cni_100": [
        {
            "cni": {"files": ["/x"], "version_100": [f"/home/{USER}/.config/cni/net.d/87-podman.conflist"]},
            "packages containernetworking-plugins": "0.9.1+ds1-1",
        },
    ],
    "net.netavark_missing": [{"commands netavark": None, "commands aardvark-dns": None}],
    "net.firewall_tool": [
        {"commands iptables": None, "podman version": "4.3.1"},
        {"commands nft": None, "podman version": "6.0.0"},
        {"commands nft": None, "commands iptables": None},
    ],
    "net.modules": [
        {"modules": {"ip_tables": True, "nf_tables": True, "tun": False, "bridge": False}},
        {
            "modules": {"ip_tables": False, "nf_tables": False, "tun": True, "bridge": True},
            "podman version": "4.9.3",
        },
    ],
    "net.aardvark_old": [
        {"versions aardvark-dns": "1.4.0", "runner config concurrent": 4, **runner(services=["redis:7"])}
    ],
    "net.tool": [
        {"commands pasta": None},
        {"commands slirp4netns": None, "podman version": "4.3.1"},
        {"containers_conf merged network default_rootless_network_cmd": "slirp4netns", "commands slirp4netns": None},
    ],
    "net.subnets": [
        {
            "routes": ["10.89.0.0/16 eth0"],
            "podman networks": [
                {"name": "podman", "subnets": ["10.88.0.0/16"]},
                {"name": "db", "subnets": ["10.89.3.0/24"]},
            ],
        },
        {"routes": ["10.88.0.0/16 eth0"], "podman networks": [{"name": "podman", "subnets": ["10.88.0.0/16"]}]},
    ],
    "net.low_ports": [{"runner config listen": [":443"], "sysctl net.ipv4.ip_unprivileged_port_start": "1024"}],
    "net.ping": [{"sysctl net.ipv4.ping_group_range": "1 0"}],
    "net.dns": [
        {"resolv": ["127.0.0.1"], "resolv_instead": None},
        {"resolv": ["127.0.0.53"]},
        {
            "resolv": ["127.0.0.53"],
            "resolv_instead": {"path": "/run/systemd/resolve/resolv.conf", "servers": ["127.0.0.1", "::1"]},
        },
    ],
    "log.driver": [{"podman info log_driver": "journald"}],
    "log.unbounded": [
        {"podman info log_driver": "k8s-file", "containers_conf merged containers": {"log_driver": "k8s-file"}},
    ],
    "conmon.orphans": [
        {
            "limits conmon": [{"pid": 4711, "container": "ab" * 32, "root": "/srv/containers", "age": 4000}],
            "podman containers": [],
            "podman info graph_root": "/srv/containers",
        },
    ],
    "prune.timer": [{"prune": {"timers": [], "crontabs": []}}],
    "image.short_names": [
        {"registries search": [], "registries dropin exists": False, "registries dropin lines": {}},
        {
            "registries search": [],
            "registries dropin lines": {"[registry]": 0, "[registry[0]]": 1, "registry[0].prefix": 2},
            "podman version": "3.4.4",
        },
    ],
    "probe.container": [
        {"probe": {"kind": "container", "image": "0123456789ab", "ok": False, "output": ["Error: crun: x"]}},
    ],
    "probe.pull": [
        {"probe": {"kind": "pull", "image": "alpine:3", "ok": False, "output": ["Error: no route to host"]}}
    ],
    "runner.missing": [{"runner program": None, "units runner": {"LoadState": "not-found"}}],
    "runner.unit_user": [
        {
            "units runner User": "root",
            "units runner ExecStart": EXECSTART.format("gitlab-runner", "run --user gitlab-runner"),
        },
        {
            "units runner User": USER,
            "units runner ExecStart": EXECSTART.format(
                "strace",
                "-e inject=getuid:retval=0 -- /usr/bin/gitlab-runner run --working-directory /home/gitlab-runner "
                "--config /etc/gitlab-runner/config.toml",
            ),
        },
        {
            "units runner User": USER,
            "units runner ExecStart": EXECSTART.format("strace", "-D -f -- /usr/bin/gitlab-runner run"),
        },
    ],
    "runner.config_perm": [
        {
            "access /etc/gitlab-runner/config.toml": {"read": False, "write": False},
            "runner directory": {"path": "/etc/gitlab-runner", "uid": 0, "gid": 0, "mode": "0700", "folder": True},
        },
        {
            "access /etc/gitlab-runner/.runner_system_id": {"read": False, "write": False},
            "runner system_id": {"path": "/etc/gitlab-runner/.runner_system_id", "uid": 0, "gid": 0, "mode": "0600"},
        },
    ],
    "runner.config_owner": [
        {"runner directory": {"path": "/etc/gitlab-runner", "uid": 0, "gid": UID, "mode": "0750", "folder": True}},
    ],
    "runner.token_exposed": [
        {
            "runner file": {"path": "/etc/gitlab-runner/config.toml", "uid": UID, "gid": UID, "mode": "0644"},
            "runner directory": {"path": "/etc/gitlab-runner", "uid": UID, "gid": UID, "mode": "0755"},
        },
        {"runner file": {"path": "/etc/gitlab-runner/config.toml", "uid": UID, "gid": UID, "mode": "0604"}},
        {"runner file": {"path": "/etc/gitlab-runner/config.toml", "uid": UID, "gid": 100, "mode": "0640"}},
    ],
    "runner.config_invalid": [
        {
            "runner config": {
                "error": "/etc/gitlab-runner/config.toml is not valid TOML: Invalid value (at line 7, column 9)"
            }
        },
    ],
    "runner.inactive": [{"units runner ActiveState": "failed"}, {"units runner ActiveState": "inactive"}],
    "runner.unit_order": [{"units runner After": "network.target"}, {"units runner Wants": ""}],
    "runner.docker_group": [{"user groups": [USER, "docker"]}],
    "runner.helper_mismatch": [{"packages gitlab-runner-helper-images": "18.0.0-1"}],
    "runner.platform_key": [
        {"packages gitlab-runner": "19.2.1-1", "packages gitlab-runner-helper-images": "19.2.1-1"},
    ],
    "socket.config_host": [
        runner(host="unix:////run/user/996/podman.sock"),
        {
            **runner(),
            "runner config runners 0 docker host": DELETE,
            "runner config lines runners[0].docker.host": DELETE,
        },
    ],
    "socket.env_conflict": [{"units runner Environment": "LANG DOCKER_HOST=unix:///var/run/docker.sock"}],
    "socket.mounted_into_jobs": [
        runner(volumes=["/cache", f"/run/user/{UID}/podman/podman.sock:/var/run/docker.sock"]),
    ],
    "net.ff_network_per_build": [runner(feature_flags={}), runner(feature_flags={"FF_NETWORK_PER_BUILD": False})],
    "runner.privileged": [runner(privileged=True)],
    "cache.perm": [
        {
            "certificates host_paths": {"/srv/ci/cache": CLOSED},
        },
        {
            "certificates host_paths": {
                "/srv/ci": [{"path": "/srv", "uid": 0, "gid": 0, "mode": "0755", "folder": True}]
            }
        },
    ],
    "ca.runner": [
        {**runner(), "certificates system": [CA], "certificates own": []},
        {**runner(ca="/root/ca.crt"), "access /root/ca.crt": {"read": False, "write": False}},
    ],
    "ca.helper": [runner(ca="/etc/gitlab-runner/ca.crt", volumes=["/cache"])],
    "ca.job": [
        runner(ca="/etc/ca.crt", volumes=["/cache", "/etc/ca.crt:/etc/gitlab-runner/certs/ca.crt:ro"]),
        # Mounted where no program looks by itself, and none is told.
        runner(
            ca="/etc/ca.crt",
            volumes=["/etc/ca.crt:/etc/gitlab-runner/certs/ca.crt:ro", "/etc/ca.crt:/etc/ci/bundle.crt:ro"],
            environment=["SSL_CERT_FILE="],
        ),
    ],
    "ca.git_ssl_no_verify": [
        runner(environment=["GIT_SSL_NO_VERIFY=true"]),
        {**runner(environment=["GIT_SSL_NO_VERIFY=1"]), "runner config lines runners[0].environment": DELETE},
    ],
    "ca.registry": [
        {
            **runner(ca="/etc/ca.crt", image="registry.example.com/ci:1"),
            "certificates registries": [],
            "certificates local": [],
        },
    ],
    "ca.expiry": [
        {"certificates files": [{"path": "/etc/ca.crt", "days": 12}]},
        {"certificates files": [{"path": "/etc/ca.crt", "days": -3}]},
    ],
}
