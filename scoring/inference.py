"""A run of inference as a record: what its tape and LoadGen's logs say, and nothing else."""
import contextlib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from scoring import accuracy_log, cost, dawnbench_inference, loadgen_log, record, scenarios
from scoring import tape as tapes
from scoring.problem import Problem, counted

NOTICE = 'Made by Daybreak. Result not verified by MLCommons Association. DAWNBench closed in 2020.'
READING = 'with_preprocessing'  # the folder of the logs of DAWNBench's other pass
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
          'input_dtype': serving['input_dtype'], 'batch_sizes': serving['batch_sizes'],
          'transformations': 'normalisations, biases and activations folded' if serving['folded'] else 'none',
          'date': datetime.fromtimestamp(header['time'], UTC).strftime('%Y-%m-%d')}
  spans = tapes.spans(events)
  made['seconds_by_span'] = {name: round(sum(s.seconds for s in spans if s.name == name), 6)
                             for name in dict.fromkeys(s.name for s in spans)}
  if measured:
    made |= {name: measured[name] for name in ('metrics', 'num_evaluated', 'answers_sha256')}
  found, untold = loadgen_log.read(folder), _untold(folder, events, serving, measured)
  made['loadgen'] = found
  if serving['mode'] == 'dawnbench':
    return made | _items(header, untold, mean=found, mean_with_preprocessing=loadgen_log.read(folder / READING))
  rules = scenarios.rules(header['benchmark'], header['model'])
  scenario = rules.scenario(serving['scenario'])
  faults = untold + loadgen_log.faults(folder, mode=serving['mode'], rules=rules, scenario=scenario,
                                       num_samples=serving['num_samples'])
  performance = serving['mode'] == 'performance'
  if not performance and (measured is None or not faults and accuracy_log.digest(accuracy_log.read(
      folder / loadgen_log.ACCURACY)) != measured['answers_sha256']):
    faults.append("the answers in LoadGen's log are not those that were measured")
  to_ms = lambda ns: None if ns is None else round(ns / 1e6, 6)
  return made | {
      'round': rules.round, 'official_benchmark': rules.official, 'division': 'open', 'valid': not faults,
      'faults': faults, 'latency_limit_ms': scenario.latency_limit_ms,
      'tried': [{name: e[name] for name in ('target_qps', 'faults')} for e in events if e['event'] == 'tried'],
      'shortfalls': loadgen_log.shortfalls(found, rules, scenario) if performance else [],
      'latency_ms': {name: to_ms(ns) for name, ns in (found['latency_ns'] or {}).items()},
      'official_latency_ms': to_ms(found['early_stopping_ns']),
      'samples_per_second': found['samples_per_second'] and round(found['samples_per_second'], 3),
      'quality': {name: {'value': value, 'reached': made['metrics'][rules.metric] >= value}
                  for name, value in rules.quality_targets.items()} if made['metrics'] else None}


def _items(header: dict, faults: list, **passes: dict) -> dict:
  """What DAWNBench asks: the mean latency of an item, with and without preprocessing, and its cost in USD."""
  samples, items, latency = header['serving']['num_samples'], header['serving']['num_items'], {}
  for name, found in passes.items():
    settings = found['settings']
    if not (found['queries'] == found['total_samples'] == samples and settings['performance_issue_unique']
            and settings['samples_per_query'] == 1 and (found['scenario'], found['mode']) == (
                'SingleStream', 'PerformanceOnly')):
      faults.append(f'{name}: not each of {counted(samples, "sample")} was answered once, alone')
    if found['errors'] or found['num_errors'] or {found['validity'], found['summary_validity']} != {'VALID'}:
      faults.append(f'{name}: Result is {found["validity"]}, {counted(found["num_errors"], "error")}')
    latency[name] = found['latency_ns']['mean'] * found['queries'] / items / 1e6
  price = cost.cost_usd(latency['mean'] / 1000, header['price'])
  return {'valid': not faults, 'faults': faults, 'latency_ms': {name: round(ms, 6) for name, ms in latency.items()},
          'cost_usd': price}


def logs_sha256(folder) -> dict[str, str]:
  """Digests of what LoadGen and the launcher left in a folder: path -> sha256."""
  paths = [p for p in Path(folder).rglob('*') if p.is_file() and p.name.startswith(('mlperf_log', 'user.conf'))]
  return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)}


def _untold(folder: Path, events, serving: dict, measured: dict | None) -> list[str]:
  """Where tape and files beside it are not those of one whole run."""
  last, found = events[-1], []
  if last['event'] != 'exit' or last.get('status') != 'complete':
    found.append('the tape has no end: the run was cut short')
  elif last['logs_sha256'] != (now := logs_sha256(folder)):
    changed = sorted(name for name in {*now, *last['logs_sha256']} if now.get(name) != last['logs_sha256'].get(name))
    found.append(f'{", ".join(changed)}: not as the run left it')
  if serving['mode'] != 'performance' and (measured is None or measured['num_evaluated'] != serving['num_items']):
    found.append(f'{measured and measured["num_evaluated"]} items were measured, wanted {serving["num_items"]}')
  return found


def write(folder) -> dict:
  """Writes `record.json` of the run in `folder`, and `accuracy.txt` where it measured; returns the record."""
  try:
    made = make(folder)
  except Problem:
    with contextlib.suppress(OSError):
      (Path(folder) / 'record.json').unlink()  # what cannot be derived is no record
    raise
  if made['mode'] == 'accuracy' and made['metrics']:
    metrics, count = made['metrics'], made['num_evaluated']
    text = (accuracy_log.squad_text(100 * metrics['exact_match'], 100 * metrics['f1']) if 'f1' in metrics else
            accuracy_log.image_text(round(metrics['accuracy'] * count), count))
    record.write_text(Path(folder) / 'accuracy.txt', text)
  record.write_text(Path(folder) / 'record.json', record.text(made))
  return made


def pairs(workdir) -> list[Path]:
  """The folders of each scenario that was run in both of MLPerf's modes.

  Raises:
    Problem: there is none.
  """
  found = [folder / mode for folder in sorted((Path(workdir) / 'inference').glob('*'))
           for mode in ('accuracy', 'performance') if all((folder / name / 'tape.jsonl').is_file()
                                                          for name in ('accuracy', 'performance'))]
  if not found:
    raise Problem(f'{workdir}: no scenario was run in both modes; run launchers.infer with --mode=accuracy and '
                  '--mode=performance')
  return found


def write_all(workdir, **author) -> list[str]:
  """Derives the records of every run of inference below the workdir of a trained one again; where they are.

  author: `author` and `author_email` of DAWNBench's entries, where the tape does not name them.
  """
  folders = sorted(path.parent for path in (Path(workdir) / 'inference').glob('*/*/tape.jsonl')
                   if path.parent.suffix != '.part')
  told = []
  for folder in folders:
    made = write(folder)
    told.append(f'inference {folder / "record.json"}')
    if made['mode'] == 'dawnbench':
      told.append(f'dawnbench of inference: {dawnbench_inference.outcome(made, folder, **author)}')
  return told


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
  if times and made['scenario'] != 'offline':  # there it is how long the whole query had run
    lines.append(f'latency   ms: {times}')
  if made.get('official_latency_ms'):
    lines.append(f"official  {made['official_latency_ms']:.3f} ms (early stopping's estimate of its percentile)")
  if made.get('latency_limit_ms') and times:
    lines.append(f"limit     99 % of queries within {made['latency_limit_ms']:g} ms"
                 + (f', the highest rate of {len(made["tried"])} that were tried' if made['tried'] else ''))
  if made.get('samples_per_second'):
    lines.append(f"rate      {made['samples_per_second']:.1f} samples/s")
  if made.get('cost_usd'):
    lines.append(f"cost      {made['cost_usd']:.3e} USD an item")
  lines += [f'short of  {text}' for text in made.get('shortfalls', ())]
  lines += [f"model     step {held['step']} of {held['run']}, parameters sha256 {held['parameters_sha256'][:16]}, "
            f"batch sizes {serving['batch_sizes']}, {'folded' if serving['folded'] else 'not folded'}",
            made['notice']]
  return '\n'.join(lines) + '\n'
