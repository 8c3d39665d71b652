#!/usr/bin/env bash
# Prepares ImageNet 2012 out of its official archives, which image-net.org gives out to those who register.
# DATA_DIR (default ~/tensorflow_datasets) is where it goes. Further flags are those of launchers.prepare:
# --manual_dir=DIR, the folder of the archives, or --from_dir=DIR of folders; --dataset=image_folder for other photographs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m launchers.prepare --dataset=imagenet2012 --data_dir="${DATA_DIR:-$HOME/tensorflow_datasets}" "$@"
