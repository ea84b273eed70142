# make demo   sets everything up and compiles three models, the last one on photographs
# make test   sets everything up and runs all tests

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint setup lock clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "edgec needs Python 3.11 or newer"'
	@$(PYTHON) -m venv $(VENV) || { echo "Can't make a virtual environment: install your system's python3-venv package."; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/python examples/demo.py

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Pin every package, with the digests of its files, for the Python that is supported the longest.
lock:
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
	    --no-annotate --no-header --output-file requirements.lock pyproject.toml build-requirements.txt

clean:
	rm -rf $(VENV) dist build .cache
