# make demo   sets everything up and compiles three models, the last one on photographs
# make test   sets everything up and runs all tests
# make docker-test   builds the container images and runs them, without a network

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test docker-test lint setup lock clean

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
	$(BIN)/hadolint Dockerfile

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Some minutes; needs Docker or Podman, or root with buildah.
docker-test:
	$(PYTHON) docker/test

# Pin every package, with the digests of its files, for the Python that is supported the longest; what goes into the
# images is pinned to the same.
PIN := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
lock:
	$(BIN)/pip install --quiet uv
	$(PIN) --output-file requirements.lock --all-extras pyproject.toml build-requirements.txt
	$(PIN) --output-file docker/locks/build.lock --constraint requirements.lock build-requirements.txt
	$(PIN) --output-file docker/locks/edgec.lock --constraint requirements.lock --extra all pyproject.toml
	$(PIN) --output-file docker/locks/runtime.lock --constraint requirements.lock docker/locks/runtime.txt

clean:
	rm -rf $(VENV) dist build .cache
