"""What our 3 x 3 convolutions and poolings gain on CPUs: forward and backward pass of all of airbench's.

  python -m benchmarks.convolution [--batch_size=512]

The peers are XLA's own convolution, and flax's max_pool, with their gradients, in the same process, dtype and shapes.
Two lines for each dtype: the seconds of one pass through the six convolutions of the network, and through its three
2 x 2 poolings.
"""
import functools
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.report import report
from references.cifar.convolution import _plain, conv3x3
from references.cifar.pooling import max_pool

# (rows and columns in, computed, channels in, filters): airbench's, 32 x 32 images, widths 64, 256, 256
SHAPES = ((31, 30, 24, 64), (15, 15, 64, 64), (15, 14, 64, 256), (7, 7, 256, 256), (7, 6, 256, 256), (3, 3, 256, 256))
POOLED = ((30, 64), (14, 256), (6, 256))  # rows and columns, channels
REPETITIONS = 5


def timed(functions_and_arguments) -> list[float]:
  """Seconds of one call of each function, summed, for each repetition."""
  seconds = [0.0] * REPETITIONS
  for function, arguments in functions_and_arguments:
    function = jax.jit(function)
    jax.block_until_ready(function(*arguments))
    for i in range(REPETITIONS):
      start = time.perf_counter()
      jax.block_until_ready(function(*arguments))
      seconds[i] += time.perf_counter() - start
  return seconds


def normal(shape, dtype):
  return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def convolutions(convolution, batch_size: int, dtype):
  """Forward and backward pass of each."""
  for size, computed, channels, filters in SHAPES:
    of_size = functools.partial(convolution, size=(computed, computed))
    yield lambda x, kernel, dy, of_size=of_size: (of_size(x, kernel), jax.vjp(of_size, x, kernel)[1](dy)), (
        normal((batch_size, size, size, channels), dtype), normal((3, 3, channels, filters), dtype),
        normal((batch_size, computed, computed, filters), dtype))


def poolings(pool, batch_size: int, dtype):
  """Forward and backward pass of each."""
  for size, channels in POOLED:
    yield lambda x, dy: (pool(x), jax.vjp(pool, x)[1](dy)), (
        normal((batch_size, size, size, channels), dtype), normal((batch_size, size // 2, size // 2, channels), dtype))


def main():
  given = [a for a in sys.argv[1:] if a.startswith('--batch_size=')]
  batch_size = int(given[0].split('=')[1]) if given else 512
  for dtype in ('float32', 'bfloat16'):
    for what, ours, peer, name in (
        ('convolution', convolutions(lambda x, kernel, size: conv3x3(x, kernel, size), batch_size, dtype),
         convolutions(_plain, batch_size, dtype), "XLA's convolution"),
        ('pooling', poolings(max_pool, batch_size, dtype),
         poolings(lambda x: nn.max_pool(x, (2, 2), (2, 2)), batch_size, dtype), "flax's max_pool")):
      report(what, ours=timed(ours), peer=timed(peer), peer_name=name, unit='s', dtype=dtype, batch_size=batch_size,
             jax=jax.__version__, platform=jax.default_backend())


if __name__ == '__main__':
  main()
