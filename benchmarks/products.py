"""What serving/products.py gains on CPUs: CPU seconds of the parts of BERT base and ResNet-50 in inference.

  python -m benchmarks.products

The peer is what XLA makes of the same operation, with the same bias and activation, in the same process and type, with
the same constant weights. One line of JSON for each kind and type: the sum over its shapes, one example each.
No flags but --help.
"""
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.report import report
from launchers import command
from layers.convolution import by_xla
from serving import products

REPETITIONS = 15
# (rows and columns, channels in, filters): what most of ResNet-50's blocks at 224 x 224 compute
SHAPES = {'3x3': (3, ((56, 64, 64), (28, 128, 128), (14, 256, 256), (7, 512, 512))),
          '1x1': (1, ((56, 64, 256), (28, 512, 128), (14, 1024, 256), (7, 2048, 512)))}
DENSE = ((384, 768, 768), (384, 768, 3072), (384, 3072, 768))  # rows, channels in, out: BERT base's layers
HEADS = (1, 384, 12, 64)
KINDS = ('dense', 'attention', *SHAPES)


def operations(kind: str, dtype):
  """(ours, peer, input) of each shape."""
  random = np.random.default_rng(0)
  made = lambda *shape: jnp.asarray(random.normal(size=shape), dtype)
  bias = lambda width: random.normal(size=width).astype(np.float32)
  if kind == 'dense':
    for rows, channels, width in DENSE:
      kernel, added = np.asarray(made(channels, width)), bias(width)
      yield (functools.partial(products.dense, kernel=np.ascontiguousarray(kernel.T), bias=added, activation='gelu'),
             lambda x, kernel=kernel, added=added: products.activated(x @ kernel + added.astype(x.dtype), 'gelu'),
             made(rows, channels))
  elif kind == 'attention':
    key, value, mask = np.asarray(made(*HEADS)), np.asarray(made(*HEADS)), np.ones((1, 1, 1, HEADS[1]), bool)
    yield (functools.partial(products.attention, key=key, value=value, mask=mask),
           functools.partial(jax.nn.dot_product_attention, key=key, value=value, mask=mask), made(*HEADS))
  else:
    size, shapes = SHAPES[kind]
    for rows, channels, filters in shapes:
      kernel, added, padding = np.asarray(made(size, size, channels, filters)), bias(filters), ((size // 2,) * 2,) * 2
      yield (functools.partial(products.convolution, kernel=np.ascontiguousarray(kernel.swapaxes(2, 3)), bias=added,
                               padding=padding, activation='relu'),
             lambda x, kernel=kernel, added=added, padding=padding: jax.nn.relu(
                 by_xla(x, kernel, 1, padding) + added.astype(x.dtype)), made(1, rows, rows, channels))


def main() -> int:
  for dtype in ('float32', 'bfloat16'):
    for kind in KINDS:
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
