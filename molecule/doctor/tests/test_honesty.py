# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Break a host in one way after another: the doctor names exactly that, and its remedy as printed puts it right."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import ansible.module_utils
import pytest
from ci_host import IMAGE, USER

ROOT = Path(__file__).parents[3]
PLACE = "/srv/doctor"
COLLECTION = "ansible_collections/rootless/gitlab_runner/plugins"
CONFIG = "/etc/gitlab-runner/config.toml"
CONTAINERS = f"/home/{USER}/.config/containers"
DROPINS = "/etc/systemd/system/gitlab-runner.service.d"

# What the commands of a case can use.
PRELUDE = f"""
set -eu
U={USER} N=$(id -u {USER}) H=~{USER} C={CONFIG} S=~{USER}/.config/containers/storage.conf
T=/srv/rootless-containers
E="HOME=$H XDG_RUNTIME_DIR=/run/user/$N DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$N/bus"
as() {{ runuser -u $U -- env -C / $E "$@"; }}
empty() {{ as systemctl --user stop podman.socket podman.service; as podman system reset --force; }}
load() {{ as podman import --quiet --change 'CMD ["sh"]' /srv/gitlab-standin/job-image.tar {IMAGE}; }}
subids() {{ awk -F: -v u=$U '$1 == u {{ print $2; exit }}' /etc/$1; }}
docker() {{ sed -i -e "/^ *${{1%% *}} *=/d" -e "/^ *\\[runners.docker\\]/a $*" $C; }}
# The whole machine has one value of these, and other hosts on it set theirs: this host gets a file in its place.
own() {{ echo $2 > {PLACE}/${{1##*/}}; mount --bind {PLACE}/${{1##*/}} /proc/sys/$1; }}
"""


@dataclass
class Case:
    """id: what the doctor has to name. also: what it may name besides. clean_up: takes back what a remedy leaves."""

    id: str
    break_it: str
    clean_up: str = ""
    only: str = ""
    also: tuple[str, ...] = ()


RESTORE_IDS = "cp -a /srv/doctor/subuid /etc/subuid; cp -a /srv/doctor/subgid /etc/subgid; as podman system migrate"
RESTORE_SYSCTLS = "rm /etc/sysctl.d/61-rootless-doctor.conf; sysctl --quiet --system"
RESTORE_CONFIG = "cat /srv/doctor/config.toml > $C"
RESTORE_USER_CONFIG = (
    "rm -rf $H/.config; cp -a /srv/doctor/dot-config $H/.config; as systemctl --user daemon-reload; "
    "as systemctl --user stop podman.service"
)
RESTORE_UNIT = (
    f"rm -rf {DROPINS}; cp -a /srv/doctor/dropins {DROPINS}; systemctl daemon-reload; systemctl restart gitlab-runner"
)
RESTORE_FSTAB = "cat /srv/doctor/fstab > /etc/fstab"
# After a case that failed, so that the next one starts from a host that is in order.
RESTORE_ALL = f"""
apt-get install --yes --quiet $(cat {PLACE}/packages) >/dev/null
chown $U: $C /etc/gitlab-runner; chmod 0700 /etc/gitlab-runner; chmod 0600 $C; {RESTORE_CONFIG}
chmod 4755 /usr/bin/newuidmap; chmod 0666 /dev/fuse /dev/net/tun; {RESTORE_FSTAB}
loginctl enable-linger $U; systemctl restart user@$N.service
{RESTORE_USER_CONFIG}; as systemctl --user unmask podman.socket; as systemctl --user enable podman.socket
as systemctl --user restart podman.socket
mountpoint -q $T || mount $T; mount -o remount,exec,size=2G,nr_inodes=2m,huge=within_size $T
{RESTORE_IDS}; empty; as systemctl --user start podman.socket
{RESTORE_UNIT}; systemctl disable --now podman.socket; sysctl --quiet --system
"""
OVERLAY = "printf '%s\\n' '[storage.options.overlay]'"

CASES = [
    Case("userns.subuid_missing", "sed -i /^$U:/d /etc/subuid /etc/subgid", RESTORE_IDS),
    Case("userns.subuid_size", 'sed -i "s/^\\($U:[0-9]*\\):.*/\\1:1000/" /etc/subuid /etc/subgid', RESTORE_IDS),
    Case(
        "userns.subuid_overlap",
        "for f in subuid subgid; do echo mallory:$(($(subids $f) + 10)):10 >> /etc/$f; done",
        f"sed -i /^mallory:/d /etc/subuid /etc/subgid; {RESTORE_IDS}",
    ),
    Case("userns.subgid_mismatch", 'sed -i "s/^$U:[0-9]*:/$U:1310720:/" /etc/subgid', RESTORE_IDS),
    Case(
        "userns.mapping_stale",
        "as podman info >/dev/null; echo $U:1310720:65536 | tee -a /etc/subuid >> /etc/subgid",
        RESTORE_IDS,
    ),
    Case(
        "userns.store_foreign_ids",
        "touch $T/storage/lost; chown 400999:400999 $T/storage/lost",
        f"rm $T/storage/lost; {RESTORE_IDS}",
    ),
    Case("userns.store_foreign_ids", "install -m 0600 /dev/null $T/storage/of-root", "rm $T/storage/of-root"),
    Case(
        "userns.newuidmap",
        "chmod 0755 /usr/bin/newuidmap; "
        'python3 -c \'import os; os.removexattr("/usr/bin/newuidmap", "security.capability")\' 2>/dev/null || true',
    ),
    Case("session.linger", "loginctl disable-linger $U; systemctl stop user@$N.service"),
    Case("session.user_manager", "systemctl stop user@$N.service"),
    Case("session.runtime_dir", "chmod 0755 /run/user/$N"),
    Case("session.dbus", "rm /run/user/$N/bus"),
    Case(
        "session.cgroup_manager",
        "printf '%s\\n' 'cgroup_manager = \"cgroupfs\"' > /tmp/line; sed -i '/^\\[engine\\]/r /tmp/line' "
        f"{CONTAINERS}/containers.conf",
        RESTORE_USER_CONFIG,
    ),
    Case(
        "session.config_owner", "install -d -o root -g root $H/.config/cni $H/.config/cni/net.d", "rm -r $H/.config/cni"
    ),
    Case(
        "sysctl.inotify",
        "own fs/inotify/max_user_instances 256",
        f"umount /proc/sys/fs/inotify/max_user_instances; {RESTORE_SYSCTLS}",
    ),
    Case(
        "sysctl.keys",
        f"own kernel/keys/maxkeys 200; sed -i 's/^concurrent.*/concurrent = 10/' {CONFIG}",
        f"umount /proc/sys/kernel/keys/maxkeys; {RESTORE_CONFIG}; {RESTORE_SYSCTLS}",
    ),
    Case("podman.kubic", "echo '# devel:kubic' > /etc/apt/sources.list.d/devel:kubic:libcontainers:stable.list"),
    Case("podman.missing", "dpkg --remove --force-depends podman"),
    Case("socket.enabled", "as systemctl --user disable --now podman.socket"),
    Case("socket.enabled", "as systemctl --user stop podman.socket; as systemctl --user mask podman.socket"),
    Case("socket.path", "rm /run/user/$N/podman/podman.sock"),
    Case(
        "socket.ping",
        "as systemctl --user stop podman.service; rm /run/user/$N/podman/podman.sock; as python3 -c 'import socket, "
        "sys; "
        "socket.socket(socket.AF_UNIX).bind(sys.argv[1])' /run/user/$N/podman/podman.sock",
    ),
    Case("socket.service_root", "systemctl enable --now podman.socket"),
    Case(
        "service.timeout",
        "as mkdir -p $H/.config/systemd/user/podman.service.d; printf '%s\\n' '[Service]' KillMode=control-group | "
        "as tee $H/.config/systemd/user/podman.service.d/kill.conf; as systemctl --user daemon-reload",
    ),
    Case(
        "storage.driver_vfs",
        "empty; sed -i 's/^driver.*/driver = \"vfs\"/' $S; as systemctl --user restart podman.socket; load",
    ),
    Case(
        "storage.fuse_stale",
        f"empty; {OVERLAY} 'mount_program = \"/usr/bin/fuse-overlayfs\"' >> $S; "
        "as systemctl --user restart podman.socket; load",
        RESTORE_USER_CONFIG,
        only="debian12",
    ),
    Case("storage.metacopy", f"{OVERLAY} 'mountopt = \"nodev,metacopy=on\"' >> $S", RESTORE_USER_CONFIG),
    Case("storage.rootless_path", "sed -i '/^graphroot/a rootless_storage_path = \"/srv/other\"' $S"),
    Case("storage.db_mismatch", "sed -i 's/^driver.*/driver = \"vfs\"/' $S"),
    Case(
        "storage.quota",
        f"{OVERLAY} 'size = \"10G\"' >> $S; as systemctl --user stop podman.service",
        RESTORE_USER_CONFIG,
    ),
    Case(
        "storage.wrong_mount",
        "as systemctl --user stop podman.service; as podman system migrate; umount -l $T",
    ),
    Case(
        "storage.stale_namespace",
        "as podman unshare true; nsenter --mount --target $(cat /run/user/$N/libpod/tmp/pause.pid) "
        "mount -t tmpfs -o mode=0777 other $T",
    ),
    Case(
        "storage.below_var_lib",
        "mkdir /var/lib/ci-store; mount -t tmpfs -o uid=$N,gid=$(id -g $U) ci /var/lib/ci-store; "
        "sed -i 's|^graphroot.*|graphroot = \"/var/lib/ci-store/storage\"|' $S; "
        "as systemctl --user stop podman.service; load",
        f"{RESTORE_USER_CONFIG}; as podman system migrate; umount -l /var/lib/ci-store; "
        "rmdir /var/lib/ci-store /var/lib/cni",
        only="debian12",
    ),
    Case("session.noexec_home", "mount -o remount,noexec $T", "mount -o remount,exec $T"),
    Case(
        "tmpfs.huge",
        "mount -o remount,huge=always $T; sed -i s/huge=within_size/huge=always/ /etc/fstab",
        RESTORE_FSTAB,
    ),
    Case(
        "tmpfs.size",
        "mount -o remount,size=512g $T; sed -i s/size=2G/size=512g/ /etc/fstab",
        f"{RESTORE_FSTAB}; mount -o remount,size=2G $T",
    ),
    Case("tmpfs.uid", "sed -i -E 's/uid=[0-9]+,gid=[0-9]+/uid=996,gid=12345/' /etc/fstab", RESTORE_FSTAB),
    Case("tmpfs.uid", "sed -i -E 's/,uid=[0-9]+,gid=[0-9]+//; s/uid=[0-9]+,gid=[0-9]+,//' /etc/fstab", RESTORE_FSTAB),
    Case(
        "tmpfs.inodes",
        "mount -o remount,nr_inodes=$(($(df --output=iused $T | tail -n 1) + 20)) $T",
        also=("storage.inodes",),
    ),
    Case("tmpfs.memlimit", "docker 'memory = \"512m\"'", RESTORE_CONFIG),
    Case("net.netavark_missing", "dpkg --remove --force-depends netavark aardvark-dns"),
    Case("net.tool", "dpkg --remove --force-depends slirp4netns", only="debian12"),
    Case("net.tool", "dpkg --remove --force-depends passt", only="debian13"),
    Case("net.firewall_tool", "dpkg --remove --force-depends iptables", only="debian12"),
    Case("net.firewall_tool", "dpkg --remove --force-depends nftables; rm -f /usr/sbin/iptables", only="debian13"),
    Case("net.dev_tun", "chmod 0600 /dev/net/tun", "rm /etc/udev/rules.d/90-rootless-tun.rules"),
    Case(
        "storage.dev_fuse",
        "chmod 0600 /dev/fuse; docker 'devices = [\"/dev/fuse\"]'",
        f"rm /etc/udev/rules.d/90-rootless-fuse.rules; {RESTORE_CONFIG}",
    ),
    Case(
        "net.ff_network_per_build", "sed -i 's/FF_NETWORK_PER_BUILD.*/FF_NETWORK_PER_BUILD = false/' $C", RESTORE_CONFIG
    ),
    Case("net.ff_network_per_build", "sed -i '/feature_flags/d; /FF_NETWORK_PER_BUILD/d' $C", RESTORE_CONFIG),
    Case("net.ping", "sysctl -qw net.ipv4.ping_group_range='1 0'"),
    Case(
        "net.low_ports",
        "sed -i -e '1i listen_address = \":443\"' -e '/^listen_address/d' $C",
        f"{RESTORE_CONFIG}; rm /etc/sysctl.d/61-rootless-doctor.conf; sysctl -qw "
        "net.ipv4.ip_unprivileged_port_start=1024",
    ),
    Case(
        "log.driver",
        'sed -i \'s/^log_driver.*/log_driver = "journald"/; s/^events_logger.*/events_logger = "journald"/\' '
        f"{CONTAINERS}/containers.conf",
        RESTORE_USER_CONFIG,
        also=("log.unbounded",),
    ),
    Case("log.unbounded", f"sed -i '/^log_size_max/d' {CONTAINERS}/containers.conf", RESTORE_USER_CONFIG),
    Case("image.short_names", f"rm {CONTAINERS}/registries.conf.d/*.conf", RESTORE_USER_CONFIG),
    Case(
        "prune.timer",
        "as systemctl --user disable --now rootless-podman-prune.timer",
        "as systemctl --user disable --now podman-image-prune.timer; rm $H/.config/systemd/user/podman-image-prune.*; "
        "as systemctl --user daemon-reload; as systemctl --user enable --now rootless-podman-prune.timer",
    ),
    Case("runner.missing", "dpkg --remove --force-depends gitlab-runner"),
    Case(
        "runner.unit_user",
        f"rm {DROPINS}/rootless*.conf; systemctl daemon-reload; systemctl restart gitlab-runner",
        RESTORE_UNIT,
    ),
    Case(
        "runner.unit_user",
        f"rm {DROPINS}/rootless*.conf; printf '%s\\n' '[Service]' User=$U Group=$U ExecStart= "
        "'ExecStart=/usr/bin/env strace -e "
        "inject=getuid:retval=0 -- /usr/bin/gitlab-runner run --working-directory /home/gitlab-runner --config "
        f"/etc/gitlab-runner/config.toml --service gitlab-runner' > {DROPINS}/override.conf; systemctl daemon-reload",
        RESTORE_UNIT,
    ),
    Case("runner.unit_order", f"sed -i /user@/d {DROPINS}/rootless.conf; systemctl daemon-reload", RESTORE_UNIT),
    Case("runner.inactive", "systemctl stop gitlab-runner"),
    Case("runner.config_perm", "chown root: $C /etc/gitlab-runner; chmod 0700 /etc/gitlab-runner; chmod 0600 $C"),
    Case("runner.config_owner", "chown root:$U $C /etc/gitlab-runner; chmod 0750 /etc/gitlab-runner; chmod 0640 $C"),
    Case("runner.token_exposed", "chmod 0644 $C", "chmod 0600 $C"),
    Case("runner.token_exposed", "chmod 0644 $C; chmod 0755 /etc/gitlab-runner", "chmod 0700 /etc/gitlab-runner"),
    Case("runner.docker_group", "groupadd docker; gpasswd --add $U docker", "groupdel docker"),
    Case("runner.privileged", "docker 'privileged = true'", RESTORE_CONFIG),
    Case(
        "socket.config_host",
        "sed -i 's|^\\( *host *=\\).*|\\1 \"unix:////run/user/996/podman.sock\"|' $C",
        RESTORE_CONFIG,
    ),
    Case("socket.config_host", "sed -i '/^ *host *=/d' $C", RESTORE_CONFIG),
    Case(
        "socket.env_conflict",
        "printf '%s\\n' '[Service]' Environment=DOCKER_HOST=unix:///var/run/docker.sock > "
        f"{DROPINS}/zz-environment.conf; systemctl daemon-reload",
        RESTORE_UNIT,
    ),
    Case(
        "socket.mounted_into_jobs",
        "docker \"volumes = ['/cache', '/run/user/$N/podman/podman.sock:/var/run/docker.sock']\"",
        RESTORE_CONFIG,
    ),
    Case(
        "cache.perm",
        "install -d -m 0700 /srv/ci; install -d -o $U /srv/ci/cache; docker 'volumes = [\"/srv/ci/cache:/cache\"]'",
        f"rm -r /srv/ci; {RESTORE_CONFIG}",
    ),
    Case(
        "ca.runner",
        "install -D -m 0600 /etc/ssl/certs/ISRG_Root_X1.pem /etc/ci/ca.crt; "
        "sed -i '/^ *name *=/a tls-ca-file = \"/etc/ci/ca.crt\"' $C; "
        'docker \'volumes = ["/etc/ci/ca.crt:/etc/gitlab-runner/certs/ca.crt:ro", '
        '"/etc/ci/ca.crt:/usr/local/share/ca-certificates/ci.crt:ro"]\'',
        f"rm -r /etc/ci; {RESTORE_CONFIG}",
    ),
    Case(
        "ca.helper",
        "install -D -m 0644 /dev/null /etc/ci/ca.crt; sed -i '/^ *name *=/a tls-ca-file = \"/etc/ci/ca.crt\"' $C; "
        "sed -i '/^ *name *=/a environment = [\"SSL_CERT_FILE=/etc/ci/bundle.crt\"]' $C; "
        'docker \'volumes = ["/cache", "/etc/ci/ca.crt:/etc/ci/bundle.crt:ro"]\'',
        f"rm -r /etc/ci; {RESTORE_CONFIG}",
    ),
    Case(
        "ca.job",
        "install -D -m 0644 /dev/null /etc/ci/ca.crt; sed -i '/^ *name *=/a tls-ca-file = \"/etc/ci/ca.crt\"' $C; "
        "docker 'volumes = [\"/etc/ci/ca.crt:/etc/gitlab-runner/certs/ca.crt:ro\"]'",
        f"rm -r /etc/ci; {RESTORE_CONFIG}",
    ),
    Case(
        "ca.git_ssl_no_verify",
        'sed -i \'/^ *name *=/a environment = ["A=1", "GIT_SSL_NO_VERIFY=true"]\' $C',
        RESTORE_CONFIG,
    ),
]


@pytest.fixture(scope="module")
def shell(host):
    """Run shell commands on the host as root."""

    def run(commands: str, check: bool = True):
        result = host.run("bash -c %s", f"{PRELUDE}\n{commands}")
        assert not check or result.rc == 0, f"{commands}\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture(scope="module")
def doctor(host, shell):
    """Run the module rootless_info on the host, in an empty Ansible, and return its result."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        folder = Path(ansible.module_utils.__file__).parent
        tar.add(folder, "ansible/module_utils", filter=lambda entry: None if "__pycache__" in entry.name else entry)
        tar.add(
            ROOT / "plugins/module_utils",
            f"{COLLECTION}/module_utils",
            filter=lambda entry: None if "__pycache__" in entry.name else entry,
        )
        tar.add(ROOT / "plugins/modules/rootless_info.py", f"{COLLECTION}/modules/rootless_info.py")
        tar.addfile(tarfile.TarInfo("ansible/__init__.py"))
    shell(f"mkdir -p {PLACE}")
    command = ["podman", "exec", "--interactive", host.backend.name, "tar", "--extract", "--directory", PLACE]
    subprocess.run(command, input=archive.getvalue(), check=True)

    def run(**options: str) -> dict:
        module = f"{COLLECTION.replace('/', '.')}.modules.rootless_info"
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": options})
        command = f"cd {PLACE} && echo %s | PYTHONPATH={PLACE} python3 -B -m {module}"
        return json.loads(host.check_output(command, arguments))

    return run


@pytest.fixture(scope="module")
def image(shell):
    """Have the image of the jobs in the store, which a remedy may have emptied."""

    return lambda: shell(f"as podman image exists {IMAGE} || load")


def named(result: dict, *others: str) -> dict[str, str]:
    """What the doctor says, by id."""
    return {entry["id"]: entry["summary"] for entry in result["findings"] if entry["id"] not in others}


def ids(result: dict, *severities: str) -> set[str]:
    return {entry["id"] for entry in result["findings"] if not severities or entry["severity"] in severities}


@pytest.fixture(scope="module")
def clean(doctor, shell, image):
    """A host on which the doctor finds nothing at all, and copies of what the cases change."""
    image()
    result = doctor()
    assert ids(result, "error", "warning") == set(), named(result)
    for entry in result["findings"]:
        for command in entry["remedy"]:
            shell(command)
    result = doctor()
    assert named(result) == {}
    shell(
        f"cp -a /etc/subuid /etc/subgid /etc/fstab {CONFIG} {PLACE}/; rm -rf {PLACE}/dot-config {PLACE}/dropins; "
        f"cp -a $H/.config {PLACE}/dot-config; cp -a {DROPINS} {PLACE}/dropins; "
        f"dpkg-query --show --showformat '${{Package}}\\n' > {PLACE}/packages"
    )
    return result


def test_a_healthy_host_has_neither_errors_nor_warnings_and_notes_can_be_put_right(clean):
    assert len(clean["passed_checks"]) >= 85
    reasons = {entry["id"]: entry["reason"] for entry in clean["skipped_checks"]}
    assert {reason for reason in reasons.values() if "could not be judged" in reason} == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}-{CASES.index(case)}")
def test_broken_named_and_put_right(host, case, clean, doctor, shell, image):
    if case.only and not host.backend.name.endswith(case.only):
        pytest.skip(f"for {case.only}")
    try:
        shell(case.break_it)
        before = doctor()
        assert named(before, *case.also).keys() == {case.id}, named(before)
        entry = next(entry for entry in before["findings"] if entry["id"] == case.id)
        for command in entry["remedy"]:
            shell(command)
        image()
        after = doctor()
        assert named(after, *case.also) == {}, entry["remedy"]
        assert case.id in after["passed_checks"]
        shell(f"set +e\n{case.clean_up}")
    except BaseException:
        shell(f"set +e\n{case.clean_up}\n{RESTORE_ALL}", check=False)
        image()
        raise


def test_the_host_still_runs_jobs(submit, image, clean):
    image()
    assert submit("echo still $((6 * 7))")["status"] == "success"


def test_probes(doctor, image, clean):
    image()
    result = doctor(probe="container")
    assert named(result) == {} and "probe.container" in result["passed_checks"]
    result = doctor(probe="pull", probe_image="127.0.0.1:9/nothing:1")
    assert named(result).keys() == {"probe.pull"}
    assert named(doctor(probe="container", probe_image="localhost/nothing:1")).keys() == {"probe.container"}
    # The attempts are in the journal now, and are no findings of their own.
    assert named(doctor()) == {}


def test_looking_leaves_nothing(host, doctor, shell, clean):
    """No file, no process and no store that was not there before."""
    shell("as podman system migrate; as systemctl --user stop podman.service; systemctl stop gitlab-runner")
    look = (
        "ps -u $U -o comm= | sort; find $H /run/user/$N /etc $T /tmp /var/tmp -xdev -printf '%p %y %m %u %s\\n' "
        "2>/dev/null | "
        "grep -v -e /proc/ -e /systemd/ | sort"
    )
    before = shell(look).stdout
    doctor()
    shell("until ! as systemctl --user --quiet is-active podman.service; do :; done")
    after = shell(look).stdout
    shell("systemctl start gitlab-runner")
    assert sorted(set(after.splitlines()) ^ set(before.splitlines())) == []
