# make demo     boot a disposable CI host, converge it with site.yml and run a CI job on it
# make test     everything that has to pass: lint, unit tests, hosts
# make lint     only the linters
# make unit     only the unit tests
# make molecule only the scenarios, on the platforms of CI_HOST_PLATFORMS
# make bench    measure, and write the numbers to docs/performance.md
# make clean    remove the hosts of tests and demo, and what was built

SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/.venv/collections
export MYPYPATH := $(CURDIR)/.venv/collections
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections
export CI_HOST_PLATFORMS ?= debian12 debian13
export MOLECULE_COMMAND_BORDERS := false
TESTBED := tests/support/testbed
SCENARIOS ?= default

.PHONY: demo test lint unit e2e molecule bench clean setup

setup:
	@tests/support/setup

demo: setup
	@$(TESTBED) run tests/support/demo

test: lint unit e2e molecule

lint: setup
	yamllint --strict .
	ruff check
	ruff format --check
	mypy plugins
	ansible-lint --offline
	antsibull-changelog lint
	antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs all --disallow-unknown-collection-refs .

unit: setup
	pytest -q -p no:cacheprovider tests/unit

e2e: setup
	pytest -q -p no:cacheprovider tests/e2e

molecule: setup
	@echo "Platforms: $(CI_HOST_PLATFORMS)"
	for scenario in $(SCENARIOS); do $(TESTBED) run molecule test --scenario-name $$scenario || exit 1; done

clean:
	-$(TESTBED) remove
	rm -rf .cache .venv tests/output
