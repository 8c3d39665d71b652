"""Convolutions whose windows move by more than a pixel: XLA's values and gradients, on one device and several."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import convolution
from tests.layers import divided


@pytest.mark.parametrize('window, stride, pad', [(3, 2, 1), (7, 2, 3), (2, 2, 0), (5, 3, 1)])
@pytest.mark.parametrize('batch, size', [(8, (14, 14)), (12, (15, 10)), (5, (9, 8))])
def test_strided_ones_have_xlas_values_and_gradients(window, stride, pad, batch, size):
  rng, padding = np.random.default_rng(0), ((pad, pad),) * 2
  x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (
      (batch, *size, 3), (window, window, 3, 6)))
  y, pull_back = jax.vjp(lambda *args: convolution.xlas(*args, stride, padding), x, kernel)
  dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
  have, ours_back = jax.vjp(lambda *args: convolution.by_patches(*args, stride, padding), x, kernel)
  np.testing.assert_array_equal(have, y)
  for ours, xlas in zip(ours_back(dy), pull_back(dy), strict=True):
    np.testing.assert_allclose(ours, xlas, rtol=1e-5, atol=1e-5 * float(jnp.abs(xlas).max()))


@pytest.mark.parametrize('devices', [2, 4])
def test_a_batch_divided_over_devices_stays_there(devices):
  by_patches = functools.partial(convolution.by_patches, stride=2, padding=((1, 1), (1, 1)))
  divided.assert_it_stays_there(by_patches, devices, (16, 14, 14, 3), (3, 3, 3, 5))


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_elsewhere_all_of_it_is_xlas(platform):
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((8, 14, 14, 3), (3, 3, 3, 5))]
  texts = [jax.jit(jax.grad(lambda x, k: jnp.sum(f(x, k, 2, ((1, 1), (1, 1)))**2), (0, 1))).trace(*args).lower(
      lowering_platforms=(platform,)).as_text() for f in (convolution.by_patches, convolution.xlas)]
  assert [text.count('stablehlo.convolution') for text in texts] == [3, 3] and 'stablehlo.while' not in texts[0]


@pytest.mark.parametrize('kernel, size, pool, dtype', [
    ((5, 5, 3, 4), (8, 8), False, jnp.float32), ((1, 1, 3, 4), (8, 8), False, jnp.float32),
    ((3, 3, 2, 4), (8, 8), False, jnp.float32), ((3, 3, 3, 4), (9, 8), False, jnp.float32),
    ((3, 3, 3, 4), (7, 8), True, jnp.float32), ((3, 3, 3, 4), (8, 8), False, jnp.bfloat16)])
def test_what_is_no_3x3_convolution_is_refused(kernel, size, pool, dtype):
  with pytest.raises(AssertionError):
    convolution.conv3x3(jnp.ones((4, 8, 8, 3)), jnp.ones(kernel, dtype), size, pool)
