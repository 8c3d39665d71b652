"""Quads: four outputs a window are the convolution pooled, and each part of it is the transpose that it says."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import convolution, patches, quads
from layers.convolution import conv3x3
from layers.pooling import pooled, spread
from tests.layers import divided


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


@pytest.mark.parametrize('elements', [1 << 21, 1000])  # one block, and several
@pytest.mark.parametrize('channels', [3, 24, 64, 65])
def test_up_to_some_channels_pooled_convolutions_are_of_quads_and_round_once(monkeypatch, channels, elements):
  """Whole numbers, whose sums are exact in float32: every bit is of the exact result rounded once; many are equal."""
  monkeypatch.setattr(patches, 'ELEMENTS', elements)
  random = np.random.default_rng(0)
  x, kernel, dy = (jnp.asarray(random.integers(low, 12, shape), jnp.bfloat16) for low, shape in (
      (0, (8, 7, 6, channels)), (8, (3, 3, channels, 5)), (-11, (8, 3, 3, 5))))

  def both(x, kernel, dy):
    y, pull_back = jax.vjp(lambda x, k: conv3x3(x, k, (6, 6), True), x, kernel)
    return y, *pull_back(dy)
  exact, pull_back = jax.vjp(lambda x, k: convolution.plain3x3(x, k, (6, 6)), *(
      a.astype(jnp.float32) for a in (x, kernel)))
  rounded = exact.astype(jnp.bfloat16)
  y, corner = pooled(rounded)
  assert (pooled(exact)[1] != corner).mean() > 1e-3  # what is equal once it is rounded, and was not before
  want = y, *(a.astype(jnp.bfloat16) for a in pull_back(spread(dy, corner).astype(jnp.float32)))
  for a, b in zip(jax.jit(both)(x, kernel, dy), want, strict=True):
    assert a.dtype == jnp.bfloat16
    np.testing.assert_array_equal(a, b)
  text = jax.jit(both).lower(x, kernel, dy).as_text()
  quads_total = f'tensor<{4 * 5}x{16 * channels}xf32>'  # of the gradient
  assert [t in text for t in (f'{16 * channels}xbf16', quads_total)] == [channels <= convolution.QUADS_CHANNELS] * 2


@pytest.mark.parametrize('devices', [2, 4])
def test_a_batch_divided_over_devices_stays_there(monkeypatch, devices):
  monkeypatch.setattr(patches, 'ELEMENTS', 1000)
  function = lambda x, kernel: conv3x3(x, kernel, (8, 8), True)
  divided.assert_it_stays_there(function, devices, (16, 9, 9, 3), (3, 3, 3, 5), jnp.bfloat16)


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_elsewhere_it_is_xlas_convolution_pooled(platform):
  args = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((8, 9, 9, 3), (3, 3, 3, 5))]
  text = jax.jit(jax.grad(lambda x, k: jnp.sum(conv3x3(x, k, (8, 8), True)**2), (0, 1))).trace(*args).lower(
      lowering_platforms=(platform,)).as_text()
  assert text.count('stablehlo.convolution') == 3 and not any(
      name in text for name in ('stablehlo.while', 'stablehlo.dot_general'))
