# temporal-ssl: from video files to a pretrained network. `make` lists the targets and their variables.
# A machine needs only Python (3.11 to 3.13, with venv) and make; everything else lands in .venv.

PYTHON ?= python3
PYTEST_WORKERS ?= auto
BIN := .venv/bin
comma := ,
space := $(subst ,, )
# What work on the code needs beside what runs it; the image of configs/jobs/Containerfile goes without.
TOOLS := dev test
# What is installed besides that has a mark of its own, so that asking for more installs it.
known_extras := aws ray
extras := $(sort $(subst $(comma), ,$(EXTRAS)))
ifneq ($(filter-out $(known_extras),$(extras)),)
$(error EXTRAS=$(EXTRAS): there is no extra $(filter-out $(known_extras),$(extras)); known are $(subst $(space),$(comma),$(known_extras)))
endif
everything := $(subst $(space),$(comma),$(strip $(TOOLS) $(extras)))
INSTALLED := .venv/.installed$(subst $(space),,$(addprefix -,$(extras)))
CACHES := .mypy_cache .pytest_cache .ruff_cache .hypothesis build site

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

EVAL_CONFIG = $(or $(CONFIG),configs/eval/$(DATASET).yaml)
# Results go beside the checkpoint that is judged, unless OUT or the config says otherwise.
judged_run = $(patsubst %/,%,$(if $(filter %.safetensors,$(CHECKPOINT)),$(dir $(CHECKPOINT)),$(CHECKPOINT)))
eval_out = $(or $(OUT),$(if $(CHECKPOINT),$(judged_run)/eval))
RESULTS = $(or $(RUN),$(DEMO_RUN))
EVALUATIONS := transfer probe retrieval sync before-after still saliency

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
eval_overrides = $(call set,shards,$(SHARDS)) $(call set,networks.pretrained.path,$(CHECKPOINT)) $(call set,out,$(eval_out)) \
    $(if $(SPLIT),--set 'splits=[$(SPLIT)]') $(if $(SEED),--set 'seeds=[$(SEED)]') $(call set,data.num_workers,$(WORKERS)) \
    $(foreach word,$(SET),--set $(call quoted,$(word)))
# Judging the demo, and no other shards or network, first pretrains on it if that was not done.
demo_run = $(if $(SHARDS)$(CHECKPOINT),,$(if $(filter configs/eval/demo.yaml,$(EVAL_CONFIG)),$(DEMO_RUN)/backbone.safetensors))
needed = $(if $(strip $(2)),$(call quoted,$(2)),$(error $@ needs $(1)))
existing = $(if $(wildcard $(1)),$(1),$(error $(1) does not exist; there are: $(wildcard $(dir $(1))*.yaml)))
# Torchrun would answer what is no number with a traceback, once everything that comes first is done.
count = $(if $(shell printf %s $(call quoted,$($(1))) | tr -d 0-9),$(error $(1)=$($(1)) is no number; give $(1)=2, say))
counts := $(foreach name,GPUS NODES NODE,$(call count,$(name)))
# Several processes are torchrun's: of one machine (GPUS), or of several (NODES), each of which runs the same target.
master = $(subst :, ,$(call required,MASTER))
across = --nnodes $(NODES) --node-rank $(node) --nproc-per-node $(or $(GPUS),1) \
    --master-addr $(word 1,$(master)) --master-port $(or $(word 2,$(master)),29500)
within = --standalone --nproc-per-node $(GPUS)
launcher = $(if $(filter-out 0 1,$(NODES)),$(across),$(if $(filter-out 0 1,$(GPUS)),$(within)))
launch = $(BIN)/$(if $(strip $(launcher)),torchrun $(launcher),python) -m
required = $(or $($(1)),$(error NODES=$(NODES) needs $(1); give NODE=0 to NODES-1, and MASTER=host:port of node 0))
node = $(or $(filter $(call required,NODE),$(shell seq 0 $$(($(NODES) - 1)))),$(error NODE=$(NODE) is none of the nodes of \
    NODES=$(NODES); they count from 0))

# A misspelt variable would otherwise go unnoticed, and a long run to a place that nobody meant.
known := $(shell sed -n 's/^\#: \([A-Z]*\) .*/\1/p' $(firstword $(MAKEFILE_LIST)))
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unknown := $(filter-out $(known) BIN PYTEST_WORKERS SHELL TOOLS,$(given))
ifneq ($(unknown),)
$(error there is no variable $(firstword $(unknown)); there are: $(known))
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo demo-eval shards finish verify pretrain transfer probe retrieval sync before-after still saliency eval-all features tables report check test test-slow bench docs clean

help: ## list the targets and variables
	@printf 'usage: make TARGET [VARIABLE=value ...]\n\ntargets\n'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  %-14s%s\n' $$name "$$text"; done
	@printf '\nvariables\n'
	@sed -n 's/^#: \([A-Z]*\) *\(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  %-14s%s\n' $$name "$$text"; done

#: DATASET    shards, pretrain: demo (default), ucf101, hmdb51, kinetics400, kinetics600, kinetics700, folder, flat, csv; transfer, eval-all: demo, ucf101, hmdb51, csv
#: VIDEOS     shards, features: folder or URL of the video files, or of archives of them; bench: videos to measure on, instead of synthetic ones
#: LISTS      shards, finish: the lists that came with the data set: a folder, or a CSV file, or the URL of either
#: PART       shards: the part i/n to build, for arrays of jobs (3/16)
#: ENGINE     shards: ray builds on a Ray cluster (RAY_ADDRESS), instead of this machine's processes
#: OUT        shards, finish, pretrain, transfer, eval-all: where the result goes, a folder or URL (s3://bucket/path); features: the file; tables: folder for CSV files; report: the page
#: SHARDS     pretrain, transfer, eval-all, verify: folder or URL of the shards; features: shards instead of VIDEOS
#: SPLIT      pretrain: split to learn from, such as train1; transfer, eval-all: numbers of splits, such as 1 or 1,2,3
#: CONFIG     shards, pretrain, transfer, eval-all: a config file, instead of the one that DATASET means
#: CHECKPOINT transfer, eval-all, features: the network to judge: folder or URL of its run, or its backbone.safetensors
#: RUN        tables, report: folder or URL of the results (runs/demo)
#: SEED       shards, pretrain, transfer, eval-all: seed of everything drawn
#: WORKERS    shards: processes; pretrain, transfer, eval-all: data workers a rank
#: GPUS       pretrain, transfer, eval-all, features: processes under torchrun, one a GPU
#: NODES      pretrain, transfer, eval-all: machines that run this together, GPUS processes each
#: NODE       pretrain, transfer, eval-all: which of them this one is, from 0
#: MASTER     pretrain, transfer, eval-all: host:port of machine 0
#: SET        shards, pretrain, transfer, eval-all, features: any other keys of the config: SET="frames.quality=2 min_frames=1"
#: EXTRAS     install: what else is to be installed, of ray and aws: EXTRAS=ray,aws
#: PYTHON     install: the interpreter that .venv is made with (python3)

install: $(INSTALLED) ## make .venv with the tested versions (nothing to do if pyproject.toml and constraints.txt are unchanged)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	    "Python 3.11 to 3.13 is needed, but $(PYTHON) is %d.%d; name another with make install PYTHON=..." % v)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(if $(everything),[$(everything)])'
	@touch .venv/.installed $@

demo: install ## everything on synthetic videos: shards, pretraining, validation, pictures (about 5 minutes on 2 cores, after installing)
	$(synthetic)
	$(BIN)/python -m shardify build $(DEMO_SHARDS_CONFIG)
	$(BIN)/python -m shardify preview $(DEMO_SHARDS) --out $(DEMO_RUN)
	$(BIN)/python -m stream_train preview $(DEMO_SHARDS) --out $(DEMO_RUN)
	$(BIN)/python -m stream_train pretrain configs/pretrain/demo.yaml
	$(BIN)/python -m stream_train validate $(DEMO_RUN)
	@printf '\nThe pictures:\n'; ls -1 $(DEMO_RUN)/*.png

shards: install ## videos -> shards
	$(demo_videos)
	$(BIN)/python -m shardify build $(call existing,$(SHARDS_CONFIG)) $(shards_overrides) $(call option,part,$(PART)) \
	    $(call option,engine,$(ENGINE))

finish: install ## the manifest of shards that were built in parts (PART=i/n), if the last part has not written it
	$(BIN)/python -m shardify finish $(call existing,$(SHARDS_CONFIG)) $(shards_overrides)

verify: install ## every count, size and checksum of shards: SHARDS=folder or URL
	$(BIN)/python -m shardify verify $(call needed,SHARDS,$(SHARDS))

pretrain: install $(demo_shards) ## shards -> a pretrained network
	$(launch) stream_train pretrain $(call existing,$(PRETRAIN_CONFIG)) $(pretrain_overrides)

transfer: ## fine-tune the network and one of random weights to recognise actions (Table 2)
probe: ## new classifiers on frozen features, with all labels or few (Table 1)
retrieval: ## nearest neighbours of test videos among training videos (Table 4, Figure 5)
sync: ## by how many frames two clips are shifted (Table 3)
before-after: ## which of two pieces of a video comes first (Table 3)
still: ## the probe on videos that repeat one frame, beside the moving one
saliency: ## pictures of what the networks look at (Figure 4)
eval-all: ## all of these evaluations; they take transfer's variables

$(EVALUATIONS) eval-all: install $(demo_run)
	$(launch) eval $(patsubst eval-%,%,$@) $(call existing,$(EVAL_CONFIG)) $(eval_overrides)

demo-eval: install $(DEMO_RUN)/backbone.safetensors ## every evaluation, table and figure on the demo, and one page of it all (5 to 10 minutes more)
	$(BIN)/python -m eval all configs/eval/demo.yaml
	$(BIN)/python -m eval tables $(DEMO_RUN) --out $(DEMO_RUN)/tables
	$(BIN)/python -m eval report $(DEMO_RUN)

features: install ## feature vectors of your videos: VIDEOS=folder CHECKPOINT=run OUT=vectors.npz
	$(launch) eval features $(call needed,VIDEOS or SHARDS,$(or $(VIDEOS),$(SHARDS))) $(call needed,CHECKPOINT,$(CHECKPOINT)) \
	    --out $(call needed,OUT,$(OUT)) $(foreach word,$(SET),--set $(call quoted,$(word)))

tables: install ## print the paper's tables, measured beside reported
	$(BIN)/python -m eval tables $(call quoted,$(RESULTS)) $(call option,out,$(OUT))

report: install ## one HTML page of a run: tables, curves, pictures, configs
	$(BIN)/python -m eval report $(call quoted,$(RESULTS)) $(call option,out,$(OUT))

$(DEMO_RUN)/backbone.safetensors: $(DEMO_SHARDS)/manifest.json
	$(BIN)/python -m shardify preview $(DEMO_SHARDS) --out $(DEMO_RUN)
	$(BIN)/python -m stream_train preview $(DEMO_SHARDS) --out $(DEMO_RUN)
	$(BIN)/python -m stream_train pretrain configs/pretrain/demo.yaml
	$(BIN)/python -m stream_train validate $(DEMO_RUN)

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

docs: install ## docs/ as a site: site/index.html
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove caches and the demo's videos, shards and run; .venv and everything else stay
	rm -rf $(CACHES) data/demo $(DEMO_RUN)
	find shardify stream_train eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
