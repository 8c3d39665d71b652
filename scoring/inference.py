"""A run of inference as a record: what its tape and LoadGen's logs say, and nothing else."""
import json
from datetime import UTC, datetime
from pathlib import Path

from scoring import accuracy_log, cost, loadgen_log, record, scenarios
from scoring import tape as tapes
from scoring.problem import Problem

NOTICE = 'Made by Daybreak. Result not verified by MLCommons Association. DAWNBench closed in 2020.'
COPIED = ('benchmark', 'model', 'tricks', 'hardware', 'versions', 'xla_flags', 'git_commit', 'git_dirty', 'command',
          'config', 'price', 'submitter', 'checkpoint', 'serving')


def make(folder) -> dict:
  """The record of the run in `folder`, which holds its tape and LoadGen's logs.

  `faults` says why a run does not stand, `shortfalls` what it lacks of what the round asks; `latency_ms` are of one
  query, `official_latency_ms` is early stopping's estimate of the scenario's percentile.

  Raises:
    Problem: the tape or a log is missing or damaged.
  """
  folder = Path(folder)
  events = tapes.read(folder)
  if not events or events[0].get('serving') is None:
    raise Problem(f'{folder}: holds no run of inference; make one with: python -m launchers.infer')
  header, serving = events[0], events[0]['serving']
  measured = next((e for e in events if e['event'] == 'measured'), None)
  made = {'notice': NOTICE, **{name: header[name] for name in COPIED}, 'scenario': serving['scenario'],
          'mode': serving['mode'], 'seconds_by_span': {}, 'metrics': None, 'num_evaluated': None,
          'answers_sha256': None, 'num_samples': serving['num_samples'], 'precision': serving['compute_dtype'],
          'input_dtype': serving['input_dtype'],
          'transformations': 'batch normalisation folded' if serving['folded'] else 'none',
          'date': datetime.fromtimestamp(header['time'], UTC).strftime('%Y-%m-%d')}
  spans = tapes.spans(events)
  made['seconds_by_span'] = {name: round(sum(s.seconds for s in spans if s.name == name), 6)
                             for name in dict.fromkeys(s.name for s in spans)}
  if measured:
    made |= {name: measured[name] for name in ('metrics', 'num_evaluated', 'answers_sha256')}
  found = loadgen_log.read(folder)
  made['loadgen'] = found
  if serving['mode'] == 'dawnbench':
    return made | _items(events, found, header)
  rules = scenarios.rules(header['benchmark'], header['model'])
  scenario = rules.scenario(serving['scenario'])
  faults = loadgen_log.faults(folder, mode=serving['mode'], rules=rules, scenario=scenario,
                              num_samples=serving['num_samples'])
  performance = serving['mode'] == 'performance'
  to_ms = lambda ns: None if ns is None else round(ns / 1e6, 6)
  return made | {
      'round': rules.round, 'official_benchmark': rules.official, 'division': 'open', 'valid': not faults,
      'faults': faults, 'shortfalls': loadgen_log.shortfalls(found, rules, scenario) if performance else [],
      'latency_ms': {name: to_ms(ns) for name, ns in (found['latency_ns'] or {}).items()},
      'official_latency_ms': to_ms(found['early_stopping_ns']),
      'samples_per_second': found['samples_per_second'] and round(found['samples_per_second'], 3),
      'quality': {name: {'value': value, 'reached': made['metrics'][rules.metric] >= value}
                  for name, value in rules.quality_targets.items()} if made['metrics'] else None}


def _items(events, found: dict, header: dict) -> dict:
  """What DAWNBench asks: the mean latency of an item, with and without preprocessing, and its cost in USD."""
  passes = {e['preprocessing']: e for e in events if e['event'] == 'pass'}
  latency = {name: passes[timed]['mean_latency_ns'] * passes[timed]['queries'] / header['serving']['num_items'] / 1e6
             for name, timed in (('mean', False), ('mean_with_preprocessing', True))}
  once = [p['queries'] == header['serving']['num_samples'] for p in passes.values()]
  faults = [] if all(once) and len(once) == 2 and found['validity'] == 'VALID' and not found['errors'] else [
      'not every sample was answered once without an error']
  price = cost.cost_usd(latency['mean'] / 1000, header['price'])
  return {'valid': not faults, 'faults': faults, 'latency_ms': {name: round(ms, 6) for name, ms in latency.items()},
          'cost_usd': price}


def write(folder) -> dict:
  """Writes `record.json` of the run in `folder`, and `accuracy.txt` where it measured; returns the record."""
  made = make(folder)
  if made['mode'] == 'accuracy':
    metrics, count = made['metrics'], made['num_evaluated']
    text = (accuracy_log.squad_text(100 * metrics['exact_match'], 100 * metrics['f1']) if 'f1' in metrics else
            accuracy_log.image_text(round(metrics['accuracy'] * count), count))
    record.write_text(Path(folder) / 'accuracy.txt', text)
  record.write_text(Path(folder) / 'record.json', json.dumps(made, indent=1, allow_nan=False) + '\n')
  return made


def table(made: dict) -> str:
  """A record for people."""
  hardware, held, serving = made['hardware'], made['checkpoint'], made['serving']
  metrics = 'not measured in this mode' if made['metrics'] is None else ', '.join(
      f'{name} {value:.6f}' for name, value in made['metrics'].items()) + f' ({made["num_evaluated"]} items)'
  times = '  '.join(f'{name} {value:.3f}' for name, value in made['latency_ms'].items() if name not in ('min', 'p95'))
  verdict = 'VALID' if made['valid'] else 'INVALID'
  lines = [f"{made['benchmark']}  {made['model']}  {made['scenario']}  {made['mode']}  "
           f"{hardware['device_count']} x {hardware['device_kind']}",
           f"verdict   {verdict}" + ''.join(f'\n          {fault}' for fault in made['faults']),
           f"metrics   {metrics}"]
  if times:
    lines.append(f'latency   ms: {times}')
  if made.get('official_latency_ms'):
    lines.append(f"official  {made['official_latency_ms']:.3f} ms (early stopping's estimate of its percentile)")
  if made.get('samples_per_second'):
    lines.append(f"rate      {made['samples_per_second']:.1f} samples/s")
  if made.get('cost_usd'):
    lines.append(f"cost      {made['cost_usd']:.3e} USD an item")
  lines += [f'short of  {text}' for text in made.get('shortfalls', ())]
  lines += [f"model     step {held['step']} of {held['run']}, parameters sha256 {held['parameters_sha256'][:16]}, "
            f"batch sizes {serving['batch_sizes']}, {'folded' if serving['folded'] else 'not folded'}",
            made['notice']]
  return '\n'.join(lines) + '\n'
