"""What our 3 x 3 convolutions and poolings gain on CPUs: forward and backward pass of all of airbench's.

  python -m benchmarks.convolution [--batch_size=512]

The peers are XLA's own convolution, and flax's max_pool, with their gradients, in the same process, dtype and shapes,
and take turns with ours, so that what else the machine does falls on both. One line on stderr a shape.
Two lines for each dtype: the seconds of one pass through the six convolutions of the network, every other one with the
pooling that follows it, and through the three 2 x 2 poolings alone.
"""
import functools
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import progress
from benchmarks.report import report
from launchers import command
from layers.convolution import by_onednn, by_xla
from layers.pooling import max_pool

# (rows and columns in, computed, channels in, filters): airbench's, 32 x 32 images, widths 64, 256, 256; pooled are the
# first of each width
SHAPES = ((31, 30, 24, 64), (15, 15, 64, 64), (15, 14, 64, 256), (7, 7, 256, 256), (7, 6, 256, 256), (3, 3, 256, 256))
POOLED = [(computed, filters) for _, computed, _, filters in SHAPES[::2]]
REPETITIONS = 5

FLAGS = flags.FLAGS


def timed(cases) -> list[list[float]]:
  """Of ours and of the peer: seconds of one call for each shape, summed, for each repetition.

  cases: (ours, peer, their arguments), one a shape.
  """
  seconds = [[0.0] * REPETITIONS for _ in range(2)]
  for *both, arguments in cases:
    compiled = [jax.jit(function) for function in both]
    for function in compiled:
      jax.block_until_ready(function(*arguments))
    for repetition in range(REPETITIONS):
      for function, kept in zip(compiled, seconds):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        kept[repetition] += time.perf_counter() - start
  return seconds


def normal(shape, dtype):
  return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def layer(x, kernel, convolution, pool, more: int):
  """The convolution without the last `more` rows and columns of its result, and if there is one the pooling of it."""
  y = convolution(x, kernel, 1, ((1, 1 - more),) * 2)
  return pool(y) if pool else y


def flax_pool(x):
  return nn.max_pool(x, (2, 2), (2, 2))


def both(function, *arguments):
  """What a function has, and its gradients; the last argument is that of its result."""
  *given, dy = arguments
  y, transposed = jax.vjp(function, *given)
  return y, transposed(dy)


def convolutions(batch_size: int, dtype):
  """(ours, peer, arguments) of each: forward and backward pass."""
  for number in progress.told(len(SHAPES), f'convolution {dtype}, shape'):
    size, computed, channels, filters = SHAPES[number]
    pool = number % 2 == 0
    given = computed // 2 if pool else computed
    yield (*(functools.partial(both, functools.partial(layer, convolution=convolution, pool=pool and pooling,
                                                       more=size - computed))
             for convolution, pooling in ((by_onednn, max_pool), (by_xla, flax_pool))),
           (normal((batch_size, size, size, channels), dtype), normal((3, 3, channels, filters), dtype),
            normal((batch_size, given, given, filters), dtype)))


def poolings(batch_size: int, dtype):
  """(ours, peer, arguments) of each: forward and backward pass."""
  for number in progress.told(len(POOLED), f'pooling {dtype}, shape'):
    size, channels = POOLED[number]
    yield (*(functools.partial(both, pool) for pool in (max_pool, flax_pool)),
           (normal((batch_size, size, size, channels), dtype),
            normal((batch_size, size // 2, size // 2, channels), dtype)))


def main() -> int:
  for dtype in ('float32', 'bfloat16'):
    for what, cases, name in (('convolution', convolutions, "XLA's convolution, flax's max_pool"),
                              ('pooling', poolings, "flax's max_pool")):
      ours, peer = timed(cases(FLAGS.batch_size, dtype))
      report(what, ours=ours, peer=peer, peer_name=name, unit='s', dtype=dtype, batch_size=FLAGS.batch_size,
             platform=jax.default_backend())
  return 0


if __name__ == '__main__':
  flags.DEFINE_integer('batch_size', 512, 'images', lower_bound=1)
  command.script(main, __doc__)
