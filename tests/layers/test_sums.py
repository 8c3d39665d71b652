"""Two sums in one pass over bfloat16: those of float64, and nothing moved between devices for them."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import sums
from training import mesh


def made(shape, dtypes):
  random = np.random.default_rng(0)
  return [jnp.asarray(random.normal(1, 2, shape), dtype) for dtype in dtypes]


@pytest.mark.parametrize('dtypes', [('bfloat16', 'bfloat16'), ('float32', 'bfloat16'), ('float32', 'float32')])
@pytest.mark.parametrize('shape', [(4, 8, 6, 3), (5, 7, 5, 2), (3, 1, 1, 4), (2, 3, 4, 4, 3), (1, 17, 1, 2)])
@pytest.mark.parametrize('shift', [0.0, 3.0, 'mean'])
def test_they_are_the_sums(dtypes, shape, shift):
  x, y = made(shape, dtypes)
  shift = jnp.float32(y).mean((-4, -3, -2), keepdims=True) if shift == 'mean' else shift
  total, along = jax.jit(sums.pair)(x, y, shift)
  a, b, c = (np.asarray(a, np.float64) for a in (x, y, shift))
  for have, want in ((total, a), (along, a * (b - c))):
    want = want.sum((-4, -3, -2), keepdims=True)
    assert have.dtype == jnp.float32 and have.shape == want.shape
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-4)


def test_products_are_rounded_in_float32_alone():
  x = jnp.full((2, 4, 4, 1), 1 + 2**-7, jnp.bfloat16)  # its square has 15 binary digits, and bfloat16 8
  assert jax.jit(sums.pair)(x, x)[1].item() == 32 * (1 + 2**-7)**2


@pytest.mark.parametrize('platform, dtype, ours', [
    ('cpu', 'bfloat16', True), ('cpu', 'float32', False), ('cuda', 'bfloat16', False), ('tpu', 'bfloat16', False)])
def test_only_on_cpus_in_bfloat16_it_is_one_pass(platform, dtype, ours):
  x = jax.ShapeDtypeStruct((4, 6, 6, 3), dtype)
  text = jax.jit(sums.pair).trace(x, x).lower(lowering_platforms=(platform,)).as_text()
  assert ('stablehlo.complex' in text) == ours


@pytest.mark.parametrize('devices', [2, 4])
def test_rows_divided_over_devices_stay_there(devices):
  over = mesh.make_mesh(jax.devices()[:devices])
  x, y = (jax.device_put(a, mesh.by_row(over)) for a in made((8, 6, 6, 3), ('bfloat16', 'bfloat16')))
  compiled = jax.jit(sums.pair).lower(x, y).compile()
  text = compiled.as_text()
  assert 'c64' in text and 'all-reduce(' in text
  assert not any(kind in text for kind in ('all-gather', 'all-to-all', 'collective-permute'))
  for have, want in zip(compiled(x, y), sums.pair(*made((8, 6, 6, 3), ('bfloat16', 'bfloat16')))):
    np.testing.assert_allclose(have, want, rtol=1e-5)
