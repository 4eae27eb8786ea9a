#!/bin/bash
# Shards on a running Ray cluster: every core builds, and other machines do the work of lost ones.
#   ray job submit --runtime-env-json '{"env_vars": {"AWS_ACCESS_KEY_ID": "...", "AWS_SECRET_ACCESS_KEY": "...",
#       "AWS_REGION": "..."}}' -- bash -c 'cd ~/temporal-ssl && bash configs/jobs/ray_shards.sh'
# after editing DATASET, VIDEOS, LISTS and OUT in the head's copy. The driver gets env_vars and passes those that begin
# with AWS_, GOOGLE_, AZURE_ or TEMPORAL_SSL_ to all machines; leave them out if Ray was started with them.
# All machines need the image of configs/jobs/Containerfile, or a checkout after make install EXTRAS=ray.
# Kinetics-600 takes about 41 core-hours. Expect s3://my-bucket/kinetics600/manifest.json. The same command again builds
# only what is missing.
set -euo pipefail

exec make shards DATASET=kinetics600 ENGINE=ray VIDEOS=s3://my-bucket/videos/kinetics600 \
    LISTS=s3://my-bucket/videos/kinetics600/annotations OUT=s3://my-bucket/kinetics600
