"""The two products of multi-head attention, for when its weights must be written out, as with dropout of them.

On CPUs in bfloat16 these, and their gradients, are batches of products as XLA's library takes them (bfloat16.py); what
einsum asks for is computed in float32, at a fourth of the speed. Elsewhere, and in float32, they are einsums.
"""
import jax
import jax.numpy as jnp

from layers import bfloat16


def _heads_first(x):
  """[B, L, H, C] -> [B * H, L, C]"""
  return _laid_out(x, (0, 2, 1, 3))


def _turned(x):
  """[B, L, H, C] -> [B * H, C, L]"""
  return _laid_out(x, (0, 2, 3, 1))


def _laid_out(x, order):
  x = bfloat16.kept(bfloat16.bits(x).transpose(order))
  return bfloat16.floats(x).reshape(-1, *x.shape[2:])


def _product(x, y, axes):
  """[G, N, C] and [G, C, K] -> float32 [G, N, K]; `axes`: those that are summed over."""
  return jax.lax.dot_general(x, y, (((axes[0],), (axes[1],)), ((0,), (0,))), preferred_element_type=jnp.float32)


def _heads_back(y, like, order=(0, 2, 1, 3)):
  """float32 [B * H, L, C] -> [B, L, H, C], as `like` is; `order` is another one for [B * H, C, L]."""
  y = bfloat16.bits(y.astype(like.dtype)).reshape(like.shape[0], like.shape[2], *y.shape[1:])
  return bfloat16.floats(y.transpose(order))


@jax.custom_vjp
def logits(query, key):
  """query: [B, Q, H, C], key: [B, K, H, C], of one dtype -> float32 [B, H, Q, K], not scaled."""
  def on_cpu(query, key):
    y = _product(_heads_first(query), _heads_first(key), (2, 2))
    return y.reshape(query.shape[0], -1, *y.shape[1:])
  return bfloat16.on_cpus(on_cpu, _einsum_logits, query, key)


def _einsum_logits(query, key):
  return jnp.einsum('bqhc,bkhc->bhqk', query, key).astype(jnp.float32)


def _logits_backward(saved, dlogits):
  def on_cpu(query, key, dlogits):
    dlogits = dlogits.astype(query.dtype).reshape(-1, *dlogits.shape[2:])
    return (_heads_back(_product(dlogits, _heads_first(key), (2, 1)), query),
            _heads_back(_product(_turned(query), dlogits, (2, 1)), key, (0, 3, 1, 2)))
  return bfloat16.on_cpus(on_cpu, lambda query, key, dlogits: jax.vjp(_einsum_logits, query, key)[1](dlogits),
                          *saved, dlogits)


logits.defvjp(lambda query, key: (logits(query, key), (query, key)), _logits_backward)


@jax.custom_vjp
def mixed(weights, value):
  """weights: [B, H, Q, K], value: [B, K, H, C], of one dtype -> [B, Q, H, C], that dtype."""
  def on_cpu(weights, value):
    y = _product(weights.reshape(-1, *weights.shape[2:]), _heads_first(value), (2, 1))
    return _heads_back(y, value)
  return bfloat16.on_cpus(on_cpu, _einsum_mixed, weights, value)


def _einsum_mixed(weights, value):
  return jnp.einsum('bhqk,bkhc->bqhc', weights, value)


def _mixed_backward(saved, dy):
  def on_cpu(weights, value, dy):
    dweights = _product(_heads_first(dy), _heads_first(value), (2, 2)).astype(weights.dtype).reshape(weights.shape)
    dvalue = _product(_turned(dy), weights.reshape(-1, *weights.shape[2:]), (2, 1))
    return dweights, _heads_back(dvalue, value, (0, 3, 1, 2))
  return bfloat16.on_cpus(on_cpu, lambda weights, value, dy: jax.vjp(_einsum_mixed, weights, value)[1](dy),
                          *saved, dy)


mixed.defvjp(lambda weights, value: (mixed(weights, value), (weights, value)), _mixed_backward)
