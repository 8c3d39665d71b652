"""What people are told while a run trains."""
import io
import os
import subprocess
import sys

import pytest

from launchers import machine, sinks
from tests import tapes
from tests.launchers import running


@pytest.mark.parametrize('dtype, device, instructions, told', [
    ('bfloat16', 'cpu', [], True), ('bfloat16', 'cpu', ['amx_bf16'], False), ('bfloat16', 'cpu', None, False),
    ('float32', 'cpu', [], False), ('bfloat16', 'NVIDIA H100', [], False)])
def test_a_cpu_that_imitates_bfloat16_is_told_of(monkeypatch, dtype, device, instructions, told):
  monkeypatch.setattr(machine, 'bfloat16_instructions', lambda: instructions)
  stream = io.StringIO()
  tapes.record([{'accuracy': 0.95}], config=f"compute_dtype = '{dtype}'\nseed = 7\n",
               hardware={**tapes.HEADER['hardware'], 'device_kind': device},
               sinks=[sinks.Progress(100, {'metric': 'accuracy', 'value': 0.94}, stream)])
  assert ('--config.compute_dtype=float32 is faster' in stream.getvalue()) == told
  assert 'target reached at step 100' in stream.getvalue()


@pytest.mark.parametrize('flags, instructions', [
    ({'flags': 'fma avx512_bf16 amx_bf16'}, ['amx_bf16', 'avx512_bf16']), ({'flags': 'fma avx2'}, []), ({}, None)])
def test_instructions_for_bfloat16_are_those_that_linux_names(monkeypatch, flags, instructions):
  monkeypatch.setattr(machine, 'cpu', lambda: flags)
  assert machine.bfloat16_instructions() == instructions


@pytest.mark.parametrize('step, told', [
    (7, 'resumed from step 7'), (0, 'begins anew: the run that is here had saved no step yet')])
def test_where_it_goes_on_and_that_it_compiles_is_told_before_it_does(step, told):
  stream = io.StringIO()
  progress = sinks.Progress(100, {'metric': 'accuracy', 'value': 0.94}, stream)
  progress({**tapes.HEADER, 'event': 'process', 'time': 0.0, 'config': '', 'resumed': {'step': step}})
  assert stream.getvalue().splitlines() == [told, 'compiling for 1 x cpu']


@pytest.mark.parametrize('before, expected', [('', ['False', 'imported']), ('import torch; ', ['imported', 'True'])])
def test_tensorboard_does_not_import_torch_and_leaves_it_to_others(before, expected, tmp_path):
  pytest.importorskip('tensorboardX')
  (tmp_path / 'torch.py').write_text('print("imported")\n')
  code = (f'{before}import sys; from launchers import sinks; sinks.TensorBoard({str(tmp_path / "events")!r}); '
          'print("torch" in sys.modules); import torch')
  done = subprocess.run([sys.executable, '-c', code], cwd=running.ROOT, capture_output=True, text=True, check=True,
                        env={**os.environ, 'PYTHONPATH': str(tmp_path)})
  assert done.stdout.split() == expected
  assert list((tmp_path / 'events').glob('events.out.tfevents.*'))


@pytest.mark.parametrize('before', [{}, {'torch': None}, {'torch': sys}])
def test_a_tensorboard_that_cannot_be_imported_leaves_torch_as_it_was(before, monkeypatch):
  monkeypatch.delitem(sys.modules, 'torch', raising=False)
  for name, module in before.items():
    monkeypatch.setitem(sys.modules, name, module)
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(ImportError):
    sinks.TensorBoard('nowhere')
  assert {name: sys.modules[name] for name in ('torch',) if name in sys.modules} == before
