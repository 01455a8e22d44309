# Two commands for a newcomer: `make demo` and `make test`. Each does all of its own set-up (deploy/setup.sh).
#   make demo IMAGE=picture.png    your own panoramic (JPEG, PNG or DICOM) in place of the phantoms
#   make demo KEEP=1               leave it running with the pages open
#   make test ARGS='-k tooth'      a part of the tests
#   make test ARGS='-n 0'          in one process, as --pdb needs it

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench faults nightly
PYTHON := .venv/bin/python
export KEEP IMAGE

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## everything that development needs, no run
	@bash deploy/setup.sh test

demo: ## set up, start on embedded defaults, send phantom studies by real C-STORE, print the results (KEEP=1, IMAGE=file)
	@bash deploy/setup.sh demo
	@$(PYTHON) deploy/demo.py

test: ## set up, run all tests in two processes, real peers included (ARGS=... goes to pytest)
	@bash deploy/setup.sh test
	@OMP_NUM_THREADS=1 bash tests/isolated.sh $(PYTHON) -m pytest -n 2 $(ARGS)

lint: ## ruff, mypy and the import contracts, without the other tests
	@bash deploy/setup.sh test
	@$(PYTHON) -m pytest tests/unit/test_house.py $(ARGS)

format: ## let ruff put every file into shape
	@bash deploy/setup.sh test
	@$(PYTHON) -m ruff format . && $(PYTHON) -m ruff check --fix .

bench: ## seconds for each stage, OpenVINO beside torch, a whole worker beside bare passes, results beside highdicom, ingest rate beside dcmtk
	@bash deploy/setup.sh test
	@bash tests/isolated.sh $(PYTHON) -m tests.benchmarks $(ARGS)

faults: ## injected faults and hostile input, the long way (hours; ARGS='tests/faults/test_kills.py --kills 200' for a part)
	@bash deploy/setup.sh test
	@$(PYTHON) -m pip install --quiet --constraint .venv/constraints.txt --editable '.[fuzz]' || echo 'without atheris and schemathesis: their tests skip'
	@bash tests/isolated.sh $(PYTHON) -m pytest -m 'long or not long' $(or $(ARGS),tests/faults tests/fuzz)

nightly: ## the tests with real peers that take minutes: PixelMed (apt install pixelmed-apps), storage commitment through the whole gateway
	@bash deploy/setup.sh test
	@bash tests/isolated.sh $(PYTHON) -m pytest tests/peers tests/e2e -m long $(ARGS)
