"""The product of dense layers and its gradients against the sums that define them, in float64."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import attention, dense, onednn
from tests.layers import divided
from training import mesh


@pytest.mark.parametrize('shape', [(12, 8), (3, 5, 8), (2, 3, 5, 8)])
def test_a_dense_layer_and_its_gradients_are_the_product(shape):
  random = np.random.default_rng(0)
  x, kernel, dy = (random.normal(size=size) for size in (shape, (8, 6), (*shape[:-1], 6)))
  y, pull_back = jax.vjp(dense.product, jnp.float32(x), jnp.float32(kernel))
  dx, dkernel = pull_back(jnp.float32(dy))
  for have, want in ((y, x @ kernel), (dx, dy @ kernel.T), (dkernel, x.reshape(-1, 8).T @ dy.reshape(-1, 6))):
    assert have.shape == want.shape and have.dtype == jnp.float32
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('features', [6, 12])  # fewer than channels, and more: the narrower one is turned
@pytest.mark.parametrize('rows', [(48,), (3, 16)])
def test_in_bfloat16_sums_are_float32_and_rounded_once(rows, features):
  random = np.random.default_rng(0)
  x, kernel, dy = (jnp.asarray(random.normal(size=size), jnp.bfloat16) for size in (
      (*rows, 8), (8, features), (*rows, features)))
  y, pull_back = jax.vjp(jax.jit(dense.product), x, kernel)
  wide = [np.asarray(a, np.float64) for a in (x, kernel, dy)]
  exact = (wide[0] @ wide[1], wide[2] @ wide[1].T, wide[0].reshape(-1, 8).T @ wide[2].reshape(-1, features))
  for have, want in zip((y, *pull_back(dy)), exact, strict=True):
    assert have.dtype == jnp.bfloat16 and have.shape == want.shape
    np.testing.assert_allclose(np.asarray(have, np.float64), want, rtol=2**-8, atol=1e-5)


def gradients(platform):
  loss = lambda x, kernel: jnp.sum(dense.product(x, kernel).astype(jnp.float32)**2)
  shapes = jax.ShapeDtypeStruct((4, 5, 8), jnp.bfloat16), jax.ShapeDtypeStruct((8, 6), jnp.bfloat16)
  text = jax.jit(jax.grad(loss, (0, 1))).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
  return text.count('stablehlo.dot_general'), text.count(onednn.PRODUCT)


def test_in_bfloat16_products_are_onednns_on_cpus_that_have_it_alone():
  assert gradients('cpu') == ((0, 3) if onednn.available(jnp.bfloat16) else (3, 0))
  assert gradients('cuda') == gradients('tpu') == (3, 0)


def test_without_it_they_are_xlas(monkeypatch):
  monkeypatch.setattr(onednn, 'available', lambda dtype: False)
  assert gradients('cpu') == (3, 0)


@pytest.mark.skipif(not onednn.available(jnp.bfloat16), reason='no oneDNN here, or no instructions for bfloat16')
@pytest.mark.parametrize('devices', [2, 4])
def test_rows_divided_over_devices_stay_there(devices):
  divided.assert_it_stays_there(dense.product, devices, (8, 5, 6), (6, 7), jnp.bfloat16, onednn.PRODUCT)
  random = np.random.default_rng(0)
  x, kernel, dy = (jnp.asarray(random.normal(size=size), jnp.bfloat16) for size in ((8, 5, 6), (6, 7), (8, 5, 7)))
  all_three = jax.jit(lambda x, kernel, dy: (dense.product(x, kernel), *jax.vjp(dense.product, x, kernel)[1](dy)))
  over = mesh.make_mesh(jax.devices()[:devices])
  there = [jax.device_put(a, place(over)) for a, place in (
      (x, mesh.by_row), (kernel, mesh.replicated), (dy, mesh.by_row))]
  for have, want in zip(all_three(*there), all_three(x, kernel, dy), strict=True):
    np.testing.assert_allclose(*(np.asarray(a, np.float32) for a in (have, want)), rtol=2**-8, atol=1e-5)


@pytest.mark.skipif(not onednn.available(jnp.bfloat16), reason='no oneDNN here, or no instructions for bfloat16')
def test_two_dtypes_are_refused_since_onednn_would_end_the_process():
  for function, shapes in ((dense.product, ((8, 4), (4, 6))), (attention.logits, ((2, 4, 3, 5), (2, 6, 3, 5))),
                           (attention.mixed, ((2, 3, 4, 6), (2, 6, 3, 5)))):
    with pytest.raises(AssertionError):
      function(jnp.ones(shapes[0], jnp.bfloat16), jnp.ones(shapes[1], jnp.float32))


def test_nothing_makes_nothing():
  y, pull_back = jax.vjp(dense.product, jnp.ones((0, 5, 8), jnp.bfloat16), jnp.ones((8, 6), jnp.bfloat16))
  assert y.shape == (0, 5, 6) and not pull_back(y)[1].any()


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_a_bias_is_added_in_the_dtype_and_its_gradient_is_a_sum_in_float32(dtype):
  y, bias = jnp.ones((300, 7, 3), dtype), jnp.asarray([1.0, 2.0, 0.001])
  total, pull_back = jax.vjp(dense.plus, y, bias)
  np.testing.assert_array_equal(total, y + bias.astype(dtype))
  dy, dbias = pull_back(jnp.full(y.shape, 1.25, dtype))
  assert dy.dtype == dtype and dbias.dtype == jnp.float32
  np.testing.assert_array_equal(dbias, np.full(3, 300 * 7 * 1.25, np.float32))  # in bfloat16 it would be 2,624


def test_nothing_is_turned_for_the_gradients():
  loss = lambda x, kernel: jnp.sum(dense.product(x, kernel)**2)
  shapes = jax.ShapeDtypeStruct((4, 5, 8), jnp.float32), jax.ShapeDtypeStruct((8, 6), jnp.float32)
  text = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).as_text()
  assert text.count('stablehlo.dot_general') == 3 and 'stablehlo.transpose' not in text
