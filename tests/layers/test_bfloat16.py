"""Products whose sums are float32, bfloat16 as bits, and what XLA:CPU may not fuse."""
import functools

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


def test_what_is_apart_is_the_function_and_has_its_gradient():
  x = normal(0, 5, 3, dtype=jnp.float32)
  both = lambda x, y: (jnp.sin(x) * y, y.astype(jnp.bfloat16))
  have, want = (jax.jit(jax.value_and_grad(lambda x, y, f=f: f(x, y)[0].sum(), (0, 1)))(x, x + 1) for f in (
      functools.partial(bfloat16.apart, both), both))
  jax.tree.map(np.testing.assert_array_equal, have, want)
  assert jax.tree.map(lambda a: (a.shape, a.dtype), bfloat16.apart(both, x, x)) == jax.tree.map(
      lambda a: (a.shape, a.dtype), both(x, x))


def test_what_is_apart_is_a_branch_of_the_compiled_program():
  text = jax.jit(lambda x: bfloat16.apart(lambda y: y.sum(0), x + 1)).lower(jnp.ones((64, 48))).compile().as_text()
  assert ' conditional(' in text
