# make demo     boot a disposable CI host, converge it with site.yml and run a CI job on it
# make test     lint, unit and e2e, and molecule; what takes longer is below (the scenario runner, check, fleet, test-vm)
# make lint     only the linters
# make unit     only the unit tests
# make e2e      only the tests that run playbooks on the controller: bad input, and a Helm chart
# make molecule only the scenarios, on the platforms of CI_HOST_PLATFORMS
# make check    the checks of the Ansible ecosystem, on each ansible-core and Python that is found
# make fleet    eight hosts over SSH, some of them broken
# make test-vm  one machine with its own kernel, in QEMU (not in make test; needs qemu-system-x86)
# make docs     the documentation site, in docs/build
# make bench    measure; prints the tables of docs/performance.md (but that of --profile), and that of the launch modes in
#               docs/runner_service.md
# make clean    remove the hosts of tests and demo, and what was made in this directory. What hosts boot from stays: the images
#               localhost/rootless-ci-host:* of root's Podman, and ~/.cache/rootless-gitlab-runner (of root; for test-vm, yours)

SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/.venv/collections
export MYPYPATH := $(CURDIR)/.venv/collections
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections
export CI_HOST_PLATFORMS ?= debian12 debian13
export MOLECULE_COMMAND_BORDERS := false
TESTBED := tests/support/testbed
# The scenario runner takes 19 minutes, with which make test would take more than half an hour: make molecule SCENARIOS=runner. The
# pipelines run it on each platform.
SCENARIOS ?= default storage doctor adopt
JOBS ?= 2

.PHONY: demo test lint unit e2e molecule check fleet test-vm docs bench clean setup $(SCENARIOS:%=molecule-%)

setup:
	@tests/support/setup

demo: setup
	@$(TESTBED) run tests/support/demo

# The hosts wait more than they work, so the parts run side by side; each prints what it has to say when it is done.
test: setup
	@$(MAKE) --no-print-directory --jobs $(JOBS) --output-sync=target molecule lint unit e2e

lint: setup
	yamllint --strict .
	ruff check
	ruff format --check
	mypy plugins
	ansible-lint --offline
	antsibull-changelog lint
	check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	tests/support/check_package
	antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs all --disallow-unknown-collection-refs .

unit: setup
	pytest -q -p no:cacheprovider tests/unit

e2e: setup
	pytest -q -p no:cacheprovider tests/e2e

molecule: $(SCENARIOS:%=molecule-%)

# The main job runs on all platforms; what goes deeper takes one of them.
molecule-runner: export CI_HOST_PLATFORMS := $(firstword $(CI_HOST_PLATFORMS))
molecule-storage molecule-doctor: export CI_HOST_PLATFORMS := $(lastword $(CI_HOST_PLATFORMS))

$(SCENARIOS:%=molecule-%): molecule-%: setup
	@echo "Scenario $* on $(CI_HOST_PLATFORMS)"
	$(TESTBED) run molecule test --scenario-name $*

check: setup
	tests/support/check

fleet: setup
	$(TESTBED) run molecule test --scenario-name fleet

test-vm: setup
	tests/support/vm test

docs: setup
	tests/support/build_docs

bench: setup
	python tests/bench/bench_runner_config.py
	$(TESTBED) run python tests/bench/bench_site.py
	$(TESTBED) run python tests/bench/bench_storage.py
	$(TESTBED) run python tests/bench/bench_fleet.py
	python tests/bench/bench_launch.py

clean:
	-$(TESTBED) remove
	rm -rf .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .venv changelogs/.plugin-cache.yaml docs/build tests/output
