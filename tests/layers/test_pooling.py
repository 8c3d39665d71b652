"""2 x 2 maxima and which corner has their gradient, alone and within the convolution; GELU and its slope."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers.convolution import conv3x3
from layers.pooling import max_pool, pooled
from references.cifar.model import gelu

DTYPES = ('float32', 'bfloat16')


def test_the_first_of_equals_has_the_gradient_and_odd_edges_none():
  x = np.random.default_rng(0).integers(0, 3, (4, 5, 7, 3)).astype(np.float32)  # many equals
  y, back = jax.vjp(max_pool, jnp.asarray(x))
  dy = np.arange(1.0, y.size + 1, dtype=np.float32).reshape(y.shape)
  expected = np.zeros_like(x)
  for b, i, j, c in np.ndindex(y.shape):
    window = x[b, 2 * i:2 * i + 2, 2 * j:2 * j + 2, c]
    row, column = np.unravel_index(window.argmax(), (2, 2))
    assert y[b, i, j, c] == window.max()
    expected[b, 2 * i + row, 2 * j + column, c] = dy[b, i, j, c]
  np.testing.assert_array_equal(back(jnp.asarray(dy))[0], expected)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('elsewhere', [False, True])
def test_a_pooled_convolution_is_the_convolution_pooled(monkeypatch, dtype, elsewhere):
  if elsewhere:  # what accelerators compute
    monkeypatch.setattr(jax.lax, 'platform_dependent', lambda *args, cpu, default: default(*args))
  random = np.random.default_rng(0)
  x, kernel, dy = (jnp.asarray(random.normal(size=s), dtype) for s in ((6, 7, 9, 4), (3, 3, 4, 5), (6, 3, 4, 5)))
  got, expected = (jax.vjp(f, x, kernel) for f in (
      lambda x, k: conv3x3(x, k, (6, 8), True), lambda x, k: max_pool(conv3x3(x, k, (6, 8)))))
  for a, b in zip((got[0], *got[1](dy)), (expected[0], *expected[1](dy)), strict=True):
    assert a.dtype == jnp.dtype(dtype) and a.shape == b.shape
    np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', DTYPES)
def test_on_cpus_no_image_is_made_of_what_is_pooled(dtype):
  def temporary_bytes(pooled_convolution):
    step = lambda x, kernel, dy: jax.vjp(pooled_convolution, x, kernel)[1](dy)
    shapes = (512, 8, 8, 4), (3, 3, 4, 64), (512, 4, 4, 64)
    compiled = jax.jit(step).lower(*(jax.ShapeDtypeStruct(s, dtype) for s in shapes)).compile()
    return compiled.memory_analysis().temp_size_in_bytes
  whole = 512 * 8 * 8 * 64 * jnp.dtype(dtype).itemsize
  assert temporary_bytes(lambda x, k: conv3x3(x, k, (8, 8), True)) < whole
  assert temporary_bytes(lambda x, k: max_pool(conv3x3(x, k, (8, 8)))) > whole


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
