"""The suite of benchmarks: what it keeps, and the table that it makes."""
import json

from benchmarks import suite
from benchmarks.report import report

LINE = {'benchmark': 'latency', 'ours': 0.002, 'peer': 0.001, 'peer_name': 'x', 'unit': 's/query', 'ratio': 0.5, 'n': 5,
        'spread': [0.1, 0.25], 'machine': 'M', 'date': '2026-11-25', 'command': 'python -m benchmarks.latency',
        'reference': 'airbench', 'dtype': 'float32', 'not_measured': {'y': 'is not | there'}}


def test_the_readme_shows_what_was_measured():
  text = (suite.ROOT / 'README.md').read_text()
  assert suite.with_table(text) == text, 'python -m benchmarks.suite --table'
  assert sorted(suite.RESULTS.glob('*.jsonl'))


def test_what_is_published_has_what_a_reader_must_know():
  for path in suite.RESULTS.glob('*.jsonl'):
    for line in suite.read(path):
      assert line['command'].startswith('python -m benchmarks.') and line['machine']
      assert line.get('not_measured') if 'ours' not in line else line['n'] >= 1 and line['spread'] and line['date']


def test_a_benchmark_that_fails_is_told_with_its_reason(monkeypatch):
  monkeypatch.setitem(suite.COMMANDS, 'no_such_benchmark', ((),))
  (line,) = suite.measured('no_such_benchmark', ())
  assert 'No module named benchmarks.no_such_benchmark' in line['not_measured']['all']
  assert f'| `no_such_benchmark` | not measured: all: {line["not_measured"]["all"]} |' in suite.table([line])


def test_the_table_has_ratio_runs_and_spread():
  text = suite.table([LINE, {**LINE, 'machine': 'N', 'peer': None, 'peer_name': None, 'ratio': None, 'spread': [0.1]}])
  assert '| `latency` airbench float32 | 2 ms/query | 1 ms/query, x | **0.50** | 5 | 10 %, 25 % |' in text
  assert '| `latency` airbench float32 | 2 ms/query | -, none: y: is not / there | - | 5 | 10 % |' in text
  assert text.index('M; 2026-11-25') < text.index('N; 2026-11-25')


def test_figures_keep_three_digits():
  assert [suite.figure(*given) for given in ((0.5, 's'), (2.5, 's/step'), (3e-6, 's'), (12.0, '%'), (None, 's'))] == [
      '500 ms', '2.5 s/step', '3 us', '12 %', '-']


def test_a_command_that_is_run_again_replaces_its_lines():
  other = {**LINE, 'machine': 'N'}
  again = {**LINE, 'ours': 1.0}
  assert suite.kept([LINE, other], [again]) == [other, again]


def test_a_line_says_when_where_and_how(capsys):
  report('x', ours=[1.0, 3.0], peer=[4.0, 4.0], peer_name='y', unit='s')
  made = json.loads(capsys.readouterr().out)
  assert made['ratio'] == 2.0 and made['n'] == 2 and made['spread'] == [1.0, 0.0]
  assert 'cores' in made['machine'] and made['date'][:2] == '20' and made['command'].startswith('python -m benchmarks.')
