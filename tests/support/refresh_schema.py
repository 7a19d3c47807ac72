#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write plugins/module_utils/_config_schema.py from a full schema of GitLab Runner's config.toml.

    tests/support/refresh_schema.py SCHEMA.json

SCHEMA.json has C(keys): a tree of the keys of config.toml, each with C(type) and, where they apply, C(keys)
(tables), C(items) (arrays), C(value_type) (maps), C(choices), C(deprecated) and C(known_flags) (feature
flags). It is gathered from the C(toml) tags of the Go structs that GitLab Runner decodes its file into
(common/config.go and the files around it); C(_meta.generated_from) names the version.
"""

from __future__ import annotations

import json
import pprint
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "plugins" / "module_utils" / "_config_schema.py"

# Keys whose known values are examples: any other string may be right, too.
OPEN_CHOICES = {"runners.docker.helper_image_flavor"}

# What to use in place of a deprecated key.
REMEDIES = {
    "runners.machine.OffPeakPeriods": "use [[runners.machine.autoscaling]]",
    "runners.machine.OffPeakTimezone": "use [[runners.machine.autoscaling]]",
    "runners.machine.OffPeakIdleCount": "use [[runners.machine.autoscaling]]",
    "runners.machine.OffPeakIdleTime": "use [[runners.machine.autoscaling]]",
    "experimental.usage_logger.log_dir": "use experimental.usage_logger.logrotate.log_dir",
    "experimental.usage_logger.max_backup_files": "use experimental.usage_logger.logrotate.max_backup_files",
    "experimental.usage_logger.max_rotation_age": "use experimental.usage_logger.logrotate.max_rotation_age",
    "experimental.usage_logger.labels": "use experimental.usage_logger.logrotate.labels",
}

HEAD = '''\
# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The keys of GitLab Runner's config.toml, written by tests/support/refresh_schema.py: change that, not this.

A dict is a table, a list of one dict is an array of tables. A string is the type of a value: "array of X" and
"map of X" (a table with free keys) say what is inside, "or" joins types.
"""

from __future__ import annotations

from typing import Any
'''


def compact(keys: dict[str, Any], path: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The compact tree below a table; choices, deprecations and feature flags are added to C(found)."""
    tree: dict[str, Any] = {}
    for key, spec in keys.items():
        here = f"{path}.{key}" if path else key
        kind = spec["type"]
        if kind == "table":
            tree[key] = compact(spec["keys"], here, found)
        elif kind == "array_of_tables":
            tree[key] = [compact(spec["keys"], here, found)]
        elif kind == "array":
            tree[key] = f"array of {spec['items']}"
        elif kind == "map":
            tree[key] = f"map of {spec['value_type']}"
        elif kind == "string_or_array_of_strings":
            tree[key] = "string or array of string"
        else:
            tree[key] = kind
        if spec.get("choices") and here not in OPEN_CHOICES:
            found["choices"][here] = tuple(spec["choices"])
        if spec.get("deprecated"):
            found["deprecated"][here] = REMEDIES.get(here, "leave it out")
        for flag in spec.get("known_flags", []):
            note = f"goes with {flag['to_be_removed_with']}" if flag.get("to_be_removed_with") else "leave it out"
            found["flags"][flag["name"]] = note if flag["deprecated"] else ""
    return tree


def main() -> None:
    schema = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    version = re.search(r"\d+\.\d+\.\d+", schema["_meta"]["generated_from"])
    found: dict[str, dict[str, Any]] = {"choices": {}, "deprecated": {}, "flags": {}}
    tree = compact(schema["keys"], "", found)
    parts = [
        HEAD,
        f'VERSION = "{version.group() if version else "unknown"}"',
        "# Feature flags; the text is not empty for deprecated ones.",
        f"FEATURE_FLAGS: dict[str, str] = {_format(found['flags'])}",
        f"CHOICES: dict[str, tuple[str, ...]] = {_format(found['choices'])}",
        "# Deprecated keys, and what to do.",
        f"DEPRECATED: dict[str, str] = {_format(found['deprecated'])}",
        f"SCHEMA: dict[str, Any] = {_format(tree)}",
    ]
    TARGET.write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"{TARGET}: written, now run 'ruff format' on it")


def _format(data: Any) -> str:
    return pprint.pformat(data, width=110, sort_dicts=False)


if __name__ == "__main__":
    main()
