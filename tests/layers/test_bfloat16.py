"""Products whose sums are float32, the ways in which they may be asked for, and bfloat16 as bits."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import bfloat16


def normal(seed, *shape, dtype=jnp.bfloat16):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def test_bits_are_moved_as_they_are():
  x = jnp.asarray([0.0, -0.0, 1.5, jnp.inf, -jnp.inf, jnp.nan, 1e-40], jnp.bfloat16)
  bits = bfloat16.bits(x)
  assert bits.dtype == jnp.uint16
  np.testing.assert_array_equal(np.asarray(bfloat16.floats(bits)).view(np.uint16), np.asarray(x).view(np.uint16))
  for other in (jnp.ones(3), jnp.ones(3, jnp.uint8)):
    assert bfloat16.bits(other) is other and bfloat16.floats(other) is other


@pytest.mark.parametrize('axes, x, y', [((1, 0), (40, 24), (24, 7)), ((1, 1), (40, 24), (7, 24))])
def test_sums_are_not_rounded(axes, x, y):
  x, y = normal(0, *x), normal(1, *y)
  got = bfloat16.wide(x, y, axes)
  exact = np.tensordot(np.asarray(x, np.float64), np.asarray(y, np.float64), (axes[:1], axes[1:]))
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize('rows', [(48,), (3, 16), (2, 5, 7)])
def test_sums_over_rows(rows, dtype):
  x, y = normal(0, *rows, 6, dtype=dtype), normal(1, *rows, 10, dtype=dtype)
  got = jax.jit(bfloat16.over_rows)(x, y)
  exact = np.asarray(x, np.float64).reshape(-1, 6).T @ np.asarray(y, np.float64).reshape(-1, 10)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('turned', [
    lambda x, y: bfloat16.wide(x, y).astype(jnp.bfloat16).T,
    lambda x, y: bfloat16.floats(bfloat16.bits(bfloat16.wide(x, y).astype(jnp.bfloat16)).T),
    lambda x, y: bfloat16.over_rows(x.reshape(4, 12, 24), bfloat16.wide(x, y).astype(x.dtype).reshape(
        4, 12, 16)).astype(x.dtype).T])
def test_xla_can_compute_a_product_that_is_rounded_and_turned(turned):
  assert bool(jnp.isfinite(jax.jit(turned)(normal(0, 48, 24), normal(1, 24, 16))).all())
