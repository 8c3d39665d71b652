"""Devices: where there are none, a run ends with one line that says so."""
import glob
import os
import subprocess
import sys

import jax
import pytest

from launchers import devices
from tests.launchers.running import ROOT

NO_NVIDIA = pytest.mark.skipif(bool(glob.glob('/dev/nvidia[0-9]*')), reason='here is a GPU')


@pytest.mark.parametrize('error, expected', [
    (RuntimeError("Unable to initialize 'cuda': no driver\nmore"), "Unable to initialize 'cuda': no driver"),
    (AssertionError(), 'none of cuda is visible')])
def test_what_is_wrong_is_told_in_a_line(error, expected, monkeypatch):
  def fails():
    raise error
  monkeypatch.setattr(jax, 'devices', fails)
  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  with pytest.raises(devices.Problem) as told:
    devices.found()
  assert str(told.value).startswith(f'no device to compute on: {expected}; JAX_PLATFORMS=cuda is in the environment')
  assert '\n' not in str(told.value)


@pytest.mark.parametrize('platforms, expected', [
    pytest.param('cuda', 'cuda', marks=NO_NVIDIA), ('nonesuch', "Unable to initialize backend 'nonesuch'"),
    ('cpu,nonesuch', "Unable to initialize backend 'nonesuch'")])
def test_a_run_without_a_device_that_is_asked_for_ends_with_that_line_and_leaves_nothing(platforms, expected, tmp_path):
  done = run(tmp_path, JAX_PLATFORMS=platforms)
  lines = [line for line in done.stderr.splitlines() if line.startswith('error:')]
  assert done.returncode == 1 and len(lines) == 1 and 'Traceback' not in done.stderr
  assert expected in lines[0] and not (tmp_path / 'run').exists()


PLUGIN = '''
from jax._src import xla_bridge
def initialize():
  def fails():
    raise RuntimeError('this GPU fell off its bus')
  xla_bridge.register_backend_factory('failing', fails, priority=500, fail_quietly=False)
'''


def test_a_run_whose_accelerator_fails_does_not_go_on_on_the_cpu(tmp_path):
  (tmp_path / 'plugins' / 'jax_plugins' / 'failing').mkdir(parents=True)
  (tmp_path / 'plugins' / 'jax_plugins' / 'failing' / '__init__.py').write_text(PLUGIN)
  done = run(tmp_path, JAX_PLATFORMS='', PYTHONPATH=str(tmp_path / 'plugins'))
  assert done.returncode == 1 and 'fell off its bus' in done.stderr and not (tmp_path / 'run').exists(), done.stderr


def run(folder, **environment):
  return subprocess.run([sys.executable, '-m', 'launchers.train', '--config=references/cifar/configs/digits.py',
                         f'--workdir={folder / "run"}'], cwd=ROOT, capture_output=True, text=True,
                        env={**os.environ, **environment})
