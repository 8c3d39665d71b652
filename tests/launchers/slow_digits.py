"""Digits, real in every number, waiting on the host: so that a test can say at which moment it kills.

  python -m launchers.train --config=tests/launchers/slow_digits.py --workdir=runs/slow

Batches are streamed; each waits `batch_seconds`, and each evaluation `evaluation_seconds`. `rows_dir` is where each
process notes the records that it gave out; at `trouble_step` process `trouble_process` waits `trouble_seconds`, or,
where they are negative, finds its data damaged.
"""
import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from input_pipelines.source import Streamed
from references.cifar.configs import digits
from references.cifar.task import Config
from scoring.problem import Problem


@dataclasses.dataclass(frozen=True)
class SlowConfig(Config):
  """Config, with what is to be waited for, noted and suffered."""
  batch_seconds: float = 0.05
  evaluation_seconds: float = 1.0
  rows_dir: str = ''
  trouble_process: int = -1
  trouble_step: int = 15
  trouble_seconds: float = 0.0

  def make_task(self, data_dir):
    task = super().make_task(data_dir)
    task.data = {split: self.streamed(split, data) for split, data in task.data.items()}
    finish = task.finish

    def slow_finish(outputs):
      time.sleep(self.evaluation_seconds)
      return finish(outputs)
    task.finish = slow_finish
    return task

  def streamed(self, split: str, data) -> Streamed:
    """A resident split through the host, this process's rows of each batch."""
    size, number = data.order.batch_size, jax.process_index()
    row = lambda dtype: jax.ShapeDtypeStruct((size,), dtype)
    spec = {**{name: jax.ShapeDtypeStruct((size, *s.shape[1:]), s.dtype) for name, s in data.spec.items()},
            'index': row(np.int32), 'epoch': row(np.int32), 'mask': row(np.bool_)}

    def batches(start, stop):
      arrays, rows = data.load(), size // jax.process_count()
      for step in range(start, stop):
        index, epoch = (x[0][number * rows:(number + 1) * rows] for x in data.order.rows(step, step + 1))
        if split == 'train':
          self.wait(number, step)
          if self.rows_dir:
            np.save(Path(self.rows_dir) / f'{step:04d}_{number}.npy', np.stack([index, epoch]))
        yield {**{name: x[np.maximum(index, 0)] for name, x in arrays.items()}, 'index': index, 'epoch': epoch,
               'mask': index >= 0}

    return Streamed(lambda shape: spec, batches, data.order, fingerprint=data.fingerprint)

  def wait(self, number: int, step: int):
    time.sleep(self.batch_seconds)
    if (number, step) == (self.trouble_process, self.trouble_step):
      if self.trouble_seconds < 0:
        raise Problem(f'record 17 of step {step} does not decode')
      time.sleep(self.trouble_seconds)


def get_config() -> Config:
  fields = dataclasses.asdict(digits.get_config())
  return SlowConfig(**{**fields, 'num_epochs': 6, 'stop': 'end'})
