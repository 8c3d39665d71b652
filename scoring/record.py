"""A tape as records: everything in them is computed from its events, so that anybody can compute it again.

`WORKDIR/record.json` is the record in our own format (record.schema.json), `result_0.txt` the MLPerf log, and
`dawnbench/` the entry for DAWNBench's board where there is one and the target was reached.
"""
import contextlib
import datetime
import errno
import json
import os
import shutil
from pathlib import Path

from scoring import clocks, cost, dawnbench, mlperf
from scoring import tape as tapes
from scoring.problem import Problem, counted

NOTICE = ('Made by Daybreak. Not an official MLPerf result: not submitted to nor verified by MLCommons Association. '
          'DAWNBench closed in 2020.')
COPIED = ('benchmark', 'model', 'target', 'seed', 'tricks', 'hardware', 'versions', 'xla_flags', 'git_commit',
          'git_dirty', 'command', 'config', 'price', 'hyperparameters')
RESUMABLE = ('hardware', 'price', 'versions', 'xla_flags', 'git_commit', 'git_dirty')  # may change at a restart


def _rounded(values: dict) -> dict:
  return {name: None if value is None else round(value, 6) for name, value in values.items()}


def record(events) -> dict:
  """The record of one run, as JSON.

  `mixed` names what was not the same in all processes of a run that was restarted: a run on two machines has no price.
  Its times are in seconds by each clock (`scoring.clocks`) and by span; `seconds_to_target` and `cost_usd` are null
  where the target was not reached, or no price is known.
  """
  first, kept = events[0], tapes.effective(events)
  if 'serving' in first:
    raise Problem('this is a tape of inference, which has no time to a target: name the workdir of the run that was '
                  'served')
  hit, evaluations = clocks.reached(events), clocks.evaluations(events)
  best = max((e['metrics'][first['target']['metric']] for e in evaluations), default=None)
  last = hit or (evaluations[-1] if evaluations else None)
  to_target = {c.name: clocks.seconds(events, c) for c in clocks.CLOCKS}
  result = next((e for e in reversed(kept) if e['event'] == 'result'), {})
  compiles = [e for e in events if e['event'] == 'compile' and e.get('edge') == 'stop']
  processes = [e for e in events if e['event'] == 'process']
  mixed = [name for name in RESUMABLE if any(p.get(name) != first.get(name) for p in processes)]
  price = None if 'hardware' in mixed or 'price' in mixed else first['price']
  start = next((e['time'] for e in events if e['event'] == 'run_start'), None)
  return {
      'notice': NOTICE, 'fixture': bool(first.get('fixture')), **{name: first[name] for name in COPIED},
      'status': status(events), 'reached': hit is not None,
      'metric': None if last is None else last['metrics'][first['target']['metric']], 'best_metric': best,
      'num_evaluated': None if last is None else last['num_evaluated'],
      'step': None if last is None else last['step'], 'epoch': None if last is None else last['epoch'],
      'samples': None if last is None else last['samples'],
      'seconds_to_target': _rounded(to_target),
      'seconds_until_end': _rounded({c.name: clocks.seconds(events, c, until='end') for c in clocks.CLOCKS}),
      'seconds_by_span': _rounded(clocks.seconds_by_span(events)), 'goodput': _rounded(clocks.goodput(events)),
      'cost_usd': _rounded({name: cost.cost_usd(value, price) for name, value in to_target.items()}),
      'init': {'seconds': None if start is None else round(start - first['time'], 6),
               'untimed_limit_seconds': clocks.UNTIMED_INIT_SECONDS[first['division']]},
      'compilation_cache': [{k: e[k] for k in ('cache_hits', 'cache_misses')} for e in compiles],
      'final_step': result.get('step'), 'program_sha256': compiles[-1]['program_sha256'] if compiles else None,
      'parameters_sha256': result.get('parameters_sha256'), 'state_sha256': result.get('state_sha256'),
      'restarts': len(processes) - 1, 'mixed': mixed,
      'started': datetime.datetime.fromtimestamp(int(first['time']), datetime.UTC).isoformat(),
      'evaluations': [{**{k: e[k] for k in ('step', 'epoch', 'samples', 'metrics', 'num_evaluated')},
                       'seconds': _rounded({c.name: clocks.seconds_at(events, c, e['time'], e)
                                            for c in clocks.CLOCKS})} for e in evaluations],
  }


def warm(cache: dict) -> bool:
  """Whether all programs came from the compilation cache."""
  return cache['cache_hits'] > 0 and cache['cache_misses'] == 0


def status(events) -> str:
  """How the run ended: complete, failed, preempted, or interrupted, also where its last process left no word."""
  last = next((e for e in reversed(events) if e['event'] in ('exit', 'process')), {'event': 'process'})
  return last['status'] if last['event'] == 'exit' else 'interrupted'


def way_out(error: OSError) -> str:
  """What to do where something cannot be written."""
  full = error.errno in (errno.ENOSPC, errno.EDQUOT)
  return 'free space, then run the same command again' if full else 'name another folder'


def write_text(path: Path, text: str):
  """Writes a file whole or not at all.

  Raises:
    Problem: the disk is full, or the folder cannot be written.
  """
  part = path.with_name(path.name + '.part')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(text, encoding='utf-8', newline='\n')
    os.replace(part, path)
  except OSError as error:
    with contextlib.suppress(OSError):
      part.unlink()
    raise Problem(f'{path}: cannot write ({error.strerror}); {way_out(error)}') from None


def text(made: dict) -> str:
  """A record, or whatever else of JSON lies beside tapes, as the text of its file."""
  return json.dumps(made, indent=1, allow_nan=False) + '\n'


def write(events, workdir, **author) -> tuple[list[Path], str | None]:
  """Writes every record of a tape into its workdir: (files, why there is no DAWNBench entry or None).

  author: `author` and `author_email`, where the tape does not name them.
  """
  workdir = Path(workdir)
  files = [workdir / 'record.json', workdir / 'result_0.txt']
  write_text(files[0], text(record(events)))
  write_text(files[1], mlperf.text(events))
  shutil.rmtree(workdir / 'dawnbench', ignore_errors=True)  # an entry of before, perhaps under another name
  try:
    files.extend(dawnbench.write(events, workdir / 'dawnbench', **author))
  except Problem as reason:
    return files, str(reason)
  return files, None


def table(made: dict) -> str:
  """A record for people, in at most 12 lines."""
  def times(values, otherwise='none'):
    return '  '.join(f'{name} {value:.2f}' for name, value in values.items() if value is not None) or otherwise

  target, hardware, price = made['target'], made['hardware'], made['price']
  verdict = 'REACHED' if made['reached'] else 'NOT REACHED' if made['status'] == 'complete' else 'NOT REACHED SO FAR'
  value = 'no evaluation' if made['metric'] is None else (
      f"{made['metric']:.4f} at step {made['step']} ({counted(made['num_evaluated'], 'example')})")
  spent = sorted(made['seconds_by_span'].items(), key=lambda item: -item[1])
  compiled = 'nothing'
  if made['compilation_cache']:
    hits, misses = (sum(c[k] for c in made['compilation_cache']) for k in ('cache_hits', 'cache_misses'))
    compiled = 'from a warm cache' if hits and not misses else 'cold, or without a cache' if not hits else (
        f'{misses} of {hits + misses} programs, the others from a cache')
  dollars = made['cost_usd']['dawnbench']
  bill = 'no price known; --usd_per_hour gives one' if price is None else (
      f"{'none' if dollars is None else f'{dollars:.6f}'} USD at {price['usd_per_hour']} USD/h ({price['source']})")
  machine = f"{hardware['device_count']} x {hardware['device_kind']}"
  return '\n'.join([
      f"{made['benchmark']}  {made['model']}  seed {made['seed']}  {machine}",
      f"target    {target['metric']} >= {target['value']}: {verdict}, {value}",
      f"seconds   {times(made['seconds_to_target'], 'none: the target was not reached')}",
      f"spans     {times(dict(spent))}",
      f"compiled  {compiled}, restarts {made['restarts']}, status {made['status']}"
      + (f", not the same throughout: {', '.join(made['mixed'])}" if made['mixed'] else ''),
      f"cost      {bill}",
      f"params    sha256 {(made['parameters_sha256'] or 'none')[:16]}",
  ]) + '\n'
