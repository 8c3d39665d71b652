"""Convolutional networks for small images: groups of two convolutions, each group at half the resolution."""
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp


def max_pool(x):
  """Maximum over 2 x 2 windows, NHWC: odd rows and columns are cut off.

  By reshape and maximum: the gradient of flax's max_pool is several times slower on CPUs.
  """
  batch, height, width, channels = x.shape
  x = x[:, :height // 2 * 2, :width // 2 * 2]
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


class ConvGroup(nn.Module):
  """conv - pool - norm - gelu - conv - norm - gelu, the building block of airbench (Jordan, arXiv 2404.00498)."""
  width: int
  dtype: Any

  @nn.compact
  def __call__(self, x, train: bool):
    for pool in (True, False):
      x = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype)(x)
      x = max_pool(x) if pool else x
      x = nn.BatchNorm(use_running_average=not train, momentum=0.6, use_scale=False, dtype=self.dtype)(x)
      x = nn.gelu(x)
    return x


class GroupNet(nn.Module):
  """Groups of convolutions, global maximum, linear head.

  images: float [B, H, W, C] -> logits: float32 [B, num_classes].
  """
  widths: Sequence[int]
  num_classes: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images, train: bool):
    x = images.astype(self.dtype)
    for width in self.widths:
      x = ConvGroup(width, self.dtype)(x, train)
    x = x.max((1, 2))
    return nn.Dense(self.num_classes, use_bias=False, dtype=self.dtype)(x).astype(jnp.float32)
