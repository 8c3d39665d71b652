"""DAWNBench entries: what is written is exact and admitted, what is wrong in a tree is found and named."""
import csv
import json
import math
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from scoring.dawnbench import check_tree, entry, write
from scoring.problem import Problem
from tests import tapes

DATASETS = {'CIFAR10': ('top1Accuracy', 94.0), 'ImageNet': ('top5Accuracy', 93.0), 'SQuAD': ('f1Score', 0.75)}
COLUMNS = {'CIFAR10': ['top1Accuracy'], 'ImageNet': ['top1Accuracy', 'top5Accuracy'], 'SQuAD': ['f1Score']}
REQUIRED = {'version': 'v1.0', 'author': 'A. Tester', 'authorEmail': 'tester@example.org', 'framework': 'JAX 0.10.2',
            'model': 'fixture', 'hardware': '1 fixture', 'timestamp': '2020-03-26'}
ROWS = {'CIFAR10': '1\t0.1\t60.5\n2\t0.2\t94.0\n', 'ImageNet': '1\t0.1\t30.5\t60.5\n2\t0.2\t76.1\t93.0\n',
        'SQuAD': '1\t0.1\t0.6\n2\t0.2\t0.75\n'}
CIFAR, IMAGENET, SQUAD = (f'{dataset}/train/a_b_c_d' for dataset in DATASETS)
CIFAR_LATENCY, IMAGENET_LATENCY, SQUAD_LATENCY = (f'{dataset}/inference/a_b_c_d.json' for dataset in DATASETS)


def good_files():
  files = {}
  for dataset, (column, threshold) in DATASETS.items():
    files[f'{dataset}/train/a_b_c_d.json'] = json.dumps(REQUIRED)
    files[f'{dataset}/train/a_b_c_d.tsv'] = '\t'.join(['epoch', 'hours', *COLUMNS[dataset]]) + '\n' + ROWS[dataset]
    files[f'{dataset}/inference/a_b_c_d.json'] = json.dumps({**REQUIRED, 'latency': 9.5, column: threshold})
  return files


def lay_out(root, files):
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode('utf-8'))


def fields(name, drop=None, **changes):
  def change(files):
    record = {**json.loads(files[name]), **changes}
    files[name] = json.dumps({key: value for key, value in record.items() if key != drop})
  return name, change


def swap(name, old, new):
  def change(files):
    assert old in files[name]
    files[name] = files[name].replace(old, new)
  return name, change


def whole(name, text):
  return name, lambda files: files.update({name: text})


def move(new, *old):
  def change(files):
    for name in old:
      files[new + os.path.splitext(name)[1]] = files.pop(name)
  return new, change


def drop(name, blamed):
  return blamed, lambda files: files.pop(name)


def dawnbench_admits(root):
  """Whether DAWNBench's own validator would: its rules, as its 14 tests apply them, and nothing more."""
  try:
    for dataset, (column, threshold) in DATASETS.items():
      for path in sorted((root / dataset).glob('train/*.json')):
        theirs_json(path, list(REQUIRED))
        values = theirs_column(path.with_name(path.name[:-5] + '.tsv'), dataset, column)
        assert max(values) >= threshold
        assert dataset != 'SQuAD' or all(0 <= value <= 1 for value in values)
      for path in sorted((root / dataset).glob('inference/*.json')):
        assert theirs_json(path, [*REQUIRED, 'latency'])[column] >= threshold
  except (AssertionError, ValueError, KeyError, TypeError, OSError):
    return False
  return True


def theirs_json(path, required):
  record = json.loads(path.read_text(encoding='utf-8'))
  assert all(key in record for key in required) and record['version'] == 'v1.0'
  datetime.strptime(record['timestamp'], '%Y-%m-%d')
  return record


def theirs_column(path, dataset, column):
  """One column as numbers; a row with too many cells is read from its right end, empty and NaN cells are skipped."""
  with open(path, encoding='utf-8', newline='') as file:
    header, *rows = [row for row in csv.reader(file, delimiter='\t') if row]
  assert set(header) == {'epoch', 'hours', *COLUMNS[dataset]} and rows
  cells = [row[-len(header):][header.index(column)] for row in rows]
  return [float(cell) for cell in cells if cell and not math.isnan(float(cell))]


# What their validator turns down, as section 2 of the project's notes on it lists.
REJECT = {
    'version': (fields(f'{CIFAR}.json', version='v1.1'), 'version must'),
    'iso datetime': (fields(f'{CIFAR}.json', timestamp='2020-03-26T10:00:00'), 'timestamp must'),
    **{f'no {key}': (fields(f'{SQUAD}.json', drop=key), f'{key} must') for key in REQUIRED},
    **{f'inference: no {key}': (fields(SQUAD_LATENCY, drop=key), f'{key} must') for key in REQUIRED},
    'missing tsv': (drop(f'{IMAGENET}.tsv', f'{IMAGENET}.json'), 'no partner'),
    'extra column': (whole(f'{CIFAR}.tsv', 'epoch\thours\ttop1Accuracy\tloss\n1\t0.1\t94.0\t2\n'), 'line 1'),
    'header epochs': (swap(f'{CIFAR}.tsv', 'epoch', 'epochs'), 'line 1'),
    'fractions': (whole(f'{CIFAR}.tsv', 'epoch\thours\ttop1Accuracy\n1\t0.1\t0.95\n'), 'percent'),
    'percent F1': (swap(f'{SQUAD}.tsv', '0.75', '75'), 'as a fraction'),
    'F1 0.74': (swap(f'{SQUAD}.tsv', '0.75', '0.74'), 'below 0.75'),
    '93.995': (swap(f'{CIFAR}.tsv', '94.0', '93.995'), 'below 94.0'),
    'top-5 92.99': (swap(f'{IMAGENET}.tsv', '93.0', '92.99'), 'below 93.0'),
    '94.1%': (swap(f'{CIFAR}.tsv', '94.0', '94.1%'), 'line 3'),
    'no latency': (fields(CIFAR_LATENCY, drop='latency'), 'latency must'),
    'accuracy key': (fields(CIFAR_LATENCY, drop='top1Accuracy', accuracy=94.1), 'top1Accuracy must'),
    'inference below': (fields(IMAGENET_LATENCY, top5Accuracy=92.9), 'below 93.0'),
    'trailing comma': (swap(f'{CIFAR}.json', '}', ',}'), 'cannot be read'),
    'spaces': (swap(f'{CIFAR}.tsv', '\t', ' '), 'line 1'),
}
# What it lets pass although it is wrong.
ACCEPT_WRONG = {
    'percent F1 in inference': (fields(SQUAD_LATENCY, f1Score=82.52), 'f1Score lies outside'),
    'latency null': (fields(CIFAR_LATENCY, latency=None), 'latency must'),
    'latency text': (fields(CIFAR_LATENCY, latency='fast'), 'latency must'),
    'latency text of a number': (fields(CIFAR_LATENCY, latency='9.5'), 'latency must'),
    'latency zero': (fields(CIFAR_LATENCY, latency=0), 'latency must'),
    'latency negative': (fields(CIFAR_LATENCY, latency=-1.5), 'latency must'),
    'hours text': (swap(f'{CIFAR}.tsv', '0.1', 'n/a'), 'line 2'),
    'hours negative': (swap(f'{CIFAR}.tsv', '0.1', '-0.1'), 'line 2: hours'),
    'hours backwards': (swap(f'{CIFAR}.tsv', '0.2', '0.05'), 'line 3: hours'),
    'hours standing still': (swap(f'{CIFAR}.tsv', '0.2', '0.1'), 'line 3: hours'),
    'accuracy 250': (swap(f'{CIFAR}.tsv', '94.0', '250'), 'outside 0..100'),
    'inference accuracy 250': (fields(CIFAR_LATENCY, top1Accuracy=250), 'outside 0..100'),
    'NaN row': (swap(f'{CIFAR}.tsv', '1\t0.1\t60.5', 'NaN\tNaN\tNaN'), 'line 2'),
    'NaN literal': (fields(f'{CIFAR}.json', misc={'loss': math.nan}), 'cannot be read'),
    'NaN latency': (fields(CIFAR_LATENCY, latency=math.nan), 'cannot be read'),
    'double tabs': (whole(f'{CIFAR}.tsv', 'epoch\thours\ttop1Accuracy\n1\t0.1\t\t94.1\n2\t0.2\t\t94.2\n'), 'line 2'),
    **{f'empty {key}': (fields(f'{CIFAR}.json', **{key: ''}), f'{key} must')
       for key in ('author', 'authorEmail', 'framework', 'model', 'hardware')},
    'blank model': (fields(CIFAR_LATENCY, model='  '), 'model must'),
    'orphan tsv': (drop(f'{SQUAD}.json', f'{SQUAD}.tsv'), 'no partner'),
    'any name': (move('CIFAR10/train/basenet', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'name must'),
    'three parts': (move('CIFAR10/train/a_b_c', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'name must'),
    'empty part': (move('CIFAR10/train/a_b__d', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'name must'),
    'space in name': (move('CIFAR10/train/a_b_c d_e', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'name must'),
    'hidden name': (move('CIFAR10/train/.a_b_c_d', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'name must'),
    'no kind': (move('CIFAR10/a_b_c_d', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'no board'),
    'folder in lower case': (move('cifar10/train/a_b_c_d', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'no board'),
    'too deep': (move('CIFAR10/train/x/a_b_c_d', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'no board'),
    'at the root': (move('a_b_c_d', CIFAR_LATENCY), 'no board'),
    'unknown dataset': (move('MNIST/inference/a_b_c_d', CIFAR_LATENCY), 'no board'),
    'number as author': (fields(f'{CIFAR}.json', author=5), 'author must'),
    'same key twice': (swap(f'{CIFAR}.json', '"model"', '"author": "another", "model"'), 'twice'),
    'same key twice inside': (swap(f'{CIFAR}.json', '"model"', '"misc": {"a": 1, "a": 2}, "model"'), 'twice'),
    'not ASCII': (swap(f'{CIFAR}.json', 'A. Tester', 'Z\u00f6e'), 'ascii'),
    'infinite': (swap(CIFAR_LATENCY, '9.5', '1e999'), 'cannot be read'),
    'huge': (swap(CIFAR_LATENCY, '9.5', '9' * 400), 'latency must'),
    'true latency': (fields(CIFAR_LATENCY, latency=True), 'latency must'),
    'cost in another unit': (fields(CIFAR_LATENCY, cost=0.0247, costPerHour=0.9), 'cost must be costPerHour'),
    'cost is text': (fields(f'{CIFAR}.json', costPerHour='cheap'), 'costPerHour must'),
    'cost below 0': (fields(f'{CIFAR}.json', costPerHour=-3.06), 'costPerHour must'),
    'inference tsv': (whole('SQuAD/inference/a_b_c_d.tsv', 'epoch\thours\tf1Score\n1\t0.1\t0.76\n'), 'not part'),
    'suffix in upper case': (('CIFAR10/train/x_b_c_d.TSV', lambda files: files.update(
        {'CIFAR10/train/x_b_c_d.TSV': ''})), 'no board'),
    'top-1 above top-5': (swap(f'{IMAGENET}.tsv', '30.5', '61'), 'line 2: top1Accuracy'),
    'top-1 a fraction': (swap(swap_first(f'{IMAGENET}.tsv') if False else f'{IMAGENET}.tsv', '76.1', '101'), 'outside'),
    'epochs backwards': (swap(f'{CIFAR}.tsv', '1\t0.1', '3\t0.1'), 'line 3: epoch'),
    'epoch negative': (swap(f'{CIFAR}.tsv', '1\t0.1', '-1\t0.1'), 'line 2: epoch'),
    'hours infinite': (swap(f'{CIFAR}.tsv', '0.2', 'inf'), 'line 3'),
    'underscore in a number': (swap(f'{CIFAR}.tsv', '0.2', '1_0'), 'line 3'),
    'row of tabs': (swap(f'{CIFAR}.tsv', '2\t', '\t\t\n2\t'), 'line 3'),
}
