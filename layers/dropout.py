"""Dropout (Srivastava et al., JMLR 15, 2014), which on CPUs takes 16 random bits an element, where flax's takes 32.

Random bits are a tenth of a step of BERT on CPUs, and half of that is saved. TPUs would move a quarter more bytes for
it, by their compiler's count (benchmarks/NOTES.md).
"""
import functools

import jax
import jax.numpy as jnp

_PARTS = 1 << 16


def dropout(x, rate: float, key, broadcast_dims: tuple[int, ...] = ()):
  """x with elements that are 0 with probability `rate`, which is rounded to 1/65536, and the others scaled up for it.

  x: a float array; rate: at least 0, less than 1; broadcast_dims: axes along which all elements share their fate. What
  is drawn depends on the key and on an element's place, not on the devices that x is divided over.
  """
  shape = tuple(1 if axis in broadcast_dims else size for axis, size in enumerate(x.shape))
  drawn = jax.lax.platform_dependent(key, cpu=functools.partial(_halves, shape=shape),
                                     default=lambda key: jax.random.bits(key, shape, jnp.uint32) >> 16)
  kept = max(round((1 - rate) * _PARTS), 1)
  return jnp.where(drawn < kept, x * (_PARTS / kept), 0)


def _halves(key, shape):
  """uint32, below 65,536: the halves of words, of which there are half as many."""
  *rows, columns = shape
  words = jax.random.bits(key, (*rows, (columns + 1) // 2), jnp.uint32)
  return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(*rows, -1)[..., :columns].astype(jnp.uint32)
