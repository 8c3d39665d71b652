"""Convolutions without bias: XLA's on accelerators; on CPUs 3 x 3 ones are Winograd's in float32, products in bfloat16.

XLA:CPU's gradient with respect to the filters takes several times as long as its forward pass once the batch is large,
and its convolutions gain nothing from bfloat16, while its matrix products do. So on CPUs the batch is cut into blocks
of a few images, small enough that their patches (im2col) stay in the cache, and each block is a matrix product. In
float32, where products cost most and rounding least, winograd.py takes fewer. benchmarks/convolution.py prints what
both gain. Where windows move by more than a pixel, the filters' gradient alone is such products. None but XLA's has a
forward mode (jax.jvp), and a batch size without divisors, a prime, is slow.
"""
import functools
import itertools

import jax
import jax.numpy as jnp

from layers import winograd
from layers.blocks import LEAST_IMAGES, over_blocks
from layers.pooling import pooled, spread

BLOCK = 16  # images; 8 to 32 measured alike
OFFSETS = tuple((i, j) for i in range(3) for j in range(3))


def xlas(x, kernel, stride: int, padding):
  """XLA's own: x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype -> [B, H', W', K] of it.

  padding: ((before, after), ...) of rows and columns.
  """
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding,
                                      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def taps(x, size: tuple[int, int], stride: int):
  """((row, column), what each window has there: [B, H', W', C]) of windows over padded x: [B, H, W, C]."""
  rows, columns = ((have - window) // stride * stride + 1 for have, window in zip(x.shape[1:], size))
  for i, j in itertools.product(*map(range, size)):
    yield (i, j), x[:, i:i + rows:stride, j:j + columns:stride]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv3x3(x, kernel, size: tuple[int, int], pool: bool = False):
  """The first `size` rows and columns of the convolution with zeros around the image; sums in float32.

  x: [B, H, W, C]; kernel: [3, 3, C, K], of the same dtype; size: (h, w), at most (H, W) -> [B, h, w, K], that dtype; or
  if `pool` the maxima of its 2 x 2 windows, [B, h/2, w/2, K], for an even size: on CPUs each block is pooled at once.
  """
  return _forward(x, kernel, size, pool)[0]


def _forward(x, kernel, size, pool):
  assert kernel.shape[:3] == (3, 3, x.shape[3]) and kernel.dtype == x.dtype, (x, kernel)
  assert all(want <= have and not (pool and want % 2) for want, have in zip(size, x.shape[1:3])), (size, x.shape, pool)
  finish = pooled if pool else lambda y: (y,)
  on_cpu = winograd.convolution if x.dtype == jnp.float32 else _blocked
  y, *corner = jax.lax.platform_dependent(x, kernel, cpu=functools.partial(on_cpu, size=size, finish=finish),
                                          default=lambda x, kernel: finish(plain3x3(x, kernel, size)))
  return y, (x, kernel, *corner)


def _backward(size, pool, saved, dy):
  x, kernel, *corner = saved
  start = spread if pool else lambda dy: dy

  def plain(x, kernel, *dy):
    return jax.vjp(functools.partial(plain3x3, size=size), x, kernel)[1](start(*dy))
  on_cpu = functools.partial(winograd.gradients if dy.dtype == jnp.float32 else _blocked_gradients, start=start)
  return jax.lax.platform_dependent(x, kernel, dy, *corner, cpu=on_cpu, default=plain)


conv3x3.defvjp(_forward, _backward)


def plain3x3(x, kernel, size):
  """What `conv3x3` has without pooling, by XLA."""
  return xlas(x, kernel, 1, [(1, 1 - (have - want)) for have, want in zip(x.shape[1:3], size)])


def _pad(x):
  return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


_dot = functools.partial(jax.lax.dot, preferred_element_type=jnp.float32)
_kept = jax.lax.optimization_barrier  # computed once and laid out for the product, instead of fused into it


def _blocked(x, kernel, size, finish):
  (h, w), (channels, filters) = size, kernel.shape[2:]
  matrix = _kept(kernel.reshape(-1, filters))

  def block(x):
    x = _pad(x)
    patches = jnp.concatenate([x[:, i:i + h, j:j + w] for i, j in OFFSETS], -1)
    y = _dot(patches.reshape(-1, 9 * channels), matrix)
    return finish(y.astype(x.dtype).reshape(-1, h, w, filters)), None

  return over_blocks(block, [x], rows=BLOCK)[0]


def _blocked_gradients(x, kernel, *dy, start):
  (_, height, width, channels), filters = x.shape, kernel.shape[3]
  matrix = _kept(kernel.reshape(-1, filters).T)

  def block(x, *dy):
    dy = start(*dy)
    (h, w), dy = dy.shape[1:3], dy.reshape(-1, filters)
    shares = _kept(_dot(dy, matrix)).reshape(-1, h, w, 9, channels)
    dx = sum(jnp.pad(shares[:, :, :, 3 * i + j], ((0, 0), (i, height + 2 - h - i), (j, width + 2 - w - j), (0, 0)))
             for i, j in OFFSETS)[:, 1:-1, 1:-1]
    turned = _kept(_pad(x).transpose(3, 0, 1, 2))
    patches = _kept(jnp.concatenate([turned[:, :, i:i + h, j:j + w].reshape(channels, -1) for i, j in OFFSETS]))
    return [dx.astype(x.dtype)], _dot(patches, dy)

  (dx,), total = over_blocks(block, [x, *dy], rows=BLOCK, total=jnp.zeros((9 * channels, filters), jnp.float32))
  return dx, total.reshape(kernel.shape).astype(kernel.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def strided(x, kernel, stride: int, padding: tuple):
  """As `xlas`, padding in tuples; on CPUs the filters' gradient is a product of patches for each block of four images.

  A batch that is divided over two or four devices stays where it is if four divides it.
  """
  assert all(number >= 0 for side in padding for number in side), padding
  return xlas(x, kernel, stride, padding)


def _strided_backward(stride, padding, saved, dy):
  x, kernel = saved
  convolution = functools.partial(xlas, stride=stride, padding=padding)
  height, width, channels, filters = kernel.shape

  def block(x, dy):
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    patches = jnp.concatenate([tap for _, tap in taps(x, (height, width), stride)], -1)
    return [], jax.lax.dot_general(patches.reshape(-1, height * width * channels), dy.reshape(-1, filters),
                                   (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

  def blocked(x, dy):
    total = jnp.zeros((height * width * channels, filters), jnp.float32)
    return over_blocks(block, [x, dy], rows=LEAST_IMAGES, total=total)[1].reshape(kernel.shape).astype(kernel.dtype)

  dkernel = jax.lax.platform_dependent(
      x, dy, cpu=blocked, default=lambda x, dy: jax.vjp(lambda kernel: convolution(x, kernel), kernel)[1](dy)[0])
  return jax.vjp(lambda x: convolution(x, kernel), x)[1](dy)[0], dkernel


strided.defvjp(lambda x, kernel, *how: (strided(x, kernel, *how), (x, kernel)), _strided_backward)
