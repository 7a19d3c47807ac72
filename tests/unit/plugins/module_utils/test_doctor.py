# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import (
    SEVERITIES,
    Check,
    Finding,
    Host,
    Skip,
    in_range,
    run,
    version,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor_checks import CHECKS
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._host_facts import toml_lines
from hypothesis import example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[4]
sys.path.insert(0, str(ROOT / "tests/support"))
from doctor_cases import (
    CASES,
    CLOSED,
    DELETE,
    DENIED,
    FACTS,
    SIGNAL,
    SOCKET,
    attach,
    changed,
    healthy,
    ids,
    runner,
    storage,
    tmpfs,
)

HEALTHY = sorted(path.stem for path in FACTS.glob("healthy_*.json"))
BROKEN = [
    pytest.param(identifier, case, id=f"{identifier}-{number}")
    for identifier, cases in CASES.items()
    for number, case in enumerate(cases)
]


def findings(facts: dict, checks=CHECKS) -> dict[str, dict]:
    return {entry["id"]: entry for entry in run(checks, facts)["findings"]}


def only(identifier: str) -> list[Check]:
    return [check for check in CHECKS if check.id == identifier]


# --- the table ---


def test_ids_are_unique_and_every_check_has_a_case():
    identifiers = [check.id for check in CHECKS]
    assert len(identifiers) == len(set(identifiers)) >= 100
    assert set(CASES) == set(identifiers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_columns(check):
    assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9_]+", check.id)
    assert check.severity in SEVERITIES
    assert check.title and not check.title.endswith(".")
    assert check.why.endswith((".", "found.", "?")) or '"' in check.why
    assert check.reference
    order = [entry.id for entry in CHECKS]
    assert all(order.index(earlier) < order.index(check.id) for earlier in check.after)


def test_variables_exist_in_the_roles():
    defaults = "".join(path.read_text() for path in sorted((ROOT / "roles").glob("*/defaults/main.yml")))
    known = set(re.findall(r"^(\w+):", defaults, re.MULTILINE)) | {"rootless_user"}
    assert {check.variable for check in CHECKS} - {""} <= known


# --- healthy hosts ---


@pytest.mark.parametrize("name", HEALTHY)
def test_a_host_that_the_roles_built_has_no_errors_and_no_warnings(name):
    result = run(CHECKS, healthy(name))
    assert [entry for entry in result["findings"] if entry["severity"] != "info"] == []
    assert len(result["passed_checks"]) >= 75, result["skipped_checks"]


@pytest.mark.parametrize("name", HEALTHY)
def test_every_check_has_exactly_one_outcome(name):
    result = run(CHECKS, healthy(name))
    outcomes = [entry["id"] for entry in [*result["findings"], *result["skipped_checks"]]] + result["passed_checks"]
    assert sorted(outcomes) == sorted(check.id for check in CHECKS)


def test_a_host_set_up_by_the_procedure_of_2021_gets_a_report_to_modernise_it_by():
    """Recorded on Debian 12, where all steps of the procedure had been done as it says; there the user is not 996."""
    found = findings(healthy("procedure_debian12"))
    severities = {
        severity: {name for name, entry in found.items() if entry["severity"] == severity} for severity in SEVERITIES
    }
    assert severities["error"] == {
        "podman.kubic",  # the abandoned repository
        "runner.config_perm",  # .runner_system_id has stayed with root
        "runner.unit_user",  # strace
        "session.config_owner",  # mkdir as root, and chown of a quoted glob
        "socket.config_host",  # unix:////run/user/996/podman.sock
        "socket.enabled",  # could not be enabled in a directory of root
        "tmpfs.huge",  # huge=always
        "tmpfs.uid",  # uid=996 in /etc/fstab
    }
    assert severities["warning"] == {
        "net.ff_network_per_build",
        "socket.service_root",
        "storage.fuse_stale",
        "storage.metacopy",
        "storage.rootless_path",
        "tmpfs.size",  # 64g
    }


def test_recorded_facts_hold_no_secret():
    for path in FACTS.glob("*.json"):
        assert not re.search(r"glrt-|GR1348941|PRIVATE KEY", path.read_text())


# --- broken hosts ---


@pytest.mark.parametrize(("identifier", "case"), BROKEN)
def test_check_fires(identifier, case):
    found = findings(changed(healthy(), case))
    assert identifier in found, run(only(identifier), changed(healthy(), case))["skipped_checks"]
    entry = found[identifier]
    assert entry["summary"] and "\n" not in entry["summary"]
    assert entry["evidence"] and all(isinstance(line, str) and line for line in entry["evidence"])
    assert entry["remedy"] and all(isinstance(line, str) and line for line in entry["remedy"])
    assert "None" not in entry["summary"]


@pytest.mark.parametrize(("identifier", "case"), BROKEN)
def test_remedies_are_shell_that_parses(identifier, case):
    remedy = "\n".join(findings(changed(healthy(), case))[identifier]["remedy"])
    result = subprocess.run(["bash", "-n"], input=remedy, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{remedy}\n{result.stderr}"
    assert "None" not in remedy and "{" not in re.sub(r"\$\{EDITOR:-vi\}|-exec .* \{\} \+|'[^']*'", "", remedy)


@pytest.mark.parametrize("identifier", CASES)
def test_check_is_content_with_a_healthy_host(identifier):
    for name in HEALTHY:
        found = findings(healthy(name), only(identifier))
        assert not found or found[identifier]["severity"] == "info"


def _strings(value: object) -> Iterator[tuple[object, object]]:
    """Where the strings of facts are, and the paths that are keys: each with what holds it."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(item, str) or (isinstance(key, str) and key.startswith("/")):
            yield value, key
        if isinstance(item, (dict, list)):
            yield from _strings(item)


def _open_to_the_shell(command: str) -> str:
    """What is left of a command without its comment and what is quoted; double quotes keep no expansion out."""
    return re.sub(
        r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(?<=\s)#[^\n]*""",
        lambda match: match.group() if match.group().startswith('"') and "$" in match.group() else "_",
        command,
        flags=re.DOTALL,
    )


@pytest.mark.parametrize("name", ["a b;$(x)", "a'\n$(x)"], ids=repr)
@pytest.mark.parametrize(("identifier", "case"), BROKEN)
def test_remedies_quote_what_is_from_the_host(identifier, case, name):
    """Names of files, images and networks are the choice of the runner user, and root types the remedy."""
    facts = changed(healthy(), case)
    for holder, key in list(_strings(facts)):
        changes = [(key, holder[key] + name)] if isinstance(holder[key], str) else []
        if isinstance(key, str) and key.startswith("/"):
            changes.append((key + name, holder[key]))
        for new_key, value in changes:
            present = copy.copy(holder)
            holder[new_key] = value
            if new_key != key:
                del holder[key]
            remedies = [entry["remedy"] for entry in run(only(identifier), facts)["findings"]]
            holder.clear()
            holder.update(present) if isinstance(holder, dict) else holder.extend(present)
            for command in itertools.chain(*remedies):
                assert "$(x)" not in _open_to_the_shell(command), command
                words = shlex.split(command, comments=True) if "\n" not in name else []
                # sed has a backslash before the dollar.
                assert all(name in word.replace("\\$", "$") for word in words if "$(x)" in word), command


# Checks whose remedy destroys something say so.
@pytest.mark.parametrize(("identifier", "case"), BROKEN)
def test_destructive_remedies_name_the_loss(identifier, case):
    entry = findings(changed(healthy(), case))[identifier]
    destructive = (
        r"^kill |system reset|system migrate|(image|system) prune|reboot|\b(restart|stop) (user@\d+\.service|podman)"
    )
    if re.search(destructive, "\n".join(entry["remedy"]), re.MULTILINE):
        assert entry["loss"], entry["remedy"]


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("runner.unit_user", " Group=100 "),
        ("ca.runner", " -g 100 "),
        ("cache.perm", " -g 100 "),
        ("storage.nfs", " -g 100 "),
    ],
)
def test_remedies_name_the_group_that_the_user_has(identifier, text):
    """It need not have the name of the user."""
    remedies = []
    for case in CASES[identifier]:
        facts = changed(healthy(), {**case, "user gid": 100, "user groups": ["users"]})
        remedies += findings(facts)[identifier]["remedy"]
    remedy = "\n".join(remedies)
    assert text in remedy and not re.search("Group=gitlab-runner|-g gitlab-runner", remedy)


CONTENT = {
    "userns.newuidmap": {
        "idmap_tools newuidmap": {
            "path": "/usr/bin/newuidmap",
            "uid": 0,
            "gid": 0,
            "mode": "4755",
            "capable": False,
            "setuid": True,
        }
    },
    "userns.clone_sysctl": {"sysctl kernel.unprivileged_userns_clone": None},
    "userns.apparmor": {
        "sysctl kernel.apparmor_restrict_unprivileged_userns": "1",
        "podman path": "/usr/local/bin/podman",
        "apparmor profiles": [
            {"file": "x", "name": "podman", "attaches": "/usr/{bin,local/bin}/podman", "userns": True}
        ],
    },
    "apparmor.host_profile_attaches": {"journal denials": ['apparmor="DENIED" profile="x" fsuid=0']},
    "storage.fuse_stale": {"store mount_program": "true", "store kernel_xattr": False},
    "storage.dev_fuse": {"devices /dev/fuse": "0600"},
    "storage.rootless_path": storage(graphroot="/srv/x"),
    "storage.quota": {
        "store mount": {"target": "/srv", "fstype": "xfs", "source": "/dev/sdb", "options": "rw,prjquota"},
        **storage(overlay={"size": "10G"}),
    },
    "log.driver": {"podman info log_driver": "journald", "user uid": 1001},
    "kernel.vsyscall": {"kernel vsyscall": "none", "kernel machine": "x86_64", **runner(image="alpine:3")},
    "net.ff_network_per_build": runner(feature_flags={}, environment=["FF_NETWORK_PER_BUILD=true"]),
    "socket.config_host": runner(host=SOCKET.replace("/run", "/var/run")),
    "ca.helper": runner(ca="/etc/ca.crt", volumes=["/cache", "/etc/ca.crt:/etc/gitlab-runner/certs/ca.crt:ro"]),
    "ca.job": runner(
        ca="/etc/ca.crt",
        volumes=["/etc/ca.crt:/etc/gitlab-runner/certs/ca.crt:ro", "/etc/ca.crt:/etc/ci/bundle.crt:ro"],
        environment=["SSL_CERT_FILE=/etc/ci/bundle.crt"],
    ),
    "ca.git_ssl_no_verify": runner(environment=["GIT_SSL_NO_VERIFY=false"]),
    "ca.registry": {
        **runner(ca="/etc/ca.crt", image="registry.example.com/ci:1"),
        "certificates registries": ["registry.example.com"],
    },
    "runner.platform_key": {"packages gitlab-runner": "19.3.0-1", "packages gitlab-runner-helper-images": "19.3.0-1"},
    "conmon.orphans": {
        "limits conmon": [
            {"pid": 1, "container": "ab" * 32, "root": "/srv/rootless-containers/storage", "age": 3},
            {"pid": 2, "container": "cd" * 32, "root": "/srv/of-another-podman", "age": 4000},
        ],
        "podman containers": [],
        "podman info graph_root": "/srv/rootless-containers/storage",
    },
    "storage.below_var_lib": {"podman version": "4.3.1", "store graph_root": "/var/lib/x", "cni var_lib": True},
    "tmpfs.uid": tmpfs("rw", fstab="size=2G,uid=gitlab-runner"),
    "api.409": attach("crun: executable file `/rootless-probe` not found: No such file or directory"),
}


def _host_path(path: str, *modes: tuple[int, int, str]) -> dict:
    """A directory that config.toml gives to jobs; owner, group and mode of each one that leads to it, and its own."""
    parts = [part for part in path.split("/") if part]
    folders = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
    return {
        "certificates host_paths": {
            path: [
                {"path": folder, "uid": uid, "gid": gid, "mode": mode, "folder": True}
                for folder, (uid, gid, mode) in zip(folders, modes)
            ]
        }
    }


DOCKER_HOST = {**runner(), "runner config runners 0 docker host": DELETE, "units runner Environment": ""}
CONTENT_TOO = [
    # With a public certificate, which needs no CA of its own.
    (
        "ca.registry",
        {**runner(image="registry.example.com/ci:1"), "certificates registries": [], "certificates local": []},
    ),
    ("ca.job", runner(image="alpine:3")),
    ("ca.job", runner(ca="/etc/ca.crt", volumes=["/etc/ca.crt:/usr/local/share/ca-certificates/x.crt:ro"])),
    (
        "ca.helper",
        {
            **runner(volumes=["/cache"]),
            "certificates system": ["/etc/gitlab-runner/certs/other.example.com.crt"],
        },
    ),
    ("net.ff_network_per_build", runner(feature_flags={}, network_mode="host")),
    ("net.subnets", {"routes": ["192.0.2.0/24 eth0"]}),
    # The runner user mounts, so that others need not enter what leads to the directory.
    ("cache.perm", _host_path("/srv/ci", (995, 995, "0700"), (995, 995, "0755"))),
    ("cache.perm", _host_path("/srv/ci", (0, 995, "0750"), (995, 995, "0755"))),
    (
        "cache.perm",
        {**_host_path("/srv/ci", (0, 7, "0750"), (995, 995, "0755")), "access /srv/ci": {"read": True, "write": True}},
    ),
    ("cache.perm", _host_path("//srv//ci/", (0, 0, "0755"), (995, 995, "0755"))),
    ("cache.perm", {"certificates host_paths": {"/": []}}),
    ("cache.perm", {**runner(cache_dir="cache"), **_host_path("cache", (995, 995, "0755"))}),
    ("cache.perm", {**runner(cache_dir="/srv/ci"), **_host_path("/srv/ci", (0, 0, "0755"), (995, 995, "0700"))}),
    ("socket.config_host", {**DOCKER_HOST, "units runner Environment": f"LANG DOCKER_HOST={SOCKET}"}),
    ("socket.env_conflict", {**DOCKER_HOST, "units runner Environment": f"DOCKER_HOST={SOCKET}"}),
    ("socket.env_conflict", {"units runner Environment": f"DOCKER_HOST={SOCKET.replace('/run', '/var/run')}"}),
    *(
        (
            "ca.registry",
            {**runner(ca="/etc/ca.crt", image=image), "certificates registries": [], "certificates local": []},
        )
        for image in ("nvcr.io/nvidia/cuda:12", "1.dkr.ecr.eu-west-1.amazonaws.com/x", "docker.elastic.co/a/b", "a/b")
    ),
]


def only_names(value) -> str:
    """An id that is the same in each process, whatever a case is made of."""
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("identifier", "case"), [*CONTENT.items(), *CONTENT_TOO], ids=only_names)
def test_check_is_content_with_what_is_unusual_but_right(identifier, case):
    # A check that crashes, or that cannot be made, has no finding either.
    assert run(only(identifier), changed(healthy(), case))["passed_checks"] == [identifier]


@pytest.mark.parametrize(
    ("version", "ip_tables", "nf_tables", "missing"),
    [
        # The iptables of Debian 12 and Ubuntu 24.04 is the one that uses nf_tables.
        ("4.9.3", False, True, []),
        ("4.3.1", True, False, []),
        ("4.3.1", True, None, []),
        ("4.9.3", False, False, ["nf_tables"]),
        ("4.9.3", None, False, None),
        ("5.4.2", False, True, []),
        ("5.4.2", True, False, ["nf_tables"]),
        ("5.4.2", True, None, None),
    ],
)
def test_before_podman_5_one_of_both_modules_for_rules_will_do(version, ip_tables, nf_tables, missing):
    modules = {"ip_tables": ip_tables, "nf_tables": nf_tables, "tun": True, "bridge": True}
    result = run(only("net.modules"), changed(healthy(), {"modules": modules, "podman version": version}))
    assert bool(result["skipped_checks"]) is (missing is None)
    assert [command for entry in result["findings"] for command in entry["remedy"] if "modprobe" in command] == [
        f"modprobe {name}" for name in missing or []
    ]


@pytest.mark.parametrize(
    ("servers", "instead", "found"),
    [
        # Podman reads the file of systemd-resolved or NetworkManager itself where the stub is the only server.
        (["127.0.0.53"], ["192.0.2.1"], None),
        (["127.0.0.1"], ["127.0.0.2", "192.0.2.1"], None),
        (["127.0.0.53"], ["127.0.0.1"], "/run/x/resolv.conf names 127.0.0.1 only."),
        (["127.0.0.53"], [], "/run/x/resolv.conf names no server."),
        (["127.0.0.53"], None, "/etc/resolv.conf names 127.0.0.53 only."),
        (["127.0.0.2"], None, "/etc/resolv.conf names 127.0.0.2 only."),
        (["127.0.0.53", "::1"], None, "/etc/resolv.conf names 127.0.0.53, ::1 only."),
    ],
)
def test_a_stub_that_podman_looks_behind_is_no_finding(servers, instead, found):
    fact = {"path": "/run/x/resolv.conf", "servers": instead} if instead is not None else None
    result = findings(changed(healthy(), {"resolv": servers, "resolv_instead": fact}), only("net.dns"))
    assert [entry["summary"] for entry in result.values()] == ([found] if found else [])
    # The host keeps its own resolver.
    assert not any("ln -s" in command for entry in result.values() for command in entry["remedy"])


PEERS = "/etc/apparmor.d/abstractions/base.d/rootless-doctor"


@pytest.mark.parametrize(
    ("denials", "remedy"),
    [
        (
            [SIGNAL.format("podman"), SIGNAL.format("rootless-podman"), SIGNAL.format("podman")],
            [
                "mkdir -p /etc/apparmor.d/abstractions/base.d",
                "printf '%s\\n' 'signal (receive) peer=podman,' 'signal (receive) peer=rootless-podman,' > " + PEERS,
                "apparmor_parser --replace /etc/apparmor.d/usr.bin.pasta",
            ],
        ),
        (
            [SIGNAL.format("/opt/x"), SIGNAL.format("podman,\\n/** rwx")],
            [
                "mkdir -p /etc/apparmor.d/abstractions/base.d",
                f"${{EDITOR:-vi}} {PEERS}  # add: signal (receive) peer=..., with the peer from the log",
                "apparmor_parser --replace /etc/apparmor.d/usr.bin.pasta",
            ],
        ),
    ],
)
def test_pasta_that_may_not_be_signalled_gets_a_rule(denials, remedy):
    entry = findings(changed(healthy(), {"journal denials": denials}))["userns.pasta_apparmor"]
    assert entry["remedy"] == remedy
    assert "signals" in entry["summary"]


@pytest.mark.parametrize(
    "denials",
    [
        [SIGNAL.format("podman"), DENIED.format("pasta")],
        [SIGNAL.format("podman").replace("receive", "send")],
        [SIGNAL.format("podman").replace("pasta", "passt")],
    ],
)
def test_pasta_that_may_not_do_something_itself_is_replaced(denials):
    entry = findings(changed(healthy(), {"journal denials": denials}))["userns.pasta_apparmor"]
    assert "slirp4netns" in entry["remedy"][0] and entry["evidence"] == denials[-1:]


def test_a_network_tool_that_podman_does_not_know_is_no_package():
    """apt-get would take such a word of the runner user's file for an option."""
    case = {"containers_conf merged network default_rootless_network_cmd": "-oDPkg::Pre-Invoke::=id"}
    (command,) = findings(changed(healthy(), case))["net.tool"]["remedy"]
    assert "containers.conf" in command and '"pasta"' in command and "Invoke" not in command


@pytest.mark.parametrize(
    ("modes", "remedy"),
    [
        ([(0, 0, "0700"), (995, 995, "0755")], ["chmod o+x /srv"]),
        ([(0, 995, "0705"), (995, 995, "0755")], ["chmod g+x /srv"]),
        ([(995, 995, "0055"), (995, 995, "0755")], ["chmod u+x /srv"]),
        ([(0, 0, "0755"), (995, 995, "0700")], ["chmod o+x /srv/ci"]),
        ([(995, 995, "0700"), (0, 0, "0750")], ["chmod o+x /srv/ci"]),
    ],
)
def test_only_directories_that_keep_a_container_out_are_opened(modes, remedy):
    assert findings(changed(healthy(), _host_path("/srv/ci", *modes)))["cache.perm"]["remedy"] == remedy


@pytest.mark.parametrize(
    ("environment", "unset"), [("", ""), ("DOCKER_HOST=unix:///x", ""), (f"DOCKER_HOST={SOCKET}", "DOCKER_HOST")]
)
def test_without_a_docker_host_the_environment_has_to_name_the_socket(environment, unset):
    case = {**DOCKER_HOST, "units runner Environment": environment, "units runner UnsetEnvironment": unset}
    assert "socket.config_host" in findings(changed(healthy(), case))


@pytest.mark.parametrize(
    ("registry", "gitlab", "same"),
    [
        ("registry.example.com:5050", "gitlab.example.com", True),
        ("gitlab.example.com:5050", "gitlab.example.com", True),
        ("registry.gitlab.example.com", "gitlab.example.com", True),
        ("Registry.example.com", "example.com", True),
        ("localhost:5000", "localhost", True),
        ("10.0.0.5:5000", "10.0.0.5", True),
        ("10.0.0.6:5000", "10.0.0.5", False),
        ("other.com", "example.com", False),
        ("notexample.com", "gitlab.example.com", False),
        ("registry.gitlab.com", "gitlab.com", False),
        # The one of Docker Hub, in which that is a name space.
        ("gitlab", "gitlab", False),
        ("nvcr.io", "", False),
    ],
)
def test_the_ca_of_gitlab_counts_in_its_domain(registry, gitlab, same):
    case = {
        **runner(ca="/etc/ca.crt", image=f"{registry}/a/b:1"),
        "runner config runners 0 url": f"https://{gitlab}/",
        "certificates registries": [],
        "certificates local": [],
    }
    assert ("ca.registry" in findings(changed(healthy(), case), only("ca.registry"))) is same


@pytest.mark.parametrize(
    "lines",
    [
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet {0}=0"\nGRUB_CMDLINE_LINUX="x=1 a.{0}x=1"\n',
        "GRUB_CMDLINE_LINUX_DEFAULT='{0}=0 quiet'\nGRUB_CMDLINE_LINUX='{0}=no x=1'",
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet x=1"\n',
    ],
)
@pytest.mark.parametrize(
    ("identifier", "name", "value"),
    [("cgroup.version", "systemd.unified_cgroup_hierarchy", "1"), ("kernel.vsyscall", "vsyscall", "emulate")],
)
def test_a_kernel_parameter_is_given_once(tmp_path, lines, identifier, name, value):
    """GRUB joins both variables of its file, which it has the shell read, and of two values the last one counts."""
    file = tmp_path / "grub"
    file.write_text(lines.format(name))
    command = findings(changed(healthy(), CASES[identifier][0]))[identifier]["remedy"][0]
    for _again in range(2):
        subprocess.run(["sh", "-c", command.replace("/etc/default/grub", str(file))], check=True)
        script = '. "$0"; echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"'
        words = subprocess.check_output(["sh", "-c", script, file], text=True).split()
        assert [word for word in words if word.startswith(f"{name}=")] == [f"{name}={value}"]
        assert {"quiet", "x=1"} <= set(words)


@pytest.mark.parametrize(
    ("identifier", "remedy", "loss"),
    [
        ("runner.platform_key", "NO_DOCKER_PRUNE=1 apt-get install --yes gitlab-runner", "Running jobs are aborted"),
        ("session.cgroup_manager", "stop podman.service", "Requests that are being answered"),
        ("apparmor.host_profile_attaches", "apt-get install --yes apparmor-utils", "profile is off"),
        ("runner.missing", "runner/gitlab-runner/script.deb.sh | bash", ""),
    ],
)
def test_remedies_bring_what_they_need_and_say_what_they_stop(identifier, remedy, loss):
    found = findings(changed(healthy(), CASES[identifier][0]))[identifier]
    assert any(remedy in command for command in found["remedy"]) and loss in found["loss"]


def test_the_packages_of_red_hat_come_from_their_repository():
    (first, second) = findings(changed(healthy(), {**CASES["runner.missing"][0], "os family": "redhat"}))[
        "runner.missing"
    ]["remedy"]
    assert "dnf" in first and "script.rpm.sh" in first and second == "dnf install --yes gitlab-runner"


@pytest.mark.parametrize(
    ("case", "first", "last"),
    [
        # A strace that is the main process does not end by the signal that the new drop-in sends to that alone.
        (CASES["runner.unit_user"][0], "mkdir -p", "systemctl restart gitlab-runner"),
        (CASES["runner.unit_user"][1], "systemctl stop gitlab-runner", "systemctl start gitlab-runner"),
        (CASES["runner.unit_user"][2], "mkdir -p", "systemctl restart gitlab-runner"),
    ],
    ids=["root", "strace", "strace -D"],
)
def test_only_the_runner_itself_gets_the_signal_to_stop(case, first, last):
    """Jobs of a shell or custom executor are processes of the service, too."""
    remedy = findings(changed(healthy(), case))["runner.unit_user"]["remedy"]
    assert any("KillSignal=SIGQUIT KillMode=mixed TimeoutStopSec=7200" in command for command in remedy)
    assert remedy[0].startswith(first) and remedy[-1] == last


NOT_FOUND = ": OCI runtime attempted to invoke a command that was not found"
MISTAKES_OF_JOBS = [
    "crun: executable file `sh` not found in $PATH: No such file or directory" + NOT_FOUND,
    "crun: executable file `/entrypoint.sh` not found: No such file or directory" + NOT_FOUND,
    'runc: runc create failed: unable to start container process: exec: \\"sh\\": executable file not found in $PATH'
    + NOT_FOUND,
    "runc: runc create failed: unable to start container process: exec: "
    '\\"/entrypoint.sh\\": stat /entrypoint.sh: no such file or directory' + NOT_FOUND,
    "crun: open executable: Permission denied: OCI permission denied",
    'runc: runc create failed: unable to start container process: exec: \\"/root/.ssh/x\\": permission denied: '
    "OCI permission denied",
    "unable to find user ci: no matching entries in passwd file",
]


@pytest.mark.parametrize("cause", MISTAKES_OF_JOBS)
def test_an_image_that_cannot_run_the_command_of_a_job_is_no_fault_of_the_host(cause):
    assert "api.409" not in findings(changed(healthy(), attach(cause)), only("api.409"))


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("crun: mount `/srv/ci/cache` to `cache`: Permission denied", ["namei -l /srv/ci/cache", "chmod o+x /srv/ci"]),
        ("crun: open `/srv/ci/cache/x`: Permission denied", ["namei -l /srv/ci/cache/x", "chmod o+x /srv/ci"]),
        (
            'runc: error mounting "/srv/ci/cache" to rootfs at "/cache": mount /srv/ci/cache:/cache (via '
            "/proc/self/fd/6), flags: 0x5000: permission denied",
            ["namei -l /srv/ci/cache", "chmod o+x /srv/ci"],
        ),
        # What a job may have named stays as it is.
        ("crun: mount `/srv/ci/other` to `cache`: Permission denied", ["namei -l /srv/ci/other"]),
        ("crun: chdir to `/srv/ci/cache`: Permission denied", ["namei -l /srv/ci/cache"]),
        ("crun: something: Permission denied", None),
    ],
)
def test_only_directories_that_config_toml_gives_to_jobs_are_opened(cause, remedy):
    # The runner user is root in the containers: /srv/ci/cache, which is its own, is open to them.
    facts = changed(healthy(), {**attach(cause), "certificates host_paths": {"/srv/ci/cache": CLOSED}})
    found = findings(facts, only("api.409"))["api.409"]["remedy"]
    assert found == remedy if remedy else not any("chmod" in command for command in found)


def test_a_lacking_file_that_a_container_is_given_is_one():
    cause = "crun: mount `/srv/cache` to `cache`: No such file or directory" + NOT_FOUND
    facts = changed(healthy(), {"journal attach": attach(cause)["journal attach"] * 2})
    facts["journal"]["attach"] += attach(MISTAKES_OF_JOBS[0])["journal attach"]
    found = findings(facts)["api.409"]
    assert "in the last day (2)" in found["summary"] and "/srv/cache" in found["summary"]


@pytest.mark.parametrize("executor", ["docker-autoscaler", "docker+machine"])
def test_containers_on_other_machines_are_no_matter_of_this_host(executor):
    facts = healthy()
    section = facts["runner"]["config"]["runners"][0]
    del section["docker"]
    section.update({"executor": executor, "feature_flags": {}, "tls-ca-file": "/etc/ca.crt"})
    facts["access"]["/etc/ca.crt"] = {"read": True, "write": False}
    assert set(findings(facts)) <= set(findings(healthy()))
    assert not {"socket.config_host", "net.ff_network_per_build"} & set(run(CHECKS, facts)["passed_checks"])


@pytest.mark.parametrize(
    ("identifier", "case", "severity"),
    [
        ("userns.max", {"sysctl user.max_user_namespaces": "500"}, "warning"),
        ("sysctl.keys", {"sysctl kernel.keys.maxkeys": "200", "keys": {"used": 190, "limit": 200}}, "error"),
        ("storage.boltdb", {"store boltdb": True, "podman version": "6.0.0"}, "error"),
        ("image.short_names", {"registries search": [], "podman version": "3.4.4"}, "error"),
        ("ca.expiry", {"certificates files": [{"path": "/x.crt", "days": -1}]}, "error"),
        (
            "net.subnets",
            {"routes": ["10.88.0.0/16 eth0"], "podman networks": [{"name": "podman", "subnets": ["10.88.0.0/16"]}]},
            "info",
        ),
        ("runner.token_exposed", {"runner file": {"path": "/x", "uid": 1, "gid": 0, "mode": "0644"}}, "warning"),
    ],
    ids=str,
)
def test_severity_follows_what_was_seen(identifier, case, severity):
    assert findings(changed(healthy(), case))[identifier]["severity"] == severity


def test_a_service_that_waits_for_its_jobs_is_left_alone():
    found = findings(changed(healthy(), {"units runner ActiveState": "deactivating"}))["runner.inactive"]
    assert found["severity"] == "info" and found["remedy"] == []
    assert found["summary"] == "gitlab-runner.service is stopping; with the unit of the role it waits for running jobs."


SYSTEM_CONF = "/etc/containers/storage.conf"


@pytest.mark.parametrize("identifier", ["storage.fuse_stale", "storage.dev_fuse", "storage.metacopy", "storage.quota"])
def test_podman_without_root_ignores_the_driver_options_of_the_system(identifier):
    """Up to version 5: of /etc/containers/storage.conf it takes the driver and the place of the store."""
    overlay = {"mount_program": "/usr/bin/fuse-overlayfs", "mountopt": "metacopy=on", "size": "10G"}
    case = {
        **storage(overlay={"mountopt": "nodev,metacopy=on", **overlay}),
        "storage_conf path": SYSTEM_CONF,
        "devices /dev/fuse": "0600",
        "store mount fstype": "ext4",
        "store mount_program": "false",
    }
    assert identifier not in findings(changed(healthy(), {**case, "podman version": "5.8.6"}), only(identifier))
    found = findings(changed(healthy(), {**case, "podman version": "6.0.0"}), only(identifier))[identifier]
    # A line of the user's file would not take the one of the system away.
    assert identifier == "storage.dev_fuse" or any(SYSTEM_CONF in command for command in found["remedy"])


def test_a_mount_program_of_the_system_is_not_used():
    """One in a file of the user is, when that names the driver as well."""
    case = {
        **storage(overlay={"mount_program": "/usr/bin/fuse-overlayfs"}),
        "storage_conf path": SYSTEM_CONF,
        "store kernel_xattr": False,
        "commands fuse-overlayfs": "/usr/bin/fuse-overlayfs",
    }
    remedy = findings(changed(healthy(), case))["storage.fuse_needed"]["remedy"]
    (command,) = [command for command in remedy if "mount_program" in command]
    assert 'driver = "overlay"' in command and f"/home/{U}/" in command


def test_podman_5_finds_a_store_anywhere():
    facts = changed(healthy(), {"podman version": "5.4.2", "store graph_root": "/var/lib/x"})
    assert "storage.below_var_lib" not in findings(facts)


@pytest.mark.parametrize(
    ("program", "command", "loss"),
    [
        ("/usr/local/bin/rootless-podman", " rootless-podman prune", "the hourly timer"),
        (None, " podman system prune --all --force", "localhost/*"),
    ],
)
def test_a_full_store_is_pruned_by_what_keeps_the_images_of_the_host(program, command, loss):
    case = {**CASES["storage.space"][0], "commands rootless-podman": program}
    found = findings(changed(healthy(), case))["storage.space"]
    assert found["remedy"][0].endswith(command) and loss in found["loss"]


@pytest.mark.parametrize("version", ["4.3.1", "5.4.2"])
def test_a_store_is_not_moved_to_where_it_cannot_be_used(version):
    facts = changed(healthy(), {**CASES["storage.nfs"][0], "podman version": version})
    remedy = findings(facts)["storage.nfs"]["remedy"]
    place = re.search(r'"(/[^"]+/storage)"', "\n".join(remedy)).group(1)
    assert not place.startswith("/srv/rootless-containers")
    moved = changed(facts, {"store graph_root": place, "store mount": {"fstype": "ext4", "target": "/"}})
    assert "storage.below_var_lib" not in findings(moved)


@pytest.mark.parametrize(
    ("folders", "removed"),
    [
        (("/var/tmp/run", "/var/tmp/a b"), ["/var/tmp/run", "'/var/tmp/a b'"]),
        (("/home/gitlab-runner", "/home/gitlab-runner/../.."), []),
        (("/srv/rootless-containers", "/run/user/995"), []),
    ],
)
def test_what_podman_wants_deleted_is_deleted_without_podman(folders, removed):
    """Every command of Podman stops there, podman unshare too. The paths are those of a file of the user."""
    message = 'an unhandled reboot has occurred. Please delete directories "{}" and "{}" and re-run Podman'
    facts = changed(healthy(), {**CASES["storage.boot_id"][0], "podman stderr": [message.format(*folders)]})
    remedy = findings(facts)["storage.boot_id"]["remedy"]
    deleting = [command for command in remedy if "rm -rf" in command]
    assert [command.partition(" rm -rf -- ")[2] for command in deleting] == removed
    assert all(command.startswith("runuser -u gitlab-runner ") and "podman" not in command for command in deleting)


def test_directories_of_pulls_that_broke_off_are_deleted_with_what_is_in_them(tmp_path):
    (command,) = findings(changed(healthy(), CASES["storage.space"][1]))["storage.space"]["remedy"]
    for name in ("container_images_storage1", "container_images_file", "other"):
        (tmp_path / name / "x").mkdir(parents=True)
    old = 1_000_000_000
    for path in tmp_path.iterdir():
        os.utime(path, (old, old))
    (tmp_path / "container_images_new").mkdir()
    subprocess.run(["bash", "-c", command.replace("/var/tmp", str(tmp_path))], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["container_images_new", "other"]


@pytest.mark.parametrize("identifier", ["ca.runner", "ca.registry"])
def test_what_is_no_certificate_is_not_opened_to_the_runner(tmp_path, identifier):
    """Who may write config.toml may name any file there."""
    secret = tmp_path / "secret"
    secret.write_text("root:hash")
    secret.chmod(0o600)
    facts = {
        **runner(ca=str(secret), image="registry.example.com/ci:1"),
        f"access {secret}": {"read": identifier == "ca.registry", "write": False},
        "certificates registries": [],
        "certificates local": [],
    }
    (remedy,) = findings(changed(healthy(), facts))[identifier]["remedy"]
    command, then = remedy.split(" && ", 1)
    assert "0644" in then or f"chmod o+r {secret}" in then
    assert subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("group", ["", ",gid=0", ",gid=gitlab-runner", ",mode=0700"])
def test_the_group_of_a_tmpfs_may_be_the_one_of_root(group):
    assert "tmpfs.uid" not in findings(changed(healthy(), tmpfs("rw", fstab=f"size=2G,uid=995{group}")))


def test_a_podman_that_hangs_fails_every_job():
    found = run(CHECKS, changed(healthy(), CASES["podman.fails"][1]))
    (entry,) = [entry for entry in found["findings"] if entry["severity"] == "error"]
    assert entry["id"] == "podman.fails"
    assert entry["summary"] == "'podman info' fails: no answer within 30 seconds"
    # It would wait for the same.
    assert not any("migrate" in command for command in entry["remedy"])


PRIVATE_ROUTES = ["10.0.0.0/8 wg0", "172.16.0.0/12 wg0", "192.168.0.0/16 wg0"]


def test_no_network_is_proposed_where_routes_cover_all_private_addresses():
    """wg-quick writes such routes, without a gateway."""
    found = findings(changed(healthy(), {"routes": PRIVATE_ROUTES}))["net.subnets"]
    assert found["summary"] == "The network podman (10.88.0.0/16) overlaps 10.0.0.0/8 of wg0."
    assert found["remedy"][0] == (
        "runuser -u gitlab-runner -- ${EDITOR:-vi} /home/gitlab-runner/.config/containers/containers.conf"
        "  # set default_subnet_pools and default_subnet in [network] to networks that no route covers"
    )


# --- what cannot be known ---


def test_nothing_but_the_user_is_reported_where_the_user_is_missing():
    missing = {"error": "the user gitlab-runner does not exist"}
    facts = healthy()
    for key in (
        "user",
        "subids",
        "store",
        "session",
        "podman",
        "socket",
        "limits",
        "user_units",
        "storage_conf",
        "containers_conf",
    ):
        facts[key] = missing
    facts.update(
        {key: missing for key in ("registries", "keys", "prune", "certificates", "access", "probe", "cni", "selinux")}
    )
    result = run(CHECKS, facts)
    assert result["findings"][0]["id"] == "user.missing"
    assert [entry["id"] for entry in result["findings"] if entry["severity"] == "error"] == ["user.missing"]
    assert {entry["reason"] for entry in result["skipped_checks"]} >= {missing["error"]}


@pytest.mark.parametrize("key", sorted(healthy()))
def test_a_fact_that_could_not_be_gathered_makes_no_finding(key):
    facts = healthy()
    expected = set(findings(facts)) | {"user.missing"}
    facts[key] = {"error": "it could not be found out"}
    result = run(CHECKS, facts)
    assert {entry["id"] for entry in result["findings"]} <= expected
    assert not any("could not be judged" in entry["reason"] for entry in result["skipped_checks"]), result[
        "skipped_checks"
    ]


def _paths(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path, *(found for key, item in items for found in _paths(item, (*path, key)))] if path else [
        found for key, item in items for found in _paths(item, (key,))
    ]  # fmt: skip


PATHS = _paths(healthy())
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just({"error": "no"}),
    st.just(["x", 1]),
)


def _has(target: object, part: str | int) -> bool:
    if isinstance(target, list):
        return isinstance(part, int) and part < len(target)
    return isinstance(target, dict) and part in target


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), ODD), min_size=1, max_size=6))
@example([(("runner", "config", "runners"), {"error": "no"}), (("runner", "config", "runners", 0, "name"), 1)])
def test_odd_facts_never_raise(changes):
    facts = healthy()
    for path, value in changes:
        target = facts
        for part in path[:-1]:
            target = target[part] if _has(target, part) else None
        # An earlier change may have put something else in this place.
        if isinstance(target, dict) or _has(target, path[-1]):
            target[path[-1]] = copy.deepcopy(value)
    result = run(CHECKS, facts)
    assert len(result["findings"]) + len(result["skipped_checks"]) + len(result["passed_checks"]) == len(CHECKS)
    json.dumps(result)


# --- the engine ---


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("4.3.1+ds1-8", (4, 3, 1)), ("1.10.0", (1, 10, 0)), ("6.1.0-13-amd64", (6, 1, 0)), ("1:5.4.2", (1,)), ("dev", ())],
)
def test_version(text, numbers):
    assert version(text) == numbers


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("5", ">=5.0", True),
        ("4.9.3", ">=4,<5", True),
        ("5.0", ">=4,<5", False),
        ("1.10.0", ">1.10.0", False),
        ("1.10.1", ">1.10.0", True),
        ("1.4.0", "<=1.10", True),
        ("4.2", "==4.2.0", True),
    ],
)
def test_in_range(text, spec, expected):
    assert in_range(text, spec) is expected


def test_a_consequence_is_not_reported_again():
    def broken(host: Host) -> Finding:
        return Finding("x")

    checks = [
        Check("a.b", "error", broken, "t", "w", "r"),
        Check("c.d", "error", broken, "t", "w", "r", after=("a.b",)),
    ]
    result = run(checks, {})
    assert [entry["id"] for entry in result["findings"]] == ["a.b"]
    assert result["skipped_checks"] == [{"id": "c.d", "reason": "follows from a.b"}]


@pytest.mark.parametrize("error", [StopIteration(), RuntimeError("odd"), RecursionError()], ids=repr)
def test_a_check_that_fails_keeps_no_other_one_from_being_made(error):
    def broken(host: Host) -> Finding:
        raise error

    checks = [
        Check("a.b", "error", broken, "t", "w", "r"),
        Check("c.d", "error", lambda host: Finding("x"), "t", "w", "r"),
    ]
    result = run(checks, {})
    assert [entry["id"] for entry in result["findings"]] == ["c.d"]
    assert result["skipped_checks"] == [
        {"id": "a.b", "reason": f"what was found could not be judged ({type(error).__name__}: {error})"}
    ]


def test_most_severe_findings_come_first():
    checks = [
        Check("a.b", "info", lambda host: Finding("x"), "t", "w", "r"),
        Check("c.d", "warning", lambda host: Finding("x"), "t", "w", "r"),
        Check("e.f", "info", lambda host: Finding("x", severity="error"), "t", "w", "r"),
    ]
    assert [entry["id"] for entry in run(checks, {})["findings"]] == ["e.f", "c.d", "a.b"]


@pytest.mark.parametrize(
    "facts", [{}, {"a": None}, {"a": {"error": "why"}}, {"a": {"b": {"error": "why"}}}, {"a": []}], ids=str
)
def test_need_says_why(facts):
    with pytest.raises(Skip, match="why|not known"):
        Host(facts).need("a.b")
    assert Host(facts).get("a.b", "default") == "default"


# --- commands that edit TOML files ---

FILE = {"path": "/home/gitlab-runner/.config/containers/storage.conf", "exists": True, "lines": {}}


def fact_of(path: Path) -> dict:
    return {"path": str(path), "exists": True, "lines": toml_lines(_toml.parse(path.read_text()))}


@pytest.fixture
def host():
    return Host({"user": {"name": "gitlab-runner", "uid": 995, "gid": 995, "home": "/home/gitlab-runner"}})


TOML = """\
top = 1
[storage]
driver = "vfs" # comment
graphroot = "/old|place"
options.size = "1G"

[[runners]]
  name = "one"
  [runners.docker]
    image = "a"

[[runners]]
  name = "two"
  environment = [
    "A=1",
  ]
"""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("storage", "driver", '"overlay"')], [("storage", "driver", "overlay")]),
        ([("storage", "graphroot", '"/a&b|c\\\\d"')], [("storage", "graphroot", "/a&b|c\\d")]),
        ([("storage", "graphroot", None)], [("storage", "graphroot", None)]),
        ([("storage", "runroot", '"/run/x"')], [("storage", "runroot", "/run/x")]),
        ([("", "top", "2")], [("top", 2)]),
        ([("storage", "runroot", '"/a&b|c\\\\d"')], [("storage", "runroot", "/a&b|c\\d")]),
        ([("", "other", "2")], [("other", 2)]),
        ([("engine", "a", "1"), ("engine", "b", "2")], [("engine", "a", 1), ("engine", "b", 2)]),
        ([("runners[0].docker", "image", '"b"')], [("runners", 0, "docker", "image", "b")]),
        ([("runners[0].docker", "host", '"h"')], [("runners", 0, "docker", "host", "h")]),
        ([("runners[0].feature_flags", "F", "true")], [("runners", 0, "feature_flags", "F", True)]),
    ],
    ids=str,
)
def test_edit(host, tmp_path, changes, expected):
    tomllib = pytest.importorskip("tomllib")
    path = tmp_path / "file.toml"
    path.write_text(TOML)
    for command in host.edit(fact_of(path), *changes):
        subprocess.run(["bash", "-c", command], check=True, stdout=subprocess.DEVNULL)
    document = tomllib.loads(path.read_text())
    for *place, value in expected:
        found = document
        for part in place:
            found = found[part] if isinstance(found, list) else found.get(part)
        assert found == value
    assert "# comment" in path.read_text() or "driver" in str(changes)


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ("x = 1", [("engine", "a", "1")], {"x": 1, "engine": {"a": 1}}),
        ("[engine]", [("engine", "a", "1")], {"engine": {"a": 1}}),
        ("[engine]\nb = 1", [("engine", "b", "2")], {"engine": {"b": 2}}),
        ("", [("", "a", "1")], {"a": 1}),
        ("# only a comment", [("", "a", "1")], {"a": 1}),
        ("", [("engine", "a", "1"), ("", "b", "2")], {"engine": {"a": 1}, "b": 2}),
        ("[engine]\n", [("", "a", "1")], {"engine": {}, "a": 1}),
        ("[engine.x]\n", [("engine", "a", "1")], {"engine": {"x": {}, "a": 1}}),
        ("[engine]\n", [("engine", "a", r'"\\"')], {"engine": {"a": "\\"}}),
        (
            "[[runners]]\n[[runners]]\nlimit = 1\n",
            [("runners[1].docker", "a", "1"), ("runners[1].docker", "b", "2")],
            {"runners": [{}, {"limit": 1, "docker": {"a": 1, "b": 2}}]},
        ),
        (
            "[[runners]]\n[[runners.docker.services]]\nname = 'x'\n[runners.cache]\n",
            [("runners[0].docker", "a", "1"), ("runners[0].docker", "b", "2")],
            {"runners": [{"cache": {}, "docker": {"a": 1, "b": 2, "services": [{"name": "x"}]}}]},
        ),
        (
            "[[runners]]\nx = [\n]\n[[runners]]\nx = []\n",
            [("runners[1]", "x", "[1]")],
            {"runners": [{"x": []}, {"x": [1]}]},
        ),
    ],
    ids=str,
)
def test_edit_of_files_of_all_forms(host, tmp_path, text, changes, expected):
    tomllib = pytest.importorskip("tomllib")
    path = tmp_path / "file.toml"
    path.write_text(text)
    for command in host.edit(fact_of(path), *changes):
        subprocess.run(["bash", "-c", command], check=True, stdout=subprocess.DEVNULL)
    assert tomllib.loads(path.read_text()) == expected


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("engine.x = 1\n", ("engine", "a", "1")),
        ("engine.x = 1\n", ("engine", "x", "2")),
        ("engine.x = 1\n", ("engine", "x", None)),
        ("engine = {x = 1}\n", ("engine", "a", "1")),
        ("engine = {x = 1}\n", ("engine", "x", None)),
        ("engine = {x = 1}\n", ("engine.deep", "a", "1")),
        ("engine = 1\n", ("engine", "a", "1")),
        ("[[engine]]\n", ("engine", "a", "1")),
        ("[ 'engine' ]\n", ("engine", "a", "1")),
        ('[engine]\n"\\u0061" = 1\n', ("engine", "a", "2")),
        ("[storage]\noptions.size = '1G'\n", ("storage.options", "size", None)),
        ("[storage]\noptions = {size = '1G'}\n", ("storage.options.overlay", "size", "1")),
        ("runners = [{name = 'a'}]\n", ("runners[0].docker", "host", "1")),
        ("[[runners]]\ndocker.image = 'a'\n", ("runners[0].docker", "host", "1")),
        ("[[runners]]\nfeature_flags = {A = true}\n", ("runners[0].feature_flags", "B", "true")),
    ],
    ids=str,
)
def test_edit_of_a_table_without_a_header_of_its_own_opens_an_editor(host, tmp_path, text, change):
    path = tmp_path / "file.toml"
    path.write_text(text)
    (command,) = host.edit(fact_of(path), change)
    assert command.startswith(f"${{EDITOR:-vi}} {path}  # ")


def test_edits_can_be_run_one_after_another_in_any_order(host, tmp_path):
    """Each remedy is made from the facts of one pass: what one of them changes must not mislead the next."""
    tomllib = pytest.importorskip("tomllib")
    changes = [
        ("storage", "driver", '"overlay"'),
        ("storage", "graphroot", None),
        ("storage", "runroot", '"/run/x"'),
        ("runners[0].docker", "host", '"h"'),
        ("runners[1].feature_flags", "F", "true"),
        ("", "top", "2"),
    ]
    path = tmp_path / "file.toml"
    path.write_text(TOML)
    commands = [host.edit(fact_of(path), change) for change in changes]
    for order in itertools.islice(itertools.permutations(commands), 0, None, 60):
        path.write_text(TOML)
        for command in itertools.chain(*order):
            subprocess.run(["bash", "-c", command], check=True)
        document = tomllib.loads(path.read_text())
        assert document["top"] == 2
        assert document["storage"] == {"driver": "overlay", "runroot": "/run/x", "options": {"size": "1G"}}
        assert document["runners"][0]["docker"] == {"image": "a", "host": "h"}
        # Where two sections look the same, an edit may find nothing to do, but is never made in the wrong place.
        assert "feature_flags" not in document["runners"][0]
        assert document["runners"][1].get("feature_flags", {"F": True}) == {"F": True}


def subids(uids: list, gids: list | None = None, **facts: object) -> dict:
    """The facts of a host where subordinate ids are given so."""
    return changed(
        healthy(),
        {
            "subids subuid": ids(*uids),
            "subids subgid": ids(*(uids if gids is None else gids)),
            **{f"subids {key}": value for key, value in facts.items()},
        },
    )


U = "gitlab-runner"


@pytest.mark.parametrize(
    ("identifier", "facts", "expected"),
    [
        # Above the user's own ids, so that the owners of existing files stay.
        (
            "userns.subuid_size",
            subids([(U, 231072, 1000)]),
            "--add-subuids 232072-296607 --add-subgids 232072-296607",
        ),
        (
            "userns.subuid_size",
            subids([(U, 100000, 40000), (U, 100000, 40000)]),
            "--add-subuids 140000-165535 --add-subgids 140000-165535",
        ),
        (
            "userns.subuid_missing",
            subids([("bob", 100000, 65536)], users=[["ldap", 165540]]),
            "--add-subuids 165541-231076 --add-subgids 165541-231076",
        ),
        ("userns.subuid_missing", subids([], [(U, 300000, 65536)]), "--add-subuids 300000-365535"),
        # The old ids are for nobody then.
        (
            "userns.subuid_overlap",
            subids([("bob", 200010, 10), ("bob", 300010, 10), (U, 200000, 40000), (U, 300000, 40000)]),
            "--del-subuids 200000-239999 --del-subuids 300000-339999 --del-subgids 200000-239999 "
            "--del-subgids 300000-339999 --add-subuids 100000-165535 --add-subgids 100000-165535",
        ),
        (
            "userns.subuid_overlap",
            subids([("bob", 300010, 10), (U, 200000, 40000), (U, 300000, 40000)]),
            "--del-subuids 300000-339999 --del-subgids 300000-339999 --add-subuids 240000-265535 "
            "--add-subgids 240000-265535",
        ),
        (
            "userns.subgid_mismatch",
            subids([(U, 100000, 131072)], [(U, 100000, 65536)]),
            "--add-subgids 165536-231071",
        ),
        (
            "userns.store_foreign_ids",
            changed(
                subids([(U, 100000, 65536), (U, 200000, 1000)]),
                {"store exists": True, "store foreign_ids": {"owners": ["201000 201000"], "complete": True}},
            ),
            "--add-subuids 201000-265535 --add-subgids 201000-265535",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ids_that_a_remedy_gives(identifier, facts, expected):
    commands = [command for command in findings(facts)[identifier]["remedy"] if command.startswith("usermod")]
    assert commands == [f"usermod {expected} {U}"]


@pytest.mark.parametrize(
    ("identifier", "facts", "reason"),
    [
        ("userns.subuid_missing", subids([], limits={"lowest": 65536, "first": 100000, "last": 100100}), "65536 free"),
        ("userns.subuid_overlap", subids([("bob", 200010, 10), ("995", 200000, 65536)]), "by its uid 995"),
        (
            "userns.subgid_mismatch",
            subids([(U, 131072, 65536), ("bob", 262144, 65536)], [(U, 262144, 65536)]),
            "262144-327679 of bob",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ids_that_no_command_can_give(identifier, facts, reason):
    remedy = findings(facts)[identifier]["remedy"]
    assert not any(command.startswith("usermod") for command in remedy)
    assert any(command.startswith("${EDITOR:-vi} /etc/subuid") and reason in command for command in remedy)


def test_the_same_ids_in_different_ranges_are_no_mismatch():
    facts = subids([(U, 100000, 65536)], [(U, 100000, 32768), (U, 132768, 32768)])
    assert not {"userns.subgid_mismatch", "userns.subuid_overlap", "userns.subuid_size"} & set(findings(facts))


def test_ids_below_others_shift_the_owners_of_files():
    def loss(uids: int, gids: int) -> str:
        return findings(subids([(U, 200000, uids)], [(U, 200000, gids)]))["userns.subgid_mismatch"]["loss"]

    assert "shift" not in loss(65536, 70000)
    assert "shift" in findings(subids([(U, 200000, 65536)], [(U, 300000, 65536)]))["userns.subgid_mismatch"]["loss"]


@pytest.mark.parametrize(
    "options", ["size=2G,uid=996,gid=996,huge=always", "uid=1,gid=2", "uid=1", "size=2G", "defaults"]
)
def test_the_owner_of_a_tmpfs_in_fstab(tmp_path, options):
    fstab = tmp_path / "fstab"
    other = "tmpfs /srv/other tmpfs uid=1,gid=1 0 0\n"
    fstab.write_text(f"{other}tmpfs  /srv/rootless-containers\ttmpfs {options} 0 0\n")
    found = findings(changed(healthy(), tmpfs("rw", fstab=options)))["tmpfs.uid"]
    for command in found["remedy"]:
        subprocess.run(["bash", "-c", command.replace("/etc/fstab", str(fstab))], check=True)
    lines = fstab.read_text().splitlines(keepends=True)
    fields = lines[1].split()
    assert lines[0] == other and len(fields) == 6
    assert sorted(fields[3].split(",")) == sorted(
        [*(part for part in options.split(",") if part[1:4] != "id="), "uid=995", "gid=995"]
    )


def test_the_environment_of_the_runner_keeps_its_other_variables():
    case = {"units runner Environment": "HTTPS_PROXY=http://p DOCKER_HOST=x DOCKER_API_VERSION=1"}
    remedy = findings(changed(healthy(), case))["socket.env_conflict"]["remedy"]
    assert "'UnsetEnvironment=DOCKER_HOST DOCKER_API_VERSION'" in remedy[1]
    assert not any("sed" in command for command in remedy)
    case["units runner UnsetEnvironment"] = "DOCKER_HOST DOCKER_API_VERSION=1"
    assert "socket.env_conflict" not in findings(changed(healthy(), case))


def test_edit_of_a_value_over_several_lines_opens_an_editor(host):
    fact = {**FILE, "lines": {"[storage]": 1, "storage.x": 0, "y": 5}}
    (command,) = host.edit(fact, ("storage", "x", "[]"), ("", "y", None))
    assert command == (
        "runuser -u gitlab-runner -- ${EDITOR:-vi} /home/gitlab-runner/.config/containers/storage.conf  "
        "# set x = [] in [storage]; remove y"
    )


def test_edit_of_a_new_file_belongs_to_the_user(host):
    assert host.edit({**FILE, "exists": False}, ("storage", "driver", '"overlay"')) == (
        "runuser -u gitlab-runner -- mkdir -p /home/gitlab-runner/.config/containers",
        "printf '%s\\n' '[storage]' 'driver = \"overlay\"' | runuser -u gitlab-runner -- tee -a "
        "/home/gitlab-runner/.config/containers/storage.conf",
    )


def test_a_profile_that_allows_no_user_namespaces_does_not_help():
    profile = {"file": "x", "name": "podman", "attaches": "/usr/bin/podman", "userns": False}
    case = {
        "sysctl kernel.apparmor_restrict_unprivileged_userns": "1",
        "podman path": "/usr/bin/podman",
        "apparmor profiles": [profile],
    }
    assert "userns.apparmor" in findings(changed(healthy(), case))


@pytest.mark.parametrize(
    ("backup", "start"),
    [((), 165536), ((("gitlab-runner", 168000, 65536),), 168000), ((("other", 168000, 65536),), 165536)],
    ids=["no backup", "in the backup", "of another user"],
)
def test_a_lost_range_begins_where_the_backup_says(backup, start):
    case = {"store foreign_ids": {"owners": ["170000 170000"], "complete": True}, "subids backup": ids(*backup)}
    found = findings(changed(healthy(), case))["userns.store_foreign_ids"]
    assert f"userns_subid_start: {start} " in found["loss"]
    assert any(f"{start}-" in command for command in found["remedy"])


@pytest.mark.parametrize("name", HEALTHY)
def test_notes_on_a_healthy_host(name):
    assert set(findings(healthy(name))) == {"log.unbounded", "net.ping", "net.subnets", "prune.timer"}
