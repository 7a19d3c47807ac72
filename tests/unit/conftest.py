# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.testing import patch_module_args
from hypothesis import HealthCheck, settings

# Time says nothing about the code on machines that do other things too.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

# Roles use filters of the collection, which Ansible finds only if this comes before all imports of the collection.
# ansible-test has done it already, and the old Pythons on which it runs those of modules have no controller.
if find_spec("ansible.plugins"):
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if not AnsibleCollectionConfig.collection_finder:
        init_plugin_loader()


@pytest.fixture
def run_module(capsys, monkeypatch):
    """A function that runs a module's C(main()) in this process and returns the JSON result that it printed."""

    def run(module, args, check_mode=False, diff=True):
        capsys.readouterr()
        # It is true once any test has imported controller code, and then warnings are not a part of results.
        monkeypatch.setattr(_internal, "is_controller", False)
        arguments = {**args, "_ansible_check_mode": check_mode, "_ansible_diff": diff}
        with patch_module_args(arguments), pytest.raises(SystemExit) as exit_info:
            module.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(exit_info.value.code) == bool(result.get("failed")), result
        # Only older releases of ansible-core repeat the arguments there.
        result.pop("invocation", None)
        return result

    return run
