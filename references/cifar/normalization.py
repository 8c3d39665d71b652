"""Batch normalisation and the activation after it as one function, whose gradient needs the layer's input alone.

On NVIDIA's GPUs it passes over memory twice: the activation's slope is computed once for the sums over the batch and
again for the result, where automatic differentiation writes float32 arrays out in between. CPUs take three times as
long that way: there the slope is computed once and written out, which takes half as long as what automatic
differentiation writes (benchmarks/NOTES.md). Elsewhere it is automatic differentiation's.
"""
import functools

import jax
import jax.numpy as jnp

from layers import platforms
from layers.bfloat16 import kept


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def normalized(x, bias, activation, epsilon: float):
  """Returns (activation of x normalised plus bias, mean, variance); computed in float32, variance biased.

  x: [B, H, W, C]; bias: float32 [C] -> [B, H, W, C] of x's dtype; float32 [C] twice, which have no gradient.
  """
  return _forward(x, bias, activation, epsilon)[0]


def _standardized(x, mean, variance, epsilon):
  return (x.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + epsilon)


def _forward(x, bias, activation, epsilon):
  wide = x.astype(jnp.float32)
  mean = wide.mean((0, 1, 2))
  # One pass over memory; rounding could leave a constant channel a little below 0.
  variance = jnp.maximum(jnp.square(wide).mean((0, 1, 2)) - jnp.square(mean), 0)
  y = activation(_standardized(x, mean, variance, epsilon) + bias).astype(x.dtype)
  return (y, mean, variance), (x, bias, mean, variance)


def _backward(activation, epsilon, saved, gradients):
  x, bias, mean, variance = saved

  def parts(x, dy):
    standard = _standardized(x, mean, variance, epsilon)
    return standard, jax.vjp(activation, standard + bias)[1](dy.astype(jnp.float32))[0]

  def finished(x, standard, dz, total, along):
    dx = (dz - (total + standard * along) / (x.size // x.shape[-1])) * jax.lax.rsqrt(variance + epsilon)
    return dx.astype(x.dtype), total

  def twice(x, bias, dy):
    standard, dz = parts(x, dy)
    total, along = dz.sum((0, 1, 2)), (dz * standard).sum((0, 1, 2))
    # The barrier keeps the compiler from finding that this was computed before, and writing it out for here.
    return finished(x, *parts(*kept((x, dy))), total, along)

  def once(x, bias, dy):
    standard, dz = parts(x, dy)
    dz = kept(dz)
    # Not dz * standard, which would be written out for it: a third slower. The mean goes off before the sum, not after.
    total, along = dz.sum((0, 1, 2)), (dz * (x.astype(jnp.float32) - mean)).sum((0, 1, 2))
    along = along * jax.lax.rsqrt(variance + epsilon)
    return finished(x, standard, dz, total, along)

  def automatic(x, bias, dy):
    return jax.vjp(lambda x, bias: _forward(x, bias, activation, epsilon)[0][0], x, bias)[1](dy)

  return platforms.dependent(x, bias, gradients[0], cuda=twice, cpu=once, default=automatic)


normalized.defvjp(_forward, _backward)
