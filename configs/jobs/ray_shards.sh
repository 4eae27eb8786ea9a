#!/bin/bash
# Shards on a Ray cluster that runs already: every core of it builds, lost machines are made up for.
#   ray job submit --runtime-env-json '{"env_vars": {"AWS_ACCESS_KEY_ID": "...", "AWS_SECRET_ACCESS_KEY": "...",
#       "AWS_REGION": "..."}}' -- bash -c 'cd ~/temporal-ssl && bash configs/jobs/ray_shards.sh'
# after editing DATASET, VIDEOS, LISTS and OUT in the head's copy. env_vars are the driver's, which hands on to all
# machines what begins with AWS_, GOOGLE_, AZURE_ or TEMPORAL_SSL_; leave them out where Ray was started with them set.
# All machines from the image of configs/jobs/Containerfile, or with a checkout after make install EXTRAS=ray.
# Kinetics-600 takes about 41 core-hours. Expect s3://my-bucket/kinetics600/manifest.json; the same command again builds
# what is missing.
set -euo pipefail

exec make shards DATASET=kinetics600 ENGINE=ray VIDEOS=s3://my-bucket/videos/kinetics600 \
    LISTS=s3://my-bucket/videos/kinetics600/annotations OUT=s3://my-bucket/kinetics600
