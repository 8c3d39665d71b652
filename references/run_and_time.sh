#!/usr/bin/env bash
# Trains one recipe to its target and tells how long that took, as the run_and_time.sh of MLPerf's references do.
# It works from the root of the checkout: WORKDIR (default: runs/ and a name) is relative to that.
# SEED is by default the clock's, which MLPerf's rules allow. Further flags go to launchers.train, and its exit status
# is that of this script: 0 target reached, 3 not. Nothing made here is an official MLPerf result.
#
#   references/run_and_time.sh references/cifar/configs/digits.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -eq 0 ]; then
  echo 'error: no config; e.g. references/run_and_time.sh references/cifar/configs/digits.py' >&2
  exit 2
fi
config=$1
shift
name=$(basename "$config" .py)
seed=${SEED:-$(date +%s)}
workdir=${WORKDIR:-runs/${name}_$seed}
start=$(date +%s)
echo "STARTING TIMING RUN AT $(date --utc --date="@$start" '+%Y-%m-%d %H:%M:%S')"
status=0
"${PYTHON:-python}" -m launchers.train --config="$config" --workdir="$workdir" --config.seed="$seed" "$@" || status=$?
end=$(date +%s)
echo "ENDING TIMING RUN AT $(date --utc --date="@$end" '+%Y-%m-%d %H:%M:%S')"
echo "RESULT,$name,$seed,$((end - start)),$status"
exit "$status"
