"""Runs of inference whose model does nothing: real logs of LoadGen, beside a tape that was made up."""
import types

import numpy as np

from scoring import inference
from scoring.tape import Tape
from serving import loadgen


class Nothing:
  """Answers every query with the same zeros."""

  def __init__(self):
    self.complete = loadgen.Answered(keep=False)

  def issue(self, ids, samples):
    self.complete(ids, samples, np.zeros((len(ids), 5), np.int32))


def dawnbench(workdir, header: dict, *, accuracy: float = 0.94, num_samples: int = 10_000):
  """A run of mode `dawnbench` below the workdir of a run of CIFAR-10 with this header; its folder."""
  folder = workdir / 'inference' / 'single_stream' / 'dawnbench'
  for place in (folder, folder / inference.READING):
    place.mkdir(parents=True, exist_ok=True)
    held = types.SimpleNamespace(load=lambda chosen: None, unload=lambda chosen: None,
                                 served=types.SimpleNamespace(num_samples=num_samples))
    loadgen.run(Nothing(), held, loadgen.each_once(num_samples), num_samples, place)
  tape = Tape(folder / 'tape.jsonl')
  tape.event('process', **{key: value for key, value in header.items() if key not in ('event', 'file', 'line')},
             checkpoint={'run': workdir.name, 'step': 1, 'parameters_sha256': '0' * 64, 'metric': 'accuracy'},
             serving={'scenario': 'single_stream', 'mode': 'dawnbench', 'batch_sizes': [1], 'folded': True,
                      'num_samples': num_samples, 'num_items': num_samples, 'compute_dtype': 'float32',
                      'input_dtype': 'uint8'})
  tape.event('measured', metrics={'accuracy': accuracy, 'top5_accuracy': 1.0}, num_evaluated=num_samples,
             answers_sha256='0' * 64)
  tape.event('exit', status='complete', logs_sha256=inference.logs_sha256(folder))
  tape.close()
  inference.write(folder)
  return folder
