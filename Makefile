# Two commands do everything: `make demo` and `make test`. Both set up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-all lint bench clean

setup: $(VENV)/.done

# versions are pinned in constraints.txt; torch first, so that nothing else chooses its build
$(VENV)/.done: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/graft train nn_hmm run=runs/demo

test: setup lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

# more random models, what takes minutes, and kernels for cards, whose compiler is large
test-all: setup lint
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cuda]'
	GRAFT_MODELS=15 $(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy

# PEERS, JAX, DATA, THREADS and EFFORT as benchmarks/README.md says; QUICK=1 for the smaller cases
bench: setup
	$(BIN)/python -W ignore benchmarks/all.py --write docs/benchmarks.md $(if $(PEERS),--peers $(PEERS)) \
		$(if $(JAX),--jax $(JAX)) $(if $(DATA),--data $(DATA)) $(if $(QUICK),--quick) \
		$(if $(THREADS),--threads $(THREADS)) $(if $(EFFORT),--effort $(EFFORT))

clean:
	rm -rf $(VENV) runs build .pytest_cache .ruff_cache .mypy_cache
