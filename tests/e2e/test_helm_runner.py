# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module helm_runner and the role kubernetes, with the real helm and kubectl, against a stand-in of the API."""

from __future__ import annotations

import base64
import copy
import functools
import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from difflib import ndiff
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import _internal
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rootless.gitlab_runner.plugins.modules import helm_runner

SUPPORT = Path(__file__).parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

import fetch_helm
from kube_api import KubeApi

CHART = SUPPORT / "chart-standin"
RELEASE = "ci-runner"
NAME = "ci-runner-gitlab-runner"
TOKEN = "glrt-t3st1ng0123456789ab"
PRIVILEGED = {"runners": {"kubernetes": {"privileged": True}}}
CONFIG = """\
[[runners]]
  url = "{{ .Values.gitlabUrl }}"
  {{- if .Values.large }}
  [runners.kubernetes]
    cpu_limit = "8"
  {{- else }}
  [runners.kubernetes]
    cpu_limit = "1"
  {{- end }}
    # Comments stay.
    # environment = ["DB_PASSWORD=c4che-k3y"]
    image = 'debian:{{ .Values.debian | default 12 }}'
  [runners.cache]
    Type = "s3"
    [runners.cache.s3]
      SecretKey = "c4che-k3y"
"""


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    return fetch_helm.ensure(Path(os.environ.get("HELM_CACHE", fetch_helm.DEFAULT_CACHE)))


INSTALLED: dict[tuple[str, str], str] = {}


class Cluster:
    """A cluster with helm and kubectl of one version."""

    def __init__(self, api: KubeApi, programs: Path, home: Path) -> None:
        self.api, self.programs, self.home = api, programs, home
        self.kubeconfig = home / "kubeconfig"
        self.connect(api.url)

    def connect(self, url: str, namespace: str = "ci") -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "tester", "user": {"token": "unused"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "tester", "namespace": namespace}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))

    def helm(self, *arguments: str) -> str:
        command = [self.programs / "helm", *arguments, "--kubeconfig", self.kubeconfig, "--namespace", "ci"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def install(self, values: dict[str, Any] | None = None, chart: Path = CHART) -> None:
        default = {"runnerToken": TOKEN, "extraEnv": {"API_TOKEN": "s3cr3t-t0k3n"}, "runners": {"config": CONFIG}}
        source = yaml.safe_dump(default if values is None else values)
        # Installing the same again and again would take most of the time.
        key = (str(self.programs), source)
        if chart == CHART and key in INSTALLED:
            self.api.restore(INSTALLED[key])
            return
        path = self.home / "values.yaml"
        path.write_text(source)
        self.helm("install", RELEASE, str(chart), "--values", str(path))
        self.api.writes.clear()
        if chart == CHART:
            INSTALLED[key] = self.api.save()

    def values(self) -> dict[str, Any]:
        """What the user has set."""
        return json.loads(self.helm("get", "values", RELEASE, "--output", "json"))  # type: ignore[no-any-return]

    def template(self) -> str:
        """What the manager reads."""
        return str(self.api.objects["configmaps", "ci", NAME]["data"]["config.template.toml"])

    def set_status(self, status: str) -> None:
        """Make the last revision look as if helm had ended in the middle of something, or had failed."""
        secret = self.api.of("secrets")[-1]
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        record = json.loads(gzip.decompress(packed))
        record["info"]["status"] = secret["metadata"]["labels"]["status"] = status
        packed = gzip.compress(json.dumps(record).encode())
        secret["data"]["release"] = base64.b64encode(base64.b64encode(packed)).decode()

    @property
    def pods(self) -> list[dict[str, Any]]:
        return self.api.of("pods")


@pytest.fixture(params=["3", "4"])
def cluster(
    request: pytest.FixtureRequest, programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    # helm and kubectl keep what they find out about a cluster in the home directory.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_internal, "is_controller", False)
    with KubeApi() as api:
        yield Cluster(api, programs[request.param], tmp_path)


Run = Callable[..., dict[str, Any]]
Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the module in this process, and returns its result."""

    def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "release": RELEASE,
            "config": PRIVILEGED,
            "timeout": 30,
            "kubeconfig": str(cluster.kubeconfig),
            "helm_path": str(cluster.programs / "helm"),
            "kubectl_path": str(cluster.programs / "kubectl"),
            **options,
        }
        capsys.readouterr()
        flags = {"_ansible_check_mode": check_mode, "_ansible_diff": True}
        with patch_module_args({**arguments, **flags}), pytest.raises(SystemExit):
            helm_runner.main()
        output = capsys.readouterr().out
        for secret in (TOKEN, "s3cr3t-t0k3n", "c4che-k3y", base64.b64encode(TOKEN.encode()).decode()):
            assert secret not in output
        result: dict[str, Any] = json.loads(output)
        return result

    return run


def added_lines(before: str, after: str) -> list[str]:
    """The lines that are new; nothing else may differ."""
    changes = [line for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert all(line.startswith("+ ") for line in changes), changes
    return [line[2:] for line in changes]


# ------------------------------------------------------------------------------------------- the module


def test_upgrades_and_waits_for_the_last_old_pod(cluster: Cluster, run: Run) -> None:
    cluster.install()
    old = {pod["metadata"]["name"] for pod in cluster.pods}
    cluster.api.gone_after = 3
    result = run(chart=str(CHART))
    assert not result.get("failed"), result
    assert (result["changed"], result["previous_revision"], result["revision"]) == (True, 1, 2)
    assert result["chart"] == "gitlab-runner-0.86.0"
    assert result["values_path"] == "runners.config"
    assert result["job_namespace"] == "ci"
    assert set(result["objects"]) == {f"ConfigMap/{NAME}", f"Deployment/{NAME}"}
    assert [pod["metadata"]["name"] for pod in cluster.pods] == result["pods"]
    assert not old & set(result["pods"])
    assert result["template"]["runners"][0]["kubernetes"] == {
        "privileged": True,
        "cpu_limit": "1",
        "image": "debian:12",
    }
    assert result["template"]["runners"][0]["cache"]["s3"]["SecretKey"] == "VALUE_REDACTED"
    # Both branches have it, and all that was there is there.
    values = cluster.values()
    assert added_lines(CONFIG, values["runners"]["config"]) == ["    privileged = true"] * 2
    assert values["runnerToken"] == TOKEN

    cluster.api.writes.clear()
    again = run()
    assert (again["changed"], again["revision"], again["pods"]) == (False, 2, result["pods"])
    assert cluster.api.writes == []


def test_uses_the_deployed_chart(cluster: Cluster, run: Run) -> None:
    chart = cluster.home / "patched"
    shutil.copytree(CHART, chart)
    with (chart / "templates/configmap.yaml").open("a") as file:
        file.write("  patched.txt: a local change of the chart\n")
    cluster.install(chart=chart)
    shutil.rmtree(chart)
    result = run()
    assert result["changed"], result["msg"]
    assert set(result["objects"]) == {f"ConfigMap/{NAME}", f"Deployment/{NAME}"}
    assert "privileged = true" in cluster.template()
    assert "patched.txt" in cluster.api.objects["configmaps", "ci", NAME]["data"]


def test_gitlab_with_its_runner_and_minio(cluster: Cluster, run: Run) -> None:
    """The chart of all of GitLab, of which Helm's record does not have the subcharts, from a repository."""
    config = """\
[[runners]]
  [runners.kubernetes]
  image = "ubuntu:22.04"
  {{- if .Values.global.minio.enabled }}
  [runners.cache]
    Type = "s3"
    Path = "gitlab-runner"
    Shared = true
    [runners.cache.s3]
      ServerAddress = {{ include "gitlab-runner.cache.address" . }}
      BucketName = "runner-cache"
      Insecure = false
  {{ end }}
"""
    umbrella = cluster.home / "gitlab"
    shutil.copytree(CHART, umbrella / "charts/gitlab-runner")
    dependency = {"name": "gitlab-runner", "version": "0.86.0"}
    metadata = {"apiVersion": "v2", "name": "gitlab", "version": "9.10.0", "dependencies": [dependency]}
    (umbrella / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    values = {"global": {"minio": {"enabled": True}}, "gitlab-runner": {"runners": {"config": config}}}
    (umbrella / "values.yaml").write_text(yaml.safe_dump(values))
    repository = cluster.home / "repository"
    cluster.helm("package", str(umbrella), "--destination", str(repository))
    cluster.helm("repo", "index", str(repository))
    cluster.install({}, umbrella)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(repository)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        result = run(chart_repository=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert result["changed"], result
    assert result["values_path"] == "gitlab-runner.runners.config"
    assert added_lines(config, cluster.values()["gitlab-runner"]["runners"]["config"]) == ["  privileged = true"]
    template = result["template"]["runners"][0]
    assert template["kubernetes"] == {"privileged": True, "image": "ubuntu:22.04"}
    assert template["cache"]["s3"]["ServerAddress"] == "minio-ci-runner.example.com"


def test_check_mode_changes_nothing_and_shows_what_would_change(cluster: Cluster, run: Run) -> None:
    cluster.install()
    result = run(check_mode=True)
    assert (result["changed"], result["revision"], result["previous_revision"]) == (True, 1, 1)
    assert result["template"]["runners"][0]["kubernetes"]["privileged"] is True
    assert cluster.api.writes == []
    template, manifest = result["diff"]
    assert added_lines(template["before"], template["after"]) == ["    privileged = true"] * 2
    assert "SecretKey = VALUE_REDACTED " in template["after"]
    assert "kind: Deployment" in manifest["after"] and "kind: Secret" not in manifest["after"]
    assert "privileged = true" in manifest["after"] and "privileged = true" not in manifest["before"]
    assert "VALUE_REDACTED" in manifest["after"]


def test_sets_more_values(cluster: Cluster, run: Run) -> None:
    cluster.install()
    options = {"values": {"concurrent": 9, "runners": {"privileged": True}}}
    result = run(**options)
    assert result["changed"], result
    values = cluster.values()
    assert (values["concurrent"], values["runners"]["privileged"]) == (9, True)
    assert values["runnerToken"] == TOKEN
    again = run(**options)
    assert not again["changed"]
    assert "The value runners.privileged has no effect" in str(again["warnings"])


# None of this depends on the version of Helm.
@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_keeps_the_case_of_keys(cluster: Cluster, run: Run) -> None:
    config = "[[Runners]]\n[Runners.Kubernetes]\nNamespace = 'jobs'\nPrivileged = false\n"
    cluster.install({"runners": {"config": config}})
    result = run()
    assert result["changed"], result
    assert cluster.values()["runners"]["config"] == config.replace("false", "true")
    assert result["template"] == {"Runners": [{"Kubernetes": {"Namespace": "jobs", "Privileged": True}}]}
    assert result["kubernetes"] == {"namespace": "jobs", "privileged": True}
    assert result["job_namespace"] == "jobs"
    assert not any("[[runners]]" in str(warning) for warning in result.get("warnings", []))


def test_failing_roll_out_is_rolled_back(cluster: Cluster, run: Run) -> None:
    cluster.install()
    before = cluster.template()
    cluster.api.ready_after = None

    def recover(method: str, path: str) -> None:
        if ("secrets", "ci", f"sh.helm.release.v1.{RELEASE}.v3") in cluster.api.objects:
            cluster.api.ready_after = 1

    cluster.api.before = recover
    result = run(rollback=True)
    assert result["failed"] and result["rolled_back"]
    assert "The roll-out failed: 0 of 1 new pods" in result["msg"]
    assert "it is ProgressDeadlineExceeded" in result["msg"]
    assert "Revision 1 was restored" in result["msg"]
    assert cluster.template() == before
    assert len(cluster.pods) == 1


def test_failing_roll_out_without_rollback(cluster: Cluster, run: Run) -> None:
    cluster.install()
    cluster.api.ready_after, cluster.api.deadline = None, 1000
    result = run(timeout=1)
    assert result["failed"] and result["changed"] and not result["rolled_back"]
    assert "The roll-out is not over after 1 seconds: 0 of 1 new pods" in result["msg"]
    assert "Revision 1 can be restored" in result["msg"]
    # The next run does not upgrade again, but still sees that it is not over.
    cluster.api.writes.clear()
    result = run(timeout=0)
    assert result["failed"] and not result["changed"]
    assert cluster.api.writes == []


def test_failed_revision_is_upgraded_again(cluster: Cluster, run: Run) -> None:
    cluster.install()
    cluster.api.forbidden = {("patch", "deployments")}
    options = {"values": {"concurrent": 9}}
    result = run(**options)
    assert result["failed"] and not result["rolled_back"]
    assert result["revision"] == 2
    assert "Revision 1 can be restored" in result["msg"]
    cluster.api.forbidden = set()
    result = run(**options)
    assert (result["changed"], result["revision"], result["objects"]) == (True, 3, []), result
    values = cluster.values()
    assert (values["concurrent"], values["runnerToken"]) == (9, TOKEN)
    assert "privileged = true" in cluster.template()


def test_failed_first_revision_is_upgraded(cluster: Cluster, run: Run) -> None:
    cluster.install()
    cluster.set_status("failed")
    result = run()
    assert (result["changed"], result["revision"]) == (True, 2), result
    assert cluster.values()["runnerToken"] == TOKEN


@pytest.mark.parametrize(
    ("values", "differ"),
    [
        ({"concurrent": 50, "image": "registry.example.com/gitlab-runner:19.1.0"}, "concurrent, image"),
        ({"runners": {"config": CONFIG.replace("s3", "gcs", 1)}}, "runners.config"),
    ],
    ids=["values", "template"],
)
def test_failed_revision_of_others_is_left_alone(
    cluster: Cluster, run: Run, values: dict[str, Any], differ: str
) -> None:
    """Helm would upgrade the values of revision 1, and drop those that revision 2 was to set."""
    cluster.install()
    path = cluster.home / "more.yaml"
    path.write_text(yaml.safe_dump(values))
    cluster.api.forbidden = {("patch", "configmaps"), ("patch", "deployments")}
    with pytest.raises(subprocess.CalledProcessError):
        cluster.helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--values", str(path))
    cluster.api.forbidden = set()
    cluster.api.writes.clear()
    result = run()
    assert f"Revision 2 of ci-runner failed, and revision 1, which is deployed, differs in {differ}." in result["msg"]
    assert not result["changed"]
    assert cluster.api.writes == []


def test_upgrade_in_progress(cluster: Cluster, run: Run) -> None:
    cluster.install()
    cluster.set_status("pending-upgrade")
    result = run()
    assert "Revision 1 of ci-runner is pending-upgrade: another helm operation is in progress" in result["msg"]
    assert not result["changed"]
    assert cluster.api.writes == []


def test_upgrade_at_the_same_time_is_kept(cluster: Cluster, run: Run) -> None:
    cluster.install()

    def interfere(method: str, path: str) -> None:
        # The module has read the release, and is about to use it.
        if path.endswith(f"secrets/sh.helm.release.v1.{RELEASE}.v1"):
            cluster.api.before = lambda method, path: None
            cluster.helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--set", "concurrent=8")

    cluster.api.before = interfere
    result = run()
    assert (result["changed"], result["revision"], result["previous_revision"]) == (True, 3, 2)
    assert "concurrent = 8" in cluster.api.objects["configmaps", "ci", NAME]["data"]["config.toml"]
    assert "privileged = true" in cluster.template()


# None of this depends on the version of Helm.
@pytest.mark.parametrize("cluster", ["4"], indirect=True)
@pytest.mark.parametrize("fails", ["roll-out", "upgrade"])
def test_rollback_keeps_what_others_upgraded_before(cluster: Cluster, run: Run, fails: str) -> None:
    cluster.install()

    def interfere(method: str, path: str) -> None:
        # The last look before the upgrade.
        if path.endswith("/replicasets"):
            cluster.api.before = lambda method, path: None
            cluster.helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--set", "concurrent=8")
            if fails == "upgrade":
                cluster.api.forbidden = {("patch", "deployments")}
            cluster.api.ready_after = None
            cluster.api.before = recover

    def recover(method: str, path: str) -> None:
        if ("secrets", "ci", f"sh.helm.release.v1.{RELEASE}.v4") in cluster.api.objects:
            cluster.api.ready_after, cluster.api.forbidden = 1, set()

    cluster.api.before = interfere
    result = run(rollback=True)
    assert result["failed"] and result["rolled_back"], result
    assert (result["revision"], result["previous_revision"]) == (3, 2)
    assert "Revision 2 was restored" in result["msg"]
    assert "concurrent = 8" in cluster.api.objects["configmaps", "ci", NAME]["data"]["config.toml"]
    assert "privileged = true" not in cluster.template()


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_rollback_keeps_what_others_upgraded_after(cluster: Cluster, run: Run) -> None:
    cluster.install()
    cluster.api.ready_after = None

    def interfere(method: str, path: str) -> None:
        # The first look after the upgrade.
        if path.endswith("/pods") and cluster.api.writes:
            cluster.api.before = lambda method, path: None
            cluster.helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--set", "concurrent=8")

    cluster.api.before = interfere
    result = run(rollback=True)
    assert result["failed"] and not result["rolled_back"], result
    assert "not rolled back, because ci-runner is at revision 3 (deployed) now" in result["msg"]
    assert "concurrent = 8" in cluster.api.objects["configmaps", "ci", NAME]["data"]["config.toml"]


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_upgrade_that_does_not_begin_is_not_rolled_back(cluster: Cluster, run: Run) -> None:
    cluster.install()
    cluster.api.forbidden = {("create", "secrets")}
    result = run(rollback=True)
    assert 'cannot create resource "secrets"' in result["msg"]
    assert result["msg"].endswith("Nothing was upgraded.")
    assert not result["changed"]


def test_upgrade_that_begins_in_between_is_left_alone(cluster: Cluster, run: Run) -> None:
    cluster.install()

    def interfere(method: str, path: str) -> None:
        # The last look before the upgrade.
        if path.endswith("/replicasets"):
            cluster.set_status("pending-upgrade")

    cluster.api.before = interfere
    result = run(rollback=True)
    assert "Another helm operation on ci-runner is in progress" in result["msg"]
    assert not result["changed"]
    assert cluster.api.writes == []


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        (
            ("list", "secrets"),
            "helm get metadata says: Error: query: failed to query with labels: secrets is forbidden",
        ),
        (("list", "pods"), "kubectl get replicasets,pods says: Error from server (Forbidden): pods is forbidden"),
    ],
)
def test_missing_permission_shows_before_anything_is_changed(
    cluster: Cluster, run: Run, forbidden: tuple[str, str], message: str
) -> None:
    cluster.install()
    cluster.api.forbidden = {forbidden}
    result = run()
    assert result["failed"] and not result["changed"]
    assert "lacks a permission" in result["msg"]
    assert 'User "tester" cannot list resource' in result["msg"]
    assert message.partition(" says")[0] in result["msg"]
    assert cluster.api.writes == []


def test_missing_permission_in_the_upgrade(cluster: Cluster, run: Run) -> None:
    cluster.install()
    before = cluster.template()
    cluster.api.forbidden = {("patch", "configmaps")}
    result = run(rollback=True)
    assert result["failed"]
    assert 'cannot patch resource "configmaps"' in result["msg"]
    assert cluster.template() == before


def test_unreachable_api(cluster: Cluster, run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        cluster.connect(f"http://127.0.0.1:{unused.getsockname()[1]}")
        result = run()
    assert result["failed"]
    assert result["msg"].startswith("The Kubernetes API cannot be reached; check kubeconfig and context.")


def test_release_that_does_not_exist(cluster: Cluster, run: Run) -> None:
    result = run(namespace="ci")
    assert result["msg"].startswith("There is no release ci-runner in the namespace ci.")


# None of this depends on the version of Helm.
@pytest.mark.parametrize("cluster", ["4"], indirect=True)
@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (
            "[[runners]]\n{{ if .Values.x }}\n[runners.kubernetes]\n{{ end }}\n",
            {},
            "runners.kubernetes.privileged would not be",
        ),
        (
            '[[runners]]\n[runners.kubernetes]\n{{ "privileged = true" }}\n',
            {},
            "the chart would render a template that is not TOML",
        ),
        (
            "[[runners]]\nkubernetes = {}\n",
            {},
            "runners.config: line 2: runners.kubernetes is not a table with a header",
        ),
        (CONFIG, {"values_path": "a.runners.config"}, "there is no text at a.runners.config"),
        (CONFIG, {"chart": str(CHART), "chart_version": "9.9.9"}, "The chart at hand has the version 0.86.0"),
        (CONFIG, {"helm_path": "/nowhere/helm"}, "helm_path: /nowhere/helm is not a program"),
        (
            CONFIG,
            {"config": {"runners": {"kubernetes": {"privileged": None}}}},
            "runners.kubernetes.privileged is null",
        ),
        (CONFIG, {"values": {"runners": {"tags": None}}}, "values: runners.tags is null"),
    ],
    ids=["conditional", "second key", "inline table", "path", "version", "program", "null", "null value"],
)
def test_refuses_before_anything_is_changed(
    cluster: Cluster, run: Run, config: str, options: dict[str, Any], message: str
) -> None:
    cluster.install({"runners": {"config": config}})
    result = run(**options)
    assert message in result["msg"]
    assert not result.get("changed")
    assert cluster.api.writes == []


# --------------------------------------------------------------------------------------------- the role


@pytest.fixture
def play(cluster: Cluster) -> Play:
    """A function that runs the playbook, and returns the result."""

    def play(*arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        variables = {
            "kubernetes_release": RELEASE,
            "kubernetes_privileged_is_root_on_the_node": True,
            "kubernetes_kubeconfig": str(cluster.kubeconfig),
            "kubernetes_helm_path": str(cluster.programs / "helm"),
            "kubernetes_kubectl_path": str(cluster.programs / "kubectl"),
            "kubernetes_timeout": 30,
            "kubernetes_verify_timeout": 5,
            "ansible_python_interpreter": sys.executable,
            **variables,
        }
        command = [Path(sys.executable).with_name("ansible-playbook"), "rootless.gitlab_runner.kubernetes", *arguments]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(helm_runner.__file__).parents[5])}
        environment.update(ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_CALLBACK_RESULT_FORMAT="yaml")
        result = subprocess.run(
            [*command, "--extra-vars", json.dumps(variables)],
            cwd=cluster.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert TOKEN not in result.stdout + result.stderr
        assert "s3cr3t-t0k3n" not in result.stdout + result.stderr
        return result

    return play


def job(name: str, created: str, privileged: bool) -> dict[str, Any]:
    """The pod of a job with a Docker daemon, the container of which is called by its alias."""
    daemon = {"name": "docker", "image": "docker:24-dind", "securityContext": {"privileged": privileged}}
    containers = [{"name": "build", "image": "docker:24"}, {"name": "helper", "image": "helper"}, daemon]
    labels = {"job.runner.gitlab.com/pod": name}
    return {
        "metadata": {"name": name, "creationTimestamp": created, "labels": labels},
        "spec": {"containers": containers},
    }


SERVICES = "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n"


def test_playbook(cluster: Cluster, play: Play) -> None:
    cluster.install()
    cluster.api.add("pods", job("new-privileged", "2026-01-31T12:00:02Z", True))
    cluster.api.add("pods", job("new", "2026-01-31T12:00:03Z", False))
    cluster.api.add("pods", job("old", "2026-01-31T12:00:01Z", True))
    ended = job("ended", "2026-01-31T12:00:04Z", True)
    cluster.api.add("pods", {**ended, "status": {"phase": "Failed", "reason": "Evicted"}})
    ending = job("ending", "2026-01-31T12:00:05Z", True)
    cluster.api.add("pods", ending)["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:06Z"
    values = cluster.home / "git-values.yaml"
    config = "runners:\n  config: |\n    [[runners]]\n      [runners.kubernetes]\n        image = 'a'\n"
    values.write_text(f"other:\n  {config.replace(chr(10), chr(10) + '  ').rstrip()}\n{config}")
    result = play(kubernetes_values_file=str(values), kubernetes_values_path="runners.config", kubernetes_probe=True)
    assert result.returncode == 0, result.stdout
    assert "the daemon in new-privileged, container docker, listens" in " ".join(result.stdout.split())
    assert cluster.template().endswith(SERVICES)
    assert SERVICES in cluster.values()["runners"]["config"]
    edited = yaml.safe_load(values.read_text())
    assert "[runners.kubernetes.service_container_security_context]\n" in edited["runners"]["config"]
    assert "privileged" not in edited["other"]["runners"]["config"]
    probes = [write for write in cluster.api.writes if write[1] == "pods"]
    assert [method for method, _resource, _name in probes] == ["POST", "DELETE"]
    assert len(cluster.pods) == 6


@pytest.mark.parametrize("listens", [False, True], ids=["no log", "log"])
@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_playbook_when_the_job_ends_meanwhile(cluster: Cluster, play: Play, listens: bool) -> None:
    cluster.install({"runners": {"config": CONFIG + SERVICES}})
    cluster.api.add("pods", job("newest", "2026-01-31T12:00:02Z", True))
    cluster.api.add("pods", job("older", "2026-01-31T12:00:01Z", True))
    logs = []

    def end(method: str, path: str) -> None:
        if path.endswith("/pods/newest/log"):
            logs.append(path)
        # kubectl looks at the pod before it asks for the log.
        if path.endswith("/pods/newest") and (logs or not listens):
            cluster.api.objects.pop(("pods", "ci", "newest"), None)

    cluster.api.before = end
    result = play()
    assert result.returncode == 0, result.stdout
    output = " ".join(result.stdout.split())
    assert "newest has ended meanwhile" in output
    assert ("its daemon listened" in output) is listens
    assert ("was not verified" in output) is not listens


def test_playbook_finds_a_pending_release(cluster: Cluster, play: Play) -> None:
    cluster.install()
    cluster.set_status("pending-upgrade")
    cluster.connect(cluster.api.url, "default")
    result = play()
    assert result.returncode != 0
    assert "Revision 1 of ci-runner is pending-upgrade" in " ".join(result.stdout.split())
    assert cluster.api.writes == []


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_playbook_with_several_releases(cluster: Cluster, play: Play) -> None:
    cluster.install()
    secret = copy.deepcopy(cluster.api.of("secrets")[-1])
    packed = gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
    packed = gzip.compress(packed.replace(b'"namespace":"ci"', b'"namespace":"other"'))
    secret["data"]["release"] = base64.b64encode(base64.b64encode(packed)).decode()
    cluster.api.add("secrets", secret, "other")
    result = play()
    assert result.returncode != 0
    assert "The namespaces ci, other each have a release ci-runner" in " ".join(result.stdout.split())


QUOTA = {(kind, unit) for kind in ("limits", "requests") for unit in ("cpu", "memory")}
RESOURCES = """\
[[runners]]
  [runners.kubernetes]
    service_cpu_request = "500m"
    service_cpu_limit = "2"
    Service_Memory_Request = "1Gi"
    service_memory_limit = "2Gi"
"""


@pytest.mark.parametrize(("config", "unknown"), [(RESOURCES, False), (CONFIG, True)], ids=["resources", "no resources"])
@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_playbook_with_a_quota(cluster: Cluster, play: Play, config: str, unknown: bool) -> None:
    cluster.install({"runners": {"config": config}})
    cluster.api.quota = QUOTA
    result = play(kubernetes_probe=not unknown)
    assert result.returncode == 0, result.stdout
    assert ("It is not known whether a privileged pod would be admitted" in result.stdout) is unknown
    assert "privileged = true" in cluster.template()


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_playbook_in_check_mode(cluster: Cluster, play: Play) -> None:
    cluster.install()
    result = play("--check", "--diff", kubernetes_probe=True)
    assert result.returncode == 0, result.stdout
    assert "+    privileged = true" in result.stdout
    assert "VALUE_REDACTED" in result.stdout
    assert cluster.api.writes == []


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_playbook_when_all_is_done(cluster: Cluster, play: Play) -> None:
    cluster.install({"runners": {"config": CONFIG + SERVICES}})
    result = play()
    assert result.returncode == 0, result.stdout
    assert "changed=0" in result.stdout
    assert "docker-in-docker was not verified" in " ".join(result.stdout.split())
    assert cluster.api.writes == []


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
@pytest.mark.parametrize("change", [str, str.title], ids=["lower case", "title case"])
def test_playbook_stops_early(cluster: Cluster, play: Play, change: Callable[[str], str]) -> None:
    config = change("""\
[[runners]]
  [runners.kubernetes]
    allow_privilege_escalation = false
    [runners.kubernetes.service_container_security_context]
      privileged = false
""").replace("False", "false")
    cluster.install({"runners": {"config": config}, "extraEnv": {"KUBERNETES_PRIVILEGED": "false"}})
    namespace = {"metadata": {"name": "ci", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    cluster.api.add("namespaces", namespace, "")
    result = play(kubernetes_privileged="all")
    assert result.returncode != 0
    output = " ".join(result.stdout.split())
    assert "service_container_security_context has privileged = false" in output
    assert "allow_privilege_escalation = false excludes privileged containers" in output
    assert "KUBERNETES_PRIVILEGED is false in the environment of the manager" in output
    assert 'violates PodSecurity "baseline:latest"' in output.replace("\\", "")
    assert cluster.api.writes == []


@pytest.mark.parametrize("cluster", ["4"], indirect=True)
def test_playbook_needs_the_acknowledgement(cluster: Cluster, play: Play) -> None:
    result = play(kubernetes_privileged_is_root_on_the_node=False)
    assert result.returncode != 0
    assert "root on the nodes" in " ".join(result.stdout.split())
