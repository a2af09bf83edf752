# Everything sets itself up: `make demo` and `make test` work on a fresh machine, and are quick the second time.
# Small networks on few cores: threads of torch that wait for each other cost more than they give. Tests keep what JAX
# compiled for each other.

PYTHON ?= python3
SETUP = .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt -e
COMPILED = JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.venv/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
INPUTS = pyproject.toml constraints.txt
FAST = tests/test_structure.py tests/test_imports.py tests/test_backend.py tests/test_batch.py tests/test_modality.py \
	tests/test_adding_one_more.py tests/data tests/aggregation/test_aggregation.py tests/sde tests/parity/test_signatures.py

.PHONY: check demo docs test bench table lint

demo: .venv/all.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m mmppl.demo

test: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(COMPILED) .venv/bin/pytest -q -n 2 --dist worksteal

# A fast lane, under two minutes: it leaves out whatever fits, samples or compiles programs of a host.
check: lint
	OMP_NUM_THREADS=1 $(COMPILED) .venv/bin/pytest -q -n 2 --dist worksteal $(FAST)

# The speed first, then the quality: fits of the demo's program on both hosts, three seeds each (10 minutes).
bench: .venv/dev.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks
	OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.coherence

# All systems on polydigits, both hosts, three seeds each: hours. What was stopped goes on.
table: .venv/dev.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.table

# The site, under docs/_build/html, without the network; every public name has to be on it.
docs: .venv/dev.stamp
	.venv/bin/python docs/make_pages.py
	OMP_NUM_THREADS=1 .venv/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	.venv/bin/python docs/check_site.py

lint: .venv/dev.stamp
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The stamps say that .venv holds what pyproject.toml and constraints.txt ask for. The dev set includes all.
.venv/all.stamp: $(INPUTS) | .venv/bin/python
	@echo "Installing mmppl with both hosts into .venv (some minutes the first time) ..."
	$(SETUP) '.[all]'
	@touch $@

.venv/dev.stamp: $(INPUTS) | .venv/bin/python
	@echo "Installing mmppl with both hosts and the test tools into .venv (some minutes the first time) ..."
	$(SETUP) '.[all,dev]'
	@touch .venv/all.stamp $@
