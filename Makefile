# Everything runs in .venv, which the first target that needs it makes. Another interpreter: make PYTHON=python3.12
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
# What is installed beside the required packages: extras of setup.cfg, and packages by name (`make test-matrix`).
EXTRAS ?= [dev]
PACKAGES ?=
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Many small tests: two processes with one torch thread each use two cores better than one with two threads.
TEST_ARGS ?= -n 2
# Whether opencv-python (auto: if it loads) or the same code without windows (headless).
OPENCV ?= auto
DOCS_READY := $(VENV)/docs-ready
.PHONY: help demo docs test test-minimum test-matrix test-faults test-slow fuzz mutants curves coverage demo-run lint type format bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

demo: $(READY) ## make the embedded videos, train all stages on them, print the table (minutes)
	$(BIN)/adafocus train moving_digits --out runs/demo --overwrite

test: $(READY) ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TEST_ARGS)

# Those versions are older than the newer Pythons.
test-minimum: PYTHON = python3.10
test-minimum: ## run all tests with the lowest versions that setup.cfg allows, in .venv-minimum
	@$(MAKE) --no-print-directory test PYTHON='$(PYTHON)' VENV=.venv-minimum CONSTRAINTS=constraints-minimum.txt

# Python, torch and the other packages, as users have them. MATRIX_ARGS='--only py3.12' runs one row, '-- -m "not slow"' fewer
# tests; --list names the rows.
test-matrix: ## run all tests on several Pythons and sets of packages (half an hour a row; MATRIX_ARGS)
	$(PYTHON) tests/matrix.py $(MATRIX_ARGS)

test-slow: $(READY) ## run the slow tests, also those that `make test` leaves out: long runs, torchrun, crashes, curves
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TEST_ARGS) -m slow

# Crashes, full disks, power cuts, second processes: FAULTS_ARGS='--share 0.2 --seed 7 --only train bank', or --help.
test-faults: $(READY) ## kill, stop and starve every command that writes, at a hundred points (minutes; FAULTS_ARGS)
	PYTHONPATH=tests $(BIN)/python -m faults $(FAULTS_ARGS)

# Hostile input for everything that reads files: FUZZ_ARGS='--cases 20000 --seed 7 --only lists videos', or --help.
fuzz: $(READY) ## hostile input for every reader, thousands of cases (a quarter of an hour; FUZZ_ARGS)
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ_ARGS)

# One fault at a time, in memory, in the modules whose numbers everything rests on: MUTANTS_ARGS='--only geometry losses', or
# --help. It fails if a fault that tests/mutation/accepted.json does not explain goes undetected.
mutants: $(READY) ## deliberate faults that the tests must detect (MUTANTS_ARGS)
	PYTHONPATH=tests $(BIN)/python -m mutation $(MUTANTS_ARGS)

# The run demo:, in experiments/demo. An interrupted training is gone on with; remove build/demo-run to train again.
demo-run: $(READY) ## train the small run that comes with the package, and pack it (minutes)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m demo_run

# CURVES_ARGS=--write stores them, after a change that is meant to move them.
curves: $(READY) ## training curves of eleven seeds, and the intervals that another seed must fall into (minutes; CURVES_ARGS)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m curves $(CURVES_ARGS)

# Of the processes that tests start, too. COVERAGE_ARGS='tests/envs -n 2' measures a part, and then fails for the others.
COVERAGE_ARGS ?= $(TEST_ARGS)
COVERED := adafocus_rl envs agents experiments
coverage: $(READY) ## run all tests and print the lines of each layer that none has run; at least 92 % must be (minutes)
	rm -rf build/coverage && mkdir -p build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest $(COVERAGE_ARGS)
	$(BIN)/python -m coverage combine --quiet
	@fault=0; for layer in $(COVERED); do \
	    $(BIN)/python -m coverage report --include="$$layer/*" --skip-covered --fail-under=92 || fault=1; done; exit $$fault

# Pages, links and anchors that are missing are errors. What it needs beside the project is installed by the first call.
docs: $(DOCS_READY) ## build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(BIN)/python -m mkdocs build --strict
	@echo "open build/site/index.html"

lint: $(READY) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# As an editor sees a plain checkout: the links in adafocus_rl/ lead to the four layers, and nothing need be installed.
type: $(READY) ## check types (strict)
	@$(BIN)/mypy --config-file setup.cfg -p adafocus_rl

format: $(READY) ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The others, of recognition, of building banks and of ONNX Runtime, take as long again: adafocus bench NAME.
bench: $(READY) ## measure speed (minutes)
	$(BIN)/adafocus bench crops rollout bank bank-read counterfactuals ppo decode single-env startup

clean: ## remove what was built (environments and runs stay)
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

# Runs again when the dependencies change. opencv-python needs the system library libGL, which servers and containers
# often lack; opencv-python-headless is the same code without windows, which we do not open. The npm package is for the
# tests of try.html.
$(READY): setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "adafocus_rl needs Python 3.10 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'; \
	    $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.$(EXTRAS)' $(PACKAGES)
	@{ [ "$(OPENCV)" != headless ] && $(BIN)/python -c 'import cv2' 2>/dev/null; } || { \
	    version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))'); \
	    echo "opencv-python does not load here (no libGL?), or is not wanted: using opencv-python-headless $$version instead"; \
	    $(BIN)/python -m pip uninstall --disable-pip-version-check --quiet --yes opencv-python; \
	    $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --force-reinstall \
	        "opencv-python-headless==$$version"; \
	    $(BIN)/python -c 'import cv2'; }
	@web=onnxruntime-web@$$($(BIN)/python -c 'from adafocus_rl.experiments.export.web_runtime import TESTED; print(TESTED)'); \
	    [ -f "$(VENV)/$${web/@/-}.tgz" ] || (cd $(VENV) && npm pack --silent "$$web" >/dev/null 2>&1) || \
	    echo "npm could not fetch $$web: the tests of try.html are skipped"
	@touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[docs]'
	@touch $@
