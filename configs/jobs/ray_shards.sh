#!/bin/bash
# Shards on a Ray cluster that runs already: every core of it builds, lost machines are made up for.
#   ray job submit -- bash -c 'cd ~/temporal-ssl && bash configs/jobs/ray_shards.sh'     # after editing the bucket
# All machines from the image of configs/jobs/Containerfile, or with a checkout after make install EXTRAS=ray. The
# bucket's variables must be set where the job's driver starts, on the head; it hands them on.
# Kinetics-600 takes about 41 core-hours. Expect s3://my-bucket/kinetics600/manifest.json; the same command again builds
# what is missing.
set -euo pipefail

exec make shards DATASET=kinetics600 ENGINE=ray VIDEOS=s3://my-bucket/videos/kinetics600 \
    LISTS=s3://my-bucket/videos/kinetics600/annotations OUT=s3://my-bucket/kinetics600
