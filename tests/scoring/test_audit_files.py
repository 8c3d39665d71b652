"""What lies beside tapes and is not theirs is found: in a set of runs, a run, a folder of these, at inference."""
import json
import shutil

import pytest

from launchers import recipe
from scoring import packages, record, review
from scoring import tape as tapes
from tests import made_inference, made_sets
from tests.scoring.tampering import copy, first_of, text, unlink

DIGITS = tapes.ROOT / 'results' / 'digits_2core_epyc'
RUN = tapes.ROOT / 'results' / 'squad_tiny_2core_epyc'


@pytest.fixture(scope='module')
def cifar10(tmp_path_factory):
  """A set of runs with all records beside their tapes, and one with a run of inference."""
  runs = made_sets.cifar10(tmp_path_factory.mktemp('sets') / 'cifar10')
  for path in sorted(runs.glob('run_*')):
    record.write(tapes.read(path), path)
  made_inference.dawnbench(runs / 'run_001', tapes.read(runs / 'run_001')[0])
  return runs


@pytest.fixture
def runs(cifar10, tmp_path):
  return shutil.copytree(cifar10, tmp_path / 'all' / 'cifar10')


def linked(path):

  def change(root):
    shutil.move(root / path, root.parent / 'away')
    (root / path).symlink_to(root.parent / 'away')

  return change


def added(path, content='{}'):

  def change(root):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)

  return change


ANSWERS = 'run_001/inference/single_stream/dawnbench'
CHANGES = [
    (added('best.json'), 'best.json', 'was not reviewed'),
    (added('run_001/best.json'), 'run_001/best.json', 'was not reviewed'),
    (added('summary.json.bak'), 'summary.json.bak', 'was not reviewed'),
    (added('run_01/tape.jsonl'), 'run_01/tape.jsonl', 'was not reviewed'),
    (copy('run_001/tape.jsonl', 'more/run_001/tape.jsonl'), 'more/run_001/tape.jsonl', 'was not reviewed'),
    (added('dawnbench/CIFAR10/train/a_b_c_d.json'), 'dawnbench/CIFAR10/train/a_b_c_d.json', 'was not reviewed'),
    (linked('run_001/tape.jsonl'), 'run_001/tape.jsonl', 'is a link'),
    (linked('run_001'), 'run_001', 'is a link'),
    (linked('ledger.jsonl'), 'ledger.jsonl', 'is a link'),
    (linked('run_001/inference'), 'run_001/inference', 'is a link'),
    (text('run_001/record.json', '"reached": true', '"reached": false'), 'run_001/record.json', 'from the tapes'),
    (unlink('run_001/dawnbench/*/train/*.tsv'), 'run_001/dawnbench/CIFAR10/train/', 'cannot be read'),
    (first_of('run_001/dawnbench/*/train/*.json', '31.92', '3.19'), 'run_001/dawnbench/CIFAR10/train/',
     'from the tapes'),
    (added('run_001/dawnbench/CIFAR10/train/a_b_c_d.tsv'), 'run_001/dawnbench/CIFAR10/train/a_b_c_d.tsv', 'no tape'),
    (text(f'{ANSWERS}/record.json', '"mean": ', '"mean": 0.'), f'{ANSWERS}/record.json', 'from the tapes'),
    (text(f'{ANSWERS}/mlperf_log_summary.txt', 'Result is : VALID', 'Result is : INVALID'), f'{ANSWERS}/record.json',
     'from the tapes'),
    (text(f'{ANSWERS}/tape.jsonl', '"usd_per_hour": 31.92', '"usd_per_hour": 3.192'), f'{ANSWERS}/tape.jsonl',
     'usd_per_hour is 3.192'),
]


@pytest.mark.parametrize('change, file, words', CHANGES, ids=lambda value: value if isinstance(value, str) else '')
def test_what_was_added_to_a_set_linked_or_changed_beside_its_tapes_is_named(runs, change, file, words):
  assert review.review(runs).problems == []
  change(runs)
  for root, prefix in ((runs, ''), (runs.parent, 'cifar10/')):
    lines = review.review(root).problems
    assert any(line.startswith(prefix + file) and words in line for line in lines), lines


def test_what_a_run_keeps_and_no_record_comes_from_may_lie_there(runs):
  for path in ('run_001/checkpoints/25/state/x', 'run_001/tensorboard/events', 'run_001/profile/x', 'page/index.html'):
    added(path)(runs)
  assert review.review(runs).problems == []


def test_what_was_added_to_a_single_run_is_named(tmp_path):
  shutil.copytree(RUN, tmp_path / 'mine')
  assert review.review(tmp_path).problems == []
  added('mine/best.json')(tmp_path)
  linked('mine/tape.jsonl')(tmp_path)
  for root, prefix in ((tmp_path, 'mine/'), (tmp_path / 'mine', '')):
    named = [line.split(': ')[0] for line in review.review(root).problems]
    assert named == [f'{prefix}tape.jsonl', f'{prefix}best.json']


@pytest.mark.parametrize('path', ['dawnbench/CIFAR10/train/a_b_c_d.json', 'CIFAR10/train/a_b_c_d.json', 'record.json',
                                  'other/summary.json', 'other/deeper/record.json', 'mlperf/x.txt'])
def test_a_record_beside_runs_that_has_no_tape_is_named(tmp_path, path):
  shutil.copytree(RUN, tmp_path / 'mine')
  added(path)(tmp_path)
  added('README.md')(tmp_path)
  assert [line.split(':')[0] for line in review.review(tmp_path).problems] == [path.split('/')[0]]


def test_a_folder_that_is_a_link_is_named_and_not_followed(tmp_path):
  shutil.copytree(RUN, tmp_path / 'one')
  shutil.copytree(RUN, tmp_path / 'away' / 'two')
  (tmp_path / 'loop').symlink_to(tmp_path)
  report = review.review(tmp_path)
  assert report.entries == 2 and 'loop: is a link, and was not followed; put the folder itself there' in report.problems


@pytest.mark.parametrize('of, gone', [('digits', []), ('cifar10', []), ('cifar10', ['README.md']),
                                      ('cifar10', ['dawnbench'])])
def test_a_submission_is_known_as_one_without_the_files_that_say_so(tmp_path, cifar10, of, gone):
  root = tmp_path / 'package'
  packages.write({'digits': DIGITS, 'cifar10': cifar10}[of], root)
  for name in ('manifest.json', 'submission.json', *gone):
    shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
  for folder, prefix in ((root, ''), (tmp_path, 'package/')):
    lines = review.review(folder).problems
    for name in ('manifest.json', 'submission.json'):
      assert f'{prefix}{name}: is missing' in lines


def test_a_record_of_inference_in_a_submission_is_derived_again(tmp_path, cifar10):
  packages.write(cifar10, tmp_path / 'package')
  path = tmp_path / 'package' / 'runs' / ANSWERS / 'record.json'
  assert path.exists() and review.review(tmp_path / 'package').problems == []
  path.write_text(path.read_text().replace('"mean": ', '"mean": 0.'))
  files = {p.relative_to(tmp_path / 'package').as_posix(): p.read_bytes() for p in (tmp_path / 'package').rglob('*')
           if p.is_file() and p.name != 'manifest.json'}
  (tmp_path / 'package' / 'manifest.json').write_text(packages.manifest(files))
  assert any(line.startswith(f'runs/{ANSWERS}/record.json') for line in review.review(tmp_path / 'package').problems)


def test_other_parameters_than_those_that_the_run_ended_with_are_named(runs):
  assert review.review(runs).problems == []
  path = runs / ANSWERS / 'tape.jsonl'
  told = [json.loads(line) for line in path.read_text().splitlines()]
  told[0]['checkpoint']['step'] = next(e for e in tapes.read(runs / 'run_001') if e['event'] == 'result')['step']
  path.write_text(''.join(json.dumps(e) + '\n' for e in told))
  lines = review.review(runs).problems
  assert any(line.startswith(f'{ANSWERS}/tape.jsonl: served parameters 0000000000000000...') for line in lines)


def test_a_set_that_was_extended_is_called_so(runs):
  assert not [line for line in review.review(runs).warnings if 'extended' in line]
  for path in sorted(runs.glob('run_00[0-2]/tape.jsonl')):
    path.write_text(path.read_text().replace('"--runs=5"', '"--runs=3"', 1))
  assert 'ledger.jsonl: was extended by a later command, from 3 runs to 5' in review.review(runs).warnings
  path.write_text(path.read_text().replace('"--runs=3"', '"--runs=0x3"', 1))
  assert [line for line in review.review(runs).problems if 'cannot be checked' in line]


def test_time_between_two_runs_of_a_set_is_told(runs):
  assert not [line for line in review.review(runs).warnings if ' s pass ' in line]
  path = runs / 'ledger.jsonl'
  entries = [json.loads(line) for line in path.read_text().splitlines()]
  path.write_text(''.join(json.dumps({**e, 'time': e['time'] + 7.0 * (n > 3)}) + '\n' for n, e in enumerate(entries)))
  told = [line for line in review.review(runs).warnings if ' s pass ' in line]
  assert len(told) == 1
  assert told[0].startswith('ledger.jsonl: 7 s pass from the end of run_001 to the beginning of run_002')


def test_the_task_of_a_run_of_inference_is_made_again_without_its_schedule(runs):
  report = review.Report()
  recipe.add(report, runs)
  assert report.problems == []
  path = runs / ANSWERS / 'tape.jsonl'
  path.write_text(path.read_text().replace('"batch_size": ', '"batch_size": 1', 1))
  recipe.add(report, runs)
  assert [line.split(': ')[0] for line in report.problems] == [f'{ANSWERS}/tape.jsonl']
