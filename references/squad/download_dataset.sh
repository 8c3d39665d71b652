#!/usr/bin/env bash
# Downloads SQuAD v1.1, checks it and prepares it for training.
# DATA_DIR (default ~/tensorflow_datasets) is where it goes. Further flags are those of launchers.prepare:
# --from_dir=DIR takes files that are there, --vocab=FILE (of an uncased BERT) prepares for BERT too.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m launchers.prepare --dataset=squad --data_dir="${DATA_DIR:-$HOME/tensorflow_datasets}" "$@"
