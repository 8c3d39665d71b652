"""Products and convolutions for inference, on CPUs as their matrix units take them; elsewhere XLA's own.

XLA:CPU gives a product of bfloat16 to its library, YNNPACK, only where the sums stay float32; where they are rounded
at once, it computes in float32, and so it does convolutions of bfloat16. So here sums are float32 until the end, and
convolutions are sums of products. benchmarks/NOTES.md has what that gains. Not for training: gradients would be
products of float32.
"""
import functools
import itertools

import jax
import jax.numpy as jnp

FEW_CHANNELS = 32  # below this a product for each tap is too thin: taps are put side by side, and it is one product


def dot_general(x, y, dimension_numbers, precision=None, preferred_element_type=None, **more):
  """jax.lax.dot_general; takes the same, so that flax's layers can be given it."""
  dtype = preferred_element_type or jnp.result_type(x, y)
  product = functools.partial(jax.lax.dot_general, dimension_numbers=dimension_numbers, precision=precision, **more)
  if dtype != jnp.bfloat16:
    return product(x, y, preferred_element_type=dtype)
  return jax.lax.platform_dependent(
      x, y, cpu=lambda x, y: product(x, y, preferred_element_type=jnp.float32).astype(dtype),
      default=lambda x, y: product(x, y, preferred_element_type=dtype))


def convolution(x, kernel, stride: int, padding):
  """x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype; padding: ((before, after), ...) of rows and columns.

  Returns [B, H', W', K] of that dtype.
  """
  def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding,
                                        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  if x.dtype != jnp.bfloat16 and kernel.shape[:2] != (1, 1):
    return plain(x, kernel)
  return jax.lax.platform_dependent(x, kernel, default=plain, cpu=functools.partial(
      _products, stride=stride, padding=padding))


def _products(x, kernel, stride, padding):
  height, width, channels, filters = kernel.shape
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  rows, columns = ((have - size) // stride + 1 for have, size in zip(x.shape[1:], (height, width)))
  taps = [x[:, i:i + (rows - 1) * stride + 1:stride, j:j + (columns - 1) * stride + 1:stride].reshape(-1, channels)
          for i, j in itertools.product(range(height), range(width))]
  kernels = kernel.reshape(-1, channels, filters)
  if channels < FEW_CHANNELS:
    taps, kernels = [jnp.concatenate(taps, -1)], [kernel.reshape(-1, filters)]
  y = sum(jax.lax.dot(tap, weights, preferred_element_type=jnp.float32) for tap, weights in zip(taps, kernels))
  return y.astype(x.dtype).reshape(len(x), rows, columns, filters)
