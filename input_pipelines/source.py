"""Which record each row of each step holds, and the two ways to have the records: resident on the device, or streamed.

Order is a function of (seed, epoch, step) and of nothing else, so a resumed run seeks to its step in O(1) and needs no
iterator state, and a change of host count changes nothing.
"""
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from scoring.problem import Problem

Array = Any
Shape = Hashable


class Rows(NamedTuple):
  """index: int32 [steps, B], -1 for padding; epoch: int32 [steps, B], the pass over the data that it is of."""
  index: np.ndarray
  epoch: np.ndarray


@lru_cache(maxsize=4)
def permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
  """A uniformly random order of `num_examples` records, int32 [N], the same for the same (seed, epoch) anywhere."""
  return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_examples).astype(np.int32)


@dataclass(frozen=True)
class Shuffled:
  """Training order: a fresh permutation each epoch.

  Attributes:
    num_examples, batch_size (global), seed: what they say.
    remainder: `drop` ends an epoch at its last whole batch; `carry` fills up with the next epoch's first records, so
      that each record is seen exactly once an epoch.
  """
  num_examples: int
  batch_size: int
  seed: int
  remainder: str = 'drop'

  def __post_init__(self):
    if self.remainder not in ('drop', 'carry'):
      raise Problem(f"remainder={self.remainder!r}: choose 'drop' or 'carry'")
    if not 0 < self.batch_size <= self.num_examples:
      raise Problem(f'batch_size={self.batch_size}: must be between 1 and the {self.num_examples} training examples')

  @property
  def epoch_examples(self) -> int:
    """How many examples of an epoch are trained on."""
    dropped = self.num_examples % self.batch_size if self.remainder == 'drop' else 0
    return self.num_examples - dropped

  def samples(self, step: int) -> int:
    """Training samples consumed by the first `step` updates."""
    return step * self.batch_size

  def epochs(self, step: int) -> float:
    """Passes over the (kept) data made by the first `step` updates."""
    return self.samples(step) / self.epoch_examples

  def rows(self, start: int, stop: int) -> Rows:
    """The rows of steps start <= step < stop."""
    position = np.arange(start * self.batch_size, stop * self.batch_size, dtype=np.int64)
    epoch, offset = np.divmod(position, self.epoch_examples)
    index = np.empty(len(position), np.int32)
    for e in np.unique(epoch):
      index[epoch == e] = permutation(self.num_examples, self.seed, int(e))[offset[epoch == e]]
    shape = (stop - start, self.batch_size)
    return Rows(index.reshape(shape), epoch.astype(np.int32).reshape(shape))


@dataclass(frozen=True)
class Once:
  """Evaluation order: every record once, in order, the last batch padded with -1."""
  num_examples: int
  batch_size: int

  @property
  def num_steps(self) -> int:
    return -(-self.num_examples // self.batch_size)

  def rows(self, start: int, stop: int) -> Rows:
    """The rows of steps start <= step < stop."""
    index = np.arange(start * self.batch_size, stop * self.batch_size, dtype=np.int32)
    index = np.where(index < self.num_examples, index, -1).reshape(stop - start, self.batch_size)
    return Rows(index, np.zeros_like(index))


@dataclass(frozen=True)
class Resident:
  """A split that lives on the device, whole; a batch is gathered there by row.

  Attributes:
    spec: name -> jax.ShapeDtypeStruct of the arrays [N, ...]; known without touching data.
    load: () -> name -> numpy array of those shapes; called once, after the clock has started.
    order: Shuffled to train, Once to evaluate.
    shape_at: step -> the static shape that `Task.prepare` is given there (progressive sizes); None is the only one.
    fingerprint: what identifies the data's content, for the tape.
  """
  spec: Mapping[str, Any]
  load: Callable[[], Mapping[str, np.ndarray]]
  order: Shuffled | Once
  shape_at: Callable[[int], Shape] = lambda step: None
  fingerprint: str | None = None


@dataclass(frozen=True)
class Streamed:
  """A split that comes through the host, batch by batch.

  Attributes:
    spec: shape -> name -> jax.ShapeDtypeStruct of a global batch [B, ...]; known without touching data.
    batches: (start, stop) -> iterator over the numpy batches of those steps, this process's rows of each: a contiguous
      block. A batch holds `index` and `epoch` (int32 [B], as in Rows), and to evaluate `mask` (bool [B]) as well.
    order: Shuffled to train, Once to evaluate (or anything with their methods).
    shape_at: step -> the shape of that step's batch (length buckets, image sizes); None is the only one.
    fingerprint: what identifies the data's content, for the tape.
  """
  spec: Callable[[Shape], Mapping[str, Any]]
  batches: Callable[[int, int], Iterator[Mapping[str, np.ndarray]]]
  order: Shuffled | Once
  shape_at: Callable[[int], Shape] = lambda step: None
  fingerprint: str | None = None
