# make demo    install, preprocess, train the small demo model, talk to it; no network after installation
# make page    talk to the demo model in a browser
# make database  self-play and interviews of the demo model, as a data set with a card (after make demo);
#              MODEL=save/RUN adds a model that was trained on the same text
# make test    install, run the whole test suite
# make lint    check style and format
# make bench   measure speed on this machine, in minutes; make bench-gpu on a machine with a CUDA GPU
# make torture kill and restart training 200 times, damage its files; press Ctrl-C at 40 instants of each script

PYTHON ?= python3
BIN := .venv/bin
DEMO_TALK := $(BIN)/python interact.py --env .env.demo --top-k 1

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-page: requirements/page.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/page.txt
	touch $@

.venv/installed-dev: requirements/dev.txt requirements/page.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	touch $@

.PHONY: demo page database test lint bench bench-gpu torture

demo: .venv/installed
	$(BIN)/python preprocess_dataset.py --env .env.demo
	$(BIN)/python train.py --env .env.demo
	@echo; echo "The same question to two personas (most likely words only):"
	@echo "hi ! what do you do for a living ?" | $(DEMO_TALK) --persona "people call me oscar." --persona "i am a pilot." \
		--persona "my pet is a parrot." --persona "i love to eat pizza." --persona "i am learning the piano."
	@echo "hi ! what do you do for a living ?" | $(DEMO_TALK) --persona "my name is anna." --persona "i work as a baker." \
		--persona "i have a hamster." --persona "my home is in lisbon." --persona "i listen to jazz music."
	@echo; echo "Talk to it yourself:   $(BIN)/python interact.py --env .env.demo --random-persona"
	@echo "The same in a browser: make page"
	@echo "Score it:              $(BIN)/python evaluate.py --env .env.demo --generate 200"
	@echo "Everything is under    save/demo/ (samples/loss.png, samples/responses.txt, checkpoint/model/)"

page: .venv/installed-page
	$(BIN)/python app.py --env .env.demo

MODEL ?=
TALKS ?= 100
database: .venv/installed
	$(BIN)/python -m data.sample.make_database save/demo $(MODEL) --talks $(TALKS)

# Three workers for two cores, because tests wait for processes and browsers. With bytecode, these processes start sooner.
test: .venv/installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# bench/peer_trl.py says how to install TRL into an environment of its own. TRL_PYTHON is the python of that environment.
TRL_PYTHON ?= .venv-trl/bin/python
bench: .venv/installed-dev
	$(BIN)/python -m bench.preprocess_speed
	$(BIN)/python -m bench.loss_pieces --width 384
	$(BIN)/python -m bench.train_speed --model mini --seconds 20
	$(BIN)/python -m bench.train_speed --model tiny --check
	$(BIN)/python -m bench.use_speed
	test ! -x $(TRL_PYTHON) || $(TRL_PYTHON) -m bench.peer_trl --model mini

bench-gpu: .venv/installed-dev
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m bench.train_speed --model medium
	$(BIN)/python -m bench.loss_pieces
	$(BIN)/python -m bench.loss_pieces --rows 8000
	test ! -x $(TRL_PYTHON) || $(TRL_PYTHON) -m bench.peer_trl --model medium --dialogues 400

torture: .venv/installed-dev
	$(BIN)/python -m bench.torture --kills 200
	$(BIN)/python -m bench.interrupts
