"""Batch normalisation by the statistics of groups of rows, and on CPUs a gradient in two passes over memory.

What automatic differentiation makes of it takes CPUs twice as long (benchmarks/NOTES.md). Elsewhere it is that.
"""
import functools
import math

import jax
import jax.numpy as jnp

from layers import platforms, sums


# jit, here and below: traced once a shape, for a sooner start.
@functools.partial(jax.jit, static_argnames=('epsilon', 'dtype'))
def normalized(x, mean, var, scale, bias, epsilon: float, dtype):
  """x: [..., C] by those statistics, in `dtype`."""
  factor = scale * jax.lax.rsqrt(var + epsilon)
  return (x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(dtype)


@functools.partial(jax.jit, static_argnames=('group_size', 'epsilon', 'dtype'))
def normalized_by_group(x, scale, bias, group_size: int, epsilon: float, dtype):
  """(x: [B, H, W, C] by the statistics of each group of rows, the groups' mean of means, and that of variances).

  Statistics are float32, variances biased; neither mean has a gradient.
  """
  assert len(x) % (group_size or len(x)) == 0, (len(x), group_size)
  groups = len(x) // (group_size or len(x))
  # One group is not cut out: XLA:CPU copies an array of bfloat16 to reshape it.
  cut = x if groups == 1 else x.reshape(groups, -1, *x.shape[1:])
  y, mean, var = _by_group(cut, scale, bias, epsilon, dtype)
  return y.reshape(x.shape), *(jax.lax.stop_gradient(a).reshape(groups, -1).mean(0) for a in (mean, var))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _by_group(x, scale, bias, epsilon, dtype):
  """x: [(G,) R, H, W, C] -> (the same in `dtype`, means, variances: float32 [(G,) 1, 1, 1, C])."""
  mean, squares = (total / _count(x) for total in sums.pair(x, x))
  # One pass over memory; rounding could leave a constant channel a little below 0.
  var = jnp.maximum(squares - jnp.square(mean), 0)
  return normalized(x, mean, var, scale, bias, epsilon, dtype), mean, var


def _count(x) -> int:
  return math.prod(x.shape[-4:-1])


def _forward(x, scale, bias, epsilon, dtype):
  y, mean, var = _by_group(x, scale, bias, epsilon, dtype)
  return (y, mean, var), (x, scale, bias, mean, var)


def _backward(epsilon, dtype, saved, gradients):
  def on_cpu(x, scale, bias, mean, var, dy):
    total, along = sums.pair(dy, x, mean)
    inverse = jax.lax.rsqrt(var + epsilon)
    factor = scale * inverse
    slope = factor * jnp.square(inverse) * along / _count(x)
    dx = dy.astype(jnp.float32) * factor - x.astype(jnp.float32) * slope + (mean * slope - factor * total / _count(x))
    return dx.astype(x.dtype), *(a.reshape(-1, a.shape[-1]).sum(0).astype(parameter.dtype) for a, parameter in (
        (along * inverse, scale), (total, bias)))

  def automatic(x, scale, bias, mean, var, dy):
    return jax.vjp(lambda *args: _by_group.fun(*args, epsilon, dtype)[0], x, scale, bias)[1](dy)
  return platforms.dependent(*saved, gradients[0], cpu=on_cpu, default=automatic)


_by_group.defvjp(_forward, _backward)
