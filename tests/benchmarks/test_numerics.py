"""The benchmark of numerics: its two sides are the same network, of other parts."""
import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import numerics
from references.cifar.cifar10 import Config
from tests.drawn import drawn
from training.step import init_state


def both(reference, make):
  """What `make` has with our parts, and with those that stand in for them."""
  found = []
  for parts in (contextlib.nullcontext(), numerics.as_defined(reference)):
    with parts:
      found.append(make())
  return found


def test_the_sides_of_cifar_agree_and_share_no_kernel():
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)

  def make():
    task = Config(widths=(4, 8, 8), batch_size=4, compute_dtype='float32', optimizer='muon').make_task('')
    variables = {k: x for k, x in drawn(task.init).items() if k != 'lookahead'}
    program = str(jax.make_jaxpr(task.logits)(variables, images))
    return np.asarray(jax.jit(task.logits)(variables, images)), program.count('custom_vjp_call')
  (ours, kernels), (theirs, none) = both('cifar', make)
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
  assert kernels >= 13 and none == 0, 'six convolutions and seven GELUs of ours'


def batch(reference):
  """(config, of a smaller network; a batch of four)."""
  config, random = numerics.PARTS[reference].config(), np.random.default_rng(0)
  whole = lambda *shape: random.integers(2, 50, shape, dtype=np.int32)
  if reference == 'resnet_imagenet':
    return dataclasses.replace(config, width=4, batch_size=4), {
        'image': random.integers(0, 256, (4, 112, 112, 3), np.uint8), 'label': np.arange(4, dtype=np.int32)}
  return dataclasses.replace(config, width=8, batch_size=4, dropout=0.0, passes=1), {
      'context': whole(4, 12), 'context_chars': whole(4, 12, 16), 'question': whole(4, 6), 'match': np.ones((4, 12, 3)),
      'question_chars': whole(4, 6, 16), 'start': np.arange(4, dtype=np.int32), 'end': np.arange(4, dtype=np.int32)}


# How many functions with a gradient of their own: the stem, one strided, Winograd's, three 1 x 1, and four of 7 x 7 and
# 4 x 4 places that are products, each once, and normalisations of five shapes and the pooling; every dense layer, and
# every bias.
@pytest.mark.parametrize('reference, ours, theirs', [('resnet_imagenet', 16, 0), ('squad', 50, 0)])
def test_the_sides_agree_and_the_layers_are_on_one_alone(reference, ours, theirs):
  config, rows = batch(reference)

  def make():
    task = config.make_task('')
    state = jax.jit(lambda: init_state(task, jnp.uint32(0)))()
    loss = lambda params: task.loss(params, state.model_state, rows, jax.random.key(1))[0]
    return *jax.jit(jax.value_and_grad(loss))(state.params), str(jax.make_jaxpr(loss)(state.params))
  (value, gradient, program), (peers_value, peers_gradient, peers_program) = both(reference, make)
  assert float(value) == pytest.approx(float(peers_value), rel=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()), gradient,
               peers_gradient)
  assert [text.count('custom_vjp_call') for text in (program, peers_program)] == [ours, theirs]


def test_the_peer_of_squad_drops_by_flax_and_ours_does_not():
  drop = lambda: str(jax.make_jaxpr(lambda x: numerics.squad_model.Dropout(0.5).apply(
      {}, x, True, rngs={'dropout': jax.random.key(0)}))(jnp.ones((4, 8))))
  ours, theirs = both('squad', drop)
  assert 'bitcast_convert_type' in ours and 'bernoulli' in theirs and 'bernoulli' not in ours


def test_of_the_reader_a_tenth_is_evaluated_and_each_question_of_it_once():
  whole = numerics.squad_config().make_task('').data['eval']
  task = numerics.evaluated_in_part(numerics.squad_config().make_task(''))
  order = task.data['eval'].order
  assert order.num_steps == whole.order.num_steps // 10 == 16
  rows = order.rows(0, order.num_steps).index
  np.testing.assert_array_equal(rows, whole.order.rows(0, 16).index)
  assert len(np.unique(rows)) == rows.size == task.target.num_examples == order.num_examples and rows.min() >= 0
  assert [order.shape_at(step) for step in (0, 15)] == [whole.shape_at(step) for step in (0, 15)]


def test_the_peer_of_cifar_has_automatic_gradients_of_its_normalisations():
  x = jnp.ones((4, 2, 2, 3))
  ours, theirs = both('cifar', lambda: str(jax.make_jaxpr(
      lambda x: numerics.cifar_model.normalized(x, jnp.zeros(3), jax.nn.silu, 1e-5)[0])(x)))
  assert 'custom_vjp_call' in ours and 'custom_vjp_call' not in theirs
