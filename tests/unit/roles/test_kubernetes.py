# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

RUNNER = {
    "cpu_request": "1",
    "memory_limit": "4Gi",
    "service_cpu_request": "500m",
    "service_memory_request": "",
    "service_cpu_limit": "2",
    "service_ephemeral_storage_limit": "9Gi",
    "node_selector": {"pool": "ci"},
    "node_tolerations": {"dedicated=ci=x": "NoSchedule", "spot": "", "": "NoExecute"},
}


@pytest.mark.parametrize(
    ("privileged", "resources"),
    [
        ("services", {"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "ephemeral-storage": "9Gi"}}),
        ("all", {"requests": {"cpu": "1"}, "limits": {"memory": "4Gi"}}),
    ],
)
def test_probe_is_as_a_job(render, privileged, resources):
    variables = {"__kubernetes_plan": {"kubernetes": RUNNER}, "kubernetes_privileged": privileged}
    spec = render("kubernetes", "__kubernetes_probe_pod", **variables)["spec"]
    assert spec["containers"][0]["resources"] == resources
    assert spec["nodeSelector"] == {"pool": "ci"}
    assert spec["tolerations"] == [
        {"key": "dedicated", "operator": "Equal", "value": "ci=x", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists", "value": "", "effect": ""},
        {"key": "", "operator": "Exists", "value": "", "effect": "NoExecute"},
    ]


def test_probe_without_any_of_it(render):
    spec = render("kubernetes", "__kubernetes_probe_pod", __kubernetes_plan={"kubernetes": {}})["spec"]
    assert (spec["tolerations"], spec["containers"][0]["resources"]) == ([], {"requests": {}, "limits": {}})


@pytest.mark.parametrize(
    ("errors", "unknown"),
    [
        ('pods is forbidden: User "tester" cannot create resource "pods" in API group ""', True),
        ('pods "dind-probe-x" is forbidden: exceeded quota: ci, requested: pods=1, used: pods=9', True),
        ('pods "dind-probe-x" is forbidden: failed quota: ci: must specify limits.cpu for: dind', True),
        ('pods "dind-probe-x" is forbidden: violates PodSecurity "baseline:latest": privileged', False),
    ],
)
def test_admission_that_is_not_known(render, errors, unknown):
    assert render("kubernetes", "__kubernetes_unknown", __kubernetes_admission={"stderr": errors}) is unknown


@pytest.mark.parametrize(
    ("pod", "ended", "not_ready"),
    [
        ("", True, []),
        ('{"metadata": {"deletionTimestamp": "2026-01-31T12:00:00Z"}, "status": {"phase": "Running"}}', True, []),
        ('{"metadata": {}, "status": {"phase": "Failed", "reason": "Evicted"}}', True, []),
        (
            '{"metadata": {}, "status": {"phase": "Running", "containerStatuses":'
            ' [{"name": "build", "ready": false}, {"name": "docker", "ready": true}]}}',
            False,
            ["build"],
        ),
    ],
    ids=["gone", "ending", "evicted", "running"],
)
def test_job_after_the_wait(render, pod, ended, not_ready):
    look = {"stdout": pod}
    assert render("kubernetes", "__kubernetes_job_ended", __kubernetes_look=look) is ended
    assert render("kubernetes", "__kubernetes_not_ready", __kubernetes_look=look) == not_ready
