"""Devices: looked for while modules are imported; where there are none, one line says so."""
import os
import subprocess
import sys
import threading

import jax
import pytest

from launchers import devices
from tests.launchers.running import ROOT


def test_they_are_looked_for_while_this_thread_goes_on(monkeypatch):
  asked, go_on = threading.Event(), threading.Event()

  def slow():
    asked.set()
    go_on.wait(60)
    raise RuntimeError('no such accelerator')
  monkeypatch.setattr(jax, 'devices', slow)
  devices.look()
  assert asked.wait(60)  # it has begun, and we are here
  thread = next(one for one in threading.enumerate() if one.name == 'devices')
  go_on.set()
  thread.join(60)
  assert not thread.is_alive()  # it raised nothing: who asks gets the error


@pytest.mark.parametrize('error, expected', [
    (RuntimeError("Unable to initialize 'cuda': no driver\nmore"), "Unable to initialize 'cuda': no driver"),
    (AssertionError(), 'no plugin for it is installed')])
def test_what_is_wrong_is_told_in_a_line(error, expected, monkeypatch):
  def fails():
    raise error
  monkeypatch.setattr(jax, 'devices', fails)
  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  with pytest.raises(devices.Problem) as told:
    devices.found()
  assert str(told.value).startswith(f'no device to compute on: {expected}; JAX_PLATFORMS=cuda is in the environment')
  assert '\n' not in str(told.value)


def test_a_run_without_a_device_ends_with_that_line_and_leaves_nothing(tmp_path):
  done = subprocess.run([sys.executable, '-m', 'launchers.train', '--config=references/cifar/configs/digits.py',
                         f'--workdir={tmp_path / "run"}'], cwd=ROOT, capture_output=True, text=True,
                        env={**os.environ, 'JAX_PLATFORMS': 'nonesuch'})
  lines = [line for line in done.stderr.splitlines() if line.startswith('error:')]
  assert done.returncode == 1 and len(lines) == 1 and 'Traceback' not in done.stderr
  assert "Unable to initialize backend 'nonesuch'" in lines[0] and not (tmp_path / 'run').exists()
