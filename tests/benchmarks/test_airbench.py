"""The benchmark against airbench94_muon: a checkout that is missing is one line; its own code trains, unmodified.

DAYBREAK_AIRBENCH_DIR names a checkout of github.com/KellerJordan/cifar10-airbench (make test-peers).
"""
import dataclasses
import json
import os
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from benchmarks import airbench, airbench_ours, airbench_peer
from input_pipelines import cifar10
from references.cifar.task import Config as DigitsConfig
from scoring import tape as tapes
from scoring.problem import Problem
from training import programs


def test_a_checkout_that_is_not_there_is_one_line(tmp_path):
  for folder in ('', str(tmp_path)):
    with pytest.raises(Problem, match='no airbench94_muon.py there; git clone https://.*, git checkout f1c599c'):
      airbench_peer.check(folder)
    with pytest.raises(Problem, match='no legacy/airbench94_compiled.py there'):
      airbench_peer.check(folder, 'airbench94')


def checkout() -> str:
  folder = os.environ.get('DAYBREAK_AIRBENCH_DIR')
  if not folder:
    pytest.skip('needs a checkout of cifar10-airbench: set DAYBREAK_AIRBENCH_DIR')
  return os.path.abspath(folder)


@pytest.mark.peers
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', airbench_peer.FILES)
def test_the_authors_code_trains_on_this_machine(name, monkeypatch):
  torch = pytest.importorskip('torch')
  random = np.random.default_rng(0)
  label = random.integers(0, 10, 4000).astype(np.int32)
  image = random.integers(0, 256, (4000, 32, 32, 3), np.uint8)
  monkeypatch.setattr(cifar10, 'load', lambda data_dir: {
      'train': {'image': image, 'label': label}, 'eval': {'image': image[:2000], 'label': label[:2000]}})
  halves = torch.Tensor.half, torch.load, torch.nn.Module.cuda
  (run,) = airbench_peer.train(checkout(), '', 1, 'float32', name)
  assert 0 <= run['accuracy'] <= 1 and run['seconds'] > 0 and run['torch'] == torch.__version__
  assert (torch.Tensor.half, torch.load, torch.nn.Module.cuda) == halves, 'nothing of torch stays replaced'


@pytest.mark.peers
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_airbench94_is_compiled_whole(dtype):
  torch = pytest.importorskip('torch')
  peer = airbench_peer.load(checkout(), 'airbench94')
  torch._dynamo.reset()
  torch._dynamo.utils.counters.clear()
  with airbench_peer.device(torch) as where:
    for model in airbench_peer.pair(peer, torch, where, dtype):
      logits = model(torch.randn(8, 3, 32, 32))
  assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 2 and logits.dtype == getattr(torch, dtype)


def test_a_single_run_is_read_where_it_lies(tmp_path, monkeypatch):
  tape = Path(__file__).parents[2] / 'results' / 'cifar10_cpu_2core_xeon' / 'tape.jsonl'
  monkeypatch.setattr(airbench.subprocess, 'run', lambda *args, **kwargs: types.SimpleNamespace(
      returncode=3, copied=shutil.copy(tape, tmp_path)))
  given = types.SimpleNamespace(data_dir='', runs=1, more=[], one_process=False)
  monkeypatch.setattr(airbench, 'FLAGS', given)
  (run,) = airbench.ours('x.py', tmp_path)[1]
  assert (run['accuracy'], round(run['seconds']), run['dtype']) == (0.9408, 1382, 'float32')


def test_many_runs_of_one_process_are_compiled_once_and_differ_by_their_seeds_alone(tmp_path, monkeypatch):
  task, compiled = DigitsConfig(num_epochs=1, widths=(4, 4)), []
  compile_all = programs.compile_all
  monkeypatch.setattr(programs, 'compile_all',
                      lambda *args, **kwargs: compiled.append(1) or compile_all(*args, **kwargs))
  flags.FLAGS(['x'], known_only=True)
  runs = list(airbench_ours.train(task, '', tmp_path / 'runs', 2))
  assert compiled == [1] and [run['run'] for run in runs] == [0, 1]
  first, second = (tapes.read(tmp_path / 'runs' / name) for name in ('run_000', 'run_001'))
  assert (first[0]['seed'], second[0]['seed']) == (0, 1)
  last = lambda events: events[-2]['parameters_sha256']
  assert last(first) != last(second)
  (alone,) = airbench_ours.train(dataclasses.replace(task, seed=1), '', tmp_path / 'alone', 1)
  assert last(tapes.read(tmp_path / 'alone' / 'run_000')) == last(second), 'as in a process of its own'
  assert {**alone, 'run': 1, 'seconds': 0} == {**runs[1], 'seconds': 0} and alone['seconds'] > 0
  with pytest.raises(Problem, match='holds run_000 already; name another'):
    next(airbench_ours.train(task, '', tmp_path / 'runs', 1))


@pytest.fixture
def asked(tmp_path, monkeypatch):
  """benchmarks.airbench of two configs with made runs, and what it printed."""
  def ask(config='references/cifar/configs/gpu.py,references/cifar/configs/fastest.py', workdir='', peer=0):
    def lines(command):
      if 'benchmarks.airbench_peer' in command and peer:
        raise Problem(f'ended with status {peer}')
      return [{'run': n, 'accuracy': 0.94 - n / 1000, 'seconds': 2.0, 'device': 'cpu', 'dtype': 'x'} for n in (0, 1)]
    given = types.SimpleNamespace(config=config.split(',') if config else [], data_dir='', runs=2, more=[], dtype='x',
                                  one_process=True, workdir=workdir, peer_dir='', peer='airbench94_muon')
    for name, made in {'FLAGS': given, 'lines': lines}.items():
      monkeypatch.setattr(airbench, name, made)
    for where, name in ((airbench.airbench_peer, 'check'), (airbench.cifar10, 'check_present')):
      monkeypatch.setattr(where, name, lambda *_: None)
    airbench.main()
  return ask


def test_each_config_has_a_line_beside_the_same_runs_of_the_peer(asked, capsys):
  asked()
  made = list(map(json.loads, capsys.readouterr().out.splitlines()))
  assert [(line['what'], line['ratio'], line['n'], line['sides']['ours']['reached']) for line in made] == [
      ('gpu', 1.0, 2, 1), ('fastest', 1.0, 2, 1)]
  assert 'airbench_ours --config=references/cifar/configs/fastest.py' in made[1]['sides']['ours']['command']


def test_a_peer_that_fails_leaves_the_lines_of_ours_and_an_error(asked, capsys):
  with pytest.raises(Problem, match='ended with status 9'):
    asked(peer=9)
  made = list(map(json.loads, capsys.readouterr().out.splitlines()))
  assert [(line['what'], line['ours'], line['ratio'], line['not_measured']) for line in made] == [
      (name, 2.0, None, {'airbench94_muon.py': 'ended with status 9'}) for name in ('gpu', 'fastest')]


GPU = 'references/cifar/configs/gpu.py'


@pytest.mark.parametrize('given, words', [
    ({'config': 'references/cifar/configs/digits.py'}, 'digits.py: not a config of CIFAR'),
    ({'config': f'{GPU},{GPU}'}, 'a second one of that name'), ({'config': ''}, 'names none'),
    ({'config': f'{GPU},typo.py'}, 'typo.py'), ({'workdir': '{}'}, 'holds gpu already')])
def test_what_would_stop_it_later_is_told_before_anything_is_trained(asked, given, words, tmp_path, capsys):
  (tmp_path / 'gpu').mkdir()
  with pytest.raises(Problem, match=words):
    asked(**{name: value.format(tmp_path) for name, value in given.items()})
  assert not capsys.readouterr().out


def test_a_launcher_that_fails_is_an_error_and_old_tapes_are_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(airbench.subprocess, 'run', lambda *args, **kwargs: types.SimpleNamespace(returncode=1))
  monkeypatch.setattr(airbench, 'FLAGS', types.SimpleNamespace(data_dir='', runs=1, more=[], one_process=False))
  with pytest.raises(Problem, match='ended with status 1; see what it printed: python -m launchers.train'):
    airbench.ours('x.py', tmp_path)
