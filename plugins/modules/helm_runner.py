#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_runner
short_description: Set keys in the runner's template of a deployed Helm release
version_added: 0.1.0
description:
  - Sets keys in the TOML text that GitLab Runner's Helm chart has in its value C(runners.config), upgrades the release,
    and waits until the new pods are ready and the old ones are gone. Its main use is docker-in-docker, which needs
    C(privileged = true).
  - The text is edited as P(rootless.gitlab_runner.template_toml_set#filter) does it. Go template actions around the
    keys stay byte for byte, and where an edit would be a guess, it is refused. All other values of the release are
    kept, and so is the version of the chart.
  - Before anything is changed, the API server is asked for a dry run of the upgrade. What the chart renders then is
    read, and the upgrade goes ahead only if the keys are set there and nothing else in the template has changed.
  - Nothing is upgraded if the keys are set already.
  - If the last upgrade of the release failed, Helm takes its values from the revision before, which is still deployed.
    The module goes on if the failed revision has nothing else to lose, as after a failed run of its own. Otherwise it
    refuses, and says what differs.
  - It works for the chart C(gitlab-runner) by itself and inside of another one, such as C(gitlab).
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.edits
attributes:
  check_mode:
    details:
      - Asks the API server for a dry run, and changes nothing.
  diff_mode:
    details:
      - Shows the template, and the objects of the cluster that the upgrade changes.
author:
  - rootless.gitlab_runner maintainers (@rootless)
options:
  release:
    description:
      - The name of the release.
    type: str
    required: true
  namespace:
    description:
      - The namespace of the release.
      - By default, the one of O(context).
    type: str
  config:
    description:
      - The tables and keys to set, as dicts. An array of tables such as C([[runners]]) is given as a dict, and meant
        with each of its tables.
      - A key that is not listed stays. Keys cannot be removed.
      - Keys are matched in any case, as GitLab Runner does it, and keep the case that they have in the text.
    type: dict
    required: true
  values:
    description:
      - More values to set in the release, as dicts. Charts before 0.53 (GitLab 16.0) need C(runners.privileged) in
        addition.
      - Keys cannot be removed. Null is refused, since Helm does not do the same with it each time.
    type: dict
    default: {}
  values_path:
    description:
      - Where in the values the text is, with dots between the keys as for C(helm --set).
      - By default, the only C(runners.config) at any depth, for example C(gitlab-runner.runners.config).
    type: str
  chart:
    description:
      - The chart, a name, path or URL as for C(helm upgrade).
      - By default, the deployed chart itself, taken from the record of the release that Helm keeps in the cluster. If
        that is not possible, as for a chart with subcharts, the chart of the same name in O(chart_repository).
    type: str
  chart_repository:
    description:
      - The URL of the repository that has the chart.
      - V(https://charts.gitlab.io) if neither O(chart) nor this option is given and the deployed chart cannot be used.
    type: str
  chart_version:
    description:
      - The version of the chart.
      - By default, the deployed one. The chart at hand has to have that version.
    type: str
  wait:
    description:
      - Whether to wait for the roll-out, also if the keys are set already.
      - It is over when all new pods are ready and the last old pod is gone. C(helm --wait) does not wait for the
        latter, and so jobs would still start with the old configuration.
    type: bool
    default: true
  timeout:
    description:
      - How long to wait at most, in seconds.
      - A manager finishes its jobs before it ends. The chart gives it an hour for that.
    type: int
    default: 3900
  rollback:
    description:
      - Whether to go back to the revision that was deployed before if the upgrade or its roll-out fails.
      - Not if somebody else has upgraded the release since.
    type: bool
    default: false
  kubeconfig:
    description:
      - The file with the connection to the cluster. By default, what helm and kubectl use by themselves.
    type: path
  context:
    description:
      - The context of the O(kubeconfig).
    type: str
  helm_path:
    description:
      - The helm program, if it is not in the search path. Version 3.14 or later, or 4.
    type: path
  kubectl_path:
    description:
      - The kubectl program, if it is not in the search path.
    type: path
requirements:
  - helm 3.14 or later
  - kubectl
  - PyYAML
notes:
  - It runs helm and kubectl on the host of the task, which is usually the controller (C(delegate_to) C(localhost)).
  - A later C(helm upgrade -f) with a values file that lacks the keys undoes the edit. The module
    M(rootless.gitlab_runner.helm_values_file) edits such a file.
seealso:
  - module: rootless.gitlab_runner.helm_values_file
  - plugin: rootless.gitlab_runner.template_toml_set
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Run the service containers of jobs privileged, for docker-in-docker
  rootless.gitlab_runner.helm_runner:
    release: ci-runner
    namespace: ci
    config:
      runners:
        kubernetes:
          service_container_security_context:
            privileged: true
    rollback: true
  delegate_to: localhost

- name: Run all containers of jobs privileged, with the runner of GitLab's own chart
  rootless.gitlab_runner.helm_runner:
    release: my-gitlab
    namespace: gitlab
    config:
      runners:
        kubernetes:
          privileged: true
    chart: gitlab/gitlab
  delegate_to: localhost
"""

RETURN = r"""
revision:
  description: The revision of the release, the new one if it was upgraded.
  type: int
  returned: success, and failure after the upgrade
  sample: 29
previous_revision:
  description: The revision before the upgrade.
  type: int
  returned: changed
  sample: 28
chart:
  description: The name and version of the chart.
  type: str
  returned: success, and failure after the upgrade
  sample: gitlab-runner-0.86.0
values_path:
  description: Where in the values the text is.
  type: str
  returned: success, and failure after the upgrade
  sample: gitlab-runner.runners.config
template:
  description:
    - The rendered template as it is after the task, with secrets redacted.
  type: dict
  returned: success, and failure after the upgrade
  sample:
    runners:
      - kubernetes:
          privileged: true
kubernetes:
  description:
    - The table C(runners.kubernetes) of the template, with its keys in lower case, in which GitLab Runner finds them,
      and with secrets redacted.
  type: dict
  returned: success, and failure after the upgrade
  sample:
    privileged: true
environment:
  description:
    - The environment variables of the manager whose names begin with C(KUBERNETES_). They overrule the template.
  type: dict
  returned: success, and failure after the upgrade
  sample: {}
job_namespace:
  description: The namespace in which jobs run.
  type: str
  returned: success, and failure after the upgrade
  sample: ci
objects:
  description: The objects of the cluster that the upgrade changes.
  type: list
  elements: str
  returned: changed
  sample: [ConfigMap/ci-runner-gitlab-runner, Deployment/ci-runner-gitlab-runner]
pods:
  description: The ready pods of the manager.
  type: list
  elements: str
  returned: O(wait=true), not in check mode
  sample: [ci-runner-gitlab-runner-5f6ff5994c-wdw5l]
rolled_back:
  description: Whether the previous revision was restored.
  type: bool
  returned: failure after the upgrade
diff:
  description: The template and the changed objects, before and after, with secrets redacted.
  type: list
  elements: dict
  returned: in diff mode
"""

import json
import os
import re
import tempfile
import time
from typing import Any, NoReturn, Optional

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _helm_release, _template_toml, _values_yaml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import (
    REDACTED,
    redact_data,
    redact_string,
    redact_text,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._secret_module import SecretModule

GITLAB_REPOSITORY = "https://charts.gitlab.io"
# How often to start over when somebody else upgrades the release between reading it and the dry run.
MAX_ATTEMPTS = 3
# How many looks at the pods may fail in a row, for example while the API server restarts.
MAX_FAILED_LOOKS = 5


class Failure(Exception):
    """Something is not as it has to be; the text is for the user."""


class Cluster:
    """Runs helm and kubectl, and explains their errors."""

    def __init__(self, module: SecretModule) -> None:
        self.module = module
        self.release: str = module.params["release"]
        self.namespace: Optional[str] = module.params["namespace"]
        self.helm_path = self._program("helm")
        self.kubectl_path = self._program("kubectl")

    def helm(self, *arguments: str) -> str:
        """The output of helm. Raises Failure."""
        return self._run(self.helm_path, "--kube-context", arguments)

    def helm_json(self, *arguments: str) -> Any:
        return self._json(self.helm(*arguments, "--output", "json"))

    def kubectl_json(self, *arguments: str) -> Any:
        """What kubectl gets, as data. Raises Failure."""
        return self._json(self._run(self.kubectl_path, "--context", ("get", *arguments, "--output", "json")))

    def _program(self, name: str) -> str:
        path = self.module.params[f"{name}_path"]
        if path is None:
            return str(self.module.get_bin_path(name, required=True))
        if not os.access(path, os.X_OK):
            raise Failure(f"{name}_path: {path} is not a program.")
        return str(path)

    def _run(self, program: str, context_option: str, arguments: tuple[str, ...]) -> str:
        command = [program, *arguments]
        for option, value in (
            ("--namespace", self.namespace),
            ("--kubeconfig", self.module.params["kubeconfig"]),
            (context_option, self.module.params["context"]),
        ):
            if value:
                command += [option, value]
        code, output, errors = self.module.run_command(command)
        if code != 0:
            raise Failure(self._explain(os.path.basename(program), arguments, errors.strip() or output.strip()))
        return str(output)

    def _explain(self, program: str, arguments: tuple[str, ...], text: str) -> str:
        # An error can quote an object, even a Secret.
        text = re.sub(r"[\w+/=-]{64,}", REDACTED, redact_string(text))[:1000]
        where = f" in the namespace {self.namespace}" if self.namespace else ""
        if "release: not found" in text:
            return f"There is no release {self.release}{where}. helm list --all-namespaces shows all releases."
        if "another operation" in text and "in progress" in text:
            return (
                f"Another helm operation on {self.release} is in progress, or was interrupted (helm history, helm"
                " rollback). Nothing was upgraded."
            )
        said = f"{program} {' '.join(arguments[:2])} says: {text}"
        if re.search(r"cluster unreachable|Unable to connect to the server|The connection to the server", text):
            return f"The Kubernetes API cannot be reached; check kubeconfig and context. {said}"
        if "is forbidden" in text and "violates" not in text:
            return f"The account of the kubeconfig lacks a permission. {said}"
        return said

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise Failure("helm or kubectl did not answer with JSON; are they as old as this module needs?") from None


class Task:
    """One run of the module."""

    def __init__(self, module: SecretModule) -> None:
        self.module = module
        self.params = module.params
        self.cluster = Cluster(module)
        self.digest_key = os.urandom(16)
        self.result: dict[str, Any] = {"changed": False}
        self._check_values()
        self._check_version()

    def run(self) -> dict[str, Any]:
        for _attempt in range(MAX_ATTEMPTS):
            if self._try():
                return self.result
        raise Failure(
            f"Others upgraded {self.cluster.release} each of the {MAX_ATTEMPTS} times that it was about to be upgraded."
            " Nothing was changed by this task."
        )

    def _try(self) -> bool:
        """Read, edit, verify, upgrade and wait. Returns whether it is done; not if somebody else was quicker."""
        self._read()
        edited = self._edit()
        if not self.deployed:
            self._check_failed(edited)
        present = _helm_release.parse_manifest(self.cluster.helm("get", "manifest", self.cluster.release))
        if edited == self.text and self.deployed and _helm_release.contains(self.values, self.params["values"]):
            self._describe(present, None)
            if self.params["wait"] and not self.module.check_mode:
                self._wait()
            return True
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as scratch:
            upgrade = self._upgrade_arguments(scratch, edited)
            try:
                plan = self.cluster.helm_json(*upgrade, "--dry-run=server")
            except Failure as failure:
                raise Failure(f"{failure}{self.hint} Nothing was changed.") from None
            if plan["version"] != self.revision + 1:
                return False
            version = plan["chart"]["metadata"]["version"]
            if version != (self.params["chart_version"] or self.version):
                raise Failure(
                    f"The chart at hand has the version {version}, but {self.version} is deployed. Give the right"
                    f" chart, or chart_version: {version} to move to that version."
                )
            planned = _helm_release.parse_manifest(plan["manifest"])
            self._describe(planned, present)
            self._describe_changes(present, planned, edited)
            if self.module.check_mode:
                self.result["changed"] = True
                return True
            if self.params["wait"]:
                # What the account may not see, it could not wait for.
                for deployment in self.deployments:
                    self._look(deployment)
            self._upgrade(upgrade)
        return True

    def _check_values(self) -> None:
        for path in _helm_release.null_keys(self.params["values"]):
            raise Failure(
                f"values: {_values_yaml.format_path(path)} is null. Depending on what was set before, Helm then"
                " takes the default of the chart or no value at all; give the value that is meant. Nothing was changed."
            )

    def _check_version(self) -> None:
        text = self.cluster.helm("version", "--template", "{{.Version}}")
        match = re.search(r"v?(\d+)\.(\d+)", text)
        if match is None or (int(match[1]), int(match[2])) < (3, 14):
            raise Failure(f"helm 3.14 or later is needed, because of --reset-then-reuse-values, not {text.strip()}.")

    def _read(self) -> None:
        """Ask for what is deployed."""
        release = self.cluster.release
        metadata = self.cluster.helm_json("get", "metadata", release)
        self.revision, self.chart, self.version = int(metadata["revision"]), metadata["chart"], metadata["version"]
        self.cluster.namespace = metadata["namespace"]
        self.result.update(revision=self.revision, chart=f"{self.chart}-{self.version}")
        status = metadata["status"]
        if status.startswith("pending") or status == "uninstalling":
            raise Failure(
                f"Revision {self.revision} of {release} is {status}: another helm operation is in progress, or was"
                " interrupted (helm history, helm rollback). Nothing was changed."
            )
        self.deployed = status == "deployed"
        self.values = self.cluster.helm_json("get", "values", release, "--all") or {}
        self.module.hidden.update(secret for secret in _helm_release.secrets_in_values(self.values) if len(secret) >= 8)
        wanted = self.params["values_path"]
        found = list(_values_yaml.find_configs(self.values))
        if wanted is not None:
            path = _values_yaml.parse_path(wanted)
            text = _value_at(self.values, path)
            found = [(path, text)] if isinstance(text, str) and text.strip() else []
        try:
            path, self.text = _values_yaml.choose_config(found, wanted and _values_yaml.parse_path(wanted))
        except _values_yaml.ValuesYamlError as error:
            raise Failure(f"In the values of {release}, {error}. Nothing was changed.") from None
        self.path = path
        self.result["values_path"] = _values_yaml.format_path(path)
        self.flag = _value_at(self.values, (*path[:-1], "privileged"))

    def _edit(self) -> str:
        try:
            edited = _template_toml.set_values(self.text, self.params["config"])
        except _template_toml.TemplateTomlError as error:
            raise Failure(f"{self.result['values_path']}: {error}. Nothing was changed.") from None
        self.warnings = [f"{self.result['values_path']}, {warning}" for warning in edited.warnings]
        return edited.text

    def _check_failed(self, edited: str) -> None:
        """Refuse if the failed revision has more than the deployed one, from which Helm takes the values."""
        release = self.cluster.release
        history = self.cluster.helm_json("history", release)
        deployed = next((item for item in reversed(history) if item["status"] == "deployed"), None)
        if deployed is None:
            return
        revision = deployed["revision"]
        values = self.cluster.helm_json("get", "values", release, "--all", "--revision", str(revision)) or {}
        wanted = self.params["values"]
        text = _value_at(values, self.path)
        try:
            if isinstance(text, str) and _template_toml.set_values(text, self.params["config"]).text == edited:
                wanted = _helm_release.merged(wanted, _helm_release.nested(self.path, edited))
        except _template_toml.TemplateTomlError:
            pass
        old, new = (_helm_release.merged(each, wanted) for each in (values, self.values))
        differing = [_values_yaml.format_path(path) for path in _helm_release.differing_keys(old, new)]
        if deployed["chart"] != self.result["chart"]:
            # Most defaults may differ then.
            differing = [f"its chart, {deployed['chart']}"]
        if differing:
            raise Failure(
                f"Revision {self.revision} of {release} failed, and revision {revision}, which is deployed, differs in"
                f" {', '.join(differing)}. First go back to that (helm rollback {release} {revision}), or repeat the"
                " upgrade that failed. Nothing was changed."
            )

    def _upgrade_arguments(self, scratch: str, edited: str) -> list[str]:
        """The command for the upgrade, without the program."""
        config = os.path.join(scratch, "config.toml")
        _write(config, edited.encode())
        command = ["upgrade", self.cluster.release, *self._chart_arguments(scratch), "--reset-then-reuse-values"]
        if self.params["values"]:
            values = os.path.join(scratch, "values.json")
            _write(values, json.dumps(self.params["values"]).encode())
            command += ["--values", values]
        # No quoting, and no escaping of commas and braces.
        command += ["--set-file", f"{self.result['values_path']}={config}"]
        return [*command, "--timeout", f"{self.params['timeout']}s"]

    def _chart_arguments(self, scratch: str) -> list[str]:
        chart, repository = self.params["chart"], self.params["chart_repository"]
        version = self.params["chart_version"] or self.version
        self.hint = ""
        if chart is None and repository is None:
            stored = os.path.join(scratch, self.chart)
            try:
                if version == self.version:
                    self._store_chart(stored)
                    return [stored]
            except (Failure, _helm_release.HelmReleaseError) as error:
                self.hint = f" It was looked for there because {error}; say where it is by chart or chart_repository."
            repository = GITLAB_REPOSITORY
        options = ["--repo", repository] if repository else []
        return [chart or self.chart, *options, "--version", version]

    def _store_chart(self, directory: str) -> None:
        """Write down the chart that is in Helm's record of the release."""
        secret = self.cluster.kubectl_json("secret", f"sh.helm.release.v1.{self.cluster.release}.v{self.revision}")
        files = _helm_release.stored_chart((secret.get("data") or {}).get("release", ""))
        for name, content in files.items():
            path = os.path.join(directory, name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            _write(path, content)

    def _describe(self, manifest: list[dict[str, Any]], before: Optional[list[dict[str, Any]]]) -> None:
        """Check what the chart renders, and report it."""
        found = _helm_release.runners(manifest)
        old = _helm_release.runners(before or [])
        names = [
            name for name in found if before is not None and name in old and old[name].template != found[name].template
        ]
        names = names or list(found)
        if not names:
            raise Failure(
                f"The chart {self.result['chart']} renders no ConfigMap with {_helm_release.TEMPLATE_KEY}; it is not"
                " GitLab Runner's, or far too old. Nothing was changed."
            )
        exact = self.params["chart_version"] in (None, self.version) and not self.params["values"]
        environment: dict[str, str] = {}
        self.deployments: list[dict[str, Any]] = []
        for name in names:
            template = found[name].template
            try:
                data = _helm_release.verify_template(
                    old[name].template if name in old else None, template, self.params["config"], exact
                )
            except _helm_release.HelmReleaseError as error:
                raise Failure(f"{error}. Nothing was changed.") from None
            environment.update(found[name].environment)
            self.deployments += found[name].deployments
        runners = [tables for found in _template_toml.settings(data, ("runners",)) for tables in found]
        count = sum(len(tables) for tables in runners if isinstance(tables, list))
        if count > 1:
            self.warnings.append(f"The template has {count} [[runners]], but GitLab Runner needs exactly one.")
        if self.flag and "KUBERNETES_PRIVILEGED" not in environment:
            self.warnings.append("The value runners.privileged has no effect in this version of the chart.")
        settings = _template_toml.settings(data, ("runners", "kubernetes", "namespace"))
        namespaces = [value for found in settings for value in found if value]
        self.result.update(
            template=redact_data(data),
            kubernetes=redact_data(_helm_release.kubernetes_table(data)),
            environment={key: redact_string(value, key) for key, value in environment.items()},
            job_namespace=next(iter(namespaces), environment.get("KUBERNETES_NAMESPACE") or self.cluster.namespace),
        )

    def _describe_changes(self, before: list[dict[str, Any]], after: list[dict[str, Any]], edited: str) -> None:
        changes = _helm_release.changed_objects(before, after)
        objects = [_helm_release.object_name(new or old or {}) for old, new in changes]
        self.result.update(previous_revision=self.revision, objects=objects)
        if not self.module._diff:
            return
        name = self.result["values_path"]
        self.result["diff"] = [
            {
                "before_header": name,
                "after_header": name,
                "before": redact_text(self.text, self.digest_key),
                "after": redact_text(edited, self.digest_key),
            },
            {
                "before_header": f"manifest of {self.cluster.release}",
                "after_header": f"manifest of {self.cluster.release}",
                "before": _helm_release.show_objects([old for old, _new in changes], self.digest_key),
                "after": _helm_release.show_objects([new for _old, new in changes], self.digest_key),
            },
        ]

    def _upgrade(self, arguments: list[str]) -> None:
        self.result["changed"] = True
        try:
            release = self.cluster.helm_json(*arguments)
        except Failure as failure:
            if "Nothing was upgraded" in str(failure):
                self.result["changed"] = False
                raise
            self._fail(failure, None)
        revision = release["version"]
        if revision != self.revision + 1:
            self.module.warn(
                f"Somebody else upgraded {self.cluster.release} at the same time, to revision {revision - 1};"
                " the template of that revision was replaced."
            )
        self.result.update(revision=revision, previous_revision=revision - 1)
        if self.params["wait"]:
            try:
                self._wait()
            except Failure as failure:
                self._fail(failure, revision)

    def _wait(self) -> None:
        """Wait until the roll-out of each Deployment is over. Raises Failure."""
        self.result["pods"] = []
        end = time.monotonic() + self.params["timeout"]
        for deployment in self.deployments:
            pause, failures = 0.2, 0
            while True:
                try:
                    state = self._look(deployment)
                    failures = 0
                except Failure as failure:
                    failures += 1
                    if failures == MAX_FAILED_LOOKS or "lacks a permission" in str(failure):
                        raise
                    state = _helm_release.Rollout(False, False, str(failure))
                if state.done:
                    self.result["pods"] += state.pods
                    break
                if state.failed:
                    raise Failure(f"The roll-out failed: {state.message}.")
                if time.monotonic() + pause > end:
                    raise Failure(f"The roll-out is not over after {self.params['timeout']} seconds: {state.message}.")
                time.sleep(pause)
                pause = min(pause * 2, 5)

    def _look(self, deployment: dict[str, Any]) -> _helm_release.Rollout:
        """How far the roll-out of a Deployment is. Raises Failure."""
        live = self.cluster.kubectl_json("deployment", deployment["metadata"]["name"])
        labels = live["spec"]["selector"].get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        items = self.cluster.kubectl_json("replicasets,pods", "--selector", selector)["items"]
        kinds: dict[str, list[dict[str, Any]]] = {"ReplicaSet": [], "Pod": []}
        for item in items:
            kinds[item["kind"]].append(item)
        return _helm_release.rollout(live, kinds["ReplicaSet"], kinds["Pod"])

    def _fail(self, failure: Failure, revision: Optional[int]) -> NoReturn:
        """Fail after the upgrade to a revision (None: it failed itself), and go back if that is wanted."""
        message = str(failure)
        self.result["rolled_back"] = False
        try:
            before = self._revision_before(revision)
        except Failure as second:
            self.module.fail_json(msg=f"{message} {second}", **self.result)
        if not self.params["rollback"]:
            message += f" Revision {before} can be restored by helm rollback, or with rollback: true."
        else:
            try:
                self.cluster.helm("rollback", self.cluster.release, str(before))
                self.result["rolled_back"] = True
                message += f" Revision {before} was restored."
                if self.params["wait"]:
                    self._wait()
            except Failure as second:
                message += f" Then the rollback: {second}"
        self.module.fail_json(msg=message, **self.result)
        raise AssertionError

    def _revision_before(self, revision: Optional[int]) -> int:
        """What to go back to from the revision of this task. Raises Failure: there is none, or others came after it."""
        history = self.cluster.helm_json("history", self.cluster.release)
        last, status = history[-1]["revision"], history[-1]["status"]
        if revision is None and last == self.revision:
            self.result["changed"] = False
            raise Failure("Nothing was upgraded.")
        if last != revision and (revision is not None or status != "failed"):
            raise Failure(
                f"It was not rolled back, because {self.cluster.release} is at revision {last} ({status}) now: somebody"
                " else has changed it since, or the upgrade broke off. If nobody is at it, helm rollback restores it."
            )
        self.result.update(revision=last, previous_revision=last - 1)
        for item in reversed(history[:-1]):
            if item["status"] in ("deployed", "superseded"):
                return int(item["revision"])
        raise Failure("There is no revision before that was deployed, and so none to go back to.")


def _value_at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _write(path: str, content: bytes) -> None:
    """Write a new file that nobody else can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def main() -> None:
    module = SecretModule(
        argument_spec={
            "release": {"type": "str", "required": True},
            "namespace": {"type": "str"},
            "config": {"type": "dict", "required": True},
            "values": {"type": "dict", "default": {}},
            "values_path": {"type": "str"},
            "chart": {"type": "str"},
            "chart_repository": {"type": "str"},
            "chart_version": {"type": "str"},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 3900},
            "rollback": {"type": "bool", "default": False},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
            "helm_path": {"type": "path"},
            "kubectl_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if _values_yaml.yaml is None:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    result: dict[str, Any] = {}
    try:
        task = Task(module)
        result = task.result
        task.run()
    except (Failure, _helm_release.HelmReleaseError) as error:
        module.fail_json(msg=str(error), **result)
    for warning in task.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
