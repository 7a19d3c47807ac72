# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Understand what helm and kubectl say about a release of GitLab Runner's chart. Nothing here runs them."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _redact, _template_toml, _toml

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

Object = dict[str, Any]

# The key of the ConfigMap from which the manager registers itself.
TEMPLATE_KEY = "config.template.toml"


class HelmReleaseError(Exception):
    """The release is not what is expected; the text says what is wrong and what to do."""


# ---------------------------------------------------------------------------------------------- the chart


def stored_chart(release: str) -> dict[str, bytes]:
    """The files of a chart, by their paths, from the record that Helm keeps of a release.

    Takes the C(release) of the Secret's data (Base64 of Base64 of gzip of JSON).
    Raises HelmReleaseError: it cannot be read, or the chart has subcharts, which Helm does not keep.
    """
    try:
        packed = base64.b64decode(base64.b64decode(release))
        record = json.loads(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
        chart = record["chart"]
        metadata = chart["metadata"]
        files = {
            "Chart.yaml": _dump(metadata),
            # JSON is YAML, and numbers stay what they are.
            "values.yaml": json.dumps(chart.get("values") or {}).encode(),
        }
        for item in [*(chart.get("templates") or []), *(chart.get("files") or [])]:
            files[item["name"]] = base64.b64decode(item["data"])
        if chart.get("schema"):
            files["values.schema.json"] = base64.b64decode(chart["schema"])
        dependencies = metadata.get("dependencies")
    except (binascii.Error, ValueError, AttributeError, KeyError, TypeError, OSError, EOFError, zlib.error):
        raise HelmReleaseError("Helm's record of the release cannot be read") from None
    if dependencies:
        raise HelmReleaseError("the chart has subcharts, which Helm's record of the release does not have")
    if any(name.startswith("/") or ".." in name.split("/") for name in files):
        raise HelmReleaseError("Helm's record of the release names files outside of the chart")
    return files


# ------------------------------------------------------------------------------------------- the manifest


@dataclass
class Runner:
    """What a manifest has of one runner: its template, and the Deployments that use that."""

    name: str
    template: str
    deployments: list[Object] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the manager whose names begin with KUBERNETES_, which overrule the template."""
        return {
            variable["name"]: str(variable["value"])
            for deployment in self.deployments
            for container in _pod_spec(deployment).get("containers") or []
            for variable in container.get("env") or []
            if variable.get("name", "").startswith("KUBERNETES_") and "value" in variable
        }


def parse_manifest(text: str) -> list[Object]:
    """The objects of a manifest. Raises HelmReleaseError."""
    try:
        # The loader in C is ten times as fast, and the chart of all of GitLab is long.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        objects = [item for item in yaml.load_all(text, Loader=loader) if isinstance(item, dict)]
    except yaml.YAMLError as error:
        # The text of the error has the line in it, which may hold anything.
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", "")
        raise HelmReleaseError(f"the manifest that the chart renders is not YAML: {where}{reason}") from None
    return objects


def runners(manifest: list[Object]) -> dict[str, Runner]:
    """The runners of a manifest, by the names of their ConfigMaps."""
    found = {}
    for item in manifest:
        data = item.get("data")
        if item.get("kind") == "ConfigMap" and isinstance(data, dict) and isinstance(data.get(TEMPLATE_KEY), str):
            name = item["metadata"]["name"]
            found[name] = Runner(name, data[TEMPLATE_KEY])
    for item in manifest:
        if item.get("kind") == "Deployment":
            for name in _config_maps(item) & set(found):
                found[name].deployments.append(item)
    return found


def verify_template(before: Optional[str], after: str, wanted: dict[str, Any], exact: bool) -> dict[str, Any]:
    """Check the template that the chart renders, and return its data.

    Takes the present and the new one, what is wanted, and whether nothing else may change.
    Raises HelmReleaseError.
    """
    try:
        new = _toml.loads(after)
    except _toml.TomlError as error:
        raise HelmReleaseError(
            f"the chart would render a template that is not TOML ({error}), with which the runner could not start"
        ) from None
    values = _template_toml.fold_all(dict(_template_toml.leaves(wanted)))
    for path, value in values.items():
        found = list(_template_toml.settings(new, path))
        if not found or not all(_template_toml.all_same(setting, value) for setting in found):
            raise HelmReleaseError(
                f"with the present values of the release, {_toml.format_path(path)} would not be set by the edit;"
                " the table is conditional, or an action of the template sets the key"
            )
    if exact and before is not None:
        try:
            old = _toml.loads(before)
        except _toml.TomlError:
            return new
        for path, value in _template_toml.differences(old, new):
            folded = _template_toml.fold(path)
            if folded not in values or not _toml.same(value, values[folded]):
                raise HelmReleaseError(
                    f"the upgrade would also change {_toml.format_path(path)} of the runner, so that the chart at hand"
                    " is not the deployed one; say which to use by chart and chart_version"
                )
    return new


def kubernetes_table(template: Object) -> Object:
    """The table C(runners.kubernetes) of the data of a template, with the keys as GitLab Runner finds them."""
    path = ("runners", "kubernetes")
    tables = (table for found in _template_toml.settings(template, path) for table in found)
    folded: Object = _folded(next(tables, {}), path)
    return folded


def _folded(data: Any, path: tuple[str, ...]) -> Any:
    if isinstance(data, list):
        return [_folded(item, path) for item in data]
    if not isinstance(data, dict):
        return data
    return {_template_toml.fold((*path, key))[-1]: _folded(value, (*path, key)) for key, value in data.items()}


def changed_objects(before: list[Object], after: list[Object]) -> list[tuple[Optional[Object], Optional[Object]]]:
    """The objects that differ, each before and after; None: there is none."""
    old, new = ({_identity(item): item for item in manifest} for manifest in (before, after))
    return [
        (old.get(identity), new.get(identity)) for identity in {**old, **new} if old.get(identity) != new.get(identity)
    ]


def object_name(item: Object) -> str:
    """An object as kubectl names it, such as C(ConfigMap/ci-runner)."""
    return f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"


def show_objects(objects: list[Optional[Object]], digest_key: bytes) -> str:
    """Objects as YAML for a diff, without secrets."""
    shown = [_redacted(_without_data(item, digest_key), digest_key) for item in objects if item is not None]
    return "".join(f"---\n{_dump(item).decode()}" for item in shown)


def _without_data(item: Object, digest_key: bytes) -> Object:
    """A Secret without what it holds; any other object as it is."""
    if item.get("kind") != "Secret":
        return item
    hidden = {
        section: {
            key: f"{_redact.REDACTED} {_redact.digest(str(value), digest_key)}" for key, value in item[section].items()
        }
        for section in ("data", "stringData")
        if isinstance(item.get(section), dict)
    }
    return {**item, **hidden}


def _redacted(item: Any, digest_key: bytes, key: str = "") -> Any:
    if isinstance(item, dict):
        return {name: _redacted(value, digest_key, nearest) for name, value, nearest in _redact.nearest_keys(item, key)}
    if isinstance(item, list):
        return [_redacted(value, digest_key, nearest) for value, nearest in zip(item, _redact.item_keys(item, key))]
    if _redact.is_secret_number(item, key):
        item = str(item)
    if not isinstance(item, str) or item.startswith(_redact.REDACTED):
        return item
    if "\n" in item and not _redact.is_secret_key(key):
        return _redact.redact_text(item, digest_key)
    return _redact.redact_string(item, key, digest_key)


def _identity(item: Object) -> tuple[Any, ...]:
    metadata = item.get("metadata") or {}
    return item.get("apiVersion"), item.get("kind"), metadata.get("namespace"), metadata.get("name")


def _pod_spec(deployment: Object) -> Object:
    spec: Object = deployment.get("spec", {}).get("template", {}).get("spec", {})
    return spec


def _config_maps(deployment: Object) -> set[str]:
    """The ConfigMaps that a Deployment mounts."""
    volumes = _pod_spec(deployment).get("volumes") or []
    sources = [source for volume in volumes for source in (volume.get("projected") or {}).get("sources") or []]
    return {item["configMap"]["name"] for item in [*volumes, *sources] if (item.get("configMap") or {}).get("name")}


def _dump(data: Any) -> bytes:
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return text.encode()


if yaml is not None:

    class _Dumper(yaml.SafeDumper):
        """Shows text of several lines as such."""

    def _represent_text(dumper: Any, text: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    _Dumper.add_representer(str, _represent_text)


# --------------------------------------------------------------------------------------------- the values


def secrets_in_values(values: Any, key: str = "") -> Iterator[str]:
    """The secrets in values, as strings, but not the names of Secrets, which C(secret: ...) usually are."""
    if isinstance(values, dict):
        for _name, value, nearest in _redact.nearest_keys(values, key):
            yield from secrets_in_values(value, nearest)
    elif isinstance(values, list):
        for value, nearest in zip(values, _redact.item_keys(values, key)):
            yield from secrets_in_values(value, nearest)
    elif not key.lower().endswith("secret"):
        yield from _redact.secrets_in(values, key)


def null_keys(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the keys that are null. What is in a list is not looked at: Helm takes lists as they are."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from null_keys(value, (*path, str(key)))
    elif values is None:
        yield path


def contains(values: Any, wanted: Any) -> bool:
    """Whether values have everything that is wanted; dicts are compared key by key."""
    if isinstance(values, dict) and isinstance(wanted, dict):
        return all(key in values and contains(values[key], value) for key, value in wanted.items())
    return bool(values == wanted) and isinstance(values, bool) == isinstance(wanted, bool)


def nested(path: tuple[str, ...], value: Any) -> Any:
    """Values that have nothing but one key."""
    for key in reversed(path):
        value = {key: value}
    return value


def merged(values: Any, wanted: Any) -> Any:
    """Values with others on top of them, as Helm merges them."""
    if not isinstance(values, dict) or not isinstance(wanted, dict):
        return wanted
    return {**values, **{key: merged(values.get(key), value) for key, value in wanted.items()}}


def differing_keys(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the keys that differ, in order. A table without keys is the same as none."""
    if {type(old), type(new)} in ({dict}, {dict, type(None)}):
        old, new = old or {}, new or {}
        for key in sorted({**old, **new}):
            yield from differing_keys(old.get(key), new.get(key), (*path, key))
    elif not contains(old, new):
        yield path


# ------------------------------------------------------------------------------------------- the roll-out


@dataclass
class Rollout:
    """How far a roll-out is: C(done), C(failed), or neither; C(message) says what is waited for or wrong."""

    done: bool
    failed: bool
    message: str
    pods: list[str] = field(default_factory=list)


def rollout(deployment: Object, replica_sets: list[Object], pods: list[Object]) -> Rollout:
    """Judge a roll-out: it is done when all new pods are ready and the last old one is gone.

    Takes the Deployment, and the ReplicaSets and pods that its selector matches. C(helm --wait) and C(kubectl
    rollout status) do not wait for the old pods, which finish their jobs for up to an hour.
    """
    metadata, spec, status = (deployment.get(name) or {} for name in ("metadata", "spec", "status"))
    name = metadata["name"]
    if spec.get("paused"):
        return Rollout(False, True, f"the roll-out of {name} is paused (kubectl rollout resume)")
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        return Rollout(False, False, f"the deployment controller has not seen the new {name} yet")
    current = _template_hash(metadata, replica_sets)
    live = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    new = [pod for pod in live if _hash_of(pod) == current and not _is_ending(pod)]
    old = [pod["metadata"]["name"] for pod in live if _hash_of(pod) != current or _is_ending(pod)]
    ready = [pod["metadata"]["name"] for pod in new if _is_ready(pod)]
    replicas = spec.get("replicas", 1)
    if len(ready) == len(new) == replicas and not old and current is not None:
        return Rollout(True, False, "", sorted(ready))
    message = f"{len(ready)} of {replicas} new pods of {name} are ready"
    if old:
        message += f", and {len(old)} old ones are still there ({', '.join(sorted(old))})"
    reasons = sorted({reason for pod in new for reason in _reasons(pod)})
    if reasons:
        message += f"; new ones say {'; '.join(reasons)}"
    for kind in ("Progressing", "ReplicaFailure"):
        condition = conditions.get(kind, {})
        if condition.get("status") == ("False" if kind == "Progressing" else "True"):
            message += f"; {kind}: {condition.get('message') or condition.get('reason')}"
    stuck = conditions.get("Progressing", {}).get("status") == "False" and len(ready) < replicas
    return Rollout(False, stuck, message, sorted(ready))


def _template_hash(metadata: Object, replica_sets: list[Object]) -> Optional[str]:
    """What the pods of the present template have as C(pod-template-hash)."""
    revision = (metadata.get("annotations") or {}).get("deployment.kubernetes.io/revision")
    for item in replica_sets:
        owners = [owner.get("uid") for owner in item["metadata"].get("ownerReferences") or []]
        annotations = item["metadata"].get("annotations") or {}
        if metadata.get("uid") in owners and annotations.get("deployment.kubernetes.io/revision") == revision:
            return _hash_of(item)
    return None


def _hash_of(item: Object) -> Optional[str]:
    return (item["metadata"].get("labels") or {}).get("pod-template-hash")


def _is_ending(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _reasons(pod: Object) -> Iterator[str]:
    """Why the containers of a pod do not run."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield f"{status['name']}: {waiting['reason']}"
