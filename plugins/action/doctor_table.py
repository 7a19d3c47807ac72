# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Optional

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._doctor_report import (
    headline,
    printable,
    table,
    worst,
)

display = Display()
COLOURS = {
    "error": C.COLOR_ERROR,
    "warning": C.COLOR_WARN,
    "info": C.COLOR_SKIP,
    "ok": C.COLOR_OK,
    "remedy": C.COLOR_HIGHLIGHT,
}


def _coloured(text: str, severity: str) -> str:
    return stringc(text, COLOURS[severity]) if severity in COLOURS else text


class ActionModule(ActionBase):
    """Print a report, which ansible.builtin.debug would quote and could not colour."""

    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec(
            argument_spec={
                "result": {"type": "dict", "required": True},
                "severity": {"type": "str", "choices": ["error", "warning", "info"], "default": "info"},
            },
        )
        host = str((task_vars or {}).get("inventory_hostname", ""))
        result = arguments["result"]
        rows = table(host, result, arguments["severity"], display.columns - 1)
        # At once: the worker of another host prints at the same time.
        display.display("\n".join(_coloured(text, severity) for text, severity in rows))
        return {"changed": False, "worst": worst(result), "msg": printable(headline(result))}
