"""Our systems under the real LoadGen: every answer is that of its sample, whatever the batches; nothing hangs."""
import subprocess
import sys

import pytest

from scoring import loadgen_log, scenarios
from scoring import tape as tapes
from tests.launchers.running import ROOT, one_line
from tests.serving import echo

RULES = scenarios.rules('echo', 'Echo')


def run(*arguments):
  return subprocess.run([sys.executable, '-m', 'tests.serving.echo', *map(str, arguments)], cwd=ROOT, text=True,
                        capture_output=True, timeout=120)


@pytest.mark.parametrize('name', scenarios.SCENARIOS)
def test_each_sample_gets_its_own_answer(name, tmp_path):
  done = run(tmp_path, name, 'accuracy')
  assert done.returncode == 0, done.stderr
  measured = next(e for e in tapes.read(tmp_path) if e['event'] == 'measured')
  assert measured['metrics'] == {'accuracy': 1.0} and measured['num_evaluated'] == echo.NUM
  assert loadgen_log.faults(tmp_path, mode='accuracy', rules=RULES, scenario=RULES.scenario(name),
                            num_samples=echo.NUM) == []


@pytest.mark.parametrize('name', scenarios.SCENARIOS)
def test_timed_runs_are_valid(name, tmp_path):
  done = run(tmp_path, name, 'performance')
  assert done.returncode == 0, done.stderr
  found = loadgen_log.faults(tmp_path, mode='performance', rules=RULES, scenario=RULES.scenario(name),
                             num_samples=echo.NUM)
  found = [fault for fault in found if 'queries, wanted' not in fault]  # this one asks for fewer than the rules
  assert not found or name == 'server' and any('INVALID' in fault for fault in found), 'a slow machine may be late'


@pytest.mark.parametrize('name', scenarios.SCENARIOS)
def test_a_sample_that_cannot_be_read_ends_the_process_with_one_line(name, tmp_path):
  done = run(tmp_path, name, 'accuracy', 'fail')
  assert done.returncode == 1 and 'img_5.jpg: not a JPEG; replace it' in one_line(done.stderr), done.stderr


def test_dawnbench_answers_every_sample_once_with_reading_on_the_clock_and_off(tmp_path):
  done = run(tmp_path, 'single_stream', 'dawnbench')
  assert done.returncode == 0, done.stderr
  passes = [e for e in tapes.read(tmp_path) if e['event'] == 'pass']
  assert [(e['preprocessing'], e['queries'], e['validity']) for e in passes] == [
      (True, echo.NUM, 'VALID'), (False, echo.NUM, 'VALID')]
