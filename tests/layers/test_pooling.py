"""2 x 2 maxima and which corner has their gradient; GELU and its slope."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers.pooling import max_pool, pooled
from references.cifar.model import gelu


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_the_first_of_equals_has_the_gradient_and_odd_edges_none(dtype):
  x = np.random.default_rng(0).integers(0, 3, (4, 5, 7, 3)).astype(np.float32)  # many equals
  y, back = jax.vjp(max_pool, jnp.asarray(x, dtype))
  assert y.dtype == dtype
  dy = np.random.default_rng(1).integers(1, 200, y.shape).astype(np.float32)  # numbers that each dtype has
  expected = np.zeros_like(x)
  for b, i, j, c in np.ndindex(y.shape):
    window = x[b, 2 * i:2 * i + 2, 2 * j:2 * j + 2, c]
    row, column = np.unravel_index(window.argmax(), (2, 2))
    assert y[b, i, j, c] == window.max()
    expected[b, 2 * i + row, 2 * j + column, c] = dy[b, i, j, c]
  np.testing.assert_array_equal(back(jnp.asarray(dy, dtype))[0].astype(np.float32), expected)


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-6), ('bfloat16', 2**-7)])
def test_gelu_and_its_slope_are_their_formulas(dtype, tolerance):
  x = jnp.linspace(-6, 6, 241, dtype=dtype)
  exact = np.asarray(x, np.float64)
  cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in exact])
  slope = cdf + exact * np.exp(-exact**2 / 2) / math.sqrt(2 * math.pi)
  y, back = jax.vjp(gelu, x)
  for got, expected in ((y, exact * cdf), (back(jnp.ones_like(x))[0], slope)):
    assert got.dtype == jnp.dtype(dtype)
    np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=tolerance, atol=1e-6)


def test_a_corner_is_a_byte():
  assert pooled(jnp.zeros((1, 4, 4, 2)))[1].dtype == jnp.uint8
