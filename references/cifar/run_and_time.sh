#!/usr/bin/env bash
# Trains to the target and tells how long that took; CONFIG, SEED, WORKDIR: see ../run_and_time.sh.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../run_and_time.sh" "${CONFIG:-references/cifar/configs/no_tta.py}" "$@"
