"""3 x 3 maxima and their gradient: flax's, of which none is scattered."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from references.resnet_imagenet.pooling import gathered, max_pool, pooled, windows

SHAPES = (3, 8, 6, 5), (1, 7, 9, 3), (3, 8, 5, 2), (1, 5, 8, 4), (1, 1, 1, 2), (3, 2, 1, 1), (1, 3, 2, 2)
INPUTS = {
    'ties': lambda random, shape: random.integers(0, 3, shape),
    'negative': lambda random, shape: random.integers(-9, -5, shape),
    'distinct': lambda random, shape: random.permutation(int(np.prod(shape))).reshape(shape) % 251,
    'lowest': lambda random, shape: np.full(shape, -np.inf),
    'some lowest': lambda random, shape: np.where(random.random(shape) < 0.8, -np.inf, random.integers(0, 3, shape)),
}


def flaxs(x):
  return nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])


@functools.partial(jax.jit, static_argnums=0)
def both(pool, x, dy):
  y, back = jax.vjp(pool, x)
  return y, back(dy)[0]


def random_pair(kind: str, shape, dtype: str):
  random = np.random.default_rng(0)
  batch, height, width, channels = shape
  dy = random.integers(-9, 10, (batch, -(-height // 2), -(-width // 2), channels))
  return jnp.asarray(INPUTS[kind](random, shape), dtype), jnp.asarray(dy, dtype)


@pytest.mark.parametrize('ours', [gathered, windows])
@pytest.mark.parametrize('kind', INPUTS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_values_and_gradients_are_flaxs(dtype, kind, ours):
  for shape in SHAPES:
    x, dy = random_pair(kind, shape, dtype)  # whole numbers: their sums are exact in either type
    for got, expected in zip(both(ours, x, dy), both(flaxs, x, dy), strict=True):
      assert got.dtype == jnp.dtype(dtype)
      np.testing.assert_array_equal(np.asarray(got, np.float32), np.asarray(expected, np.float32), f'{shape}')


def test_the_first_of_equals_has_the_gradient():
  y, back = jax.vjp(gathered, jnp.ones((1, 4, 4, 1)))
  got = back(jnp.asarray([[1., 10], [100, 1000]]).reshape(y.shape))[0]
  np.testing.assert_array_equal(got[0, :, :, 0], [[1, 10, 0, 0], [100, 1000, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_four_gradients_are_summed_before_they_are_rounded():
  x = jnp.zeros((1, 4, 4, 1), 'bfloat16').at[0, 1, 1, 0].set(1)  # the maximum of all four windows
  dy = jnp.asarray([256, 1, 1, 1], 'bfloat16').reshape(1, 2, 2, 1)
  assert jax.vjp(gathered, x)[1](dy)[0][0, 1, 1, 0] == 260  # 259 rounded; added one by one the ones would be lost


def test_a_pixel_is_a_byte():
  assert pooled(jnp.zeros((1, 4, 4, 2)))[1].dtype == jnp.uint8


@pytest.mark.parametrize('platform, scattered', [('cpu', False), ('cuda', False), ('tpu', True)])
def test_tpus_alone_scatter(platform, scattered):
  step = jax.jit(lambda x, dy: jax.vjp(max_pool, x)[1](dy))
  text = step.trace(jnp.zeros((1, 8, 8, 2)), jnp.zeros((1, 4, 4, 2))).lower(lowering_platforms=(platform,)).as_text()
  assert ('scatter' in text) == scattered
