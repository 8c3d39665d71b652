"""What cutting the batch into blocks gains on CPUs: forward and backward pass of each 3 x 3 convolution of airbench.

  python -m benchmarks.convolution [--batch_size=512]

The peer is XLA's own convolution and its gradients, in the same process, dtype and shapes. One line for each dtype: the
seconds of one pass through all six convolutions of the network.
"""
import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.report import report
from references.cifar.convolution import _plain, conv3x3

# (rows and columns in, computed, channels in, filters): airbench's, 32 x 32 images, widths 64, 256, 256
SHAPES = ((31, 30, 24, 64), (15, 15, 64, 64), (15, 14, 64, 256), (7, 7, 256, 256), (7, 6, 256, 256), (3, 3, 256, 256))
REPETITIONS = 5


def passes(convolution, batch_size: int, dtype) -> list[float]:
  """Seconds of forward and backward through all shapes, for each repetition."""
  seconds, random = [0.0] * REPETITIONS, np.random.default_rng(0)
  for size, computed, channels, filters in SHAPES:
    x, kernel, dy = (jnp.asarray(random.normal(size=shape), dtype) for shape in (
        (batch_size, size, size, channels), (3, 3, channels, filters), (batch_size, computed, computed, filters)))
    whole = lambda x, kernel, dy: jax.vjp(
        functools.partial(convolution, size=(computed, computed)), x, kernel)[1](dy)
    both = jax.jit(lambda *a: (convolution(*a[:2], size=(computed, computed)), whole(*a)))
    jax.block_until_ready(both(x, kernel, dy))
    for i in range(REPETITIONS):
      start = time.perf_counter()
      jax.block_until_ready(both(x, kernel, dy))
      seconds[i] += time.perf_counter() - start
  return seconds


def main():
  given = [a for a in sys.argv[1:] if a.startswith('--batch_size=')]
  batch_size = int(given[0].split('=')[1]) if given else 512
  for dtype in ('float32', 'bfloat16'):
    ours = passes(lambda x, kernel, size: conv3x3(x, kernel, size), batch_size, dtype)
    report('convolution', ours=ours, peer=passes(_plain, batch_size, dtype), peer_name="XLA's convolution", unit='s',
           dtype=dtype, batch_size=batch_size, jax=jax.__version__, platform=jax.default_backend())


if __name__ == '__main__':
  main()
