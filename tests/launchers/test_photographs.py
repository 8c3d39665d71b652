"""The ImageNet reference end to end: streamed images, LARS, groups of rows, the log and its checker."""
import subprocess
import sys

import pytest

from scoring import tape as tapes
from tests.launchers.running import ROOT, kill, one_line, read_json, start, train, wait_for

SMOKE = 'references/resnet_imagenet/configs/smoke.py'
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('smoke')
  done = train(workdir, config=SMOKE)
  assert done.returncode == 0, done.stderr
  return workdir


def test_made_up_images_are_learned_to_the_target(run):
  made = read_json(run / 'record.json')
  assert made['reached'] and made['benchmark'] == 'synthetic' and made['num_evaluated'] == 200
  assert made['metric'] >= 0.9 and made['hyperparameters']['opt_name'] == 'lars'


@pytest.mark.parametrize('rules, verdict', [('imagenette.yaml', 'SUCCESS'), ('cifar.yaml', 'SUCCESS')])
def test_the_log_passes_the_real_checker(run, tmp_path, rules, verdict):
  done = subprocess.run([sys.executable, '-m', 'mlperf_logging.compliance_checker', '--werror', '--ruleset', '4.0.0',
                         '--config', ROOT / 'scoring' / 'rules' / rules, '--log_output', tmp_path / 'log',
                         run / 'result_0.txt'], capture_output=True, text=True, cwd=tmp_path)
  assert verdict in done.stdout + done.stderr, done.stdout + done.stderr


def test_the_checker_refuses_a_log_of_another_data_set(run, tmp_path):
  log = tmp_path / 'result_0.txt'
  log.write_text((run / 'result_0.txt').read_text().replace('"synthetic"', '"cifar10"'))
  done = subprocess.run([sys.executable, '-m', 'mlperf_logging.compliance_checker', '--ruleset', '4.0.0',
                         '--config', ROOT / 'scoring' / 'rules' / 'imagenette.yaml', '--log_output', tmp_path / 'log',
                         log], capture_output=True, text=True, cwd=tmp_path)
  assert 'FAILED' in done.stdout + done.stderr and 'SUCCESS' not in done.stdout + done.stderr


def test_killed_and_resumed_it_ends_bitwise_equal(run, tmp_path):
  process = start('train', f'--config={SMOKE}', f'--workdir={tmp_path}', '--checkpoint_every_steps=5')
  wait_for(tmp_path / 'tape.jsonl', '"event": "checkpoint"', process)
  kill(process)
  done = train(tmp_path, config=SMOKE)
  assert done.returncode == 0, done.stderr
  assert read_json(tmp_path / 'record.json')['parameters_sha256'] == read_json(run / 'record.json')['parameters_sha256']
  assert any(e['event'] == 'process' and e['resumed'] for e in tapes.read(tmp_path))


@pytest.mark.parametrize('arguments, words', [
    (('--config.dataset=imagenet2012',), 'no imagenet2012 there'),
    (('--config.dataset=nothing',), 'no nothing there; get it with: python -m launchers.prepare'),
    (('--config.batch_norm_group_size=7',), 'must divide')])
def test_wrong_data_or_flags_are_one_line(tmp_path, arguments, words):
  done = train(tmp_path / 'run', f'--data_dir={tmp_path / "data"}', *arguments, config=SMOKE)
  assert done.returncode == 1 and words in one_line(done.stderr)
