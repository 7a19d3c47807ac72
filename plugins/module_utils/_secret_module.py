# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""An AnsibleModule whose options may hold secrets at any depth.

C(no_log) is no way to protect those: on a dict it hides each string of it from all output, so that every
"docker" and every "/cache" of a result turns into asterisks. Here only the secrets in the options are hidden:
from the invocation in the result, from the log, and from any text of the result.

Data in the result has to be without secrets by itself, as redact_data() makes it. It is not searched for secrets, for
a password may be a common word: "postgres" would turn into asterisks in names, which are used further.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.common.warnings import get_deprecation_messages, get_warning_messages
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import REDACTED, redact_data, secrets_in

# Shorter values would hide too much of the output; they are redacted where they stand, as all are.
_MIN_LENGTH = 6

# What is text in results, and not data; C(cmd) and so on are from a command that has failed.
_TEXTS = ("msg", "exception", "diff", "invocation", "cmd", "stdout", "stderr")


class SecretModule(AnsibleModule):
    """Use it in place of AnsibleModule."""

    params: dict[str, Any]
    no_log_values: set[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.hidden: set[str] = set()
        self._warnings: Optional[list[tuple[str, dict[str, Any]]]] = []
        super().__init__(*args, **kwargs)

    def _load_params(self) -> None:
        # Before anything is checked or logged: an error about the options has the options in its result.
        super()._load_params()
        self.hide(self.params)

    def hide(self, data: Any) -> None:
        """Hide the secrets of more data, such as that of a file, from the texts of the result."""
        self.hidden.update(secret for secret in secrets_in(data) if len(secret) >= _MIN_LENGTH and secret != REDACTED)

    def masked(self, texts: Any) -> Any:
        """A text, or nested data with texts, without what is hidden."""
        # Ansible tries each value on each string, which takes long for many runners. Only the values that are in there
        # at all are worth it, and normally there are none.
        whole = "\n".join(_strings(texts))
        return remove_values(texts, {secret for secret in self.hidden if secret in whole})

    def warn(self, warning: str, **options: Any) -> None:
        if self._warnings is None:
            super().warn(self.masked(warning), **options)
        else:
            # What is to be hidden may be known later.
            self._warnings.append((warning, options))

    def _log_invocation(self) -> None:
        options = self.params
        self.params = {
            name: self.masked(value) if value is None or isinstance(value, (str, int)) else "NOT_LOGGING_PARAMETER"
            for name, value in options.items()
        }
        try:
            super()._log_invocation()
        finally:
            self.params = options

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        self.params = redact_data(self.params)
        kwargs.setdefault("invocation", {"module_args": self.params})
        kwargs.update({name: self.masked(value) for name, value in kwargs.items() if name in _TEXTS})
        warnings, self._warnings = self._warnings or [], None
        for warning, options in warnings:
            self.warn(warning, **options)
        # Warnings of Ansible itself about the options are out of reach.
        messages = "\n".join(_strings([get_warning_messages(), get_deprecation_messages()]))
        self.no_log_values.update(secret for secret in self.hidden if secret in messages)
        text = "\n".join(_strings([kwargs, messages]))
        self.no_log_values = {value for value in self.no_log_values if value in text}
        super()._return_formatted(kwargs)


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _strings(value)
    else:
        yield str(data)
