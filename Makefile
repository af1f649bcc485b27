# What a developer or a user does here. Every target makes .venv itself, with the versions of constraints.txt, and installs in it
# what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 6006
DIR ?= outputs

.DEFAULT_GOAL := help
.PHONY: help train test lint docs pictures tensorboard bench scaling soak paper questions beyond

# jobs side by side: one core for each is faster than all cores for one after another
SWEEP = $(BIN)/python src/train.py -m hydra/launcher=joblib

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

# what an environment holds: TRAIN what training needs; SIDE the launcher that runs jobs side by side too; DEV all that tests need
TRAIN := $(VENV)/.installed-train
SIDE := $(VENV)/.installed-joblib
DEV := $(VENV)/.installed-dev
SOURCES := pyproject.toml constraints.txt constraints-any-torch.txt hatch_build.py src/wavecoder/engine/compiled.c
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
.NOTPARALLEL:  # two installations at once would disturb each other

$(BIN)/python:
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(TRAIN): $(SOURCES) | $(BIN)/python
	@echo "installing what training needs into $(VENV) (once; with PyTorch some minutes)"
	@$(INSTALL) .
	@touch $@

$(SIDE): $(SOURCES) | $(BIN)/python
	@echo "installing what training needs, and jobs side by side, into $(VENV) (once; with PyTorch some minutes)"
	@$(INSTALL) '.[joblib]'
	@touch $@ $(TRAIN)

$(DEV): $(SOURCES) | $(BIN)/python
	@echo "installing all that tests need into $(VENV) (once; some minutes)"
	@$(INSTALL) '.[dev]'
	@touch $@ $(SIDE) $(TRAIN)

train: $(TRAIN)  ## train one autoencoder and compare it with the SVD; ARGS='activation=tanh' for another
	$(BIN)/python src/train.py $(ARGS)

test: $(DEV)  ## run the tests; ARGS='-k signals' for some of them
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(DEV)  ## check style and types
	$(BIN)/ruff check src tests benchmarks docs/*.py hatch_build.py
	$(BIN)/ruff format --check src tests benchmarks docs/*.py hatch_build.py
	$(BIN)/mypy

docs: $(DEV)  ## build the site of the documentation in docs/_build; warnings and broken links are errors
	$(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going docs docs/_build

# scaling.png is drawn by `make scaling`
pictures: $(DEV) paper questions scaling  ## draw all pictures of README and docs (half an hour)
	cp outputs/sweeps/overfitting/figures/dependence_gelu_latent_5.png docs/overfitting.png
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/your_data.py outputs/pictures/your_data
	$(BIN)/python docs/tensorboard_pictures.py
	$(BIN)/python docs/report_picture.py outputs/sweeps/paper

paper: $(SIDE)  ## the whole paper: networks, theorem, report.html in outputs/sweeps/paper (7 minutes)
	@echo "1 of 5: the paper's networks"
	@$(SWEEP) sweep=paper experiment=paper table=false
	@echo "2 of 5: the linear one without biases"
	@$(SWEEP) sweep=paper experiment=paper activation=identity model.bias=false table=false
	@echo "3 of 5: the theorem"
	@$(SWEEP) sweep=paper experiment=theorem table=false
	@echo "4 of 5: single directions"
	@$(SWEEP) sweep=paper experiment=directions table=false
	@echo "5 of 5: the example in space"
	@$(SWEEP) sweep=paper experiment=plane
	@$(BIN)/python src/report.py outputs/sweeps/paper

QUESTIONS := overfitting depth width rate loss
questions: $(SIDE)  ## the questions of the paper's conclusion: a sweep and a report for each, in outputs/sweeps (some 10 minutes)
	@$(SWEEP) sweep=overfitting experiment=overfitting data=fresh data.train_size=20000 table=false
	@for question in $(QUESTIONS); do $(SWEEP) sweep=$$question experiment=$$question || exit; done
	@for question in $(QUESTIONS); do $(BIN)/python src/report.py outputs/sweeps/$$question || exit; done

beyond: $(TRAIN)  ## train what docs/beyond.md is about and compare it with its targets (an hour); writes docs/beyond
	@$(BIN)/python benchmarks/beyond.py

bench: $(DEV)  ## measure the performance targets side by side (12 minutes); writes benchmarks/results.md
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/bench.py

scaling: $(DEV)  ## measure how a step's time grows (3 minutes); draws docs/scaling.png
	$(BIN)/python benchmarks/scaling.py

soak: $(DEV)  ## see whether a long run and a long sweep stay as they are (8 minutes); writes benchmarks/soak.md
	$(BIN)/python benchmarks/soak.py

tensorboard: $(TRAIN)  ## show curves on http://localhost:6006; DIR=outputs/sweeps/mine for one sweep, PORT=6007 for another port
	$(BIN)/wavecoder tensorboard $(DIR) --port $(PORT)
