# Set-up and the two things a newcomer wants to see. Everything goes into a
# virtual environment here; `make example PYTHON=python3.12` picks another Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: example test test-slow test-faults lint docs bench peers scatter clean

example: $(READY)
	$(BIN)/python examples/criteo_graphfm.py

test: $(READY)
	$(BIN)/python -m pytest -n 2

test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 -m "slow or not slow"

# Runs that are killed again and again, several processes, damaged files, and
# tables and files of anything:
test-faults: $(READY)
	$(BIN)/python -m pytest -m "slow or not slow" tests/training tests/search \
		tests/faults tests/explain/test_taken_up.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, with its notebooks run: docs/_build/html/index.html
docs: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -j 2 docs docs/_build/html

bench: $(READY)
	for model in graphfm fignn fives aim featnet; do $(BIN)/python benchmarks/layouts.py $$model; done
	$(BIN)/python benchmarks/grid.py time
	$(BIN)/python benchmarks/data_layer.py
	$(BIN)/python benchmarks/aim.py scaling
	$(BIN)/python benchmarks/featnet.py fields
	$(BIN)/python benchmarks/madex.py speed
	$(BIN)/python benchmarks/limit.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/scatter.py

# Next to other libraries, whose versions want an environment of their own:
peers: .venv-peers/.ready
	.venv-peers/bin/python benchmarks/peers.py

.venv-peers/.ready: benchmarks/peers.txt pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet -r benchmarks/peers.txt -e .
	touch $@

# It has no wheels, and its build has to find torch: six minutes of one core.
scatter: $(READY)
	$(BIN)/pip install -c constraints.txt --no-build-isolation torch-scatter

# torch comes first and alone, so that an index with CPU builds can serve it:
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs docs/_build docs/api/generated docs/benchmarks
