"""Two sums over everything but the channels, which normalisation and its gradient need.

On CPUs in bfloat16 XLA gives each sum to its library, which takes float32 alone, so that it writes both arrays out in
float32 first and reads them twice. Here one pass over bfloat16 adds up pieces of each image, a pair of numbers as a
complex one, since XLA:CPU fuses no two results; 2 to 5 times as fast (benchmarks/NOTES.md). Elsewhere they are XLA's.
"""
import functools

import jax
import jax.numpy as jnp

from layers import platforms
from layers.bfloat16 import apart

MOST_PIECES = 15  # of an image; XLA:CPU computes 16 and more by far slower loops


def pair(x, y, shift=0.0):
  """x, y: [..., B, H, W, C]; shift: a number, or float32 [..., 1, 1, 1, C] -> (sum of x, sum of x * (y - shift)).

  The sums are over B, H and W, float32 [..., 1, 1, 1, C].
  """
  pieces = _pieces(*x.shape[-3:-1])
  if pieces == 1 or jnp.bfloat16 not in (x.dtype, y.dtype):
    return plain(x, y, shift)
  return platforms.dependent(x, y, shift, cpu=functools.partial(_in_one_pass, pieces=pieces), default=plain)


def plain(x, y, shift=0.0):
  """What `pair` is, as XLA sums it."""
  x, y = (a.astype(jnp.float32) for a in (x, y))
  return tuple(a.sum((-4, -3, -2), keepdims=True) for a in (x, x * (y - shift)))


def _pieces(height: int, width: int) -> int:
  """Into how many an image is cut; a batch is not, since it may be divided over devices."""
  return max(n for n in range(1, MOST_PIECES + 1) if height * width % n == 0)


def _in_one_pass(x, y, shift, pieces: int):
  *groups, batch, height, width, channels = x.shape
  x, y = (a.reshape(*groups, batch, pieces, 1, height * width // pieces, channels) for a in (x, y))

  def both(piece):
    a, b = (a[..., piece, :, :, :].astype(jnp.float32) for a in (x, y))
    return jax.lax.complex(a, a * (b - shift))
  total = both(0)
  for piece in range(1, pieces):
    total += both(piece)
  total = apart(lambda total: total.sum((-4, -3, -2), keepdims=True), total)
  return total.real, total.imag
