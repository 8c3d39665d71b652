"""The model as executables, one for each bucket and batch size, compiled before the first query."""
from collections.abc import Sequence

import jax
import numpy as np

from scoring.problem import Problem
from serving.served import Served

# Up to this, weights are constants of each executable: XLA lays them out for the machine once, at compile time, and a
# call passes no arguments but its rows (README.md has what both ways cost). Above, copies in each executable cost more.
CONSTANT_BYTES = 2**30


class Engine:
  """Answers batches of rows.

  Args:
    served: the model.
    batch_sizes: rising sizes to compile; a batch is padded to the smallest that holds it.
    constants: whether weights become constants; None: where their copies stay below CONSTANT_BYTES together.
    buckets: those to compile; None: all of the model's.

  Attributes:
    num_executables: how many were compiled.
  """

  def __init__(self, served: Served, batch_sizes: Sequence[int], *, constants: bool | None = None,
               buckets: Sequence[int] | None = None):
    self.served, self.batch_sizes = served, tuple(batch_sizes)
    self.buckets = tuple(buckets or served.buckets)
    self.num_executables = len(self.buckets) * len(self.batch_sizes)
    size = sum(x.nbytes for x in jax.tree.leaves(served.weights))
    self.constants = self.num_executables * size <= CONSTANT_BYTES if constants is None else constants
    # one device, whatever mesh they were trained on: the records say one
    self._one = jax.device_put(served.weights, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    self._weights = () if self.constants else tuple(jax.tree.leaves(self._one))
    self._compiled = {(bucket, size): self._compile(bucket, size) for bucket in self.buckets
                      for size in self.batch_sizes}

  def _compile(self, bucket: int, batch_size: int):
    served, one, tree = self.served, self._one, jax.tree.structure(self._one)

    def answer(*arguments):
      *weights, rows = arguments
      return served.answer(jax.tree.unflatten(tree, weights) if weights else one, rows)

    dims, dtype = served.row(bucket)
    rows = jax.ShapeDtypeStruct((batch_size, *dims), dtype)
    # The compiled object itself, which refuses another shape where jit would compile again in the middle of a run.
    return jax.jit(answer).lower(*self._weights, rows).compile()

  def size(self, n: int) -> int:
    """The smallest compiled batch size that holds `n` rows."""
    for size in self.batch_sizes:
      if n <= size:
        return size
    raise Problem(f'a batch of {n} samples: the largest that was compiled is {self.batch_sizes[-1]}')

  def __call__(self, bucket: int, rows: np.ndarray):
    """Answers [B, ...] on the device, while it may still be at work; rows: [B, *dims], B a compiled size."""
    return self._compiled[bucket, len(rows)](*self._weights, rows)

  def warm_up(self):
    """Runs each executable, twice: first calls cost more than others."""
    for bucket, size in self._compiled:
      dims, dtype = self.served.row(bucket)
      for _ in range(2):
        jax.block_until_ready(self(bucket, np.zeros((size, *dims), dtype)))
