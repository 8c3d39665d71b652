"""A convolution and its gradients as products of patches (im2col), a block of images at a time.

XLA:CPU's gradient with respect to the filters takes several times as long as its forward pass once the batch is large,
and its convolutions gain nothing from bfloat16, while its matrix products do (bfloat16.py). So the batch is cut into
blocks, small enough that their patches stay in the cache. A batch size without divisors, a prime, is slow.
"""
import itertools
import math

import jax
import jax.numpy as jnp

from layers import bfloat16
from layers.bfloat16 import kept
from layers.blocks import LEAST_IMAGES, over_blocks

ELEMENTS = 1 << 21  # of the patches of a block; half and twice as many measured alike
MOST_IMAGES = 64


def taps(x, window: tuple[int, int], stride: int):
  """((row, column), what each window has there: [B, H', W', C]) of windows over padded x: [B, H, W, C]."""
  rows, columns = ((have - size) // stride * stride + 1 for have, size in zip(x.shape[1:], window))
  for i, j in itertools.product(*map(range, window)):
    yield (i, j), x[:, i:i + rows:stride, j:j + columns:stride]


def _padded(x, padding):
  """`padding`: ((before, after), ...) of rows and columns; negative ones cut off."""
  return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0)))


def _patches(x, window: tuple[int, int], stride: int, padding):
  """x: `bits` of [B, H, W, C] -> [B * H' * W', window * C], floats."""
  found = kept(jnp.concatenate([tap for _, tap in taps(_padded(x, padding), window, stride)], -1))
  return bfloat16.floats(found).reshape(-1, found.shape[-1])


def _block_images(x, kernel, stride: int, padding) -> tuple[int, tuple[int, int]]:
  """(images of a block, (H', W'))."""
  size = tuple((have + sum(sides) - window) // stride + 1
               for have, sides, window in zip(x.shape[1:3], padding, kernel.shape))
  assert len(x) and min(size) > 0, (x.shape, kernel.shape, padding)  # no image, or none that a window fits into
  return max(LEAST_IMAGES, min(MOST_IMAGES, ELEMENTS // (math.prod(size) * math.prod(kernel.shape[:3])))), size


def convolution(x, kernel, stride: int, padding, finish=lambda y: (y,)) -> tuple:
  """What `finish` makes of each block's outputs, a tuple.

  x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype; padding: ((before, after), ...) of rows and columns.
  """
  window, filters = kernel.shape[:2], kernel.shape[3]
  matrix = kept(kernel.reshape(-1, filters))
  rows, size = _block_images(x, kernel, stride, padding)

  def block(x):
    y = bfloat16.wide(_patches(x, window, stride, padding), matrix).astype(kernel.dtype)
    return [bfloat16.bits(made) for made in finish(y.reshape(-1, *size, filters))], None
  return tuple(map(bfloat16.floats, over_blocks(block, [bfloat16.bits(x)], rows=rows)[0]))


def gradients(x, kernel, *dy, stride: int, padding, start=lambda dy: dy):
  """Of x and of the kernel; `start` makes the gradient of a block's outputs from its part of `dy`, as `bits`."""
  filters, (height, width) = kernel.shape[3], x.shape[1:3]
  matrix = kept(kernel.reshape(-1, filters).T)
  rows, _ = _block_images(x, kernel, stride, padding)

  def block(x, *dy):
    dy = kept(start(*dy))
    shares = kept(bfloat16.wide(bfloat16.floats(dy).reshape(-1, filters), matrix))
    shares = shares.reshape(*dy.shape[:3], *kernel.shape[:3])
    dx = sum(_spread(shares[:, :, :, i, j], (i, j), stride, padding, (height, width))
             for i, j in itertools.product(*map(range, kernel.shape[:2])))
    return [bfloat16.bits(dx.astype(kernel.dtype))], _filters(x, dy, kernel, stride, padding)

  (dx,), total = over_blocks(block, [bfloat16.bits(array) for array in (x, *dy)], rows=rows, total=_none_yet(kernel))
  return bfloat16.floats(dx), _as_kernel(total, kernel)


def filters_gradient(x, kernel, dy, stride: int, padding):
  """The second of `gradients`; of the kernel only its shape and dtype matter."""
  rows, _ = _block_images(x, kernel, stride, padding)

  def block(x, dy):
    return [], _filters(x, dy, kernel, stride, padding)
  total = over_blocks(block, [bfloat16.bits(x), bfloat16.bits(dy)], rows=rows, total=_none_yet(kernel))[1]
  return _as_kernel(total, kernel)


def _filters(x, dy, kernel, stride, padding):
  """A block's part of the filters' gradient: float32 [K, h * w * C]."""
  dy = bfloat16.floats(dy)
  seen = _patches(x, kernel.shape[:2], stride, padding)
  return bfloat16.over_rows(dy, seen.reshape(*dy.shape[:3], -1))


def _none_yet(kernel):
  return jnp.zeros((kernel.shape[3], math.prod(kernel.shape[:3])), jnp.float32)


def _as_kernel(total, kernel):
  return total.astype(kernel.dtype).T.reshape(kernel.shape)  # in this order: see bfloat16.py


def _spread(share, tap, stride: int, padding, size):
  """[B, H', W', C], what a tap gives to x, where x has it: [B, *size, C], zeros elsewhere."""
  sides = [(0, 0, 0)]
  for at, (before, _), have, count in zip(tap, padding, size, share.shape[1:3]):
    low = at - before
    sides.append((low, have - low - (count - 1) * stride - 1, stride - 1))
  return jax.lax.pad(share, jnp.zeros((), share.dtype), (*sides, (0, 0, 0)))
