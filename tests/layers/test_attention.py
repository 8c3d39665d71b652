"""Attention's products and their gradients against einsum in float32, and which device computes them how."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import attention

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


@pytest.mark.parametrize('platform, sums', [('cpu', 'f32'), ('cuda', 'bf16'), ('tpu', 'bf16')])
@pytest.mark.parametrize('name', SHAPES)
def test_on_cpus_alone_sums_stay_float32(name, platform, sums):
  shapes = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in SHAPES[name]]
  loss = lambda *args: jnp.sum(getattr(attention, name)(*args).astype(jnp.float32)**2)
  text = jax.jit(jax.grad(loss, (0, 1))).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
  products = [line for line in text.splitlines() if 'dot_general' in line]
  assert len(products) == 3 and all(line.rstrip().endswith(f'x{sums}>') or f'x{sums}> loc' in line for line in products)
