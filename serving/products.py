"""Convolutions for inference, on CPUs as products that their matrix units take; elsewhere XLA's own.

XLA:CPU gives a product of bfloat16 to its library, YNNPACK, only where the sums stay float32; where they are rounded
at once, it computes in float32, and so it does convolutions of bfloat16. So here sums are float32 until the end, and
convolutions are sums of products. benchmarks/NOTES.md has what that gains. Not for training: gradients would be
products of float32.
"""
import functools

import jax
import jax.numpy as jnp

from layers import bfloat16
from layers.convolution import by_xla
from layers.patches import taps

FEW_CHANNELS = 32  # with fewer, the product of a tap is too thin to be worth it


def convolution(x, kernel, stride: int, padding):
  """x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype; padding: ((before, after), ...) of rows and columns.

  Returns [B, H', W', K] of that dtype.
  """
  plain = functools.partial(by_xla, stride=stride, padding=padding)
  if kernel.shape[:2] != (1, 1) and (x.dtype != jnp.bfloat16 or x.shape[-1] < FEW_CHANNELS):
    return plain(x, kernel)
  return jax.lax.platform_dependent(x, kernel, default=plain, cpu=functools.partial(
      _products, stride=stride, padding=padding))


def _products(x, kernel, stride, padding):
  height, width, channels, filters = kernel.shape
  found = list(taps(jnp.pad(x, ((0, 0), *padding, (0, 0))), (height, width), (stride, stride)))
  y = sum(bfloat16.wide(tap.reshape(-1, channels), kernel[i, j]) for (i, j), tap in found)
  return y.astype(x.dtype).reshape(*found[0][1].shape[:3], filters)
