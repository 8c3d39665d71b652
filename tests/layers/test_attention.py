"""Attention's products and their gradients against einsum in float32, and which device computes them how."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import attention, onednn
from training import mesh

BATCH, QUERIES, KEYS, HEADS, WIDTH = 2, 12, 20, 3, 8
SHAPES = {'logits': ((BATCH, QUERIES, HEADS, WIDTH), (BATCH, KEYS, HEADS, WIDTH)),
          'mixed': ((BATCH, HEADS, QUERIES, KEYS), (BATCH, KEYS, HEADS, WIDTH))}
FORMULAS = {'logits': 'bqhc,bkhc->bhqk', 'mixed': 'bhqk,bkhc->bqhc'}


@pytest.mark.parametrize('dtype, tolerance', [(jnp.float32, 1e-6), (jnp.bfloat16, 4e-3)])
@pytest.mark.parametrize('name', SHAPES)
def test_values_and_gradients_are_einsums(name, dtype, tolerance):
  rng = np.random.default_rng(0)
  inputs = [jnp.asarray(rng.normal(size=shape), dtype) for shape in SHAPES[name]]
  exact, exact_back = jax.vjp(lambda a, b: jnp.einsum(FORMULAS[name], a, b), *(a.astype(jnp.float32) for a in inputs))
  y, pull_back = jax.vjp(jax.jit(getattr(attention, name)), *inputs)
  assert y.dtype == (jnp.float32 if name == 'logits' else dtype)
  dy = jnp.asarray(rng.normal(size=y.shape), dtype)
  for have, want in zip((y, *pull_back(dy.astype(y.dtype))), (exact, *exact_back(dy.astype(jnp.float32))), strict=True):
    assert have.shape == want.shape
    assert np.linalg.norm(np.asarray(have, np.float32) - want) <= tolerance * np.linalg.norm(want)


def gradients(name, platform):
  shapes = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in SHAPES[name]]
  loss = lambda *args: jnp.sum(getattr(attention, name)(*args).astype(jnp.float32)**2)
  text = jax.jit(jax.grad(loss, (0, 1))).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
  return text.count('stablehlo.dot_general'), text.count(onednn.PRODUCT)


@pytest.mark.parametrize('name', SHAPES)
def test_on_cpus_that_have_it_alone_they_are_onednns(monkeypatch, name):
  assert gradients(name, 'cpu') == ((0, 3) if onednn.available(jnp.bfloat16) else (3, 0))
  assert gradients(name, 'cuda') == gradients(name, 'tpu') == (3, 0)
  monkeypatch.setattr(onednn, 'available', lambda dtype: False)
  assert gradients(name, 'cpu') == (3, 0)


@pytest.mark.skipif(not onednn.available(jnp.bfloat16), reason='no oneDNN here, or no instructions for bfloat16')
@pytest.mark.parametrize('name', SHAPES)
@pytest.mark.parametrize('devices', [2, 4])
def test_a_batch_divided_over_devices_stays_there(name, devices):
  rng = np.random.default_rng(0)
  arrays = [jnp.asarray(rng.normal(size=(4, *shape[1:])), jnp.bfloat16) for shape in SHAPES[name]]
  function = getattr(attention, name)
  all_three = jax.jit(lambda *args: (function(*args), *jax.vjp(function, *args)[1](function(*args))))
  over = mesh.make_mesh(jax.devices()[:devices])
  there = [jax.device_put(a, mesh.by_row(over)) for a in arrays]
  text = all_three.lower(*there).compile().as_text()
  assert onednn.PRODUCT in text
  assert not any(kind in text for kind in ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute'))
  for have, want in zip(all_three(*there), all_three(*arrays), strict=True):
    np.testing.assert_allclose(*(np.asarray(a, np.float32) for a in (have, want)), rtol=2**-8, atol=1e-5)
