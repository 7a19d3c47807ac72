# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _config_schema, _redact, _toml

KEY = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("token", "glrt-abc", "VALUE_REDACTED"),
        ("Token", "x", "VALUE_REDACTED"),
        ("SecretKey", "x", "VALUE_REDACTED"),
        ("bearer_token", "x", "VALUE_REDACTED"),
        ("sentry_dsn", "https://k@host/1", "VALUE_REDACTED"),
        ("token", "$RUNNER_TOKEN", "$RUNNER_TOKEN"),
        ("token", "${runner_token}", "${runner_token}"),
        ("token", "$Tr0ng_Pa55", "VALUE_REDACTED"),
        ("token", "", ""),
        ("tls-key-file", "/etc/key.pem", "/etc/key.pem"),
        ("name", "token", "token"),
        ("environment", "DB_PASSWORD=a b c", "DB_PASSWORD=VALUE_REDACTED"),
        ("environment", 'DOCKER_AUTH_CONFIG={"auths": {}}', "DOCKER_AUTH_CONFIG=VALUE_REDACTED"),
        ("environment", 'DOCKER_AUTH_CONFIG={\n"auths": {}\n}', "DOCKER_AUTH_CONFIG=VALUE_REDACTED"),
        ("environment", "API_KEY=$OTHER", "API_KEY=$OTHER"),
        ("environment", "DB_PASSWORD=$Tr0ng_Pa55", "DB_PASSWORD=VALUE_REDACTED"),
        ("environment", "DOCKER_DRIVER=overlay2", "DOCKER_DRIVER=overlay2"),
        ("environment", "GIT_AUTHOR_NAME=me", "GIT_AUTHOR_NAME=me"),
        ("MachineOptions", "amazonec2-secret-key=abc", "amazonec2-secret-key=VALUE_REDACTED"),
        ("environment", "HTTPS_PROXY=http://me:pw@proxy:8", "HTTPS_PROXY=http://VALUE_REDACTED@proxy:8"),
        ("clone_url", "https://gitlab.example.com", "https://gitlab.example.com"),
        ("pre_build_script", "export TOKEN=abc\nls\n", "export TOKEN=VALUE_REDACTED\nls\n"),
        ("pre_build_script", "login --password abc host", "login --password VALUE_REDACTED host"),
        ("pre_build_script", "login --password 'a b' host", "login --password VALUE_REDACTED host"),
        ("pre_build_script", "export A_TOKEN=a'b c'\"d\"e; ls", "export A_TOKEN=VALUE_REDACTED; ls"),
        ("pre_build_script", 'run -e "A_TOKEN=a b" image', 'run -e "A_TOKEN=VALUE_REDACTED" image'),
        ("pre_build_script", "OPTIONS=A_TOKEN=abc run", "OPTIONS=A_TOKEN=VALUE_REDACTED run"),
        ("anything", "see glpat-abcdefgh12 there", "see VALUE_REDACTED there"),
        ("anything", "-----BEGIN RSA PRIVATE KEY-----\nx", "VALUE_REDACTED"),
    ],
)
def test_strings(key, text, shown):
    assert _redact.redact_string(text, key) == shown


def test_every_secret_of_the_schema_is_known():
    """All strings of the schema whose name could mean a secret; a new one has to be judged here."""
    suspicious = ("token", "secret", "password", "key", "credential", "dsn", "auth", "bearer")

    def strings(schema, path=""):
        schema = schema[0] if isinstance(schema, list) else schema
        if isinstance(schema, str):
            if "string" in schema and any(word in path.rpartition(".")[2].lower() for word in suspicious):
                yield path
        else:
            for key, inner in schema.items():
                yield from strings(inner, f"{path}.{key}")

    found = {path.rpartition(".")[2] for path in strings(_config_schema.SCHEMA)}
    secret = {key for key in found if _redact.is_secret_key(key)}
    assert secret == {
        "token",
        "password",
        "bearer_token",
        "AccessKey",
        "SecretKey",
        "SessionToken",
        "PrivateKey",
        "AccountKey",
        "sentry_dsn",
    }
    assert found - secret == {
        "AuthenticationType",
        "CredentialsFile",
        "ServerSideEncryptionKeyID",
        "image_pull_secrets",
        "key",
        "key_file",
        "key_path",
        "match_label_keys",
        "mismatch_label_keys",
        "pause_pod_image_pull_secrets",
        "tls-key-file",
        "topology_key",
    }


TEXT = """\
# token = "hidden1", or glrt-hidden2abc
a = 1 # password: hidden3
[runners.cache.s3] # fine
  SecretKey = 'hidden4' # "quoted" comment
  BucketName = "public"
  environment = ["TOKEN=hidden5", # API_KEY=hidden6
    "A=public"]
  inline = { password = "hidden7", x = ["public"] }
  script = '''
export DB_PASSWORD="hidden8"
'''
"""


def test_text():
    shown = _redact.redact_text(TEXT, KEY)
    assert "hidden" not in shown and shown.count("VALUE_REDACTED ") == 8 and shown.count("public") == 3
    assert shown.count("\n") == TEXT.count("\n")
    assert _toml.loads(shown).keys() == _toml.loads(TEXT).keys()
    # The digest shows whether a secret has changed, and only to those who have the same text and key.
    other = _redact.redact_text(TEXT.replace("hidden4", "hidden9"), KEY)
    assert [one == two for one, two in zip(shown.splitlines(), other.splitlines())].count(False) == 1
    assert _redact.redact_text(TEXT, b"another key") != shown


def test_text_that_is_not_toml():
    shown = _redact.redact_text('token = "hidden1\n[[\npassword: hidden2\nsee glrt-hidden3abc\n', KEY)
    assert "hidden" not in shown and shown.count("VALUE_REDACTED ") == 3


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('environment = ["DB_PASSWORD=hidden"]', 'environment = ["DB_PASSWORD=*"]'),
        (
            'environment = ["A=1", "DB_PASSWORD=hidden, \\"hidden\\" x", "B=2"]',
            'environment = ["A=1", "DB_PASSWORD=*", "B=2"]',
        ),
        ("environment = ['DB_PASSWORD=hidden hidden']", "environment = ['DB_PASSWORD=*']"),
        ("environment = {DB_PASSWORD = 'hidden', A = 'b'}", "environment = {DB_PASSWORD = *, A = 'b'}"),
        ("environment: DB_PASSWORD=hidden,hidden", "environment: DB_PASSWORD=*"),
        ('passwords = ["hidden", "hidden"] # why', "passwords = * # why"),
        ("password: hidden hidden, hidden#hidden # why", "password: * # why"),
        ("token = '''hidden''' # why", "token = * # why"),
        ("token = 12345678hidden", "token = *"),
        ("token = $TOKEN", "token = $TOKEN"),
        ('token = "{{ .Values.token }}"', 'token = "{{ .Values.token }}"'),
        ("token = {{ `hidden` }}", "token = *"),
        ("a = 1", "a = 1"),
    ],
)
def test_comment(line, shown):
    """The same is hidden in a comment of TOML and in text that is no TOML, such as a template."""
    for before, after in (("a = 1\n# ", "\nb = 2\n"), ("{{ if .a }}\n", "\n{{ end }}\n")):
        found = _redact.redact_text(before + line + after, KEY)
        assert "hidden" not in found
        assert re.sub(r"VALUE_REDACTED [0-9a-f]{8}", "*", found) == before + shown + after


def test_numbers_in_text():
    text = "token = 12345678 # why\npassword = [1.5, true]\nn = 12345678\n"
    shown = _redact.redact_text(text, KEY)
    assert (
        re.sub(r"VALUE_REDACTED [0-9a-f]{8}", "*", shown) == 'token = "*" # why\npassword = ["*", true]\nn = 12345678\n'
    )


def test_names_beside_values():
    text = "[[env]]\nvalue = 'hidden'\nname = 'API_KEY'\n[[env]]\nname = 'A'\nvalue = 'b'\n"
    shown = _redact.redact_text(text + "list = [{name = 'A_SECRET', value = 'hidden'}]\n", KEY)
    assert "hidden" not in shown and "value = 'b'" in shown and shown.count("VALUE_REDACTED") == 2
    data = _toml.loads(text)
    assert list(_redact.secrets_in(data)) == ["hidden"]
    assert _redact.redact_data(data)["env"] == [
        {"value": "VALUE_REDACTED", "name": "API_KEY"},
        {"name": "A", "value": "b"},
    ]


def test_comment_of_several_lines():
    text = "# -----BEGIN PRIVATE KEY-----\n# hidden\n  # hidden\ntoken_count = 5\nname = 'a'\n"
    shown = _redact.redact_text(text, KEY)
    assert re.fullmatch(r"# VALUE_REDACTED [0-9a-f]{8}\ntoken_count = 5\nname = 'a'\n", shown)


def test_data():
    data = {"token": "abc", "list": [{"password": "x"}, "A_TOKEN=y"], "n": 1, "t": {"token": 5}, "secret": [True, 2.5]}
    assert _redact.redact_data(data) == {
        "token": "VALUE_REDACTED",
        "list": [{"password": "VALUE_REDACTED"}, "A_TOKEN=VALUE_REDACTED"],
        "n": 1,
        "t": {"token": "VALUE_REDACTED"},
        "secret": [True, "VALUE_REDACTED"],
    }
    assert sorted(_redact.secrets_in(data)) == ["2.5", "5", "abc", "x", "y"]
