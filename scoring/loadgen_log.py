"""What LoadGen wrote about a run, read strictly, and whether it stands: a gate of our own.

MLCommons' submission checker reads a run's validity without enforcing it, and counts error lines without failing on
them (performance_check.py of v6.1, at mlcommons/inference b66003e1), so that an entry needs a gate before it.
"""
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

from scoring import accuracy_log
from scoring.problem import Problem, counted
from scoring.scenarios import MIN_DURATION_MS, ROUNDS, Rules, Scenario

SUMMARY, DETAIL, ACCURACY = 'mlperf_log_summary.txt', 'mlperf_log_detail.txt', 'mlperf_log_accuracy.json'
USER_CONF = 'user.conf'
MODES = {'performance': 'PerformanceOnly', 'accuracy': 'AccuracyOnly'}
MARKER = ':::MLLOG '
QUANTILES = {'p50': '50.00', 'p90': '90.00', 'p95': '95.00', 'p97': '97.00', 'p99': '99.00', 'p99.9': '99.90'}
ONCE = ('result_', 'effective_', 'requested_', 'early_stopping_', 'qsl_reported_', 'num_errors')


def _text(path: Path) -> str:
  try:
    return path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, 'strerror', None) or 'not text'
    raise Problem(f'{path}: cannot read the log ({reason}); run the scenario again') from None


def detail(path) -> tuple[dict, list[str], list[str]]:
  """(value by key, errors, warnings) of a detail log; of a message that comes more than once, the last.

  Raises:
    Problem: a line is not LoadGen's, or a setting or a result is told twice.
  """
  values, errors, warnings = {}, [], []
  for number, line in enumerate(_text(Path(path)).splitlines(), 1):
    try:
      if not line.startswith(MARKER):
        raise ValueError
      event = json.loads(line[len(MARKER):])
      key, value, about = event['key'], event['value'], event['metadata']
      marked = about['is_error'], about['is_warning']
    except (ValueError, KeyError, TypeError):
      raise Problem(f'{path}, line {number}: not a line of LoadGen; run the scenario again') from None
    if key in values and key.startswith(ONCE):
      raise Problem(f'{path}, line {number}: {key} is there twice; a folder holds one run, run the scenario again')
    values[key] = value
    for found, texts in zip(marked, (errors, warnings), strict=True):
      if found:
        texts.append(str(value))
  return values, errors, warnings


def summary(path) -> dict[str, str]:
  """What the summary says, by the name of each line; raises Problem where it is not LoadGen's or ends early."""
  text = _text(Path(path))
  if not re.search(r'^(No|\d+) (errors?|ERRORS?) encountered', text, re.MULTILINE):
    raise Problem(f'{path}: not a whole summary of LoadGen; run the scenario again')
  told = {}
  for line in text.splitlines():
    name, colon, value = line.partition(':')
    if colon:
      told[name.strip()] = value.strip()
  return told | {'errors': 'No' if re.search('^No errors encountered', text, re.MULTILINE) else 'some'}


def read(folder) -> dict:
  """The result of the run whose logs are in `folder`, as JSON.

  Latencies are in nanoseconds of one query (of 8 samples in multi_stream); `early_stopping_ns` is the official result
  of single_stream (90th percentile) and multi_stream (99th), null where too few queries ran. What a run of accuracy
  does not tell is null.

  Raises:
    Problem: a log is missing, is not LoadGen's, or ends early.
  """
  folder = Path(folder)
  told = summary(folder / SUMMARY)
  values, errors, warnings = detail(folder / DETAIL)
  try:
    return _result(values, told, errors, warnings)
  except (KeyError, TypeError, ValueError) as error:
    raise Problem(f'{folder / DETAIL}: does not tell {error}: not a whole log of LoadGen; run the scenario '
                  'again') from None


def _result(values: dict, told: dict, errors: list, warnings: list) -> dict:
  performance = values['effective_test_mode'] == MODES['performance']
  begin, end = (datetime.strptime(values[key], '%m-%d-%Y %H:%M:%S.%f') for key in ('power_begin', 'power_end'))
  duration = (end - begin).total_seconds()
  estimate = {'SingleStream': 'early_stopping_latency_ss', 'MultiStream': 'early_stopping_latency_ms'}
  scenario, queries = values['effective_scenario'], values.get('result_query_count')
  samples = queries * values['effective_samples_per_query'] if performance else None
  rate = next((values[key] for key in ('result_samples_per_second', 'result_completed_samples_per_sec',
                                       'result_qps_with_loadgen_overhead') if key in values), None)
  if rate is None and performance and duration:
    rate = samples / duration  # multi-stream has no such line
  return {
      'scenario': scenario, 'mode': values['effective_test_mode'], 'loadgen': values['loadgen_version'].split(' ')[0],
      'datetime': values['test_datetime'], 'validity': values['result_validity'] if performance else None,
      'summary_validity': told.get('Result is'), 'summary_scenario': told.get('Scenario'),
      'latency_ns': {name: values[f'result_{name}_latency_ns'] for name in ('mean', 'min', 'max')}
                    | {name: values[f'result_{key}_percentile_latency_ns'] for name, key in QUANTILES.items()}
                    if performance else None,
      'summary_latency_ns': {name: int(told[f'{key} percentile latency (ns)']) for name, key in QUANTILES.items()}
                            if performance else None,
      'early_stopping_ns': values[estimate[scenario]] or None if performance and scenario in estimate else None,
      'met': {name: values[key] for name, key in _MET.items() if key in values} if performance else {},
      'queries': queries, 'samples': samples, 'samples_per_second': rate,
      'scheduled_samples_per_second': values.get('result_scheduled_samples_per_sec'),
      'duration_seconds': duration, 'generated_queries': values['generated_query_count'],
      'settings': {key.removeprefix('effective_'): value for key, value in values.items()
                   if key.startswith('effective_')},
      'requested': {key.removeprefix('requested_'): value for key, value in values.items()
                    if key.startswith('requested_')},
      'total_samples': values['qsl_reported_total_count'], 'errors': errors, 'warnings': warnings,
      'num_errors': values['num_errors'] if performance else len(errors), 'summary_errors': told['errors'],
  }


_MET = {'performance constraints': 'result_perf_constraints_met', 'minimum duration': 'result_min_duration_met',
        'minimum queries': 'result_min_queries_met', 'early stopping': 'early_stopping_met'}


def faults(folder, *, mode: str, rules: Rules, scenario: Scenario, num_samples: int) -> list[str]:
  """Why a run does not stand, one line each; empty where it does.

  That it lasted as long as it was configured to is asked here; whether that was as long as the round asks, by
  `shortfalls`.

  Args:
    folder: of the logs, and of the user.conf that the run was made with.
    mode: `performance` or `accuracy`.
    num_samples: of the whole data set.
  """
  folder = Path(folder)
  try:
    result = read(folder)
    found = _settings(result, mode, rules, scenario, num_samples) + _configured(folder, result, rules, scenario)
    if result['mode'] != MODES[mode]:
      return found
    return found + (_performance(result, scenario) if mode == 'performance' else
                    _answers(folder / ACCURACY, num_samples, scenario))
  except Problem as problem:
    return [str(problem)]


def _settings(result: dict, mode: str, rules: Rules, scenario: Scenario, num_samples: int) -> list[str]:
  settings, found = result['settings'], []

  def same(name, value, wanted):
    if value != wanted:
      found.append(f'{name} is {value}, wanted {wanted}')

  same('the mode', result['mode'], MODES[mode])
  same('the scenario', result['scenario'], scenario.loadgen)
  for name, seed in ROUNDS[rules.round].seeds.items():
    for where, told in (('requested', result['requested']), ('effective', settings)):
      same(f'{where} {name} (round {rules.round})', told.get(name), seed)
  if result['loadgen'] not in ROUNDS[rules.round].wheels:
    found.append(f'LoadGen is {result["loadgen"]}, round {rules.round} is of {", ".join(ROUNDS[rules.round].wheels)}')
  same('the data set', result['total_samples'], num_samples)
  if settings['performance_sample_count'] < min(rules.performance_sample_count, num_samples):
    found.append(f'performance_sample_count is {settings["performance_sample_count"]}, wanted '
                 f'{min(rules.performance_sample_count, num_samples)} or more')
  if scenario.samples_per_query:
    same('samples_per_query', settings['samples_per_query'], scenario.samples_per_query)
  if scenario.latency_limit_ms is not None:
    same('the latency limit in ns', settings['target_latency_ns'], int(scenario.latency_limit_ms * 1e6))
  if scenario.percentile:
    same('the percentile', settings['target_latency_percentile'], scenario.percentile / 100)
  found += [f'error in the detail log: {text}' for text in result['errors'][:3]]
  if result['num_errors'] or result['errors'] or result['summary_errors'] != 'No':
    found.append(f'{max(len(result["errors"]), result["num_errors"], 1)} errors, wanted none')
  return found


def _performance(result: dict, scenario: Scenario) -> list[str]:
  settings, met = result['settings'], result['met']
  found = [f'Result is {said or "not told"} ({where}), wanted VALID' for where, said in
           (('summary', result['summary_validity']), ('detail log', result['validity'])) if said != 'VALID']
  found += [f'{name} not satisfied' for name in _MET
            if met.get(name) is not True and (name in met or name != 'performance constraints')]
  if scenario.latency_limit_ms is not None and 'performance constraints' not in met:
    found.append('performance constraints are not told')
  if result['summary_scenario'] != scenario.loadgen:
    found.append(f'the scenario in the summary is {result["summary_scenario"]}, wanted {scenario.loadgen}')
  if any(result['latency_ns'][name] != value for name, value in result['summary_latency_ns'].items()):
    found.append('the latencies of the summary are not those of the detail log')
  wanted = settings['min_query_count']
  if not wanted <= result['queries'] <= result['generated_queries']:
    found.append(f'{counted(result["queries"], "query", "queries")}, wanted {wanted} to {result["generated_queries"]}')
  if result['samples'] < settings['min_sample_count']:
    found.append(f'{counted(result["samples"], "sample")}, wanted {settings["min_sample_count"]} or more')
  if scenario.percentile and scenario.latency_limit_ms is None and not result['early_stopping_ns']:
    found.append('early stopping has no estimate')
  if result['duration_seconds'] * 1000 + 1 < settings['min_duration_ms']:  # to a millisecond
    found.append(f'{result["duration_seconds"]:g} s long, wanted {settings["min_duration_ms"] / 1000:g} s or more')
  return found


def _configured(folder: Path, result: dict, rules: Rules, scenario: Scenario) -> list[str]:
  """Where the user.conf beside the logs, which is part of an entry, is not what ran."""
  found, names = [], {
      'min_duration': 'min_duration_ms',
      'target_qps': f'{scenario.name}_{"expected" if scenario.name == "offline" else "target"}_qps',
      'target_latency': f'{scenario.name}_{"target" if scenario.name == "server" else "expected"}_latency_ns'}
  for line in _text(folder / USER_CONF).splitlines():
    entry = re.fullmatch(r'([^.\s]+)\.([^.\s]+)\.(\w+) *= *([0-9.]+)', line.strip())
    if entry and entry[1] in ('*', rules.model) and entry[2] in ('*', scenario.loadgen):
      told = result['requested'].get(names.get(entry[3], entry[3]))
      wanted = float(entry[4]) * (1e6 if entry[3] == 'target_latency' else 1)
      if told is None or abs(wanted - told) > 1:  # to a nanosecond; milliseconds, counts and rates are whole or exact
        found.append(f'user.conf says {entry[3]} = {entry[4]}, the log {told}')
    elif line.strip() and not line.startswith('#'):
      found.append(f'user.conf: {line.strip()!r:.60} is not for {rules.model}.{scenario.loadgen}')
  return found


def _answers(path: Path, num_samples: int, scenario: Scenario) -> list[str]:
  """Where the answers are not one a sample, by index; LoadGen fills up the last query of a multi-stream with others."""
  seen = Counter(index for index, _ in accuracy_log.read(path))
  filling = -num_samples % (scenario.samples_per_query or 1)
  twice = sorted(i for i, count in seen.items() if count > 1)
  if sum(seen.values()) - len(seen) <= filling:
    twice = []
  groups = {'missing': [i for i in range(num_samples) if i not in seen],
            'answered more than once': twice,
            'not in the data set': sorted(i for i in seen if not 0 <= i < num_samples)}
  return [f'{counted(len(some), "sample")} {what}, first {some[0]}' for what, some in groups.items() if some]


def shortfalls(result: dict, rules: Rules, scenario: Scenario) -> list[str]:
  """What a run that stands lacks of what the round asks: one line each, to be told beside its numbers.

  result: of `read`, of a performance run.
  """
  settings, found = result['settings'], []
  if settings['min_duration_ms'] < MIN_DURATION_MS:
    found.append(f'configured to last {settings["min_duration_ms"] / 1000:g} s, {rules.round} asks 600 s')
  if result['queries'] < scenario.min_queries:
    found.append(f'{counted(result["queries"], "query", "queries")}, {rules.round} asks {scenario.min_queries}')
  if result['samples'] < scenario.min_samples:
    found.append(f'{counted(result["samples"], "sample")}, {rules.round} asks {scenario.min_samples}')
  if settings['performance_sample_count'] < rules.performance_sample_count:
    found.append(f'{counted(settings["performance_sample_count"], "sample")} in memory, {rules.round} asks '
                 f'{rules.performance_sample_count}')
  if settings['performance_issue_unique'] or settings['performance_issue_same']:
    found.append(f'each sample was issued once, {rules.round} draws them at random')
  return found
