"""Training steps that take turns in one process, so that what else the machine does falls on all of them."""
import functools
import os
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from benchmarks import progress
from launchers import machine, memory
from training.step import init_state, make_train_step

FLAGS = flags.FLAGS
Turn = Callable[[int], None]  # runs so many steps and waits for the last
_defaults = {}  # name of a flag -> its value on a CPU and on an accelerator
WARM_UP = 4  # steps; the first one compiles, and until the fourth the heap grows on CPUs (launchers/memory.py)


def define_flags(items: str, batch_sizes: tuple[int, int], steps: int, repetitions: int = 7):
  """Those of a script that compares steps; the sizes are for a CPU and for an accelerator, `steps` for the latter."""
  told = 'default: {} on a CPU, {} on an accelerator'.format
  flags.DEFINE_integer('batch_size', None, f'{items} a step; {told(*batch_sizes)}', lower_bound=1)
  flags.DEFINE_integer('steps', None, f'steps a turn; {told(2, steps)}', lower_bound=1)
  flags.DEFINE_integer('turns', repetitions, 'turns of each', lower_bound=1)
  flags.DEFINE_enum('dtype', None, ['float32', 'bfloat16'], 'of the computation; default: float32 on a CPU without '
                    'instructions for bfloat16, else bfloat16')
  _defaults.update(batch_size=batch_sizes, steps=(2, steps))


def begin():
  """To be called before jax computes: keeps memory as launchers.train does, and sets the flags that were not given."""
  memory.keep_freed()
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # else the peer has a quarter of a GPU's memory
  on_cpu = jax.default_backend() == 'cpu'
  imitated = on_cpu and machine.bfloat16_instructions() == []
  for name, value in {'dtype': 'float32' if imitated else 'bfloat16',
                      **{name: both[not on_cpu] for name, both in _defaults.items()}}.items():
    if FLAGS[name].value is None:
      FLAGS[name].value = value


def ours(task, batch, shape) -> Turn:
  """Our training step of a task, again and again on one batch, {name: array}, which is put on the device."""
  size = len(next(iter(batch.values())))
  batch = jax.device_put({**batch, 'index': np.arange(size, dtype=np.int32), 'epoch': np.zeros(size, np.int32)})
  step = jax.jit(make_train_step(task, shape=shape), donate_argnums=0)
  kept = [jax.jit(functools.partial(init_state, task))(np.uint32(0))]

  def turn(steps):
    for _ in range(steps):
      kept[0], _ = step(kept[0], batch, np.uint32(0))
    jax.block_until_ready(kept[0])
  return turn


def seconds_a_step(turns: list[Turn], steps: int, repetitions: int) -> list[list[float]]:
  """Of each, one value a repetition, after WARM_UP steps."""
  seconds = [[] for _ in turns]
  for number in progress.told(len(turns), 'compiling'):
    turns[number](WARM_UP)
  for _ in progress.told(repetitions, 'turn'):
    for turn, kept in zip(turns, seconds):
      start = time.perf_counter()
      turn(steps)
      kept.append((time.perf_counter() - start) / steps)
  return seconds
