# temporal-ssl: from video files to a pretrained network. `make` lists the targets and their variables.
# A machine needs only Python (3.11 to 3.13, with venv) and make; everything else lands in .venv.

PYTHON ?= python3
PYTEST_WORKERS ?= auto
BIN := .venv/bin
INSTALLED := .venv/.installed
CACHES := .mypy_cache .pytest_cache .ruff_cache .hypothesis build

# The embedded demo data set: synthetic videos, their shards, and the run pretrained on them.
DEMO_VIDEOS_CONFIG := configs/shards/synthetic_demo.yaml
DEMO_SHARDS_CONFIG := configs/shards/demo.yaml
DEMO_SHARDS := data/demo/shards
DEMO_RUN := runs/demo

# Without variables every stage works on the demo; DATASET names another data set, CONFIG any config file.
DATASET ?= demo
SHARDS_CONFIG = $(or $(CONFIG),configs/shards/$(DATASET).yaml)
# Pretraining takes the data set's own recipe where there is one, else the one for any shards.
own_recipe = $(wildcard configs/pretrain/$(if $(filter demo,$(DATASET)),demo,c3d_$(DATASET)).yaml)
any_recipe = configs/pretrain/c3d$(if $(wildcard configs/shards/$(DATASET).yaml),,_$(DATASET)).yaml
PRETRAIN_CONFIG = $(or $(CONFIG),$(own_recipe),$(any_recipe))

# Pretraining on the demo, and on no other shards, first builds the demo's shards if they are absent.
demo_shards = $(if $(SHARDS),,$(if $(filter configs/pretrain/demo.yaml,$(PRETRAIN_CONFIG)),$(DEMO_SHARDS)/manifest.json))
demo_videos = $(if $(VIDEOS),,$(if $(filter $(DEMO_SHARDS_CONFIG),$(SHARDS_CONFIG)),$(synthetic)))
synthetic = $(BIN)/python -m shardify synthetic $(DEMO_VIDEOS_CONFIG)

# `$(call set,key,value)` is an override if there is a value; SET's own words come last and so win.
quoted = '$(subst ','\'',$(1))'
set = $(if $(strip $(2)),--set $(call quoted,$(1)=$(2)))
option = $(if $(strip $(2)),--$(1) $(call quoted,$(2)))
overrides = $(call set,out,$(OUT)) $(call set,seed,$(SEED)) $(1) $(foreach word,$(SET),--set $(call quoted,$(word)))
shards_overrides = $(call overrides,$(call set,source.videos,$(VIDEOS)) $(call set,source.lists,$(LISTS)) \
    $(call set,workers,$(WORKERS)))
pretrain_overrides = $(call overrides,$(call set,shards,$(SHARDS)) $(call set,split,$(SPLIT)) \
    $(call set,data.num_workers,$(WORKERS)))
existing = $(if $(wildcard $(1)),$(1),$(error $(1) does not exist; there are: $(wildcard $(dir $(1))*.yaml)))
launch = $(if $(filter-out 0 1,$(GPUS)),$(BIN)/torchrun --standalone --nproc-per-node $(GPUS) -m,$(BIN)/python -m)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo shards pretrain check test test-slow bench clean

help: ## list the targets and variables
	@printf 'usage: make TARGET [VARIABLE=value ...]\n\ntargets\n'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  %-12s%s\n' $$name "$$text"; done
	@printf '\nvariables\n'
	@sed -n 's/^#: \([A-Z]*\) *\(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  %-12s%s\n' $$name "$$text"; done

#: DATASET   shards, pretrain: demo (default), ucf101, hmdb51, kinetics400, kinetics600, kinetics700, folder, flat, csv
#: VIDEOS    shards: folder of the video files; bench: videos to measure on, instead of synthetic ones
#: LISTS     shards: the lists that came with the data set: a folder, or a CSV file
#: OUT       shards, pretrain: where the result goes
#: SHARDS    pretrain: folder of the shards to learn from
#: SPLIT     pretrain: split to learn from, such as train1
#: CONFIG    shards, pretrain: a config file, instead of the one that DATASET means
#: SEED      shards, pretrain: seed of everything drawn
#: WORKERS   shards: processes; pretrain: data workers a rank
#: GPUS      pretrain: processes under torchrun, one a GPU
#: SET       shards, pretrain: any other keys of the config: SET="frames.quality=2 min_frames=1"
#: PYTHON    install: the interpreter that .venv is made with (python3)

install: $(INSTALLED) ## make .venv with the tested versions (nothing to do if pyproject.toml and constraints.txt are unchanged)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	    "Python 3.11 to 3.13 is needed, but $(PYTHON) is %d.%d; name another with make install PYTHON=..." % v)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,test]'
	@touch $@

demo: install ## everything on synthetic videos: shards, pretraining, validation, pictures (about 5 minutes on 2 cores, after installing)
	$(synthetic)
	$(BIN)/python -m shardify build $(DEMO_SHARDS_CONFIG)
	$(BIN)/python -m shardify preview $(DEMO_SHARDS) --out $(DEMO_RUN)
	$(BIN)/python -m stream_train pretrain configs/pretrain/demo.yaml
	$(BIN)/python -m stream_train validate $(DEMO_RUN)
	@printf '\nThe pictures:\n'; ls -1 $(DEMO_RUN)/*.png

shards: install ## videos -> shards
	$(demo_videos)
	$(BIN)/python -m shardify build $(call existing,$(SHARDS_CONFIG)) $(shards_overrides)

pretrain: install $(demo_shards) ## shards -> a pretrained network
	$(launch) stream_train pretrain $(call existing,$(PRETRAIN_CONFIG)) $(pretrain_overrides)

$(DEMO_SHARDS)/manifest.json: | install
	$(synthetic)
	$(BIN)/python -m shardify build $(DEMO_SHARDS_CONFIG)

check: install ## formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

test: install ## the quick tests
	$(BIN)/python -m pytest -m 'not slow' -n $(PYTEST_WORKERS)

test-slow: install ## the tests that start and kill real processes, or take long
	$(BIN)/python -m pytest -m slow

bench: install ## speed as ratios: building against bare ffmpeg, loading against bare JPEG decoding
	$(BIN)/python tests/benchmarks/bench_build.py $(call option,videos,$(VIDEOS))
	$(BIN)/python tests/benchmarks/bench_loader.py $(call option,videos,$(VIDEOS))

clean: ## remove caches and the demo's videos, shards and run; .venv and everything else stay
	rm -rf $(CACHES) data/demo $(DEMO_RUN)
	find shardify stream_train eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
