"""Batch normalisation with its activation as one function: flax's values, statistics and gradients."""
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import platforms
from references.cifar import normalization
from references.cifar.model import BatchNorm, gelu
from references.cifar.normalization import normalized

ACTIVATIONS = {'gelu': gelu, 'silu': jax.nn.silu}


def made(dtype, shape=(6, 5, 4, 3)):
  random = np.random.default_rng(0)
  x = jnp.asarray(random.normal(1, 2, shape), dtype)
  return x, jnp.asarray(random.normal(size=shape[3:]), jnp.float32), jnp.asarray(random.normal(size=shape), dtype)


@pytest.mark.parametrize('name', ACTIVATIONS)
@pytest.mark.parametrize('dtype, bound', [('float32', 3e-6), ('bfloat16', 2e-2)])
def test_values_statistics_and_gradients_are_flaxs(name, dtype, bound):
  x, bias, dy = made(dtype)
  activation, norm = ACTIVATIONS[name], nn.BatchNorm(False, momentum=0.6, epsilon=1e-12, use_scale=False,
                                                     dtype=jnp.float32)

  def flaxs(x, bias):
    y, updated = norm.apply({'params': {'bias': bias}, 'batch_stats': {'mean': jnp.zeros(3), 'var': jnp.ones(3)}},
                            x.astype(jnp.float32), mutable='batch_stats')
    return activation(y).astype(dtype), updated['batch_stats']

  y, back, statistics = jax.vjp(flaxs, x, bias, has_aux=True)
  (mine, *stats), mine_back = jax.vjp(lambda x, bias: normalized(x, bias, activation, 1e-12), x, bias)
  assert mine.dtype == y.dtype and mine_back((dy, *map(jnp.zeros_like, stats)))[0].dtype == x.dtype
  for ours, theirs in zip((mine, *mine_back((dy, *map(jnp.zeros_like, stats)))), (y, *back(dy))):
    ours, theirs = (np.asarray(one, np.float64) for one in (ours, theirs))
    assert np.linalg.norm(ours - theirs) <= bound * np.linalg.norm(theirs)
  for value, theirs, first in zip(stats, (statistics['mean'], statistics['var']), (0, 1)):
    np.testing.assert_allclose(0.6 * first + 0.4 * value, theirs, rtol=1e-5)


def test_the_layer_keeps_flaxs_parameters_and_statistics_and_evaluates_as_flax_does():
  x, *_ = made('float32')
  ours, flaxs = (kind(train, momentum=0.6, use_scale=False, dtype=jnp.float32, **more) for train, kind, more in (
      (False, BatchNorm, {'activation': gelu}), (False, nn.BatchNorm, {})))
  first = flaxs.init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, ours.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, first)
  np.testing.assert_array_equal(ours.init(jax.random.key(0), x)['batch_stats']['mean'], 0)
  (y, mine), (theirs, updated) = (layer.apply(first, x, mutable='batch_stats') for layer in (ours, flaxs))
  np.testing.assert_allclose(y, gelu(theirs), atol=2e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), mine, updated)
  variables = {**first, **updated}
  np.testing.assert_array_equal(ours.clone(use_running_average=True).apply(variables, x),
                                gelu(flaxs.clone(use_running_average=True).apply(variables, x)))


def test_on_cpus_the_gradient_is_automatic_differentiations_far_from_zero_too():
  x, bias, dy = made('float32', (16, 5, 4, 3))
  x = x + jnp.asarray([0.0, 30.0, -300.0])
  ours, automatic = (jax.vjp(lambda x, bias: f(x, bias, gelu, 1e-12)[0], x, bias)[1](dy) for f in (
      normalized, lambda *args: normalization._forward(*args)[0]))
  for a, b in zip(ours, automatic, strict=True):
    assert np.linalg.norm(a - b) <= 2e-4 * np.linalg.norm(b)  # float32 has no more where the mean is 150 deviations


def test_a_constant_channel_is_the_bias_alone():
  y, mean, variance = normalized(jnp.full((4, 2, 2, 3), 7.3), jnp.arange(3.0), jax.nn.silu, 1e-5)
  np.testing.assert_allclose(y, jnp.broadcast_to(jax.nn.silu(jnp.arange(3.0)), y.shape), atol=1e-2)
  assert np.all(variance >= 0) and np.allclose(mean, 7.3)


@pytest.mark.parametrize('platform, slopes, barriers', [('cuda', 2, 1), ('cpu', 1, 1), ('tpu', 1, 0)])
def test_nvidias_gpus_alone_compute_the_slope_twice(platform, slopes, barriers):
  x, bias, dy = made('bfloat16')
  step = jax.jit(lambda x, bias, dy: jax.vjp(lambda *a: normalized(*a, gelu, 1e-5)[0], x, bias)[1](dy))
  text = step.trace(x, bias, dy).lower(lowering_platforms=(platform,)).as_text()
  assert (text.count('stablehlo.exponential'), text.count('optimization_barrier')) == (slopes, barriers)


@pytest.mark.parametrize('name', ACTIVATIONS)
@pytest.mark.parametrize('platform', ['cuda', 'cpu'])
def test_the_gradient_that_a_platform_computes_is_that_of_the_others(platform, name, monkeypatch):
  x, bias, dy = made('float32')

  def gradient(platform):
    monkeypatch.setattr(platforms, 'dependent', lambda *args, **ways: ways[platform](*args))
    return jax.vjp(lambda *a: normalized(*a, ACTIVATIONS[name], 1e-5)[0], x, bias)[1](dy)
  own, automatic = gradient(platform), gradient('default')
  assert not np.array_equal(own[0], automatic[0])  # it is another way
  for ours, theirs in zip(own, automatic):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
