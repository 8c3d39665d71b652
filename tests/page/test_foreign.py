"""What tapes that nobody here wrote do to the page: junk is named, what a review refuses is marked, others show."""
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request
from pathlib import Path

import pytest

from scoring import audit, review
from scoring import tape as tapes
from scoring.page import collect, follow, runs, site, watch
from tests.changing import GONE, changed
from tests.scoring.test_audit_restarts import restarted
from tests.scoring.test_page import INFERENCE

RESULTS = Path(__file__).resolve().parents[2] / 'results'
SET = RESULTS / 'digits_2core_epyc'
ALONE = RESULTS / 'cifar10_cpu_2core_epyc'
REAL = sorted(RESULTS.glob('**/tape.jsonl'))
DEEP = json.loads('[' * 400 + ']' * 400)
INFINITE = float('inf')  # which JSON has no word for, but 1e999
JUNK = (GONE, None, True, -1, 0.5, 10**400, -10**400, INFINITE, '', 'x', '\ud800</script>', [], [[None]], {},
        {'x': 'y'}, DEEP)


def places(value, at=()) -> list[tuple]:
  """Where all fields of an event are, those inside of fields too."""
  inner = value.items() if isinstance(value, dict) else ()
  return [place for key, one in inner for place in [(*at, key), *places(one, (*at, key))]]


def mutants(events: list) -> list[list]:
  """The tape with each field of each kind of event turned into each junk value, once each."""
  seen, made = set(), []
  for number, event in enumerate(events):
    for place in places(event):
      kind = event['event'], event.get('edge'), place
      if kind not in seen:
        seen.add(kind)
        made += [[*events[:number], changed(event, place, junk), *events[number + 1:]] for junk in JUNK]
  return made


def write(folder: Path, events: list):
  folder.mkdir(parents=True)
  text = ''.join(json.dumps(event) + '\n' for event in events)
  (folder / 'tape.jsonl').write_text(text.replace('Infinity', '1e999'))


def write_set(folder: Path, *runs_of: list):
  for number, events in enumerate(runs_of):
    write(folder / f'run_{number:03}', events)
  (folder / 'ledger.jsonl').write_text(''.join(f'{{"run": "run_{n:03}"}}\n' for n in range(len(runs_of))))


@pytest.fixture(scope='module')
def junk(tmp_path_factory):
  """A healthy run among others of which each has one junk value, sets that have such a run, and inference records."""
  root, events = tmp_path_factory.mktemp('junk'), tapes.read(ALONE)
  write(root / 'healthy', tapes.read(RESULTS / 'imagenette_2core_epyc'))
  made = mutants(events)
  for number, mutant in enumerate(made):
    write(root / f'mutant_{number}', mutant)
  for number, mutant in enumerate(made[::29]):
    write_set(root / f'set_{number}', events, mutant)
  for number, (place, value) in enumerate((place, value) for place in places(INFERENCE) for value in JUNK):
    path = root / 'healthy' / 'inference' / f'junk_{number}' / 'performance' / 'record.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(changed(INFERENCE, place, value)).replace('Infinity', '1e999'))
  return root


@pytest.fixture(scope='module')
def shown(junk, tmp_path_factory):
  """What the page shows of it, written."""
  return site.write(junk, tmp_path_factory.mktemp('page') / 'page')


def test_a_junk_value_is_named_and_all_others_are_shown(junk, shown):
  index, collection = shown
  names = {collection._id(folder) for folder, _ in collect.find(junk)}
  names |= {path.parent.relative_to(junk).as_posix() for path in junk.glob('healthy/inference/*/*/record.json')}
  rows, problems = {*collection.rows}, collection.problems
  assert len(names) > 1000 and rows | {*problems} == names and not rows & {*problems}
  assert len(rows) > 300 and len(problems) > 300
  for name, problem in problems.items():
    assert name in problem and '\n' not in problem and len(problem) < 1000, problem
  data = json.loads((index.parent / 'data.js').read_text().partition(' = ')[2].rstrip(';\n'))
  assert data['problems'] == problems
  healthy = next(row for row in data['rows'] if row['id'] == 'healthy')
  assert healthy['goals'][0]['reached'] == 1 and 'refused' not in healthy


def test_a_junk_value_does_not_end_what_follows_the_runs(shown):
  _, collection = shown
  with watch.Server(collection, 0) as server:
    threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
    for path in ('data.js', 'details.js', 'changes?since=0'):
      with urllib.request.urlopen(server.address + path, timeout=20) as answer:
        text = answer.read().decode()
      assert '"healthy"' in text and 'mutant' in text, path
    server.shutdown()


def test_what_a_junk_value_refuses_a_review_refuses(junk, shown):
  _, collection = shown
  for name, row in list(collection.rows.items())[::7]:
    if row['kind'] == 'run':
      problems = [line for line in review.review(junk / name).problems if 'has no end' not in line]  # it may go on
      assert ('refused' in row) == bool(problems), name


def test_a_run_that_turns_to_junk_is_not_shown_as_it_was(tmp_path):
  events = tapes.read(ALONE)
  write_set(tmp_path / 'set', events[:-3], events)
  collection = collect.Collection(tmp_path)
  collection.refresh()
  assert 'set' in collection.rows
  for number, name in [(0, 'run_000'), (1, 'run_001')]:  # the second makes the set be read again
    with open(tmp_path / 'set' / name / 'tape.jsonl', 'a') as file:
      file.write(json.dumps(events[-1] if number else {**events[-1], 'status': 5}) + '\n')
    collection.refresh()
    assert not collection.rows and 'run_000/tape.jsonl: cannot be shown' in collection.problems['set']


@pytest.mark.parametrize('name', ['tape.jsonl', 'inference/server/performance/record.json'])
def test_a_pipe_is_not_waited_for(name, tmp_path):
  events = tapes.read(ALONE)
  write(tmp_path / 'healthy', events)
  write(tmp_path / 'other', events)
  path = tmp_path / 'other' / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.unlink(missing_ok=True)
  os.mkfifo(path)
  before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail('hangs'))
  signal.alarm(20)
  try:
    collection = collect.Collection(tmp_path)
    collection.refresh()
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
  assert 'healthy' in collection.rows and len(collection.problems) == 1


@pytest.mark.parametrize('path', [*REAL[::4], REAL[-1]], ids=lambda path: str(path.parent.relative_to(RESULTS)))
def test_no_run_is_refused_because_it_goes_on(path):
  events = tapes.read(path)
  assert [runs.digest('run', events[:n])['refused'] for n in range(1, len(events) + 1)] == [[]] * len(events)


def test_no_run_is_refused_because_it_was_restarted():
  events = restarted()
  assert [runs.digest('run', events[:n])['refused'] for n in range(1, len(events) + 1)] == [[]] * len(events)


def evaluated(events: list, fields: dict) -> list:
  """A tape whose evaluations have other fields."""
  return [{**event, **fields} if event['event'] == 'eval' and event.get('edge') == 'stop' else event
          for event in events]


def test_what_a_review_refuses_is_marked(tmp_path):
  sound = tapes.read(ALONE)
  wrong = evaluated(sound, {'num_evaluated': 100, 'samples': 7})
  write(tmp_path / 'sound', sound)
  write(tmp_path / 'wrong', wrong)
  shutil.copytree(SET, tmp_path / 'set')
  wrong_in_set = evaluated(tapes.read(SET / 'run_001'), {'num_evaluated': 100, 'samples': 7})
  shutil.rmtree(tmp_path / 'set' / 'run_001')
  write(tmp_path / 'set' / 'run_001', wrong_in_set)
  shutil.copytree(SET, tmp_path / 'sound_set')
  collection = collect.Collection(tmp_path)
  collection.refresh()
  for name, run, prefix in (('wrong', wrong, ''), ('set', wrong_in_set, 'run_001: ')):
    found = audit.findings(run)
    assert len(found) > 1 and found[0].startswith('line ')
    assert collection.rows[name]['refused'] == f'{prefix}{found[0]}, and {len(found) - 1} more'
  assert 'refused' not in collection.rows['sound'] and 'refused' not in collection.rows['sound_set']


def test_tapes_read_by_other_processes_are_the_same_entries(tmp_path, monkeypatch):
  shutil.copytree(RESULTS, tmp_path / 'results')
  (tmp_path / 'broken').mkdir()
  (tmp_path / 'broken' / 'tape.jsonl').write_text('no tape\n')
  alone, shared = collect.Collection(tmp_path), collect.Collection(tmp_path)
  alone.refresh()
  monkeypatch.setattr(collect, 'MANY', 2)
  read = follow.Follower.read
  monkeypatch.setattr(follow.Follower, 'read', lambda self: here.append(self._seen is None) or read(self))
  here = []
  shared.refresh()
  assert here.count(True) == 1 < here.count(False), 'this process read the broken one alone'
  assert (shared.rows, shared.details, shared.problems) == (alone.rows, alone.details, alone.problems)
  assert len(shared.rows) > 3 and list(shared.problems) == ['broken']


@pytest.mark.parametrize('name, value', [('_begin', functools.partial(os._exit, 1)), ('multiprocessing', None)])
def test_where_other_processes_cannot_be_had_this_one_reads(name, value, tmp_path, monkeypatch):
  shutil.copytree(SET, tmp_path / 'set')
  if value is None:
    value = types.SimpleNamespace(get_context=lambda _: (_ for _ in ()).throw(OSError(28, 'no space')))
  monkeypatch.setattr(follow, name, value)
  monkeypatch.setattr(collect, 'MANY', 2)
  collection = collect.Collection(tmp_path)
  collection.refresh()
  assert list(collection.rows) == ['set'] and not collection.problems


def test_processes_that_read_end_with_the_one_that_began_them(tmp_path):
  script = tmp_path / 'script.py'
  script.write_text('import time\nfrom scoring.page import follow\nif __name__ == "__main__":\n'
                    f'  tapes = follow.read_ahead([follow.Path({str(ALONE)!r}) / "tape.jsonl"] * 200)\n'
                    '  next(tapes)\n  print("reading", flush=True)\n  time.sleep(60)\n')
  process = subprocess.Popen([sys.executable, script], cwd=tapes.ROOT, stdout=subprocess.PIPE, text=True,
                             env={**os.environ, 'PYTHONPATH': str(tapes.ROOT)})
  assert process.stdout.readline() == 'reading\n'
  workers = [int(pid) for path in Path(f'/proc/{process.pid}/task').glob('*/children')
             for pid in path.read_text().split()]
  process.terminate()
  process.communicate(timeout=20)
  end = time.monotonic() + 20
  while time.monotonic() < end and any(Path(f'/proc/{pid}').exists() for pid in workers):
    time.sleep(0.05)
  assert workers and not any(Path(f'/proc/{pid}').exists() for pid in workers)


def test_a_run_that_was_taken_from_its_set_is_marked(tmp_path):
  write(tmp_path / 'best_of_20', tapes.read(SET / 'run_005'))
  collection = collect.Collection(tmp_path)
  collection.refresh()
  assert 'show the whole set' in collection.rows['best_of_20']['refused']
  alone = collect.Collection(SET / 'run_005')  # beside its ledger
  alone.refresh()
  assert 'refused' not in alone.rows['run_005']
