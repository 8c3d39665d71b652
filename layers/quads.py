"""The four outputs of a 3 x 3 convolution that are pooled together, as the channels of one output of a larger window.

Two by two outputs of a 3 x 3 window see 4 x 4 inputs. A window of that size, which moves by 2 and has the filters four
times, one for each place, takes 1.8 times the multiplications but makes 2.3 times fewer patches (patches.py), and its
maxima are of channels that lie side by side. That is a gain on CPUs for few channels, whose products are small.

The filters are filled up with zeros, so an infinite input makes NaN of outputs that it should not reach; and a batch
that is divided over devices sums larger gradients of filters over them.
"""
import jax.numpy as jnp

from layers import bfloat16
from layers.bfloat16 import kept
from layers.pooling import largest

CORNERS = [(i, j) for i in (0, 1) for j in (0, 1)]


def filters(kernel):
  """[3, 3, C, K] -> [4, 4, C, 4 * K], corner by corner."""
  placed = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in CORNERS]
  return jnp.concatenate(placed, -1)


def summed(total, kernel):
  """The transpose of `filters`, of what `patches.filters_total` has: float32 [4 * K, 16 * C] -> [K, 9 * C]."""
  channels, count = kernel.shape[2:]
  placed = total.reshape(4, count, 4, 4, channels)
  return sum(placed[n, :, i:i + 3, j:j + 3] for n, (i, j) in enumerate(CORNERS)).reshape(count, -1)


def pooled(y):
  """As pooling.pooled, of [B, h, w, 4 * K]."""
  y = y.reshape(*y.shape[:3], 4, -1)
  return largest(*(y[:, :, :, corner] for corner in range(4)))


def turned(dy, corner):
  """The transpose of taking those corners, turned: [B, h, w, K] -> [4 * K, B * h * w], zeros but for the maxima."""
  dy, corner = (kept(jnp.moveaxis(array, -1, 0)) for array in (bfloat16.bits(dy), corner))
  place = jnp.arange(4, dtype=jnp.uint8).reshape(4, 1, 1, 1, 1)
  spread = kept(jnp.where(corner == place, dy, 0))
  return bfloat16.floats(spread).reshape(4 * dy.shape[0], -1)
