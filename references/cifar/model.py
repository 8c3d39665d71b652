"""Convolutional networks for small images: groups of two convolutions, each group at half the resolution; a ResNet."""
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from layers.convolution import by_onednn
from layers.pooling import max_pool
from references.cifar.normalization import normalized
from serving import products


def _normal_cdf(x):
  return 0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5))


@jax.custom_vjp
def gelu(x):
  """x times the normal distribution function of x (Hendrycks and Gimpel, arXiv 1606.08415), in float32, rounded once.

  jax.nn's, by erfc in the dtype of x, takes XLA:CPU twice to three times as long, and its gradient keeps more than x.
  """
  wide = x.astype(jnp.float32)
  return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_backward(x, dy):
  wide = x.astype(jnp.float32)
  slope = _normal_cdf(wide) + wide * jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
  return (dy.astype(jnp.float32) * slope).astype(x.dtype),


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


class BatchNorm(nn.BatchNorm):
  """flax's, and an activation after it; with one, and without scale, training uses normalization.py."""
  activation: Callable | None = None

  @nn.compact
  def __call__(self, x):
    activate = self.activation or (lambda x: x)
    if self.activation is None or self.use_running_average or self.use_scale:
      return activate(super().__call__(x))
    bias = self.param('bias', nn.initializers.zeros, x.shape[-1:])
    y, *statistics = normalized(x, bias, self.activation, self.epsilon)
    for name, value, start in zip(('mean', 'var'), statistics, (jnp.zeros, jnp.ones)):
      kept = self.variable('batch_stats', name, start, x.shape[-1:])
      if not self.is_initializing():
        kept.value = self.momentum * kept.value + (1 - self.momentum) * value
    return y


def folded_unit(x, params, size, activation: str, pool: bool):
  """A convolution as `padded_to` says, with its normalisation in it, maxima if `pool`, and the activation."""
  unit = functools.partial(products.convolution, x, **params, padding=padded_to(size, x.shape[1:3]))
  # A normalisation may move past the maxima, but an activation need not rise everywhere.
  return products.activated(max_pool(unit()), activation) if pool else unit(activation=activation)


def padded_to(size, have):
  """Padding of a 3 x 3 convolution that computes as many rows and columns of those it has."""
  return tuple((1, 1 - (had - want)) for had, want in zip(have, size))


class ConvGroup(nn.Module):
  """conv - pool - norm - gelu - conv - norm - gelu, after airbench (Jordan, arXiv 2404.00498); digits' net has two."""
  width: int
  dtype: Any
  folded: bool = False

  @nn.compact
  def __call__(self, x, train: bool):
    for n, pool in enumerate((True, False)):
      if self.folded:
        x = folded_unit(x, self.get_variable('params', f'Conv_{n}'), x.shape[1:3], 'gelu_tanh', pool)
        continue
      x = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype)(x)
      x = max_pool(x) if pool else x
      x = BatchNorm(not train, momentum=0.6, use_scale=False, dtype=self.dtype)(x)
      x = nn.gelu(x)
    return x


class GroupNet(nn.Module):
  """Groups of convolutions, global maximum, linear head.

  images: float [B, H, W, C] -> logits: float32 [B, num_classes]. `folded`: as of Airbench.
  """
  widths: Sequence[int]
  num_classes: int
  dtype: Any = jnp.float32
  folded: bool = False

  @nn.compact
  def __call__(self, images, train: bool):
    x = images.astype(self.dtype)
    for width in self.widths:
      x = ConvGroup(width, self.dtype, self.folded)(x, train)
    x = x.max((1, 2))
    return nn.Dense(self.num_classes, use_bias=False, dtype=self.dtype)(x).astype(jnp.float32)


def torch_uniform(key, shape, dtype=jnp.float32):
  """U(-1/sqrt(n), 1/sqrt(n)) where n is what each output sums over: how torch starts its kernels, [..., outputs]."""
  bound = 1 / math.sqrt(math.prod(shape[:-1]))
  return jax.random.uniform(key, shape, dtype, -bound, bound)


def partly_identity(key, shape, dtype=jnp.float32):
  """3 x 3 filters [3, 3, C, K], of which the first C (or K) hand their channel on; the rest are `torch_uniform`."""
  same = min(shape[2:])
  return torch_uniform(key, shape, dtype).at[..., :same].set(0).at[1, 1, :same, :same].set(jnp.eye(same))


class Conv(nn.Module):
  """3 x 3, without bias; computes only as many rows and columns as `size` says; 2 x 2 maxima of them if `pool`."""
  width: int
  dtype: Any

  @nn.compact
  def __call__(self, x, size, pool: bool):
    kernel = self.param('kernel', partly_identity, (3, 3, x.shape[-1], self.width))
    x = by_onednn(x, kernel.astype(self.dtype), 1, padded_to(size, x.shape[1:3]))
    return max_pool(x) if pool else x


class Whitening(nn.Module):
  """2 x 2 convolution by fixed filters, which images.py computes from data, a bias that is trained at first, GELU."""
  dtype: Any
  bias_init: Callable
  folded: bool

  @nn.compact
  def __call__(self, x):
    filters = self.variable('whitening', 'filters', jnp.zeros, (2, 2, 3, 24), jnp.float32).value.astype(self.dtype)
    bias, padding = self.param('bias', self.bias_init, (24,)), ((0, 0), (0, 0))
    if self.folded:
      return products.convolution(x, filters.swapaxes(2, 3), bias, padding=padding, activation='gelu')
    x = by_onednn(x, filters, 1, padding)
    # Added in float32: the bias's gradient is a sum over the batch and all places, and in bfloat16 it goes astray.
    return gelu((x.astype(jnp.float32) + bias).astype(self.dtype))


NORM_EPSILON = 1e-12  # of Airbench
ACTIVATIONS = {'gelu': gelu, 'silu': jax.nn.silu}  # for it to choose from


class Airbench(nn.Module):
  """The network of airbench94 (K. Jordan, arXiv 2404.00498, section 3) and of its successors.

  images: float [B, H, W, 3] -> logits: float32 [B, 10].

  Attributes:
    widths: channels of the three groups.
    activation: in the groups, one of ACTIVATIONS; after the whitening it is GELU.
    norm_momentum: how much of its running statistics a batch normalisation keeps at each step.
    unit_head: as the Muon recipe: head weights of unit variance, logits divided by the number of features, and a
      random whitening bias; else weights as torch starts them, logits by 9, and no bias at first.
    folded: for inference alone; the parameters are then those that serving/folding.py makes.
  """
  widths: Sequence[int]
  activation: str
  norm_momentum: float
  unit_head: bool
  dtype: Any = jnp.bfloat16
  folded: bool = False

  @nn.compact
  def __call__(self, images, train: bool):
    x = Whitening(self.dtype, self._whitening_bias, self.folded)(images.astype(self.dtype))
    for n, (width, pool) in enumerate(itertools.product(self.widths, (True, False))):
      # Only what the pooling reads is computed: an odd last row or column would be cut off.
      size = [have // 2 * 2 if pool else have for have in x.shape[1:3]]
      if self.folded:
        x = folded_unit(x, self.get_variable('params', f'Conv_{n}'), size, self.activation, pool)
        continue
      x = Conv(width, self.dtype)(x, size, pool)
      x = BatchNorm(not train, momentum=self.norm_momentum, epsilon=NORM_EPSILON, use_scale=False, dtype=self.dtype,
                    activation=ACTIVATIONS[self.activation])(x)
    x = x.max((1, 2)).astype(jnp.float32)
    kernel = self.param('head', self._head, (self.widths[-1], 10))
    return x @ kernel / (self.widths[-1] if self.unit_head else 9)

  def _head(self, key, shape):
    kernel = torch_uniform(key, shape)
    return kernel / kernel.std(ddof=1) if self.unit_head else kernel

  def _whitening_bias(self, key, shape):
    bound = 1 / math.sqrt(12)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound) if self.unit_head else jnp.zeros(shape)


class ResNet18(nn.Module):
  """ResNet-18 (He et al., arXiv 1512.03385) as it is used on 32 x 32: a 3 x 3 stem and no pooling before the blocks.

  images: float [B, H, W, 3] -> logits: float32 [B, 10].
  """
  dtype: Any = jnp.bfloat16
  width: int = 64
  folded: bool = False

  @nn.compact
  def __call__(self, images, train: bool):
    def conv(x, number, width, size=3, stride=1, added=None, relu=True):
      if self.folded:
        return products.convolution(x, **self.get_variable('params', f'Conv_{number}'), added=added, stride=stride,
                                    padding=((size // 2,) * 2,) * 2, activation='relu' if relu else '')
      x = nn.Conv(width, (size, size), (stride, stride), padding=size // 2, use_bias=False, dtype=self.dtype,
                  kernel_init=nn.initializers.kaiming_normal(), name=f'Conv_{number}')(x)
      x = BatchNorm(not train, momentum=0.9, dtype=self.dtype, name=f'BatchNorm_{number}')(x)
      x = x if added is None else x + added
      return nn.relu(x) if relu else x

    x, number = conv(images.astype(self.dtype), 0, self.width), 1
    for stage in range(4):
      for block in range(2):
        width, stride = self.width * 2**stage, 2 if stage and not block else 1
        y = conv(x, number, width, stride=stride)
        new_shape = y.shape != x.shape
        skipped = conv(x, number + 2, width, 1, stride, relu=False) if new_shape else x
        x, number = conv(y, number + 1, width, added=skipped), number + 2 + new_shape
    x = x.mean((1, 2)).astype(jnp.float32)
    return nn.Dense(10)(x)
