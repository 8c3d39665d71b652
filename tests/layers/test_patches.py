"""Filters' gradients as products of patches, and blocks of a batch."""
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from layers import convolution, patches
from layers.blocks import LEAST_IMAGES, over_blocks
from tests.layers import divided
from tests.layers.test_convolution import WINDOWS, assert_it_is_xlas


@pytest.mark.parametrize('batch, size', [(12, (11, 10)), (5, (9, 8))])
@pytest.mark.parametrize('window, stride, padding', WINDOWS)
def test_gradients_of_more_than_a_block_are_xlas(monkeypatch, window, stride, padding, batch, size):
  monkeypatch.setattr(patches, 'ELEMENTS', 1000)
  assert_it_is_xlas(lambda x, kernel: convolution.by_patches(x, kernel, stride, padding), (batch, *size, 3),
                    (*window, 3, 6), stride, padding, 'float32', 1e-5)


@pytest.mark.parametrize('batch, most, rows', [(2000, 25, 20), (2000, 10, 8), (12, 64, 12), (10, 4, 2), (7, 5, 1)])
def test_a_block_is_of_fours_where_there_are_any(batch, most, rows):
  seen = []

  def block(x):
    seen.append(x.shape)
    return [x], None
  x = jnp.arange(batch * 2.0).reshape(batch, 2)
  np.testing.assert_array_equal(over_blocks(block, [x], rows=most)[0][0], x)
  assert set(seen) == {(rows, 2)}


@pytest.mark.parametrize('devices', [2, 4])
def test_a_batch_divided_over_devices_stays_there(monkeypatch, devices):
  monkeypatch.setattr(patches, 'ELEMENTS', 1000)
  by_patches = functools.partial(convolution.by_patches, stride=2, padding=((1, 1), (1, 1)))
  divided.assert_it_stays_there(by_patches, devices, (16, 14, 14, 3), (3, 3, 3, 5))
  assert 1000 // (7 * 7 * 27) < LEAST_IMAGES  # so blocks are of four, and not of all sixteen
