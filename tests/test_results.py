"""What is published re-derives from its tapes, and the README quotes it as it is."""
import json
from pathlib import Path

import pytest

from scoring import ledger, record, statistics
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


@pytest.mark.parametrize('folder', SETS, ids=lambda p: p.name)
def test_the_readme_quotes_the_summary_as_it_is(folder):
  table = ledger.table(json.loads((folder / 'summary.json').read_text()))
  assert table.strip() in (ROOT / 'README.md').read_text()
  assert folder.name in (ROOT / 'results' / 'README.md').read_text()


@pytest.mark.parametrize('folder', RUNS, ids=lambda p: p.name)
def test_a_published_run_is_whole_and_its_table_is_quoted_as_it_is(folder):
  events = tapes.read(folder)
  made = record.record(events)
  assert made['status'] == 'complete' and events[0]['git_dirty'] is False and not events[0].get('fixture')
  assert f'`{folder.name}`' in (ROOT / 'results' / 'README.md').read_text()
  assert record.table(made).strip() in (ROOT / 'results' / 'README.md').read_text()
