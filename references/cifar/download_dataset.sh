#!/usr/bin/env bash
# Downloads CIFAR-10, checks it and prepares it for training.
# DATA_DIR (default ~/tensorflow_datasets) is where it goes. Further flags are those of launchers.prepare:
# --from_dir=DIR takes files that are there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m launchers.prepare --dataset=cifar10 --data_dir="${DATA_DIR:-$HOME/tensorflow_datasets}" "$@"
