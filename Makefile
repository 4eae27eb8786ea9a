# temporal-ssl: from video files to a pretrained network. `make` lists the targets and their variables.
# A machine needs only Python (3.11 to 3.13, with venv) and make; everything else goes into .venv. A target only chooses
# the command and passes the values on; the command checks them.

PYTHON ?= python3
PYTEST_WORKERS ?= auto
DATASET ?= demo
RUN ?= runs/demo
BIN := .venv/bin
comma := ,
space := $(subst ,, )
TOOLS := dev test# for work on the code; the image of configs/jobs/Containerfile has none
extras := $(sort $(subst $(comma), ,$(EXTRAS)))
all_extras := $(subst $(space),$(comma),$(strip $(TOOLS) $(extras)))
INSTALLED := .venv/.installed$(subst $(space),,$(addprefix -,$(extras)))# a mark for each choice of extras

# Values are quoted, and paths are taken as they are given, also with a $. An empty value gives
# no option. SET's words come last, so they override.
quote = '$(subst ','\'',$(1))'
set = $(if $(strip $(2)),--set $(call quote,$(1)=$(2)))
option = $(if $(strip $(2)),--$(1) $(call quote,$(2)))
SETS = $(foreach word,$(value SET),--set $(call quote,$(word)))
shards_sets = $(call set,out,$(value OUT)) $(call set,seed,$(SEED)) $(call set,source.videos,$(value VIDEOS)) \
    $(call set,source.lists,$(value LISTS)) $(call set,workers,$(WORKERS)) $(SETS)
pretrain_sets = $(call set,out,$(value OUT)) $(call set,seed,$(SEED)) $(call set,shards,$(value SHARDS)) $(call set,split,$(SPLIT)) \
    $(call set,data.num_workers,$(WORKERS)) $(SETS)
eval_sets = $(call set,out,$(value OUT)) $(if $(SEED),$(call set,seeds,[$(SEED)])) $(call set,shards,$(value SHARDS)) \
    $(if $(SPLIT),$(call set,splits,[$(SPLIT)])) $(call set,networks.pretrained.path,$(value CHECKPOINT)) \
    $(call set,data.num_workers,$(WORKERS)) $(SETS)

# The config is CONFIG, or that of DATASET; pretraining has one config for all data sets without their own.
config = $(call quote,$(or $(value CONFIG),configs/$(1)/$(DATASET).yaml))
recipe = $(firstword $(wildcard configs/pretrain/$(DATASET).yaml configs/pretrain/c3d_$(DATASET).yaml \
    $(if $(wildcard configs/shards/$(DATASET).yaml),configs/pretrain/c3d.yaml)) configs/pretrain/$(DATASET).yaml)
pretrain_config = $(call quote,$(or $(value CONFIG),$(recipe)))
# By default a stage works on the demo, and first makes the parts of the demo that it needs.
is_demo = $(if $(subst configs/$(1)/demo.yaml,,$(or $(value CONFIG),configs/$(1)/$(DATASET).yaml)),,yes)
demo_shards = $(if $(call is_demo,pretrain),$(if $(value SHARDS),,data/demo/shards/manifest.json))
synthetic = $(BIN)/python -m shardify synthetic configs/shards/synthetic_demo.yaml
build_demo = $(BIN)/python -m shardify build configs/shards/demo.yaml
demo_study = $(if $(call is_demo,study),data/demo/shards/manifest.json)
demo_run = $(if $(call is_demo,eval),$(if $(value SHARDS)$(value CHECKPOINT),,runs/demo/backbone.safetensors))

# torchrun starts several processes: on this machine (GPUS), or on several machines (NODES) with the same target.
master = $(subst :, ,$(or $(MASTER),$(error NODES=$(NODES) needs MASTER=host:port of node 0)))
node = $(or $(filter $(NODE),$(shell seq 0 $$(($(NODES) - 1)))),$(error NODES=$(NODES) needs NODE from 0 to NODES - 1))
across = --nnodes $(NODES) --node-rank $(node) --nproc-per-node $(or $(GPUS),1) --master-addr $(word 1,$(master)) \
    --master-port $(or $(word 2,$(master)),29500)
launcher = $(if $(filter-out 0 1,$(NODES)),$(across),$(if $(filter-out 0 1,$(GPUS)),--standalone --nproc-per-node $(GPUS)))
launch = $(BIN)/$(if $(strip $(launcher)),torchrun $(launcher),python) -m

# make ignores a misspelt variable, and torchrun prints a traceback for a misspelt number; so both are checked here.
known := $(shell sed -n 's/^\#: \([A-Z]*\) .*/\1/p' $(firstword $(MAKEFILE_LIST)))
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unknown := $(filter-out $(known) BIN PYTEST_WORKERS SHELL TOOLS,$(given))
$(if $(unknown),$(error there is no variable $(firstword $(unknown)); there are: $(known)))
$(foreach name,GPUS NODES NODE,$(if $(shell printf %s $(call quote,$($(name))) | tr -d 0-9),$(error $(name)=$($(name)) is not a number)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
EVALUATIONS := transfer probe retrieval sync before-after still saliency eval-all
.PHONY: help install demo demo-eval shards finish verify pretrain audit $(EVALUATIONS) features tables report ablation compare plan check docs test test-slow bench bench-gpu clean

help: ## list the targets and variables
	@printf 'usage: make TARGET [VARIABLE=value ...]\n\ntargets\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' Makefile
	@printf '\nvariables\n'
	@awk '/^#: [A-Z]/ { name = $$2; sub(/^#: [A-Z]+ +/, ""); printf "  %-14s%s\n", name, $$0 }' Makefile

#: DATASET    shards, pretrain: demo (default), ucf101, hmdb51, kinetics400, kinetics600, kinetics700, something_something_v2, diving48, finegym, folder, flat, csv; transfer, eval-all: demo, ucf101, hmdb51, csv
#: VIDEOS     shards, features: folder or URL of the video files, or of their archives; bench: videos to measure on, instead of synthetic ones
#: LISTS      shards, finish: the lists of the data set: a folder, a CSV file, or the URL of either
#: PART       shards: the part i/n to build, for arrays of jobs (3/16)
#: ENGINE     shards: ray builds on a Ray cluster (RAY_ADDRESS), instead of this machine's processes
#: OUT        shards, finish, pretrain, transfer, eval-all: folder or URL for the result (s3://bucket/path); ablation, compare: as in all commands of one study; features: the file; tables: folder for CSV files; report: the page; bench, bench-gpu: JSON file
#: SHARDS     pretrain, transfer, eval-all, verify: folder or URL of the shards; features: shards instead of VIDEOS
#: SPLIT      pretrain: split to train on, such as train1; transfer, eval-all: numbers of splits, such as 1 or 1,2,3
#: CONFIG     shards, pretrain, transfer, eval-all, ablation, compare, plan: a config file, instead of that of DATASET
#: CHECKPOINT transfer, eval-all, features: the network to evaluate: folder or URL of its run, or its backbone.safetensors
#: RUN        audit, tables, report: folder or URL of the results (runs/demo)
#: SEED       shards, pretrain, transfer, eval-all: seed of all random draws
#: WORKERS    shards: processes; pretrain, transfer, eval-all: data workers per rank
#: GPUS       pretrain, transfer, eval-all, features: processes under torchrun, one per GPU; ablation, compare: jobs at a time
#: NODES      pretrain, transfer, eval-all: number of machines that run this together, each with GPUS processes
#: NODE       pretrain, transfer, eval-all: number of this machine, from 0
#: MASTER     pretrain, transfer, eval-all: host:port of machine 0
#: SET        shards, pretrain, transfer, eval-all, features, ablation, compare, plan: any other keys of the config: SET="frames.quality=2 min_frames=1"
#: EXTRAS     install: optional parts to install, of aws, docs, hub, parquet and ray: EXTRAS=ray,aws
#: PYTHON     install: the interpreter that makes .venv (python3)

install: $(INSTALLED) ## make .venv with the tested versions (does nothing if pyproject.toml and constraints.txt are unchanged)
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	    "Python 3.11 to 3.13 is needed, but $(PYTHON) is %d.%d; name another with make install PYTHON=..." % v)'
	@$(PYTHON) -c 'import sys, tomllib; known = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	    unknown = sorted({*sys.argv[1:]} - {*known}); sys.exit(f"there is no extra {unknown[0]}; there are: {sorted(known)}" if unknown else 0)' $(extras)
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(if $(all_extras),[$(all_extras)])'
	@touch .venv/.installed $@

demo: install ## everything on synthetic videos: shards, pretraining, validation, pictures (6 minutes on 2 free cores, after about 4 for installing)
	$(BIN)/temporal-ssl demo

data/demo/shards/manifest.json: | install
	$(synthetic)
	$(build_demo)

runs/demo/backbone.safetensors: | install
	@$(MAKE) --no-print-directory demo

shards: install ## videos -> shards
	$(if $(call is_demo,shards),$(if $(value VIDEOS),,$(synthetic)))
	$(BIN)/python -m shardify build $(call config,shards) $(shards_sets) $(call option,part,$(PART)) $(call option,engine,$(ENGINE))

finish: install ## write the manifest of shards built in parts (PART=i/n), if the last part has not written it
	$(BIN)/python -m shardify finish $(call config,shards) $(shards_sets)

verify: install ## check every count, size and checksum of shards: SHARDS=folder or URL
	$(BIN)/python -m shardify verify $(call quote,$(or $(value SHARDS),data/demo/shards))

pretrain: install $(demo_shards) ## shards -> a pretrained network
	$(launch) stream_train pretrain $(pretrain_config) $(pretrain_sets)

audit: install ## ask whether a run's pretext score comes from motion: RUN=folder or URL
	$(BIN)/python -m stream_train audit $(call quote,$(value RUN)) $(SETS)

transfer: ## fine-tune the network, and a network of random weights, to recognise actions (Table 2)
probe: ## new classifiers on frozen features, with all labels or few (Table 1)
retrieval: ## nearest neighbours of test videos among training videos (Table 4, Figure 5)
sync: ## classify by how many frames two clips are shifted (Table 3)
before-after: ## classify which of two pieces of a video comes first (Table 3)
still: ## compare the probe on videos that repeat one frame with the probe on moving videos
saliency: ## pictures of what the networks use (Figure 4)
eval-all: ## all of these evaluations; they have transfer's variables
$(EVALUATIONS): install $(demo_run)
	$(launch) eval $(patsubst eval-%,%,$@) $(call config,eval) $(eval_sets)

demo-eval: install runs/demo/backbone.safetensors ## every evaluation, table and figure on the demo, and one page of it all (5 to 10 minutes more)
	$(BIN)/temporal-ssl demo-eval

features: install ## feature vectors of your videos: VIDEOS=folder CHECKPOINT=run OUT=vectors.npz
	$(launch) eval features $(call quote,$(or $(value VIDEOS),$(value SHARDS))) $(call quote,$(value CHECKPOINT)) --out $(call quote,$(value OUT)) $(SETS)

tables: ## print the paper's tables, with measured and reported numbers
report: ## one HTML page of a run: tables, curves, pictures, configs
tables report: install
	$(BIN)/python -m eval $@ $(call quote,$(value RUN)) $(call option,out,$(value OUT))

ablation: ## pre-train and evaluate a study's rows, in one table: CONFIG=configs/study/table1.yaml
compare: ## the same for any tasks, networks and evaluations: CONFIG=configs/study/table2.yaml
ablation compare: install $(demo_study)
	$(BIN)/python -m eval study $(call config,study) $(call set,out,$(value OUT)) $(SETS) $(call option,at-once,$(GPUS))

plan: install ## what a config costs, before it runs: CONFIG=configs/study/table1.yaml
	$(BIN)/python -m eval plan $(call config,study) $(call set,out,$(value OUT)) $(SETS)

check: install ## formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: ## the pages in docs/ as a site, built strictly
	@$(MAKE) --no-print-directory install EXTRAS=docs
	$(BIN)/mkdocs build --strict

# The many processes of the tests read what one of them compiled, also where the machine's Python is told to keep no bytecode.
test test-slow: export PYTHONDONTWRITEBYTECODE =

test: install ## the quick tests; lists the ten slowest
	$(BIN)/python -m pytest -m 'not slow' -n $(PYTEST_WORKERS) --dist worksteal --durations=10

test-slow: install ## the tests that start and kill real processes, or take long
	$(BIN)/python -m pytest -m slow -n $(PYTEST_WORKERS) --dist worksteal --durations=10

bench: install ## speed as ratios: building and loading against the bare tools, and against what people use instead
	$(BIN)/python tests/benchmarks/bench_all.py $(call option,videos,$(value VIDEOS)) $(call option,out,$(value OUT))

bench-gpu: install ## training steps of each network on this machine's GPU, and how well shards feed them
	$(BIN)/python tests/benchmarks/bench_train.py $(call option,videos,$(value VIDEOS)) $(call option,shards,$(value SHARDS)) $(call option,out,$(value OUT))

clean: ## remove caches and the demo's videos, shards and run; keep .venv and everything else
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build site data/demo runs/demo
	find shardify stream_train eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
