"""Samples in host memory, where LoadGen asked for them, and batches of them."""
from collections.abc import Sequence

import numpy as np

from serving.served import Served

ALIGNMENT = 64  # bytes: on CPUs, XLA reads arrays that begin at a multiple of it where they lie, and copies others


def aligned(shape: tuple[int, ...], dtype) -> np.ndarray:
  """Zeros that begin at a multiple of ALIGNMENT."""
  size = int(np.prod(shape)) * np.dtype(dtype).itemsize
  memory = np.zeros(size + ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % ALIGNMENT
  return memory[start:start + size].view(dtype).reshape(shape)


class Samples:
  """What LoadGen calls a query sample library. Never on the device: the rules forbid to keep samples there."""

  def __init__(self, served: Served):
    self.served = served
    self._rows: dict[int, np.ndarray] = {}
    self._slots = np.full(served.num_samples, -1)
    self._bucket_of = np.searchsorted(served.buckets, served.lengths)

  def load(self, samples: Sequence[int]):
    """Reads samples, and forgets those before; LoadGen may name one twice."""
    self.unload()
    samples = np.unique(samples)
    for number in np.unique(self._bucket_of[samples]):
      chosen = samples[self._bucket_of[samples] == number]
      dims, dtype = self.served.row(self.served.buckets[number])
      rows = aligned((len(chosen), *dims), dtype)
      self.served.read(chosen, rows)
      self._rows[number], self._slots[chosen] = rows, np.arange(len(chosen))

  def unload(self, samples: Sequence[int] = ()):
    """Forgets all samples."""
    del samples
    self._rows.clear()
    self._slots[:] = -1

  def one(self, sample: int) -> tuple[int, np.ndarray]:
    """(bucket, rows [1, *dims]) of one sample, not copied."""
    number, slot = self._bucket_of[sample], self._slots[sample]
    return self.served.buckets[number], self._rows[number][slot:slot + 1]

  def batch(self, samples: Sequence[int], size: int) -> tuple[int, np.ndarray]:
    """(bucket, rows [size, *dims]) of the samples, zeros after them.

    A new array each time: the device may still read the one before, and on CPUs does so where it lies.
    """
    samples = np.asarray(samples)
    bucket = self.served.bucket(samples)
    dims, dtype = self.served.row(bucket)
    rows = aligned((size, *dims), dtype)
    numbers, slots = self._bucket_of[samples], self._slots[samples]
    if (numbers == numbers[0]).all() and self.served.buckets[numbers[0]] == bucket:
      # 'clip' lets numpy write into `out` directly; all slots exist
      np.take(self._rows[numbers[0]], slots, 0, out=rows[:len(samples)], mode='clip')
    else:
      for at, (number, slot) in enumerate(zip(numbers, slots)):
        row = self._rows[number][slot]
        rows[at, :len(row)] = row
    return bucket, rows
