"""Quads: four outputs a window are the convolution pooled, and each part of it is the transpose that it says."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import convolution, patches, quads
from layers.convolution import conv3x3
from layers.pooling import pooled, spread


def made(*shapes, dtype=jnp.float32):
  random = np.random.default_rng(0)
  return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


def test_a_window_of_the_filters_four_times_has_the_four_outputs():
  x, kernel = made((3, 7, 9, 4), (3, 3, 4, 5))
  padding = ((1, 0), (1, 0))
  want = pooled(convolution.by_xla(x, kernel, 1, padding))
  have = quads.pooled(convolution.by_xla(x, quads.filters(kernel), 2, padding))
  np.testing.assert_allclose(have[0], want[0], rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(have[1], want[1])
  assert have[1].dtype == jnp.uint8


def test_of_equals_the_first_is_taken():
  y = jnp.zeros((1, 1, 1, 4 * 2)).at[..., [2, 4, 3]].set(1)  # corners 1 and 2 of the first channel, 1 of the second
  assert quads.pooled(y)[1].tolist() == [[[[1, 1]]]]


def test_summed_is_the_transpose_of_filters():
  kernel, dy = made((3, 3, 4, 5), (4, 4, 4, 4 * 5))
  want = jax.vjp(quads.filters, kernel)[1](dy)[0]
  total = dy.reshape(-1, 4 * 5).T  # as patches.filters_total lays it out
  np.testing.assert_allclose(patches.as_kernel(quads.summed(total, kernel), kernel), want, rtol=1e-6)


def test_turned_is_the_spread_gradient():
  dy, = made((3, 2, 5, 4), dtype=jnp.bfloat16)
  corner = jnp.asarray(np.random.default_rng(1).integers(0, 4, dy.shape), jnp.uint8)
  whole = spread(dy, corner).reshape(3, 2, 2, 5, 2, 4)  # image, row, its half, column, its half, channel
  np.testing.assert_array_equal(quads.turned(dy, corner), whole.transpose(2, 4, 5, 0, 1, 3).reshape(4 * 4, -1))


@pytest.mark.parametrize('channels', [3, 24, 64, 65])
def test_up_to_some_channels_pooled_convolutions_are_of_quads_and_are_xlas(channels):
  x, kernel, dy = made((8, 7, 6, channels), (3, 3, channels, 5), (8, 3, 3, 5), dtype=jnp.bfloat16)

  def both(x, kernel, dy):
    (y, pull_back) = jax.vjp(lambda x, k: conv3x3(x, k, (6, 6), True), x, kernel)
    return y, *pull_back(dy)
  found = jax.jit(both)(x, kernel, dy)
  y, (_, _, corner) = convolution._forward(x, kernel, (6, 6), True)
  plain = lambda x, k: convolution.plain3x3(x, k, (6, 6))
  exact, pull_back = jax.vjp(plain, *(a.astype(jnp.float32) for a in (x, kernel)))
  want = pooled(exact)[0], *pull_back(spread(dy, corner).astype(jnp.float32))
  for a, b in zip(found, want, strict=True):
    assert a.dtype == jnp.bfloat16 and a.shape == b.shape
    assert np.linalg.norm(np.asarray(a, np.float32) - b) <= 4e-3 * np.linalg.norm(b)
  text = jax.jit(both).lower(x, kernel, dy).as_text()
  assert (f'{16 * channels}xbf16' in text) == (channels <= convolution.QUADS_CHANNELS)
