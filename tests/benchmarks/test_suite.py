"""The suite of benchmarks: what it keeps, and the table that it makes."""
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import suite
from benchmarks.report import command, host, report
from tests.launchers import running

LINE = {'benchmark': 'latency', 'ours': 0.002, 'peer': 0.001, 'peer_name': 'x', 'unit': 's/query', 'ratio': 0.5, 'n': 5,
        'spread': [0.1, 0.25], 'machine': 'M', 'date': '2026-11-25', 'command': 'python -m benchmarks.latency',
        'reference': 'airbench', 'dtype': 'float32', 'not_measured': {'y': 'is not | there'}}


def test_the_pages_show_what_was_measured(tmp_path):
  (tmp_path / 'benchmarks' / 'results').mkdir(parents=True)
  pages = 'README.md', 'benchmarks/results/README.md'
  for page in pages:
    before, rest = (suite.ROOT / page).read_text().split(suite.BEGIN)
    (tmp_path / page).write_text(before + suite.BEGIN + 'old\n' + suite.END + rest.split(suite.END)[1])
  suite.write_tables(tmp_path)
  for page in pages:
    assert (tmp_path / page).read_text() == (suite.ROOT / page).read_text(), 'python -m benchmarks.suite --table'
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
  assert f'| `no_such_benchmark` | not measured: all: {line["not_measured"]["all"]} |' in suite.tables([line])


HANGS = '''import pathlib, subprocess, sys, time
print({line!r}, flush=True)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
pathlib.Path({child!r}).write_text(str(child.pid))
time.sleep(600)
'''


def test_a_benchmark_that_hangs_is_ended_with_all_that_it_began_and_keeps_what_it_said(monkeypatch, tmp_path):
  code = HANGS.format(line=json.dumps(LINE), child=str(tmp_path / 'child'))
  real = suite.ended
  monkeypatch.setattr(suite, 'ended', lambda argv, seconds: real([sys.executable, '-c', code], seconds))
  begun = time.monotonic()
  said, why = suite.measured('latency', (), 3)
  assert time.monotonic() - begun < 60
  assert said == LINE and why['not_measured'] == {'the rest': 'had not ended after 0.05 minutes'}
  assert why['command'] == 'python -m benchmarks.latency' and why['machine']
  assert gone(tmp_path / 'child'), 'a process that the benchmark began is still there'


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_suite_that_is_ended_ends_what_it_began(number, status, tmp_path):
  hangs = HANGS.format(line='', child=str(tmp_path / 'child'))
  code = ('import sys; from benchmarks import suite; from launchers import command; real = suite.ended; '
          f'suite.ended = lambda argv, seconds: real([sys.executable, "-c", {hangs!r}], seconds); '
          'suite.define_flags(); command.script(suite.main, "")')
  process = subprocess.Popen([sys.executable, '-c', code, '--only=latency', f'--output={tmp_path / "lines"}'],
                             cwd=running.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  try:
    for _ in range(600):
      if (tmp_path / 'child').exists() and (tmp_path / 'child').read_text():
        break
      time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(60) == status
    assert gone(tmp_path / 'child')
  finally:
    process.kill()


def gone(file: Path) -> bool:
  """Whether the process whose number a file holds ends within ten seconds."""
  for _ in range(100):
    if state(int(file.read_text())) in (None, 'Z'):  # gone, or gone and not yet asked after by whoever adopted it
      return True
    time.sleep(0.1)
  return False


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
  assert command('pipeline', ['--images=20000']).endswith(' --images=20000')  # a number of them, no folder


def test_the_table_has_ratio_runs_and_spread():
  text = suite.tables([LINE, {**LINE, 'machine': 'N', 'peer': None, 'peer_name': None, 'ratio': None, 'spread': [0.1]}])
  assert '| `latency` airbench float32 | 2 ms/query | 1 ms/query, x (no y) | **0.50** | 5 | 10 %, 25 % |' in text
  assert '| `latency` airbench float32 | 2 ms/query | -, none: y: is not / there | - | 5 | 10 % |' in text
  assert '| - | 1 | - |' in suite.tables([{**LINE, 'n': 1, 'ratio': None}]), 'one run spreads over nothing'
  numerics = {**LINE, 'unit': '% wrong', 'difference': {'mean': -0.332, 'interval': [-2.04, 1.377]},
              'sides': {'ours': {'mean': 56.64}, 'peer': {'mean': 56.97}}}
  assert '| 56.6 % wrong | 57 % wrong, x (no y) | **-0.3** (-2.0 to +1.4) | 5 |' in suite.tables([numerics])
  assert text.index('M; 2026-11-25') < text.index('N; 2026-11-25')


def test_the_table_of_training_has_its_machines_in_turn_and_nothing_else():
  step = {**LINE, 'benchmark': 'squad', 'versions': {'jax': '1', 'torch': '2'}}
  newer = {**step, 'benchmark': 'airbench', 'date': '2026-11-27', 'versions': {'jax': '3', 'flax': '4'}}
  failed = {'benchmark': 'squad', 'machine': 'M', 'command': 'python -m benchmarks.squad', 'not_measured': {'all': 'x'}}
  head, _, *rows = suite.table_of_training([LINE, step, newer, failed, {**step, 'machine': 'N'}]).splitlines()
  assert head.startswith('| benchmark |') and [row.split(' |')[0] for row in rows] == [
      '| **M; 2026-11-25 to 2026-11-27; jax 1 and jax 3, torch 2**', '| `airbench` airbench float32',
      '| `squad` airbench float32', '| **N; 2026-11-25; jax 1, torch 2**', '| `squad` airbench float32']


def test_figures_keep_three_digits():
  given = ((0.5, 's'), (1382.4, 's'), (2.5, 's/step'), (3e-6, 's'), (12.0, '%'), (999.7, '%'), (0.9996, 's'),
           (None, 's'))
  assert [suite.figure(*one) for one in given] == [
      '500 ms', '1,382 s', '2.5 s/step', '3 us', '12 %', '1,000 %', '1 s', '-']


def test_what_is_measured_again_replaces_lines_of_the_command_and_of_the_question():
  other, failed = {**LINE, 'machine': 'N'}, {'benchmark': 'latency', 'machine': 'M', 'command': LINE['command']}
  again = {**LINE, 'ours': 1.0}
  assert suite.kept([LINE, other, failed], [again]) == [other, again]
  assert suite.kept([LINE, other], [failed]) == [other, failed]
  told = {**LINE, 'command': f'{LINE["command"]} --images=...'}
  assert suite.kept([failed, other], [told]) == [other, told], 'what lacked a folder has it now'
  assert suite.kept([told, other], [failed]) == [told, other, failed], 'what lacks a folder says nothing of what had it'
  alone, mistyped = {**LINE, 'peer_name': None}, {**failed, 'command': told['command']}
  assert suite.kept([alone], [mistyped]) == [alone, mistyped], 'nor what had another of what had none'
  narrower = {**again, 'command': 'python -m benchmarks.latency --references=airbench'}
  assert suite.kept([LINE, other], [narrower]) == [other, narrower]
  assert suite.kept([LINE], [{**narrower, 'dtype': 'bfloat16'}])[0] == LINE, 'another question'
  assert suite.kept([LINE], [{**narrower, 'peer_name': None}])[0] == LINE, 'a line without a peer answers less'
  both = [{**failed, 'command': f'python -m benchmarks.squad --dtype={dtype}', 'benchmark': 'squad',
           'not_measured': {'all': 'x'}} for dtype in ('float32', 'bfloat16')]
  assert suite.kept(both[:1], both[1:]) == both
  assert '| `squad` --dtype=float32 | not measured' in suite.tables(both)


def test_what_was_not_run_is_named():
  assert 'Not run on this machine: `tape_overhead`, ' in suite.tables([LINE])
  absent = suite.tables([LINE]).partition('Not run')[2]
  assert '`squad`' in absent and '`latency`' not in absent
  default = {**LINE, 'benchmark': 'squad', 'command': 'python -m benchmarks.squad', 'dtype': 'bfloat16'}
  absent = suite.tables([default]).partition('Not run')[2]
  assert '`squad` float32' in absent and '`squad` bfloat16' not in absent, 'ran, with the dtype that it takes by itself'
  failed = {'benchmark': 'squad', 'machine': 'M', 'command': 'python -m benchmarks.squad --dtype=float32',
            'not_measured': {'all': 'x'}}
  told = suite.tables([LINE, failed]).partition('Not run')[2]
  assert '`squad` bfloat16' in told and '`squad` float32' not in told, 'that is in the table with its reason'


def test_lines_go_to_the_file_that_is_named_and_a_failure_is_an_error(tmp_path, monkeypatch):
  readme = (suite.ROOT / 'README.md').read_text()
  code = ('from benchmarks import suite; from launchers import command; '
          'suite.COMMANDS["none"] = (("--images={images}",),); suite.define_flags(); command.script(suite.main, "")')
  done = subprocess.run([sys.executable, '-c', code, '--only=none', f'--output={tmp_path / "lines"}'], cwd=suite.ROOT,
                        capture_output=True, text=True)
  assert done.returncode == 1 and 'No module named benchmarks.none' in done.stdout
  (line,) = suite.read(tmp_path / 'lines')
  assert line['command'] == 'python -m benchmarks.none', 'without the folder that it was not told'
  assert (suite.ROOT / 'README.md').read_text() == readme


def test_a_line_says_when_where_and_how(capsys):
  report('x', ours=[1.0, 3.0], peer=[4.0, 4.0], peer_name='y', unit='s')
  made = json.loads(capsys.readouterr().out)
  assert made['ratio'] == 2.0 and made['n'] == 2 and made['spread'] == [1.0, 0.0]
  assert made['versions']['jax'] and (made['commit'] or 'no git').removesuffix('+changes').isascii()
  assert 'cores' in made['machine'] and made['date'][:2] == '20' and made['command'].startswith('python -m benchmarks.')


@pytest.mark.parametrize('answers, platforms, expected', [
    ("printf 'NVIDIA L4\\nNVIDIA L4\\n'", '', ', 2 x NVIDIA L4'), ("printf 'NVIDIA L4\\n'", 'cpu', ''),
    ("echo 'no devices were found'; exit 6", '', '')])
def test_lines_of_a_machine_with_gpus_are_not_taken_for_those_of_its_processor(
    answers, platforms, expected, tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))
  monkeypatch.setenv('JAX_PLATFORMS', platforms)
  alone = host()
  (tmp_path / 'nvidia-smi').write_text(f'#!/bin/sh\n{answers}\n')
  (tmp_path / 'nvidia-smi').chmod(0o755)
  assert host() == alone + expected
