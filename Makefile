# What a developer or a user does here. Every target makes .venv itself, with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 6006

.DEFAULT_GOAL := help
.PHONY: help train test lint tensorboard

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

train: $(VENV)/.installed  ## train one autoencoder and print how it stands against the SVD; ARGS='activation=tanh' for another
	$(BIN)/python src/train.py $(ARGS)

test: $(VENV)/.installed  ## run the tests; ARGS='-k signals' for some of them
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/.installed  ## check style and types
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy

tensorboard: $(VENV)/.installed  ## show the curves of outputs/ on http://localhost:6006; PORT=6007 for another port
	$(BIN)/tensorboard --logdir outputs --host localhost --port $(PORT)
