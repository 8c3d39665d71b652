"""Digits, real in every number, waiting on the host: so that a test can say at which moment it kills.

  python -m launchers.train --config=tests/launchers/slow_digits.py --workdir=runs/slow

Batches are streamed; each waits `batch_seconds`, and each evaluation `evaluation_seconds`.
"""
import dataclasses
import time

import jax
import numpy as np

from input_pipelines.source import Streamed
from references.cifar.configs import digits
from references.cifar.task import Config


@dataclasses.dataclass(frozen=True)
class SlowConfig(Config):
  """Config, with seconds to wait."""
  batch_seconds: float = 0.05
  evaluation_seconds: float = 1.0

  def make_task(self, data_dir):
    task = super().make_task(data_dir)
    task.data = {split: streamed(data, self.batch_seconds if split == 'train' else 0) for split, data in
                 task.data.items()}
    finish = task.finish

    def slow_finish(outputs):
      time.sleep(self.evaluation_seconds)
      return finish(outputs)
    task.finish = slow_finish
    return task


def streamed(data, seconds: float) -> Streamed:
  """A resident split through the host, this process's rows of each batch."""
  size = data.order.batch_size
  row = lambda dtype: jax.ShapeDtypeStruct((size,), dtype)
  spec = {**{name: jax.ShapeDtypeStruct((size, *s.shape[1:]), s.dtype) for name, s in data.spec.items()},
          'index': row(np.int32), 'epoch': row(np.int32), 'mask': row(np.bool_)}

  def batches(start, stop):
    arrays, rows = data.load(), size // jax.process_count()
    mine = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    for step in range(start, stop):
      time.sleep(seconds)
      index, epoch = (x[0][mine] for x in data.order.rows(step, step + 1))
      yield {**{name: x[np.maximum(index, 0)] for name, x in arrays.items()}, 'index': index, 'epoch': epoch,
             'mask': index >= 0}

  return Streamed(lambda shape: spec, batches, data.order, fingerprint=data.fingerprint)


def get_config() -> Config:
  fields = dataclasses.asdict(digits.get_config())
  return SlowConfig(**{**fields, 'num_epochs': 6.0, 'stop': 'end'})
