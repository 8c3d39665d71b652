"""The suite of benchmarks: what it keeps, and the table that it makes."""
import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import suite
from benchmarks.report import command, report

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


def test_a_benchmark_that_hangs_is_ended_with_all_that_it_began_and_keeps_what_it_said(monkeypatch, tmp_path):
  code = (f'import subprocess, sys, time; print({json.dumps(LINE)!r}, flush=True); '
          "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
          f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); time.sleep(600)")
  real = suite.ended
  monkeypatch.setattr(suite, 'ended', lambda argv, seconds: real([sys.executable, '-c', code], seconds))
  begun = time.monotonic()
  said, why = suite.measured('latency', (), 3)
  assert time.monotonic() - begun < 60
  assert said == LINE and why['not_measured'] == {'the rest': 'had not ended after 0.05 minutes'}
  assert why['command'] == 'python -m benchmarks.latency' and why['machine']
  child = int((tmp_path / 'child').read_text())
  for _ in range(100):
    if state(child) in (None, 'Z'):  # gone, or gone and not yet asked after by whoever adopted it
      return
    time.sleep(0.1)
  pytest.fail('a process that the benchmark began is still there')


def state(process: int) -> str | None:
  """What Linux calls the state of a process; None: there is none."""
  try:
    return Path(f'/proc/{process}/stat').read_text().rpartition(') ')[2][0]
  except OSError:
    return None


def test_every_command_has_a_script_and_only_flags_of_the_suite():
  for name, commands in suite.COMMANDS.items():
    assert (suite.ROOT / 'benchmarks' / f'{name}.py').is_file()
    for arguments in commands:
      [argument.format(**dict.fromkeys(suite.PLACES, 'x')) for argument in arguments]


def test_folders_of_this_machine_stay_out_of_what_is_kept():
  typed = command('start_up', ['--flax_dir=/a/b', '--flax_python=/c', '--data_dir=~/x', '--peer_dir=', '--runs=2'])
  assert typed == 'python -m benchmarks.start_up --flax_dir=... --flax_python=... --data_dir=... --peer_dir= --runs=2'
  assert command('airbench', ['--more=--config.image_sizes=(8,),--checkpoint_dir=/a,--log_every_steps=5']) == (
      "python -m benchmarks.airbench '--more=--config.image_sizes=(8,),--checkpoint_dir=...,--log_every_steps=5'")


def test_the_table_has_ratio_runs_and_spread():
  text = suite.table([LINE, {**LINE, 'machine': 'N', 'peer': None, 'peer_name': None, 'ratio': None, 'spread': [0.1]}])
  assert '| `latency` airbench float32 | 2 ms/query | 1 ms/query, x | **0.50** | 5 | 10 %, 25 % |' in text
  assert '| `latency` airbench float32 | 2 ms/query | -, none: y: is not / there | - | 5 | 10 % |' in text
  assert '| - | 1 | - |' in suite.table([{**LINE, 'n': 1, 'ratio': None}]), 'one run spreads over nothing'
  assert text.index('M; 2026-11-25') < text.index('N; 2026-11-25')


def test_figures_keep_three_digits():
  given = ((0.5, 's'), (1382.4, 's'), (2.5, 's/step'), (3e-6, 's'), (12.0, '%'), (999.7, '%'), (0.9996, 's'),
           (None, 's'))
  assert [suite.figure(*one) for one in given] == [
      '500 ms', '1,382 s', '2.5 s/step', '3 us', '12 %', '1,000 %', '1 s', '-']


def test_a_command_that_is_run_again_replaces_its_lines():
  other = {**LINE, 'machine': 'N'}
  again = {**LINE, 'ours': 1.0}
  assert suite.kept([LINE, other], [again]) == [other, again]


def test_a_line_says_when_where_and_how(capsys):
  report('x', ours=[1.0, 3.0], peer=[4.0, 4.0], peer_name='y', unit='s')
  made = json.loads(capsys.readouterr().out)
  assert made['ratio'] == 2.0 and made['n'] == 2 and made['spread'] == [1.0, 0.0]
  assert 'cores' in made['machine'] and made['date'][:2] == '20' and made['command'].startswith('python -m benchmarks.')
