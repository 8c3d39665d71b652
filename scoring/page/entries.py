"""Rows of the boards, and what opens behind each: from a run, a set of runs, or an inference record."""
import json
import math
import re
import time
from pathlib import Path

from scoring import audit, audit_set, clocks, dawnbench, ledger, statistics
from scoring import tape as tapes
from scoring.page import history, runs
from scoring.problem import Problem, counted

STARTING_SECONDS = 60
CLOCKS = [clock.name for clock in clocks.CLOCKS]
TEXTS = ('task', 'name', 'model', 'by', 'hardware', 'device', 'date', 'framework', 'scenario', 'mode', 'status')


def to_json(value) -> str:
  """JSON that may stand inside a script element: ASCII, without a `<`."""
  return json.dumps(value, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c')


def joined(texts: dict[str, str]) -> str:
  """A JSON object of values that are JSON already."""
  return f"{{{','.join(f'{to_json(name)}:{text}' for name, text in texts.items())}}}"


def checked(row: dict, detail: dict) -> str:
  """The detail of an entry as JSON, if neither it nor the row fails on the page, and takes all others with it.

  Raises:
    TypeError, ValueError, RecursionError: it is no JSON, or not what the page's scripts take.
  """
  nested = row
  for _ in range(50):  # deeper than the page nests it, on whatever stack
    nested = [nested]
  to_json(nested)
  texts = [(name, row[name]) for name in TEXTS if name in row]
  for name, value in texts + [('metric', goal['metric']) for goal in row['goals'] if goal['metric'] is not None]:
    if not isinstance(value, str):
      raise TypeError(f'{name} is {value!r:.40}, no text')
  return to_json(detail)


def rounded(value, digits: int):
  """Significant digits, which keep the page's data small; None and what is not finite become None."""
  return float(f'{value:.{digits}g}') if isinstance(value, (int, float)) and math.isfinite(value) else None


def _rounded(values, digits: int = 6) -> list:
  return [rounded(value, digits) for value in values]


def _hit(run: dict, number: int) -> list | None:
  """The point at which a run reached its goal of that number, or None."""
  place = run['hits'][number] if number < len(run['hits']) else None
  return None if place is None else run['points'][place]


def _sample(run: dict | None, name: str, number: int) -> dict:
  """A run as `statistics.summarize` takes it, for one of its goals; None: the run left no tape."""
  if run is None:
    return {'run': name, 'status': 'missing', 'reached': False, 'metric': None, 'seconds': {}, 'wall_seconds': {}}
  hit, last = _hit(run, number), run['points'][-1] if run['points'] else None
  at = hit or last
  return {'run': name, 'status': run['status'], 'reached': hit is not None,
          'metric': at[1 + len(CLOCKS) + number] if at else None,
          'seconds': dict(zip(CLOCKS, hit[1:1 + len(CLOCKS)] if hit else [None] * len(CLOCKS))),
          'wall_seconds': dict(zip(CLOCKS, run['end']))}


def _goal(target: dict, number: int, found: dict) -> dict:
  """One goal over all runs of an entry: how often reached, expected seconds to success and what they cost, by clock."""
  samples = [_sample(run, name, number) for name, run in found.items()]
  if len(samples) == 1:  # the statistics of one run are the run, and need no scipy
    only = samples[0]
    seconds = [only['seconds'].get(clock) for clock in CLOCKS]
    made = {'result': only['metric'], 'reached': int(only['reached']), 'seconds': seconds}
  else:
    summary = statistics.summarize(samples)
    of_clock = [summary['seconds'].get(clock, {}) for clock in CLOCKS]
    seconds = [one.get('expected_seconds_to_success') for one in of_clock]
    made = {'result': summary['metric']['mean'], 'reached': summary['reached'], 'seconds': seconds,
            'rate': _rounded(summary['success_rate']['interval'], 4),
            **{key: _rounded(one.get(key) for one in of_clock) for key in ('mean', 'sd', 'min', 'max', 'olympic_mean')},
            'interval': [one.get('interval') and _rounded(one['interval']) for one in of_clock]}
  priced = [run for run in found.values() if run]
  prices = {json.dumps(runs.price(run)) for run in priced}
  usd = runs.usd(priced[0], seconds) if len(prices) == 1 else [None] * len(CLOCKS)
  return {**target, **made, 'result': rounded(made['result'], 6), 'seconds': _rounded(seconds), 'cost': _rounded(usd)}


def _shown(run: dict | None, name: str) -> dict:
  """One run of an entry as its charts and its table take it."""
  if run is None:
    return {'run': name, 'status': 'missing', 'points': [], 'hits': [], 'spans': {}}
  return {**{key: run[key] for key in ('seed', 'status', 'hits', 'restarts', 'cold', 'num_evaluated',
                                       'parameters_sha256', 'mixed')}, 'run': name,
          'points': [_rounded(point, 5) for point in run['points']],
          'end': _rounded(run['end']), 'spans': {key: rounded(value, 5) for key, value in run['spans'].items()}}


def _of_set(command: list[str]) -> list[str]:
  """The command of a set, from that of one of its runs, to which `launchers.many` appended flags."""
  return command[:len(command) - 1 - command[::-1].index('--runs=1')] if '--runs=1' in command else command


def _asked(command: list[str]) -> int:
  """How many runs the command of a set asked for; 0 where it does not say."""
  return int(([0] + re.findall(r'(?<!\S)--?runs[= ](\d+)(?!\S)', ' '.join(command)))[-1])


def training(id_: str, name: str, found: dict, *, is_set: bool, refused=(), unended=()) -> tuple[dict, dict]:
  """(row, detail) of a run or of a set; `found`: each run's name and digest, None for a run that left no tape.

  The row's `n` are the runs that were begun, `asked` those that a command of the set asked for; `refused` and
  `unended`, where there is any, say what a review finds in its tapes and in the set, and whether the set goes on.

  Raises:
    Problem: no run of it has a tape.
  """
  present = [run for run in found.values() if run]
  if not present:
    raise Problem(f'{id_}: of {counted(len(found), "run")} none has a tape; restore them, or leave the folder out')
  first, unfinished = present[0]['first'], [run for run in present if run['status'] != 'complete']
  commands = [_of_set(run['first']['command']) if is_set else run['first']['command'] for run in present]
  refused = [*refused, *(f'{which}: {line}' if is_set else line for which, run in found.items() if run
                         for line in run['refused'])]
  row = {'id': id_, 'kind': 'set' if is_set else 'run', 'name': name, **runs.about(first),
         'n': len(found), 'missing': len(found) - len(present),
         'status': unfinished[-1]['status'] if unfinished else 'complete',
         'goals': [_goal(target, number, found) for number, target in enumerate(max(
             (run['goals'] for run in present), key=len))]}
  if is_set:
    row['asked'] = max(len(found), *map(_asked, commands))
  row |= {key: runs.in_a_line(lines) for key, lines in (('refused', refused), ('unended', unended)) if lines}
  if unfinished:
    row['now'] = {'run': unfinished[-1]['run'], **unfinished[-1]['now']}
  detail = {'facts': runs.facts(first, commands[0]), 'runs': [_shown(run, name) for name, run in found.items()]}
  return row, detail


def of_set(folder: Path, followers) -> tuple[dict[str, dict | None], dict[str, list[str]]]:
  """The runs that a ledger names, or that lie beside it, in order: name to digest; and what a review finds in the set.

  followers: path of a tape -> its Follower.
  """
  entries = ledger.read(folder)
  # a process that is starting has no tape yet, and has not failed
  starting = {e['run'] for e in entries[-1:]
              if e.get('event') == 'begin' and abs(time.time() - e.get('time', 0)) < STARTING_SECONDS}
  paths = {name: folder / name / 'tape.jsonl' for name in ledger.names(folder, entries)}
  found = {name: digest for name, path in paths.items() if (digest := followers(path).read()) or name not in starting}
  entries = [e for e in entries if e['run'] in found]
  there = {name: run['told'] if run else [] if paths[name].is_file() else None
           for name, run in found.items() if run or paths[name].parent.is_dir()}
  lacking = [f'{name}/tape.jsonl: is missing' for name, run in there.items() if run is None]
  return found, {'refused': lacking + audit_set.together(entries, there),
                 'unended': audit.guarded(audit_set.unended, entries, there)}


def _answered(made: dict, task: str) -> dict:
  """The target that an inference record is held against, DAWNBench's or that of training, and what was reached.

  A run that times answers does not grade them: the result is then that of the checkpoint, as training evaluated it.
  """
  checkpoint = made.get('checkpoint') or {}
  metrics, trained = made.get('metrics') or checkpoint.get('metrics') or {}, checkpoint.get('target') or {}
  name = made.get('metric') or trained.get('metric')
  target = {'metric': name, 'value': trained.get('value'), 'of': trained.get('num_examples')}
  board = history.goal(task) if task in dawnbench.BOARDS else None
  if board and (name in (None, board['metric']) or board['metric'] in metrics):
    target = board
  return {**target, 'result': rounded(metrics.get(target['metric'], made.get('value')), 6)}


def _mean(latency) -> float | None:
  """Mean milliseconds of a record's `latency_ms`, a number or statistics by name."""
  return rounded(latency.get('mean') if isinstance(latency, dict) else latency, 6)


def inference(id_: str, name: str, path: Path) -> tuple[dict, dict]:
  """(row, detail) of an inference record (`scoring.inference`) of entry `name`; whatever it lacks is left empty.

  Raises:
    Problem: it is not a JSON object, or names no benchmark.
  """
  try:
    tapes.refuse_device(path)
    made = json.loads(path.read_text(encoding='utf-8'))
    task, versions, submitter = made['benchmark'], made.get('versions') or {}, made.get('submitter') or {}
  except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    raise Problem(f'{path}: not an inference record ({type(error).__name__}); derive it again') from None
  machine = made.get('hardware') or {}
  if not isinstance(machine, dict):
    machine = {'device_kind': str(machine), 'named': str(machine)}
  named = f"{machine.get('device_count', '?')} x {machine.get('device_kind', '?')} ({machine.get('host', '')})"
  row = {'id': id_, 'kind': 'inference', 'task': task, 'name': name,
         'model': made.get('model') or '', 'by': submitter.get('author') or '',
         'hardware': submitter.get('hardware') or machine.get('named') or named,
         'device': runs.device(machine.get('device_kind') or ''), 'devices': machine.get('device_count'),
         'date': str(made.get('date') or '')[:10], 'tricks': made.get('tricks'),
         'framework': f"JAX {versions['jax']}" if 'jax' in versions else 'JAX', 'scenario': made.get('scenario') or '',
         'mode': made.get('mode') or '', 'valid': made.get('valid'), 'round': made.get('round'),
         'fixture': bool(made.get('fixture')), 'dirty': bool(made.get('git_dirty')), 'status': 'complete',
         'goals': [{**_answered(made, task), 'latency_ms': _mean(made.get('latency_ms')),
                    'usd_per_item': rounded(made.get('cost_usd'), 6)}]}
  return row, {'facts': made, 'runs': []}
