# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thin stand-in for the Kubernetes API, so that the real helm and kubectl can be tested without a cluster.

It stores what it is given, and plays deployment controller and kubelet: a changed Deployment gets a ReplicaSet and
pods, and the old pods terminate. Time does not pass there: things happen after so many looks at the pods.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]

# Group and version, resource, kind, namespaced.
RESOURCES = [
    ("v1", "namespaces", "Namespace", False),
    ("v1", "configmaps", "ConfigMap", True),
    ("v1", "secrets", "Secret", True),
    ("v1", "serviceaccounts", "ServiceAccount", True),
    ("v1", "pods", "Pod", True),
    ("apps/v1", "deployments", "Deployment", True),
    ("apps/v1", "replicasets", "ReplicaSet", True),
]
KINDS = {resource: (version, kind) for version, resource, kind, _namespaced in RESOURCES}
_URL = re.compile(
    r"/(?:api|apis)/(?P<version>v1|apps/v1)(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?"
    r"/(?P<resource>\w+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|status))?"
)
STARTED = "2026-01-31T12:00:00Z"


class ApiError(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
        self.status.update(reason=reason, message=message)


class KubeApi:
    """The cluster. Attributes say how it behaves; they may be changed while it runs."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        # Requests that changed something: method, resource, name.
        self.writes: list[tuple[str, str, str]] = []
        # What the user may not do: verb and resource.
        self.forbidden: set[tuple[str, str]] = set()
        # What a quota wants each container of a new pod to say, such as limits and cpu.
        self.quota: set[tuple[str, str]] = set()
        # After how many looks at the pods new ones are ready (None: never) and old ones are gone.
        self.ready_after: int | None = 1
        self.gone_after = 2
        # After how many looks the deployment controller gives up on pods that do not become ready.
        self.deadline = 3
        # Called before each request with method and path; for what others do at the same time.
        self.before: Callable[[str, str], None] = lambda method, path: None
        self._looks = 0
        self._lock = threading.RLock()
        self._serial = 0
        api = self

        class Handler(_Handler):
            cluster = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> KubeApi:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ----------------------------------------------------------------------------------- for tests

    def of(self, resource: str, namespace: str = "ci") -> list[Object]:
        """All objects of a resource in a namespace."""
        with self._lock:
            return [item for key, item in sorted(self.objects.items()) if key[:2] == (resource, namespace)]

    def add(self, resource: str, item: Object, namespace: str = "ci") -> Object:
        """Store an object, with what the server adds to it."""
        with self._lock:
            version, kind = KINDS[resource]
            item = copy.deepcopy(item)
            item.update(apiVersion=version, kind=kind)
            meta = item.setdefault("metadata", {})
            if "name" not in meta:
                meta["name"] = f"{meta['generateName']}{self._serial:05}"
            meta.update({"namespace": namespace} if namespace else {})
            meta.setdefault("creationTimestamp", STARTED)
            self._serial += 1
            meta.update(uid=f"uid-{self._serial}", resourceVersion=str(self._serial), generation=1)
            self.objects[resource, namespace, meta["name"]] = item
            if resource == "deployments":
                self._roll_out(item)
            if resource == "pods" and "status" not in item:
                self._start(item)
            return item

    def save(self) -> str:
        """All objects, for restore()."""
        with self._lock:
            return json.dumps([[list(key), item] for key, item in self.objects.items()])

    def restore(self, saved: str) -> None:
        """Replace all objects by saved ones."""
        with self._lock:
            self.objects = {(key[0], key[1], key[2]): item for key, item in json.loads(saved)}
            self._serial += 1000

    # ---------------------------------------------------------------------------- what clients do

    def request(
        self, method: str, resource: str, namespace: str, name: str, query: dict[str, str], body: Any
    ) -> Object:
        verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update"}.get(method, method.lower())
        if (verb, resource) in self.forbidden:
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            group = KINDS[resource][0].rpartition("/")[0]
            raise ApiError(
                403,
                "Forbidden",
                f'{resource} is forbidden: User "tester" cannot {verb} resource "{resource}"'
                f' in API group "{group}"{where}',
            )
        if resource == "namespaces" and method == "GET" and ("namespaces", "", name) not in self.objects:
            self.add("namespaces", {"metadata": {"name": name}}, "")
        key = (resource, namespace, name)
        if method == "GET" and not name:
            return self._list(resource, namespace, query)
        if method == "POST":
            return self._create(resource, namespace, query, body)
        if method == "PATCH" and "fieldManager" in query and key not in self.objects and "kind" in body:
            # Server-side apply of something new.
            return self._create(resource, namespace, query, body)
        if key not in self.objects:
            raise ApiError(404, "NotFound", f'{resource} "{name}" not found')
        if method == "GET":
            return self.objects[key]
        if "dryRun" not in query:
            self.writes.append((method, resource, name))
        if method == "DELETE":
            item = self.objects[key]
            if "dryRun" not in query:
                del self.objects[key]
            return item
        return self._change(key, body if method == "PUT" else _merge(self.objects[key], body), "dryRun" in query)

    def log(self, namespace: str, name: str, container: str) -> str:
        pod = self.objects.get(("pods", namespace, name))
        if pod is None:
            raise ApiError(404, "NotFound", f'pods "{name}" not found')
        spec = next(item for item in pod["spec"]["containers"] if item["name"] == container)
        if spec.get("securityContext", {}).get("privileged"):
            return 'level=info msg="Daemon has completed initialization"\nlevel=info msg="API listen on [::]:2375"\n'
        return "mount: permission denied (are you root?)\n"

    def _list(self, resource: str, namespace: str, query: dict[str, str]) -> Object:
        if resource == "pods":
            self._look()
        matches = _selector(query.get("labelSelector", ""))
        # Without a namespace, those of all.
        items = [item for key, item in sorted(self.objects.items()) if key[0] == resource and namespace in ("", key[1])]
        items = [item for item in items if matches(item["metadata"].get("labels", {}))]
        wanted = query.get("fieldSelector", "").partition("metadata.name=")[2]
        items = [item for item in items if not wanted or item["metadata"]["name"] == wanted]
        version, kind = KINDS[resource]
        return {"apiVersion": version, "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": items}

    def _create(self, resource: str, namespace: str, query: dict[str, str], item: Object) -> Object:
        name = item["metadata"].get("name", "")
        if (resource, namespace, name) in self.objects:
            raise ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists')
        if resource == "pods":
            self._admit(namespace, item)
        if "dryRun" in query:
            item["metadata"].setdefault("name", "dry-run")
            return item
        self.writes.append(("POST", resource, name))
        return self.add(resource, item, namespace)

    def _change(self, key: tuple[str, str, str], new: Object, dry_run: bool) -> Object:
        old = self.objects[key]
        new.update(apiVersion=old["apiVersion"], kind=old["kind"])
        new["metadata"].update({name: old["metadata"][name] for name in ("uid", "creationTimestamp", "generation")})
        self._serial += 1
        new["metadata"]["resourceVersion"] = str(self._serial)
        if dry_run:
            return new
        changed = old.get("spec") != new.get("spec")
        self.objects[key] = new
        if key[0] == "deployments" and changed:
            new["metadata"]["generation"] += 1
            self._roll_out(new)
        return new

    def _admit(self, namespace: str, pod: Object) -> None:
        """Pod Security admission, and quotas."""
        labels = self.objects.get(("namespaces", "", namespace), {}).get("metadata", {}).get("labels", {})
        level = labels.get("pod-security.kubernetes.io/enforce", "privileged")
        for container in pod["spec"]["containers"]:
            context = container.get("securityContext", {})
            what = f'container "{container["name"]}" must not set securityContext.privileged=true'
            if context.get("privileged") and level != "privileged":
                raise ApiError(
                    403, "Forbidden", f'pods is forbidden: violates PodSecurity "{level}:latest": privileged ({what})'
                )
            for kind, unit in sorted(self.quota):
                if unit not in container.get("resources", {}).get(kind, {}):
                    message = f"failed quota: ci: must specify {kind}.{unit} for: {container['name']}"
                    raise ApiError(403, "Forbidden", f"pods is forbidden: {message}")

    # ------------------------------------------------------------- deployment controller and kubelet

    def _roll_out(self, deployment: Object) -> None:
        """Give a Deployment the ReplicaSet of its template, and end the pods of the others."""
        meta, spec = deployment["metadata"], deployment["spec"]
        source = json.dumps(spec["template"], sort_keys=True).encode()
        label = {"pod-template-hash": hashlib.sha256(source).hexdigest()[:10]}
        namespace = meta["namespace"]
        revision = str(int(meta.setdefault("annotations", {}).get("deployment.kubernetes.io/revision", 0)) + 1)
        meta["annotations"]["deployment.kubernetes.io/revision"] = revision
        labels = {**spec["template"]["metadata"].get("labels", {}), **label}
        self._looks = 0
        for pod in self._pods(deployment):
            if pod["metadata"]["labels"].get("pod-template-hash") != label["pod-template-hash"]:
                pod["metadata"].setdefault("deletionTimestamp", STARTED)
        self.add(
            "replicasets",
            {
                "metadata": {
                    "name": f"{meta['name']}-{label['pod-template-hash']}",
                    "labels": labels,
                    "annotations": {"deployment.kubernetes.io/revision": revision},
                    "ownerReferences": [{"kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}],
                },
                "spec": {"replicas": spec.get("replicas", 1), "template": spec["template"]},
            },
            namespace,
        )
        running = [pod for pod in self._pods(deployment) if "deletionTimestamp" not in pod["metadata"]]
        for _number in range(spec.get("replicas", 1) - len(running)):
            pod = {"metadata": {"generateName": f"{meta['name']}-", "labels": labels}, "spec": spec["template"]["spec"]}
            self.add("pods", {**pod, "status": {"phase": "Pending"}}, namespace)
        self._set_status(deployment, "ReplicaSetUpdated", "True")

    def _look(self) -> None:
        """Somebody looks at the pods: time passes."""
        self._looks += 1
        for deployment in [item for key, item in self.objects.items() if key[0] == "deployments"]:
            for pod in self._pods(deployment):
                ending = "deletionTimestamp" in pod["metadata"]
                if ending and self._looks > self.gone_after:
                    del self.objects["pods", pod["metadata"]["namespace"], pod["metadata"]["name"]]
                elif not ending and self.ready_after is not None and self._looks > self.ready_after:
                    self._start(pod)
                elif not ending and pod["status"]["phase"] == "Pending" and self._looks >= self.deadline:
                    self._set_status(deployment, "ProgressDeadlineExceeded", "False")

    def _start(self, pod: Object) -> None:
        statuses = [
            {"name": item["name"], "image": item["image"], "ready": True, "state": {"running": {"startedAt": STARTED}}}
            for item in pod["spec"]["containers"]
        ]
        conditions = [{"type": "Ready", "status": "True"}]
        pod["status"] = {"phase": "Running", "conditions": conditions, "containerStatuses": statuses}

    def _pods(self, deployment: Object) -> list[Object]:
        wanted = deployment["spec"]["selector"]["matchLabels"].items()
        pods = self.of("pods", deployment["metadata"]["namespace"])
        return [pod for pod in pods if wanted <= pod["metadata"].get("labels", {}).items()]

    def _set_status(self, deployment: Object, reason: str, status: str) -> None:
        conditions = [{"type": "Progressing", "status": status, "reason": reason, "message": f"it is {reason}"}]
        generation = deployment["metadata"]["generation"]
        deployment["status"] = {"observedGeneration": generation, "conditions": conditions}


class _Handler(BaseHTTPRequestHandler):
    cluster: KubeApi
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.cluster.before(self.command, url.path)
        try:
            with self.cluster._lock:
                answer = self._discovery(url.path)
                if answer is None:
                    answer = self._resource(
                        url.path, {name: values[0] for name, values in parse_qs(url.query).items()}, body
                    )
                code = 201 if self.command == "POST" else 200
                kind, content = "application/json", json.dumps(answer)
                if isinstance(answer, str):
                    kind, content = "text/plain", answer
        except ApiError as error:
            code, kind, content = error.status["code"], "application/json", json.dumps(error.status)
        data = content.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _resource(self, path: str, query: dict[str, str], body: bytes) -> Object | str:
        match = _URL.fullmatch(path)
        if match is None or match["resource"] not in KINDS:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        namespace = "" if match["resource"] == "namespaces" else match["namespace"]
        if match["sub"] == "log":
            return self.cluster.log(namespace, match["name"], query["container"])
        content = _protobuf_object(body) if body.startswith(b"k8s\0") else json.loads(body) if body else None
        return self.cluster.request(
            self.command, match["resource"], namespace or "", match["name"] or "", query, content
        )

    def _discovery(self, path: str) -> Object | None:
        if path == "/version":
            return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            version = {"groupVersion": "apps/v1", "version": "v1"}
            groups = [{"name": "apps", "versions": [version], "preferredVersion": version}]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if path in ("/api/v1", "/apis/apps/v1"):
            return {
                "kind": "APIResourceList",
                "groupVersion": _version(path),
                "resources": list(_resources(_version(path))),
            }
        if path == "/openapi/v3":
            documents = {"api/v1": "/openapi/v3/api/v1", "apis/apps/v1": "/openapi/v3/apis/apps/v1"}
            return {"paths": {name: {"serverRelativeURL": f"{url}?hash=1"} for name, url in documents.items()}}
        if path.startswith("/openapi/v3/"):
            return _openapi(_version(path))
        return None

    def log_message(self, *_arguments: object) -> None:
        pass


def _version(path: str) -> str:
    return "apps/v1" if path.endswith("apps/v1") else "v1"


def _resources(wanted: str) -> Iterator[Object]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    for version, resource, kind, namespaced in RESOURCES:
        if version == wanted:
            names = {"name": resource, "singularName": resource[:-1], "kind": kind}
            yield {**names, "namespaced": namespaced, "verbs": verbs}


def _openapi(wanted: str) -> Object:
    """No schemas; only what makes clients let the server validate fields."""
    paths = {}
    for version, resource, kind, _namespaced in RESOURCES:
        if version == wanted:
            group, _slash, number = version.rpartition("/")
            parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldManager", "fieldValidation")]
            operation = {
                "parameters": parameters,
                "responses": {},
                "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
            }
            prefix = "/apis/apps/v1" if group else "/api/v1"
            paths[f"{prefix}/namespaces/{{namespace}}/{resource}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"}, "paths": paths}


def _selector(text: str) -> Callable[[dict[str, str]], bool]:
    tests: list[Callable[[dict[str, str]], bool]] = []
    for part in filter(None, re.split(r",(?![^()]*\))", text)):
        key, operator, value = re.fullmatch(r"([^=! ]+)\s*(==?|!=| in | notin |)\s*(.*)", part).groups()  # type: ignore[union-attr]
        values = value.strip("()").split(",")
        if not operator:
            tests.append(lambda labels, key=key: key in labels)  # type: ignore[misc]
        elif operator in ("!=", " notin "):
            tests.append(lambda labels, key=key, values=values: labels.get(key) not in values)  # type: ignore[misc]
        else:
            tests.append(lambda labels, key=key, values=values: labels.get(key) in values)  # type: ignore[misc]
    return lambda labels: all(test(labels) for test in tests)


def _merge(old: Any, patch: Any) -> Any:
    """A merge patch, strategic (lists of what has a name merge by it) or as server-side apply sends it."""
    if isinstance(patch, dict) and isinstance(old, dict):
        result = dict(old)
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            elif not key.startswith("$"):
                result[key] = _merge(result.get(key), value)
        return result
    if _named(patch) and _named(old):
        new = {item["name"]: item for item in patch}
        merged = [_merge(item, new.pop(item["name"], {})) for item in old]
        deleted = {item["name"] for item in patch if item.get("$patch") == "delete"}
        return [item for item in [*merged, *new.values()] if item["name"] not in deleted]
    return copy.deepcopy(patch)


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "name" in item for item in value)


def _protobuf_object(body: bytes) -> Object:
    """A Secret as Helm's typed client sends it; of its metadata name and labels, which is all that Helm sets."""
    fields = dict(_protobuf(dict(_protobuf(body[4:]))[2]))
    labels, data = {}, {}
    name = ""
    for number, value in _protobuf(fields[1]):
        if number == 1:
            name = value.decode()
        elif number == 11:
            entry = dict(_protobuf(value))
            labels[entry[1].decode()] = entry.get(2, b"").decode()
    for number, value in _protobuf(dict(_protobuf(body[4:]))[2]):
        if number == 2:
            entry = dict(_protobuf(value))
            # In JSON, data of a Secret is Base64, once more than Helm itself has encoded it.
            data[entry[1].decode()] = base64.b64encode(entry[2]).decode()
    return {"metadata": {"name": name, "labels": labels}, "data": data, "type": fields.get(3, b"").decode()}


def _protobuf(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: bytes for what has a length, else an integer."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            place += value
            yield tag >> 3, data[place - value : place]
        else:
            yield tag >> 3, value
