# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of the host roles say on releases, kernels and hosts that no test machine is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml, _toml_edit

ROLES = Path(__file__).parents[3] / "roles"
GIB = 2**30


def release(name: str, version: str, codename: str) -> dict[str, str]:
    return {
        "distribution": name,
        "distribution_version": version,
        "distribution_major_version": version.partition(".")[0],
        "distribution_release": codename,
    }


def tasks_of(path: str) -> list[dict[str, Any]]:
    """The tasks of a file, with those of its blocks."""

    def flat(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        parts = [part for task in tasks for part in (task.get("block", []), task.get("always", []))]
        return tasks + [task for part in parts for task in flat(part)]

    return flat(yaml.safe_load((ROLES / path).read_text()))


RELEASES = [
    (release("Debian", "11.11", "bullseye"), "slirp4netns", "iptables", False),
    (release("Debian", "12.11", "bookworm"), "slirp4netns", "iptables", True),
    (release("Debian", "13.1", "trixie"), "passt", "nftables", True),
    (release("Debian", "n/a", "forky"), "passt", "nftables", True),
    (release("Ubuntu", "22.04", "jammy"), "slirp4netns", "iptables", False),
    (release("Ubuntu", "24.04", "noble"), "slirp4netns", "iptables", True),
    (release("Ubuntu", "26.04", "resolute"), "passt", "nftables", True),
]


@pytest.mark.parametrize(("facts", "network", "firewall", "works"), RELEASES, ids=lambda value: str(value)[:60])
def test_release(render, facts, network, firewall, works):
    packages = render("podman", "__podman_package_names", facts)
    assert {"podman", "uidmap", "dbus-user-session", "crun", "python3-tomlkit", network, firewall} <= set(packages)
    assert len({"slirp4netns", "passt"} & set(packages)) == 1
    # Either netavark with its name server, or CNI.
    assert ("netavark" in packages, "aardvark-dns" in packages) == (
        ("containernetworking-plugins" not in packages),
    ) * 2
    problems = render("podman", "__podman_problems", facts)
    assert (problems == []) is works
    if not works:
        assert "GitLab Runner needs 4.2 or later" in problems[0] and "podman_minimum_version" in problems[0]
        assert render("podman", "__podman_problems", facts, podman_minimum_version="3.0") == []
        assert render("podman", "__podman_problems", facts, podman_packages=["podman-static"]) == []
        assert render("podman", "__podman_problems", facts, podman_repository_url="u", podman_repository_key="k") == []


@pytest.mark.parametrize(("facts", "network", "firewall", "works"), RELEASES, ids=lambda value: str(value)[:60])
def test_the_sandbox_leaves_a_way_to_the_socket(render, facts, network, firewall, works):
    """systemd 247 and 249 make the directories above bind mounts with the mask of the service."""
    old = facts["distribution_release"] in ("bullseye", "jammy")
    assert render("runner", "__runner_hardening_directives.UMask", facts) == ("0022" if old else "0077")


@pytest.mark.parametrize(("method", "there"), [(None, True), ("sudo", True), ("su", False)])
def test_sudo_is_there_before_it_makes_root_the_runner_user(render, method, there):
    variables = {"ansible_become_method": method} if method else {}
    assert ("sudo" in render("podman", "__podman_package_names", RELEASES[2][0], **variables)) is there


def test_the_restriction_of_apparmor_stays_on(render):
    """By default no parameter switches it off, and the profile that allows Podman's is for the kernels of Ubuntu."""
    parameters = render("userns", "userns_sysctls")
    assert not [name for name in parameters if "apparmor" in name or "restrict" in name]
    assert parameters["kernel.unprivileged_userns_clone"] == 1
    tasks = yaml.safe_load((ROLES / "userns/tasks/main.yml").read_text())
    (condition,) = [task["when"] for task in tasks if task.get("ansible.builtin.include_tasks") == "apparmor.yml"]
    assert render("userns", condition, {"distribution": "Ubuntu"})
    assert not render("userns", condition, {"distribution": "Debian"})


def test_no_other_kernel_parameters_are_applied(render):
    """Docker sets net.ipv4.ip_forward, whatever the files of the host say."""
    wanted = {"kernel.keys.maxkeys": 20000, "net.ipv4.conf.eth*.forwarding": 1, "net/ipv4/conf/*/rp_filter": 2}
    assert render("userns", "__userns_sysctl_command", userns_sysctls=wanted) == [
        "/lib/systemd/systemd-sysctl",
        "--prefix=kernel.keys.maxkeys",
        "--prefix=net.ipv4.conf.",
        "--prefix=net/ipv4/conf/",
    ]


def test_ubuntu_gets_the_parser_of_profiles(render):
    assert render("userns", "__userns_packages", {"distribution": "Ubuntu"}) == ["uidmap", "apparmor"]
    assert render("userns", "__userns_packages", {"distribution": "Debian"}) == ["uidmap"]


@pytest.mark.parametrize(("changed", "state"), [(True, "latest"), (False, "present"), (None, "present")])
def test_packages_are_upgraded_when_their_repository_is_new(render, changed, state):
    variables = {} if changed is None else {"__podman_repository": {"changed": changed}}
    assert render("podman", "__podman_package_state", **variables) == state


def test_unknown_release(render):
    facts = release("Ubuntu", "20.04", "focal")
    assert "Ubuntu 20.04 is not supported" in render("podman", "__podman_problems", facts)[0]
    assert render("podman", "__podman_problems", facts, podman_packages=["podman"]) == []


TRIXIE = RELEASES[2][0]
MIRROR = {"location": "m", "insecure": True}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"podman_images": ["a;b"]}, '"a;b" is not a name'),
        ({"podman_images": ["$(id)"]}, '"$(id)" is not a name'),
        ({"podman_prune_keep": ["*"]}, None),
        ({"podman_repository_url": "https://example.com"}, "podman_repository_url needs podman_repository_key"),
        ({"podman_images": ["registry.example.com:5000/a/b@sha256:" + "0" * 64]}, None),
        ({"podman_prune_age": "soon"}, '"soon" is not an age'),
        # The argument specification takes these, and changes nothing of them.
        ({"podman_unqualified_search_registries": "docker.io"}, "podman_unqualified_search_registries is not a list"),
        ({"podman_delegate_controllers": "cpu,memory"}, "podman_delegate_controllers is not a list"),
        ({"podman_images": None}, "podman_images is not a list"),
        ({"podman_packages": "podman"}, "podman_packages is not a list"),
        ({"podman_storage_conf": "{}"}, "podman_storage_conf is not a dictionary"),
        ({"podman_unqualified_search_registries": None, "podman_storage_conf": None}, None),
        (
            {"podman_registries_conf": {"registry": [{"location": "a", "mirror": [MIRROR]}]}},
            "m would be",
        ),
        ({"podman_registries_conf": {"registry": [{"prefix": "*.lab", "insecure": True}]}}, "*.lab would be"),
        (
            {
                "podman_registries_conf": {"registry": [MIRROR, {"prefix": "*.lab", "insecure": True}]},
                "podman_insecure_registries": ["m", "*.lab"],
            },
            None,
        ),
    ],
)  # fmt: skip
def test_podman_variables_are_checked(render, variables, said):
    problems = render("podman", "__podman_problems", TRIXIE, **variables)
    assert said in problems[0] if said else problems == []


def without_null(value: Any) -> Any:
    if isinstance(value, list):
        return [without_null(item) for item in value]
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize(("user", "refused"), [("root", False), (None, False), ("deploy", True)])
def test_the_inventory_makes_nobody_but_root_of_all_tasks(render, user, refused):
    host = {"inventory_hostname": "ci1", "hostvars": {"ci1": {"ansible_become_user": user}}}
    problems = render("podman", "__podman_problems", TRIXIE, **host)
    assert len(problems) == refused and all("ansible_become_user is deploy" in text for text in problems)
    for role in ("podman", "runner", "tmpfs_storage"):
        assert render(role, "ansible_become_user", TRIXIE, **host) is None


def test_mirrors_and_insecure_registries_become_tables(render):
    found = render(
        "podman",
        "__podman_registries",
        podman_registry_mirrors={"docker.io": ["m1", "m2"]},
        podman_insecure_registries=["m2"],
        podman_registries_conf={"registry": [{"location": "own"}]},
    )
    assert without_null(found) == [
        {"location": "docker.io", "mirror": [{"location": "m1"}, {"location": "m2", "insecure": True}]},
        {"location": "m2", "insecure": True},
        {"location": "own"},
    ]
    assert render("podman", "__podman_registries") is None


INSECURE = {"insecure": True, "blocked": True, "mirror": [{"location": "m", "insecure": True}]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"location": "lab", "prefix": "x", **INSECURE}, {"location": "a"}], [{"location": "a"}]),
        ([{"location": "a", **INSECURE}], [{"location": "a"}]),
        ([{"prefix": "*.lab", **INSECURE}], [{"prefix": "*.example.com"}]),
        ([{"location": "a", **INSECURE}], [{"location": "a", "mirror": [{"location": "m"}]}]),
    ],
)
def test_a_registry_does_not_inherit_the_settings_of_a_former_one(render, before, after):
    text = ""
    for wanted in before, after:
        tables = render("podman", "__podman_registries", podman_registries_conf={"registry": wanted})
        text = _toml_edit.edit(_toml.parse(text), {"registry": tables})
    assert _toml.loads(text) == {"registry": after}


def info(mapped: list[tuple[int, int]], cgroups: str = "v2", version: str = "5.4.2") -> dict[str, str]:
    """The answer of podman info."""
    mapping = [{"container_id": 0, "host_id": 995, "size": 1}]
    for start, count in mapped:
        mapping.append({"container_id": sum(entry["size"] for entry in mapping), "host_id": start, "size": count})
    host = {"cgroupVersion": cgroups, "idMappings": {"uidmap": mapping, "gidmap": mapping}}
    return {"stdout": json.dumps({"host": host, "version": {"Version": version}})}


def subids(uids: list[tuple[int, int]], gids: list[tuple[int, int]]) -> dict[str, Any]:
    """What the role userns has found in the files."""
    sides = {"subuid": uids, "subgid": gids}
    return {side: [{"start": start, "count": count} for start, count in ranges] for side, ranges in sides.items()}


def of(user: str, granted: dict[str, Any]) -> dict[str, Any]:
    """What the role userns leaves behind for a user."""
    entry = ["x", "995", "995", "", f"/home/{user}", "/bin/sh"]
    return {"__userns_subids": granted, "__userns_getent": {"ansible_facts": {"getent_passwd": {user: entry}}}}


def test_changed_subordinate_ids_are_seen(render):
    granted = of("gitlab-runner", subids([(400000, 65536)], [(400000, 65536)]))
    found = render("podman", "__podman_ids", __podman_info=info([(100000, 65536)]), **granted)
    assert (found["lost"], found["new"]) == (
        [{"start": 100000, "count": 65536}],
        [{"start": 400000, "count": 65536}],
    )
    assert "of gitlab-runner are no longer in /etc/subuid and /etc/subgid" in found["messages"][0]


def test_those_of_another_user_are_not_compared(render):
    """The role userns can run for several users before this one."""
    granted = of("other", subids([(400000, 65536)], [(400000, 65536)]))
    assert render("podman", "__podman_ids.messages", __podman_info=info([(100000, 65536)]), **granted) == []


def test_without_an_answer_of_podman_no_ids_are_missed(render):
    granted = of("gitlab-runner", subids([(100000, 65536)], [(100000, 65536)]))
    assert render("podman", "__podman_ids.messages", **granted) == []
    assert render("podman", "__podman_ids.messages", __podman_info=info([(1, 1)])) == []


def test_what_the_configuration_of_podman_holds_is_no_item_of_a_loop(render):
    """The result of a loop shows its items, whatever the module keeps to itself."""
    (task,) = [task for task in tasks_of("podman/tasks/main.yml") if task["name"] == "Configure Podman"]
    variables = {
        "podman_containers_conf": {"engine": {"env": ["HTTPS_PROXY=http://ci:secret-word@proxy"]}},
        "__podman_getent": of("gitlab-runner", {})["__userns_getent"],
    }
    content = task["rootless.gitlab_runner.toml_file"]["content"].strip("{ }")
    items = render("podman", task["loop"].strip("{ }"), **variables)
    assert len(items) == 3 and "secret-word" not in str(items)
    assert "secret-word" in str([render("podman", content, item=item, **variables) for item in items])


@pytest.mark.parametrize("path", ["doctor/tasks/report.yml", "runner/tasks/create.yml"])
def test_nothing_becomes_root_on_the_controller(path):
    """A variable ansible_become of group_vars/all is stronger than the keyword."""
    tasks = [task for task in tasks_of(path) if task.get("delegate_to") == "localhost"]
    assert len(tasks) >= 2
    assert [task["name"] for task in tasks if task["become"] or task["vars"]["ansible_become"]] == []


@pytest.mark.parametrize(("wait", "refuses", "retries"), [("0", True, 10), ("600", False, 300), (600, False, 300)])
def test_the_wait_for_jobs_from_the_command_line_is_a_number(render, wait, refuses, retries):
    """With "-e podman_drain_wait=600" it is a string."""
    (refusal,) = [task for task in tasks_of("podman/tasks/drain.yml") if "Stop while jobs run" in task["name"]]
    variables = {"podman_drain_wait": wait, "__podman_running": {"stdout": "1"}}
    assert all(render("podman", condition, **variables) for condition in refusal["when"]) is refuses
    assert render("podman", "__podman_drain_retries", **variables) == retries


@pytest.mark.parametrize(
    ("state", "starts"),
    [
        ("active", True),
        # As an earlier play leaves it that has queued a restart, which the stop has cancelled.
        ("deactivating", True),
        ("activating", True),
        ("inactive", False),
        ("failed", False),
        (None, False),
    ],
)
@pytest.mark.parametrize(
    "path",
    ["podman/tasks/storage.yml", "podman/tasks/ids.yml", "podman/tasks/reset.yml", "tmpfs_storage/tasks/main.yml"],
)
def test_a_runner_that_was_drained_starts_again(render, path, state, starts):
    (task,) = [task for task in tasks_of(path) if task["name"].endswith("Start the runner again")]
    runner = {"status": {"ActiveState": state}} if state else {"msg": "Could not find the requested service"}
    variables = {"__podman_runner": runner, "__tmpfs_storage_moves": True}
    assert all(render(path.partition("/")[0], condition, **variables) for condition in task["when"]) is starts


@pytest.mark.parametrize(
    ("variables", "driver", "failed"),
    [
        ({}, "overlay", False),
        ({}, "vfs", True),
        ({"podman_storage_conf": {"storage": {"driver": "vfs"}}}, "vfs", False),
        ({"podman_storage_conf": {"storage": {"driver": "btrfs"}}}, "overlay", True),
        ({"podman_storage_conf": {"storage": {"driver": None}}}, "vfs", False),
    ],
)
def test_the_reset_wants_the_driver_that_is_configured(render, variables, driver, failed):
    (task,) = [task for task in tasks_of("podman/tasks/reset.yml") if "Verify that" in task["name"]]
    answer = {"rc": 0, "stdout": json.dumps({"store": {"imageStore": {"number": 0}, "graphDriverName": driver}})}
    assert render("podman", task["failed_when"], __podman_reset_verified=answer, **variables) is failed


@pytest.mark.parametrize("wanted", [True, False, "false"])
def test_the_reset_starts_no_prune_that_is_switched_off(render, wanted):
    (task,) = [task for task in tasks_of("podman/tasks/reset.yml") if "Start the socket again" in task["name"]]
    units = render("podman", task["loop"].strip("{} "), podman_prune=wanted)
    assert units == ["podman.socket"] + ["rootless-podman-prune.timer"] * (wanted is True)


@pytest.mark.parametrize(
    ("message", "check", "failed"),
    [
        # Fresh lists would know it, and a check does not fetch them.
        ("No package matching 'uidmap' is available", True, False),
        ("No package matching 'uidmap' is available", False, True),
        (
            "python3-apt must be installed to use check mode. If run normally this module can auto-install it.",
            True,
            False,
        ),
        ("Failed to lock apt for exclusive operation", True, True),
    ],
)
@pytest.mark.parametrize("path", ["userns/tasks/main.yml", "podman/tasks/packages.yml", "podman/tasks/repository.yml"])
def test_a_check_of_a_fresh_host_announces_packages(render, path, message, check, failed):
    (task,) = [task for task in tasks_of(path) if "with fresh package lists" in task["name"]]
    variables = {task["register"]: {"failed": True, "msg": message}, "ansible_check_mode": check}
    role = path.partition("/")[0]
    assert render(role, task["failed_when"], **variables) is failed
    assert failed or render(role, task["changed_when"], **variables)


@pytest.mark.parametrize(
    ("errors", "failed"),
    [
        ([], False),
        (["find: '/srv/a/b': No such file or directory"], False),
        (["find: '/srv/a': No such file or directory", "find: '/srv/b': Permission denied"], True),
    ],
)
def test_files_that_a_job_removes_do_not_end_the_scan(render, errors, failed):
    (task,) = [task for task in tasks_of("podman/tasks/scan.yml") if task.get("register") == "__podman_owners_found"]
    answer = {"rc": 1 if errors else 0, "stderr_lines": errors}
    assert render("podman", task["failed_when"], __podman_owners_found=answer) is failed


@pytest.mark.parametrize(("path", "timeout"), [("verify", "60"), ("probe", "60"), ("probe", 60)])
def test_the_time_for_docker_in_docker_from_the_command_line_is_a_number(render, path, timeout):
    (task,) = [task for task in tasks_of(f"kubernetes/tasks/{path}.yml") if "retries" in task]
    assert render("kubernetes", task["retries"].strip("{} "), kubernetes_verify_timeout=timeout) == 12


@pytest.mark.parametrize(
    ("role", "variables"),
    [
        ("tmpfs_storage", {"tmpfs_storage_mount_options": "nodev,nosuid"}),
        ("userns", {"userns_sysctls": "kernel.keys.maxkeys=20000"}),
    ],
)
def test_lists_and_dictionaries_are_such(render, role, variables):
    (said,) = render(role, f"__{role}_problems", **variables)
    assert re.match(rf"{next(iter(variables))} is not a (list|dictionary)\.", said)


@pytest.mark.parametrize(
    ("found", "variables", "said"),
    [
        ("3.0.1", {"podman_packages": ["podman"]}, "is Podman 3.0.1, and GitLab Runner needs 4.2 or later"),
        ("4.2.0", {}, None),
        ("5.0.0-dev", {}, None),
        ("5.4.2", {"podman_minimum_version": "5.5"}, "is Podman 5.4.2"),
        ("3.0.1", {"podman_minimum_version": "3.0"}, None),
    ],
)
def test_the_version_that_answers_counts(render, found, variables, said):
    said_of_it = render("podman", "__podman_too_old", __podman_info=info([], version=found), **variables)
    assert said in said_of_it if said else said_of_it == ""
    assert render("podman", "__podman_too_old", **variables) == ""


STORE = {"graphRoot": "/home/u/storage", "runRoot": "/run/u", "graphDriverName": "overlay"}
EMPTY = {"imageStore": {"number": 0}, "containerStore": {"number": 0}}
ONE_IMAGE = {"imageStore": {"number": 1}, "containerStore": {"number": 0}}


@pytest.mark.parametrize(
    ("keys", "volumes", "store", "moves", "said"),
    [
        ({"graphroot": "/data"}, 0, {}, False, ""),
        ({"graphroot": "/data"}, 0, {**STORE, **EMPTY}, True, ""),
        ({"graphroot": "/data"}, 1, {**STORE, **EMPTY}, True, "storage holds 0 images, 0 containers and 1 volumes"),
        ({"graphroot": "/data"}, 0, {**STORE, **ONE_IMAGE}, True, "once its storage is /data (the files stay)"),
        ({"graphroot": "/home/u/storage"}, 0, {**STORE, **ONE_IMAGE}, False, ""),
        ({"graphroot": None}, 0, {**STORE, **ONE_IMAGE}, True, "/.local/share/containers/storage (the files stay)"),
        ({"graphroot": "/data", "driver": "vfs"}, 0, {**STORE, **EMPTY}, True, ""),
        ({"driver": "vfs"}, 0, {**STORE, **EMPTY}, False, 'keeps the driver "overlay" of the storage /home/u/storage'),
        ({"runroot": "/x", "driver": "vfs"}, 0, {**STORE, **EMPTY}, False, 'runroot "/run/u" and the driver "overlay"'),
        ({"runroot": None, "driver": "overlay"}, 0, {**STORE, **ONE_IMAGE}, False, ""),
        ({"graphroot": "/data"}, 0, None, True, "does not say what is in its storage: broken"),
    ],
)  # fmt: skip
def test_another_storage_needs_consent(render, keys, volumes, store, moves, said):
    answer = {"rc": 125, "stdout": f"{volumes}", "stderr": "broken"} if store is None else {"rc": 0, "stdout": ""}
    if store:
        answer["stdout"] = f"{volumes}\n{json.dumps({'store': store})}"
    variables = {"podman_storage_conf": {"storage": keys}, "__podman_storage_found": answer}
    assert render("podman", "__podman_storage_moves", **variables) is moves
    refusal = render("podman", "__podman_storage_refusal", **variables)
    assert said in refusal if said else refusal == ""
    consented = render("podman", "__podman_storage_refusal", **variables, podman_storage_discard_existing=True)
    assert consented == ("" if moves else refusal)


@pytest.mark.parametrize("conf", [{}, {"storage": {"options": {"overlay": {"mountopt": "nodev"}}}}])
def test_the_storage_is_looked_at_only_where_it_may_become_another_one(render, conf):
    assert render("podman", "__podman_storage_keys", podman_storage_conf=conf) == {}


def test_old_cgroups_are_reported(render):
    assert render("podman", "__podman_warnings", __podman_info=info([], "v2")) == []
    assert (
        "systemd.unified_cgroup_hierarchy=1" in render("podman", "__podman_warnings", __podman_info=info([], "v1"))[0]
    )


def found(
    ram: int = 16 * GIB, swap: int = 0, kernel: str = "6.12.1", running: int = 0, images: int = 0, **store: Any
) -> dict:
    """The answer of podman info."""
    return {
        "stdout": json.dumps(
            {
                "host": {"memTotal": ram, "swapTotal": swap, "kernel": kernel},
                "store": {
                    "graphRoot": "/srv/rootless-containers/storage",
                    "imageStore": {"number": 0},
                    "containerStore": {"number": running, "running": running},
                    **store,
                },
            }
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "host", "variables", "refused"),
    [
        ("50%", {}, {}, False),
        (0.5, {}, {}, False),
        ("14G", {}, {}, False),
        ("15G", {}, {}, True),
        ("15G", {}, {"tmpfs_storage_memory_share": 95}, False),
        ("15G", {"swap": 4 * GIB}, {}, False),
        ("15G", {"swap": 4 * GIB}, {"tmpfs_storage_noswap": True}, True),
        ("100%", {}, {}, True),
        ("8589934592", {}, {}, False),
        ("1T", {}, {}, True),
        ("1%", {"ram": 4 * GIB}, {}, True),
        ("1%", {"ram": 8 * GIB}, {}, False),
        (0.004, {}, {}, False),
        (0.003, {}, {}, True),
    ],
)
def test_tmpfs_size_against_the_memory(render, size, host, variables, refused):
    said = render(
        "tmpfs_storage",
        "__tmpfs_storage_refusals",
        tmpfs_storage_size=size,
        __tmpfs_storage_found=found(**host),
        **variables,
    )
    assert bool(said) is refused
    assert not refused or re.search(rf'tmpfs_storage_size: ({size} \(|"{size}" is )', said[0]), said


@pytest.mark.parametrize("size", ["half", "0%", "0.0", 0.00001, "101%", "-1G", "1.5G", "16 G"])
def test_tmpfs_size_is_a_size(render, size):
    assert "is not a size" in render("tmpfs_storage", "__tmpfs_storage_problems", tmpfs_storage_size=size)[0]


@pytest.mark.parametrize("size", [50, "16", "63M", "64k"])
def test_tmpfs_size_has_its_unit(render, size):
    (said,) = render("tmpfs_storage", "__tmpfs_storage_problems", tmpfs_storage_size=size)
    assert f'tmpfs_storage_size: "{size}" is ' in said and "needs 64 MB at least" in said
    assert render("tmpfs_storage", "__tmpfs_storage_problems", tmpfs_storage_size="64M") == []


@pytest.mark.parametrize(
    ("variables", "option", "there"),
    [
        ({}, "huge=within_size", True),
        ({"__tmpfs_storage_looked": {"stdout": '{"huge": false}'}}, "huge=within_size", False),
        ({"tmpfs_storage_inodes": 1000}, "nr_inodes=1000", True),
        ({}, "noatime", True),
        ({"tmpfs_storage_noatime": False}, "noatime", False),
        ({"tmpfs_storage_noswap": True}, "noswap", True),
        ({"tmpfs_storage_size": 0.25}, "size=25%", True),
        ({"tmpfs_storage_size": 0.333}, "size=33%", True),
        ({"tmpfs_storage_size": 0.004}, f"size={16 * GIB * 4 // 1000}", True),
        ({"tmpfs_storage_size": "50%"}, "size=50%", True),
        ({"tmpfs_storage_size": "16G"}, "size=16G", True),
    ],
)
def test_tmpfs_mount_options(render, variables, option, there):
    options = render("tmpfs_storage", "__tmpfs_storage_options", **{"__tmpfs_storage_found": found(), **variables})
    assert (option in options.split(",")) is there


def test_selinux_labels_the_tmpfs(render):
    answer = {"stdout": json.dumps({"host": {"security": {"selinuxEnabled": True}}})}
    assert ":container_file_t:" in render("tmpfs_storage", "__tmpfs_storage_options", __tmpfs_storage_found=answer)


def test_noswap_needs_a_kernel_that_has_it(render):
    (said,) = render(
        "tmpfs_storage",
        "__tmpfs_storage_refusals",
        tmpfs_storage_noswap=True,
        __tmpfs_storage_found=found(kernel="6.1.0-40-amd64"),
    )
    assert "Linux 6.1.0-40-amd64" in said


def test_always_is_warned_of(render):
    variables = {"tmpfs_storage_huge": "always", "__tmpfs_storage_found": found()}
    assert "5 GB" in render("tmpfs_storage", "__tmpfs_storage_warnings", **variables)[0]


@pytest.mark.parametrize(
    ("variables", "program"),
    [
        ({"__tmpfs_storage_native": {"rc": 0}}, None),
        ({"__tmpfs_storage_native": {"rc": 1}}, "/usr/bin/fuse-overlayfs"),
        ({"tmpfs_storage_fuse_overlayfs": True}, "/usr/bin/fuse-overlayfs"),
        ({"__tmpfs_storage_native": {"rc": 1}, "tmpfs_storage_fuse_overlayfs": False}, None),
        ({"tmpfs_storage_fuse_overlayfs": True, "tmpfs_storage_state": "absent"}, None),
    ],
)
def test_overlay_that_works_on_the_kernel(render, variables, program):
    conf = render("tmpfs_storage", "__tmpfs_storage_conf", **variables)
    assert conf["options"]["overlay"]["mount_program"] == program


@pytest.mark.parametrize(
    ("variables", "program"),
    [
        ({"__tmpfs_storage_looked": {"stdout": '{"native": true}'}}, [None]),
        ({"__tmpfs_storage_looked": {"stdout": '{"native": false}'}}, ["/usr/bin/fuse-overlayfs"]),
        # What the task registers in a check.
        ({"__tmpfs_storage_native": {"skipped": True, "rc": 0}}, []),
        ({"__tmpfs_storage_native": {"skipped": True, "rc": 0}, "tmpfs_storage_state": "absent"}, [None]),
    ],
)
def test_a_check_foretells_the_overlay_or_leaves_it_open(render, variables, program):
    conf = render("tmpfs_storage", "__tmpfs_storage_conf", ansible_check_mode=True, **variables)
    assert [conf["options"]["overlay"]["mount_program"]] == program if program else "options" not in conf


def test_a_mount_program_of_the_users_choice_stays(render):
    choice = {"storage": {"options": {"overlay": {"mount_program": "/opt/fuse-overlayfs"}}}}
    assert "options" not in render("tmpfs_storage", "__tmpfs_storage_conf", podman_storage_conf=choice)


HOME = {
    "ansible_facts": {"getent_passwd": {"gitlab-runner": ["x", "995", "995", "", "/home/gitlab-runner", "/bin/bash"]}}
}
DISK, TMPFS = "/home/gitlab-runner/.local/share/containers/storage", "/srv/rootless-containers/storage"


@pytest.mark.parametrize(
    ("state", "path", "root", "backing", "moves"),
    [
        ("present", "/srv/rootless-containers", DISK, "extfs", True),
        ("present", "/srv/rootless-containers", TMPFS, "tmpfs", False),
        ("present", "/srv/rootless-containers", "/srv/rootless-containers/own", "tmpfs", False),
        ("present", "/srv/rootless-containers", TMPFS, "extfs", True),
        ("present", "/home/gitlab-runner/.local/share/containers", DISK, "extfs", True),
        ("absent", "/srv/rootless-containers", TMPFS, "tmpfs", True),
        ("absent", "/srv/rootless-containers", TMPFS, "extfs", True),
        ("absent", "/srv/rootless-containers", DISK, "extfs", False),
    ],
)
def test_a_storage_is_on_the_tmpfs_only_if_podman_says_so(render, state, path, root, backing, moves):
    variables = {
        "tmpfs_storage_state": state,
        "tmpfs_storage_path": path,
        "__tmpfs_storage_found": found(
            graphRoot=root, graphStatus={"Backing Filesystem": backing}, imageStore={"number": 7}
        ),
    }
    assert render("tmpfs_storage", "__tmpfs_storage_moves", **variables) is moves
    said = render("tmpfs_storage", "__tmpfs_storage_refusals", **variables)
    assert bool(said) is moves and (not moves or f"{root} holds 7 images" in said[0])


@pytest.mark.parametrize(
    ("root", "backing", "path", "remove", "said"),
    [
        (DISK, "extfs", "/srv/rootless-containers", False, "tmpfs_storage_remove_old: true removes it"),
        (DISK, "extfs", "/srv/rootless-containers", True, None),
        ("/data", "extfs", "/srv/rootless-containers", True, "As gitlab-runner: podman unshare rm -rf /data"),
        (TMPFS, "tmpfs", "/srv/new", True, "unmount that, and remove its line from /etc/fstab"),
        (TMPFS, "extfs", "/srv/rootless-containers", False, "The tmpfs hides it"),
        (DISK, "extfs", DISK.rpartition("/")[0], False, "The tmpfs hides it"),
        (TMPFS, "tmpfs", "/srv/rootless-containers", False, None),
    ],
)
def test_what_the_move_leaves_is_named_with_what_removes_it(render, root, backing, path, remove, said):
    warnings = render(
        "tmpfs_storage",
        "__tmpfs_storage_warnings",
        tmpfs_storage_path=path,
        tmpfs_storage_remove_old=remove,
        __userns_getent=HOME,
        __tmpfs_storage_found=found(graphRoot=root, graphStatus={"Backing Filesystem": backing}),
    )
    assert len(warnings) == bool(said) and (not said or (root in warnings[0] and said in warnings[0])), warnings


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("volumes", [[], ["cache"]])
def test_volumes_are_not_lost_without_consent(render, state, volumes):
    variables = {
        "tmpfs_storage_state": state,
        "tmpfs_storage_remove_old": True,
        "__tmpfs_storage_found": found(graphRoot=DISK if state == "present" else TMPFS),
        "__tmpfs_storage_volumes": {"stdout_lines": volumes},
    }
    said = render("tmpfs_storage", "__tmpfs_storage_refusals", **variables)
    assert bool(said) is bool(volumes) and (not volumes or "0 images, 0 containers and 1 volumes" in said[0])
    assert render("tmpfs_storage", "__tmpfs_storage_refusals", **variables, tmpfs_storage_discard_existing=True) == []


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/srv/rootless-containers", False),
        ("/home/gitlab-runner/.local/share/containers", True),
        (DISK, True),
        (f"{DISK}/tmpfs", True),
        (f"{DISK}-tmpfs", False),
    ],
)
def test_the_old_storage_is_not_removed_with_the_new_one(render, path, refused):
    status = {"Backing Filesystem": "tmpfs"}
    said = render(
        "tmpfs_storage",
        "__tmpfs_storage_refusals",
        tmpfs_storage_path=path,
        tmpfs_storage_remove_old=True,
        __userns_getent=HOME,
        __tmpfs_storage_found=found(graphRoot=f"{path}/storage", graphStatus=status),
    )
    assert [text.partition(":")[0] for text in said] == ["tmpfs_storage_remove_old"] * refused


@pytest.mark.parametrize(
    ("conf", "claimed"),
    [
        ({}, None),
        ({"storage": None}, None),
        ({"storage": {"driver": "overlay", "options": {"overlay": {"mount_program": "/opt/x"}}}}, None),
        ({"storage": {"driver": "vfs"}}, "driver"),
        ({"storage": {"runroot": "/data/run", "graphroot": "/data"}}, "runroot and graphroot"),
        ({"storage": {"graphroot": None}}, "graphroot"),
    ],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_tmpfs_and_podman_do_not_both_say_where_the_storage_is(render, state, conf, claimed):
    variables = {"tmpfs_storage_state": state, "podman_storage_conf": conf}
    said = render("tmpfs_storage", "__tmpfs_storage_problems", **variables)
    assert len(said) == bool(claimed) and (
        not claimed or f"podman_storage_conf: {claimed} would be set back" in said[0]
    )


def looked(kind: str | None = "tmpfs", **more: Any) -> dict[str, str]:
    """The answer of files/mount.py."""
    found: dict[str, Any] = {"huge": True}
    if kind:
        found |= {"type": kind, "noswap": False}
    if kind == "tmpfs":
        found |= {"uid": 995, "bytes": 2 * GIB, "inodes": 5000, "native": True}
    return {"stdout": json.dumps({**found, **more})}


MOUNTED = {"fstab_type": "tmpfs", "fstab_options": "size=4G,uid=995,gid=995,mode=0700,huge=within_size,noatime,nodev"}


@pytest.mark.parametrize(
    ("variables", "mount", "root", "said"),
    [
        ({}, looked(**MOUNTED), TMPFS, None),
        ({"tmpfs_storage_size": "3G"}, looked(**MOUNTED), TMPFS, None),
        ({"tmpfs_storage_size": "1G"}, looked(**MOUNTED), TMPFS, "1G is less than the 2.00 GB that are in use"),
        ({"tmpfs_storage_inodes": 4000}, looked(**MOUNTED), TMPFS, "4000 is less than the 5000 files"),
        # Somebody has made it larger until the next boot, and the role leaves it at that.
        ({}, looked(**MOUNTED, bytes=5 * GIB), TMPFS, None),
        ({}, looked(None), DISK, None),
        ({}, looked(None, entries=[]), DISK, None),
        ({}, looked("ext4"), DISK, "is the place of another mount (ext4)"),
        ({}, looked(None, fstab_type="ext4", fstab_options="noauto"), DISK, "is the place of another mount (ext4)"),
        ({}, looked(uid=0), DISK, "is the place of another mount (tmpfs of uid 0)"),
        ({}, looked(uid=0), TMPFS, None),
        ({}, looked(None, entries=["a", "b"]), DISK, "has something in it (a, b)"),
        ({}, looked(None, entries=list("abcdefg")), DISK, "has something in it (a, b, c, d, e, ...)"),
        # What Podman sees there is asked about by number.
        ({"tmpfs_storage_path": DISK.rpartition("/")[0]}, looked(None, entries=["storage"]), DISK, None),
        ({"tmpfs_storage_path": "/home/gitlab-runner"}, looked(None, entries=[".local", "b"]), DISK, "in it (b)"),
        ({"tmpfs_storage_state": "absent"}, looked("ext4", fstab_type="ext4", fstab_options=""), DISK, None),
    ],
)  # fmt: skip
def test_nothing_is_mounted_over_or_made_too_small(render, variables, mount, root, said):
    variables = {
        "tmpfs_storage_size": "4G",
        "tmpfs_storage_discard_existing": True,
        "__tmpfs_storage_found": found(
            graphRoot=root, graphStatus={"Backing Filesystem": "tmpfs" if root == TMPFS else "extfs"}
        ),
        "__userns_getent": HOME,
        "__tmpfs_storage_looked": mount,
        **variables,
    }
    refusals = render("tmpfs_storage", "__tmpfs_storage_refusals", **variables)
    assert len(refusals) == bool(said) and (not said or said in refusals[0]), refusals


@pytest.mark.parametrize(
    ("confined", "tool", "wanted", "refused"),
    [
        (True, "pasta", True, True),
        (True, "pasta", False, False),
        (True, "slirp4netns", True, False),
        (False, "pasta", True, False),
    ],
)
def test_the_run_root_stays_where_pasta_reaches_it(render, confined, tool, wanted, refused):
    answer = found(graphRoot=TMPFS, graphStatus={"Backing Filesystem": "tmpfs"})
    info = json.loads(answer["stdout"])
    info["host"]["rootlessNetworkCmd"] = tool
    refusals = render(
        "tmpfs_storage",
        "__tmpfs_storage_refusals",
        tmpfs_storage_run_root=wanted,
        __userns_getent=HOME,
        __tmpfs_storage_found={**answer, "stdout": json.dumps(info)},
        __tmpfs_storage_looked=looked(**MOUNTED, confined=confined),
    )
    assert ["AppArmor keeps pasta out of /srv/rootless-containers" in said for said in refusals] == [True] * refused


@pytest.mark.parametrize(
    ("mount", "ours"),
    [
        (looked(**MOUNTED), True),
        (looked(), True),
        (looked(None, **MOUNTED), True),
        (looked(**MOUNTED, uid=0), True),
        (looked(uid=0), False),
        (looked("ext4"), False),
        (looked("ext4", **MOUNTED), False),
        (looked(fstab_type="ext4", fstab_options="noauto"), False),
    ],
)
def test_only_the_tmpfs_of_the_role_is_unmounted(render, mount, ours):
    variables = {
        "tmpfs_storage_state": "absent",
        "__tmpfs_storage_found": found(graphRoot=DISK),
        "__userns_getent": HOME,
        "__tmpfs_storage_looked": mount,
    }
    assert render("tmpfs_storage", "__tmpfs_storage_ours", **variables) is ours


@pytest.mark.parametrize(
    ("mounted", "wanted", "options"),
    [(False, False, None), (True, True, "noswap"), (False, True, ""), (True, False, "noswap")],
)
def test_a_remount_leaves_noswap_as_it_is(render, mounted, wanted, options):
    variables = {
        "tmpfs_storage_noswap": wanted,
        "tmpfs_storage_size": "4G",
        "__tmpfs_storage_found": found(),
        "__userns_getent": HOME,
        "__tmpfs_storage_looked": looked(**MOUNTED, noswap=mounted),
    }
    fstab = MOUNTED["fstab_options"] + ",noswap" * wanted
    assert render("tmpfs_storage", "__tmpfs_storage_options.split(',') | sort", **variables) == sorted(fstab.split(","))
    assert render("tmpfs_storage", "__tmpfs_storage_remounts", **variables) is wanted
    remount = render("tmpfs_storage", "__tmpfs_storage_remount_options", **variables).split(",")
    assert remount[0] == "remount" and ("noswap" in remount) is mounted
    warnings = render("tmpfs_storage", "__tmpfs_storage_warnings", **variables)
    assert [text.partition(":")[0] for text in warnings] == ["tmpfs_storage_noswap"] * (mounted != wanted)


SELINUX = {"stdout": json.dumps({"host": {"security": {"selinuxEnabled": True}}, "store": {"graphRoot": TMPFS}})}


@pytest.mark.parametrize(
    ("mount", "unruled", "mislabelled"),
    [
        ({}, True, False),
        ({"equal": {}, "type": "tmpfs", "label": "system_u:object_r:tmpfs_t:s0"}, True, True),
        (
            {"equal": {TMPFS: "/elsewhere"}, "type": "tmpfs", "label": "system_u:object_r:container_file_t:s0"},
            True,
            False,
        ),
        (
            {"equal": {TMPFS: DISK}, "type": "tmpfs", "label": "system_u:object_r:container_data_home_t:s0"},
            False,
            False,
        ),
        ({"equal": {TMPFS: DISK}, "type": "tmpfs", "label": "system_u:object_r:var_t:s0"}, False, True),
    ],
)
def test_selinux_is_told_once(render, mount, unruled, mislabelled):
    """semanage takes a rule that it has, and says nothing of it in its exit status."""
    variables = {"__userns_getent": HOME, "__tmpfs_storage_looked": {"stdout": json.dumps(mount)}}
    for answer, there in ((SELINUX, True), (found(graphRoot=TMPFS), False)):
        variables["__tmpfs_storage_found"] = answer
        assert render("tmpfs_storage", "__tmpfs_storage_unruled", **variables) is (unruled and there)
        assert render("tmpfs_storage", "__tmpfs_storage_mislabelled", **variables) is (mislabelled and there)
    # The kernel takes it with a new mount only.
    variables["__tmpfs_storage_looked"] = {"stdout": json.dumps({"noswap": False, **mount})}
    variables["__tmpfs_storage_found"] = SELINUX
    assert "rootcontext" not in render("tmpfs_storage", "__tmpfs_storage_remount_options", **variables)


@pytest.mark.parametrize(
    ("state", "words"),
    [("present", ["--add", "--equal", DISK, TMPFS]), ("absent", ["--delete", TMPFS])],
)
def test_selinux_labels_the_tmpfs_like_the_default_directory(render, state, words):
    tasks = yaml.safe_load((ROLES / f"tmpfs_storage/tasks/{state}.yml").read_text(encoding="utf-8"))
    commands = [task.get("ansible.builtin.command", {}).get("argv", [""]) for task in tasks]
    (argv,) = [argv for argv in commands if argv[0] == "semanage"]
    variables = {"__userns_getent": HOME, "__tmpfs_storage_found": found()}
    argv = [render("tmpfs_storage", word.strip("{} "), **variables) if "{{" in word else word for word in argv]
    assert argv == ["semanage", "fcontext", "--noreload", *words]


@pytest.mark.parametrize(
    "lines", ["", "# {path} ext4\n", "disk {path}/ ext4 noauto 0 2\n", "tmpfs {path} tmpfs size=1G\n"]
)
def test_what_is_on_the_path_is_seen(tmp_path, lines):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    (tmp_path / "fstab").write_text("disk / ext4 defaults 0 1\n" + lines.format(path=tmp_path / "there"))

    def look(path: str | Path) -> dict[str, Any]:
        program = (ROLES / "tmpfs_storage/files/mount.py").read_text(encoding="utf-8")
        argv = [sys.executable, "-c", program, path, *(tmp_path / name for name in ("fstab", "selinux", "profiles"))]
        return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    seen = look(tmp_path / "there")
    fstab = lines.split() if lines and not lines.startswith("#") else [None] * 4
    assert (seen.get("fstab_type"), seen.get("fstab_options")) == (fstab[2], fstab[3])
    if "type" not in seen:
        assert seen["entries"] == ["file"]
    assert "entries" not in look(tmp_path / "absent")
    assert "equal" not in seen and not seen["confined"]
    for mode in ("complain", "enforce"):
        (tmp_path / "profiles").write_text(f"passt (enforce)\npasta ({mode})\n")
        assert look(tmp_path / "there")["confined"] is (mode == "enforce")
    rules = tmp_path / "selinux/default/contexts/files/file_contexts.subs"
    rules.parent.mkdir(parents=True)
    rules.write_text("# by hand\n/srv/a /home/b\n")
    (tmp_path / "selinux/config").write_text("SELINUX=permissive\nSELINUXTYPE=default\n")
    assert look(tmp_path / "there")["equal"] == {"/srv/a": "/home/b"}
    kernel = look("/proc")
    assert (kernel["type"], kernel["noswap"]) == ("proc", False) and "entries" not in kernel


@pytest.mark.parametrize("role", ["podman", "tmpfs_storage"])
@pytest.mark.parametrize("own", [True, False])
def test_another_look_up_does_not_take_the_user_away(render, role, own):
    """A site's own getent replaces the fact of the role's."""
    registered = {f"__{role}_getent" if own else "__userns_getent": HOME}
    facts = {"getent_passwd": {"other": ["x", "1000", "1000", "", "/home/other", "/bin/sh"]}}
    assert render(role, f"__{role}_home", facts, **registered) == "/home/gitlab-runner"


@pytest.mark.parametrize("state", ["present", "absent"])
def test_running_jobs_are_not_moved(render, state):
    root = "/home/u/.local/share/containers/storage" if state == "present" else "/srv/rootless-containers/storage"
    said = render(
        "tmpfs_storage",
        "__tmpfs_storage_refusals",
        tmpfs_storage_state=state,
        tmpfs_storage_discard_existing=True,
        __tmpfs_storage_found=found(running=2, graphRoot=root),
    )
    assert len(said) == 1 and said[0].startswith("2 containers are running")


def test_running_jobs_are_waited_for(render):
    said = render(
        "tmpfs_storage",
        "__tmpfs_storage_refusals",
        podman_drain_wait=60,
        tmpfs_storage_discard_existing=True,
        __tmpfs_storage_found=found(running=2, graphRoot=DISK),
    )
    assert said == []


@pytest.mark.parametrize(
    ("answer", "configured", "root"),
    [
        ({"store": {"graphRoot": TMPFS}}, [], TMPFS),
        ({}, [TMPFS], TMPFS),
        ({}, [], DISK),
    ],
)
def test_the_reset_empties_the_storage_of_a_podman_that_does_not_answer(render, answer, configured, root):
    variables = {
        "__podman_getent": HOME,
        "__podman_reset_info": {"stdout": json.dumps(answer) if answer else ""},
        "__podman_reset_configured": {"stdout_lines": configured} if configured else {"skipped": True},
    }
    assert render("podman", "__podman_reset_root", **variables) == root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name in ("home/storage/in", "elsewhere/in", "home/other/in"):
        (tmp_path / name).mkdir(parents=True)
    (home / "out").symlink_to(tmp_path / "elsewhere")
    (home / "within").symlink_to("other")
    return home


@pytest.mark.parametrize(
    ("root", "uid", "named", "entered"),
    [
        ("home/storage", None, None, True),
        ("tmpfs/storage", None, None, True),
        ("home/absent", None, None, None),
        ("home/storage", 4000000, None, False),
        ("home", None, None, False),
        ("home/out", None, None, False),
        ("home/within", None, None, True),
        ("home/storage/../../elsewhere", None, None, False),
        ("elsewhere", None, None, False),
        ("elsewhere", None, "elsewhere", True),
        ("home/out", None, "home/out", False),
    ],
)
def test_root_empties_only_a_directory_that_is_the_runner_users(render, home, root, uid, named, entered):
    top = home.parent
    (top / "tmpfs/storage").mkdir(parents=True)
    passwd = ["x", str(os.getuid() if uid is None else uid), "0", "", str(home), "/bin/bash"]
    snippet = render(
        "podman",
        "__podman_reset_enter",
        podman_storage_conf={"storage": {"graphroot": f"{top}/{named}"}} if named else {},
        tmpfs_storage_path=f"{top}/tmpfs",
        __podman_getent={"ansible_facts": {"getent_passwd": {"gitlab-runner": passwd}}},
        __podman_reset_info={"stdout": json.dumps({"store": {"graphRoot": f"{top}/{root}"}})},
    )
    result = subprocess.run(["sh", "-c", f"{snippet}\npwd -P"], capture_output=True, text=True, check=False)
    real = (top / root).resolve()
    expected = {True: (0, f"{real}\n"), False: (3, ""), None: (0, "")}[entered]
    assert (result.returncode, result.stdout) == expected, result.stderr
