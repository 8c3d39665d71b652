"""Photographs for training and evaluation: crops of records, made by threads, as batches of bytes.

What a step sees is a function of (seed, step): the order is of (seed, epoch, step), a record's crop of (seed, record,
epoch). So a run resumes anywhere, and neither the number of threads nor that of processes changes a pixel.
"""
import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from input_pipelines import jpeg
from input_pipelines.images import Records
from input_pipelines.source import Once, Shuffled, Streamed

AHEAD = 2  # batches that threads work on while one is taken away
RECORDS_PER_TASK = 16  # few enough to keep all threads busy to a batch's end, many enough to make a task's cost vanish
ATTEMPTS = 100  # at a random crop, before it is the whole image (TensorFlow's, and MLPerf's)
Box = tuple[int, int, int, int]  # top, left, height, width

# (indices, epochs, images uint8 [n, S, S, 3] to fill) -> labels [n]
Fill = Callable[[Sequence[int], Sequence[int], np.ndarray], Sequence[int]]


def random_box(height: int, width: int, rng: np.random.Generator, *, min_area: float = 0.05,
               min_covered: float = 0.1) -> Box:
  """A random crop, by TensorFlow's sample_distorted_bounding_box as the MLPerf reference calls it.

  The ratio of width to height is uniform in [0.75, 1.33], the height uniform among those that give at least `min_area`
  of the image and fit into it; a crop of less than `min_covered` of the image, the object of a record without a box,
  is drawn again. So no crop is smaller than the greater of the two.
  """
  whole = height * width
  for _ in range(ATTEMPTS):
    ratio = rng.uniform(0.75, 1.33)
    low = round((min_area * whole / ratio)**0.5)
    high = min(round((whole / ratio)**0.5), int((width + 0.5 - 1e-7) / ratio), height)
    h = int(rng.integers(low, high, endpoint=True)) if low < high else high
    w = round(h * ratio)
    if not (0 < h <= height and 0 < w <= width and h * w >= max(min_area, min_covered) * whole):
      continue
    # As there, the last row and column can begin no crop that is smaller than the image.
    return int(rng.integers(max(height - h, 1))), int(rng.integers(max(width - w, 1))), h, w
  return 0, 0, height, width


class _Where:
  """The place of a record as text, looked up only where a message needs it."""

  def __init__(self, records: Records, index: int):
    self.records, self.index = records, index

  def __str__(self):
    return self.records.where(self.index)


def random_crops(records: Records, seed: int, min_area: float) -> Fill:
  """Training crops: a random box of each image, resized to S x S."""
  def fill(indices, epochs, images):
    labels = []
    for i, (data, label) in enumerate(records.read(indices)):
      where = _Where(records, indices[i])
      # A second word of 2**32 and more: permutations of records have smaller ones.
      rng = np.random.Generator(np.random.Philox(key=[seed, (int(indices[i]) + 1 << 32) + int(epochs[i])]))
      box = random_box(*jpeg.size(data, where), rng, min_area=min_area)
      jpeg.crop_and_resize(data, box, images[i].shape[:2], False, where, out=images[i])
      labels.append(label)
    return labels
  return fill


def centre_crops(records: Records, resize: int) -> Fill:
  """Evaluation crops as the MLPerf reference makes them: short side to `resize`, then the centre S x S."""
  def fill(indices, epochs, images):
    del epochs
    labels, size = [], images.shape[1]
    for i, (data, label) in enumerate(records.read(indices)):
      where = _Where(records, indices[i])
      image = jpeg.decode(data, where)
      scale = resize / min(image.shape[:2])
      image = jpeg.resize(image, tuple(max(int(side * scale + 1e-6), resize) for side in image.shape[:2]))
      top, left = ((side - size) // 2 for side in image.shape[:2])
      images[i] = image[top:top + size, left:left + size]
      labels.append(label)
    return labels
  return fill


def workers() -> int:
  """Threads that make crops: one for each core that this process may use. Decoding lets go of the interpreter."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@dataclass(frozen=True)
class Batches:
  """(start, stop) -> the batches of those steps, this process's rows; see Streamed.

  Attributes:
    order: which record each row is.
    fill: makes examples.
    size_at: step -> S.
    mask: whether batches hold a mask of what is no padding (evaluation).
    process: (index, count) of this process, or None to ask jax.
  """
  order: Shuffled | Once
  fill: Fill
  size_at: Callable[[int], int]
  mask: bool
  process: tuple[int, int] | None = None

  def __call__(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
    pool = concurrent.futures.ThreadPoolExecutor(workers(), 'decode')
    begun = collections.deque()
    try:
      for step in range(start, stop):
        begun.append(self._begin(pool, step))
        if len(begun) > AHEAD:
          yield self._end(*begun.popleft())
      while begun:
        yield self._end(*begun.popleft())
    finally:
      pool.shutdown(cancel_futures=True)

  def _begin(self, pool, step: int):
    """Begins to make a batch: (the batch, its tasks)."""
    number, count = self.process or (jax.process_index(), jax.process_count())
    size, rows = self.size_at(step), self.order.batch_size // count
    index, epoch = (x[0][number * rows:(number + 1) * rows] for x in self.order.rows(step, step + 1))
    batch = {'image': np.zeros((rows, size, size, 3), np.uint8), 'label': np.zeros(rows, np.int32),
             'index': index, 'epoch': epoch, **({'mask': index >= 0} if self.mask else {})}
    real = np.count_nonzero(index >= 0)  # padding comes last
    parts = [slice(first, min(first + RECORDS_PER_TASK, real)) for first in range(0, real, RECORDS_PER_TASK)]
    tasks = [(part, pool.submit(self.fill, index[part], epoch[part], batch['image'][part])) for part in parts]
    return batch, tasks

  @staticmethod
  def _end(batch, tasks):
    for part, task in tasks:
      batch['label'][part] = task.result()
    return batch


def split(fill: Fill, order: Shuffled | Once, size_at: Callable[[int], int], fingerprint: str, *,
          process: tuple[int, int] | None = None) -> Streamed:
  """A split of S x S images: uint8 [B, S, S, 3] with label, index and epoch, int32 [B]; to evaluate, mask, bool [B]."""
  evaluation = isinstance(order, Once)

  def spec(size):
    row = lambda dtype, *dims: jax.ShapeDtypeStruct((order.batch_size, *dims), dtype)
    return {'image': row(np.uint8, size, size, 3), 'label': row(np.int32), 'index': row(np.int32),
            'epoch': row(np.int32), **({'mask': row(np.bool_)} if evaluation else {})}

  return Streamed(spec, Batches(order, fill, size_at, evaluation, process), order, size_at, fingerprint)
