"""ResNet v1.5 in flax Linen, with batch normalisation over groups of the batch."""
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from layers import convolution, onednn, platforms
from layers.blocks import LEAST_IMAGES
from references.resnet_imagenet.normalization import normalized, normalized_by_group
from references.resnet_imagenet.pooling import max_pool
from serving import products

# Convolutions keep the variance of what goes in, of a normal distribution cut at two sigma (He et al., arXiv
# 1502.01852), as the MLPerf reference starts them. Here and below, jit: traced once a shape, for a sooner start.
he_normal = jax.jit(nn.initializers.variance_scaling(2.0, 'fan_in', 'truncated_normal'), static_argnums=(1, 2))
# depth -> (blocks of each stage, whether a block is a bottleneck); 14 is one of each, for compiling in seconds
DEPTHS = {14: ((1, 1, 1, 1), True), 18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True),
          101: ((3, 4, 23, 3), True)}


NORM_EPSILON = 1e-5
# On CPUs (benchmarks/NOTES.md):
WINOGRAD_SIZE = 28  # rows and columns from which it pays, tracing and compiling it included
FEW_PLACES = 49  # of a window, up to which one product of all patches pays


class BatchNorm(nn.Module):
  """Batch normalisation by the statistics of each group of consecutive rows; the running ones are the groups' mean.

  x: float [B, H, W, C] -> the same in `dtype`; statistics in float32, variances biased.

  Attributes:
    group_size: rows of a group; 0 is the whole global batch. It is part of the recipe: under jit, and on any number of
      devices, the rows of a group are the same.
    momentum: how much of the running statistics a step keeps.
  """
  group_size: int = 0
  momentum: float = 0.9
  epsilon: float = NORM_EPSILON
  scale_init: Callable = nn.initializers.ones
  dtype: Any = jnp.bfloat16

  @nn.compact
  def __call__(self, x, train: bool):
    channels = x.shape[-1:]
    scale, bias = self.param('scale', self.scale_init, channels), self.param('bias', nn.initializers.zeros, channels)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    var = self.variable('batch_stats', 'var', jnp.ones, channels)
    if not train:
      return normalized(x, mean.value, var.value, scale, bias, self.epsilon, self.dtype)
    y, m, v = normalized_by_group(x, scale, bias, self.group_size, self.epsilon, self.dtype)
    if not self.is_initializing():
      for running, now in ((mean, m), (var, v)):
        running.value = self.momentum * running.value + (1 - self.momentum) * now
    return y


by_onednn = jax.jit(convolution.by_onednn, static_argnums=(2, 3))
by_winograd = jax.jit(convolution.by_winograd)
by_product = jax.jit(convolution.by_product, static_argnums=(2, 3))
by_patches = jax.jit(convolution.by_patches, static_argnums=(2, 3))


def convolve(x, kernel, stride: int, padding):
  """x: [B, H, W, C], kernel: [h, w, C, K] -> [B, H', W', K].

  On CPUs they are oneDNN's in bfloat16. float32 does without it, since its programs can then be kept for the next
  start: 1 x 1 ones, and those of small images, are products; if four divides the batch, 3 x 3 ones of large images are
  Winograd's, and of strided ones the filters' gradient is products.
  """
  padding = tuple(padding)
  if x.dtype == jnp.bfloat16 and onednn.available(x.dtype):
    return by_onednn(x, kernel, stride, padding)
  if kernel.shape[:2] == (1, 1):
    return convolution.by_product(x, kernel, stride, padding)
  if x.dtype == jnp.bfloat16:
    return convolution.by_xla(x, kernel, stride, padding)
  in_blocks = len(x) % LEAST_IMAGES == 0
  if in_blocks and min(x.shape[1:3]) >= WINOGRAD_SIZE and (
      (kernel.shape[:2], stride, padding) == ((3, 3), 1, convolution.ROUND)):
    return by_winograd(x, kernel)
  if math.prod(onednn.places(x, kernel, stride, padding)) <= FEW_PLACES:
    return by_product(x, kernel, stride, padding)
  return (by_patches if in_blocks and stride > 1 else convolution.by_xla)(x, kernel, stride, padding)


class Conv(nn.Module):
  """A convolution without bias, `size` x `size`, padded by size // 2 on each side as torchvision does.

  The reference pads strided ones by TensorFlow's 'same', which shifts them by a pixel: a choice that MLPerf's rules
  leave to the framework.
  """
  features: int
  size: int = 3
  stride: int = 1
  dtype: Any = jnp.bfloat16

  @nn.compact
  def __call__(self, x):
    kernel = self.param('kernel', he_normal, (self.size, self.size, x.shape[-1], self.features))
    return convolve(x, kernel.astype(self.dtype), self.stride, [(self.size // 2,) * 2] * 2)


def space_to_depth(x, kernel):
  """The operands of a 7 x 7 convolution of stride 2 as those of a 4 x 4 one of 2 x 2 blocks: the same sums and result.

  x: [B, H, W, C], H and W even; kernel: [7, 7, C, K] -> [B, H/2, W/2, 4 C], [4, 4, 4 C, K]. Three input channels leave
  most of a matrix unit idle, twelve less (Google's MLPerf submissions since v0.6).
  """
  b, h, w, c = x.shape
  # Padded in front, tap 0 becomes the second of its block: pixel 2i - 3 is in block i - 2.
  kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(4, 2, 4, 2, c, -1)
  x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
  return x, kernel.transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, 4 * c, -1)


SPACE_TO_DEPTH_PADDING = [(2, 1)] * 2


class SpaceToDepthConv(nn.Module):
  """The 7 x 7 stem of stride 2, computed in blocks of pixels: float [B, H, W, C] -> [B, H/2, W/2, features]."""
  features: int
  dtype: Any = jnp.bfloat16

  @nn.compact
  def __call__(self, x):
    kernel = self.param('kernel', he_normal, (7, 7, x.shape[-1], self.features)).astype(self.dtype)
    return convolve(*space_to_depth(x, kernel), 1, SPACE_TO_DEPTH_PADDING)


class Block(nn.Module):
  """A residual block: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 where `bottleneck`; v1.5 strides in the 3 x 3.

  The last normalisation's scale starts at 0, so that a block starts out as the identity (Goyal et al., arXiv
  1706.02677).
  """
  width: int
  stride: int
  bottleneck: bool
  norm: Callable
  dtype: Any
  folded: bool

  @nn.compact
  def __call__(self, x, train: bool):
    filters = (1, 3, 1) if self.bottleneck else (3, 3)
    width = self.width * (4 if self.bottleneck else 1)
    unit = functools.partial(self._unit, train=train)
    y, strided = x, filters.index(3)
    for n, size in enumerate(filters[:-1]):
      y = unit(y, n + 1, self.width, size, self.stride if n == strided else 1, relu=True)
    if self.stride > 1 or x.shape[-1] != width:
      x = unit(x, '_skip', width, 1, self.stride)
    return unit(y, len(filters), width, filters[-1], added=x, relu=True, scale_init=nn.initializers.zeros)

  def _unit(self, x, name, width: int, size: int, stride: int = 1, *, train: bool, added=None, relu: bool = False,
            scale_init=nn.initializers.ones):
    """A convolution, normalised, plus what is to be `added`, if anything."""
    if self.folded:
      return products.convolution(x, **self.get_variable('params', f'conv{name}'), added=added, stride=stride,
                                  padding=[(size // 2,) * 2] * 2, activation='relu' if relu else '')
    y = Conv(width, size, stride, self.dtype, name=f'conv{name}')(x)
    y = self.norm(name=f'norm{name}', scale_init=scale_init)(y, train)
    y = y if added is None else added + y
    return nn.relu(y) if relu else y


class ResNet(nn.Module):
  """ResNet v1.5 (He et al., arXiv 1512.03385; stride in the 3 x 3 convolution, as torchvision and MLPerf have it).

  images: float [B, H, W, 3] -> logits: float32 [B, num_classes].

  Attributes:
    depth: 14, 18, 34, 50 or 101.
    width: channels of the first stage, 64 in the paper.
    space_to_depth: whether the stem is computed in blocks of pixels; parameters and result are the same.
    folded: for inference alone; the parameters are then those that serving/folding.py makes.
  """
  depth: int
  num_classes: int
  width: int = 64
  batch_norm_group_size: int = 0
  space_to_depth: bool = False
  dtype: Any = jnp.bfloat16
  folded: bool = False

  @nn.compact
  def __call__(self, images, train: bool):
    stages, bottleneck = DEPTHS[self.depth]
    norm = functools.partial(BatchNorm, self.batch_norm_group_size, dtype=self.dtype)
    x = self._folded_stem(images.astype(self.dtype)) if self.folded else norm(name='norm')(
        self._stem()(images.astype(self.dtype)), train)
    # The same numbers: relu after is a quarter of the work, before it a TPU moves fewer bytes, by its compiler's count.
    x = platforms.dependent(x, cpu=lambda x: nn.relu(max_pool(x)), default=lambda x: max_pool(nn.relu(x)))
    for stage, blocks in enumerate(stages):
      for number in range(blocks):
        stride = 2 if stage and not number else 1
        x = Block(self.width * 2**stage, stride, bottleneck, norm, self.dtype, self.folded,
                  name=f'stage{stage + 1}_block{number + 1}')(x, train)
    x = x.mean((1, 2), dtype=jnp.float32)
    return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name='head')(x)

  def _stem(self):
    if self.space_to_depth:
      return SpaceToDepthConv(self.width, self.dtype, name='stem')
    return Conv(self.width, 7, 2, self.dtype, name='stem')

  def _folded_stem(self, x):
    kernel, bias = (self.get_variable('params', 'stem')[name] for name in ('kernel', 'bias'))
    if not self.space_to_depth:
      return products.convolution(x, kernel, bias, stride=2, padding=[(3, 3)] * 2)
    x, kernel = space_to_depth(x, kernel.swapaxes(2, 3))
    return products.convolution(x, kernel.swapaxes(2, 3), bias, padding=SPACE_TO_DEPTH_PADDING)
