#!/bin/bash
# Shards on a Ray cluster that runs already: every core of it builds, lost machines are made up for.
#   ray job submit -- bash -c 'cd ~/temporal-ssl && bash configs/jobs/ray_shards.sh'     # after editing the bucket
# Any machines whose image is that of configs/jobs/Containerfile, with the bucket's credentials in their environment;
# Kinetics-400 takes about 26 core-hours.
# Expect s3://my-bucket/kinetics400/manifest.json.
set -euo pipefail

exec make shards DATASET=kinetics400 ENGINE=ray VIDEOS=s3://my-bucket/videos/kinetics400/train \
    LISTS=s3://my-bucket/videos/kinetics400/train.csv OUT=s3://my-bucket/kinetics400
