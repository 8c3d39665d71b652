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


def taps(x, window: tuple[int, int], strides: tuple[int, int]):
  """((row, column), what each window has there: [B, H', W', C]) of windows over padded x: [B, H, W, C]."""
  rows, columns = ((have - size) // stride * stride + 1 for have, size, stride in zip(x.shape[1:3], window, strides))
  for i, j in itertools.product(*map(range, window)):
    yield (i, j), x[:, i:i + rows:strides[0], j:j + columns:strides[1]]


def _padded(x, padding):
  """`padding`: ((before, after), ...) of rows and columns; negative ones cut off."""
  return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0)))


def _patches(x, window: tuple[int, int], stride: int, padding):
  """x: `bits` of [B, H, W, C] -> [B * H' * W', window * C], floats."""
  x, (height, width), strides = _padded(x, padding), window, (stride, stride)
  if width % stride == 0:  # columns that a window steps over lie side by side: fewer pieces, and larger ones
    columns = (x.shape[2] - width) // stride * stride + width
    x = x[:, :, :columns].reshape(*x.shape[:2], columns // stride, stride * x.shape[3])
    width, strides = width // stride, (stride, 1)
  found = kept(jnp.concatenate([tap for _, tap in taps(x, (height, width), strides)], -1))
  return bfloat16.floats(found).reshape(-1, found.shape[-1])


def _block_images(x, kernel, stride: int, padding) -> tuple[int, tuple[int, int]]:
  """(images of a block, (H', W'))."""
  size = tuple((have + sum(sides) - window) // stride + 1
               for have, sides, window in zip(x.shape[1:3], padding, kernel.shape))
  assert len(x) and min(size) > 0, (x.shape, kernel.shape, padding)  # no image, or none that a window fits into
  return max(LEAST_IMAGES, min(MOST_IMAGES, ELEMENTS // (math.prod(size) * math.prod(kernel.shape[:3])))), size


def convolution(x, kernel, stride: int, padding, finish=lambda y: (y,)) -> tuple:
  """What `finish` makes of each block's outputs, a tuple; it is given float32 that is rounded as `kernel` is.

  x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype; padding: ((before, after), ...) of rows and columns.
  """
  window, filters, dtype = kernel.shape[:2], kernel.shape[3], kernel.dtype
  matrix = kept(kernel.reshape(-1, filters))
  rows, size = _block_images(x, kernel, stride, padding)

  def block(x):
    y = bfloat16.wide(_patches(x, window, stride, padding), matrix)
    y = jax.lax.reduce_precision(y, jnp.finfo(dtype).nexp, jnp.finfo(dtype).nmant).reshape(-1, *size, filters)
    return [bfloat16.bits(made.astype(dtype) if made.dtype == y.dtype else made) for made in finish(y)], None
  return tuple(map(bfloat16.floats, over_blocks(block, [bfloat16.bits(x)], rows=rows)[0]))


def gradients(x, kernel, *dy, stride: int, padding, start=lambda dy: dy):
  """Of x and of the kernel; `start` makes the gradient of a block's outputs from its part of `dy`."""
  shares, rows = _shares(x, kernel, stride, padding), _block_images(x, kernel, stride, padding)[0]

  def block(x, *dy):
    dy = kept(start(*dy))
    return [shares(dy)], _filters(x, kernel, bfloat16.turned(bfloat16.floats(dy)), stride, padding)
  (dx,), total = over_blocks(block, list(map(bfloat16.bits, (x, *dy))), rows=rows, total=_none_yet(kernel))
  return bfloat16.floats(dx), as_kernel(total, kernel)


def inputs_gradient(x, kernel, *dy, stride: int, padding, start):
  """The first of `gradients`; of x only the shape matters."""
  shares, rows = _shares(x, kernel, stride, padding), _block_images(x, kernel, stride, padding)[0]
  (dx,), _ = over_blocks(lambda *dy: ([shares(kept(start(*dy)))], None), list(map(bfloat16.bits, dy)), rows=rows)
  return bfloat16.floats(dx)


def filters_gradient(x, kernel, dy, *, stride: int, padding):
  """The second of `gradients`; of the kernel only shape and dtype matter."""
  return as_kernel(filters_total(x, kernel, dy, stride=stride, padding=padding), kernel)


def filters_total(x, kernel, *dy, stride: int, padding, turned=bfloat16.turned):
  """The same, not yet rounded: float32 [K, h * w * C]; `turned` makes [K, B * H' * W'] of a block's part of `dy`."""
  def block(x, *dy):
    return [], _filters(x, kernel, turned(*map(bfloat16.floats, dy)), stride, padding)
  rows, _ = _block_images(x, kernel, stride, padding)
  return over_blocks(block, list(map(bfloat16.bits, (x, *dy))), rows=rows, total=_none_yet(kernel))[1]


def _shares(x, kernel, stride: int, padding):
  """The function from a block's gradient of outputs, `bits`, to that of inputs, `bits` too."""
  filters, size = kernel.shape[3], x.shape[1:3]
  matrix = kept(kernel.reshape(-1, filters).T)

  def made(dy):
    shares = kept(bfloat16.wide(bfloat16.floats(dy).reshape(-1, filters), matrix))
    shares = shares.reshape(*dy.shape[:3], *kernel.shape[:3])
    dx = sum(_spread(shares[:, :, :, i, j], (i, j), stride, padding, size)
             for i, j in itertools.product(*map(range, kernel.shape[:2])))
    return bfloat16.bits(dx.astype(kernel.dtype))
  return made


def _filters(x, kernel, turned, stride: int, padding):
  """A block's part of the filters' gradient: float32 [K, h * w * C]."""
  return bfloat16.wide(turned, _patches(x, kernel.shape[:2], stride, padding))


def _none_yet(kernel):
  return jnp.zeros((kernel.shape[3], math.prod(kernel.shape[:3])), jnp.float32)


def as_kernel(total, kernel):
  """float32 [K, h * w * C] -> [h, w, C, K], rounded."""
  return total.astype(kernel.dtype).T.reshape(kernel.shape)  # in this order: see bfloat16.py


def _spread(share, tap, stride: int, padding, size):
  """[B, H', W', C], what a tap gives to x, where x has it: [B, *size, C], zeros elsewhere."""
  sides = [(0, 0, 0)]
  for at, (before, _), have, count in zip(tap, padding, size, share.shape[1:3]):
    low = at - before
    sides.append((low, have - low - (count - 1) * stride - 1, stride - 1))
  return jax.lax.pad(share, jnp.zeros((), share.dtype), (*sides, (0, 0, 0)))
