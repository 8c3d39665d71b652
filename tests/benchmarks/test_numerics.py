"""The benchmark of numerics: its two sides are the same network, of other parts."""
import contextlib

import jax
import numpy as np

from benchmarks import numerics
from references.cifar.cifar10 import Config


def test_the_sides_agree_and_share_no_kernel():
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  found = []
  for parts in (contextlib.nullcontext, numerics.as_defined):
    with parts():
      task = Config(widths=(4, 8, 8), batch_size=4, compute_dtype='float32', optimizer='muon').make_task('')
      variables = {k: x for k, x in jax.jit(task.init)(jax.random.key(0)).items() if k != 'lookahead'}
      program = str(jax.make_jaxpr(task.logits)(variables, images))
      found.append((np.asarray(jax.jit(task.logits)(variables, images)), program.count('custom_vjp_call')))
  (ours, kernels), (theirs, none) = found
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
  assert kernels >= 13 and none == 0, 'six convolutions and seven GELUs of ours'
