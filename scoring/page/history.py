"""What DAWNBench's and MLPerf's boards held, as rows beside those of runs; scoring/history/README.md has the sources.

The rows are facts that others reported. Nothing here was measured by this project, and a row says so by its `kind`.
"""
import csv
import datetime
import math
from pathlib import Path

from scoring import clocks, dawnbench

FOLDER = Path(__file__).resolve().parents[1] / 'history'
TASKS = {board.folder: task for task, board in dawnbench.BOARDS.items()}
CLOCKS = [clock.name for clock in clocks.CLOCKS]
# quality targets of MLPerf Training: training_policies, training_rules.adoc, "Benchmarks"
MLPERF = {'resnet': ('imagenet', {'metric': 'accuracy', 'value': 0.759, 'of': 50_000}),
          'bert': ('bert_pretraining', {'metric': 'mlm_accuracy', 'value': 0.72, 'of': 10_000})}


def goal(task: str) -> dict:
  """DAWNBench's target of a task: metric as our tapes name it, value as a fraction, examples that it is over."""
  board = dawnbench.BOARDS[task]
  metric, scale = board.columns[board.column]
  return {'metric': metric, 'value': board.threshold / scale, 'of': board.num_examples}


def by_clock(name: str, value: float | None) -> list:
  """A value that only one clock measured, in the order of `scoring.clocks.CLOCKS`."""
  return [value if clock == name else None for clock in CLOCKS]


def _table(name: str) -> list[dict]:
  with open(FOLDER / name, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _number(text: str) -> float | None:
  return float(text) if text else None


def _date(text: str) -> str:
  """2019-6-27 as 2019-06-27."""
  return datetime.date(*map(int, text.split('-'))).isoformat()


def _fraction(row: dict) -> float:
  """The metric on 0..1, whichever scale it was reported in (one SQuAD entry is in percent, by mistake)."""
  value = float(row['value'])
  return round(value / 100 if value > 1 else value, 6)


def _dawnbench(row: dict, machines: dict) -> dict:
  device, devices = machines[row['hardware']]
  return {'kind': 'dawnbench', 'task': TASKS[row['dataset']], 'name': row['entry'], 'model': row['model'],
          'by': row['author'], 'hardware': row['hardware'], 'device': device, 'devices': devices,
          'date': _date(row['date']), 'framework': row['framework'], 'tricks': None, 'link': row['code_url'],
          'result': _fraction(row)}


def rows() -> list[dict]:
  """All rows of history; ids begin with a slash, which no relative path of a run does."""
  machines = {r['hardware']: (r['device'], int(r['devices'])) for r in _table('dawnbench_hardware.csv')}
  found = []
  for row in _table('dawnbench_training.csv'):
    made = _dawnbench(row, machines)
    result = made.pop('result')
    found.append({**made, 'epoch': _number(row['epoch']), 'usd_per_hour': _number(row['usd_per_hour']), 'goals': [{
        **goal(made['task']), 'result': result, 'seconds': by_clock('dawnbench', _number(row['seconds_to_target'])),
        'cost': by_clock('dawnbench', _number(row['usd_to_target']))}]})
  for row in _table('dawnbench_inference.csv'):
    made = _dawnbench(row, machines)
    result = made.pop('result')
    found.append({**made, 'scenario': 'one at a time', 'goals': [{
        **goal(made['task']), 'result': result, 'latency_ms': _number(row['latency_ms']),
        'usd_per_item': _number(row['usd_per_item'])}]})
  published = {r['round']: r['published'] for r in _table('mlperf_rounds.csv')}
  for row in _table('mlperf_training.csv'):
    task, target = MLPERF[row['benchmark']]
    seconds = round(float(row['minutes']) * 60, 3)
    assert math.isfinite(seconds)
    found.append({'kind': 'mlperf', 'task': task, 'name': f"{row['submitter']} {row['system']}, {row['round']}",
                  'model': {'resnet': 'ResNet-50 v1.5', 'bert': 'BERT-large'}[row['benchmark']], 'by': row['submitter'],
                  'hardware': f"{row['accelerators']} x {row['accelerator']} ({row['system']})",
                  'device': row['accelerator'].removesuffix(' chip'), 'devices': int(row['accelerators']),
                  'date': published[row['round']], 'framework': row['framework'], 'tricks': None, 'round': row['round'],
                  'note': row['note'], 'goals': [{**target, 'result': None, 'seconds': by_clock('mlperf', seconds),
                                                  'cost': by_clock('mlperf', None)}]})
  return [{'id': f'/history/{number}', **row} for number, row in enumerate(found)]
