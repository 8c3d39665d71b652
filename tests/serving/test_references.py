"""What each reference answers is what its training evaluates: the same numbers, sample by sample."""
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from references.cifar import cifar10, task
from references.resnet_imagenet import task as photographs
from references.squad import bert
from scoring.problem import Problem
from serving import folding, products
from serving.engine import Engine
from serving.samples import Samples
from tests.drawn import drawn
from training.evaluation import exact_metrics

SMOKE = dict(dataset='synthetic', num_train_examples=64, num_eval_examples=40, num_classes=8, batch_size=8, depth=14,
             width=8, image_sizes=(32,), eval_resize=32, eval_image_size=32, eval_batch_size=16)


def answers(served, size):
  """The answers to all samples in batches of `size`, and which they are of."""
  engine, samples, found = Engine(served, (size,)), Samples(served), []
  samples.load(range(served.num_samples))
  for start in range(0, served.num_samples, size):
    chosen = list(range(start, min(start + size, served.num_samples)))
    found.append((chosen, np.asarray(engine(*samples.batch(chosen, size)))[:len(chosen)]))
  return found


def evaluated(made, variables):
  """Training's own metrics, from its own batches."""
  data, program = made.data['eval'], jax.jit(made.evaluate)
  def batches():
    for step in range(data.order.num_steps):
      if hasattr(data, 'batches'):
        yield program(variables, next(iter(data.batches(step, step + 1))))
      else:
        index = data.order.rows(step, step + 1).index[0]
        yield program(variables, {**{k: x[np.maximum(index, 0)] for k, x in data.load().items()}, 'index': index,
                                  'mask': index >= 0})
  return exact_metrics(made, batches())


def tasks():
  yield 'digits', task.Config(eval_batch_size=60)
  yield 'digits-bf16', task.Config(eval_batch_size=60, compute_dtype='bfloat16')
  yield 'resnet', photographs.Config(**SMOKE, compute_dtype='float32')
  yield 'resnet-bf16-std', photographs.Config(**SMOKE, compute_dtype='bfloat16', divide_by_std=True)
  yield 'resnet18-s2d', photographs.Config(**{**SMOKE, 'depth': 18}, space_to_depth=True, compute_dtype='float32')


@pytest.mark.parametrize('config', [pytest.param(config, id=name) for name, config in tasks()])
def test_answers_are_those_of_the_evaluation(config):
  made = config.make_task('')
  variables = drawn(made.init)
  served = made.serve(variables, fold=False)
  found = answers(served, config.eval_batch_size)
  metrics, counted = served.measure(found)
  wanted, of = evaluated(made, variables)
  assert counted == of and metrics['accuracy'] == wanted['accuracy'], 'exactly'
  assert metrics['top5_accuracy'] == wanted.get('top5_accuracy', metrics['top5_accuracy'])
  folded = np.concatenate([rows for _, rows in answers(made.serve(variables, fold=True), config.eval_batch_size)])
  assert (folded[:, 0] != np.concatenate([rows for _, rows in found])[:, 0]).sum() <= len(folded) // 100


@pytest.mark.parametrize('config', [
    task.Config(), photographs.Config(**SMOKE, compute_dtype='float32'),
    photographs.Config(**{**SMOKE, 'depth': 18}, space_to_depth=True, compute_dtype='float32'),
    cifar10.Config(widths=(8, 16, 16), compute_dtype='float32', optimizer='muon', test_time_augmentation='mirror'),
    cifar10.Config(network='resnet18', compute_dtype='float32')], ids=lambda config: config.make_task('').model_name)
@pytest.mark.parametrize('dtype, tolerance', [('float32', 2e-4), ('bfloat16', 0.05)])
def test_folded_logits_are_those_of_the_normalised_network(monkeypatch, config, dtype, tolerance):
  monkeypatch.setattr(products, 'FEW', 0)  # even small ones by oneDNN, where it is
  made = dataclasses.replace(config, compute_dtype=dtype).make_task('')
  variables = {k: x for k, x in drawn(made.init).items() if k != 'lookahead'}
  served = made.serve(variables, fold=True)
  leaves, before = jax.tree.leaves(served.weights), jax.tree.leaves(variables)
  assert served.folded and len(leaves) < len(before)
  dims, dtype = served.row(0)
  images = np.random.default_rng(0).integers(0, 17 if dims[-1] == 1 else 256, (6, *dims), dtype)
  network = made.network.clone(folded=True)
  with jax.default_matmul_precision('highest'):
    ours = jax.jit(functools.partial(made.logits, network=network))(served.weights, images)
    theirs = jax.jit(config.make_task('').logits)(variables, images)  # in float32
  np.testing.assert_allclose(ours, theirs, atol=tolerance * float(np.abs(theirs).max()))


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-4), ('bfloat16', 0.05)])
def test_folded_logits_of_bert_are_those_of_the_evaluation(monkeypatch, dtype, tolerance):
  monkeypatch.setattr(products, 'FEW', 0)
  net = bert.Bert(bert.Sizes(2, 16, 2, 32, vocabulary=50, positions=12), dtype=jnp.dtype(dtype))
  tokens = np.random.default_rng(0).integers(0, 50, (3, 9), np.int32)
  batch = tokens, (tokens > 25).astype(np.int32), np.arange(9) < np.array([[9], [4], [1]])
  params = drawn(functools.partial(net.init, train=False), *batch)['params']
  keep = lambda path: 'qa_outputs' in path
  folded = folding.cast(folding.turned(params, keep), dtype, keep)
  ours = net.clone(folded=True).apply({'params': folded}, *batch, train=False)
  theirs = net.clone(dtype=jnp.float32).apply({'params': params}, *batch, train=False)
  for have, want in zip(ours, theirs):
    assert (np.asarray(have)[~batch[2]] == np.asarray(want)[~batch[2]]).all(), 'padding'
    have, want = np.asarray(have)[batch[2]], np.asarray(want)[batch[2]]
    np.testing.assert_allclose(have, want, rtol=0, atol=tolerance * np.abs(want).max())


def test_fewer_classes_than_five_are_padded():
  config = photographs.Config(**{**SMOKE, 'num_classes': 3}, compute_dtype='float32')
  made = config.make_task('')
  found = answers(made.serve(drawn(made.init), fold=True), 8)
  assert all((rows[:, 3:] == -1).all() and (np.sort(rows[:, :3]) == [0, 1, 2]).all() for _, rows in found)


def test_augmentation_that_ranks_the_test_set_has_no_answer_for_one_image():
  made = cifar10.Config(test_time_augmentation='uncertain').make_task('')
  with pytest.raises(Problem, match='one image alone has no answer'):
    made.serve({}, fold=True)
