"""Orders that put records of like length into one batch, so that few shapes are compiled and little is padded.

Both are functions of (seed, epoch) alone, as every order here is.
"""
from dataclasses import dataclass, field

import numpy as np

from input_pipelines.source import Rows, Shuffled, permutation
from scoring.problem import Problem


def edges(buckets: tuple[int, ...], longest: int, multiple: int = 32) -> tuple[int, ...]:
  """The buckets, and one more, a multiple of `multiple`, where the longest record does not fit in."""
  return buckets if longest <= buckets[-1] else (*buckets, -(-longest // multiple) * multiple)


def check(buckets: tuple[int, ...]):
  """Raises Problem unless the buckets are rising positive lengths."""
  if not buckets or buckets[0] < 1 or list(buckets) != sorted(set(buckets)):
    raise Problem(f'buckets={buckets}: rising lengths, please, such as (128, 256, 384)')


def bucket(buckets: tuple[int, ...], length: int) -> int:
  """The smallest bucket that holds the length."""
  return next(b for b in buckets if length <= b)


@dataclass(frozen=True, eq=False)
class BucketShuffled(Shuffled):
  """Training order: each epoch's permutation in pools of batches, sorted by length within a pool, batches shuffled.

  The remainder of an epoch, records of that permutation's end, is dropped, so each record is seen at most once an
  epoch.

  Attributes:
    lengths: int [num_examples], of each record.
    buckets: rising lengths; the last holds every record.
    pool_batches: batches a pool; the more, the less padding, and the more alike in length the records of a batch.
  """
  lengths: np.ndarray = None
  buckets: tuple[int, ...] = ()
  pool_batches: int = 64
  _kept: dict = field(default_factory=dict, repr=False)

  def batches(self, epoch: int) -> np.ndarray:
    """The records of each batch of an epoch: int32 [steps, B]."""
    if epoch not in self._kept:
      order = permutation(self.num_examples, self.seed, epoch)[:self.epoch_examples]
      size = self.pool_batches * self.batch_size
      pools = [order[at:at + size] for at in range(0, len(order), size)]
      rows = np.concatenate([pool[np.argsort(self.lengths[pool], kind='stable')] for pool in pools])
      rows = rows.reshape(-1, self.batch_size)
      shuffled = np.random.Generator(np.random.Philox(key=[self.seed, 2**63 + epoch])).permutation(len(rows))
      while len(self._kept) > 2:
        self._kept.pop(next(iter(self._kept)))
      rows = rows[shuffled]
      self._kept[epoch] = rows, [bucket(self.buckets, n) for n in self.lengths[rows].max(1)]
    return self._kept[epoch][0]

  def rows(self, start: int, stop: int) -> Rows:
    """The rows of steps start <= step < stop."""
    epoch, offset = np.divmod(np.arange(start, stop), self.epoch_examples // self.batch_size)
    index = np.array([self.batches(int(e))[o] for e, o in zip(epoch, offset)], np.int32)
    shape = (stop - start, self.batch_size)
    return Rows(index.reshape(shape), np.broadcast_to(epoch.astype(np.int32)[:, None], shape))

  def shape_at(self, step: int) -> int:
    """The bucket of a step."""
    epoch, offset = divmod(step, self.epoch_examples // self.batch_size)
    self.batches(epoch)
    return self._kept[epoch][1][offset]


@dataclass(frozen=True, eq=False)
class BucketOnce:
  """Evaluation order: every record once, by length, the last batch padded with -1."""
  lengths: np.ndarray
  batch_size: int
  buckets: tuple[int, ...]

  @property
  def num_examples(self) -> int:
    return len(self.lengths)

  @property
  def num_steps(self) -> int:
    return -(-self.num_examples // self.batch_size)

  def rows(self, start: int, stop: int) -> Rows:
    """The rows of steps start <= step < stop."""
    order = np.argsort(self.lengths, kind='stable').astype(np.int32)
    order = np.pad(order, (0, self.num_steps * self.batch_size - len(order)), constant_values=-1)
    index = order.reshape(self.num_steps, self.batch_size)[start:stop]
    return Rows(index, np.zeros_like(index))

  def shape_at(self, step: int) -> int:
    """The bucket of a step."""
    index = self.rows(step, step + 1).index[0]
    return bucket(self.buckets, self.lengths[index[index >= 0]].max())


def padded_share(order, num_steps: int) -> tuple[float, float]:
  """(share of padding if every batch had the largest bucket, share as it is), 0..1, over the first steps."""
  index = order.rows(0, num_steps).index
  real = order.lengths[index[index >= 0]].sum()
  return (1 - real / (index.size * order.buckets[-1]),
          1 - real / sum(order.shape_at(step) * index.shape[1] for step in range(num_steps)))
