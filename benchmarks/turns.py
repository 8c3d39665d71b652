"""Training steps that take turns in one process, so that what else the machine does falls on all of them."""
import functools
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import progress
from training.step import init_state, make_train_step

Turn = Callable[[int], None]  # runs so many steps and waits for the last


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


def seconds_a_step(turns: list[Turn], steps: int, repetitions: int, *, warm_up: int) -> list[list[float]]:
  """Of each, one value a repetition, after `warm_up` steps that compile."""
  seconds = [[] for _ in turns]
  for number in progress.told(len(turns), 'compiling'):
    turns[number](warm_up)
  for _ in progress.told(repetitions, 'turn'):
    for turn, kept in zip(turns, seconds):
      start = time.perf_counter()
      turn(steps)
      kept.append((time.perf_counter() - start) / steps)
  return seconds
