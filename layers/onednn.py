"""Convolutions and products on CPUs by oneDNN, which is within jaxlib: XLA calls it where a program asks by name.

XLA:CPU's own convolutions gain nothing from bfloat16, and those that sum over a batch, as filters' gradients do, take
several times as long as others; so do its products that sum over rows. oneDNN, which PyTorch has as well, takes a tenth
of the time in bfloat16 with a matrix unit (benchmarks/convolution.py). No option of XLA's makes it call oneDNN, its
custom calls do; they are internal, but were found to be the same and right in jaxlib 0.10.2, 0.11.2 and 0.12.0
(tests/layers). A batch that is divided over devices stays where it is.

XLA cannot write such a program down for the compilation cache, and what it does instead of saying so is undefined. So
a process that has lowered one for CPUs writes nothing more to that cache.
"""
import functools
import itertools
import json
import math
import platform
import sys
from pathlib import Path

import jax
import jax.extend
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec

from layers import platforms
from layers.bfloat16 import bits, floats, kept

CONVOLUTION, PRODUCT = '__onednn$convolution', '__onednn$matmul'
CPUS = Path('/proc/cpuinfo')
INSTRUCTIONS = {'float32': 'avx2', 'bfloat16': 'avx512_bf16'}  # without: slower than XLA's, or aborts
MATRIX_UNIT = 16  # rows of what it multiplies at a time
BLOCK_BYTES = 5 << 20  # of inputs and gradients, summed over at a time; found on two cores with 2 MiB of cache each


@functools.cache
def available(dtype) -> bool:
  """Whether oneDNN has the instructions for that dtype on this machine's CPUs."""
  if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
    return False
  instructions = INSTRUCTIONS.get(jnp.dtype(dtype).name)
  return instructions is not None and CPUS.exists() and instructions in CPUS.read_text().split()


def on_cpus(ours, xlas, *arrays):
  """`ours` of the arrays on CPUs if oneDNN is available for the first one's dtype, else `xlas`."""
  if not available(arrays[0].dtype):
    return xlas(*arrays)
  return platforms.dependent(*arrays, cpu=ours, default=xlas)


def in_bfloat16(ours, xlas, *arrays):
  """As `on_cpus` in bfloat16, if there is something to sum; float32 products gain less than each start would lose."""
  worth_it = arrays[0].dtype == jnp.bfloat16 and all(a.size for a in arrays)
  assert not worth_it or all(a.dtype == jnp.bfloat16 for a in arrays[:2]), [a.dtype for a in arrays]
  return on_cpus(ours, xlas, *arrays) if worth_it else xlas(*arrays)


_onednn = jax.extend.core.Primitive('onednn')
_onednn.def_abstract_eval(lambda *arrays, target, shape, dtype, config: jax.core.ShapedArray(shape, dtype))
_onednn.def_impl(lambda *arrays, **how: jax.jit(functools.partial(_onednn.bind, **how))(*arrays))


def _lowered(context, *arrays, target, shape, dtype, config):
  jax.config.update('jax_persistent_cache_min_compile_time_secs', math.inf)
  return jax.ffi.ffi_lowering(target, api_version=1, backend_config=config)(context, *arrays)


mlir.register_lowering(_onednn, _lowered, platform='cpu')


def _call(x, kernel, shape, dtype, sides, filters, strides, padding, dilations, then=(), more=()):
  """XLA's custom call: a convolution over any number of axes.

  sides: which axes of x, and of the result, are (batch, channels, *places); filters: which of the kernel are (channels
  in, channels out, *places). The rest is of places. then: what it does with the sums, and to `more` arrays.
  """
  layout = {'dims': x.ndim, 'data': {'batch_dim': sides[0], 'feature_dim': sides[1], 'spatial_dims': sides[2:]}}
  config = {
      'dims': x.ndim, 'input': layout, 'output': layout, 'feature_groups': 1,
      'kernel': {'dims': x.ndim, 'filter': {'input_feature_dim': filters[0], 'output_feature_dim': filters[1],
                                            'spatial_dims': filters[2:]}},
      'window': {'size': [kernel.shape[axis] for axis in filters[2:]], 'strides': strides,
                 'window_dilations': dilations, 'pad_left': [before for before, _ in padding],
                 'pad_right': [after for _, after in padding]}, 'fusions': {'ops': then}}
  return _onednn.bind(x, kernel, *more, target=CONVOLUTION, shape=shape, dtype=dtype,
                      config=json.dumps({'onednn_conv_config': config}))


@functools.partial(custom_partitioning, static_argnums=(2, 3))
def convolution(x, kernel, stride: int, padding):
  """x: [B, H, W, C]; kernel: [h, w, C, K], of the same dtype; padding: ((before, after), ...), none negative."""
  shape = (len(x), *places(x, kernel, stride, padding), kernel.shape[3])
  return _call(x, kernel, shape, x.dtype, (0, 3, 1, 2), (2, 3, 0, 1), (stride,) * 2, padding, (1, 1))


def places(x, kernel, stride, padding):
  return [(have + before + after - window) // stride + 1
          for have, (before, after), window in zip(x.shape[1:3], padding, kernel.shape)]


def inputs_gradient(dy, kernel, size: tuple[int, int], stride: int, padding):
  """[B, *size, C]: for each place within a step the convolution of `dy` with the filters' pixels that meet it there.

  One of `dy` spread over what each step skips is as right, but most of what it multiplies is zeros.
  """
  turned = kernel.swapaxes(2, 3)
  parts = {place: _at_place(dy, turned, place, size, stride, padding)
           for place in itertools.product(range(stride), repeat=2)}
  return floats(functools.reduce(jnp.add, [
      _spread(bits(part), place, stride, size) for place, part in parts.items() if part is not None]))


def _spread(x, place, stride: int, size):
  """[B, h, w, C] -> [B, *size, C]: every `stride`-th row and column from that place on, and zeros elsewhere."""
  edges = [(at, have - at - (given - 1) * stride - 1, stride - 1)
           for at, have, given in zip(place, size, x.shape[1:3])]
  return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _at_place(dy, turned, place, size, stride, padding):
  """[B, h, w, C]: what steps have at (row, column), without zeros at the end; None: nothing meets it.

  oneDNN is never padded by its whole window, which ends the process at times, nor given anything empty.
  """
  firsts, cuts, sides = [], [], []
  for at, wanted, (before, _), window, have in zip(place, size, padding, turned.shape, dy.shape[1:3]):
    skipped, first = divmod(at + before, stride)
    taps, steps = len(range(first, window, stride)), len(range(at, wanted, stride))
    more = taps - 1 - skipped, steps + skipped - have  # than `dy` has, or less
    cut, side = [min(n, 0) for n in more], [min(max(n, 0), taps - 1) for n in more]
    if not taps or not steps or have + sum(cut) < 1 or have + sum(cut) + sum(side) < taps:
      return None
    firsts.append(first)
    cuts.append((*cut, 0))
    sides.append(tuple(side))
  pixels = turned[firsts[0]::stride, firsts[1]::stride][::-1, ::-1]
  dy = jax.lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), *cuts, (0, 0, 0)))
  return convolution(dy, pixels, 1, tuple(sides))


@functools.partial(custom_partitioning, static_argnums=(2, 3, 4))
def filters_gradient(x, dy, window: tuple[int, int], stride: int, padding):
  """float32 [h, w, C, K].

  For oneDNN this is the convolution of one image, as deep as the batch, with `dy` as its filters: what slides over rows
  and columns to make h and w, and a third way over the channels, whose window is 1.
  """
  sides = []
  for axis, (size, (before, _)) in enumerate(zip(window, padding), 1):
    after = (dy.shape[axis] - 1) * stride + size - before - x.shape[axis]
    x = jax.lax.slice_in_dim(x, 0, x.shape[axis] + min(after, 0), axis=axis)  # rows that no window reached
    sides.append((before, max(after, 0)))
  shape = (*window, x.shape[3], dy.shape[3])

  def share(total, block):
    x, dy = block
    image = floats(kept(jnp.moveaxis(x, 0, -1)))[None]
    return total + _call(image, floats(kept(dy))[:, :, :, None], (1, *shape), jnp.float32, (0, 4, 1, 2, 3),
                         (0, 4, 1, 2, 3), (1, 1, 1), (*sides, (0, 0)), (stride, stride, 1))[0], None

  images = _block_images(x, dy)
  blocks = [bits(a).reshape(-1, images, *a.shape[1:]) for a in (x, dy)]
  return jax.lax.scan(share, jnp.zeros(shape, jnp.float32), blocks)[0]


def _block_images(x, dy) -> int:
  """The most that divide the batch and stay in the cache, sixteens if possible: what a matrix unit sums at a time.

  Sixteen, or what there is up to it, even if they don't: four in the cache take two to three times as long.
  """
  most = max(MATRIX_UNIT, BLOCK_BYTES * len(x) // (x.nbytes + dy.nbytes))
  return max((n for n in range(1, min(most, len(x)) + 1) if len(x) % n == 0), key=lambda n: (n % MATRIX_UNIT == 0, n))


def _product(x, y, turned: tuple[bool, bool], dtype, then=(), more=()):
  """Of x: [..., N, C] and y: [..., C, K], or turned: [..., C, N], [..., K, C]; `then` and `more` as of _call."""
  shape = (*x.shape[:-2], x.shape[-1 if turned[0] else -2], y.shape[-2 if turned[1] else -1])
  config = {'transpose_a': turned[0], 'transpose_b': turned[1], 'fusions': {'ops': then}}
  return _onednn.bind(x, y, *more, target=PRODUCT, shape=shape, dtype=dtype,
                      config=json.dumps({'onednn_matmul_config': config}))


@functools.partial(custom_partitioning, static_argnums=(2,))
def product(x, y, turned: bool):
  """x: [N, C]; y: [C, K], or [K, C] if `turned`; of one dtype -> [N, K], that dtype."""
  return _product(x, y, (False, turned), x.dtype)


@custom_partitioning
def over_rows(x, y):
  """x: [N, C]; y: [N, K], of one dtype -> float32 [C, K]."""
  return _product(x, y, (True, False), jnp.float32)


@functools.partial(custom_partitioning, static_argnums=(2, 3))
def products(x, y, turned: tuple[bool, bool], dtype):
  """x: [B, H, N, C], y: [B, H, C, K], of one dtype, each with its last two axes the other way round if `turned`.

  -> [B, H, N, K] of `dtype`, which is theirs or float32.
  """
  return _product(x, y, turned, dtype)


def _divide(function, rule: str, by_row: bool = False, summed: bool = False):
  """Has each device compute its own part of the batch, and adds the parts up if `summed`; x decides what is where.

  by_row: whether the second array has a batch as well.
  """
  def partition(*args):
    *how, mesh, (x, _), _ = args
    rows = PartitionSpec(*x.sharding.spec[:1])
    divided, whole = (NamedSharding(mesh, spec) for spec in (rows, PartitionSpec()))

    def part(x, y):
      made = function.fun(x, y, *how)
      return jax.lax.psum(made, rows[0]) if summed and rows and rows[0] else made
    return mesh, part, whole if summed else divided, (divided, divided if by_row else whole)
  undivided = tuple(letter for letter in dict.fromkeys(rule) if letter.isalpha() and letter != 'b')
  function.def_partition(partition, sharding_rule=rule, need_replication_factors=undivided)


_divide(convolution, 'b h w c, i j c k -> b p q k')
_divide(filters_gradient, 'b h w c, b p q k -> i j c k', by_row=True, summed=True)
_divide(product, 'b c, i k -> b j')
_divide(over_rows, 'b c, b k -> c k', by_row=True, summed=True)
_divide(products, 'b h i j, b h k l -> b h m n', by_row=True)


# For inference on one device: what comes after the sums is within the call. Kernels have their last two axes the other
# way round, [..., K, C]: oneDNN lays them out anew at each call, and from there it takes as little as half the time.
# Its activations are XLA's for finite sums; a ReLU of NaN is 0.

FUSED = {'': (), 'relu': ('RELU',), 'gelu': ('GELU_ERF',), 'gelu_tanh': ('GELU_TANH',), 'silu': ('SWISH',)}


def fused_convolution(x, kernel, bias, *added, stride: int, padding, activation: str):
  """activation(convolution + bias + added), rounded once; bias: float32 [K]; added: one or none."""
  shape = (len(x), *places(x, kernel, stride, padding), kernel.shape[2])
  return _call(x, kernel, shape, x.dtype, (0, 3, 1, 2), (3, 2, 0, 1), (stride,) * 2, padding, (1, 1),
               _then(added, activation), (bias, *added))


def fused_product(x, kernel, bias, *added, activation: str):
  """As fused_convolution of x: [N, C] and kernel: [K, C] -> [N, K]."""
  return _product(x, kernel, (False, True), x.dtype, _then(added, activation), (bias[None], *added))


def _then(added, activation: str):
  return ['BIAS', *('BINARY_ADD' for _ in added), *FUSED[activation]]
