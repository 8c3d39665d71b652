"""What layers/dense.py and serving/products.py gain on CPUs: CPU seconds of products of BERT base and ResNet-50.

  python -m benchmarks.products

The peer is what XLA makes of the same operation, in the same process and type, with the same constant weights. One line
of JSON for each kind and type where ours is not XLA's own: the sum over its shapes, one example each.
No flags but --help.
"""
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.report import report
from launchers import command
from layers import dense
from serving import products

REPETITIONS = 15
# (rows and columns, channels in, filters): what most of ResNet-50's blocks at 224 x 224 compute
SHAPES = {'3x3': (3, ((56, 64, 64), (28, 128, 128), (14, 256, 256), (7, 512, 512))),
          '1x1': (1, ((56, 64, 256), (28, 512, 128), (14, 1024, 256), (7, 2048, 512)))}
DENSE = ((384, 768, 768), (384, 768, 3072), (384, 3072, 768))  # rows, channels in, out: BERT base's layers
KINDS = {'float32': ('1x1',), 'bfloat16': ('dense', *SHAPES)}


def operations(kind: str, dtype):
  """(ours, peer, input) of each shape."""
  random = np.random.default_rng(0)
  made = lambda *shape: jnp.asarray(random.normal(size=shape), dtype)
  if kind == 'dense':
    for rows, channels, width in DENSE:
      kernel = np.asarray(made(channels, width))
      yield (functools.partial(dense.product, kernel=kernel), functools.partial(jnp.matmul, b=kernel),
             made(rows, channels))
    return
  size, shapes = SHAPES[kind]
  for rows, channels, filters in shapes:
    kernel, padding = np.asarray(made(size, size, channels, filters)), ((size // 2,) * 2,) * 2
    yield (functools.partial(products.convolution, kernel=kernel, stride=1, padding=padding),
           functools.partial(jax.lax.conv_general_dilated, rhs=kernel, window_strides=(1, 1), padding=padding,
                             dimension_numbers=('NHWC', 'HWIO', 'NHWC')), made(1, rows, rows, channels))


def main() -> int:
  for dtype, kinds in KINDS.items():
    for kind in kinds:
      seconds = [[0.0] * REPETITIONS for _ in range(2)]
      for *both, x in operations(kind, dtype):
        compiled = [jax.jit(operation).lower(x).compile() for operation in both]
        for repetition in range(-2, REPETITIONS):  # the first two are not counted
          for one, kept in zip(compiled, seconds):
            start = time.process_time()
            jax.block_until_ready(one(x))
            if repetition >= 0:
              kept[repetition] += time.process_time() - start
      report('products', ours=seconds[0], peer=seconds[1], peer_name="XLA's own", unit='CPU s', kind=kind, dtype=dtype,
             device=jax.devices()[0].device_kind)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
