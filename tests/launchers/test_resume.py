"""Runs that are cut short end as those that were not, to the bit."""
import random
import re
import signal
import time

import pytest

from scoring import mlperf
from scoring import tape as tapes
from tests.launchers.running import finish, kill, launch, read_json, start, train, wait_for

KILLS = 10
LONG = ('--config.num_epochs=20', '--config.stop=end', '--config.seed=3')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An uninterrupted run, and the seconds it took."""
  workdir = tmp_path_factory.mktemp('whole')
  train(tmp_path_factory.mktemp('warm'), *LONG)  # so that the compilation cache is as warm as it will be later
  begin = time.monotonic()
  done = train(workdir, *LONG)
  assert done.returncode == 0, done.stderr
  return workdir, time.monotonic() - begin


def same_result(workdir, reference):
  ours, theirs = (read_json(w / 'record.json') for w in (workdir, reference))
  assert ours['parameters_sha256'] == theirs['parameters_sha256']
  assert ours['state_sha256'] == theirs['state_sha256'], 'optimizer state or batch statistics differ'
  values = [[(e['step'], e['metrics'], e['num_evaluated']) for e in r['evaluations']] for r in (ours, theirs)]
  assert values[0] == values[1]


@pytest.mark.slow
def test_killed_at_random_moments_ends_bitwise_equal(whole, tmp_path):
  reference, seconds = whole
  rng, kills, number = random.Random(20261123), 0, 0
  while kills < KILLS:
    workdir, number = tmp_path / str(number), number + 1
    while kills < KILLS:
      process = start('train', f'--config={"references/cifar/configs/digits.py"}', f'--workdir={workdir}', *LONG)
      time.sleep(rng.uniform(0.1, seconds))
      if process.poll() is not None:
        finish(process)
        break
      kill(process)
      kills += 1
      if (workdir / 'tape.jsonl').exists():
        tapes.read(workdir)  # raises unless it is a valid tape
    done = train(workdir, *LONG)
    assert done.returncode == 0, done.stderr
    same_result(workdir, reference)
    events = tapes.read(workdir)
    spans = tapes.spans(events)
    assert sum(s.seconds for s in spans) == pytest.approx(events[-1]['time'] - events[0]['time'], abs=1e-4)
    assert (workdir / 'result_0.txt').read_text() == mlperf.text(events)
    starts = [(n, e['time']) for n, e in enumerate(events) if e['event'] == 'process']
    for line, begin in starts[1:]:
      downtime = begin - events[line - 1]['time']
      assert downtime <= sum(s.seconds for s in spans if s.name == 'lost' and s.stop <= begin + 1e-6) + 1e-4


def test_sigterm_saves_and_exits_with_its_own_code(whole, tmp_path):
  process = start('train', '--config=references/cifar/configs/digits.py', f'--workdir={tmp_path}', *LONG,
                  '--checkpoint_every_steps=1000')
  wait_for(tmp_path / 'tape.jsonl', '"event": "train"', process)
  done = kill(process, signal.SIGTERM)
  assert done.returncode == 75, done.stderr
  assert re.fullmatch(r'preempted, saved at step \d+; the same command resumes', done.stderr.splitlines()[-1])
  events = tapes.read(tmp_path)
  assert events[-1]['status'] == 'preempted'
  assert train(tmp_path, *LONG).returncode == 0
  same_result(tmp_path, whole[0])
  again = tapes.read(tmp_path)
  kept = tapes.effective(again)
  lost = {e['event'] for e in again if e not in kept}
  assert lost <= {'checkpoint', 'log', 'exit'}, 'a clean stop loses nothing but the lines of its own end'


def test_ctrl_c_saves_too_and_a_second_one_does_not_wait(whole, tmp_path):
  process = start('train', '--config=references/cifar/configs/digits.py', f'--workdir={tmp_path}', *LONG,
                  '--checkpoint_every_steps=1000')
  wait_for(tmp_path / 'tape.jsonl', '"event": "train"', process)
  done = kill(process, signal.SIGINT)
  assert done.returncode == 130, done.stderr
  told, said = done.stderr.strip().splitlines()[-2:]
  assert told.startswith('stopping after this step') and said.startswith('interrupted, saved at step')
  assert tapes.read(tmp_path)[-1]['status'] == 'interrupted'
  scored = launch('score', f'--workdir={tmp_path}')
  assert scored.returncode == 3 and 'NOT REACHED SO FAR' in scored.stdout
  at = re.search(r'step \d+', said)[0]
  assert f'unfinished: interrupted at {at}' in scored.stdout
  assert train(tmp_path, *LONG).returncode == 0
  same_result(tmp_path, whole[0])

  other = tmp_path / 'other'
  process = start('train', '--config=references/cifar/configs/digits.py', f'--workdir={other}', *LONG,
                  '--compilation_cache_dir=')  # so that it compiles for seconds, and the second one finds it there
  wait_for(other / 'tape.jsonl', '"event": "compile"', process)
  process.send_signal(signal.SIGINT)
  time.sleep(0.2)
  done = kill(process, signal.SIGINT)
  assert done.returncode == 130 and 'error: interrupted' in done.stderr


def test_live_log_is_the_log_of_the_tape(whole):
  workdir, _ = whole
  live = (workdir / 'result_0.txt').read_text()
  assert live == mlperf.text(tapes.read(workdir))


def test_a_complete_run_is_not_run_again(whole):
  workdir, _ = whole
  before = (workdir / 'tape.jsonl').read_bytes()
  done = train(workdir, *LONG)
  assert done.returncode == 0 and 'complete' in done.stdout
  assert (workdir / 'tape.jsonl').read_bytes() == before
