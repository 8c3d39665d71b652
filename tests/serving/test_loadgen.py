"""Our systems under the real LoadGen: every answer is that of its sample, whatever the batches; nothing hangs."""
import subprocess
import sys

import pytest

from scoring import inference, loadgen_log, scenarios
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
  assert not found or name == 'server' and any('INVALID' in fault for fault in found), 'a slow machine may be late'


@pytest.mark.parametrize('name', scenarios.SCENARIOS)
def test_a_sample_that_cannot_be_read_ends_the_process_with_one_line(name, tmp_path):
  done = run(tmp_path, name, 'accuracy', 'fail')
  assert done.returncode == 1 and 'img_5.jpg: not a JPEG; replace it' in one_line(done.stderr), done.stderr


def test_dawnbench_answers_every_sample_once_with_reading_on_the_clock_and_off(tmp_path):
  done = run(tmp_path, 'single_stream', 'dawnbench')
  assert done.returncode == 0, done.stderr
  for folder in (tmp_path, tmp_path / inference.READING):
    found = loadgen_log.read(folder)
    assert (found['queries'], found['validity'], found['settings']['performance_issue_unique']) == (
        echo.NUM, 'VALID', True)
