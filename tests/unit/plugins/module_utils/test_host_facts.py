# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import builtins
import datetime
import json
import os
import pwd
import socket
import struct
import subprocess
import threading

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _host_facts as host_facts
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import run
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor_checks import CHECKS
from hypothesis import given, settings
from hypothesis import strategies as st

ME = pwd.getpwuid(os.geteuid()).pw_name

# --- parsers ---


def test_parse_properties():
    assert host_facts.parse_properties("A=1\nB=x=y\n\nA=2\n") == [{"A": "1", "B": "x=y"}, {"A": "2"}]


MOUNTINFO = r"""
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 22 0:40 / /srv rw,nodev shared:2 - tmpfs tmpfs rw,size=2097152k,huge=within_size
31 30 0:41 / /srv/with\040blank rw - tmpfs x\040y rw
32 22 0:42 / /srv rw,nosuid - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "fstype", "target"),
    [
        ("/", "ext4", "/"),
        ("/srvx", "ext4", "/"),
        ("/srv/a", "xfs", "/srv"),
        ("/srv/with blank/a", "tmpfs", "/srv/with blank"),
    ],
)
def test_mount_of(path, fstype, target):
    mount = host_facts.mount_of(host_facts.parse_mounts(MOUNTINFO), path)
    assert (mount["fstype"], mount["target"]) == (fstype, target)


def test_parse_mounts_joins_options():
    assert host_facts.parse_mounts(MOUNTINFO)[1]["options"] == "rw,nodev,size=2097152k,huge=within_size"
    assert host_facts.parse_mounts(MOUNTINFO)[2]["source"] == "x y"


def test_parse_fstab():
    text = "# comment\nUUID=1 / ext4 defaults 0 1\n\ntmpfs /mnt/a\\040b tmpfs size=1g,uid=995 0 0 # note\nbroken\n"
    assert host_facts.parse_fstab(text) == [
        {"target": "/", "fstype": "ext4", "options": "defaults", "line": 2},
        {"target": "/mnt/a b", "fstype": "tmpfs", "options": "size=1g,uid=995", "line": 4},
    ]


def test_parse_routes():
    text = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
        "eth0 00000000 0100580A 0003 0 0 0 00000000\n"
        "eth0 0000580A 00000000 0001 0 0 0 0000FFFF\n"
    )
    assert host_facts.parse_routes(text) == ["10.88.0.0/16 eth0"]


def test_parse_resolv():
    assert host_facts.parse_resolv("search x\nnameserver 127.0.0.53\nnameserver\n nameserver 1\nnameserver ::1\n") == [
        "127.0.0.53",
        "::1",
    ]


@pytest.mark.parametrize(
    ("servers", "instead"),
    [
        (["127.0.0.53"], "resolved"),
        (["127.0.0.1"], "networkmanager"),
        (["127.0.0.2"], None),
        (["127.0.0.53", "127.0.0.53"], None),
        (["127.0.0.53", "192.0.2.9"], None),
        ([], None),
    ],
)
def test_the_file_that_podman_reads_instead_of_a_stub(monkeypatch, tmp_path, servers, instead):
    files = {"127.0.0.53": tmp_path / "resolved", "127.0.0.1": tmp_path / "networkmanager"}
    monkeypatch.setattr(host_facts, "BEHIND_STUB", {server: str(path) for server, path in files.items()})
    assert host_facts.resolv_instead(servers) is None
    for path in files.values():
        path.write_text(f"# {path.name}\nnameserver 192.0.2.1\n")
    assert host_facts.resolv_instead(servers) == (
        {"path": str(tmp_path / instead), "servers": ["192.0.2.1"]} if instead else None
    )


TOML = '''\
concurrent = 4
[session_server]
  listen_address = ":8093"
[[runners]] # first
  name = "one"
  text = """
[not.a.table]
key = 1
"""
  [runners.docker]
    "quoted key" = 1
    volumes = [
      "a",
      { b = 1 },
    ]
    after = 2
    [[runners.docker.services]]
      name = "s1"
    [[runners.docker.services]]
      name = "s2"
[[runners]]
name = "two"
[runners.docker]
host = "x"
  [[runners.docker.services]]
  name = "s3"
'''


def test_toml_lines():
    lines = host_facts.toml_lines(_toml.parse(TOML))
    assert {
        key: lines[key] for key in ("concurrent", "session_server.listen_address", "runners[0].name", "[runners[1]]")
    } == {
        "concurrent": 1,
        "session_server.listen_address": 3,
        "runners[0].name": 5,
        "[runners[1]]": 21,
    }
    assert lines["runners[0].docker.after"] == 16
    assert lines["runners[1].docker.host"] == 24
    assert lines["runners[0].docker.services[1].name"] == 20
    assert lines["runners[1].docker.services[0].name"] == 26
    # What is there, but on no line of its own.
    assert {key for key, line in lines.items() if not line} == {
        "runners[0].docker.quoted key",
        "runners[0].docker.volumes",
        "runners[0].text",
        "[runners]",
        "[runners[0].docker.services]",
        "[runners[1].docker.services]",
    }


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="[].\"'=# \nabc{}1", max_size=200))
def test_toml_lines_takes_anything(text):
    try:
        document = _toml.parse(text)
    except _toml.TomlError:
        return
    assert all(0 <= number <= text.count("\n") + 1 for number in host_facts.toml_lines(document).values())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a = [\n['x']\n]\nb = 1\n", {"a": 0, "b": 4}),
        ("# it's ''' here\na = 1\n", {"a": 2}),
        ("a.b = 1\nc = {d = 1}\n", {"[a]": 0, "a.b": 0, "[c]": 0, "c": 2, "c.d": 0}),
    ],
)
def test_a_file_is_read_without_a_library(tmp_path, text, lines):
    path = tmp_path / "file.toml"
    path.write_text(text)
    assert host_facts.toml_file(str(path))["lines"] == lines


def test_a_file_with_dates_can_be_a_result(tmp_path):
    path = tmp_path / "file.toml"
    path.write_text("a = 2024-01-01\n[b]\nc = [07:00:00]\n")
    assert json.loads(json.dumps(host_facts.toml_file(str(path))["parsed"])) == {
        "a": "2024-01-01",
        "b": {"c": ["07:00:00"]},
    }


SECRET_CONFIG = {
    "concurrent": 3,
    "sentry_dsn": "https://key@sentry.example.com",
    "listen_address": ":9252",
    "runners": [
        {
            "name": "one",
            "url": "https://user:hunter2@gitlab.example.com",
            "token": "glrt-verysecrettoken",
            "executor": "docker",
            "environment": ["PASSWORD=hunter2", "FF_NETWORK_PER_BUILD=1", "SSL_CERT_FILE=/ca.crt"],
            "pre_build_script": "export TOKEN=hunter2",
            "cache": {"s3": {"SecretKey": "hunter2"}},
            "docker": {
                "image": "alpine",
                "host": "unix:///x",
                "services": [{"name": "redis", "environment": ["P=hunter2"]}, "odd"],
                "auth": "hunter2",
            },
        },
        "odd",
        {"docker": "odd", "environment": [1]},
    ],
}


def test_public_config_keeps_secrets_on_the_host():
    text = json.dumps(host_facts.redact(host_facts.public_config(SECRET_CONFIG)))
    assert "hunter2" not in text and "verysecret" not in text and "key@" not in text
    public = host_facts.public_config(SECRET_CONFIG)
    assert public["runners"][0]["environment"] == ["PASSWORD", "FF_NETWORK_PER_BUILD=1", "SSL_CERT_FILE=/ca.crt"]
    assert public["runners"][0]["docker"]["services"] == ["redis"]
    assert public["listen"] == [":9252"] and public["concurrent"] == 3


@pytest.mark.parametrize("executor", ["docker-autoscaler", "docker+machine", "docker-windows", "shell", None])
def test_public_config_leaves_out_how_containers_run_on_other_machines(executor):
    section = {"executor": executor, "docker": {"privileged": True, "volumes": ["/srv/cache:/cache"]}}
    assert "docker" not in host_facts.public_config({"runners": [section]})["runners"][0]


@pytest.mark.parametrize("environment", ["DB_PASSWORD=hunter2", 5, {"DB_PASSWORD": "hunter2"}, None])
def test_public_config_with_an_environment_that_is_no_list(environment):
    assert host_facts.public_config({"runners": [{"environment": environment}]})["runners"][0]["environment"] == []


@pytest.mark.parametrize("parsed", [{}, {"runners": 1}, {"runners": ["x"]}, {"session_server": 3}])
def test_public_config_takes_anything(parsed):
    assert host_facts.public_config(parsed)["runners"] == []


@pytest.mark.parametrize(
    "text",
    [
        "glrt-abcdefghij0123",
        "glrtr-abcdefghij",
        "GR1348941abcdefgh",
        "glpat-abcdefghijk",
        "https://a:secretpass@host/x",
        "https://:secretpass@host/x",
        "podman login --password secretpass",
        "DB_PASSWORD=secretpass",
    ],
)
def test_redact(text):
    assert "abcdefgh" not in host_facts.redact({"a": [f"x {text} y"]})["a"][0]
    assert "secretpass" not in host_facts.redact(text)


def test_redact_leaves_other_text():
    assert host_facts.redact({"token": "hunter2", "lines": {"token": 4}}) == {
        "token": "VALUE_REDACTED",
        "lines": {"token": 4},
    }
    words = ["glibc-2.36", "gitlab-runner", "/srv/global-containers/storage", 1, None]
    assert host_facts.redact({"a": words}) == {"a": words}


def test_redact_tables_and_words_of_commands():
    facts = {"token": {"a": "hunter2"}, "environment": {"DB_PASS": "hunter2"}, "command": ["x", "--api-key", "hunter2"]}
    assert "hunter2" not in str(host_facts.redact(facts))


def test_the_environment_of_a_unit_keeps_its_secrets(monkeypatch):
    output = (
        'Id=x.service\nEnvironment="PASSWORD=two hunter2" DOCKER_HOST=unix:///x TOKEN=hunter2 "A=it\'s hunter2"\n'
        "UnsetEnvironment=DOCKER_HOST B=hunter2\n\nId=y.service\nEnvironment='open hunter2\n"
    )
    monkeypatch.setattr(host_facts, "which", lambda name: name)
    monkeypatch.setattr(host_facts.os.path, "isdir", lambda path: True)
    monkeypatch.setattr(
        host_facts, "execute", lambda command, *_options: subprocess.CompletedProcess(command, 0, output, "")
    )
    facts = host_facts.unit_facts({"x": "x.service", "y": "y.service"})
    assert facts["x"]["Environment"] == "PASSWORD DOCKER_HOST=unix:///x TOKEN A"
    assert facts["x"]["UnsetEnvironment"] == "DOCKER_HOST B"
    assert facts["y"]["Environment"] == ""


def test_has_capability():
    data = struct.pack("<IIIII", 0x02000001, 1 << 7, 0, 0, 0)
    assert host_facts.has_capability(data, 7) and not host_facts.has_capability(data, 6)
    assert not host_facts.has_capability(b"", 7)
    assert not host_facts.has_capability(struct.pack("<IIIII", 0x02000000, 1 << 7, 0, 0, 0), 7)


# --- gathering ---


def test_a_command_that_hangs_is_given_up():
    with pytest.raises(host_facts.HostError, match="took more than 0.1 seconds"):
        host_facts.execute(["sleep", "5"], timeout=0.1)


def test_a_podman_that_hangs_is_one_that_fails(gatherer, monkeypatch, tmp_path):
    """The checks tell by the first words of the reason."""
    (tmp_path / ".local/share/containers/storage/libpod").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "podman").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setattr(host_facts, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(host_facts, "PODMAN_INFO_TIMEOUT", 0.1)
    monkeypatch.setattr(gatherer, "_podman_version", lambda path: "5.4.2")
    fact = gatherer.podman(gatherer.store())
    reason = {"error": "podman info: no answer within 0.1 seconds"}
    assert [fact[key] for key in ("info", "containers", "networks", "stderr")] == [reason] * 4
    facts = {"podman": fact, "store": gatherer.store()}
    monkeypatch.setattr(host_facts, "status", lambda path: {"path": path, "uid": os.geteuid()})
    assert "fails" in gatherer.socket(facts)["ping"]["error"]


def test_a_command_that_does_not_exist():
    with pytest.raises(host_facts.HostError, match="cannot be run"):
        host_facts.execute(["/does/not/exist"])


def test_nearest(tmp_path):
    assert host_facts._nearest(str(tmp_path / "a/b/c")) == str(tmp_path)


def test_walk_does_not_follow_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert list(host_facts._walk(str(tmp_path), 5)) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/loop")]


def test_only_processes_of_this_namespace_are_looked_at(tmp_path):
    """A job that runs Podman in its container has conmons of the same user, for containers that only it knows."""
    inner, outer = "1" * 64, "2" * 64
    root = ["--exit-command-arg", "--root", "--exit-command-arg", "/srv/containers"]
    for name, namespace, arguments in [
        ("self", "pid:[4026531836]", ["python3"]),
        ("10", "pid:[4026532999]", ["conmon", "-c", inner, *root]),
        ("11", "pid:[4026531836]", ["conmon", "-c", outer, *root]),
        ("12", "pid:[4026531836]", ["sleep", "-c", inner, ""]),
    ]:
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "ns/pid").symlink_to(namespace)
        (tmp_path / name / "comm").write_text(f"{arguments[0]}\n")
        (tmp_path / name / "cmdline").write_text("".join(f"{part}\0" for part in arguments))
        (tmp_path / name / "stat").write_text(f"{name} (a) b) S " + "0 " * 30)
    (tmp_path / "uptime").write_text("4000.5 1.0\n")
    assert list(host_facts._conmons(os.geteuid(), str(tmp_path))) == [
        {"pid": 11, "container": outer, "root": "/srv/containers", "age": 4000}
    ]


@pytest.mark.parametrize(
    ("target", "rs"),
    [
        # On Ubuntu it is an alternative, and its folder has all programs in Rust of such packages.
        ("usr/lib/cargo/bin/sudo", True),
        ("usr/bin/sudo-rs", True),
        ("usr/bin/sudo.ws", False),
    ],
)
def test_which_sudo_it_is(tmp_path, monkeypatch, target, rs):
    program, alternative, sudo = tmp_path / target, tmp_path / "alternatives-sudo", tmp_path / "sudo"
    program.parent.mkdir(parents=True)
    program.touch()
    alternative.symlink_to(program)
    sudo.symlink_to(alternative)
    monkeypatch.setattr(host_facts, "which", lambda name: str(sudo))
    assert host_facts.sudo_facts()["rs"] is rs


def test_days_left(tmp_path):
    cryptography = pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    assert cryptography
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=10, hours=1))
    path = tmp_path / "ca.crt"
    from cryptography.hazmat.primitives.serialization import Encoding

    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    assert host_facts._days_left(str(path)) == 10


def test_something_that_is_no_certificate(tmp_path):
    path = tmp_path / "ca.crt"
    path.write_text("x")
    assert "is not a certificate" in host_facts.guarded(host_facts._days_left, str(path))["error"]


@pytest.fixture
def gatherer(tmp_path):
    gatherer = host_facts.Gatherer(ME, str(tmp_path / "config.toml"), "no-such-service")
    gatherer.user()
    gatherer.account.home = str(tmp_path)
    gatherer.account.runtime_dir = str(tmp_path / "run")
    return gatherer


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ("", "{home}/.local/share/containers/storage"),
        ('graphroot = "/srv/x/"', "/srv/x"),
        ('rootless_storage_path = "$HOME/store"', "{home}/store"),
        ('graphroot = "/srv/x"\nrootless_storage_path = "/srv/y"', "/srv/x"),
        ('rootless_storage_path = "/srv/${UID}/store"', "/srv/{uid}/store"),
    ],
)
def test_where_the_store_is(gatherer, tmp_path, conf, expected):
    path = tmp_path / ".config/containers/storage.conf"
    path.parent.mkdir(parents=True)
    path.write_text(f"[storage]\n{conf}\n")
    store = gatherer.store()
    assert store["graph_root"] == expected.format(home=tmp_path, uid=os.geteuid())
    assert store["exists"] is False


@pytest.mark.parametrize(
    ("own", "system", "shared", "version", "expected"),
    [
        ('driver = "overlay"', 'rootless_storage_path = "/srv/$USER"', None, "4.3.1", "/srv/{user}"),
        ('driver = "overlay"', None, 'rootless_storage_path = "/srv/x"', "5.4.2", "/srv/x"),
        # One file only is read, also here.
        ('driver = "overlay"', "", 'rootless_storage_path = "/srv/x"', "5.4.2", None),
        ('graphroot = "/srv/own"', 'rootless_storage_path = "/srv/x"', None, "5.4.2", "/srv/own"),
        ('rootless_storage_path = "/srv/own"', 'rootless_storage_path = "/srv/x"', None, "5.4.2", "/srv/own"),
        ("", 'graphroot = "/srv/x"', None, "5.4.2", None),
        ("", 'rootless_storage_path = "/srv/x"', None, "6.0.0", None),
        (None, 'rootless_storage_path = "/srv/x"', None, "6.0.0", "/srv/x"),
    ],
)
def test_the_system_says_where_the_store_is_when_the_user_does_not(
    gatherer, monkeypatch, tmp_path, own, system, shared, version, expected
):
    files = {
        tmp_path / ".config/containers/storage.conf": own,
        tmp_path / "etc/storage.conf": system,
        tmp_path / "usr/storage.conf": shared,
    }
    monkeypatch.setattr(host_facts, "SYSTEM_STORAGE_CONF", tuple(map(str, list(files)[1:])))
    monkeypatch.setattr(host_facts, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(gatherer, "_podman_version", lambda path: version)
    for path, text in files.items():
        if text is not None:
            path.parent.mkdir(parents=True)
            path.write_text(f"[storage]\n{text}\n")
    default = f"{tmp_path}/.local/share/containers/storage"
    assert gatherer.store()["graph_root"] == (expected or default).format(user=ME)


@pytest.mark.parametrize("stores", [("home",), ("system",), ("home", "system")], ids="+".join)
def test_of_two_places_that_podman_uses_the_one_with_a_store_counts(gatherer, monkeypatch, tmp_path, stores):
    places = {"home": tmp_path / ".local/share/containers/storage", "system": tmp_path / "system"}
    for name in stores:
        (places[name] / "libpod").mkdir(parents=True)
    conf = tmp_path / "storage.conf"
    conf.write_text(f'[storage]\nrootless_storage_path = "{places["system"]}"\n')
    own = tmp_path / ".config/containers/storage.conf"
    own.parent.mkdir(parents=True)
    own.write_text('[storage]\ndriver = "overlay"\n')
    monkeypatch.setattr(host_facts, "SYSTEM_STORAGE_CONF", (str(conf),))
    monkeypatch.setattr(gatherer, "_podman_version", lambda path: "4.3.1")
    assert gatherer.store()["graph_root"] == str(places[stores[-1]])


def test_the_environment_of_containers_stays_on_the_host(gatherer, tmp_path):
    path = tmp_path / ".config/containers/containers.conf"
    path.parent.mkdir(parents=True)
    path.write_text('[containers]\nenv = ["DB_PASSWORD=hunter2"]\n[engine]\nenv = ["X=hunter2"]\nretry = 1\n')
    fact = gatherer.containers_conf()
    assert "hunter2" not in json.dumps(fact)
    assert fact["merged"]["engine"]["retry"] == 1 and fact["own"]["lines"]["engine.retry"] == 5


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ("storage = 1", "storage is no table"),
        ("[[storage]]", "storage is no table"),
        ("[storage]\ngraphroot = 5", "storage.graphroot is no string"),
        ("[storage]\nrunroot = [1]", "storage.runroot is no string"),
        ("[storage]\nrootless_storage_path = true", "storage.rootless_storage_path is no string"),
    ],
)
def test_a_storage_conf_with_odd_values(gatherer, tmp_path, conf, reason):
    path = tmp_path / ".config/containers/storage.conf"
    path.parent.mkdir(parents=True)
    path.write_text(f"{conf}\n")
    assert host_facts.guarded(gatherer.store) == {"error": f"{path}: {reason}"}


@pytest.mark.parametrize(
    "config",
    [
        "[[runners]]\nenvironment = 5\n",
        "[[runners]]\nexecutor = 'docker'\n[runners.docker]\ncache_dir = 5\nvolumes = 5\nservices = 5\n",
        "[[runners]]\ndocker = 5\ntls-ca-file = 5\n",
        "runners = 5\nconcurrent = 'x'\nlisten_address = 5\nsession_server = 5\n",
    ],
)
def test_one_odd_file_does_not_keep_the_others_from_being_looked_at(tmp_path, config):
    (tmp_path / "config.toml").write_text(config)
    facts = host_facts.Gatherer(ME, str(tmp_path / "config.toml"), "no-such-service").facts()
    run(CHECKS, facts)
    assert "error" not in facts["runner"]["config"]
    assert "error" not in facts["certificates"]


@pytest.mark.parametrize("error", [TypeError, AttributeError, IndexError, KeyError, ValueError, OSError])
def test_an_error_of_any_kind_is_a_reason(error):
    def fail():
        raise error("x")

    assert "x" in host_facts.guarded(fail)["error"]


@pytest.mark.parametrize("place", [".config/containers/storage.conf", ".gitlab-runner/certs/ca.crt"])
def test_a_named_pipe_of_the_user_stops_nothing(gatherer, tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    facts = []
    thread = threading.Thread(
        target=lambda: facts.extend([gatherer.storage_conf(), gatherer.certificates()]), daemon=True
    )
    thread.start()
    thread.join(10)
    assert facts and f"{path} cannot be read: not a regular file" in json.dumps(facts)


def test_subids(gatherer, monkeypatch):
    files = {
        "/etc/nsswitch.conf": "subid: files\n",
        "/etc/login.defs": "SUB_UID_MIN 200000\nUID_MAX 70000\n",
        "/etc/subuid": "alice:100000:65536\n# x\nbad:line\n",
        "/etc/subgid": "995:1:2\n",
    }
    monkeypatch.setattr(host_facts, "read_or", lambda path, default="": files.get(path, default))
    fact = gatherer.subids()
    assert fact["subuid"] == [{"owner": "alice", "start": 100000, "count": 65536, "line": 1}]
    assert fact["subgid"] == [{"owner": "995", "start": 1, "count": 2, "line": 1}]
    assert fact["backup"] == []
    assert fact["limits"] == {"lowest": 70001, "first": 200000, "last": 600100000}
    files["/etc/nsswitch.conf"] = "subid: sss\n"
    assert "come from sss" in host_facts.guarded(gatherer.subids)["error"]


def test_podman_is_not_asked_where_there_is_no_store(gatherer, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(gatherer.account, "run", lambda *command, **options: asked.append(command))
    monkeypatch.setattr(host_facts, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(gatherer, "_podman_version", lambda path: "5.4.2")
    fact = gatherer.podman(gatherer.store())
    assert asked == []
    assert fact["version"] == "5.4.2" and "asking Podman would create one" in fact["info"]["error"]


def test_a_store_is_recognised_by_what_podman_puts_there(gatherer, tmp_path):
    root = tmp_path / ".local/share/containers/storage"
    (root / "overlay").mkdir(parents=True)
    (root / "overlay/.has-mount-program").write_text("true")
    (root / "libpod").mkdir()
    (root / "libpod/bolt_state.db").touch()
    store = gatherer.store()
    assert (store["exists"], store["drivers"], store["mount_program"], store["boltdb"]) == (
        True,
        ["overlay"],
        "true",
        True,
    )


def test_ping(gatherer, tmp_path):
    path = str(tmp_path / "sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def answer():
        connection, _address = server.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    assert gatherer._ping(path, os.geteuid()) == {"status": 200, "api_version": "1.41"}
    thread.join()
    server.close()
    assert gatherer._ping(path, os.geteuid())["status"] == 0


def test_a_configuration_with_all_sorts_of_errors(gatherer, tmp_path):
    path = tmp_path / "config.toml"
    assert host_facts.guarded(gatherer._config)["error"] == f"{path} does not exist"
    path.write_text("a = ")
    assert host_facts.guarded(gatherer._config)["error"].startswith(f"{path} is not valid TOML")
    path.write_text('concurrent = 2\n[[runners]]\nname = "a"\ntoken = "glrt-verysecrettoken"\n')
    config = gatherer._config()
    assert config["concurrent"] == 2 and config["lines"]["runners[0].token"] == 4
    assert "verysecret" not in json.dumps(config)


def test_this_machine_without_the_user():
    facts = host_facts.Gatherer("no-such-user", "/does/not/exist/config.toml", "no-such-service").facts()
    json.dumps(facts)
    result = run(CHECKS, facts)
    assert result["findings"][0]["id"] == "user.missing"
    assert not any("could not be judged" in entry["reason"] for entry in result["skipped_checks"]), result[
        "skipped_checks"
    ]


def test_this_machine_with_any_user():
    facts = host_facts.Gatherer(ME, "/does/not/exist/config.toml", "no-such-service").facts()
    json.dumps(facts)
    result = run(CHECKS, facts)
    assert not any("could not be judged" in entry["reason"] for entry in result["skipped_checks"]), result[
        "skipped_checks"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("user", ["nobody", "root", "no-such-user"])
def test_this_machine_without_a_right(user):
    # What is imported late is imported now: the Python of this run may be readable for root only.
    run(CHECKS, host_facts.Gatherer(user, "/etc/shadow", "no-such-service").facts())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of pytest may run in the child, whatever happens.
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            report = run(CHECKS, host_facts.Gatherer(user, "/etc/shadow", "no-such-service").facts())
            os.write(writer, json.dumps([entry["reason"] for entry in report["skipped_checks"]]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        reasons = json.loads(stream.read())
    os.waitpid(child, 0)
    assert reasons and not any("could not be judged" in reason for reason in reasons), reasons


def test_nothing_is_written(gatherer, monkeypatch, tmp_path):
    """Every file that is opened is opened for reading."""
    real, real_os = builtins.open, os.open

    def watch(path, mode="r", *arguments, **options):
        assert mode in ("r", "rb"), f"{path} was opened with mode {mode}"
        return real(path, mode, *arguments, **options)

    def watch_os(path, flags, *arguments, **options):
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        assert not writes or path == os.devnull, f"{path} was opened with flags {flags}"
        return real_os(path, flags, *arguments, **options)

    monkeypatch.setattr(builtins, "open", watch)
    monkeypatch.setattr(os, "open", watch_os)
    before = sorted(os.listdir(tmp_path))
    gatherer.facts()
    assert sorted(os.listdir(tmp_path)) == before
