"""A real set of runs, one killed, one stopped, both resumed, has no finding; one that was tampered with has."""
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from launchers import recipe
from scoring import audit, ledger, record, review
from scoring import tape as tapes
from tests.launchers.running import DIGITS, finish, kill, start

pytestmark = pytest.mark.slow
FLAGS = (f'--config={DIGITS}', '--runs=2', '--config.num_epochs=30', '--config.stop=end')


def wait_for_checkpoints(tape: Path, process, count: int, seconds: float = 120):
  """Waits until so many checkpoints are on a tape, and training after the last."""
  end = time.monotonic() + seconds
  while time.monotonic() < end and process.poll() is None:
    told = [e['event'] for e in tapes.read(tape)] if tape.exists() else []
    if told.count('checkpoint') >= 2 * count and told[-1] == 'train':
      return
    time.sleep(0.005)
  raise AssertionError(f'{count} checkpoints never came to {tape}: {process.communicate()}')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """run_000 was killed, and so was resumed after run_001, which was stopped."""
  folder = tmp_path_factory.mktemp('sets') / 'set'
  process = start('train', *FLAGS, f'--workdir={folder}')
  wait_for_checkpoints(folder / 'run_000' / 'tape.jsonl', process, 3)
  os.kill(int(Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text()), signal.SIGKILL)
  wait_for_checkpoints(folder / 'run_001' / 'tape.jsonl', process, 2)
  assert kill(process, signal.SIGTERM).returncode == 75
  done = finish(start('train', *FLAGS, f'--workdir={folder}'))
  assert done.returncode == 0, done.stderr
  for path in folder.glob('run_*/tape.jsonl'):  # the checkout of who works on this is not at a commit
    write(path, [{**e, 'git_dirty': False} if e['event'] == 'process' else e for e in tapes.read(path)])
  return derived(folder)


def write(path: Path, events):
  path.write_text(''.join(json.dumps(e) + '\n' for e in events))


def derived(folder: Path) -> Path:
  """A set with all that follows from its tapes made anew."""
  for path in folder.glob('run_*'):
    record.write(tapes.read(path), path)
  ledger.summarize(folder)
  return folder


def test_a_set_of_which_runs_were_killed_and_resumed_has_no_finding(whole):
  told = [(e['run'], e.get('exit_status')) for e in ledger.read(whole)]
  assert told == [('run_000', None), ('run_000', -9), ('run_001', None), ('run_001', 75), ('run_000', None),
                  ('run_000', 0), ('run_001', None), ('run_001', 0)]
  assert review.review(whole).problems == []
  for name in ('run_000', 'run_001'):
    events = tapes.read(whole / name)
    assert record.record(events)['restarts'] == 1 and events[starts(events)[1]]['resumed']['step'] > 0
    assert audit.guarded(recipe._task, events) == []


def test_a_single_run_that_was_killed_and_resumed_has_no_finding(whole, tmp_path):
  shutil.copytree(whole / 'run_000', tmp_path / 'run')
  events = tapes.read(tmp_path / 'run')
  for event in events:
    if event['event'] == 'process':
      event['command'] = [*FLAGS[:1], *FLAGS[2:], '--config.seed=0', '--workdir=run']
  write(tmp_path / 'run' / 'tape.jsonl', events)
  record.write(events, tmp_path / 'run')
  assert review.review(tmp_path / 'run').problems == []


def starts(events) -> list[int]:
  return [n for n, e in enumerate(events) if e['event'] == 'process']


def resumed(**fields):

  def edit(events, entries):
    event = events[starts(events)[1]]
    event['resumed'] = {**event['resumed'], **{name: change(event['resumed'][name]) for name, change in fields.items()}}
  return edit


def restart(**fields):
  return lambda events, entries: events[starts(events)[1]].update(fields)


def no_restart(events, entries):
  """Leaves all as it was, without the line that says so."""
  del events[starts(events)[1]]


def never_cut_short(events, entries):
  """Takes out the restart, what it took back and the time that this took, and leaves one run without a break."""
  at = starts(events)[1]
  saved = events[at]['resumed']['line']
  again = next(n for n, e in enumerate(events) if n > at and e['event'] == 'train')
  stop = next(n for n, e in enumerate(events) if n >= saved and e['event'] == 'checkpoint')
  lost = events[again]['time'] - events[stop]['time']
  for event in events[again:]:
    event['time'] -= lost
  del events[stop + 1:again]


def unlisted(events, entries):
  """Takes the begin and the end of the restart out of the ledger."""
  name = f'run_{events[0]["seed"]:03d}'
  first = min(n for n, e in enumerate(entries) if (e['run'], e['event']) == (name, 'end'))
  entries[first] = {**entries[first], 'exit_status': 0}
  entries[:] = [e for n, e in enumerate(entries) if e['run'] != name or n <= first]


def sooner(events, entries):
  for event in events[starts(events)[1]:]:
    event['time'] -= 3.0


def first_part_sooner(events, entries):
  at = starts(events)[1]
  for event in events[:at]:
    event['time'] -= 3.0


TAMPERED = {
    'from a later step': (resumed(step=lambda step: step + 11), 'but the training on the tape up to line'),
    'from a later line': (resumed(line=lambda line: line + 1), 'where no checkpoint was saved'),
    'from an earlier line': (resumed(line=lambda line: line - 3), 'resumed from'),
    'from nothing': (restart(resumed=None), 'which was not there'),
    'from the start': (restart(resumed={'step': 0, 'line': 1}), 'the training before it ended at 0'),
    'without the line of the restart': (no_restart, 'compile after run_start, in a run that was not restarted'),
    'without the restart': (never_cut_short, 'a restart was taken out'),
    'without the restart in the ledger': (unlisted, 'after the ledger began the run'),
    'sooner': (sooner, 'before the line above|after the ledger began the run'),
    'the first part sooner': (first_part_sooner, 'after the ledger began the run'),
    'by other code': (restart(git_commit='0' * 40), 'git_commit is'),
    'on another machine': (restart(hardware={'platform': 'gpu', 'device_kind': 'NVIDIA H100 80GB HBM3',
                                             'device_count': 8, 'process_count': 1, 'host': 'x', 'host_cores': 8}),
                           'hardware is'),
    'with another batch': (restart(batch_size=64), 'batch_size is not that of the first process'),
}


@pytest.mark.parametrize('name', ['run_000', 'run_001'])
@pytest.mark.parametrize('how', TAMPERED)
def test_tampering_with_a_restart_is_found(whole, tmp_path, name, how):
  folder = shutil.copytree(whole, tmp_path / 'set', ignore=shutil.ignore_patterns('checkpoints'))
  edit, words = TAMPERED[how]
  events, entries = tapes.read(folder / name), ledger.read(folder)
  edit(events, entries)
  write(folder / name / 'tape.jsonl', events)
  write(folder / 'ledger.jsonl', entries)
  lines = review.review(derived(folder)).problems
  assert any(w in line for line in lines for w in words.split('|')), lines
