"""Convolutions, dense layers and attention for inference: on CPUs by oneDNN with what follows the sums, else XLA's.

XLA:CPU gains little from bfloat16, and writes a layer's sums out before it adds a bias. benchmarks/NOTES.md has what
oneDNN gains. For one device, and without gradients. Kernels have their last two axes the other way round, as
serving/folding.py makes them; biases are float32.
"""
import functools
import math

import jax
import jax.numpy as jnp

from layers import onednn, patches
from layers.convolution import by_xla, check

FEW = 1 << 19  # multiplications that XLA has made before oneDNN begins
FINISHING = 32  # multiplications in the time that a sum's bias, activation and rounding take
FEW_PLACES = 64  # of a window: as one product of patches it takes half to four fifths of the time
ACTIVATIONS = {'': lambda x: x, 'relu': jax.nn.relu, 'gelu': functools.partial(jax.nn.gelu, approximate=False),
               'gelu_tanh': jax.nn.gelu, 'silu': jax.nn.silu}


def activated(x, activation: str):
  """In float32, rounded once, as oneDNN has it."""
  return ACTIVATIONS[activation](x.astype(jnp.float32)).astype(x.dtype)


def convolution(x, kernel, bias, added=None, *, stride: int = 1, padding, activation: str = ''):
  """x: [B, H, W, C], kernel: [h, w, K, C] -> [B, H', W', K]: activation(convolution + bias + added).

  By oneDNN it is rounded once; XLA's sums of bfloat16 are rounded before that, too. padding: ((before, after), ...) of
  rows and columns, less than the window.
  """
  check(x, kernel, padding, channels=3)
  size = onednn.places(x, kernel, stride, padding)
  places, window = len(x) * math.prod(size), kernel.shape[:2]

  def ours(x, kernel, bias, *more):
    if window != (1, 1) and places > FEW_PLACES:
      return onednn.fused_convolution(x, kernel, bias, *more, stride=stride, padding=padding, activation=activation)
    rows = patches.patches(x, window, stride, padding)
    y = onednn.fused_product(rows, kernel.transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1), bias, *map(_rows, more),
                             activation=activation)
    return y.reshape(len(x), *size, kernel.shape[2])

  def xlas(x, kernel, bias, *more):
    return _finished(by_xla(x, kernel.swapaxes(2, 3), stride, padding), bias, *more, activation=activation)
  return _chosen(ours, xlas, places, x, kernel, bias, *(() if added is None else (added,)))


def dense(x, kernel, bias, activation: str = ''):
  """x: [..., C], kernel: [K, C] -> [..., K]: activation(product + bias), rounded as of convolution."""
  def xlas(x, kernel, bias):
    return _finished(jax.lax.dot_general(x, kernel, (((1,), (1,)), ((), ()))), bias, activation=activation)
  rows, ours = _rows(x), functools.partial(onednn.fused_product, activation=activation)
  return _chosen(ours, xlas, len(rows), rows, kernel, bias).reshape(*x.shape[:-1], len(kernel))


def _chosen(ours, xlas, places: int, x, kernel, bias, *more):
  work = places * (kernel.size + FINISHING * bias.size)
  return onednn.on_cpus(ours, xlas, x, kernel, bias, *more) if work > FEW else xlas(x, kernel, bias, *more)


def _finished(y, bias, *more, activation: str):
  return ACTIVATIONS[activation](sum(more, y.astype(jnp.float32) + bias)).astype(y.dtype)


def _rows(x):
  return x.reshape(-1, x.shape[-1])


def attention(query, key, value, mask):
  """Multi-head attention to where `mask`: bool [B, 1, 1, K]; query: [B, Q, H, C], key, value: [B, K, H, C]."""
  def ours(query, key, value, mask):
    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
    logits = onednn.products(query, key, (False, True), jnp.float32) * query.shape[-1]**-0.5
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(jnp.float32).min)).astype(value.dtype)
    return onednn.products(weights, value, (False, False), value.dtype).swapaxes(1, 2)

  def xlas(query, key, value, mask):
    return jax.nn.dot_product_attention(query, key, value, mask=mask)
  return onednn.on_cpus(ours, xlas, query, key, value, mask)
