"""One tape as what the page shows of it: a function of its events that walks them once, since there may be thousands.

Its seconds are those of `scoring.clocks` and of `record.json`; tests hold them equal.
"""
import bisect
import datetime
import itertools
import math
import operator
import re

from scoring import audit, audit_set, clocks, cost, record
from scoring import tape as tapes
from scoring.page import history
from scoring.problem import Problem

FACTS = ('model', 'target', 'batch_size', 'num_train_examples', 'hyperparameters', 'tricks', 'config', 'hardware',
         'versions', 'xla_flags', 'git_commit', 'git_dirty', 'price', 'division', 'submitter')
MAKERS = re.compile(r'^(NVIDIA )?(Tesla |GeForce )?')
SIZES = re.compile(r'[ -](SXM|PCI|HBM|NVL|\d+ ?GB).*$')  # of a card's memory and socket


def clock_table(events, spans, moments) -> list[list]:
  """Seconds by each clock at each moment: `scoring.clocks.seconds_at` for all of them, over one walk of the spans.

  moments: (Unix time, time of the evaluation that counts although others do not, or None).
  """
  stops = [span.stop for span in spans]
  evaluations = {span.stop: span.seconds for span in spans if span.name == 'eval'}
  kinds = [(span.name, span.was) for span in spans]
  of_kind, lengths, columns = dict(zip(kinds, spans)), {}, []
  for clock in clocks.CLOCKS:
    begin = next((e['time'] for e in events if e['event'] == clock.begin), None)
    if begin is None:
      columns.append([None] * len(moments))
      continue
    if begin not in lengths:
      lengths[begin] = [stop - (start if start > begin else begin) if stop > begin else 0.0
                        for _, start, stop, _, _ in spans]
    includes = {kind: clock.includes(span) for kind, span in of_kind.items()}
    counted = [includes[kind] for kind in kinds]
    totals = [0.0, *itertools.accumulate(map(operator.mul, lengths[begin], counted))]
    late = max(0.0, begin - events[0]['time'] - clocks.UNTIMED_INIT_SECONDS[events[0].get('division', 'closed')]
               ) if clock.init_limit else 0.0
    column = []
    for time, final in moments:
      if begin > time:
        column.append(None)
        continue
      place = bisect.bisect_right(stops, time)
      value = totals[place] + late
      if place < len(spans) and counted[place]:  # inside a span
        value += max(0.0, time - max(spans[place].start, begin))
      if clock.final_evaluation and final is not None:
        value += evaluations.get(final, 0.0)
      column.append(value)
    columns.append(column)
  return [list(row) for row in zip(*columns)]


def device(kind: str) -> str:
  """The family of a device kind as jax reports it: `NVIDIA H100 80GB HBM3` is an H100."""
  return 'CPU' if kind == 'cpu' else SIZES.sub('', MAKERS.sub('', kind)) or kind


def _goals(first: dict, metrics) -> list[dict]:
  """The run's own target, and those of the boards that its evaluations could be held against."""
  own = first['target']
  found = [{'metric': own['metric'], 'value': own['value'], 'of': own['num_examples']}]
  boards = [target for task, target in history.MLPERF.values() if task == first['benchmark']]
  if first['benchmark'] in history.dawnbench.BOARDS:
    boards.append(history.goal(first['benchmark']))
  return found + [b for b in boards if b not in found and b['metric'] in metrics and b['of'] == own['num_examples']]


def digest(name: str, events) -> dict:
  """Everything that rows, charts and facts need of one run.

  `points`: an evaluation each: epoch, seconds by each clock, the metrics of `goals` in their order. `hits`: by goal,
  the number of the first point at or above it, or None. `refused`: what a review finds; `told`: what one of its set
  looks at. Seconds are unrounded here.

  Raises:
    Problem: a field that is read of every tape is missing, or of another type.
  """
  if broken := audit.malformed(events):
    raise Problem(in_a_line(broken))
  first, kept, spans = events[0], tapes.effective(events), tapes.spans(events)
  evaluations = [e for e in kept if e['event'] == 'eval' and e.get('edge') == 'stop']
  goals = _goals(first, evaluations[-1]['metrics'] if evaluations else ())
  times = [e['time'] for e in evaluations]
  moments = [(time, time) for time in times] + [(events[-1]['time'], times[-1] if times else None)]
  *at, end = clock_table(events, spans, moments)
  points = [[e['epoch'], *seconds, *(e['metrics'].get(goal['metric']) for goal in goals)]
            for e, seconds in zip(evaluations, at)]
  columns = range(1 + len(clocks.CLOCKS), 1 + len(clocks.CLOCKS) + len(goals))
  hits = [next((n for n, point in enumerate(points) if _at_least(point[column], goal['value'])), None)
          for column, goal in zip(columns, goals)]
  by_span = {}
  for span in spans:
    by_span[span.name] = by_span.get(span.name, 0.0) + span.seconds
  processes = [e for e in events if e['event'] == 'process']
  mixed = [key for key in record.RESUMABLE if any(p.get(key) != first.get(key) for p in processes)]
  compiled = [record.warm(e) for e in events if e['event'] == 'compile' and 'cache_hits' in e]
  result = next((e for e in reversed(kept) if e['event'] == 'result'), {})
  return {'run': name, 'seed': first['seed'], 'status': record.status(events), 'goals': goals, 'points': points,
          'hits': hits, 'end': end, 'spans': by_span, 'first': first, 'mixed': mixed, 'restarts': len(processes) - 1,
          'cold': not all(compiled) if compiled else None, 'parameters_sha256': result.get('parameters_sha256'),
          'num_evaluated': evaluations[-1]['num_evaluated'] if evaluations else None, 'now': _now(events),
          'refused': audit.unsound(events), 'told': audit_set.told(events, bool(hits) and hits[0] is not None)}


def in_a_line(findings: list[str]) -> str:
  """The first finding of a review, and how many more there are."""
  return f'{findings[0]:.200}' + (f', and {len(findings) - 1} more' if len(findings) > 1 else '')


def _at_least(value, target) -> bool:
  return value is not None and math.isfinite(value) and value >= target


def _now(events) -> dict:
  """Where the tape ends: what a live view says of a run that goes on."""
  step = next((e for e in reversed(events) if e.get('epoch') is not None), {})
  loss = next((e['metrics'].get('loss') for e in reversed(events) if e['event'] == 'train' and 'metrics' in e), None)
  last = events[-1]
  doing = last['event'] + (' began' if last.get('edge') == 'start' else ' ended' if 'edge' in last else '')
  return {'doing': doing, 'time': last['time'], 'step': step.get('step'), 'epoch': step.get('epoch'), 'loss': loss}


def price(run: dict) -> dict | None:
  """What an hour of the machine costs; None where it is unknown, or was not one machine throughout."""
  return None if {'hardware', 'price'} & set(run['mixed']) else run['first']['price']


def usd(run: dict, seconds: list) -> list:
  return [None if value is None else cost.cost_usd(value, price(run)) for value in seconds]


def about(first: dict) -> dict:
  """What a row says of the machine and the program, from the first line of a tape."""
  machine, submitter = first['hardware'], first.get('submitter') or {}
  named = f"{machine['device_count']} x {machine['device_kind']} ({machine.get('host') or machine['platform']})"
  return {'task': first['benchmark'], 'model': first['model'],
          'by': submitter.get('author') or submitter.get('organization', '').replace('unnamed', ''),
          'hardware': submitter.get('hardware') or named, 'device': device(machine['device_kind']),
          'devices': machine['device_count'], 'date': datetime.datetime.fromtimestamp(
              int(first['time']), datetime.UTC).date().isoformat(),
          'framework': f"JAX {first['versions'].get('jax', 'of unknown version')}", 'tricks': first['tricks'],
          'fixture': bool(first.get('fixture')), 'dirty': bool(first.get('git_dirty'))}


def facts(first: dict, command: list) -> dict:
  """What the tape says of the program; `command` are the arguments that run it again."""
  return {**{key: first.get(key) for key in FACTS}, 'command': command}
