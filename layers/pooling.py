"""Maxima over 2 x 2 windows, NHWC; odd rows and columns are cut off, and of equal values the first has the gradient.

So torch has it, but for NaN. What the gradient needs is a byte a window: which of its corners has the maximum.
benchmarks/convolution.py prints what that gains over flax's pooling and its gradient.
"""
import jax
import jax.numpy as jnp

from layers import platforms
from layers.bfloat16 import kept


def pooled(x):
  """[B, H, W, C] -> (maxima [B, H/2, W/2, C], the corner that has each: uint8, 2 * its row + its column)."""
  batch, height, width, channels = x.shape
  # Widened once, and not at each comparison, as XLA:CPU would: that takes four times as long.
  wide = x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x
  wide = wide[:, :height // 2 * 2, :width // 2 * 2].reshape(batch, height // 2, 2, width // 2, 2, channels)
  (a, b), (c, d) = [[wide[:, :, i, :, j] for j in (0, 1)] for i in (0, 1)]
  upper, lower = jnp.maximum(a, b), jnp.maximum(c, d)
  corner = jnp.where(lower > upper, 2 + (d > c).astype(jnp.uint8), (b > a).astype(jnp.uint8))
  return jnp.maximum(upper, lower).astype(x.dtype), corner


def spread(dy, corner):
  """The transpose of taking those corners: [B, h, w, C] -> [B, 2 * h, 2 * w, C], zeros elsewhere."""
  batch, height, width, channels = dy.shape
  place = jnp.arange(4, dtype=jnp.uint8).reshape(2, 1, 2, 1)
  # One loop over the result: on GPUs stacking four arrays takes twice as long.
  dx = jnp.where(corner[:, :, None, :, None] == place, dy[:, :, None, :, None], 0)
  return dx.reshape(batch, 2 * height, 2 * width, channels)


@jax.custom_vjp
def max_pool(x):
  """[B, H, W, C] -> [B, H/2, W/2, C]."""
  return pooled(x)[0]


def _forward(x):
  y, corner = pooled(x)
  return y, (x, corner)


def _backward(saved, dy):
  x, corner = saved
  # On CPUs what makes dy would be computed anew for each corner; elsewhere it is part of the same loop.
  dx = platforms.dependent(dy, corner, cpu=lambda *args: spread(*kept(args)), default=spread)
  return jnp.pad(dx, ((0, 0), *((0, size % 2) for size in x.shape[1:3]), (0, 0))),


max_pool.defvjp(_forward, _backward)
