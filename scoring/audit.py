"""What a tape must be for its numbers to count: each way in which it is not is one line.

Nothing here trusts the tape: whatever stands in it, `findings` returns lines and never raises. What a tape cannot
show, such as that it was made up whole, is listed in docs/submitting.md.
"""
import functools
import math
import re
from collections.abc import Iterator

from scoring import audit_header, clocks, record
from scoring import tape as tapes
from scoring.problem import Problem, counted

SHA256 = re.compile(r'[0-9a-f]{64}')
TOUCHING = ('data', 'data_init', 'train', 'eval', 'checkpoint')  # spans that need data, or a state trained on them
NEEDED = ('import', 'init', 'compile', 'train', 'eval')
# fields that an event of a name, or one edge of a span, must have
STANDS = {'step': int, 'samples': int, 'epoch': (int, float)}
FIELDS = {'train': STANDS, 'eval': STANDS, 'run_stop': {**STANDS, 'status': str}, 'result': {'step': int},
          'run_start': {'step': int}, 'exit': {'status': str}, 'train stop': {'metrics': dict},
          'eval stop': {'metrics': dict, 'num_evaluated': int}}
FRACTIONS = ('accuracy', 'top5_accuracy', 'f1', 'exact_match')
COUNTED = ('accuracy', 'top5_accuracy', 'exact_match')  # of these a metric is a count over the examples
BROKEN = (Problem, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError,
          RecursionError)


def findings(events: list) -> list[str]:
  """Everything that is wrong with a tape, as far as the tape alone can tell; empty for one that is right."""
  if not events:
    return ['is empty: the run ended before it could say anything']
  return malformed(events) or unsound(events) + guarded(unended, events)


def unsound(events: list) -> list[str]:
  """What is wrong with a tape that is not malformed, while its run goes on too: with header, times, progress, end."""
  checks = (*audit_header.CHECKS, times, partition, clock_start, progress, evaluations, cadence, ending)
  return [line for check in checks for line in guarded(check, events)]


def malformed(events: list) -> list[str]:
  """What keeps a tape from being read on: fields that are missing or of another type."""
  return guarded(audit_header.shape, events) or guarded(fields, events)


def read(path) -> list:
  """The events of a tape that can be read on; none of one that is missing, empty, broken or malformed."""
  try:
    events = tapes.read(path)
  except BROKEN:
    return []
  return [] if malformed(events) else events


def guarded(check, *args) -> list[str]:
  """The lines that `check` yields; where what it looks at is so broken that it fails, that is a line too."""
  lines = []
  try:
    lines.extend(check(*args))
  except BROKEN as error:
    name = check.__name__.strip('_').replace('_', ' ')
    lines.append(f'{name} cannot be checked: {error}' if isinstance(error, Problem) else
                 f'{name} cannot be checked, a field is missing or has a wrong type ({type(error).__name__}: {error})')
  return lines


@functools.lru_cache(maxsize=256)
def _wanted(name: str, edge: str, has_step: bool) -> tuple:
  """(field, types) of all that an event of a name, or that edge of a span, must have."""
  step = {'step': int} if name == 'checkpoint' and has_step else {}
  wanted = {'file': str, 'line': int, **FIELDS.get(name, {}), **FIELDS.get(f'{name} {edge}', {}), **step}
  return tuple((field, kind if isinstance(kind, tuple) else (kind,)) for field, kind in wanted.items())


def fields(events) -> Iterator[str]:
  """Each event says where it was recorded, and what is read of it later, in the right types."""
  for number, event in enumerate(events, 1):
    name, edge = event['event'], event.get('edge')
    for field, kinds in _wanted(name, str(edge), 'step' in event):
      if type(event.get(field)) not in kinds:
        yield f'line {number}: {field} of {name} is missing or not what a tape has there'
    metrics = event.get('metrics')
    for metric, value in metrics.items() if isinstance(metrics, dict) else ():
      if type(value) not in (int, float) or not math.isfinite(value):
        yield f'line {number}: {metric} of {name} is {value!r:.40}, no number'


def _numbered(events, name: str, edge: str | None = None) -> list[tuple[int, dict]]:
  """(line, event) of each event of a name, and of an edge if it is given."""
  return [(n, e) for n, e in enumerate(events, 1) if e['event'] == name and e.get('edge') == edge]


def times(events) -> Iterator[str]:
  """No time may run backwards, and a process begins to be timed when it begins."""
  for number, (before, event) in enumerate(zip(events, events[1:]), 2):
    if event['time'] < before['time']:
      early = before['time'] - event['time']
      yield f'line {number}: {event["event"]} is at {event["time"]}, {early:.6f} s before the line above it'
  for number, process in _numbered(events, 'process'):
    after = events[number:number + 1]
    if after and after[0]['event'] != 'process' and (
        after[0]['event'] != 'import' or after[0].get('edge') != 'start' or after[0]['time'] != process['time']):
      yield f'line {number + 1}: the span import does not start with its process, at {process["time"]}'


def partition(events) -> Iterator[str]:
  """Spans follow one another: each start has its stop, and none lies inside another."""
  opened = None
  for number, event in enumerate(events, 1):
    name, edge = event['event'], event.get('edge')
    if name == 'process':
      opened = None
    elif edge == 'start':
      if opened:
        yield f'line {number}: span {name} starts inside span {opened[1]["event"]} of line {opened[0]}'
      opened = number, event
    elif edge == 'stop':
      if not opened or opened[1]['event'] != name:
        yield f'line {number}: span {name} stops, but did not start'
      elif not 0 <= event.get('data_seconds', 0) <= event['time'] - opened[1]['time'] + 2e-6:
        yield (f'line {number}: data_seconds is {event["data_seconds"]}, the span {name} only '
               f'{event["time"] - opened[1]["time"]:.6f} s')
      opened = None
    elif edge is not None:
      yield f'line {number}: edge is {edge!r}, not start or stop'
    elif name == 'exit' and event['status'] != 'failed' and [e for e in events[number:number + 1]
                                                             if e['event'] != 'process']:
      yield f'line {number + 1}: {events[number]["event"]} after the exit of its process: a restart was taken out'
    elif opened and name in ('run_start', 'run_stop', 'result'):
      yield f'line {number}: {name} stands inside span {opened[1]["event"]} of line {opened[0]}'
  if opened and record.status(events) == 'complete':
    yield f'line {opened[0]}: span {opened[1]["event"]} never stops, in a run that is complete'


def clock_start(events) -> Iterator[str]:
  """MLPerf's clock starts once, before anything touches data; every part of a run has its span."""
  starts = _numbered(events, 'run_start')
  if len(starts) > 1:
    yield f'line {starts[1][0]}: run_start again; the clock starts once, at line {starts[0][0]}'
  for number, event in enumerate(events[:starts[0][0] if starts else len(events)], 1):
    if event['event'] in TOUCHING:
      yield f'line {number}: span {event["event"]} before run_start: data were touched before the clock started'
      break
  if record.status(events) != 'complete':
    return
  if not starts:
    yield 'run_start is missing, in a run that is complete'
  spans = {e['event'] for e in events if e.get('edge') == 'stop'}
  for name in NEEDED:
    if name not in spans:
      yield f'has no span {name}, in a run that is complete'
  for number, event in _numbered(events, 'compile', 'stop'):
    counts = [event.get(key) for key in ('cache_hits', 'cache_misses')]
    if not SHA256.fullmatch(str(event.get('program_sha256'))) or any(type(c) is not int or c < 0 for c in counts):
      yield f'line {number}: compile does not say which program it made, and what of it came from the cache'
    if starts and number > starts[0][0] and sum(e['event'] == 'process' for e in events) == 1:
      yield f'line {number}: compile after run_start, in a run that was not restarted'


def progress(events) -> Iterator[str]:
  """Steps, samples and epochs go on from one span to the next, and follow from one another."""
  first, kept = events[0], tapes.effective(events)
  total, batch = first['num_train_examples'], first['batch_size']
  lengths = {total, total - total % batch} - {0}  # of an epoch: the last part of a batch is carried over or left out
  lines, at = {}, 0

  def where(event) -> str:
    lines.update(() if lines else ((id(e), n) for n, e in enumerate(events, 1)))
    return f'line {lines[id(event)]}: {event["event"]}'

  for event in kept:
    name, edge = event['event'], event.get('edge')
    if name == 'process':
      at = (event.get('resumed') or {'step': at})['step']
    if name == 'train' and edge == 'stop':
      if event['step'] <= at:
        yield f'{where(event)} from step {at} to {event["step"]} does not go forwards'
      at = event['step']
    elif 'step' in event and name in ('train', 'eval', 'checkpoint', 'run_stop', 'result') and event['step'] != at:
      yield f'{where(event)} is at step {event["step"]}, the training before it ended at {at}'
    if 'samples' in event:
      if event['samples'] != event['step'] * batch:
        yield (f'{where(event)} has {counted(event["samples"], "sample")}, but {counted(event["step"], "step")} of '
               f'{batch} make {event["step"] * batch}')
      lengths = {n for n in lengths if abs(event['epoch'] - event['samples'] / n) <= 1e-6}
      if not lengths:
        yield f'{where(event)} is at epoch {event["epoch"]}, but {event["samples"]} of {total} samples are another'
        return
  steps = first['hyperparameters'].get('opt_learning_rate_training_steps')
  if steps is not None and at > steps:
    yield f'trained for {counted(at, "step")}, and the schedule in its hyperparameters has {steps}'


def evaluations(events) -> Iterator[str]:
  """Every evaluation counted all examples, and its metrics are fractions of them."""
  target = events[0]['target']
  for number, event in _numbered(events, 'eval', 'stop'):
    where, count, metrics = f'line {number}: evaluation', event.get('num_evaluated'), event['metrics']
    if type(count) is not int or count != target['num_examples']:
      yield f'{where} counted {counted(count, "example")}, not all {target["num_examples"]}'
      continue
    for name, value in metrics.items():
      if name in (*FRACTIONS, target['metric']) and not 0 <= value <= 1:
        yield f'{where}: {name} is {value}, not a fraction from 0 to 1 (a percentage is another unit)'
      elif name in COUNTED and abs(value * count - round(value * count)) > 1e-6:
        yield f'{where}: {name} is {value}, which is no whole number of {counted(count, "example")}'
    if metrics.get('top5_accuracy', 1) < metrics.get('accuracy', 0):
      yield f'{where}: top5_accuracy is below accuracy'
    if target['metric'] not in metrics:
      yield f'{where} lacks {target["metric"]}, the metric of the target'


def cadence(events) -> Iterator[str]:
  """Evaluations come as often as they did before: one that is left out of the middle shows."""
  steps = [e['step'] for e in clocks.evaluations(events)]
  gaps = [after - before for before, after in zip([0, *steps], steps)]
  usual = gaps[1:-1][:1]  # the first may be sooner, by an offset, and the last, when the schedule ends
  for number, gap in enumerate(gaps if usual else ()):
    if gap > usual[0] or (gap < usual[0] and number not in (0, len(gaps) - 1)):
      yield (f'the evaluation at step {steps[number]} came {counted(gap, "step")} after the last, another {usual[0]}: '
             'one is missing, or was added')
      return


def unended(events) -> Iterator[str]:
  """A run that reached its target has an end, unless it failed."""
  status = record.status(events)
  if status not in ('complete', 'failed') and clocks.reached(events):
    yield f'reached its target and has no end (status {status}), and so no digest of what it trained; resume it'


def ending(events) -> Iterator[str]:
  """A complete run says once that it stopped, why, at the hit and not later, and what it ended with."""
  if record.status(events) != 'complete':
    return
  if events[-1]['event'] != 'exit':
    yield f'line {len(events)}: {events[-1]["event"]} after the exit of a run that is complete'
  kept, hit = tapes.effective(events), clocks.reached(events)
  stops = [e for e in kept if e['event'] == 'run_stop']
  results = [e for e in kept if e['event'] == 'result']
  for name, found in (('run_stop', stops), ('result', results)):
    if len(found) != 1:
      yield f'has {counted(len(found), "line")} {name}, in a run that is complete'
  for stop in stops[:1]:
    if stop['status'] != ('success' if hit else 'aborted'):
      yield (f'run_stop says {stop["status"]}, but the target {events[0]["target"]["value"]} was '
             f'{"reached" if hit else "not reached"} in its evaluations')
    elif hit and (stop['step'] != hit['step'] or kept.index(stop) < kept.index(hit)):
      yield f'run_stop is at step {stop["step"]}, and the target was reached at {hit["step"]}'
    elif not hit and stop['step'] < events[0]['hyperparameters'].get('opt_learning_rate_training_steps', 0):
      yield (f'run_stop is at step {stop["step"]}, without the target; the schedule in its hyperparameters has '
             f'{events[0]["hyperparameters"]["opt_learning_rate_training_steps"]}')
  for result in results[:1]:
    for name in ('parameters_sha256', 'state_sha256'):
      if not SHA256.fullmatch(str(result.get(name))):
        yield f'result: {name} is no sha256'
