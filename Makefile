# Everything happens in .venv; the first command of a fresh checkout creates it.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# setuptools warns of every editable installation.
PIP_INSTALL = PYTHONWARNINGS=ignore $(BIN)/pip install --quiet
DEMO_FLAGS ?=
BENCH_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-peers docs bench audit clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

.venv/bin/pip .venv-bench/bin/pip: %/bin/pip:
	@test -n "$(PYTHON)" || { echo "keras-resnet needs Python 3.11 or 3.12; name one with make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $*
	$*/bin/pip install --quiet --upgrade pip

.venv/.demo: .venv/bin/pip pyproject.toml setup.py
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/.test: .venv/bin/pip pyproject.toml setup.py
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ .venv/.demo

.venv/.peers: .venv/.test
	$(PIP_INSTALL) --editable '.[dev,convert,peers]'
	@touch $@

demo: .venv/.demo  ## train, evaluate, export and predict on the digits that scikit-learn ships
	$(BIN)/keras-resnet train --depth 20 --workdir runs/demo $(DEMO_FLAGS)
	$(BIN)/keras-resnet evaluate runs/demo --split test
	$(BIN)/keras-resnet export runs/demo --output exports/demo
	$(BIN)/keras-resnet data samples digits runs/demo/samples --split test --count 5
	$(BIN)/keras-resnet predict exports/demo runs/demo/samples --top 3
	@echo
	@echo "run:     runs/demo     (run.json, history.csv, checkpoints, model.keras)"
	@echo "export:  exports/demo  (a SavedModel for TensorFlow Serving)"
	@echo "samples: runs/demo/samples"

test: .venv/.test  ## the tests, without the peers that parity is tested against
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not peers" --numprocesses 2 --dist loadfile

test-peers: .venv/.peers  ## the parity tests: torch, torchvision, timm, OpenVINO, onnxruntime, LiteRT, JAX
	$(BIN)/pytest -m peers -rs

docs: .venv/.test  ## the documentation as a site, in site/index.html
	$(BIN)/mkdocs build --strict --quiet

.venv-bench/.done: .venv-bench/bin/pip pyproject.toml setup.py
	PYTHONWARNINGS=ignore .venv-bench/bin/pip install --quiet --editable '.[convert,peers]'
	@touch $@

bench: .venv-bench/.done  ## all benchmarks beside their peers, in an environment of their own
	.venv-bench/bin/python benchmarks/run.py $(BENCH_FLAGS)

audit: .venv/.test  ## known vulnerabilities of what is installed in .venv; asks PyPI, so not part of the tests
	$(PIP_INSTALL) pip-audit
	$(BIN)/pip-audit --local --skip-editable

clean:  ## remove the environments and what is built; runs/ and exports/ stay
	rm -rf .venv .venv-bench build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
