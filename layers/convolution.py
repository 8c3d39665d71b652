"""Convolutions without bias: XLA's on accelerators; on CPUs oneDNN's, or in float32 Winograd's or in part of patches.

XLA's own take CPUs several times as long, above all their filters' gradients and bfloat16. oneDNN's are the fastest and
sum as XLA's do, but a program that has one is compiled at every start (onednn.py). What can be kept for the next start
are products of all patches, Winograd's 3 x 3 (winograd.py), and for windows that move by more than a pixel filters'
gradients as products (patches.py). benchmarks/convolution.py prints what they gain.

All take x: [B, H, W, C], kernel: [h, w, C, K], of the same dtype -> [B, H', W', K] of it, and sum in float32; none but
XLA's has a forward mode (jax.jvp).
"""
import functools

import jax
import jax.numpy as jnp

from layers import dense, onednn, patches, platforms, winograd


def by_xla(x, kernel, stride: int, padding):
  """XLA's own; padding: ((before, after), ...) of rows and columns."""
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding,
                                      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _gradients_by_xla(x, kernel, dy, stride: int, padding):
  return jax.vjp(functools.partial(by_xla, stride=stride, padding=padding), x, kernel)[1](dy)


def check(x, kernel, padding, channels: int = 2):
  """AssertionError for what would be computed wrongly, or end the process; channels: the axis of them in the kernel."""
  told = x.shape, x.dtype, kernel.shape, kernel.dtype, padding
  assert kernel.shape[channels] == x.shape[3] and kernel.dtype == x.dtype and all((*x.shape, *kernel.shape)), told
  for size, side, window in zip(x.shape[1:3], padding, kernel.shape):
    assert all(0 <= number < window for number in side) and window <= size + sum(side), told


def by_product(x, kernel, stride: int, padding):
  """As `by_xla`, padding less than the window; on CPUs one product of all patches, which small images have few of.

  float32 alone, but for windows of a pixel: patches of bfloat16 have no gradient. No forward mode (jax.jvp).
  """
  check(x, kernel, padding)
  window = kernel.shape[:2]
  assert x.dtype == jnp.float32 or window == (1, 1), (x.dtype, window)

  def on_cpu(x, kernel):
    y = dense.product(patches.patches(x, window, stride, padding), kernel.reshape(-1, kernel.shape[3]))
    return y.reshape(len(x), *onednn.places(x, kernel, stride, padding), kernel.shape[3])
  return platforms.dependent(x, kernel, cpu=on_cpu, default=functools.partial(
      by_xla, stride=stride, padding=padding))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_onednn(x, kernel, stride: int, padding: tuple):
  """oneDNN's on CPUs, on Linux where they have the instructions (onednn.py), else XLA's.

  padding: as `by_xla`, less than the window. A batch that is divided over devices stays where it is; a prime is slow.
  """
  check(x, kernel, padding)
  return _on_cpus(_by_onednn, by_xla, stride, padding, x, kernel)


def _by_onednn(x, kernel, stride, padding):
  if kernel.shape[:2] == (1, 1):  # what is skipped is left out at once
    x, stride = x[:, ::stride, ::stride], 1
  return onednn.convolution(x, kernel, stride, padding)


def _on_cpus(ours, xlas, stride, padding, *arrays):
  ours, xlas = (functools.partial(function, stride=stride, padding=padding) for function in (ours, xlas))
  return onednn.on_cpus(ours, xlas, *arrays)


def _by_onednn_backward(stride, padding, saved, dy):
  return _on_cpus(_gradients_by_onednn, _gradients_by_xla, stride, padding, *saved, dy)


def _gradients_by_onednn(x, kernel, dy, stride, padding):
  if kernel.shape[:2] == (1, 1):
    of_kernel = onednn.over_rows(*(a.reshape(-1, a.shape[3]) for a in (x[:, ::stride, ::stride], dy)))[None, None]
  else:
    of_kernel = onednn.filters_gradient(x, dy, kernel.shape[:2], stride, padding)
  return onednn.inputs_gradient(dy, kernel, x.shape[1:3], stride, padding), of_kernel.astype(kernel.dtype)


by_onednn.defvjp(lambda x, kernel, *how: (by_onednn(x, kernel, *how), (x, kernel)), _by_onednn_backward)


ROUND = ((1, 1), (1, 1))


@jax.custom_vjp
def by_winograd(x, kernel):
  """float32, 3 x 3, with zeros around the image: on CPUs Winograd's, else XLA's.

  A batch that is divided over two or four devices stays where it is if four divides it; a prime is slow.
  """
  check(x, kernel, ROUND)
  assert x.dtype == jnp.float32 and kernel.shape[:2] == (3, 3), (x.dtype, kernel.shape)
  return platforms.dependent(x, kernel, cpu=winograd.convolution,
                             default=functools.partial(by_xla, stride=1, padding=ROUND))


by_winograd.defvjp(lambda x, kernel: (by_winograd(x, kernel), (x, kernel)),
                   lambda saved, dy: platforms.dependent(
                       *saved, dy, cpu=winograd.gradients,
                       default=functools.partial(_gradients_by_xla, stride=1, padding=ROUND)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_patches(x, kernel, stride: int, padding: tuple):
  """As `by_xla`, padding less than the window; on CPUs the filters' gradient is products of patches (float32 alone).

  A batch that is divided over two or four devices stays where it is if four divides it; a prime is slow.
  """
  check(x, kernel, padding)
  assert x.dtype == jnp.float32, x.dtype
  return by_xla(x, kernel, stride, padding)


def _by_patches_backward(stride, padding, saved, dy):
  def on_cpu(x, kernel, dy):
    plain = functools.partial(by_xla, kernel=kernel, stride=stride, padding=padding)
    return jax.vjp(plain, x)[1](dy)[0], patches.filters_gradient(x, kernel, dy, stride=stride, padding=padding)
  return platforms.dependent(*saved, dy, cpu=on_cpu, default=functools.partial(
      _gradients_by_xla, stride=stride, padding=padding))


by_patches.defvjp(lambda x, kernel, *how: (by_patches(x, kernel, *how), (x, kernel)), _by_patches_backward)
