"""Convolutions as products of patches, and their gradients, against XLA's in float32, for each kind of window."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import convolution, patches
from layers.blocks import LEAST_IMAGES, over_blocks
from tests.layers import divided

# window, stride, padding: airbench's, two of stride 2, ResNet's stem, one that is cut, a whitening, a wide one,
# and two whose windows are whole steps wide
WINDOWS = [((3, 3), 1, ((1, 0), (1, 1))), ((3, 3), 2, ((1, 1), (1, 1))), ((5, 5), 2, ((2, 2), (2, 2))),
           ((4, 4), 1, ((2, 1), (2, 1))), ((3, 3), 1, ((1, -2), (1, 1))), ((2, 2), 1, ((0, 0), (0, 0))),
           ((1, 5), 3, ((0, 0), (2, 1))), ((4, 4), 2, ((1, 0), (1, 0))), ((3, 6), 3, ((2, 1), (0, 2)))]


@pytest.mark.parametrize('dtype, tolerance', [(jnp.float32, 1e-5), (jnp.bfloat16, 4e-3)])
@pytest.mark.parametrize('batch, size', [(12, (11, 10)), (5, (9, 8))])
@pytest.mark.parametrize('window, stride, padding', WINDOWS)
def test_values_and_gradients_are_the_convolutions(monkeypatch, window, stride, padding, batch, size, dtype, tolerance):
  monkeypatch.setattr(patches, 'ELEMENTS', 1000)  # more than one block
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.normal(size=shape), dtype) for shape in ((batch, *size, 3), (*window, 3, 6)))
  exact, pull_back = jax.vjp(functools.partial(convolution.by_xla, stride=stride, padding=padding),
                             *(a.astype(jnp.float32) for a in (x, kernel)))
  dy = jnp.asarray(rng.normal(size=exact.shape), dtype)
  expected = [exact, *pull_back(dy.astype(jnp.float32))]
  how = dict(stride=stride, padding=padding)
  (y,), gradients = patches.convolution(x, kernel, **how), patches.gradients(x, kernel, dy, **how)
  for have, want in zip((y, *gradients), expected, strict=True):
    assert have.shape == want.shape and have.dtype == dtype
    assert np.linalg.norm(np.asarray(have, np.float32) - want) <= tolerance * np.linalg.norm(want)
  np.testing.assert_array_equal(patches.filters_gradient(x, kernel, dy, **how), gradients[1])
  np.testing.assert_array_equal(patches.inputs_gradient(x, kernel, dy, **how, start=lambda dy: dy), gradients[0])


def test_a_single_block_can_be_computed_and_is_the_same():
  rng = np.random.default_rng(0)  # XLA has no loop then, and turns the product itself
  x, kernel, dy = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in (
      (4, 8, 8, 16), (3, 3, 16, 32), (4, 8, 8, 32)))
  gradients = jax.jit(functools.partial(patches.gradients, stride=1, padding=((1, 1), (1, 1))))
  text = gradients.lower(x, kernel, dy).compile().as_text()
  assert ' while(' not in text and all(bool(jnp.isfinite(a).all()) for a in gradients(x, kernel, dy))


@pytest.mark.parametrize('batch, most, rows', [(2000, 25, 20), (2000, 10, 8), (12, 64, 12), (10, 4, 2), (7, 5, 1)])
def test_a_block_is_of_fours_where_there_are_any(batch, most, rows):
  seen = []

  def block(x):
    seen.append(x.shape)
    return [x], None
  x = jnp.arange(batch * 2.0).reshape(batch, 2)
  np.testing.assert_array_equal(over_blocks(block, [x], rows=most)[0][0], x)
  assert set(seen) == {(rows, 2)}


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('devices', [2, 4])
def test_a_batch_divided_over_devices_stays_there(monkeypatch, devices, dtype):
  monkeypatch.setattr(patches, 'ELEMENTS', 1000)
  by_patches = functools.partial(convolution.by_patches, stride=2, padding=((1, 1), (1, 1)))
  divided.assert_it_stays_there(by_patches, devices, (16, 14, 14, 3), (3, 3, 3, 5), dtype)
  assert 1000 // (7 * 7 * 27) < LEAST_IMAGES  # so blocks are of four, and not of all sixteen
