"""What the batch script of a Slurm job does, with stand-ins for Slurm's commands; tests/clusters has the real ones."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from launchers.clusters import slurm
from tests.launchers.running import ROOT, launch, one_line

GOLDEN = Path(__file__).parent / 'golden'
CONFIG = '--config=tests/launchers/bare.py'
# Each notes what it was called with. srun ends with $SRUN, or, where that is empty, with $AFTER_TERM once scancel came.
STAND_INS = {
    'srun': 'printf "%s\\0" "$@" >"$FAKE/srun"; [ "$SRUN" ] && exit "$SRUN"; trap "exit $AFTER_TERM" USR2\n'
            'echo $$ >"$FAKE/pid"; while :; do sleep 0.02; done',
    'scancel': 'echo "scancel $*" >>"$FAKE/calls"; kill -USR2 "$(cat "$FAKE/pid")"',
    'scontrol': 'echo "scontrol $*" >>"$FAKE/calls"',
    'squeue': 'echo "$STATE"'}
HOSTILE = ('a b', "it's", '"quoted"', '$(touch broken)', '`touch broken`', '$HOME', 'back\\slash', '*', '#no comment',
           'new\nline', '%t', '!', '')


def pod(*arguments):
  return launch('pod', '--cluster=slurm', *arguments)


def script(workdir: Path, *flags_of_pod, flags_of_train=()) -> Path:
  """The batch script that would be submitted, in a file."""
  done = pod('--dry_run', *flags_of_pod, '--', CONFIG, f'--workdir={workdir}', *flags_of_train)
  assert done.returncode == 0, done.stderr
  name, text = done.stdout.split('\n', 1)
  path = Path(name.removeprefix('# '))
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text[:text.rindex('$ sbatch ')])
  return path


@pytest.fixture
def fake(tmp_path, tmp_path_factory):
  """Starts a batch script among the stand-ins, which are not in the workdir."""
  folder = tmp_path_factory.mktemp('fake')
  for name, text in STAND_INS.items():
    (folder / name).write_text(f'#!/bin/sh\n{text}\n')
    (folder / name).chmod(0o755)

  def start(path: Path, **env):
    given = {'FAKE': folder, 'PATH': f"{folder}:{os.environ['PATH']}", 'SLURM_JOB_ID': '7', 'SLURM_JOB_NODELIST': 'n1',
             'STATE': 'RUNNING', 'SRUN': '', 'AFTER_TERM': '75', **env}
    return subprocess.Popen(['bash', path], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**os.environ, **{name: str(value) for name, value in given.items()}})

  start.folder = folder
  start.calls = lambda: (folder / 'calls').read_text().splitlines() if (folder / 'calls').exists() else []
  return start


@pytest.mark.parametrize('name, flags_of_pod', [
    ('plain', []),
    ('gpus', ['--slurm_nodes=4', '--slurm_tasks_per_node=8', '--slurm_gpus_per_task=1', '--slurm_cpus_per_task=14',
              '--slurm_partition=a100', '--slurm_account=vision', '--slurm_constraint=nvlink', '--slurm_time=1-12',
              '--slurm_warning_seconds=300', '--slurm_max_restarts=1', '--slurm_sbatch=--mem=0',
              '--slurm_sbatch=--exclusive', '--slurm_setup=module load cuda', '--slurm_setup=export NCCL_DEBUG=WARN']),
    ('node', ['--slurm_nodes=2', '--slurm_gpus_per_task=4'])])
def test_a_dry_run_prints_its_golden_text(name, flags_of_pod):
  """A change shows as a difference in text; DAYBREAK_UPDATE_GOLDEN=1 accepts it."""
  done = pod('--dry_run', '--slurm_python=python3', *flags_of_pod, '--', CONFIG, '--workdir=runs/pod',
             '--config.widths=(64,128)')
  assert done.returncode == 0, done.stderr
  text = done.stdout.replace(str(ROOT), '/repository')
  if os.environ.get('DAYBREAK_UPDATE_GOLDEN'):
    (GOLDEN / f'slurm_{name}.txt').write_text(text)
  assert text == (GOLDEN / f'slurm_{name}.txt').read_text()


@pytest.mark.parametrize('arguments, words', [
    (['--slurm_gpus_per_task=2', '--slurm_tasks_per_node=2'], ['slurm_gpus_per_task=2', 'must be 1']),
    (['--slurm_sbatch=mem=0'], ['mem=0', '--slurm_sbatch=--mem=0']),
    (['--slurm_sbatch=--mem=0\nrm -r x'], ['on one line']),
    (['--slurm_partition=a\nb'], ['partition', 'one line']),
    (['--slurm_time=2'], ['slurm_time=2', 'slurm_warning_seconds=120']),
    (['--slurm_time=3'], ['slurm_time=3', 'a minute more']),
    (['--slurm_time=1:00:00', '--slurm_warning_seconds=3600'], ['slurm_time=1:00:00', 'slurm_warning_seconds=3600'])])
def test_a_value_that_slurm_cannot_be_given_is_named(arguments, words):
  done = pod('--dry_run', *arguments, '--', CONFIG, '--workdir=runs/pod')
  assert done.returncode == 1 and not done.stdout
  for word in words:
    assert word in one_line(done.stderr)


@pytest.mark.parametrize('arguments, word', [
    (['--slurm_nodes=0'], 'slurm_nodes'), (['--slurm_warning_seconds=70000'], 'slurm_warning_seconds'),
    (['--slurm_node=2'], 'slurm_nodes')])
def test_a_wrong_flag_is_named(arguments, word):
  done = pod('--dry_run', *arguments, '--', CONFIG, '--workdir=runs/pod')
  assert done.returncode == 2 and word in one_line(done.stderr)


@pytest.mark.parametrize('limit', ['3:01', '0', 'UNLIMITED'])
def test_a_time_limit_that_leaves_time_to_train_is_taken(limit, tmp_path):
  assert f'#SBATCH --time={limit}\n' in script(tmp_path, f'--slurm_time={limit}').read_text()


def test_the_others_have_the_time_to_notice_that_a_process_is_lost(tmp_path):
  assert ' --wait=120 ' in script(tmp_path).read_text()
  assert ' --wait=391 ' in script(tmp_path, flags_of_train=['--peer_timeout_seconds=300.5']).read_text()
  done = pod('--dry_run', '--', CONFIG, f'--workdir={tmp_path}', '--peer_timeout_seconds=long')
  assert done.returncode == 1 and 'peer_timeout_seconds=long' in one_line(done.stderr)


def test_a_workdir_that_slurm_cannot_be_told_is_named(tmp_path):
  done = pod('--dry_run', '--', CONFIG, f'--workdir={tmp_path}/back\\slash')
  assert done.returncode == 1 and 'backslash' in one_line(done.stderr)


def test_without_slurm_the_missing_program_is_named(tmp_path):
  done = launch('pod', '--cluster=slurm', '--', CONFIG, f'--workdir={tmp_path}', env={'PATH': str(tmp_path)})
  assert done.returncode == 1 and 'sbatch' in one_line(done.stderr)


def test_flags_reach_train_as_they_were_typed(fake, tmp_path):
  flags_of_train = [f'--author={text}' for text in HOSTILE]
  workdir = tmp_path / ''.join(c for c in HOSTILE if c not in ('back\\slash', 'new\nline'))
  path = script(workdir, '--slurm_python=my python', flags_of_train=flags_of_train)
  done = fake(path, SRUN=0)
  out, _ = done.communicate(timeout=20)
  assert done.returncode == 0, out
  given = (fake.folder / 'srun').read_text().split('\0')[:-1]
  begin = given.index('my python')
  assert given[begin:] == ['my python', '-m', 'launchers.train', CONFIG, f'--workdir={workdir}', *flags_of_train,
                           '--distributed']
  assert f'--output={str(path.parent).replace("%", "%%")}/process_%t.log' in given[:begin]
  assert not list(tmp_path.glob('**/broken'))


def test_setup_lines_run_before_training(fake, tmp_path):
  path = script(tmp_path, '--slurm_setup=mine="a  b"', '--slurm_setup=echo "set up: $mine"')
  out, _ = fake(path, SRUN=0).communicate(timeout=20)
  assert out.splitlines()[0] == 'set up: a  b' and out.splitlines()[1].startswith('job 7: start 1 on n1')


@pytest.mark.parametrize('status, state, lost_before, requeued, word', [
    (0, 'RUNNING', 0, False, 'ended'), (3, 'RUNNING', 0, False, 'ended'), (1, 'RUNNING', 0, False, 'ended'),
    (2, 'RUNNING', 0, False, 'ended'), (130, 'RUNNING', 0, False, 'ended'), (75, 'RUNNING', 9, True, 'preempted'),
    (137, 'RUNNING', 0, True, 'lost'), (134, 'RUNNING', 2, True, 'lost'), (137, 'RUNNING', 3, False, 'lost'),
    (75, 'COMPLETING', 0, False, 'ended by Slurm'), (137, 'COMPLETING', 0, False, 'ended by Slurm'),
    (75, '', 0, False, 'ended by Slurm')])
def test_the_status_decides_what_becomes_of_the_job(status, state, lost_before, requeued, word, fake, tmp_path):
  path = script(tmp_path)
  (path.parent / 'lost_7').write_text('137\n' * lost_before)
  done = fake(path, SRUN=status, STATE=state)
  out, _ = done.communicate(timeout=20)
  assert done.returncode == status
  assert word in out.splitlines()[-1] and f'status {status}' in out.splitlines()[-1]
  assert fake.calls() == ['scontrol requeue 7'] * requeued
  counted = len((path.parent / 'lost_7').read_text().splitlines()) - lost_before
  assert counted == (word == 'lost')


@pytest.mark.parametrize('after, requeued', [(75, True), (0, False), (3, False)])
@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_job_waited_for(number, after, requeued, fake, tmp_path):
  done = started(fake, script(tmp_path), AFTER_TERM=after)
  done.send_signal(number)
  out, _ = done.communicate(timeout=20)
  assert done.returncode == after, out
  assert fake.calls() == ['scancel --signal=TERM 7', *['scontrol requeue 7'] * requeued]


def test_slurm_ending_the_job_is_left_to_slurm_however_often_it_signals(fake, tmp_path):
  done = started(fake, script(tmp_path), STATE='COMPLETING')
  for _ in range(3):
    done.send_signal(signal.SIGTERM)
    time.sleep(0.1)
  assert done.poll() is None, 'the script must wait for its tasks'
  os.kill(int((fake.folder / 'pid').read_text()), signal.SIGUSR2)
  out, _ = done.communicate(timeout=20)
  assert done.returncode == 75, out
  assert fake.calls() == []


def started(fake, path: Path, **env) -> subprocess.Popen:
  """The script, once its srun runs."""
  process, end = fake(path, **env), time.monotonic() + 20
  while not (fake.folder / 'pid').exists():
    assert time.monotonic() < end and process.poll() is None
    time.sleep(0.01)
  time.sleep(0.1)  # the trap is set after srun was started
  return process


@pytest.mark.parametrize('limit, seconds', [
    ('90', 5400), ('90:30', 5430), ('1:30:15', 5415), ('2-3', 183600), ('2-3:4', 183840), ('2-3:4:5', 183845),
    ('0', 0), ('UNLIMITED', None), ('soon', None)])
def test_time_limits_are_read_as_sbatch_documents_them(limit, seconds):
  assert slurm._seconds(limit) == seconds
