"""Dropout: what share it drops, what it leaves, and that neighbours, of one random word, are dropped by chance."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import dropout as module
from layers.dropout import dropout
from training import mesh


@pytest.mark.parametrize('rate', [1e-3, 0.1, 0.5, 0.9])
@pytest.mark.parametrize('columns, drawn', [(64, '_halves'), (63, '_halves'), (63, '_whole')])
def test_it_drops_that_share_and_scales_the_rest(rate, columns, drawn, monkeypatch):
  monkeypatch.setattr(module, '_halves', getattr(module, drawn))  # what other devices compute, on this one
  x = jax.random.normal(jax.random.key(1), (100, 50, columns)) + 10
  y = np.asarray(dropout(x, rate, jax.random.key(0)))
  dropped = y == 0
  assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate / dropped.size)
  np.testing.assert_allclose(y[~dropped], np.asarray(x)[~dropped] / (1 - rate), rtol=1e-4)
  # each pair of neighbours is dropped together as often as chance has it
  for one, other in ((dropped[..., 1:], dropped[..., :-1]), (dropped[..., 2:], dropped[..., :-2])):
    assert abs((one & other).mean() - rate**2) < 6 * rate / np.sqrt(one.size)


def test_its_mean_is_what_went_in():
  kept = dropout(jnp.ones((1000, 1000)), 0.1, jax.random.key(2))
  assert float(kept.mean()) == pytest.approx(1, abs=5 * np.sqrt(0.1 / 0.9) / 1000)
  assert len(np.unique(kept)) == 2


@pytest.mark.parametrize('rate, share', [(1e-9, 0.0), (1 - 1e-9, 1.0)])
def test_rates_at_the_ends(rate, share):
  assert float((dropout(jnp.ones((64, 64)), rate, jax.random.key(0)) == 0).mean()) == pytest.approx(share, abs=1e-3)


def test_axes_that_share_their_fate():
  y = np.asarray(dropout(jnp.ones((4000, 3, 5)), 0.3, jax.random.key(0), (1, 2)))
  assert (y == y[:, :1, :1]).all() and abs((y[:, 0, 0] == 0).mean() - 0.3) < 0.04


def test_the_gradient_is_that_of_what_was_kept():
  x = jnp.full((20, 7), 3.0)
  y, gradient = (f(lambda x: dropout(x, 0.5, jax.random.key(0)).sum())(x) for f in (jax.value_and_grad, jax.grad))
  np.testing.assert_array_equal(gradient, dropout(jnp.ones((20, 7)), 0.5, jax.random.key(0)))
  assert float(y[0]) == pytest.approx(3 * float(gradient.sum()))


def test_what_is_drawn_does_not_depend_on_how_many_devices_there_are():
  x, drop = np.ones((16, 6, 33), np.float32), jax.jit(lambda x: dropout(x, 0.1, jax.random.key(3)))
  devices = mesh.make_mesh(jax.devices()[:4])
  np.testing.assert_array_equal(drop(x), drop(jax.device_put(x, mesh.by_row(devices))))


@pytest.mark.parametrize('platform, halves', [('cpu', True), ('cuda', False), ('tpu', False)])
def test_words_are_halved_on_cpus_alone(platform, halves):
  shapes = jax.ShapeDtypeStruct((4, 8), jnp.float32), jax.eval_shape(lambda: jax.random.key(0))
  text = jax.jit(lambda x, key: dropout(x, 0.1, key)).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
  assert ('ui16' in text) == halves


@pytest.mark.parametrize('x, rate, dims', [(jnp.ones(3), 1.0, ()), (jnp.ones(3), -0.1, ()), (jnp.ones(()), 0.5, ()),
                                           (jnp.ones((3, 4)), 0.5, (-1,))])
def test_what_makes_no_sense_is_refused(x, rate, dims):
  with pytest.raises(AssertionError):
    dropout(x, rate, jax.random.key(0), dims)
