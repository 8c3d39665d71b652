"""The product of dense layers and its gradients against the sums that define them, in float64."""
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import dense


@pytest.mark.parametrize('shape', [(12, 8), (3, 5, 8), (2, 3, 5, 8)])
def test_a_dense_layer_and_its_gradients_are_the_product(shape):
  random = np.random.default_rng(0)
  x, kernel, dy = (random.normal(size=size) for size in (shape, (8, 6), (*shape[:-1], 6)))
  layer = nn.Dense(6, use_bias=False, dot_general=dense.dot_general)
  apply = lambda kernel, x: layer.apply({'params': {'kernel': kernel}}, x)
  y, pull_back = jax.vjp(apply, jnp.float32(kernel), jnp.float32(x))
  dkernel, dx = pull_back(jnp.float32(dy))
  for have, want in ((y, x @ kernel), (dx, dy @ kernel.T), (dkernel, x.reshape(-1, 8).T @ dy.reshape(-1, 6))):
    assert have.shape == want.shape and have.dtype == jnp.float32
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)


def test_nothing_is_turned_for_the_gradients():
  loss = lambda x, kernel: jnp.sum(dense.dot_general(x, kernel, (((2,), (0,)), ((), ())))**2)
  shapes = jax.ShapeDtypeStruct((4, 5, 8), jnp.bfloat16), jax.ShapeDtypeStruct((8, 6), jnp.bfloat16)
  text = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).as_text()
  assert text.count('stablehlo.dot_general') == 3 and 'stablehlo.transpose' not in text


def test_a_product_of_something_else_is_refused():
  with pytest.raises(AssertionError):
    dense.dot_general(jnp.ones((4, 8)), jnp.ones((8, 8)), (((1,), (1,)), ((), ())))
