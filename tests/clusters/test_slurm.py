"""Jobs on a real Slurm: submitted by launchers.pod, preempted, killed, cancelled.

Digits show that the parameters come out the same; a shell script in Python's place (`worker`) shows what Slurm does.
"""
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scoring import tape as tapes
from tests.clusters.slurm_cluster import SlurmCluster
from tests.launchers.running import ROOT, read_json

pytestmark = pytest.mark.slurm
PROCESSES = ('--slurm_nodes=2', '--slurm_tasks_per_node=2')
SLOW = 'tests/launchers/slow_digits.py'
ENV = {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '1', 'OMP_NUM_THREADS': '1',
       'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false'}
ENDED = ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'PREEMPTED')
# Notes each start, and on SIGTERM, after a moment as of saving, ends with 75.
SAVES = 'trap "sleep 1; exit 75" TERM; echo "start $SLURM_PROCID"; while :; do sleep 0.1; done'


@pytest.fixture(scope='module')
def cluster():
  try:
    made = SlurmCluster(nodes=2)
  except RuntimeError as missing:
    pytest.exit(f'error: {missing}', returncode=1)
  with made:
    yield made


def submit(cluster, workdir, *flags_of_pod, flags_of_train=(), config='references/cifar/configs/digits.py') -> int:
  """The number of a job submitted as people do it."""
  done = subprocess.run(
      [sys.executable, '-m', 'launchers.pod', '--cluster=slurm', *flags_of_pod, '--', f'--config={config}',
       f'--workdir={workdir}', *flags_of_train], cwd=ROOT, env={**cluster.env, **ENV}, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return int(re.fullmatch(r'Submitted batch job (\d+)\n', done.stdout)[1])


def worker(folder: Path, text: str) -> str:
  """The flag with which a job runs a shell script instead of training."""
  path = folder / 'worker'
  path.write_text(f'#!/bin/bash\n{text}\n')
  path.chmod(0o755)
  return f'--slurm_python={path}'


def wait_for(condition, seconds: float = 120):
  """Waits until `condition()` holds; its value."""
  end = time.monotonic() + seconds
  while not (value := condition()):
    assert time.monotonic() < end, f'not within {seconds} s'
    time.sleep(0.05)
  return value


def log(workdir: Path, name: str = 'job') -> str:
  path = workdir / 'pod' / f'{name}.log'
  return path.read_text() if path.exists() else ''


def wait_for_starts(workdir: Path, number: int):
  """Waits until the worker has been started so often in each of four tasks."""
  wait_for(lambda: all(log(workdir, f'process_{task}').count('start') == number for task in range(4)))


# -- what Slurm does with the script


@pytest.mark.parametrize('how', [
    ['scontrol', 'requeue'], ['scancel', '--signal=TERM'], ['scancel', '--signal=TERM', '--batch'],
    ['scancel', '--signal=USR1', '--batch']], ids=' '.join)
def test_a_job_that_was_preempted_starts_again(how, cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(tmp_path, 1)
  cluster.call(*how, number)
  wait_for_starts(tmp_path, 2)
  assert cluster.wait_for_state(number, 'RUNNING')['Restarts'] == '1'
  cluster.call('scancel', number)
  cluster.wait_for_state(number, 'CANCELLED')


def test_a_job_that_a_more_important_one_preempts_starts_again_after_it(cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(tmp_path, 1)
  other = int(cluster.call('sbatch', '--parsable', '--partition=high', '--nodes=2', '--exclusive', '--output=/dev/null',
                           '--wrap=sleep 3'))
  cluster.wait_for_state(other, 'COMPLETED')
  wait_for_starts(tmp_path, 2)
  assert 'preempted and saved, status 75; back into the queue' in log(tmp_path), 'within the grace time, by itself'
  cluster.call('scancel', number)
  cluster.wait_for_state(number, 'CANCELLED')


def test_a_job_that_was_cancelled_saves_and_stays_cancelled(cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(tmp_path, 1)
  cluster.call('scancel', number)
  job = cluster.wait_for_state(number, *ENDED)
  assert (job['JobState'], job['Restarts']) == ('CANCELLED', '0')
  assert 'ended by Slurm, status 75' in log(tmp_path), 'the tasks had the time to save'
  time.sleep(8)  # a requeued job is back after 7
  assert cluster.job(number)['JobState'] == 'CANCELLED'


@pytest.mark.parametrize('status, state', [(0, 'COMPLETED'), (3, 'FAILED'), (1, 'FAILED')])
def test_the_job_has_the_status_of_train(status, state, cluster, tmp_path):
  job = cluster.wait_for_state(submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, f'exit {status}')), *ENDED)
  assert (job['JobState'], job['ExitCode'], job['Restarts']) == (state, f'{status}:0', '0')


def test_a_job_that_loses_a_process_is_restarted_so_often_and_no_more(cluster, tmp_path):
  dies = 'echo "start $SLURM_PROCID"; [ "$SLURM_PROCID" = 1 ] && kill -KILL $$; sleep 1; echo "others may end"; exit 1'
  number = submit(cluster, tmp_path, *PROCESSES, '--slurm_max_restarts=1', worker(tmp_path, dies))
  job = cluster.wait_for_state(number, *ENDED)
  assert (job['JobState'], job['ExitCode'], job['Restarts']) == ('FAILED', '137:0', '1')
  assert [log(tmp_path, f'process_{task}').count('others may end') for task in range(4)] == [2, 0, 2, 2]


def test_any_name_of_a_workdir_and_any_flag_reach_the_tasks(cluster, tmp_path):
  text = """a b'c"d$(touch x)`touch x`$HOME#e%t%%!*;&|(é"""
  tells = worker(tmp_path, 'printf "%s\\0" "$@"; pwd; echo "$MINE"')
  number = submit(cluster, tmp_path / text, tells, '--slurm_setup=export MINE="of  mine"',
                  '--slurm_sbatch=--comment="two words"', flags_of_train=[f'--author={text}\n\\'])
  assert cluster.wait_for_state(number, *ENDED)['JobState'] == 'COMPLETED'
  *given, rest = log(tmp_path / text, 'process_0').split('\0')
  assert given[-3:] == [f'--workdir={tmp_path / text}', f'--author={text}\n\\', '--distributed']
  assert rest.splitlines() == [str(ROOT), 'of  mine']
  assert f'job {number}: ended, status 0' in log(tmp_path / text)
  assert not list(tmp_path.rglob('x')) and not (ROOT / 'x').exists()
  assert cluster.call('squeue', '--noheader', '--states=all', f'--jobs={number}', '--format=%k|%j').strip() == \
      f'two words|{text}'


@pytest.mark.parametrize('flags_of_pod, visible, chosen', [
    (['--slurm_tasks_per_node=2', '--slurm_gpus_per_task=1'], '0,1', ''),
    (['--slurm_gpus_per_task=2'], '0,1', '0,1')])
def test_each_task_sees_the_gpus_that_jax_expects(flags_of_pod, visible, chosen, cluster, tmp_path):
  """By JAX's rule the i-th task of a node takes the i-th GPU that it sees, unless JAX_LOCAL_DEVICE_IDS names others."""
  number = submit(cluster, tmp_path, *flags_of_pod,
                  worker(tmp_path, 'echo "$CUDA_VISIBLE_DEVICES|$JAX_LOCAL_DEVICE_IDS"'))
  assert cluster.wait_for_state(number, *ENDED)['JobState'] == 'COMPLETED'
  logs = sorted((tmp_path / 'pod').glob('process_*.log'))
  assert len(logs) == int(cluster.job(number)['NumTasks'])
  assert {path.read_text() for path in logs} == {f'{visible}|{chosen}\n'}
