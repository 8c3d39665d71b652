"""score --compare as a person types it, and all of scoring where jax is not installed."""
import subprocess
import sys

import pytest

from scoring import ledger
from tests.launchers.running import ROOT, launch, one_line, read_json
from tests.scoring.test_comparison import OTHER, write_set

WITHOUT_JAX = '''
import importlib.abc, pkgutil, runpy, sys
class Absent(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in ('jax', 'jaxlib', 'flax', 'optax', 'orbax'):
      raise ModuleNotFoundError(f'{name} is not installed, says this test', name=name)
sys.meta_path.insert(0, Absent())
'''


def without_jax(code: str, *arguments):
  return subprocess.run([sys.executable, '-W', 'error', '-c', WITHOUT_JAX + code, *map(str, arguments)], cwd=ROOT,
                        capture_output=True, text=True)


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  write_set(folder / 'a', [10.0, 11.0, 12.0])
  write_set(folder / 'b', [20.0, 22.0, 21.0], start=1_790_086_400.0)
  write_set(folder / 'other', [20.0, 22.0, 21.0], first_seed=1, start=1_790_200_000.0, hardware=OTHER,
            tricks={'extra_data': 'yes'})
  return folder


def test_two_sets_are_compared_as_the_command_is_written(sets, tmp_path):
  out = tmp_path / 'comparison.json'
  done = launch('score', '--compare', sets / 'a', sets / 'b', f'--output={out}')
  assert done.returncode == 0, done.stderr
  assert 'paired    both sides have the same seeds' in done.stdout
  assert 'dawnbench: A is faster by 35.7 % (95 % interval ' in done.stdout and str(out) in done.stdout
  made = read_json(out)
  assert made['pairing']['paired'] and 'not submitted to nor verified by MLCommons' in made['notice']
  again = launch('score', f'--compare={sets / "a"}', '--nopaired', sets / 'b')
  assert again.returncode == 0 and 'unpaired  --nopaired' in again.stdout and 'records' not in again.stdout


def test_what_differs_is_refused_unless_it_is_named(sets, tmp_path):
  out = tmp_path / 'comparison.json'
  command = ('--compare', sets / 'a', sets / 'other', f'--output={out}')
  done = launch('score', *command)
  assert done.returncode == 1 and not out.exists() and not done.stdout
  assert one_line(done.stderr).endswith('--across=hardware,tricks')
  done = launch('score', *command, '--across=hardware,tricks')
  assert done.returncode == 0 and 'ACROSS    hardware: A ' in done.stdout and out.exists()
  done = launch('score', *command, '--across=hardware,tricks', '--paired')
  assert done.returncode == 1 and 'seeds differ' in one_line(done.stderr)


@pytest.mark.parametrize('arguments, word', [
    (('--compare',), 'compare'), (('--compare', 'a'), 'with what'), (('--compare', 'a', 'b', 'c'), "'c' is not a flag"),
    (('a', 'b'), "'a' is not a flag"), (('--compare', 'a', 'b', '--workdir=c'), 'give one of'),
    (('--workdir=a', 'b'), "'b' is not a flag"), (('--workdir=a', '--across=hardware'), 'belong to --compare'),
    (('--workdir=a', '--nopaired'), 'belong to --compare'), (('--workdir=a', '--output=x'), 'belong to --compare'),
    (('--workdir=a', '--runs_needed=x'), 'runs_needed=x: Non-boolean argument to boolean flag (python'),
    (('--compare', 'a', 'b', '--across=hardwear'), 'choose from benchmark, target, hardware')])
def test_wrong_flags_are_one_line_and_status_2(arguments, word):
  done = launch('score', *arguments)
  assert done.returncode == 2 and word in one_line(done.stderr)


def test_what_is_not_there_or_cannot_be_written_is_one_line(sets):
  done = launch('score', '--compare', sets / 'a', sets / 'nothing')
  assert done.returncode == 1 and 'nothing' in one_line(done.stderr) and 'cannot read the tape' in done.stderr
  done = launch('score', '--compare', sets / 'a', sets / 'b', f'--output={sets / "a" / "ledger.jsonl" / "x.json"}')
  assert done.returncode == 1 and 'cannot write' in one_line(done.stderr) and not done.stdout


def test_all_of_scoring_imports_without_jax_and_without_loading_numpy_or_scipy():
  done = without_jax('import importlib, scoring\n'
                     'names = [m.name for m in pkgutil.walk_packages(scoring.__path__, "scoring.")]\n'
                     'for name in names: importlib.import_module(name)\n'
                     'print(len(names), sorted({"numpy", "scipy"} & sys.modules.keys()))')
  assert done.returncode == 0, done.stderr
  number, loaded = done.stdout.split(' ', 1)
  assert int(number) == len(list((ROOT / 'scoring').rglob('*.py'))) - 1, 'all but scoring itself'
  assert loaded == '[]\n'


def test_score_works_without_jax(sets, tmp_path):
  run = 'runpy.run_module("launchers.score", run_name="__main__", alter_sys=True)'
  write_set(tmp_path / 'many', [10.0 + n / 10 for n in range(25)], start=1_790_300_000.0)  # enough for the bootstrap
  for arguments, word in [((f'--workdir={tmp_path / "many" / "run_000"}',), 'REACHED'),
                          ((f'--workdir={tmp_path / "many"}',), '25 of 25 runs reached'),
                          (('--compare', sets / 'a', sets / 'b'), 'A is faster by 35.7 %'),
                          (('--help',), '--compare')]:
    done = without_jax(run, *arguments)
    assert done.returncode == 0 and word in done.stdout, done.stdout + done.stderr
  assert 'bootstrap_interval' in read_json(tmp_path / 'many' / 'summary.json')['seconds']['dawnbench']
  assert len(ledger.rows(tmp_path / 'many')) == 25
  assert without_jax('import jax').returncode == 1
