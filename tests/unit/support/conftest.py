# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="session")
def coordinator():
    """The module tests/support/coordinator.py."""
    spec = importlib.util.spec_from_file_location("coordinator", SUPPORT / "coordinator.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(coordinator, tmp_path):
    """A running coordinator stand-in; C(state), C(url) and C(client) are its attributes."""
    (tmp_path / "repository").mkdir()
    state = coordinator.State(None, "glpat-test")
    running = coordinator.make_server("127.0.0.1", 0, state, str(tmp_path / "repository"))
    running.state = state
    running.url = f"http://127.0.0.1:{running.server_address[1]}"
    running.client = coordinator.Client(running.url)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()
