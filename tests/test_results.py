"""What is published re-derives from its tapes, and pages quote it as it is."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scoring import ledger, published, record, statistics
from scoring import tape as tapes

ROOT = Path(__file__).resolve().parents[1]
SETS = sorted(p.parent for p in (ROOT / 'results').glob('*/ledger.jsonl'))
RUNS = sorted(p.parent for p in (ROOT / 'results').glob('*/tape.jsonl'))


def test_something_is_published():
  assert SETS


@pytest.mark.parametrize('folder', SETS, ids=lambda p: p.name)
def test_a_published_set_is_whole_and_re_derives(folder):
  rows = ledger.rows(folder)
  summary = json.loads((folder / 'summary.json').read_text())
  assert summary['runs'] == json.loads(json.dumps(rows))
  made = statistics.summarize(rows)
  assert {name: summary[name] for name in made} == json.loads(json.dumps(made))
  for row in rows:
    first = tapes.read(folder / row['run'])[0]
    assert first['git_dirty'] is False and not first.get('fixture')
    assert not any('/' == argument.split('=')[-1][:1] for argument in first['command']), 'a path of somebody\'s machine'


@pytest.mark.parametrize('folder', RUNS, ids=lambda p: p.name)
def test_a_published_run_is_whole(folder):
  events = tapes.read(folder)
  made = record.record(events)
  assert made['status'] == 'complete' and events[0]['git_dirty'] is False and not events[0].get('fixture')


def test_tables_are_what_the_tapes_say():
  """`make results` makes them anew."""
  assert published.stale(ROOT / 'results', [ROOT / 'results' / 'README.md', ROOT / 'README.md']) == []
  assert published.unmentioned(ROOT / 'results') == []
  assert '<!-- results: digits_2core_epyc -->' in (ROOT / 'README.md').read_text()
  assert '<!-- results: overview -->' in (ROOT / 'results' / 'README.md').read_text()


@pytest.fixture
def copied(tmp_path):
  """A copy of what is published, and of the page that quotes it."""
  shutil.copytree(ROOT / 'results', tmp_path / 'results')
  shutil.copyfile(ROOT / 'README.md', tmp_path / 'README.md')
  return tmp_path


def command(copied, *flags):
  return subprocess.run([sys.executable, '-m', 'launchers.results', f'--results_dir={copied / "results"}',
                         f'--page={copied / "README.md"}', *flags], cwd=ROOT, capture_output=True, text=True)


def changed(path, old, new):
  assert old in path.read_text()
  path.write_text(path.read_text().replace(old, new))


def test_what_is_stale_is_named_and_made_anew(copied):
  pages = [copied / 'README.md', copied / 'results' / 'README.md']
  before = [page.read_text() for page in pages]
  changed(pages[0], '20 of 20 runs', '19 of 20 runs')
  changed(pages[1], '| 0.5 | 0.5178 |', '| 0.5 | 0.6178 |')
  changed(copied / 'results' / 'digits_2core_epyc' / 'summary.json', '"reached": 20', '"reached": 19')
  done = command(copied, '--check')
  assert done.returncode == 1, done.stderr
  assert done.stdout.endswith(f'{len(SETS + RUNS)} folders, 3 stale\n'), done.stdout
  assert all(str(page) in done.stdout for page in pages) and 'summary.json' in done.stdout
  assert '19 of 20 runs' in pages[0].read_text()
  assert command(copied).returncode == 0
  assert [page.read_text() for page in pages] == before
  assert command(copied, '--check').returncode == 0


def test_a_tape_that_changes_makes_its_tables_stale(copied):
  changed(copied / 'results' / 'cifar10_cpu_2core_epyc' / 'tape.jsonl', '"accuracy": 0.9406', '"accuracy": 0.9416')
  assert command(copied, '--check').returncode == 1
  assert command(copied).returncode == 0
  assert 'REACHED, 0.9416' in (copied / 'results' / 'README.md').read_text()


def test_a_folder_without_words_of_its_own_is_named(copied):
  shutil.copytree(copied / 'results' / 'imagenette_2core_epyc', copied / 'results' / 'new')
  done = command(copied)
  assert done.returncode == 1 and 'has no <!-- results: new -->' in done.stderr


@pytest.mark.parametrize('check', [True, False])
def test_a_set_without_its_ledger_is_not_passed_over(copied, check):
  (copied / 'results' / 'digits_2core_epyc' / 'ledger.jsonl').unlink()
  done = command(copied, *['--check'] * check)
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'digits_2core_epyc: is a set of runs without its ledger' in done.stderr


def test_a_folder_that_is_not_there_is_told_in_one_line(copied):
  shutil.rmtree(copied / 'results')
  for words in ('is not there', 'is no folder'):
    done = command(copied, '--check')
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert f'--results_dir={copied / "results"}: {words}' in done.stderr
    (copied / 'results').write_text('')


@pytest.mark.parametrize('old, new, words', [
    ('<!-- results: overview -->', '<!-- results: nothing -->', 'names no folder'),
    ('<!-- results: squad_tiny_2core_epyc evaluations -->', '<!-- results: squad_tiny_2core_epyc plot -->', 'no kind'),
    ('<!-- end of results -->', '', 'has no <!-- end of results -->')])
def test_a_wrong_marker_is_told_in_one_line(copied, old, new, words):
  changed(copied / 'results' / 'README.md', old, new)
  done = command(copied)
  assert done.returncode == 1 and words in done.stderr and done.stderr.count('\n') == 1


def test_a_fixture_is_not_published(copied):
  """It passes a review with a warning, and is held to no commit."""
  path = copied / 'results' / 'squad_tiny_2core_epyc' / 'tape.jsonl'
  changed(path, '"tape_version": 1', '"fixture": true, "tape_version": 1')
  for flags in ([], ['--check']):
    done = command(copied, *flags)
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert 'squad_tiny_2core_epyc: is a fixture, made up: nothing was trained' in done.stderr
