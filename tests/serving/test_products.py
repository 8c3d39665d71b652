"""Convolutions of inference: the same numbers, and which of them are products."""
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import onednn
from references.resnet_imagenet.model import ResNet
from serving import products


def made(shape, dtype, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize('size, stride, padding, channels', [
    (3, 1, (1, 1), 40), (3, 2, (1, 1), 40), (1, 2, (0, 0), 64), (4, 1, (2, 1), 12), (7, 2, (3, 3), 3)])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_convolution_is_xlas_in_float32_rounded_once(size, stride, padding, channels, dtype):
  x, kernel = made((2, 11, 10, channels), dtype), made((size, size, channels, 24), dtype, 1)
  ours = jax.jit(functools.partial(products.convolution, stride=stride, padding=(padding,) * 2))(x, kernel)
  exact = jax.lax.conv_general_dilated(x.astype(jnp.float32), kernel.astype(jnp.float32), (stride,) * 2,
                                       [padding] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  assert ours.dtype == dtype and ours.shape == exact.shape
  half_unit = {'float32': 1e-6, 'bfloat16': 2**-8}[dtype]  # of bfloat16's last bit; float32 sums in another order
  np.testing.assert_allclose(np.asarray(ours, np.float32), exact, rtol=half_unit, atol=1e-4)


def test_training_has_xlas_convolutions_and_on_cpus_onednns_or_products_for_1_x_1_ones():
  net, images = ResNet(14, 10, width=8, space_to_depth=True), jax.ShapeDtypeStruct((2, 32, 32, 3), 'float32')
  variables = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), images)

  def counts(train, platform, net=net):
    text = jax.jit(functools.partial(net.apply, train=train, mutable=['batch_stats'])).trace(variables, images).lower(
        lowering_platforms=(platform,)).as_text()
    functions = dict(re.findall(r'func\.func \w+ @(\w+)(.*?)(?=func\.func|\Z)', text, re.DOTALL))

    def count(what, name='main'):  # those that a function calls are counted as often as it calls them
      return functions[name].count(f'stablehlo.{what}') + sum(
          count(what, called) for called in re.findall(r'\bcall @(\w+)', functions[name]))
    return [count(what) for what in ('convolution', 'dot_general')]
  assert counts(True, 'tpu') == [17, 1]  # a head
  assert counts(True, 'cpu', net.clone(dtype=jnp.float32)) == [5, 12 + 1]
  # In bfloat16 they are oneDNN's, where the CPU has the instructions.
  assert counts(True, 'cpu') == ([0, 1] if onednn.available(jnp.bfloat16) else [5, 12 + 1])
  # Thin ones stay: the stem and the 3 x 3 of two stages. Nine products for each of the others, one for each 1 x 1.
  assert counts(False, 'cpu') == [3, 2 * 9 + 12 + 1]
