#!/usr/bin/env bash
# Reads all of what download_dataset.sh prepared in DATA_DIR, and fails unless it is that to the byte. Changes nothing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m launchers.prepare --dataset=squad --verify \
  --data_dir="${DATA_DIR:-$HOME/tensorflow_datasets}" "$@"
