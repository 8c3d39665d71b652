"""ResNet v1.5 in flax Linen, with batch normalisation over groups of the batch."""
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from layers import convolution, dense, onednn
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
WINOGRAD_SIZE = 28  # rows and columns from which it pays on CPUs, tracing it included (benchmarks/NOTES.md)


class BatchNorm(nn.Module):
  """Batch normalisation by the statistics of each group of consecutive rows; the running ones are the groups' mean.

  x: float [B, H, W, C] -> the same in `dtype`; statistics in float32, variances biased.

  Attributes:
    group_size: rows of a group; 0 is the whole global batch. It is part of the recipe: under jit, and on any number of
      devices, the rows of a group are the same.
    momentum: how much of the running statistics a step keeps.
    folded: for inference alone: what is left is a multiplication, unless the kernels have it, and an addition, with the
      parameters that serving/folding.py makes.
  """
  group_size: int = 0
  momentum: float = 0.9
  epsilon: float = NORM_EPSILON
  scale_init: Callable = nn.initializers.ones
  dtype: Any = jnp.bfloat16
  folded: bool = False

  @nn.compact
  def __call__(self, x, train: bool):
    channels = x.shape[-1:]
    if self.folded:
      bias = self.param('bias', nn.initializers.zeros, channels)
      return (x * self.get_variable('params', 'scale', 1.0) + bias).astype(self.dtype)
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
by_patches = jax.jit(convolution.by_patches, static_argnums=(2, 3))


def convolve(x, kernel, stride: int, padding, train: bool):
  """x: [B, H, W, C], kernel: [h, w, C, K] -> [B, H', W', K]; without gradients, as serving/products.py has it.

  On CPUs in training, they are oneDNN's in bfloat16. float32 does without it, since its programs can then be kept for
  the next start: 1 x 1 ones are products; if four divides the batch, large 3 x 3 ones are Winograd's, and of strided
  ones the filters' gradient is products (benchmarks/NOTES.md).
  """
  if not train:
    return products.convolution(x, kernel, stride, padding)
  plain = functools.partial(convolution.by_xla, stride=stride, padding=padding)
  if x.dtype == jnp.bfloat16 and onednn.available(x.dtype):
    return by_onednn(x, kernel, stride, tuple(padding))
  if kernel.shape[:2] == (1, 1):
    return jax.lax.platform_dependent(x, kernel, default=plain, cpu=lambda x, kernel: dense.product(
        x[:, ::stride, ::stride], kernel[0, 0]))
  if x.dtype == jnp.bfloat16 or len(x) % LEAST_IMAGES:
    return plain(x, kernel)
  if (kernel.shape[:2], stride, padding) == ((3, 3), 1, [(1, 1)] * 2) and min(x.shape[1:3]) >= WINOGRAD_SIZE:
    return by_winograd(x, kernel)
  return by_patches(x, kernel, stride, tuple(padding)) if stride > 1 else plain(x, kernel)


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
  def __call__(self, x, train: bool):
    kernel = self.param('kernel', he_normal, (self.size, self.size, x.shape[-1], self.features))
    return convolve(x, kernel.astype(self.dtype), self.stride, [(self.size // 2,) * 2] * 2, train)


class SpaceToDepthConv(nn.Module):
  """The 7 x 7 stem of stride 2 as a 4 x 4 convolution of 2 x 2 blocks of pixels: the same sums, kernel and result.

  x: float [B, H, W, C], H and W even -> [B, H/2, W/2, features]. Three input channels leave most of a matrix unit idle,
  twelve less (Google's MLPerf submissions since v0.6).
  """
  features: int
  dtype: Any = jnp.bfloat16

  @nn.compact
  def __call__(self, x, train: bool):
    b, h, w, c = x.shape
    kernel = self.param('kernel', he_normal, (7, 7, c, self.features)).astype(self.dtype)
    # Padded in front, tap 0 becomes the second of its block: pixel 2i - 3 is in block i - 2.
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(4, 2, 4, 2, c, -1)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, 4 * c, -1)
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
    return convolve(x, kernel, 1, [(2, 1)] * 2, train)


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

  @nn.compact
  def __call__(self, x, train: bool):
    conv = functools.partial(Conv, dtype=self.dtype)
    last = functools.partial(self.norm, scale_init=nn.initializers.zeros)
    if self.bottleneck:
      y = nn.relu(self.norm(name='norm1')(conv(self.width, 1, name='conv1')(x, train), train))
      y = nn.relu(self.norm(name='norm2')(conv(self.width, 3, self.stride, name='conv2')(y, train), train))
      y = last(name='norm3')(conv(4 * self.width, 1, name='conv3')(y, train), train)
    else:
      y = nn.relu(self.norm(name='norm1')(conv(self.width, 3, self.stride, name='conv1')(x, train), train))
      y = last(name='norm2')(conv(self.width, 3, name='conv2')(y, train), train)
    if x.shape != y.shape:
      x = conv(y.shape[-1], 1, self.stride, name='conv_skip')(x, train)
      x = self.norm(name='norm_skip')(x, train)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """ResNet v1.5 (He et al., arXiv 1512.03385; stride in the 3 x 3 convolution, as torchvision and MLPerf have it).

  images: float [B, H, W, 3] -> logits: float32 [B, num_classes].

  Attributes:
    depth: 14, 18, 34, 50 or 101.
    width: channels of the first stage, 64 in the paper.
    space_to_depth: whether the stem is computed in blocks of pixels; parameters and result are the same.
    folded: for inference alone, see BatchNorm.
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
    norm = functools.partial(BatchNorm, self.batch_norm_group_size, dtype=self.dtype, folded=self.folded)
    stem = (SpaceToDepthConv(self.width, self.dtype, name='stem') if self.space_to_depth else
            Conv(self.width, 7, 2, self.dtype, name='stem'))
    x = norm(name='norm')(stem(images.astype(self.dtype), train), train)
    # The same numbers: relu after is a quarter of the work, before it a TPU moves fewer bytes, by its compiler's count.
    x = jax.lax.platform_dependent(x, cpu=lambda x: nn.relu(max_pool(x)), default=lambda x: max_pool(nn.relu(x)))
    for stage, blocks in enumerate(stages):
      for number in range(blocks):
        stride = 2 if stage and not number else 1
        x = Block(self.width * 2**stage, stride, bottleneck, norm, self.dtype,
                  name=f'stage{stage + 1}_block{number + 1}')(x, train)
    x = x.mean((1, 2), dtype=jnp.float32)
    return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name='head')(x)
