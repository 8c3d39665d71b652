"""Convolutions without bias: XLA's on accelerators; on CPUs products of patches, and in float32 Winograd's 3 x 3.

In bfloat16 a CPU's products are fast and its convolutions are not, so all is products of patches (patches.py). In
float32, where products cost most and rounding least, winograd.py takes fewer of them for 3 x 3 windows, and where
windows move by more than a pixel the filters' gradient alone is products. benchmarks/convolution.py prints what both
gain. None but XLA's has a forward mode (jax.jvp).
"""
import functools

import jax
import jax.numpy as jnp

from layers import bfloat16, patches, quads, winograd
from layers.pooling import pooled, spread

QUADS_CHANNELS = 64  # up to so many a pooled 3 x 3 convolution is of quads (quads.py); with 256 it takes longer so


def by_xla(x, kernel, stride: int, padding):
  """XLA's own: x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype -> [B, H', W', K] of it.

  padding: ((before, after), ...) of rows and columns.
  """
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding,
                                      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv3x3(x, kernel, size: tuple[int, int], pool: bool = False):
  """The first `size` rows and columns of the convolution with zeros around the image; sums in float32.

  x: [B, H, W, C]; kernel: [3, 3, C, K], of the same dtype; size: (h, w), at most (H, W) -> [B, h, w, K], that dtype; or
  if `pool` the maxima of its 2 x 2 windows, [B, h/2, w/2, K], for an even size: on CPUs each block is pooled at once.
  """
  return _forward(x, kernel, size, pool)[0]


def _padding(x, size):
  return tuple((1, 1 - (have - want)) for have, want in zip(x.shape[1:3], size))


def _by_quads(x, pool: bool) -> bool:
  return pool and x.shape[3] <= QUADS_CHANNELS


def _forward(x, kernel, size, pool):
  told = x.shape, x.dtype, kernel.shape, kernel.dtype
  assert kernel.shape[:3] == (3, 3, x.shape[3]) and kernel.dtype == x.dtype, told
  assert all(want <= have and not (pool and want % 2) for want, have in zip(size, x.shape[1:3])), (size, x.shape, pool)
  finish = pooled if pool else lambda y: (y,)

  def on_cpu(x, kernel):
    if x.dtype == jnp.float32:
      return winograd.convolution(x, kernel, size, finish)
    if _by_quads(x, pool):
      return patches.convolution(x, quads.filters(kernel), 2, _padding(x, size), quads.pooled)
    return patches.convolution(x, kernel, 1, _padding(x, size), finish)
  y, *corner = jax.lax.platform_dependent(x, kernel, cpu=on_cpu,
                                          default=lambda x, kernel: finish(plain3x3(x, kernel, size)))
  return y, (x, kernel, *corner)


def _backward(size, pool, saved, dy):
  x, kernel, *corner = saved
  start = spread if pool else lambda dy: dy

  def on_cpu(x, kernel, *dy):
    if x.dtype == jnp.float32:
      return winograd.gradients(x, kernel, *dy, start=start)
    padding = _padding(x, size)
    if not _by_quads(x, pool):
      return patches.gradients(x, kernel, *dy, stride=1, padding=padding, start=start)
    # the inputs' gradient is faster by windows of 3 x 3
    filters = jax.eval_shape(quads.filters, kernel)
    total = patches.filters_total(x, filters, *dy, stride=2, padding=padding, turned=quads.turned)
    return (patches.inputs_gradient(x, kernel, *dy, stride=1, padding=padding, start=start),
            patches.as_kernel(quads.summed(total, kernel), kernel))

  def plain(x, kernel, *dy):
    return jax.vjp(functools.partial(plain3x3, size=size), x, kernel)[1](start(*dy))
  return jax.lax.platform_dependent(x, kernel, dy, *corner, cpu=on_cpu, default=plain)


conv3x3.defvjp(_forward, _backward)


def plain3x3(x, kernel, size):
  """What `conv3x3` has without pooling, by XLA."""
  return by_xla(x, kernel, 1, _padding(x, size))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_patches(x, kernel, stride: int, padding: tuple):
  """As `by_xla`; on CPUs in bfloat16 all of it, and else the filters' gradient, is products of patches, a block of
  images at a time.

  padding: ((before, after), ...) of rows and columns, none negative; the window fits into what is padded so. A batch
  that is divided over two or four devices stays where it is if four divides it.
  """
  assert all(number >= 0 for side in padding for number in side), padding
  return bfloat16.on_cpus(lambda x, kernel: patches.convolution(x, kernel, stride, padding)[0],
                          functools.partial(by_xla, stride=stride, padding=padding), x, kernel)


def _by_patches_backward(stride, padding, saved, dy):
  x, kernel = saved
  plain = functools.partial(by_xla, stride=stride, padding=padding)

  def on_cpu(x, kernel, dy):
    if x.dtype == jnp.bfloat16:
      return patches.gradients(x, kernel, dy, stride=stride, padding=padding)
    dx = jax.vjp(lambda x: plain(x, kernel), x)[1](dy)[0]
    return dx, patches.filters_gradient(x, kernel, dy, stride=stride, padding=padding)
  return jax.lax.platform_dependent(x, kernel, dy, cpu=on_cpu,
                                    default=lambda x, kernel, dy: jax.vjp(plain, x, kernel)[1](dy))


by_patches.defvjp(lambda x, kernel, *how: (by_patches(x, kernel, *how), (x, kernel)), _by_patches_backward)


_unpadded = functools.partial(by_xla, stride=1, padding=((0, 0), (0, 0)))


@jax.custom_vjp
def few_channels(x, kernel):
  """As `by_xla` with stride 1 and no padding; on CPUs products of patches, a block at a time, but for the gradients.

  For a whitening, whose filters are fixed and whose inputs are images: XLA:CPU's convolution is slow with few channels.
  """
  return jax.lax.platform_dependent(
      x, kernel, cpu=lambda x, kernel: patches.convolution(x, kernel, 1, ((0, 0), (0, 0)))[0], default=_unpadded)


few_channels.defvjp(lambda x, kernel: (few_channels(x, kernel), (x, kernel)),
                    lambda saved, dy: jax.vjp(_unpadded, *saved)[1](dy))
