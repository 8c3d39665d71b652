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
  except (AssertionError, ValueError, KeyError, TypeError, OSError, RecursionError):
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
    'accuracy negative': (swap(f'{CIFAR}.tsv', '60.5', '-60.5'), 'outside 0..100'),
    'optional accuracy is text': (fields(IMAGENET_LATENCY, top1Accuracy='76'), 'top1Accuracy must'),
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
    'empty first part': (move('CIFAR10/train/_b_c_d_e', f'{CIFAR}.json', f'{CIFAR}.tsv'), 'name must'),
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
    'suffix in upper case': (whole('CIFAR10/train/a_b_c_d.TSV', ''), 'no board'),
    'top-1 above top-5': (swap(f'{IMAGENET}.tsv', '30.5', '61'), 'line 2: top1Accuracy'),
    'top-1 a fraction': (whole(f'{IMAGENET}.tsv', 'epoch\thours\ttop1Accuracy\ttop5Accuracy\n1\t0.1\t0.76\t93.1\n'),
                         'top1Accuracy is never above 1'),
    'epochs backwards': (swap(f'{CIFAR}.tsv', '1\t0.1', '3\t0.1'), 'line 3: epoch'),
    'epoch negative': (swap(f'{CIFAR}.tsv', '1\t0.1', '-1\t0.1'), 'line 2: epoch'),
    'hours infinite': (swap(f'{CIFAR}.tsv', '0.2', 'inf'), 'line 3'),
    'underscore in a number': (swap(f'{CIFAR}.tsv', '0.2', '1_0'), 'line 3'),
    'one number too many': (swap(f'{CIFAR}.tsv', '60.5', '60.5\t0.7'), 'line 2'),
    'row of tabs': (swap(f'{CIFAR}.tsv', '2\t0.2', '\t\t\n2\t0.2'), 'line 3'),
}
# Garbage: theirs turns it down with a traceback, or never looks at it.
GARBAGE = {
    'empty json': (whole(f'{CIFAR}.json', ''), 'cannot be read'),
    'empty tsv': (whole(f'{CIFAR}.tsv', ''), 'line 1'),
    'header alone': (whole(f'{SQUAD}.tsv', 'epoch\thours\tf1Score\n'), 'no row'),
    'list': (whole(f'{CIFAR}.json', '[1, 2]'), 'not a JSON object'),
    'number': (whole(CIFAR_LATENCY, '3'), 'not a JSON object'),
    'invalid UTF-8 in json': (whole(f'{CIFAR}.json', b'{"author": "\xff\xfe"}'), 'ascii'),
    'invalid UTF-8 in tsv': (whole(f'{CIFAR}.tsv', b'epoch\xff\n'), 'ascii'),
    'zeros': (whole(f'{CIFAR}.json', bytes(100)), 'cannot be read'),
    'a hundred thousand brackets': (whole(f'{CIFAR}.json', '[' * 100_000), 'cannot be read'),
    'ten thousand digits': (whole(CIFAR_LATENCY, '9' * 10_000), 'cannot be read'),
    'null everywhere': (whole(CIFAR_LATENCY, json.dumps(dict.fromkeys(REQUIRED))), 'author must'),
    'metric is a list': (fields(SQUAD_LATENCY, f1Score=[0.8]), 'f1Score must'),
}
FINE = {
    'extra keys': fields(f'{CIFAR}.json', seed=7, codeURL='https://example.org', misc={'runs': [1, None, {'a': 'b'}]}),
    'CRLF': swap(f'{CIFAR}.tsv', '\n', '\r\n'),
    'trailing blank line': swap(f'{CIFAR}.tsv', '94.0\n', '94.0\n\n'),
    'no newline at the end': swap(f'{CIFAR}.tsv', '94.0\n', '94.0'),
    'reordered columns': whole(f'{IMAGENET}.tsv', 'hours\ttop5Accuracy\tepoch\ttop1Accuracy\n0.1\t93.2\t41\t76.2\n'),
    'price as text': fields(f'{CIFAR}.json', costPerHour='3.06'),
    'price null': fields(f'{CIFAR}.json', costPerHour=None),
    'cost null': fields(CIFAR_LATENCY, cost=None, costPerHour=0.9),
    'cost rounded': fields(CIFAR_LATENCY, latency=9.7843, cost=2.446e-6, costPerHour='0.9'),
    'integer latency': fields(CIFAR_LATENCY, latency=10),
    'escaped name': fields(f'{CIFAR}.json', author='Zo\u00eb'),
    'more parts in the name': move('CIFAR10/train/a_b_c_d_e-1.0', f'{CIFAR}.json', f'{CIFAR}.tsv'),
    'epochs from 0': whole(f'{SQUAD}.tsv', 'epoch\thours\tf1Score\n0\t0\t0.1\n1\t1e-05\t0.8\n'),
    'fractional and repeated epochs': whole(
        f'{CIFAR}.tsv', 'epoch\thours\ttop1Accuracy\n36.2\t0.1\t90\n36.2\t0.2\t91\n37\t0.3\t94.01\n'),
    'other files': whole('README.md', 'caf\u00e9'),
}
THEIRS_ADMITS = [(name, False) for name in REJECT] + [
    (name, True) for name in ACCEPT_WRONG if name != 'one number too many']  # that one, pandas cannot read


def blames(report, name):
  assert all('\n' not in line for line in report.problems)
  return [line for line in report.problems if line.startswith((f'{name}: ', f'{name}.'))]


def test_a_good_tree_is_silent(tmp_path):
  lay_out(tmp_path, good_files())
  report = check_tree(tmp_path)
  assert (report.entries, report.problems, report.warnings) == (6, [], [])
  assert dawnbench_admits(tmp_path)


@pytest.mark.parametrize('name', [*REJECT, *ACCEPT_WRONG, *GARBAGE])
def test_what_is_wrong_is_found_and_named(name, tmp_path):
  (blamed, change), expected = {**REJECT, **ACCEPT_WRONG, **GARBAGE}[name]
  files = good_files()
  change(files)
  lay_out(tmp_path, files)
  report = check_tree(tmp_path)
  assert any(expected in line for line in blames(report, blamed)), report.problems
  if name not in ('orphan tsv', 'missing tsv'):
    assert len(blames(report, blamed)) == len(report.problems), 'another file is blamed too'


@pytest.mark.parametrize('name,admitted', THEIRS_ADMITS)
def test_their_rules_give_the_verdict_that_their_validator_gave(name, admitted, tmp_path):
  (_, change), _ = {**REJECT, **ACCEPT_WRONG}[name]
  files = good_files()
  change(files)
  lay_out(tmp_path, files)
  assert dawnbench_admits(tmp_path) == admitted


@pytest.mark.parametrize('name', FINE)
def test_what_is_fine_is_left_alone(name, tmp_path):
  files = good_files()
  FINE[name][1](files)
  lay_out(tmp_path, files)
  report = check_tree(tmp_path)
  assert (report.entries, report.problems, report.warnings) == (6, [], [])
  assert dawnbench_admits(tmp_path)


def test_a_dip_after_the_hit_is_a_warning(tmp_path):
  files = good_files()
  files[f'{CIFAR}.tsv'] += '3\t0.3\t93.9\n'
  lay_out(tmp_path, files)
  report = check_tree(tmp_path)
  assert report.problems == [] and len(report.warnings) == 1
  assert report.warnings[0].startswith(f'{CIFAR}.tsv: ')


def test_a_tree_without_entries_is_a_problem(tmp_path):
  assert check_tree(tmp_path).problems
  assert [line.partition(': ')[2][:14] for line in check_tree(tmp_path / 'missing').problems] == [
      'cannot be read', 'holds no entry']
  (tmp_path / 'CIFAR10' / 'train').mkdir(parents=True)
  (tmp_path / 'file').write_text('')
  lay_out(tmp_path, {'a_b_c_d.json': json.dumps(REQUIRED)})
  report = check_tree(tmp_path)
  assert report.entries == 0 and report.problems[-1].startswith('.: holds no entry')
  assert check_tree(tmp_path / 'file').problems


def test_what_is_not_a_file_is_a_problem(tmp_path):
  lay_out(tmp_path, good_files())
  folder = tmp_path / 'SQuAD' / 'inference'
  (folder / 'p_b_c_d.json').mkdir()
  (folder / 'q_b_c_d.json').symlink_to('nowhere')
  os.mkfifo(folder / 'r_b_c_d.json')
  report = check_tree(tmp_path)
  assert len(report.problems) == 3
  assert all(blames(report, f'SQuAD/inference/{letter}_b_c_d.json') for letter in 'pqr')


def test_a_name_that_is_no_text_is_shown_on_one_line(tmp_path):
  lay_out(tmp_path, good_files())
  (tmp_path / 'CIFAR10' / 'inference' / 'a\nb_\udcff.json').write_text('{')
  report = check_tree(tmp_path)
  assert report.problems and all(line.isascii() and '\n' not in line for line in report.problems)


CIFAR_TAPE = {'metrics': [{'accuracy': 0.5}, {'accuracy': 0.9399}, {'accuracy': 0.95}]}
IMAGENET_TAPE = {
    'metrics': [{'accuracy': 0.5, 'top5_accuracy': 0.75002}, {'accuracy': 0.76, 'top5_accuracy': 0.9301}],
    'benchmark': 'imagenet', 'target': {'metric': 'top5_accuracy', 'value': 0.93, 'num_examples': 50000}}
SQUAD_TAPE = {'metrics': [{'f1': 0.7}, {'f1': 0.7512345}], 'benchmark': 'squad',
              'target': {'metric': 'f1', 'value': 0.75, 'num_examples': 10570}}


FIRST, SECOND, THIRD = (repr((1 + 2 + 3 + 1 + 10 * epochs) / 3600) for epochs in (1, 2, 3))  # evaluation left out


@pytest.mark.parametrize('tape,header,rows', [
    (CIFAR_TAPE, 'top1Accuracy', [f'1\t{FIRST}\t50.0', f'2\t{SECOND}\t93.99', f'3\t{THIRD}\t95.0']),
    (IMAGENET_TAPE, 'top1Accuracy\ttop5Accuracy', [f'1\t{FIRST}\t50.0\t75.002', f'2\t{SECOND}\t76.0\t93.01']),
    (SQUAD_TAPE, 'f1Score', [f'1\t{FIRST}\t0.7', f'2\t{SECOND}\t0.751234']),
], ids=['cifar10', 'imagenet', 'squad'])
def test_a_tape_becomes_an_entry_that_both_validators_take(tape, header, rows, tmp_path):
  json_path, tsv_path = write(tapes.record(**tape).events, tmp_path)
  assert tsv_path.read_bytes().decode('ascii') == '\n'.join(['epoch\thours\t' + header, *rows, ''])
  assert json_path.with_suffix('.tsv') == tsv_path and json_path.parent.name == 'train'
  report = check_tree(tmp_path)
  assert (report.entries, report.problems, report.warnings) == (1, [], [])
  assert dawnbench_admits(tmp_path)


def test_the_record_says_what_ran(tmp_path):
  events = tapes.record(**CIFAR_TAPE, seed=0, tricks={'tta': 'flip'}, price={'usd_per_hour': 97.92}).events
  stem, record, _ = entry(events)
  assert stem == 'A.-Tester_fixture_1-x-cpu-fixture-CPU_JAX-0.10.2'
  misc = record.pop('misc')
  assert record == {
      'version': 'v1.0', 'author': 'A. Tester', 'authorEmail': 'tester@example.org', 'framework': 'JAX 0.10.2',
      'model': 'fixture', 'hardware': '1 x cpu (fixture CPU)', 'timestamp': '2026-09-21', 'commitHash': '0' * 40,
      'costPerHour': 97.92}
  assert misc.pop('notice').isascii()
  assert misc.pop('price') == {'usd_per_hour': 97.92}
  assert misc.pop('versions') == {'jax': '0.10.2', 'python': '3.11.7'}
  assert misc == {
      'fixture': True, 'seed': 0, 'tricks': {'tta': 'flip'}, 'tape_version': 1, 'num_evaluated': 10000,
      'seconds_to_target': {'dawnbench': 37.0, 'dawnbench_without_compile': 34.0, 'mlperf': 37.0, 'warm': 32.0},
      'compile_cache': {'warm': False, 'hits': 0, 'misses': 3}}


def test_what_is_unknown_is_left_out():
  submitter = {'hardware': 'TPU v5e-8 (Zo\u00eb)', 'author': '\u674e', 'author_email': 'a@example.org'}
  stem, record, _ = entry(tapes.record(**CIFAR_TAPE, git_commit=None, fixture=False, submitter=submitter).events)
  assert not {'commitHash', 'costPerHour', 'usedBlacklist'} & set(record) and 'fixture' not in record['misc']
  assert record['hardware'] == submitter['hardware']
  assert stem == 'unknown_fixture_TPU-v5e-8-Zo_JAX-0.10.2'


def test_arguments_name_the_author_where_the_tape_does_not(tmp_path):
  events = tapes.record(**CIFAR_TAPE, submitter={'author': '', 'author_email': ''}).events
  path, _ = write(events, tmp_path, author='Zo\u00eb', author_email='z@example.org')
  record = json.loads(path.read_bytes())
  assert (record['author'], record['authorEmail']) == ('Zo\u00eb', 'z@example.org')
  assert path.read_bytes().isascii() and path.read_bytes().endswith(b'\n}\n')
  assert check_tree(tmp_path).problems == []


def test_all_fifty_thousand_images_are_declared():
  assert entry(tapes.record(**IMAGENET_TAPE).events)[1]['usedBlacklist'] is True


@pytest.mark.parametrize('hits,misses,warm', [(3, 0, True), (0, 3, False), (2, 1, False), (0, 0, False)])
def test_a_warm_compilation_cache_is_told_from_a_cold_one(hits, misses, warm):
  events = [{**e, 'cache_hits': hits, 'cache_misses': misses} if 'cache_misses' in e else e
            for e in tapes.record(**CIFAR_TAPE).events]
  later = {'event': 'compile', 'edge': 'stop', 'time': events[-1]['time'] + 1, 'cache_hits': 5, 'cache_misses': 5}
  assert entry([*events, later])[1]['misc']['compile_cache'] == {'warm': warm, 'hits': hits, 'misses': misses}


def test_a_long_host_name_still_makes_a_file_name(tmp_path):
  submitter = {'author': 'a' * 300, 'author_email': 'a@example.org', 'hardware': 'h' * 300}
  events = tapes.record(**CIFAR_TAPE, submitter=submitter).events
  assert write(events, tmp_path)[0].exists() and check_tree(tmp_path).problems == []


def test_runs_of_seconds_keep_their_digits():
  events = tapes.record([{'accuracy': 0.5}, {'accuracy': 0.94}], train_seconds=0.000125).events
  hours = [float(line.split('\t')[1]) for line in entry(events)[2].splitlines()[1:]]
  assert [h * 3600 for h in hours] == pytest.approx([7.000125, 7.00025], abs=1e-6)
  assert hours[0] < hours[1]


def test_a_restart_leaves_one_row_an_epoch_and_its_loss_in_the_hours():
  events = tapes.record([{'accuracy': 0.5}, {'accuracy': 0.95}]).events
  again = next(n for n, e in enumerate(events) if e['event'] == 'train')
  cut = max(n for n, e in enumerate(events) if e['event'] == 'eval') + 1
  shift = events[cut - 1]['time'] - events[again]['time']
  process = {**events[0], 'time': events[cut - 1]['time'], 'resumed': {'step': 0, 'line': again}}
  events = events[:cut] + [process] + [{**e, 'time': e['time'] + shift} for e in events[again:]]
  rows = [line.split('\t') for line in entry(events)[2].splitlines()[1:]]
  assert rows == [['1', repr(37 / 3600), '50.0'], ['2', repr(47 / 3600), '95.0']]


@pytest.mark.parametrize('epoch,text', [(24.0, '24'), (36.2, '36.2'), (0, '0'), (120, '120')])
def test_epochs_are_written_as_plainly_as_they_are(epoch, text):
  events = [{**e, 'epoch': epoch} if 'epoch' in e else e for e in tapes.record([{'accuracy': 0.94}]).events]
  assert entry(events)[2].splitlines()[1].startswith(f'{text}\t')


@pytest.mark.parametrize('accuracy,text', [
    (0.94, '94.0'), (0.9401, '94.01'), (0.9477, '94.77'), (0.94000000001, '94.0'), (1, '100.0'), (1.0, '100.0')])
def test_what_is_written_compares_as_the_tape_does(accuracy, text):
  assert entry(tapes.record([{'accuracy': accuracy}]).events)[2].splitlines()[1].endswith(f'\t{text}')


@pytest.mark.parametrize('accuracy,best', [
    (0.9399, '93.99'), (0.93999, '93.999'), (0.939999999999, '93.999999'), (0.0, '0.0')])
def test_a_tape_that_does_not_reach_the_board_has_no_entry(accuracy, best):
  with pytest.raises(Problem, match=f'best top1Accuracy is {re.escape(best)} over 1 evaluations, the threshold 94.0'):
    entry(tapes.record([{'accuracy': accuracy}]).events)


def test_the_boards_threshold_counts_and_not_the_tapes():
  target = {'metric': 'accuracy', 'num_examples': 10000}
  with pytest.raises(Problem, match='does not reach CIFAR10'):
    entry(tapes.record([{'accuracy': 0.91}], target={**target, 'value': 0.9}).events)
  _, record, _ = entry(tapes.record([{'accuracy': 0.95}, {'accuracy': 0.97}], target={**target, 'value': 0.96}).events)
  assert record['misc']['seconds_to_target']['dawnbench'] == 17.0


def test_a_squad_tape_at_their_readmes_stale_threshold_has_no_entry():
  with pytest.raises(Problem, match='0.749999 over 1 evaluations, the threshold 0.75'):
    entry(tapes.record(**{**SQUAD_TAPE, 'metrics': [{'f1': 0.7499999999}]}).events)


@pytest.mark.parametrize('changes,message', [
    ({'benchmark': 'digits'}, 'there is no board for digits: DAWNBench had'),
    ({'submitter': {'author': '', 'author_email': 'a@example.org'}}, '--author and --author_email'),
    ({'submitter': {'author': 'A. Tester', 'author_email': ''}}, '--author and --author_email'),
    ({'submitter': None}, '--author and --author_email'),
    ({'target': {'metric': 'accuracy', 'value': 0.94, 'num_examples': 9984}}, 'num_evaluated is 9984, .*10000'),
    ({'benchmark': 'imagenet', 'target': {'metric': 'accuracy', 'value': 0.94, 'num_examples': 48238}}, '50000'),
    ({'benchmark': 'squad'}, 'all 10570'),
    ({'metrics': [{'accuracy': 0.5}, {'accuracy': 94.2}]}, 'epoch 2: accuracy is 94.2'),
    ({'benchmark': 'imagenet', 'target': {'metric': 'accuracy', 'value': 0.94, 'num_examples': 50000}},
     'top5_accuracy is None'),
])
def test_what_has_no_entry_is_refused_in_one_line(changes, message, tmp_path):
  events = tapes.record(**{**CIFAR_TAPE, **changes}).events
  with pytest.raises(Problem, match=message) as problem:
    write(events, tmp_path)
  assert '\n' not in str(problem.value) and not list(tmp_path.iterdir())


def test_one_short_evaluation_among_full_ones_is_refused():
  events = tapes.record(**CIFAR_TAPE).events
  next(e for e in events if 'num_evaluated' in e)['num_evaluated'] = 9999
  with pytest.raises(Problem, match='epoch 1: num_evaluated is 9999'):
    entry(events)


def test_an_empty_tape_and_a_full_disk_are_problems(tmp_path):
  with pytest.raises(Problem, match='no board for None'):
    entry([])
  (tmp_path / 'CIFAR10').write_text('a file where the folder goes')
  with pytest.raises(Problem, match='cannot write the entry'):
    write(tapes.record(**CIFAR_TAPE).events, tmp_path)


def test_bytes_depend_on_the_tape_alone(tmp_path, monkeypatch):
  events = tapes.record(**IMAGENET_TAPE).events
  first = [path.read_bytes() for path in write(events, tmp_path / 'first')]
  monkeypatch.setenv('TZ', 'DAY+23')  # where it is still the day before
  time.tzset()
  try:
    second = [path.read_bytes() for path in write(json.loads(json.dumps(events)), tmp_path / 'second')]
  finally:
    monkeypatch.undo()
    time.tzset()
  assert first == second and b'"timestamp": "2026-09-21"' in first[0]


def test_the_module_needs_the_standard_library_alone():
  code = ('import sys, scoring.dawnbench; '
          'print([m for m in ("jax", "numpy", "pandas", "flax") if m in sys.modules])')
  root = Path(__file__).resolve().parents[2]
  done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'


def test_a_run_on_two_machines_is_refused():
  story = tapes.Story()
  story.span('import', 1.0).point('run_start', step=0).train(10.0)
  story.header['hardware'] = {**story.header['hardware'], 'device_kind': 'another'}
  story.restart().train(10.0).eval(1.0, 0.95)
  with pytest.raises(Problem, match='restarted on other hardware'):
    entry(story.events)
