"""The gradient of a convolution's filters as products of patches (im2col), a block of images at a time.

XLA:CPU takes several times as long for it as for the forward pass once the batch is large. So the batch is cut into
blocks, small enough that their patches stay in the cache. A batch size without divisors, a prime, is slow.
"""
import itertools
import math

import jax.numpy as jnp

from layers import bfloat16
from layers.bfloat16 import bits, floats, kept
from layers.blocks import LEAST_IMAGES, over_blocks

ELEMENTS = 1 << 21  # of the patches of a block; half and twice as many measured alike
MOST_IMAGES = 64


def taps(x, window: tuple[int, int], strides: tuple[int, int]):
  """((row, column), what each window has there: [B, H', W', C]) of windows over padded x: [B, H, W, C]."""
  rows, columns = ((have - size) // stride * stride + 1 for have, size, stride in zip(x.shape[1:3], window, strides))
  for i, j in itertools.product(*map(range, window)):
    yield (i, j), x[:, i:i + rows:strides[0], j:j + columns:strides[1]]


def patches(x, window: tuple[int, int], stride: int, padding):
  """x: [B, H, W, C] -> [B * H' * W', window * C]; padding less than the window."""
  if window == (1, 1):  # pixels as they are, which have a gradient in bfloat16 too
    return x[:, ::stride, ::stride].reshape(-1, x.shape[3])
  x = jnp.pad(bits(x), ((0, 0), *padding, (0, 0)))
  (height, width), strides = window, (stride, stride)
  if width % stride == 0:  # columns that a window steps over lie side by side: fewer pieces, and larger ones
    columns = (x.shape[2] - width) // stride * stride + width
    x = x[:, :, :columns].reshape(*x.shape[:2], columns // stride, stride * x.shape[3])
    width, strides = width // stride, (stride, 1)
  found = kept(jnp.concatenate([tap for _, tap in taps(x, (height, width), strides)], -1))
  return floats(found).reshape(-1, found.shape[-1])


def filters_gradient(x, kernel, dy, *, stride: int, padding):
  """x: float32 [B, H, W, C]; dy: [B, H', W', K] -> [h, w, C, K]; of the kernel only the shape matters.

  padding: ((before, after), ...) of rows and columns.
  """
  per_image = math.prod(dy.shape[1:3]) * math.prod(kernel.shape[:3])
  rows = max(LEAST_IMAGES, min(MOST_IMAGES, ELEMENTS // per_image))

  def block(x, dy):
    rows = dy.reshape(-1, dy.shape[3])
    return [], bfloat16.wide(rows, patches(x, kernel.shape[:2], stride, padding), (0, 0))
  none_yet = jnp.zeros((kernel.shape[3], math.prod(kernel.shape[:3])), jnp.float32)
  return over_blocks(block, [x, dy], rows=rows, total=none_yet)[1].T.reshape(kernel.shape)
