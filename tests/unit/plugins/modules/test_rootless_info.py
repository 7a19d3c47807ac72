# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.modules import rootless_info


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_host_without_anything_is_findings_not_a_failure(run_module, tmp_path, check_mode):
    result = run_module(
        rootless_info,
        {"user": "no-such-user", "config_path": str(tmp_path / "config.toml"), "service": "no-such-service"},
        check_mode=check_mode,
    )
    assert result["changed"] is False
    assert result["findings"][0]["id"] == "user.missing"
    assert set(result) >= {"facts", "findings", "skipped_checks", "passed_checks"}
    # Ansible takes a result with one of these for something else.
    assert not {"skipped", "failed", "rc"} & set(result)


def test_a_pull_needs_an_image(run_module):
    result = run_module(rootless_info, {"probe": "pull"})
    assert result["failed"] and "probe_image" in result["msg"]
