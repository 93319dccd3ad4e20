# Each target does its own set-up. Start with `make demo`; `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Pythons that `make test-matrix` tries; those that are not installed are skipped.
PYTHONS ?= python3.11 python3.12 python3.13
MOUNTS := nfs_server nfs_client
# nfs_client uses the role nfs_server too.
MOUNTS_SAMPLE := nfs_client
EXCLUDED := $(MOUNTS)
# `make test-local` predicts them on a bare host, deploys them and deploys them again.
LOCAL_ROLES := comfyui node_env ollama service_account studio_backend studio_firewall
export PATH := $(CURDIR)/$(BIN):$(PATH)
export NOSLOP_LAB_CACHE ?= $(HOME)/.cache/noslop-lab
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

# `make test` runs a sample of what is long. `make test-unit SAMPLE=` runs all.
SAMPLE := -m 'not long'
# Tests of one file run in one process, because they share fixtures.
PARALLEL := --numprocesses 2 --dist loadfile

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# The backend is a distribution of its own: an extra of the driver's would bring Ansible to every backend host.
# The packages are those of the lock. No build isolation: that would download another hatchling than the lock's.
$(VENV)/.ready: requirements-dev.lock pyproject.toml backend/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "NoSlop needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear $(VENV) || { echo "Python's venv is missing here: installing Debian's python3-venv"; \
	  apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	$(BIN)/pip install --quiet --no-compile --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --no-compile --no-build-isolation --no-deps --editable . --editable backend
	touch $@

.PHONY: venv
venv: $(VENV)/.ready ## Create the virtual environment, .venv

.PHONY: demo
demo: lab-up backend-wheel ## Deploy and verify a studio on three virtual machines (REAL=1: the vendors' own downloads)
	bash lab/studio/demo.sh

.PHONY: lab-up
lab-up: $(VENV)/.ready ## Boot the lab's three virtual machines
	ansible-playbook lab/machines/create.yml

.PHONY: lab-down
lab-down: $(VENV)/.ready ## Remove the lab: machines, containers, bridge, rules
	ansible-playbook lab/machines/destroy.yml
	ansible-playbook molecule/default/destroy.yml
	rm -rf inventories/demo

# All of them run, side by side, before the first failure ends it.
.PHONY: lint
lint: $(VENV)/.ready ## Run the linters: ruff, mypy --strict, import contracts, locks, changelog, ansible-lint and more
	$(MAKE) --no-print-directory --jobs 3 --keep-going --output-sync=target lint-python lint-types lint-ansible

.PHONY: lint-python
lint-python: $(VENV)/.ready
	ruff check .
	ruff format --check .
	$(BIN)/python tests/lint/root_paths.py
	$(BIN)/python tests/lint/package_locks.py
	$(BIN)/python tests/lint/changelog.py
	lint-imports

.PHONY: lint-types
lint-types: $(VENV)/.ready
	mypy

.PHONY: lint-ansible
lint-ansible: $(VENV)/.ready
	ansible-lint

# Without root and without a network: tests that need one or the other are left out or skipped, and `make test` runs them.
.PHONY: check
check: $(VENV)/.ready ## Run what a change needs first: the linters and the quick unit tests
	$(MAKE) --no-print-directory --jobs 4 --keep-going --output-sync=target lint-python lint-types lint-ansible check-units

.PHONY: check-units
check-units: $(VENV)/.ready
	pytest $(PARALLEL) -m 'not network and not slow and not long' tests/unit

# Two at a time run side by side; those that share hosts are one of them, and the longest begin first. The linters run
# before, while the machines boot, and end the run if they fail.
.PHONY: test
test: programs backend-wheel ## Run everything that CI runs
	$(MAKE) --no-print-directory --jobs 2 --output-sync=line lint lab-up
	$(MAKE) --no-print-directory --jobs 2 --output-sync=line test-machines test-quick test-containers test-backend
	$(MAKE) --no-print-directory lab-down
	pytest tests/lab

.PHONY: test-long
test-long: programs backend-wheel ## Run all tests of the units, the backend, the roles and one machine, also those that `make test` samples
	$(MAKE) --no-print-directory --jobs 1 SAMPLE= test-unit test-backend test-roles test-local

.PHONY: test-quick
test-quick: $(VENV)/.ready
	$(MAKE) --no-print-directory --jobs 1 test-unit
	$(MAKE) --no-print-directory --jobs 1 test-collection

.PHONY: test-containers
test-containers: $(VENV)/.ready
	$(MAKE) --no-print-directory --jobs 1 EXCLUDED='$(MOUNTS) $(LOCAL_ROLES)' test-roles
	$(MAKE) --no-print-directory --jobs 1 test-local

.PHONY: test-machines
test-machines: $(VENV)/.ready
	$(MAKE) --no-print-directory --jobs 1 MOUNTS='$(MOUNTS_SAMPLE)' test-mounts
	$(MAKE) --no-print-directory --jobs 1 test-studio

.PHONY: programs
programs: $(VENV)/.ready
	ansible-playbook lab/programs/install.yml

.PHONY: test-units
test-units: test-unit test-backend ## Run the tests that need no hosts

.PHONY: test-unit
test-unit: programs ## Test the driver, the collection and the lab's own code, without hosts
	pytest $(SAMPLE) tests/unit

.PHONY: test-collection
test-collection: $(VENV)/.ready ## Test the collection's tarball as Galaxy does: its importer, ansible-test sanity, documentation, lint
	pytest tests/collection

.PHONY: test-backend
test-backend: programs ## Test the backend, on SQLite and PostgreSQL
	pytest $(PARALLEL) $(SAMPLE) tests/backend

MOMENTS ?= 20
.PHONY: test-driver-kills
test-driver-kills: $(VENV)/.ready ## Kill the driver with -9 while it runs Ansible (MOMENTS=20)
	$(BIN)/python -m tests.support.driver_kills --moments $(MOMENTS)

# The backend in full; `make test` runs a sample of each. One after the other, because each uses both processors.
.PHONY: test-backend-long
test-backend-long: programs ## Test the backend in full: killed at every system call, many processes, failing disks, its API at length
	$(MAKE) --no-print-directory --jobs 1 test-backend-processes test-backend-crash test-backend-contract

OPERATIONS ?= 10000
.PHONY: test-backend-processes
test-backend-processes: programs ## Kill 8 processes on PostgreSQL and 4 on SQLite at random (OPERATIONS=10000)
	$(BIN)/python -m tests.backend.processes --operations $(OPERATIONS) --processes 8 --database postgresql
	$(BIN)/python -m tests.backend.processes --operations $(OPERATIONS) --processes 4 --database sqlite

EVERY ?= 1
.PHONY: test-backend-crash
test-backend-crash: programs ## Kill the backend at every system call, and let every call fail (EVERY=10: at one in ten)
	$(BIN)/python -m tests.backend.crash --database sqlite --every $(EVERY)
	$(BIN)/python -m tests.backend.crash --database postgresql --every $(EVERY)
	$(BIN)/python -m tests.backend.crash_import --database sqlite --every $(EVERY)
	$(BIN)/python -m tests.backend.crash_import --database postgresql --every $(EVERY)
	$(BIN)/python -m tests.backend.crash --database postgresql --errors --every $(EVERY)

EXAMPLES ?= 500
.PHONY: test-backend-contract
test-backend-contract: programs ## Compare every operation of the API with its description, by many requests (EXAMPLES=500)
	NOSLOP_EXAMPLES=$(EXAMPLES) pytest tests/backend/api/test_contract.py

SECONDS ?= 3600
.PHONY: fuzz
fuzz: $(VENV)/.ready ## Fuzz what reads files, archives and graphs of others (SECONDS=3600 for each of six targets)
	$(BIN)/python -m tests.backend.fuzz --seconds $(SECONDS)

.PHONY: test-roles
test-roles: backend-wheel ## Test each role in a Molecule scenario of its own, in containers (`make test` runs what test-local does not)
	molecule test --all $(EXCLUDED:%=--exclude %)

.PHONY: test-local
test-local: programs ## Test a studio of one machine, from the wheel, in a container
	pytest $(SAMPLE) tests/local

.PHONY: test-mounts
test-mounts: lab-up ## Test the roles that need a kernel of their own, on the virtual machines
	for role in $(MOUNTS); do molecule -c .config/molecule/machines.yml test -s $$role; done

.PHONY: test-studio
test-studio: lab-up backend-wheel ## Test the whole studio on the virtual machines, end to end
	pytest $(SAMPLE) tests/studio

.PHONY: test-matrix
test-matrix: ## Run the unit tests under each installed Python, with the ansible-core for it
	for python in $(PYTHONS); do \
	  if $$python -c '' 2>/dev/null; then \
	    $(MAKE) --no-print-directory VENV=.matrix/$$(basename $$python) PYTHON=$$python versions test-units; \
	  else echo "not tested: $$python is not installed (make test-matrix PYTHONS='python3.12 /opt/python3.13/bin/python3.13')"; fi; \
	done

.PHONY: versions
versions: $(VENV)/.ready ## Print the versions of Python and ansible-core
	$(BIN)/python --version
	ansible --version | sed -n 1p

.PHONY: test-faults
test-faults: lab-up backend-wheel ## Test restarts, power cuts, wrong mounts, lost markers, runs killed after every task, takeovers and more
	pytest tests/faults

.PHONY: test-backend-nfs
test-backend-nfs: lab-up backend-wheel ## Test the backend over NFS: 1,000 saves from two machines, 30 kills, 20 power cuts of the server (an hour and more)
	NOSLOP_SAVES=1000 NOSLOP_KILLS=30 NOSLOP_CUTS=20 pytest tests/faults/test_backend_power_cuts.py -s

.PHONY: test-real
test-real: programs ## Test the real ComfyUI on a CPU (COMFYUI_REPO=<url or path>)
	pytest tests/real/test_comfyui.py tests/real/test_upgrade.py

.PHONY: test-real-studio
test-real-studio: lab-up backend-wheel ## Test the real ComfyUI with real custom nodes on two machines over NFS (COMFYUI_REPO=<url or path>)
	ansible-playbook lab/machines/reset.yml
	pytest tests/real/test_studio.py

.PHONY: test-real-ollama
test-real-ollama: lab-up ## Test the real Ollama on two machines over NFS (OLLAMA_ARCHIVE=<path of ollama-linux-amd64.tar.zst>)
	ansible-playbook lab/machines/reset.yml
	pytest tests/real/test_ollama.py

.PHONY: bench
bench: demo ## Measure read-ahead over the mount, NoSlop's settings against the kernel's
	$(BIN)/python -m bench.readahead

.PHONY: bench-discovery
bench-discovery: $(VENV)/.ready ## Measure the search of a network beside nmap, which has to be installed (as root)
	$(BIN)/python -m bench.discovery

.PHONY: bench-shares
bench-shares: demo ## Measure the shares with one to three clients, over NFS and SMB, beside a plain TCP copy
	$(BIN)/python -m bench.shares

.PHONY: bench-converge
bench-converge: lab-up backend-wheel ## Compare a second run of site.yml with that of an older version: tasks, SSH commands, seconds (half an hour)
	$(BIN)/python -m bench.converge

.PHONY: bench-second-run
bench-second-run: lab-up backend-wheel ## Measure a second deployment: beside site.yml of an older version, and for 5 to 50 simulated hosts (half an hour)
	$(BIN)/python -m bench.second_run simulated
	$(BIN)/python -m bench.second_run lab

.PHONY: bench-assets
bench-assets: $(VENV)/.ready ## Measure the assets of ComfyUI over NFS, on the studio that `make test-real-studio` leaves
	$(BIN)/python -m bench.comfyui_assets

.PHONY: bench-modules
bench-modules: $(VENV)/.ready ## Measure writing files over SSH, managed_files against ansible.builtin.template
	$(BIN)/python -m bench.modules

BENCHES := upload reads statistics search reconcile saves versions mixed hostile
.PHONY: bench-backend
bench-backend: programs ## Measure the backend's speed, both sides in one run, in about ten minutes (SIZE=full: 1,000,000 files and 2 GiB)
	for each in $(BENCHES); do $(BIN)/python -m bench.backend_$$each $(if $(filter full,$(SIZE)),--full); done

# The role studio_backend installs it from here; the driver's own wheel includes it.
.PHONY: backend-wheel
backend-wheel: dist/.backend ## Build the backend's wheel into dist/, when its source changed
dist/.backend: $(VENV)/.ready $(shell find backend/noslop_backend -type f -not -name '*.pyc')
	rm -f dist/noslop_backend-*.whl
	$(BIN)/python -m build --wheel --no-isolation --outdir dist backend
	touch $@

# For all Pythons that NoSlop supports. `make venv` installs the first, and hosts exactly the backend's.
RESOLVE := uv pip compile --quiet --universal --generate-hashes --only-binary :all: --no-annotate \
  --custom-compile-command 'make lock' --python-version 3.11 --upgrade
.PHONY: lock
lock: $(VENV)/.ready ## Resolve the packages of .venv and of the backend again, with their hashes
	$(RESOLVE) --all-extras --output-file requirements-dev.lock pyproject.toml backend/pyproject.toml
	$(RESOLVE) --extra postgresql --output-file backend/noslop_backend/requirements.lock backend/pyproject.toml

.PHONY: docs
docs: $(VENV)/.ready pictures ## Write the roles' README.md, the defaults in their argument specs, docs/formats.md, manual pages and pictures
	$(BIN)/python tests/lint/role_docs.py
	$(BIN)/python tests/lint/format_docs.py
	$(BIN)/python tests/lint/man_pages.py

.PHONY: pictures
pictures: $(VENV)/.ready ## Draw docs/pictures: what the driver prints, from the data in docs/pictures/data
	$(BIN)/python docs/pictures/make.py

.PHONY: wheel
wheel: backend-wheel ## Build both wheels into dist/: the driver's, with the collection and the backend in it, and the backend's
	$(BIN)/python -m build --wheel --no-isolation

.PHONY: clean
clean: lab-down ## Remove everything that make made, except the cached images
	rm -rf .venv .matrix .lab .ansible dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
