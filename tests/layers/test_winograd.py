"""Winograd's convolution and its gradients against the sum that defines them, in float64."""
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import winograd

# (rows, columns), channels, filters: one oblong, one smaller than a tile
SHAPES = [((30, 30), 24, 16), ((15, 15), 16, 32), ((7, 7), 64, 32), ((3, 3), 64, 64), ((9, 21), 8, 8), ((2, 2), 4, 4)]


def defined(x, kernel):
  """[B, H, W, C], [3, 3, C, K] -> [B, H, W, K]"""
  h, w = x.shape[1:3]
  x = np.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
  return sum(x[:, i:i + h, j:j + w] @ kernel[i, j] for i, j in itertools.product(range(3), range(3)))


def defined_gradients(x, kernel, dy):
  h, w = dy.shape[1:3]
  padded, dx = (np.zeros((len(x), x.shape[1] + 3, x.shape[2] + 3, x.shape[3])) for _ in range(2))
  padded[:, 1:-2, 1:-2] = x
  dk = np.zeros(kernel.shape)
  for i, j in itertools.product(range(3), range(3)):
    dx[:, i:i + h, j:j + w] += dy @ kernel[i, j].T
    dk[i, j] = np.einsum('bhwc,bhwk->ck', padded[:, i:i + h, j:j + w], dy)
  return dx[:, 1:-2, 1:-2], dk


@pytest.mark.parametrize('batch', [6, 7])
@pytest.mark.parametrize('image, channels, filters', SHAPES)
def test_it_and_its_gradients_are_the_convolution(monkeypatch, batch, image, channels, filters):
  monkeypatch.setattr(winograd, 'BLOCK_TILES', 20)  # more than one block
  random = np.random.default_rng(0)
  x, kernel, dy = (random.normal(size=shape) for shape in (
      (batch, *image, channels), (3, 3, channels, filters), (batch, *image, filters)))
  single = [jnp.asarray(a, jnp.float32) for a in (x, kernel, dy)]
  got = winograd.convolution(*single[:2]), *winograd.gradients(*single)
  for have, want in zip(got, (defined(x, kernel), *defined_gradients(x, kernel, dy)), strict=True):
    assert have.shape == want.shape
    assert np.abs(np.asarray(have, np.float64) - want).max() < 1e-5 * np.abs(want).max()


def test_tiles_take_the_fewest_multiplications():
  assert [winograd.tiles(n, n)[0] for n in (30, 15, 14, 7, 6, 3, 2)] == [4, 4, 4, 4, 3, 3, 2]
  for m in winograd.TILES:
    a, b, g = winograd.matrices(m)
    data, taps = np.arange(1.0, m + 3) ** 2, np.array([3.0, -1.0, 2.0])
    assert a.T @ (g @ taps * (b @ data)) == pytest.approx(np.correlate(data, taps))


def test_the_whole_of_a_batch_is_one_sum():
  x, kernel = jnp.ones((5, 4, 4, 2)), jnp.ones((3, 3, 2, 3))
  whole = jax.jit(winograd.gradients)(x, kernel, jnp.ones((5, 4, 4, 3)))[1]
  assert float(whole[1, 1, 0, 0]) == pytest.approx(5 * 16)
