"""What a tape says of its code, against that code: the digest of its commit, and what the config makes of the task.

`scoring.review` needs no jax; this does where the tape was made by the code of this very checkout. Then the config
file is read again, with the flags of the tape's command line, and whatever the task makes of it must be on the tape.
"""
import functools
import math
import os
import re
from pathlib import Path

from absl import flags

from launchers import checkout
from scoring import audit, audit_header, clocks, record
from scoring import tape as tapes
from training import config as configs

CONFIG = re.compile(r'references/[^/\0-\x1f]+/configs/[^/\0-\x1f]+\.py')
RUNNABLE = ('*.py', '*.pyc', '*.so')  # of any folder: at the top, optax.py comes before the package of that name
COMMIT = re.compile(r'[0-9a-f]{40,64}')
NO_CONFIG = '--config={!r:.200} on its command line is no config of the checkout (references/*/configs/*.py)'
EARLY = 3600  # seconds by which the clock of a machine may be behind that of another


def add(report, root: Path):
  """Adds to a report of `scoring.review` what the code shows of each tape below `root`."""
  own, known = checkout.code_sha256(), {}
  for path in sorted(p for p in Path(root).rglob('tape.jsonl') if p.is_file()):
    where = path.relative_to(root).as_posix()
    try:
      events = tapes.read(path)
      first = events[0] if not audit.malformed(events) else None
    except audit.BROKEN:
      first = None
    if first is None:  # the review has said so
      continue
    ran = () if first.get('fixture') else dict.fromkeys(
        (e['git_commit'], e.get('code_sha256')) for e in events if e['event'] == 'process')
    for key in ran:  # a restart may have had other code
      if key not in known:
        known[key] = _commit(*key, own)
      problems, warnings = known[key]
      report.problems += [f'{where}: {line}' for line in problems]
      report.warnings += [f'{where}: {line}' for line in warnings]
    for number, event in enumerate(events, 1) if ran else ():
      if event['event'] != 'process':
        continue
      found = [] if number == 1 and first.get('code_sha256') == own else audit.guarded(_config, event)
      if event['time'] < _committed(event['git_commit']) - EARLY:
        found.append('its process starts before its commit was made')
      report.problems += [f'{where}: line {number}: {line}' for line in found]
    if first.get('code_sha256') == own:
      report.problems += [f'{where}: {line}' for line in audit.guarded(_task, events)]


def _commit(commit: str | None, digest: str | None, own: str) -> tuple[list[str], list[str]]:
  """(problems, warnings) of a commit and the digest of the code that is said to be its; `own` is that of this code."""
  if commit is None:
    return ([], ['names no commit, but its code is that of this checkout']) if digest == own else (
        ['names no commit, and its code is not that of this checkout: nobody can look at it; train from a commit'], [])
  if not COMMIT.fullmatch(commit):  # the review has said so; git is given nothing else
    return [], []
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    return [], ['names a commit that cannot be looked at here: no checkout with its whole history']
  if checkout.git('cat-file', '-e', f'{commit}^{{commit}}') is None:
    return [f'git_commit {commit}: no such commit in the history of this checkout; push it, or fetch it'], []
  if digest is None:  # as tapes of before 2026-11-25 have it
    if checkout.git('grep', '--quiet', 'code_sha256', commit, '--', 'launchers') is not None:
      return [f'code_sha256 is missing, and the code of its commit {commit[:12]} writes it'], []
  elif (right := checkout.commit_sha256(commit)) != digest:
    return [f'code_sha256 is {digest[:16]}..., that of its commit {commit[:12]} {right[:16]}...'], []
  return [], [f'its commit {commit[:12]} {line}: read it' for line in _to_read(commit)]


def _to_read(commit: str):
  """What a reviewer has to read of a commit that is not in the history of this checkout: all that may run."""
  names = checkout.git('diff', '--name-only', '--no-renames', f'HEAD...{commit}', '--', *checkout.ROOMS, *RUNNABLE)
  if names is None:
    yield 'shares no history with this checkout'
    return
  own = [name for name in names.splitlines() if CONFIG.fullmatch(name)]
  more = [name for name in names.splitlines() if name not in own]
  if own:
    yield f'is not in the history of this checkout, and adds or changes config {", ".join(own)}'
  if more:
    yield ('is not in the history of this checkout, and changes more than configs: '
           f'{", ".join(more[:3])}{" ..." * (len(more) > 3)}')


@functools.cache
def _committed(commit: str | None) -> int:
  """The Unix time at which a commit was made; 0 where that cannot be known."""
  named = commit is not None and COMMIT.fullmatch(commit)
  return int(named and checkout.git('show', '--no-patch', '--format=%ct', f'{commit}^{{commit}}') or 0)


def _task(events: list):
  """The header's task, made again by the code of this checkout, which is that of the tape, and its schedule."""
  first = events[0]
  path = audit_header.flag(first['command'], 'config')
  name = _place(path)
  if not name or not _is_known(name):
    yield f'line 1: {NO_CONFIG.format(path)}'
    return
  values = flags.FlagValues()
  config = configs.load(str(tapes.ROOT / name))
  configs.define_flags(config, values)
  try:
    values(['', *(word for word in audit_header.words(first['command']) if word.startswith('--config.'))])
  except flags.Error as error:
    yield f'line 1: its command line is none that its code takes: {" ".join(str(error).split())}'
    return
  config = configs.from_flags(config, values)
  if configs.to_text(config) != first['config']:
    yield (f'line 1: its config is not what {path} and its command line say '
           f'({configs.differences(configs.to_text(config), first["config"])})')
    return
  task = config.make_task('')
  for name, value in describe(config, task).items():
    if value != first[name]:
      yield f'line 1: {name} is {first[name]!r:.200}, its code makes it {value!r:.200}'
  for number, event in enumerate(events, 1):
    data = task.data.get(event.get('split')) if event['event'] == 'data' else None
    if data and data.fingerprint and event.get('fingerprint') != data.fingerprint:  # known only of embedded data
      yield f'line {number}: its {event["split"]} data are not those that its code embeds'
  if 'serving' not in first:
    yield from _schedule(events, task)


def _config(process: dict):
  """The config of a process lies where configs do, and its commit has it."""
  path, commit = audit_header.flag(process['command'], 'config'), process['git_commit']
  if not (name := _place(path)):
    yield NO_CONFIG.format(path)
  elif _committed(commit) and checkout.git('cat-file', '-e', f'{commit}:{name}') is None:
    yield f'--config={name} on its command line is not in its commit {commit[:12]}'


def _place(path: str | None) -> str | None:
  """Where in a checkout the config lies that a command line names; None where it is no place for a config."""
  name = os.path.relpath(os.path.normpath(tapes.ROOT / (path or '')), tapes.ROOT)  # a tape may name an absolute one
  return name if CONFIG.fullmatch(name) else None


def _is_known(name: str) -> bool:
  """Whether git knows a file, which a review is about to run; without git, whether it lies there."""
  return (tapes.ROOT / name).is_file() and (checkout.git('ls-files', '--error-unmatch', name) is not None
                                            or checkout.git('rev-parse', '--show-toplevel') is None)


def _schedule(events: list, task):
  """Evaluations stand where the task wants them, and a run ends at its target or when its schedule does."""
  looked, whole = [e['step'] for e in clocks.evaluations(events)], record.status(events) == 'complete'
  trained = [e['step'] for e in tapes.effective(events) if e['event'] == 'train' and e.get('edge') == 'stop']
  ended = max([0, *trained[-1:]])
  seen = ended if whole else max([ended - 1, *looked])  # a run that was cut short may lack its last look
  due, step = [], min(task.target.next_evaluation(1), task.num_steps)
  while step <= seen and len(due) <= len(looked):
    due.append(step)
    step = min(task.target.next_evaluation(step + 1), task.num_steps) if step < task.num_steps else math.inf
  if looked != due:
    at = next((n for n, (one, other) in enumerate(zip(looked, due)) if one != other), min(len(looked), len(due)))
    told = [f'at step {steps[at]}' if at < len(steps) else 'not there' for steps in (looked, due)]
    yield f'evaluation {at + 1} is {told[0]}, by its config {told[1]}'
  if whole and ended != task.num_steps and (task.target.stop == 'end' or not clocks.reached(events)):
    yield f'training ended at step {ended}, the schedule of its config has {task.num_steps}'


def describe(config, task) -> dict:
  """What the header of a tape says of a config and the task made from it."""
  return {
      'benchmark': task.benchmark, 'model': task.model_name,
      'target': {'metric': task.target.metric, 'value': task.target.value, 'num_examples': task.target.num_examples},
      'num_train_examples': task.data['train'].order.num_examples, 'batch_size': config.batch_size,
      'hyperparameters': {**task.hyperparameters, 'gradient_accumulation_steps': config.gradient_accumulation_steps},
      'tricks': dict(task.tricks), 'config': configs.to_text(config), 'seed': config.seed}
