"""Convolutions, products and attention of inference: the same numbers, and which of them are oneDNN's."""
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import onednn
from references.resnet_imagenet.model import ResNet
from serving import products
from tests.drawn import drawn

CLOSE = {'float32': dict(rtol=1e-5, atol=1e-4), 'bfloat16': dict(rtol=2**-8, atol=1e-4)}  # its last bit, halved
NAMES = ('', 'relu', 'gelu', 'gelu_tanh', 'silu')
BOTH = pytest.mark.parametrize('with_onednn', [
    pytest.param(True, marks=pytest.mark.skipif(not onednn.available(jnp.float32), reason='no oneDNN here')), False])


def made(shape, dtype, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def without_onednn(monkeypatch, with_onednn):
  """Leaves out the threshold, and oneDNN if asked to."""
  monkeypatch.setattr(products, 'FEW', 0)
  if not with_onednn:
    monkeypatch.setattr(onednn, 'available', lambda dtype: False)


def exactly(y, bias, added, activation):
  """In float64."""
  y = np.asarray(y, np.float64) + np.asarray(bias, np.float64) + (0 if added is None else np.asarray(added, np.float64))
  erf = np.vectorize(math.erf)
  return {'': y, 'relu': np.maximum(y, 0), 'gelu': y / 2 * (1 + erf(y / math.sqrt(2))), 'silu': y / (1 + np.exp(-y)),
          'gelu_tanh': y / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))}[activation]


@BOTH
@pytest.mark.parametrize('size, stride, padding, channels, filters', [
    (3, 1, (1, 1), 40, 24), (3, 2, (1, 1), 40, 24), (1, 2, (0, 0), 64, 24), (1, 1, (0, 0), 16, 33),
    (4, 1, (2, 1), 12, 24), (7, 2, (3, 3), 3, 24), (2, 1, (0, 0), 3, 24), (3, 1, (1, 0), 8, 5)])
@pytest.mark.parametrize('shape', [(2, 11, 10), (1, 5, 6)])  # more places than FEW_PLACES, and fewer
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_convolution_is_what_defines_it_rounded_once(monkeypatch, dtype, shape, size, stride, padding, channels,
                                                       filters, with_onednn):
  without_onednn(monkeypatch, with_onednn)
  x, kernel = made((*shape, channels), dtype), made((size, size, filters, channels), dtype, 1)
  bias = made(filters, 'float32')
  sums = jax.lax.conv_general_dilated(
      *(a.astype(jnp.float32) for a in (x, kernel)), (stride,) * 2, [padding] * 2,
      dimension_numbers=('NHWC', 'HWOI', 'NHWC'), precision='highest')
  how = dict(stride=stride, padding=(padding,) * 2)
  ours = jax.jit(functools.partial(products.convolution, **how))(x, kernel, bias)
  assert ours.dtype == dtype
  if onednn.available(dtype) or dtype == 'float32':  # XLA rounds a sum of bfloat16 before there is a bias to add
    np.testing.assert_allclose(np.asarray(ours, np.float64), exactly(sums, bias, None, ''), **CLOSE[dtype])
  else:
    assert np.abs(np.asarray(ours, np.float64) - exactly(sums, bias, None, '')).max() < 2**-7 * np.abs(sums).max()


@BOTH
@pytest.mark.parametrize('activation', NAMES)
@pytest.mark.parametrize('with_added', [True, False])
@pytest.mark.parametrize('window', [(1, 1), (3, 3)])
def test_what_follows_a_convolution_is_within_it(monkeypatch, window, with_added, activation, with_onednn):
  without_onednn(monkeypatch, with_onednn)
  x, kernel, bias = made((2, 9, 8, 6), 'float32'), made((*window, 5, 6), 'float32', 1), made(5, 'float32', 2)
  added = made((2, 9, 8, 5), 'float32', 3) if with_added else None
  padding = ((window[0] // 2,) * 2,) * 2
  plain = jax.jit(functools.partial(products.convolution, padding=padding))(x, kernel, jnp.zeros(5))
  whole = functools.partial(products.convolution, padding=padding, activation=activation)
  ours = jax.jit(whole)(x, kernel, bias, added)
  np.testing.assert_allclose(ours, exactly(plain, bias, added, activation), rtol=1e-5, atol=1e-5)


@BOTH
@pytest.mark.parametrize('activation', NAMES)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('shape', [(12, 8), (2, 5, 8)])
def test_a_dense_layer_is_what_defines_it(monkeypatch, shape, dtype, activation, with_onednn):
  without_onednn(monkeypatch, with_onednn)
  x, kernel, bias = made(shape, dtype), made((6, 8), dtype, 1), made(6, 'float32', 2)
  ours = jax.jit(functools.partial(products.dense, activation=activation))(x, kernel, bias)
  assert ours.dtype == dtype
  x, kernel = (np.asarray(a, np.float64) for a in (x, kernel))
  wanted = exactly(x @ kernel.T, bias, None, activation)
  twice = dtype == 'bfloat16' and not onednn.available(dtype)  # XLA rounds the sum as well
  close = dict(rtol=2**-7, atol=2**-5) if twice else CLOSE[dtype]
  np.testing.assert_allclose(np.asarray(ours, np.float64), wanted, **close)


@BOTH
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_attention_is_what_defines_it(monkeypatch, dtype, with_onednn):
  without_onednn(monkeypatch, with_onednn)
  query, key, value = (made((2, 7, 3, 8), dtype, seed) for seed in range(3))
  valid = np.arange(7) < np.array([[7], [4]])
  ours = jax.jit(products.attention)(query, key, value, valid[:, None, None])
  query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
  logits = np.where(valid[:, None, None], np.einsum('bqhc,bkhc->bhqk', query, key) / math.sqrt(8), -np.inf)
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  wanted = np.einsum('bhqk,bkhc->bqhc', weights / weights.sum(-1, keepdims=True), value)
  assert ours.dtype == dtype
  np.testing.assert_allclose(np.asarray(ours, np.float64), wanted, rtol=0, atol={'float32': 1e-5}.get(dtype, 0.03))


@pytest.mark.parametrize('shape, window, padding', [
    ((1, 5, 5, 3), (1, 1), ((1, 1), (1, 1))), ((1, 5, 5, 3), (3, 3), ((1, -1), (1, 1))),
    ((1, 5, 5, 0), (3, 3), ((1, 1), (1, 1))), ((0, 5, 5, 3), (3, 3), ((1, 1), (1, 1)))])
def test_what_would_end_the_process_or_be_left_out_is_refused(shape, window, padding):
  with pytest.raises(AssertionError):
    products.convolution(jnp.ones(shape), jnp.ones((*window, 4, shape[3])), jnp.ones(4), padding=padding)


def counted(function, *args, platform: str):
  """(XLA's convolutions, XLA's products, oneDNN's calls) of the program that `function` becomes."""
  text = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
  functions = dict(re.findall(r'func\.func \w+ @(\w+)(.*?)(?=func\.func|\Z)', text, re.DOTALL))

  def count(what, name='main'):  # those that a function calls are counted as often as it calls them
    return functions[name].count(what) + sum(
        count(what, called) for called in re.findall(r'\bcall @(\w+)', functions[name]))
  return [count(what) for what in ('stablehlo.convolution', 'stablehlo.dot_general', 'onednn$')]


def test_what_xla_makes_faster_than_onednn_begins_is_xlas():
  shapes = lambda size: (jax.ShapeDtypeStruct((1, size, size, 32), 'float32'),
                         jax.ShapeDtypeStruct((3, 3, 32, 32), 'float32'), jax.ShapeDtypeStruct((32,), 'float32'))
  convolution = functools.partial(products.convolution, padding=((1, 1),) * 2)
  assert counted(convolution, *shapes(4), platform='cpu') == [1, 0, 0]
  assert counted(convolution, *shapes(16), platform='cpu') == ([0, 0, 1] if onednn.available('float32') else [1, 0, 0])


def test_convolutions_are_xlas_and_on_cpus_onednns_or_products_for_1_x_1_ones_and_small_images():
  net, images = ResNet(14, 10, width=8, space_to_depth=True), jax.ShapeDtypeStruct((2, 32, 32, 3), 'float32')
  variables = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), images)

  def counts(platform, train=True, net=net):
    return counted(functools.partial(net.apply, train=train, mutable=['batch_stats']), variables, images,
                   platform=platform)
  for train in (True, False):  # an evaluation computes as a step does
    assert counts('tpu', train) == [17, 1, 0]  # a head
    # XLA's are the stem and a 3 x 3 one of 8 x 8 images; those of 4 x 4, 2 x 2 and 1 x 1 are products as well
    assert counts('cpu', train, net.clone(dtype=jnp.float32)) == [2, 12 + 3 + 1, 0]
    # In bfloat16 they are oneDNN's, where the CPU has the instructions.
    assert counts('cpu', train) == ([0, 1, 17] if onednn.available(jnp.bfloat16) else [5, 12 + 1, 0])


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_folded_network_is_one_call_a_convolution(monkeypatch, dtype):
  from references.resnet_imagenet import task
  monkeypatch.setattr(products, 'FEW', 0)
  made = task.Config(dataset='synthetic', num_train_examples=64, num_eval_examples=40, num_classes=8, batch_size=8,
                     depth=14, width=8, image_sizes=(32,), eval_resize=32, eval_image_size=32, eval_batch_size=16,
                     compute_dtype=dtype).make_task('')
  served = made.serve(drawn(made.init), fold=True)
  program = functools.partial(counted, served.answer, served.weights, jax.ShapeDtypeStruct((4, 32, 32, 3), 'uint8'))
  assert program(platform='cuda') == [17, 1, 0]
  assert program(platform='cpu') == ([0, 1, 17] if onednn.available(dtype) else [17, 1, 0])
