"""Maxima over 3 x 3 windows of stride 2, padded by 1, NHWC; of equal values the first has the gradient.

What the gradient needs is a byte a window: which of its pixels has the maximum. A pixel gathers from its windows, where
XLA's own gradient is scattered: atomic additions on GPUs.
"""
import functools

import jax
import jax.numpy as jnp
import numpy as np

from layers import platforms
from layers.bfloat16 import apart


def windows(x):
  """What `max_pool` has, with XLA's gradient."""
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))


def pooled(x):
  """[B, H, W, C] -> (maxima, the pixel of its window that has each: uint8, 3 * its row + its column)."""
  rows, columns = (size + size % 2 - 1 for size in x.shape[1:3])
  # The same maxima; XLA:CPU finds bfloat16's at a fifth of the speed.
  dtype, x = x.dtype, x.astype(jnp.promote_types(x.dtype, jnp.float32))
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
  y, *others = (x[:, i:i + rows:2, j:j + columns:2] for i in range(3) for j in range(3))
  pixel = jnp.zeros(y.shape, jnp.uint8)
  for n, other in enumerate(others, 1):
    y, pixel = jnp.maximum(y, other), jnp.where(other > y, jnp.uint8(n), pixel)
  return y.astype(dtype), pixel


def spread(dy, pixel, height: int, width: int):
  """The transpose of taking those pixels: [B, h, w, C] -> [B, height, width, C], summed in float32.

  An even row is the middle one of a window; an odd row is the last of that window and the first of the next.
  """
  total = 0
  for down in (0, 1):
    for right in (0, 1):
      shift = (0, 0, 0), (-down, down, 0), (-right, right, 0), (0, 0, 0)
      moved, there = (jax.lax.pad(a, jnp.zeros((), a.dtype), shift)[:, :, None, :, None] for a in (dy, pixel))
      # Which row and column of the window even and odd ones are; 9: none. Constants: an iota became kernels of its own.
      row, column = (np.array((9, 0) if later else (1, 2), np.uint8) for later in (down, right))
      here = (3 * row[:, None] + column)[:, None, :, None]
      total += jnp.where(there == here, moved.astype(jnp.float32), 0)
  batch, rows, _, columns, _, channels = total.shape
  return total.reshape(batch, 2 * rows, 2 * columns, channels)[:, :height, :width].astype(dy.dtype)


@jax.custom_vjp
def gathered(x):
  """What `max_pool` has, with a gradient that is gathered."""
  return pooled(x)[0]


def _forward(x):
  y, pixel = pooled(x)
  return y, (pixel, x.shape[1:3])


def _backward(saved, dy):
  pixel, size = saved
  spread_here = functools.partial(spread, height=size[0], width=size[1])
  # Not fused with the search for the pixels, which XLA:CPU would do again for each of their uses.
  return platforms.dependent(dy, pixel, cpu=functools.partial(apart, spread_here), default=spread_here),


gathered.defvjp(_forward, _backward)


def max_pool(x):
  """[B, H, W, C], a float -> [B, ceil(H/2), ceil(W/2), C]; with XLA's gradient on TPUs, where ours was never run.

  On NVIDIA's GPUs ours has no scatter, and 2.4 GB less of memory traffic a step (benchmarks/NOTES.md).
  """
  return platforms.dependent(x, cpu=gathered, cuda=gathered, default=windows)
