# Each target does its own set-up. Start with `make demo`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export NOSLOP_LAB_CACHE ?= $(HOME)/.cache/noslop-lab
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help
help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.venv/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "NoSlop needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv || { echo "The module venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: demo
demo: lab-up ## A studio on three virtual machines: found, deployed, verified (REAL=1: the vendors' own downloads)
	bash molecule/studio/demo.sh

.PHONY: lab-up
lab-up: .venv/.ready ## Boot the lab's three virtual machines
	ansible-playbook molecule/machines/create.yml

.PHONY: lab-down
lab-down: .venv/.ready ## Take the lab away: machines, containers, bridge, rules
	ansible-playbook molecule/machines/destroy.yml
	ansible-playbook molecule/default/destroy.yml
	rm -rf inventories/demo

.PHONY: lint
lint: .venv/.ready ## ruff, mypy --strict, ansible-lint
	ruff check .
	ruff format --check .
	mypy
	ansible-lint

.PHONY: test
test: lint test-units test-roles test-studio ## Everything that CI runs

.PHONY: test-units
test-units: .venv/.ready ## The driver and the collection's logic, without hosts
	pytest

.PHONY: test-roles
test-roles: .venv/.ready ## Each role in its own Molecule scenario
	molecule test --all
	molecule -c .config/molecule/machines.yml test -s nfs_server
	molecule -c .config/molecule/machines.yml test -s nfs_client

.PHONY: test-studio
test-studio: .venv/.ready ## The whole studio on the virtual machines, end to end
	ansible-playbook molecule/machines/create.yml
	ansible-playbook molecule/machines/reset.yml
	pytest tests/studio

.PHONY: test-faults
test-faults: demo ## Power cuts, wrong mounts, lost markers, a ComfyUI that was there before
	pytest tests/faults

.PHONY: test-real
test-real: .venv/.ready ## The real ComfyUI on a CPU (COMFYUI_REPO=<url or path>)
	pytest tests/real

.PHONY: bench
bench: demo ## Read-ahead over the mount, our settings against the kernel's
	$(BIN)/python -m bench.readahead

.PHONY: wheel
wheel: .venv/.ready ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

.PHONY: clean
clean: lab-down ## Take away everything that make made, but the cached images
	rm -rf .venv .lab .ansible dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
