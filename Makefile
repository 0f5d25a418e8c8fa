# make demo    install, preprocess, train the small demo model, talk to it        (no network after installation)
# make test    install, run the whole test suite
# make lint    check style and format
# make bench   measure speed on this machine (minutes); make bench-gpu on one with a CUDA GPU
# make torture kill and restart training 200 times; nothing may be lost

PYTHON ?= python3
BIN := .venv/bin

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.PHONY: demo test lint bench bench-gpu torture

demo: .venv/installed
	$(BIN)/python preprocess_dataset.py --env .env.demo
	$(BIN)/python train.py --env .env.demo --restart
	@sh data/sample/talk.sh $(BIN)/python

test: .venv/installed-dev
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
