# farshore: see README.md. Every target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEEDS ?= 1000
FROM ?= 0
SECONDS ?= 3600
RATE ?= 200
STATES ?= 1000000
MINUTES ?= 60
S3TESTS ?= ../s3-tests
JOBS ?= auto

.PHONY: setup lab test simulate simulate-partition crash-states line-hour test-networks s3-tests check docs bench image clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	touch $(STAMP)

lab: setup
	$(BIN)/farshore lab

# The jobs take neighbouring tests, so that they make what a file's tests share once.
test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

simulate: setup
	$(BIN)/python tests/world/simulate.py --seeds $(SEEDS) --from $(FROM) --jobs 2

simulate-partition: setup
	$(BIN)/python tests/world/partition.py --seconds $(SECONDS) --rate $(RATE)

crash-states: setup
	$(BIN)/python tests/crash/explore.py --states $(STATES) --from $(FROM)

# Need root, for network namespaces. They wait for minutes, and are not among those of `test`.
test-networks: setup
	LONG=1 $(BIN)/python -m pytest tests/processes/test_networks.py tests/processes/test_slow_lines.py

line-hour: setup
	$(BIN)/python tests/processes/line_hour.py --minutes $(MINUTES)

s3-tests: setup
	$(BIN)/python tests/conformance/run_s3_tests.py --suite $(S3TESTS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python docs/write_operations.py

bench: setup
	$(BIN)/python -m bench

image:
	labs/build-image.sh

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache lab-data
