# Two commands do everything: `make demo` and `make test`. Both make the virtual environment first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: venv venv-test docs demo test lint fuzz test-full soak bench table words clean

venv: $(VENV)/.installed
venv-test: $(VENV)/.installed-test

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "anon-batch needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test,docs]'
	touch $@

# The main job on the photographs that ship with the project: manifest, run, verify. A second `make demo` resumes the first.
demo: venv
	@sh jobs/demo.sh $(BIN)/anon-batch

lint: venv-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.check_words
	$(BIN)/mypy
	$(BIN)/lint-imports

# About ten minutes on two cores.
test: lint
	$(BIN)/python -m pytest -m 'not full' -n 2 --durations 10 $(PYTEST)

# What `make test` leaves out: every kill, S3, accuracy. Labelled photographs and weights come from ANON_BATCH_TEST_DATA and
# ANON_BATCH_TEST_MODELS (see tests/external_data.py). PYTEST adds options: `make test-full PYTEST=--require-data`.
test-full: venv-test
	$(BIN)/python -m pytest -m full --durations 10 $(PYTEST)

# Other people's tools open the same signed releases: datasets, webdataset, mlcroissant, pandas, exiftool, openssl, and readers written as
# those of torchvision and timm. Fails where a program of the system is missing, and says what to install.
open-with: venv-test
	$(BIN)/python -m pytest tests/e2e/test_open_with.py --require-tools $(PYTEST)

# A thousand runs that are killed, stopped and starved at random moments, about twenty minutes. SOAK adds options: `--seed 7`, `--only 23`.
soak: venv-test
	PYTHONPATH=tests $(BIN)/python -m soak --rounds 1000 $(SOAK)

# Everything side by side, half an hour on two quiet cores. BENCH chooses: `make bench BENCH='--sections photos --rounds 5'`.
bench: venv-test
	$(BIN)/python -m benchmarks $(BENCH)

# Methods and other programs side by side: what they keep, who is recognised, how they look, how fast they are. TABLE adds options:
# `make table TABLE='--embedder RECOGNISER.onnx --wider WIDER_FACE'`. Results are kept in table/, so that a second run goes on.
table: venv-test
	$(BIN)/python -m benchmarks.table $(TABLE)

# Coverage-guided fuzzing of what reads foreign bytes, SECONDS for each target. Inputs are kept in .fuzz/, and what breaks a promise
# is written there; put it into tests/data/fuzz/TARGET/, which `make test` replays.
FUZZ ?= decode metadata splice manifest
SECONDS ?= 60
fuzz: venv-test
	$(PIP) -e '.[fuzz]'
	@for target in $(FUZZ); do PYTHONPATH=tests $(BIN)/python -m fuzz $$target --seconds $(SECONDS) || exit 1; done

# Writes what releases say of themselves into tests/data/words, for comparison; read the difference before you commit it.
words: venv-test
	PYTHONPATH=tests $(BIN)/python tests/golden_words.py

clean:
	rm -rf demo site

# The documentation as a static site in site/. --strict: a broken link fails the build.
docs: venv-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
