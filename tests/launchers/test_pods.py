"""Pods in miniature: several processes train as one, agree, and end well whatever happens to one of them."""
import os
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from scoring import tape as tapes
from tests.launchers.running import (
  DIGITS,
  ROOT,
  finish,
  launch,
  one_line,
  pod,
  process_of,
  read_json,
  start,
  start_pod,
  train,
  wait_for,
)
from tests.training.toys import assert_close
from training import checkpoint, config, mesh, programs

SLOW = 'tests/launchers/slow_digits.py'
# Little learning: at the whole rate rounding that differs between device counts is amplified (see CONTRIBUTING.md).
QUICK = ('--config.batch_seconds=0.0', '--config.evaluation_seconds=0.0')
SAME = (*QUICK, '--config.peak_learning_rate=0.001', '--config.compute_dtype=float32', '--config.num_epochs=2')
WATCHED = ('--peer_timeout_seconds=10', '--config.num_epochs=4')
BOUND_SECONDS = 45  # how long after a loss all have ended, on a busy machine of two cores; see docs/porting.md


def state_of(workdir):
  """The state that a run ended with, on this process's devices."""
  events = tapes.read(workdir)
  task = config.from_text(type(config.load(SLOW)), events[0]['config']).make_task('')
  return checkpoint.Checkpoints(workdir / 'checkpoints').restore_newest(
      programs.abstract_state(task, mesh.make_mesh(jax.devices()[:1]))).state


@pytest.fixture(scope='module')
def one(tmp_path_factory):
  """A run by one process."""
  workdir = tmp_path_factory.mktemp('one')
  done = train(workdir, *SAME, config=SLOW)
  assert done.returncode == 3, done.stderr
  return workdir


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A pod of two that nothing happened to."""
  workdir = tmp_path_factory.mktemp('whole')
  done = pod(workdir, 2, *WATCHED)
  assert done.returncode == 3, done.stderr
  return workdir


def same_end(workdir, reference):
  ours, theirs = (read_json(w / 'record.json') for w in (workdir, reference))
  assert ours['status'] == 'complete'
  assert ours['parameters_sha256'] == theirs['parameters_sha256'] and ours['state_sha256'] == theirs['state_sha256']
  values = [[(e['step'], e['metrics'], e['num_evaluated']) for e in r['evaluations']] for r in (ours, theirs)]
  assert values[0] == values[1]


@pytest.mark.pods
@pytest.mark.parametrize('processes', [2, 4])
def test_a_pod_trains_to_what_one_process_does_and_sees_each_record_once_an_epoch(processes, one, tmp_path):
  rows = tmp_path / 'rows'
  rows.mkdir()
  done = pod(tmp_path / 'run', processes, *SAME, f'--config.rows_dir={rows}')
  assert done.returncode == 3, done.stderr
  made, alone = (read_json(w / 'record.json') for w in (tmp_path / 'run', one))
  assert made['final_step'] == alone['final_step'] >= 20
  assert made['hardware']['process_count'] == processes == made['hardware']['device_count']
  assert_close(state_of(one), state_of(tmp_path / 'run'))
  steps = [[np.load(rows / f'{step:04d}_{number}.npy') for number in range(processes)]
           for step in range(made['final_step'])]
  index, epoch = (np.array([np.concatenate([part[n] for part in parts]) for parts in steps]) for n in (0, 1))
  order = config.from_text(type(config.load(SLOW)), tapes.read(one)[0]['config']).make_task('').data['train'].order
  np.testing.assert_array_equal(index, order.rows(0, made['final_step']).index)  # contiguous blocks: as one has them
  for number in range(int(epoch.max()) + 1):
    seen = index[epoch == number]
    assert len(set(seen)) == len(seen) and (number == epoch.max() or len(seen) == order.epoch_examples)


@pytest.mark.pods
def test_a_checkpoint_goes_on_with_another_number_of_processes(one, tmp_path):
  process = start_pod(tmp_path / 'run', 2, *SAME[1:], '--config.batch_seconds=0.4')
  wait_for(tmp_path / 'run' / 'tape.jsonl', '"checkpoint", "time"', process)
  os.kill(process_of(tmp_path / 'run', 1), signal.SIGTERM)
  assert finish(process).returncode == 75
  text = tapes.read(tmp_path / 'run')[0]['config']
  again = pod(tmp_path / 'run', 4, *SAME[1:], '--config.batch_seconds=0.4')
  assert again.returncode == 3, again.stderr
  assert tapes.read(tmp_path / 'run')[0]['config'] == text
  made = read_json(tmp_path / 'run' / 'record.json')
  assert made['restarts'] == 1 and 'hardware' in made['mixed']
  assert [e['metrics']['accuracy'] for e in made['evaluations']] == [
      e['metrics']['accuracy'] for e in read_json(one / 'record.json')['evaluations']]


@pytest.mark.pods
def test_sigterm_to_any_process_saves_all_at_one_step_and_they_resume_to_the_same_bits(whole, tmp_path):
  workdir = tmp_path / 'run'
  process = start_pod(workdir, 2, *WATCHED)
  wait_for(workdir / 'tape.jsonl', '"train", "time"', process)
  os.kill(process_of(workdir, 1), signal.SIGTERM)
  done = finish(process)
  assert done.returncode == 75 and 'preempted, saved at step' in done.stderr, done.stderr
  assert read_json(workdir / 'record.json')['status'] == 'preempted'
  done = pod(workdir, 2, *WATCHED)
  assert done.returncode == 3, done.stderr
  same_end(workdir, whole)


@pytest.mark.pods
@pytest.mark.parametrize('victim', [0, 1])
def test_where_one_is_killed_the_others_name_it_and_end_and_a_relaunch_resumes(victim, whole, tmp_path):
  workdir = tmp_path / 'run'
  process = start_pod(workdir, 2, *WATCHED)
  wait_for(workdir / 'tape.jsonl', '"checkpoint", "time"', process)
  os.kill(process_of(workdir, victim), signal.SIGKILL)
  killed = time.monotonic()
  done = finish(process)
  assert time.monotonic() - killed < BOUND_SECONDS
  assert done.returncode == 76 and f'process {victim} was ended by SIGKILL' in done.stderr
  assert re.search(rf'error: process {victim} of 2 (is )?lost', done.stderr), done.stderr
  done = pod(workdir, 2, *WATCHED)
  assert done.returncode == 3, done.stderr
  same_end(workdir, whole)


@pytest.mark.pods
def test_a_pod_agrees_that_a_checkpoint_is_damaged_and_takes_the_one_before(whole, tmp_path):
  workdir = tmp_path / 'run'
  process = start_pod(workdir, 2, *WATCHED)
  wait_for(workdir / 'tape.jsonl', '"step": 22, "epoch": 2.0', process)
  os.kill(process_of(workdir, 1), signal.SIGTERM)
  assert finish(process).returncode == 75
  newest = max((p for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
  largest = max((p for p in (newest / 'state').rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)
  data = bytearray(largest.read_bytes())
  data[len(data) // 2] ^= 1
  largest.write_bytes(data)
  done = pod(workdir, 2, *WATCHED)
  assert done.returncode == 3, done.stderr
  assert f'the checkpoint of step {newest.name} is damaged (process 0: ' in done.stderr, done.stderr
  same_end(workdir, whole)


@pytest.mark.pods
def test_ctrl_c_saves_and_a_second_one_does_not_wait(tmp_path):
  workdir = tmp_path / 'run'
  process = start_pod(workdir, 2, *WATCHED)
  wait_for(workdir / 'tape.jsonl', '"train", "time"', process)
  process.send_signal(signal.SIGINT)
  done = finish(process)
  assert done.returncode == 130 and 'interrupted, saved at step' in done.stderr, done.stderr
  process = start_pod(workdir, 2, *WATCHED, '--config.evaluation_seconds=1.0')
  wait_for(workdir / 'tape.jsonl', 'resumed": {', process)
  process.send_signal(signal.SIGINT)
  time.sleep(0.3)
  process.send_signal(signal.SIGINT)
  done = finish(process, timeout=20)
  assert done.returncode == 130 and 'resumes from the last checkpoint' in one_line(done.stderr)
  with pytest.raises(AssertionError):
    process_of(workdir, 1)


def test_ctrl_c_while_processes_start_ends_soon(tmp_path):
  process = start_pod(tmp_path / 'run', 2)
  wait_for(tmp_path / 'run' / 'pod' / 'process_1.log', '', process)
  process.send_signal(signal.SIGINT)
  done = finish(process, timeout=60)
  assert done.returncode == 130, done.stderr


@pytest.mark.parametrize('launcher', ['train', 'pod'])
def test_ctrl_c_is_heard_where_python_would_drop_what_it_raises(tmp_path, launcher):
  config = tmp_path / 'collected.py'
  config.write_text(f"""import gc, os, signal
gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGINT))
gc.collect()
{(ROOT / DIGITS).read_text()}""")
  flags = (f'--config={config}', f'--workdir={tmp_path / "run"}')
  done = launch(launcher, *(('--cluster=local', '--num_processes=2', '--') if launcher == 'pod' else ()), *flags)
  assert done.returncode == 130 and 'interrupted' in one_line(done.stderr)
  assert not (tmp_path / 'run').exists()


def test_a_batch_that_does_not_divide_is_told_before_the_workdir_is_taken(tmp_path):
  done = pod(tmp_path / 'run', 3, *QUICK)
  assert done.returncode == 1 and 'choose a multiple of 3' in one_line(done.stderr)
  assert not (tmp_path / 'run' / 'tape.jsonl').exists()


@pytest.mark.pods
def test_a_process_whose_data_are_damaged_tells_all(tmp_path):
  done = pod(tmp_path / 'run', 2, *QUICK, '--peer_timeout_seconds=10', '--config.trouble_process=1',
             '--config.trouble_seconds=-1.0')
  assert done.returncode == 1
  assert 'error: process 1: record 17 of step 15 does not decode' in done.stderr and 'Traceback' not in done.stderr
  assert 'process 1 of 2' not in done.stderr, 'it was not lost'


@pytest.mark.pods
def test_a_process_that_stalls_is_named_and_the_run_goes_on(tmp_path):
  done = pod(tmp_path / 'run', 2, *QUICK, '--stall_seconds=4', '--config.trouble_process=1', '--config.num_epochs=2',
             '--config.trouble_seconds=30.0')
  assert done.returncode == 3, done.stderr
  assert re.search(r'warning: nothing has moved for \d+ s in process 1, for which the others wait: at step \d+ '
                   r'\(train\)', done.stderr), done.stderr
  stalls = [e for e in tapes.read(tmp_path / 'run') if e['event'] == 'stall']
  assert stalls and all(e['processes'] == [1] and e['seconds'] >= 4 for e in stalls), stalls  # rounded to a tenth


def two(workdir, *commands, processes=2):
  """Processes of a pod that somebody began by hand, `commands` being what each is given; what each said, in order."""
  port = str(int(np.random.default_rng().integers(20_000, 60_000)))
  begun = [start('train', f'--config={SLOW}', f'--workdir={workdir}', '--distributed',
                 f'--coordinator_address=127.0.0.1:{port}', f'--num_processes={processes}', f'--process_id={number}',
                 *QUICK, *given, env={'JAX_PLATFORMS': 'cpu'}) for number, given in enumerate(commands)]
  return [finish(process) for process in begun]


@pytest.mark.pods
def test_sigterm_stops_a_pod_between_the_compiled_loops_of_accelerators(tmp_path):
  port = int(np.random.default_rng().integers(20_000, 60_000))
  begun = [subprocess.Popen(
      [sys.executable, '-m', 'tests.launchers.looped_train', f'--config={DIGITS}', f'--workdir={tmp_path / "run"}',
       '--distributed', f'--coordinator_address=127.0.0.1:{port}', '--num_processes=2', f'--process_id={number}',
       '--config.num_epochs=500', '--config.stop=end', '--log_every_steps=7'], cwd=ROOT, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, 'JAX_PLATFORMS': 'cpu'}) for number in (0, 1)]
  wait_for(tmp_path / 'run' / 'tape.jsonl', '"edge": "stop", "step": 11', begun[0])
  begun[1].send_signal(signal.SIGTERM)
  done = [finish(process, timeout=120) for process in begun]
  assert [d.returncode for d in done] == [75, 75], done[0].stderr
  events = tapes.read(tmp_path / 'run')
  assert events[-1]['status'] == 'preempted'
  assert not any(e['event'] == 'result' for e in events)


@pytest.mark.pods
def test_a_process_that_ends_after_the_roll_call_is_told_of(tmp_path):
  port = int(np.random.default_rng().integers(20_000, 32_000))  # above, Linux may connect a caller to itself
  first = start('train', f'--config={SLOW}', f'--workdir={tmp_path}', '--distributed', '--num_processes=2',
                f'--coordinator_address=127.0.0.1:{port}', '--process_id=0', '--start_timeout_seconds=10',
                env={'JAX_PLATFORMS': 'cpu'})
  while first.poll() is None:
    try:
      with socket.create_connection(('127.0.0.1', port), 1) as caller:
        caller.sendall(b'daybreak 1 of 2\n')
        assert caller.makefile().readline() == 'go\n'
      break
    except OSError:
      time.sleep(0.05)
  done = finish(first)
  assert done.returncode == 76
  assert 'one of 2 processes ended between the roll call and the start of JAX' in one_line(done.stderr)


def test_config_files_that_differ_in_code_are_told(tmp_path):
  text = (ROOT / SLOW).read_text()
  (tmp_path / 'a.py').write_text(text)
  (tmp_path / 'b.py').write_text(text + '# another\n')
  done = two(tmp_path / 'run', (f'--config={tmp_path}/a.py',), (f'--config={tmp_path}/b.py',))
  assert all('process 1: ' in one_line(one.stderr) and 'config file sha256' in one.stderr for one in done)


def test_a_process_with_another_config_is_named_by_all(tmp_path):
  done = two(tmp_path, (), ('--config.seed=7',))
  assert [d.returncode for d in done] == [1, 1]
  for one in done:
    assert re.search(r"process 1: .*config.seed was '0' in process 0, is '7' here", one_line(one.stderr)), one.stderr


def test_a_process_that_does_not_come_is_named(tmp_path):
  done = two(tmp_path, ('--start_timeout_seconds=8',), ('--start_timeout_seconds=8',), processes=3)
  for one in done:
    assert one.returncode == 1
    assert 'process 2 of 3 did not come within 8 s' in one_line(one.stderr)


def test_two_of_the_same_number_or_of_another_count_are_named(tmp_path):
  done = two(tmp_path, (), ('--num_processes=4',), processes=2)
  assert all('process 0 counts 2 processes, and process 1 counts 4' in one_line(one.stderr) for one in done)


def test_process_0_that_does_not_come_is_named(tmp_path):
  done = launch('train', f'--config={SLOW}', f'--workdir={tmp_path}', '--distributed', '--process_id=1',
                '--coordinator_address=127.0.0.1:9', '--num_processes=2', '--start_timeout_seconds=2')
  assert done.returncode == 1
  assert 'process 0 of 2 did not answer at 127.0.0.1:9 within 2 s' in one_line(done.stderr)


@pytest.mark.parametrize('flags, status, text', [
    (('--num_processes=2',), 1, 'add --distributed'),
    (('--distributed',), 1, 'JAX finds no Slurm, Kubernetes, Open MPI or Cloud TPU pod here'),
    (('--distributed', '--coordinator_address=here', '--num_processes=2', '--process_id=2'), 1, 'HOST:PORT'),
    (('--distributed', '--runs=2'), 2, '--runs begins one run after the other')])
def test_what_no_pod_can_be_made_of_is_said_in_a_line(flags, status, text, tmp_path):
  done = launch('train', f'--config={SLOW}', f'--workdir={tmp_path / "run"}', *flags, env={'TPU_SKIP_MDS_QUERY': '1'})
  assert done.returncode == status and text in one_line(done.stderr), done.stderr


@pytest.mark.parametrize('flags, status, text', [
    ((), 2, '--cluster is missing'), (('--cluster=local', '--', '--config=x.py'), 2, '--workdir=... is missing'),
    (('--cluster=cloud',), 2, 'cluster'), (('--cluster=local', '--num_processes=0'), 2, 'num_processes'),
    (('--cluster=local', 'runs/a'), 2, 'is not a flag'),
    (('--cluster=local', '--config=x.py', '--workdir=a'), 2, 'write -- before the flags of launchers.train'),
    (('--cluster=local', '--', '--config=none.py', '--workdir=a'), 1, 'no such file'),
    (('--cluster=slurm', '--', f'--config={SLOW}', '--workdir=a', '--config.batchsize=1'), 2, "Did you mean: config."),
    (('--cluster=slurm', '--', f'--config={SLOW}', '--workdir=a', '--config.batch_size=0'), 1, 'must be at least 1'),
    (('--cluster=gke', '--', f'--config={SLOW}', '--workdir=a', '--runs=3'), 2, '--runs after --'),
    (('--cluster=local', '--', f'--config={SLOW}', '--workdir=a', '--dry_run'), 2, 'write it before --'),
    (('--cluster=local', '--', f'--config={SLOW}', '--workdir=/dev/null/x'), 1, 'cannot write')])
def test_a_wrong_pod_command_is_told_in_a_line(flags, status, text):
  done = launch('pod', *flags)
  assert done.returncode == status and text in one_line(done.stderr), done.stderr


def test_a_dry_run_prints_what_would_run_and_does_nothing(tmp_path):
  done = launch('pod', '--cluster=local', '--num_processes=2', '--local_devices=3', '--dry_run', '--',
                f'--config={SLOW}', f'--workdir={tmp_path}/a run')
  assert done.returncode == 0 and not list(tmp_path.iterdir())
  lines = [re.sub(r'(?<= )\S*python\S*', 'python', line, count=1) for line in done.stdout.splitlines()]
  assert lines == [
      f'$ JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=3 python -m launchers.train --config={SLOW} '
      f"'--workdir={tmp_path}/a run' "
      f'--distributed --coordinator_address=127.0.0.1:PORT --num_processes=2 --process_id={n}' for n in (0, 1)]
