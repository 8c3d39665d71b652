"""Jobs on a real Slurm: submitted by launchers.pod, preempted, killed, cancelled.

Digits show that the parameters come out the same; a shell script in Python's place (`worker`) shows what Slurm does.
"""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scoring import tape as tapes
from tests.clusters.slurm_cluster import SlurmCluster
from tests.launchers.running import ROOT, launch, read_json

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


def log(workdir: Path, name: str = 'job') -> str:
  path = workdir / 'pod' / f'{name}.log'
  return path.read_text() if path.exists() else ''


def wait_for(condition, cluster, number: int, workdir: Path, seconds: float = 120):
  """Waits until `condition()` holds, while the job has not ended."""
  end = time.monotonic() + seconds
  while not condition():
    state = cluster.job(number)['JobState']
    assert state not in ENDED and time.monotonic() < end, (state, log(workdir), log(workdir, 'process_0'))
    time.sleep(0.2)


def wait_for_starts(cluster, number: int, workdir: Path, starts: int):
  """Waits until the worker has been started so often in each of four tasks."""
  wait_for(lambda: all(log(workdir, f'process_{task}').count('start') == starts for task in range(4)), cluster, number,
           workdir)


def cancel(cluster, number: int):
  """Ends a job that would go on for ever."""
  cluster.call('scancel', number)
  cluster.wait_for_state(number, 'CANCELLED')


# -- what Slurm does with the script


@pytest.mark.parametrize('how', [
    ['scontrol', 'requeue'], ['scancel', '--signal=TERM'], ['scancel', '--signal=TERM', '--batch'],
    ['scancel', '--signal=USR1', '--batch']], ids=' '.join)
def test_a_job_that_was_preempted_starts_again(how, cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(cluster, number, tmp_path, 1)
  cluster.call(*how, number)
  wait_for_starts(cluster, number, tmp_path, 2)
  assert cluster.wait_for_state(number, 'RUNNING')['Restarts'] == '1'
  cancel(cluster, number)


def test_a_job_that_a_more_important_one_preempts_starts_again_after_it(cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(cluster, number, tmp_path, 1)
  other = int(cluster.call('sbatch', '--parsable', '--partition=high', '--nodes=2', '--exclusive', '--output=/dev/null',
                           '--wrap=sleep 3'))
  cluster.wait_for_state(other, 'COMPLETED')
  wait_for_starts(cluster, number, tmp_path, 2)
  assert 'preempted and saved, status 75; back into the queue' in log(tmp_path), 'within the grace time, by itself'
  cancel(cluster, number)


def test_a_job_whose_node_fails_starts_again(cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(cluster, number, tmp_path, 1)
  cluster.call('scontrol', 'update', f'nodename={cluster.nodes[1]}', 'state=down', 'reason=test')
  wait_for_starts(cluster, number, tmp_path, 2)  # the node comes back by itself, since its slurmd answers
  assert cluster.wait_for_state(number, 'RUNNING')['Restarts'] == '1'
  cancel(cluster, number)


def test_a_job_that_was_cancelled_saves_and_stays_cancelled(cluster, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, worker(tmp_path, SAVES))
  wait_for_starts(cluster, number, tmp_path, 1)
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


# -- digits, trained by four processes on two nodes

TRAIN = ('--config.num_epochs=6', '--config.target_accuracy=0.95', '--checkpoint_every_steps=1000',
         '--peer_timeout_seconds=5')  # so seldom that what is resumed from was saved because of a signal


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The record of four processes that nobody interrupted, and that never saw Slurm."""
  workdir = tmp_path_factory.mktemp('whole')
  done = launch('pod', '--cluster=local', '--num_processes=4', '--', f'--config={SLOW}', f'--workdir={workdir}', *TRAIN,
                env=ENV)
  assert done.returncode == 0, done.stderr
  return read_json(workdir / 'record.json')


def events(workdir: Path, name: str) -> list[dict]:
  path = workdir / 'tape.jsonl'
  return [e for e in tapes.read(workdir) if e['event'] == name] if path.exists() and path.stat().st_size else []


def wait_until_trained(cluster, number: int, workdir: Path, start: int, span: str = 'eval'):
  """Waits until the run's `start`-th process, from 1, has come through a span of that name."""
  def trained():
    processes = events(workdir, 'process')
    return len(processes) == start and any(e['time'] > processes[-1]['time'] and e['edge'] == 'stop'
                                           for e in events(workdir, span))
  wait_for(trained, cluster, number, workdir)


def same_end(workdir: Path, whole: dict):
  ours = read_json(workdir / 'record.json')
  assert ours['status'] == 'complete' and ours['reached']
  for name in ('parameters_sha256', 'state_sha256'):
    assert ours[name] == whole[name], name
  assert [(e['step'], e['metrics']) for e in ours['evaluations']] == \
      [(e['step'], e['metrics']) for e in whole['evaluations']]


def test_a_run_that_was_preempted_three_times_ends_bitwise_equal(cluster, whole, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, config=SLOW, flags_of_train=TRAIN)
  for start, how in enumerate((['scontrol', 'requeue'], ['scancel', '--signal=TERM'],
                               ['scancel', '--signal=USR1', '--batch']), 1):
    wait_until_trained(cluster, number, tmp_path, start)
    cluster.call(*how, number)
  job = cluster.wait_for_state(number, *ENDED)
  assert (job['JobState'], job['ExitCode'], job['Restarts']) == ('COMPLETED', '0:0', '3'), log(tmp_path)
  same_end(tmp_path, whole)
  assert [e['status'] for e in events(tmp_path, 'exit')] == ['preempted'] * 3 + ['complete']
  steps = [e['resumed']['step'] for e in events(tmp_path, 'process')[1:]]
  assert 0 < steps[0] < steps[1] < steps[2] < 66, 'each went on from where the one before had saved'
  assert {e['hardware']['process_count'] for e in events(tmp_path, 'process')} == {4}


@pytest.mark.parametrize('process', [0, 3])
def test_a_run_that_lost_a_process_ends_bitwise_equal(process, cluster, whole, tmp_path):
  number = submit(cluster, tmp_path, *PROCESSES, config=SLOW,
                  flags_of_train=(*TRAIN, '--checkpoint_every_steps=11'))
  wait_until_trained(cluster, number, tmp_path, 1, span='checkpoint')
  os.kill(pid_of(tmp_path, process), signal.SIGKILL)
  job = cluster.wait_for_state(number, *ENDED, seconds=180)
  assert (job['JobState'], job['Restarts']) == ('COMPLETED', '1'), log(tmp_path)
  assert f'job {number}: lost a process, time 1, status 137; back into the queue' in log(tmp_path)
  for other in {0, 1, 2, 3} - {process}:
    assert f'error: process {process} of 4 is lost' in log(tmp_path, f'process_{other}')
  assert events(tmp_path, 'process')[1]['resumed']['step'] >= 11
  same_end(tmp_path, whole)


def pid_of(workdir: Path, process: int) -> int:
  """The process of that number that trains into `workdir`."""
  for path in Path('/proc').glob('[0-9]*'):
    try:
      command = (path / 'cmdline').read_text().split('\0')
      if command[0] == sys.executable and f'--workdir={workdir}' in command and \
          f'\0SLURM_PROCID={process}\0' in (path / 'environ').read_text():
        return int(path.name)
    except OSError:
      continue
  raise AssertionError(f'no process {process} of {workdir}')


def test_a_second_job_on_the_same_run_is_refused_and_does_no_harm(cluster, tmp_path):
  flags_of_train = ('--config.num_epochs=4', '--config.target_accuracy=0.9')
  first = submit(cluster, tmp_path, config=SLOW, flags_of_train=flags_of_train)
  wait_until_trained(cluster, first, tmp_path, 1)
  second = cluster.wait_for_state(submit(cluster, tmp_path, config=SLOW, flags_of_train=flags_of_train), *ENDED)
  assert (second['JobState'], second['ExitCode']) == ('FAILED', '1:0')
  assert 'another process is at work on this run' in log(tmp_path, 'process_0')
  assert cluster.wait_for_state(first, *ENDED)['JobState'] == 'COMPLETED'


@pytest.mark.parametrize('flags_of_pod, chosen', [
    (['--slurm_tasks_per_node=2', '--slurm_gpus_per_task=1'], ['0', '1']), (['--slurm_gpus_per_task=2'], ['0,1'])])
def test_jax_takes_the_gpus_of_its_task(flags_of_pod, chosen, cluster, tmp_path):
  code = 'import jax; from training.pod import join; join(); print(jax.config.read("jax_cuda_visible_devices"))'
  number = submit(cluster, tmp_path, *flags_of_pod, worker(tmp_path, f"exec {sys.executable} -c '{code}'"))
  assert cluster.wait_for_state(number, *ENDED)['JobState'] == 'COMPLETED', log(tmp_path, 'process_0')
  assert [log(tmp_path, f'process_{task}').split()[-1] for task in range(len(chosen))] == chosen
