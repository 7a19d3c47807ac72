# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _config_schema, _redact, _toml
from hypothesis import given
from hypothesis import strategies as st

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
        # A key in capitals is the name of a variable.
        ("DB_PASS", "x", "VALUE_REDACTED"),
        ("SSH_KEY", "x", "VALUE_REDACTED"),
        ("gitlab_pat", "x", "VALUE_REDACTED"),
        ("key", "x", "x"),
        # The path of a file is no secret.
        ("TOKEN_FILE", "/run/token", "/run/token"),
        ("TOKEN_FILE", "hush", "VALUE_REDACTED"),
        ("TOKEN_FILE", "/run/token of https://me:pw@host", "/run/token of https://VALUE_REDACTED@host"),
        ("environment", "DB_PASSWORD_FILE=/run/x", "DB_PASSWORD_FILE=/run/x"),
        (
            "script",
            "x --token-file=/run/token --token-file /run/token",
            "x --token-file=/run/token --token-file /run/token",
        ),
        ("environment", "MYSQL_PWD=hush", "MYSQL_PWD=VALUE_REDACTED"),
        ("environment", "SSHPASS=hush", "SSHPASS=VALUE_REDACTED"),
        ("environment", "PWD=/builds", "PWD=/builds"),
        ("environment", "BYPASS=1", "BYPASS=1"),
        # Options and headers.
        ("script", "login --token  hush x", "login --token  VALUE_REDACTED x"),
        ("script", "login --token\thush x", "login --token\tVALUE_REDACTED x"),
        ("script", "login --token \\\n  hush \\\n  x", "login --token \\\n  VALUE_REDACTED \\\n  x"),
        ("script", "login -token hush x", "login -token VALUE_REDACTED x"),
        ("script", "x --registration-token hush --name x", "x --registration-token VALUE_REDACTED --name x"),
        ("script", "x --registration-token=hush --name x", "x --registration-token=VALUE_REDACTED --name x"),
        ("script", "x --cache-s3-secret-key=hush", "x --cache-s3-secret-key=VALUE_REDACTED"),
        ("script", "x --docker-password 'a b' y", "x --docker-password VALUE_REDACTED y"),
        ("script", "x --api-key hu\\ sh y", "x --api-key VALUE_REDACTED y"),
        ("script", "x '--token' 'hush' y", "x '--token' VALUE_REDACTED y"),
        ("script", 'x "--token=a b" y', 'x "--token=VALUE_REDACTED" y'),
        ("script", '"A=1 A_TOKEN=hush" B=2', '"A=1 A_TOKEN=VALUE_REDACTED" B=2'),
        ("script", 'x --token "hush', "x --token VALUE_REDACTED"),
        ("script", "x -Dpassword=hush y", "x -Dpassword=VALUE_REDACTED y"),
        ("script", '["--token", "a b", "x"]', '["--token", "VALUE_REDACTED", "x"]'),
        ("script", '["--token","$TOKEN"]', '["--token","$TOKEN"]'),
        ("script", r"[\"--token\", \"a b\", \"x\"]", r"[\"--token\", \"VALUE_REDACTED\", \"x\"]"),
        ("script", "curl -H 'PRIVATE-TOKEN: hush' url", "curl -H 'PRIVATE-TOKEN: VALUE_REDACTED' url"),
        ("script", 'curl -H "JOB-TOKEN:hush" url', 'curl -H "JOB-TOKEN:VALUE_REDACTED" url'),
        ("script", 'curl -H "JOB-TOKEN: $CI_JOB_TOKEN" url', 'curl -H "JOB-TOKEN: $CI_JOB_TOKEN" url'),
        ("script", 'x "Authorization: Bearer hush" y', 'x "Authorization: Bearer VALUE_REDACTED" y'),
        ("script", "authorization: Basic hush\nx", "authorization: Basic VALUE_REDACTED\nx"),
        ("script", "x {'X-Api-Key': 'a b'} y", "x {'X-Api-Key': 'VALUE_REDACTED'} y"),
        ("script", '{"auths": {"a": {"auth": "hush"}}}', '{"auths": {"a": {"auth": "VALUE_REDACTED"}}}'),
        ("script", "cat <<EOF\n  password: a b\nEOF", "cat <<EOF\n  password: VALUE_REDACTED\nEOF"),
        ("script", 'cat <<EOF\ntoken = "a b"\nEOF', 'cat <<EOF\ntoken = "VALUE_REDACTED"\nEOF'),
        ("script", 'x\n$token := "a b"\n', 'x\n$token := "VALUE_REDACTED"\n'),
        ("script", "x ${A_TOKEN:=hush}", "x ${A_TOKEN:=VALUE_REDACTED"),
        ("script", "x\n  passwords = ['a b']\ny", "x\n  passwords = VALUE_REDACTED\ny"),
        ("script", "args:\n- --token\n- hush\n- --x", "args:\n- --token\n- VALUE_REDACTED\n- --x"),
        ("script", "args:\n- '--token'\n# - \n- --x", "args:\n- '--token'\n# - \n- --x"),
        ("script", "run --pass\n- script", "run --pass\n- script"),
        ("script", "# --token\n# - other thing", "# --token\n# - other thing"),
        ("script", "- --with-token\n- name: foo", "- --with-token\n- name: foo"),
        ("script", "max_tokens: 5\nverify_tokens: true", "max_tokens: 5\nverify_tokens: true"),
        # What only looks like those.
        ("volumes", "vault-token:/run/token:ro", "vault-token:/run/token:ro"),
        ("volumes", "/srv/private-token:/token:ro", "/srv/private-token:/token:ro"),
        ("image", "registry/secret-key:latest", "registry/secret-key:latest"),
        ("msg", "runner 'my-token': runners.limit is wrong", "runner 'my-token': runners.limit is wrong"),
        ("script", "login --password-stdin --name x", "login --password-stdin --name x"),
    ],
)
def test_strings(key, text, shown):
    assert _redact.redact_string(text, key) == shown


# https://docs.gitlab.com/security/tokens/#token-prefixes
PREFIXES = ["glpat", "gloas", "gldt", "glrt", "glrtr", "glrct", "glcbt", "glptt", "glft", "glimt", "glagent", "glwt"]
PREFIXES += ["glsoat", "glffct"]
TOKENS = st.tuples(st.sampled_from(PREFIXES), st.text("abcXYZ012_-", min_size=20, max_size=40)).map("-".join)


@given(
    TOKENS,
    st.sampled_from(["", " ", '"', "'", "=", "/", ":", "@", "(", ",", "\n", "corp-", "\\n", "%3D", "\\u003d"]),
    st.sampled_from(["", " ", '"', "'", "/", "@host", ":", ")", ",", "&a=b", "\n"]),
)
def test_tokens_are_found_wherever_they_are(token, before, after):
    assert _redact.redact_string(f"x {before}{token}{after}") == f"x {before}VALUE_REDACTED{after}"


@pytest.mark.parametrize(
    "text",
    [
        "global-docker-01",
        "/srv/global-build-cache:/gc",
        "/mnt/gluster-containers:/x",
        "glibc-2.36-builder",
        "english-documentation",
        "registry.example.com/globex-corp.builds/img",
        "glacier-backup-store",
        "opengldt-containers",
        "glimt-runner-01",
        "glagent-docker-01",
        "gitlab-runner-1",
        "TAKIA0123456789ABCDEF",
    ],
)
def test_ordinary_words_stay(text):
    assert _redact.redact_string(text, "name") == text


@given(
    st.lists(st.from_regex(r"(?:gl)?[a-z0-9]{1,9}", fullmatch=True), min_size=1, max_size=5), st.sampled_from("-./ _")
)
def test_any_words_stay(words, separator):
    text = separator.join(words)
    if not any(f"{prefix}-" in text for prefix in PREFIXES):
        assert _redact.redact_string(text, "name") == text


# Values that no quoting changes, and that stand out of the text around them.
HUSH = st.text("hH7+/=.@-_", max_size=12).map("hush{}Zq".format)
SECRET_NAMES = ["token", "private-token", "DB_PASS", "secret_key", "registration-token", "api-key", "CI_PAT", "passwd"]
FORMS = [
    "{name}={value}",
    "x; export {name}={value}; y",
    "x --{name}={value} y",
    "x --{name} {value} y",
    "x --{name}   {value} y",
    "x --{name}\t'{value}' y",
    "x --{name} \\\n  {value}\ny",
    'x "--{name}={value} {value}" y',
    'x ["--{name}", "{value} {value}"] y',
    "x\n  {name}: {value} {value}\ny",
    'x {{"{name}": "{value} {value}"}} y',
    "args:\n  - --{name}\n  - {value}\n",
]
# The same as variables of a container, in YAML and JSON.
VARIABLES = [
    "- name: {name}\n  value: {value}\n- name: A\n  value: {shown}\n",
    "- name: B\n  value: {shown}\n- value: {value} {value} # why\n  name: {name}\n",
    "  - name: '{name}' # of {{it}}\n    value: '{value}''{value}\n\n      {value}'\n  - value: {shown}\n    name: A\n",
    "-   name: {name}\n    value: {value}\n      {value}\n\n      {value}\n-   name: A\n    value: {shown}\n",
    "-\n  value: |-\n    {value}\n\n    {value}\n  name: {name}\n- value: {shown}\n",
    "- name: {name}\n  value: >\n      {value}\n    {value}\nother:\n- value: {shown}\n",
    "- name: {name}\n  value:\n    {value}\n- value: {shown}\n",
    "- {{name: {name}, value: {value}}}\n- {{name: A, value: {shown}}}\n",
    '[{{"name": "{name}", "value": "{value}\\"{value}"}}, {{"name": "A", "value": "{shown}"}}]',
    '[{{"value":"{value}","name":"{name}"}},{{"value":"{shown}","name":"A"}}]',
    '[\n  {{\n    "name": "{name}",\n    "value": "{value}, {value}"\n  }},\n  {{"name": "A", "value": "{shown}"}}\n]',
    '[{{"op": "add", "path": "/a/-", "value": {{"name": "{name}", "value": "{value}"}}}}, {{"value": "{shown}"}}]',
]


@given(HUSH, st.sampled_from(SECRET_NAMES), st.sampled_from(FORMS))
def test_what_has_the_name_of_a_secret_is_never_shown(value, name, form):
    text = form.format(name=name, value=value)
    assert "hush" not in _redact.redact_string(text, "script")
    assert "hush" not in _redact.redact_string(f"before\n{text}\nafter", "script")
    for source in (text, "".join(f"# {line}\n" for line in text.splitlines()), f"a = {_toml.format_string(text)}\n"):
        assert "hush" not in _redact.redact_text(source, KEY), source
    data = {
        name: value,
        "x": {name: {"a": value, "b": [{"c": value}]}},
        "environment": {name: value},
        "list": [f"--{name}", value, text],
        "env": [{"name": name, "value": value}],
    }
    assert "hush" not in json.dumps(_redact.redact_data(data))
    assert value in _redact.secrets_in({name: {"a": value}})


@given(HUSH, st.sampled_from(SECRET_NAMES), st.sampled_from(VARIABLES), st.sampled_from(["\n", "\r\n"]))
def test_variables_in_the_patch_of_a_pod_are_not_shown(value, name, form, newline):
    patch = form.format(name=name, value=value, shown="seen").replace("\n", newline)
    head = "[[runners]]\n[[runners.kubernetes.pod_spec]]\nname = 'env'\n"
    lines = f'{head}patch = """\n{patch.replace(chr(92), chr(92) * 2)}"""\n'
    escaped = f"{head}patch = {_toml.format_string(patch)}\n"
    assert _toml.loads(lines)["runners"] and _toml.loads(escaped)["runners"]
    for text in (lines, escaped):
        templates = [
            text,
            f"{{{{ if .a }}}}\n{text}{{{{ end }}}}\n",
            "".join(f"# {line}\n" for line in text.splitlines()),
        ]
        for source in templates:
            shown = _redact.redact_text(source, KEY)
            assert "hush" not in shown, source
            assert "seen" in shown or "\\n" in source, shown
        data = str(_redact.redact_data(_toml.loads(text)))
        assert "hush" not in data and "seen" in data
    assert "seen" in _redact.redact_string(patch)


@pytest.mark.parametrize(
    "text",
    [
        "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db, key: password}\n- name: A\n  value: seen\n",
        "- name: DB_PASSWORD\n  value: $OTHER\n",
        "- name: DB_PASSWORD\n  value: '{{ .Values.password }}'\n",
        '{"value": "seen"}, {"name": "DB_PASSWORD"}, {"value": "seen"}',
        "[[env]]\nvalue = 'seen'\n[[env]]\nname = 'DB_PASSWORD'\n[[env]]\nvalue = 'seen'\n",
        "- value: seen\n- name: DB_PASSWORD\n- value: seen\n",
    ],
)
def test_values_that_are_no_secrets_are_shown(text):
    assert _redact.redact_string(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "token=", "--token ", "--token=", "-", "a-", "token: ", "token:", "PRIVATE-TOKEN: ", "\\", "'", '"',
        "--token '", "://a:", " ", "\n", "glrt-", '"--token", ', "token=\\\n", "--token \\\n", "-----BEGIN ", "$", "{{",
        "- name: A_TOKEN\n  value: ", "value: |\n  name: A_TOKEN\n", '{"name": "TOKEN", "value": ', "name: A_TOKEN ",
        "value: ", "value: 'name: A_TOKEN ", "{value: name: A_TOKEN ", "value: name: A_TOKEN ", "- --token\n",
        "token = [", "token = [\"", "token = ['a", "name: A_TOKEN value: ' ", "name: A_TOKEN # ",
        "#", "A", "token='", 'token: "', "\n- ", "token = a ", "A_TOKEN={{}}",
    ],
)  # fmt: skip
def test_long_texts_take_no_longer_than_their_length(part):
    """Quadratic time would be noticed here, for the test would not come to an end."""
    text = part * (200_000 // len(part))
    for source in (text, f"x {text}", f"# {text}"):
        _redact.redact_string(source, "script")
        _redact.redact_text(source, KEY)


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
        ('{{- $token := "hidden" }}', "{{- $token := * }}"),
        ("$token:=`hidden`", "$token:=*"),
        ("a = 1", "a = 1"),
    ],
)
def test_comment(line, shown):
    """The same is hidden in a comment of TOML and in text that is no TOML, such as a template."""
    for before, after in (("a = 1\n# ", "\nb = 2\n"), ("{{ if .a }}\n", "\n{{ end }}\n")):
        found = _redact.redact_text(before + line + after, KEY)
        assert "hidden" not in found
        assert re.sub(r"VALUE_REDACTED [0-9a-f]{8}", "*", found) == before + shown + after


def test_tables_and_lists_in_text():
    text = """\
passwords = ["hidden", 12345678]
access_tokens = [{ name = "public" }]
image_pull_secrets = ["public"]
args = ["--token", "hidden", "public", "-password", 12345678]
token = { a = "hidden", b = [{ c = "hidden" }] }
environment = { db_pass = "hidden", a = "public" }
access_token.x.y = "hidden"
[a.token]
b = "hidden"
[a.token.c]
d = "hidden"
[[volumes.secret]]
name = "public"
"""
    shown = _redact.redact_text(text, KEY)
    assert "hidden" not in shown and "12345678" not in shown and shown.count("public") == 5
    data = _redact.redact_data(_toml.loads(text))
    assert "hidden" not in str(data) and "12345678" not in str(data) and str(data).count("public") == 5
    assert data["token"] == data["a"]["token"] == "VALUE_REDACTED"
    assert list(_redact.secrets_in(_toml.loads(text))).count("hidden") == 8
    # A slip of the pen in YAML makes a key of the secret.
    assert list(_redact.secrets_in({"token": {"hidden": None}})) == ["hidden"]


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


@pytest.mark.parametrize("name", ["GPG_PASSPHRASE", "GOOGLE_CREDENTIALS", "SSH_PRIVATE", "AWS_ACCESS_KEY_ID"])
def test_names_of_secrets(name):
    assert _redact.redact_string(f"{name}=hush", "environment") == f"{name}=VALUE_REDACTED"


def test_other_forms_of_secrets():
    assert _redact.redact_string("x AKIA0123456789ABCDEF y") == "x VALUE_REDACTED y"
    assert _redact.redact_string("x --db-pwd hush y", "script") == "x --db-pwd VALUE_REDACTED y"
    assert _redact.redact_string("hush", "google_credentials") == "VALUE_REDACTED"
    assert _redact.redact_data({"apiKeys": ["hush", 5]}) == {"apiKeys": ["VALUE_REDACTED"] * 2}
