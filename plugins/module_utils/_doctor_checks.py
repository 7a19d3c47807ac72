# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The table of the doctor's checks, in the order in which they are made and documented."""

from __future__ import annotations

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import (
    _doctor_checks_host,
    _doctor_checks_podman,
    _doctor_checks_runner,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import Check

CHECKS: tuple[Check, ...] = (
    *_doctor_checks_host.CHECKS,
    *_doctor_checks_podman.CHECKS,
    *_doctor_checks_runner.CHECKS,
)
