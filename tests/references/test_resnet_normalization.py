"""Batch normalisation over groups, whose gradient on CPUs is our own: that of automatic differentiation."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import platforms
from references.resnet_imagenet.normalization import normalized_by_group

EPSILON = 1e-5


def defined(x, scale, bias, group_size):
  """By the definition, in float64 where there is one."""
  cut = x.reshape(-1, group_size or len(x), *x.shape[1:])
  mean = cut.mean((1, 2, 3), keepdims=True)
  var = ((cut - mean)**2).mean((1, 2, 3), keepdims=True)
  return ((cut - mean) / jnp.sqrt(var + EPSILON) * scale + bias).reshape(x.shape), mean.mean((0, 1, 2, 3)), var.mean(
      (0, 1, 2, 3))


@pytest.mark.parametrize('group_size', [0, 2, 4, 8])
@pytest.mark.parametrize('dtype, bound', [('float32', 1e-5), ('bfloat16', 5e-3)])
def test_values_statistics_and_gradients_are_those_of_the_definition(group_size, dtype, bound):
  random = np.random.default_rng(0)
  x, dy = (jnp.asarray(random.normal(1, 2, (8, 4, 6, 3)), dtype) for _ in range(2))
  scale, bias = (jnp.asarray(random.normal(size=3), jnp.float32) for _ in range(2))
  ours = lambda *args: normalized_by_group(*args, group_size, EPSILON, dtype)
  (y, *statistics), pull_back = jax.vjp(jax.jit(ours), x, scale, bias)
  assert y.dtype == dtype and statistics[0].dtype == jnp.float32
  have = (y, *statistics, *pull_back((dy, *map(jnp.zeros_like, statistics))))
  with jax.enable_x64(True):
    wide = [jnp.asarray(np.asarray(a, np.float64)) for a in (x, scale, bias, dy)]
    (y, *statistics), pull_back = jax.vjp(lambda *args: defined(*args, group_size), *wide[:3])
    want = (y, *statistics, *pull_back((wide[3], *map(jnp.zeros_like, statistics))))
  for a, b in zip(have, want, strict=True):
    a, b = np.asarray(a, np.float64), np.asarray(b)
    assert a.shape == b.shape and np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


@pytest.mark.parametrize('group_size', [3, 16])
def test_groups_that_do_not_divide_the_batch_are_refused(group_size):
  with pytest.raises(AssertionError):
    normalized_by_group(jnp.ones((8, 4, 6, 3)), jnp.ones(3), jnp.zeros(3), group_size, EPSILON, 'float32')


def test_parameters_may_be_bfloat16():
  x, scale = jnp.ones((8, 4, 6, 3), jnp.bfloat16), jnp.ones(3, jnp.bfloat16)
  loss = lambda *args: normalized_by_group(*args, 0, EPSILON, 'bfloat16')[0].astype(jnp.float32).sum()
  assert [a.dtype for a in jax.grad(loss, (0, 1, 2))(x, scale, scale)] == [jnp.bfloat16] * 3


@pytest.mark.parametrize('group_size', [0, 4])
def test_the_gradient_that_cpus_compute_is_that_of_the_others(monkeypatch, group_size):
  random = np.random.default_rng(0)
  x, dy = (jnp.asarray(random.normal(1, 2, (8, 4, 6, 3)), jnp.float32) for _ in range(2))
  args = x, jnp.ones(3) * 0.7, jnp.zeros(3)

  def gradient(platform):
    monkeypatch.setattr(platforms, 'dependent', lambda *args, cpu, default: {'cpu': cpu}.get(platform, default)(
        *args))
    with jax.disable_jit():
      return jax.vjp(lambda *args: normalized_by_group(*args, group_size, EPSILON, 'float32')[0], *args)[1](dy)
  own, automatic = gradient('cpu'), gradient('default')
  assert not np.array_equal(own[0], automatic[0])  # it is another way
  for a, b in zip(own, automatic, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
