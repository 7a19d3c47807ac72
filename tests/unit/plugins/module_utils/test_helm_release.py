# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
import yaml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._helm_release import (
    HelmReleaseError,
    changed_objects,
    contains,
    differing_keys,
    kubernetes_table,
    merged,
    nested,
    null_keys,
    object_name,
    parse_manifest,
    rollout,
    runners,
    secrets_in_values,
    show_objects,
    stored_chart,
    verify_template,
)

PRIVILEGED = {"runners": {"kubernetes": {"privileged": True}}}
RUNNER = "[[runners]]\n[runners.kubernetes]\nprivileged = true\n"


def record(chart: dict[str, Any], pack: bool = True) -> str:
    data = json.dumps({"name": "ci-runner", "chart": chart}).encode()
    # Without the time, which would be in the names of tests, too.
    return base64.b64encode(base64.b64encode(gzip.compress(data, mtime=0) if pack else data)).decode()


def item(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "data": base64.b64encode(content).decode()}


@pytest.mark.parametrize("pack", [True, False])
def test_stored_chart(pack: bool) -> None:
    chart = {
        "metadata": {"apiVersion": "v2", "name": "gitlab-runner", "version": "0.86.0"},
        "templates": [item("templates/a.yaml", b"a: {{ .b }}\n")],
        "values": {"timeout": 3600, "on": "yes"},
        "files": [item("README.md", b"\xff")],
        "schema": base64.b64encode(b"{}").decode(),
        "lock": None,
    }
    files = stored_chart(record(chart, pack))
    assert set(files) == {"Chart.yaml", "values.yaml", "values.schema.json", "templates/a.yaml", "README.md"}
    assert yaml.safe_load(files["Chart.yaml"]) == chart["metadata"]
    assert yaml.safe_load(files["values.yaml"]) == chart["values"]
    assert (files["templates/a.yaml"], files["README.md"]) == (b"a: {{ .b }}\n", b"\xff")


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("", "cannot be read"),
        ("%%%", "cannot be read"),
        (base64.b64encode(base64.b64encode(b"\x1f\x8bno gzip")).decode(), "cannot be read"),
        (record({"metadata": None}), "cannot be read"),
        (record({"metadata": {"dependencies": [{"name": "a"}]}}), "has subcharts"),
        (record({"metadata": {}, "templates": [item("../../x", b"")]}), "outside of the chart"),
        (record({"metadata": {}, "files": [item("/etc/x", b"")]}), "outside of the chart"),
    ],
)
def test_chart_that_is_not_stored(release: str, message: str) -> None:
    with pytest.raises(HelmReleaseError, match=message):
        stored_chart(release)


MANIFEST = """\
---
kind: ConfigMap
metadata: {name: a}
data:
  config.template.toml: "[[runners]]"
---
kind: ConfigMap
metadata: {name: b}
data:
  other: x
---
# nothing
---
kind: Deployment
metadata: {name: by-volume}
spec:
  template:
    spec:
      containers:
        - env:
            - {name: KUBERNETES_PRIVILEGED, value: "false"}
            - {name: KUBERNETES_SECRET, valueFrom: {}}
            - {name: OTHER, value: x}
      volumes: [{configMap: {name: a}}, {emptyDir: {}}]
---
kind: Deployment
metadata: {name: projected}
spec: {template: {spec: {volumes: [{projected: {sources: [{secret: {name: a}}, {configMap: {name: a}}]}}]}}}
---
kind: Deployment
metadata: {name: another}
spec: {template: {spec: {volumes: [{configMap: {name: b}}]}}}
"""


def test_runners_of_a_manifest() -> None:
    found = runners(parse_manifest(MANIFEST))
    assert list(found) == ["a"]
    assert found["a"].template == "[[runners]]"
    assert [object_name(item) for item in found["a"].deployments] == ["Deployment/by-volume", "Deployment/projected"]
    assert found["a"].environment == {"KUBERNETES_PRIVILEGED": "false"}


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_manifest_that_is_not_yaml(loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "CSafeLoader", getattr(yaml, loader), raising=False)
    with pytest.raises(HelmReleaseError, match="not YAML: line 2: ") as error:
        parse_manifest("a: [\ntoken: hidden: hidden\n")
    assert "hidden" not in str(error.value)
    with pytest.raises(HelmReleaseError, match="not YAML"):
        parse_manifest("a: \0\n")


@pytest.mark.parametrize(
    ("before", "after", "exact", "message"),
    [
        ("[[runners]]\n", "[[runners]]\n[runners.kubernetes]\n", True, "privileged would not be set"),
        ("[[runners]]\n", "[[runners]]\n", True, "privileged would not be set"),
        ("[[runners]]\n", RUNNER.replace("true", "'true'"), True, "privileged would not be set"),
        ("[[runners]]\n", RUNNER + "privileged = true\n", True, "not TOML"),
        ("[[runners]]\n", RUNNER + "image = 'a'\n", True, "would also change runners.kubernetes.image"),
        ("concurrent = 1\n[[runners]]\n", RUNNER, True, "would also change concurrent"),
        ("[[runners]]\n", RUNNER + "Privileged = false\n", True, "privileged would not be set"),
        ("[[runners]]\n", RUNNER, True, None),
        ("[[Runners]]\n", RUNNER.replace("runners", "Runners"), True, None),
        (RUNNER, RUNNER.replace("kub", "Kub"), True, "would also change runners.kubernetes"),
        (RUNNER, RUNNER, True, None),
        ("[[runners]]\n", RUNNER + "image = 'a'\n", False, None),
        ("not TOML", RUNNER, True, None),
        (None, RUNNER, True, None),
    ],
)
def test_verifies_what_the_chart_renders(before: str | None, after: str, exact: bool, message: str | None) -> None:
    if message is None:
        assert "privileged': True" in str(verify_template(before, after, PRIVILEGED, exact))
    else:
        with pytest.raises(HelmReleaseError, match=message):
            verify_template(before, after, PRIVILEGED, exact)


@pytest.mark.parametrize(
    ("template", "table"),
    [
        ({}, {}),
        ({"runners": [{"name": "a"}]}, {}),
        (
            {"Runners": [{"Kubernetes": {"Node_Selector": {"Zone": "A"}, "Volumes": {"PVC": [{"Name": "B"}]}}}]},
            {"node_selector": {"Zone": "A"}, "volumes": {"pvc": [{"name": "B"}]}},
        ),
    ],
)
def test_kubernetes_table(template: dict[str, Any], table: dict[str, Any]) -> None:
    assert kubernetes_table(template) == table


def test_changed_objects() -> None:
    one, two, three = ({"kind": "A", "metadata": {"name": name}, "x": 1} for name in "abc")
    assert changed_objects([one, two], [one, {**two, "x": 2}, three]) == [(two, {**two, "x": 2}), (None, three)]


def test_shown_objects_have_no_secrets() -> None:
    objects: list[Any] = [
        {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "c2VjcmV0"}, "stringData": {"b": "secret-1"}},
        {"kind": "ConfigMap", "data": {"config.toml": '[[runners]]\n  token = "secret-2"\n', "password": "secret-3"}},
        {"kind": "Deployment", "env": [{"name": "API_TOKEN", "value": "secret-4"}, {"name": "CI", "value": "plain"}]},
        {"kind": "Deployment", "env": [{"name": "DOCKER_AUTH_CONFIG", "value": "secret-5"}], "password": 12345678},
        {"kind": "ConfigMap", "data": {"password": "secret-6\nsecret-7", "file": "x\nenv = ['A_TOKEN=secret-8']"}},
        {"kind": "Deployment", "args": ["--token", "secret-9"], "env": {"db_pass": "secret-10"}},
        None,
    ]
    text = show_objects(objects, b"key")
    assert "secret-" not in text and "c2VjcmV0" not in text
    assert "12345678" not in text
    assert text.count("VALUE_REDACTED") == 11
    assert "plain" in text and "[[runners]]" in text
    assert text == show_objects(objects, b"key")
    assert text != show_objects(objects, b"another key")


def test_secrets_in_values() -> None:
    values = {
        "runnerToken": "glrt-abcdefghijkl",
        "runners": {"secret": "gitlab-runner", "config": 'token = "glrt-mnopqrstuvwx"'},
        "list": [{"password": "p"}],
        "envVars": [{"name": "DB_PASSWORD", "value": "hunter2y"}, {"name": "CLIENT_SECRET", "value": 12345678}],
    }
    assert set(secrets_in_values(values)) == {"glrt-abcdefghijkl", "glrt-mnopqrstuvwx", "p", "hunter2y", "12345678"}


@pytest.mark.parametrize(
    ("values", "wanted", "result"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": {"b": 1}}, False),
        ({}, {}, True),
    ],
)
def test_contains(values: Any, wanted: Any, result: bool) -> None:
    assert contains(values, wanted) is result


def test_merged() -> None:
    values = {"a": {"b": 1, "c": [1]}, "d": {"e": 1}}
    wanted = {"a": {"c": [2]}, "d": 1, **nested(("f", "g"), 3)}
    assert merged(values, wanted) == {"a": {"b": 1, "c": [2]}, "d": 1, "f": {"g": 3}}


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ({"a": {"b": 1}, "c": {}}, {"a": {"b": 1}, "d": None}, []),
        ({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 2, "e": {"f": 1}}, "d": [2]}, ["a.b", "a.c", "a.e.f", "d"]),
        ({"a": {"b": 1}, "c": True}, {"a": 1, "c": 1}, ["a", "c"]),
    ],
)
def test_differing_keys(old: Any, new: Any, keys: list[str]) -> None:
    assert [".".join(path) for path in differing_keys(old, new)] == keys


@pytest.mark.parametrize(
    ("values", "keys"),
    [({"a": {"b": None, "c": False}, "d": None}, ["a.b", "d"]), ({"a": {}, "b": [{"c": None}, None], "d": ""}, [])],
)
def test_null_keys(values: Any, keys: list[str]) -> None:
    assert [".".join(path) for path in null_keys(values)] == keys


def pod(name: str, template: str, ready: bool = True, **more: Any) -> dict[str, Any]:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}], **more.pop("status", {})}
    return {"metadata": {"name": name, "labels": {"pod-template-hash": template}, **more}, "status": status}


def deployment(**more: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "m",
            "uid": "u",
            "generation": 2,
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": 1, **more.pop("spec", {})},
        "status": {"observedGeneration": 2, "conditions": [], **more},
    }


def replica_set(template: str, revision: str, owner: str = "u") -> dict[str, Any]:
    annotations = {"deployment.kubernetes.io/revision": revision}
    metadata = {
        "labels": {"pod-template-hash": template},
        "annotations": annotations,
        "ownerReferences": [{"uid": owner}],
    }
    return {"metadata": metadata}


SETS = [replica_set("old", "1"), replica_set("other", "2", "another"), replica_set("new", "2")]
STUCK = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
CRASH = {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
PULL = {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}]}


@pytest.mark.parametrize(
    ("live", "sets", "pods", "state", "message"),
    [
        (deployment(), SETS, [pod("a", "new")], "done", ""),
        (deployment(spec={"replicas": 0}), SETS, [], "done", ""),
        # What was evicted stays there, but does not run.
        (deployment(), SETS, [pod("a", "new"), pod("b", "old", status={"phase": "Failed"})], "done", ""),
        (deployment(), SETS, [pod("a", "new"), pod("b", "old")], "waits", "1 old ones are still there (b)"),
        (deployment(), SETS, [pod("a", "new"), pod("b", "old", deletionTimestamp="x")], "waits", "1 old ones"),
        (deployment(), SETS, [pod("a", "new"), pod("b", "new", deletionTimestamp="x")], "waits", "1 old ones"),
        (deployment(), SETS, [pod("a", "new", ready=False)], "waits", "0 of 1 new pods of m are ready"),
        (deployment(), SETS, [pod("a", "new", ready=False, status=PULL)], "waits", "0 of 1 new pods of m are ready"),
        (deployment(), SETS, [pod("a", "new", ready=False, status=CRASH)], "waits", "new ones say c: CrashLoopBackOff"),
        (deployment(spec={"replicas": 2}), SETS, [pod("a", "new")], "waits", "1 of 2 new pods"),
        (deployment(), SETS[:2], [pod("a", "new")], "waits", "0 of 1 new pods"),
        (deployment(observedGeneration=1), SETS, [pod("a", "new")], "waits", "has not seen the new m yet"),
        (deployment(conditions=[STUCK]), SETS, [pod("a", "new", ready=False)], "failed", "Progressing: timed out"),
        # The old pods may take longer than the deadline, if the new ones are ready.
        (deployment(conditions=[STUCK]), SETS, [pod("a", "new"), pod("b", "old")], "waits", "1 old ones"),
        (
            deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}]),
            SETS,
            [],
            "waits",
            "ReplicaFailure: quota",
        ),
        (deployment(spec={"paused": True}), SETS, [pod("a", "new")], "failed", "is paused"),
        ({"metadata": {"name": "m"}, "spec": {}}, [], [], "waits", "0 of 1 new pods"),
    ],
)
def test_rollout(live: Any, sets: Any, pods: Any, state: str, message: str) -> None:
    result = rollout(live, sets, pods)
    assert (result.done, result.failed) == (state == "done", state == "failed")
    assert message in result.message
    assert result.pods == (["a"] if state == "done" and pods else result.pods)
