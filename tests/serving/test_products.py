"""Products and convolutions of inference: the same numbers, and in which type their sums are kept."""
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from references.resnet_imagenet.model import ResNet
from serving import products

DENSE = (((1,), (0,)), ((), ()))


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


def lowered(platform: str) -> str:
  x, y = made((4, 32), 'bfloat16'), made((32, 8), 'bfloat16')
  return jax.jit(lambda x, y: products.dot_general(x, y, DENSE)).trace(x, y).lower(
      lowering_platforms=(platform,)).as_text()


def test_sums_of_bfloat16_stay_float32_on_cpus_alone():
  product = '(tensor<4x32xbf16>, tensor<32x8xbf16>) -> tensor<4x8x{}>'
  assert product.format('f32') in lowered('cpu') and product.format('bf16') not in lowered('cpu')
  assert product.format('bf16') in lowered('tpu') and product.format('f32') not in lowered('tpu')


def test_products_keep_their_type():
  x, y = made((4, 32), 'bfloat16'), made((32, 8), 'bfloat16')
  dtypes = [products.dot_general(*(z.astype(dtype) for z in (x, y)), DENSE).dtype for dtype in ('float32', 'bfloat16')]
  assert dtypes == ['float32', 'bfloat16']
  assert products.dot_general(x, y, DENSE, preferred_element_type=jnp.float32).dtype == 'float32'


def test_training_has_xlas_convolutions_and_on_cpus_products_for_1_x_1_ones():
  net, images = ResNet(14, 10, width=8, space_to_depth=True), jax.ShapeDtypeStruct((2, 32, 32, 3), 'float32')
  variables = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), images)

  def counts(train, platform, net=net):
    text = jax.jit(functools.partial(net.apply, train=train, mutable=['batch_stats'])).trace(variables, images).lower(
        lowering_platforms=(platform,)).as_text()
    return [text.count(f'stablehlo.{what}') for what in ('convolution', 'dot_general')]
  assert counts(True, 'tpu') == [17, 1]  # a head
  assert counts(True, 'cpu', net.clone(dtype=jnp.float32)) == [5, 12 + 1]
  assert counts(True, 'cpu')[0] == 0  # in bfloat16 all are products
  # Thin ones stay: the stem and the 3 x 3 of two stages. Nine products for each of the others, one for each 1 x 1.
  assert counts(False, 'cpu') == [3, 2 * 9 + 12 + 1]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('size, stride, padding, rows', [(3, 2, 1, 12), (3, 2, 1, 11), (2, 2, 0, 7)])
def test_max_pool_is_flaxs(size, stride, padding, rows, dtype):
  x = made((2, rows, 9, 5), dtype)
  ours = jax.jit(lambda x: products.max_pool(x, size, stride, padding))(x)
  theirs = nn.max_pool(x, (size, size), (stride, stride), [(padding, padding)] * 2)
  assert ours.dtype == dtype and np.array_equal(ours, theirs)
