"""The CIFAR-10 recipes beside the same in torch: step by step, group by group, view by view, and a first epoch.

The first epochs train at full size: minutes each on two cores, and they need DAYBREAK_TEST_DATA.
  DAYBREAK_TEST_STEPS=2   so many steps instead of an epoch: that everything runs, and little more
  DAYBREAK_TEST_SEEDS=3   seeds of the torch recipe that the spread is estimated from
"""
import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipelines import cifar10, cifar10_prepare
from references.cifar import images as ops
from references.cifar import optimizers
from references.cifar.configs import airbench94, airbench94_muon, fastest
from training.step import State, init_state, make_eval_step, make_train_step, record_keys

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings('ignore')]
torch = pytest.importorskip('torch')

from tests.references import torch_airbench as peer  # noqa: E402  it needs torch

RECIPES = {'airbench94': (airbench94.get_config(), peer.AIRBENCH94),
           'airbench94_muon': (airbench94_muon.get_config(), peer.AIRBENCH94_MUON),
           'fastest': (fastest.get_config(), peer.FASTEST)}
SMALL_BATCH, SMALL_TRAIN, SMALL_EVAL = 64, 256, 50


@pytest.fixture
def small(monkeypatch):
  """name -> (task, recipe): narrow networks, epochs of four steps, 16 steps in all; learning rates fit the batch."""
  monkeypatch.setattr(cifar10, 'NUM_TRAIN', SMALL_TRAIN)
  monkeypatch.setattr(cifar10, 'NUM_EVAL', SMALL_EVAL)

  def make(name: str, epochs: float = 3.9, **changes):
    (config, recipe), widths = RECIPES[name], (16, 32, 32)
    scale, bias_epochs = SMALL_BATCH / config.batch_size, 2.0 if name == 'airbench94' else 1.9
    config = dataclasses.replace(
        config, batch_size=SMALL_BATCH, widths=widths, num_epochs=epochs, whitening_epochs=bias_epochs,
        whitening_examples=128, compute_dtype='float32', eval_batch_size=16,
        weight_decay=config.weight_decay * scale, muon_weight_decay=config.muon_weight_decay * scale,
        muon_normalize=(2, 3) if name == 'fastest' else (1, 0),  # else 16 steps are too few for fastest's first
        **{f'{group}learning_rate': getattr(config, f'{group}learning_rate') * scale
           for group in ('head_', 'norm_', 'whitening_', *(() if config.optimizer == 'muon' else ('',)))}, **changes)
    rule = recipe.rule
    rule = dataclasses.replace(rule, norm_freq=(2, 3)) if name == 'fastest' else rule
    recipe = dataclasses.replace(recipe, rule=rule, batch_size=SMALL_BATCH, widths=widths, epochs=epochs,
                                 whiten_bias_epochs=bias_epochs)
    return config.make_task(''), recipe
  return make


def made_images(number: int, seed: int = 0):
  """(images uint8 [N, 32, 32, 3], labels int32 [N]): smooth noise, its colour partly by the label.

  None is saturated: where neighbours are alike to the bit, the maximum of a pool has several gradients, and ours shares
  it among them while torch's gives it to the first.
  """
  random = np.random.default_rng(seed)
  labels = random.integers(0, 10, number, np.int32)
  coarse = random.normal(size=(number, 11, 11, 3)) + np.random.default_rng(7).normal(size=(10, 1, 1, 3))[labels]
  images = np.kron(coarse, np.ones((1, 3, 3, 1)))[:, :32, :32] + random.normal(size=(number, 32, 32, 3)) * 0.4
  return np.rint(127.5 + 120 * np.tanh(images / 3)).astype(np.uint8), labels


def flat(tree, prefix: str) -> dict:
  return {f'{prefix}/' + '/'.join(k.key for k in path): np.asarray(x, np.float64)
          for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def start(task, images) -> State:
  """The first state, whitened; running variances begin at 0, so that torch's unbiased ones are a multiple of ours."""
  state = init_state(task, np.uint32(0))
  model_state = task.init_from_data({'params': state.params, **state.model_state}, {'image': images})
  model_state.pop('params')
  for tree in (model_state, model_state.get('lookahead')):
    if tree:
      tree['batch_stats'] = jax.tree_util.tree_map_with_path(
          lambda path, x: 0 * x if path[-1].key == 'var' else x, tree['batch_stats'])
  return dataclasses.replace(state, model_state=model_state)


def batches(task, images, labels, steps: int):
  """Rows of the training order as the step takes them."""
  rows = task.data['train'].order.rows(0, steps)
  for index, epoch in zip(rows.index, rows.epoch):
    yield {'image': images[index], 'label': labels[index], 'index': index, 'epoch': epoch,
           'mask': np.ones(len(index), bool)}


def nchw(images, dtype=torch.float32):
  return torch.tensor(np.asarray(images)).permute(0, 3, 1, 2).to(dtype)


def unbiased(name: str, value):
  """Our running variance as torch would keep it."""
  if not name.endswith('/var'):
    return value
  side = (15, 15, 7, 7, 3, 3)[int(name.split('/')[1][-1])]
  number = SMALL_BATCH * side * side
  return value * number / (number - 1)


def described(state) -> dict:
  """Everything that training changed, by name, in our layout; running variances as torch would keep them."""
  out = {**flat(state.params, 'params'), **flat(state.model_state['batch_stats'], 'batch_stats')}
  for kind, tree in state.model_state.get('lookahead', {}).items():
    out.update(flat(tree, f'slow {kind}'))
  return {name: unbiased(name, value) for name, value in out.items()}


def theirs(training) -> dict:
  """The same of torch's."""
  slow = {f'slow {k}': x for k, x in peer.give(training.slow).items()} if training.recipe.lookahead else {}
  return {**peer.give(training.net.state_dict()), **slow}


def pull(training, state):
  """Sets torch's network and slow copy to ours; momentum stays its own."""
  variables = {'params': state.params, **state.model_state}
  copies = [(training.net, variables)]
  if training.recipe.lookahead:
    copies.append((peer.Net(training.recipe), {**variables, **state.model_state['lookahead']}))
  for net, tree in copies:
    peer.take(net, tree)
    for number, norm in enumerate(net.norms):
      norm.running_var.mul_(unbiased(f'/BatchNorm_{number}/var', 1.0))
  if training.recipe.lookahead:
    training.slow = {k: copies[1][0].state_dict()[k].to(x.dtype).clone() for k, x in training.slow.items()}


def far(ours: dict, other: dict, before: dict) -> dict:
  """Name -> the distance between both, as a share of how far torch's came from `before`."""
  assert ours.keys() == other.keys()
  return {name: np.linalg.norm(ours[name] - other[name]) / max(np.linalg.norm(other[name] - before[name]), 1e-12)
          for name in ours}


def train_both(task, recipe, *, newton_schulz, together: bool):
  """Trains ours and torch's, in float64, on the same batches; `together`: torch goes on from ours after each step.

  Returns (losses [steps, 2], per step or, apart, for the whole: what `far` returns).
  """
  images, labels = made_images(SMALL_TRAIN)
  state = start(task, images)
  net = peer.take(peer.Net(recipe), {'params': state.params, **state.model_state}).double()
  training = peer.Training(net, SMALL_TRAIN, newton_schulz)
  first = before = theirs(training)
  step, prepare = jax.jit(make_train_step(task, shape=32)), jax.jit(
      lambda b: task.prepare(b, record_keys(np.uint32(0), b), 32))
  assert task.num_steps == training.total == 16
  losses, gaps = [], []
  for batch in batches(task, images, labels, task.num_steps):
    loss = training.step(nchw(prepare(batch)['image'], torch.float64), torch.tensor(batch['label']).long())
    state, sums = step(state, batch, np.uint32(0))
    losses.append((float(sums['loss'][0]), loss))
    gaps.append(far(described(state), theirs(training), before if together else first))
    if together:
      pull(training, state)
      before = theirs(training)
  return np.array(losses), gaps if together else gaps[-1]
