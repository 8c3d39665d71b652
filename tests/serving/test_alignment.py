"""Samples lie where a CPU's executables can read them in place."""
import jax
import numpy as np
import pytest

from references.cifar.configs import digits
from serving.samples import ALIGNMENT, Samples, aligned
from training.step import init_state


@pytest.mark.parametrize('shape, dtype', [((3, 5), np.int32), ((1, 8, 8, 1), np.uint8), ((2, 7), np.uint8)])
def test_aligned_is_zeros_of_its_shape(shape, dtype):
  kept = [aligned(shape, dtype) for _ in range(8)]  # kept: each has memory of its own
  for array in kept:
    assert array.shape == shape and array.dtype == dtype and not array.any()
    assert array.ctypes.data % ALIGNMENT == 0 and array.flags.writeable


def test_every_sample_and_batch_begins_where_it_is_read_in_place():
  task = digits.get_config().make_task('')
  served = task.serve(task.eval_variables(jax.jit(lambda: init_state(task, np.uint32(0)))()), fold=False)
  samples = Samples(served)
  samples.load(range(9))
  assert all(samples.one(n)[1].ctypes.data % ALIGNMENT == 0 for n in range(9))
  for chosen in ([3, 1], [5]):  # a full batch, and one that is filled up
    _, rows = samples.batch(chosen, 2)
    assert rows.ctypes.data % ALIGNMENT == 0
    for row, sample in zip(rows, chosen):
      assert row.any() and np.array_equal(row, samples.one(sample)[1][0])
  assert not rows[1].any()
