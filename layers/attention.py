"""The two products of multi-head attention, for when its weights must be written out, as with dropout of them.

On CPUs in bfloat16 these, and their gradients, are oneDNN's batches of products, where there is one (onednn.py); what
einsum asks for XLA:CPU computes in float32, at a fourth of the speed. Elsewhere, and in float32, they are einsums.
"""
import jax
import jax.numpy as jnp

from layers import onednn
from layers.bfloat16 import bits, floats, kept


def _swapped(x):
  """[B, L, H, C] -> [B, H, L, C], and back."""
  return floats(kept(bits(x).swapaxes(1, 2)))


@jax.custom_vjp
def logits(query, key):
  """query: [B, Q, H, C], key: [B, K, H, C], of one dtype -> float32 [B, H, Q, K], not scaled."""
  def on_cpu(query, key):
    return onednn.products(_swapped(query), _swapped(key), (False, True), jnp.float32)
  return onednn.in_bfloat16(on_cpu, _einsum_logits, query, key)


def _einsum_logits(query, key):
  return jnp.einsum('bqhc,bkhc->bhqk', query, key).astype(jnp.float32)


def _logits_backward(saved, dlogits):
  def on_cpu(query, key, dlogits):
    dlogits = dlogits.astype(query.dtype)
    return (_swapped(onednn.products(dlogits, _swapped(key), (False, False), key.dtype)),
            _swapped(onednn.products(dlogits, _swapped(query), (True, False), key.dtype)))
  return onednn.in_bfloat16(on_cpu, lambda query, key, dlogits: jax.vjp(_einsum_logits, query, key)[1](dlogits),
                            *saved, dlogits)


logits.defvjp(lambda query, key: (logits(query, key), (query, key)), _logits_backward)


@jax.custom_vjp
def mixed(weights, value):
  """weights: [B, H, Q, K], value: [B, K, H, C], of one dtype -> [B, Q, H, C], that dtype."""
  def on_cpu(weights, value):
    return _swapped(onednn.products(weights, _swapped(value), (False, False), value.dtype))
  return onednn.in_bfloat16(on_cpu, _einsum_mixed, weights, value)


def _einsum_mixed(weights, value):
  return jnp.einsum('bhqk,bkhc->bqhc', weights, value)


def _mixed_backward(saved, dy):
  def on_cpu(weights, value, dy):
    dy = _swapped(dy)
    return (onednn.products(dy, _swapped(value), (False, True), weights.dtype),
            _swapped(onednn.products(weights, dy, (True, False), value.dtype)))
  return onednn.in_bfloat16(on_cpu, lambda weights, value, dy: jax.vjp(_einsum_mixed, weights, value)[1](dy),
                            *saved, dy)


mixed.defvjp(lambda weights, value: (mixed(weights, value), (weights, value)), _mixed_backward)
