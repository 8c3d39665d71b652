"""The digits recipe: its data, its numbers and what it resolves to."""
import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from input_pipelines import digits
from references.cifar.configs.digits import get_config
from references.cifar.task import adamw
from scoring.problem import Problem
from training import config as configs
from training import step
from training.task import Keys

GOLDEN = Path(__file__).parent / 'golden'


def describe(task) -> str:
  """Every parameter with its shape and whether weight decay reaches it."""
  shapes = jax.eval_shape(lambda: step.init_state(task, np.uint32(0)).params)

  @jax.jit  # as one program: op by op would compile one for each operation and shape
  def decayed():
    zeros, ones = (jax.tree.map(f, shapes) for f in (jnp.zeros_like, jnp.ones_like))
    state = task.optimizer.init(ones)
    for _ in range(2):  # at step 0 the learning rate is 0: look at the second update
      moved, state = task.optimizer.update(zeros, state, ones)
    return jax.tree.map(jnp.any, moved)
  leaves, moved = jax.tree_util.tree_flatten_with_path(shapes)[0], jax.tree.leaves(decayed())
  return ''.join(sorted(f"{jax.tree_util.keystr(path)} {x.dtype}{list(x.shape)} {'decayed' if any_ else 'free'}\n"
                        for (path, x), any_ in zip(leaves, moved, strict=True)))


@pytest.mark.parametrize('name, made', [('digits_config.txt', lambda: configs.to_text(get_config())),
                                        ('digits_params.txt', lambda: describe(get_config().make_task('')))])
def test_the_recipe_resolves_to_its_golden_text(name, made):
  """A change shows as a difference in text; DAYBREAK_UPDATE_GOLDEN=1 accepts it."""
  text = made()
  if os.environ.get('DAYBREAK_UPDATE_GOLDEN'):
    (GOLDEN / name).write_text(text)
  assert text == (GOLDEN / name).read_text()


def test_a_config_survives_its_text():
  config = dataclasses.replace(get_config(), seed=4, widths=(1, 2, 3), peak_learning_rate=1e-7)
  assert configs.from_text(type(config), configs.to_text(config)) == config


def test_the_split_is_fixed_balanced_and_disjoint():
  splits = digits.load()
  assert len(splits['train']['label']) == digits.NUM_TRAIN and len(splits['eval']['label']) == digits.NUM_EVAL >= 350
  counts = np.bincount(splits['eval']['label'])
  assert counts.min() >= 35 and counts.max() <= 37
  together = np.concatenate([splits[s]['image'].reshape(-1, 64) for s in ('train', 'eval')])
  assert len(together) == 1797 and together.max() == digits.MAXIMUM
  seen = {image.tobytes() for image in splits['train']['image']}
  assert not any(image.tobytes() in seen for image in splits['eval']['image'])


def test_a_changed_data_file_is_refused(tmp_path, monkeypatch):
  path = tmp_path / 'digits.npz'
  path.write_bytes(digits.FILE.read_bytes()[:-1] + b'x')
  monkeypatch.setattr(digits, 'FILE', path)
  with pytest.raises(Problem, match=r'digits\.npz: not the file of this release'):
    digits.load()


def prepared(task, epoch, seed=0, images=None):
  batch = {'image': digits.load()['train']['image'] if images is None else images}
  count = len(batch['image'])
  batch.update(index=np.arange(count, dtype=np.int32), epoch=np.full(count, epoch, np.int32))
  return np.asarray(task.prepare(batch, step.record_keys(np.uint32(seed), batch), None)['image'])


def test_images_are_shifted_evenly_anew_each_epoch_and_by_the_record():
  task = get_config().make_task('')
  centre = np.zeros((900, 8, 8, 1), np.uint8)
  centre[:, 3, 4] = digits.MAXIMUM
  first, second = (prepared(task, epoch, images=centre) for epoch in (0, 1))
  places = np.argwhere(first[..., 0] == 1.0)[:, 1:] - [3, 4]
  assert len(places) == 900
  counts = np.unique(places, axis=0, return_counts=True)[1]
  assert len(counts) == 9 and counts.min() > 60 and counts.max() < 145
  assert not np.array_equal(first, second)
  np.testing.assert_array_equal(first, prepared(task, 0, images=centre))
  np.testing.assert_array_equal(first[100:], prepared_rows(task, centre, np.arange(100, 900)))


def prepared_rows(task, images, index):
  batch = {'image': images[index], 'index': index.astype(np.int32), 'epoch': np.zeros(len(index), np.int32)}
  return np.asarray(task.prepare(batch, step.record_keys(np.uint32(0), batch), None)['image'])


def test_keys_belong_to_the_record_and_not_to_its_row():
  batch = {'index': np.array([5, 9], np.int32), 'epoch': np.array([0, 1], np.int32)}
  swapped = {name: x[::-1] for name, x in batch.items()}
  one, other = step.record_keys(np.uint32(1), batch), step.record_keys(np.uint32(1), swapped)
  data = lambda keys: Keys(*(np.asarray(jax.random.key_data(k)) for k in keys))
  for a, b in zip(data(one), data(other)):
    np.testing.assert_array_equal(a, b[::-1])
  later = step.record_keys(np.uint32(1), {**batch, 'epoch': batch['epoch'] + 1})
  np.testing.assert_array_equal(data(one).record, data(later).record)
  assert not np.array_equal(data(one).view, data(later).view)


def test_the_learning_rate_rises_and_falls_as_the_log_says():
  task = get_config().make_task('')
  h = task.hyperparameters
  assert h['opt_learning_rate_warmup_steps'] == 33
  assert h['opt_learning_rate_training_steps'] == task.num_steps == 165
  h = {**h, 'opt_adamw_weight_decay': 0.0}
  optimizer, params = adamw(h), {'w': jnp.ones((2, 2))}
  state, rates = optimizer.init(params), []
  for _ in range(task.num_steps + 1):
    updates, state = optimizer.update({'w': jnp.ones((2, 2))}, state, params)
    rates.append(-float(updates['w'][0, 0]))  # with a constant gradient Adam's update is its learning rate
  for at, expected in ((0, 0.0), (11, 0.01 / 3), (33, 0.01), (99, 0.005), (165, 0.0)):
    assert rates[at] == pytest.approx(expected, abs=2e-6)


def test_smoothed_cross_entropy_and_accuracy_of_known_logits():
  task = get_config().make_task('')
  batch = {'label': jnp.array([1, 0]), 'mask': jnp.array([True, True]), 'image': jnp.zeros((2, 8, 8, 1))}
  state = jax.jit(lambda: step.init_state(task, np.uint32(0)))()
  variables, params = dict(state.model_state), state.params
  params = {**params, 'Dense_0': {'kernel': params['Dense_0']['kernel'] * 0}}
  loss, (_, sums) = jax.jit(task.loss)(params, variables, batch, jax.random.key(0))
  assert float(loss) == pytest.approx(np.log(10), rel=1e-6)
  assert [float(x) for x in sums['train_accuracy']] == [1.0, 2.0]  # all logits equal: class 0 is chosen


def test_bfloat16_computes_in_half_precision_and_keeps_parameters_and_loss_whole():
  config = dataclasses.replace(get_config(), compute_dtype='bfloat16')
  task = config.make_task('')
  state = jax.jit(lambda: step.init_state(task, np.uint32(0)))()
  assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype('float32')}
  rows = digits.load()['train']
  batch = {'image': rows['image'][:128], 'label': rows['label'][:128], 'index': np.arange(128, dtype=np.int32),
           'epoch': np.zeros(128, np.int32), 'mask': np.ones(128, bool)}
  make = lambda task: step.make_train_step(task)
  text = jax.jit(make(task)).lower(state, batch, np.uint32(0)).as_text()
  assert 'bf16' in text and 'bf16' not in jax.jit(make(get_config().make_task(''))).lower(
      state, batch, np.uint32(0)).as_text()
  after, sums = jax.jit(make(task))(state, batch, np.uint32(0))
  assert sums['loss'][0].dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves(after.params)} == {jnp.dtype('float32')}


def test_the_network_agrees_with_the_golden_arrays_that_torch_wrote():
  with np.load(GOLDEN / 'groupnet_torch.npz') as golden:
    params, state, images, labels = unpack(golden)
    task = get_config().make_task('')
    batch = {'image': images, 'label': labels, 'mask': np.ones(len(labels), bool)}
    (loss, (updates, _)), grads = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(
        params, state, batch, jax.random.key(0))
    assert float(loss) == pytest.approx(float(golden['loss']), rel=1e-5)
    np.testing.assert_allclose(grads['ConvGroup_0']['Conv_0']['kernel'], golden['first_kernel_gradient'], rtol=1e-3,
                               atol=1e-6)
    logits = task.network.apply({'params': params, **updates}, images, train=False)
    np.testing.assert_allclose(logits, golden['logits'], rtol=1e-4, atol=1e-4)


def unpack(golden):
  """(params, model state, images, labels) of a golden file: nested again by their paths."""
  trees = {'params': {}, 'batch_stats': {}}
  for name in golden.files:
    if '/' in name:
      *path, last = name.split('/')
      node = trees
      for key in path:
        node = node.setdefault(key, {})
      node[last] = golden[name]
  return trees['params'], {'batch_stats': trees['batch_stats']}, golden['images'], golden['labels']


def test_optax_adamw_is_the_formula():
  h = {**get_config().make_task('').hyperparameters, 'opt_learning_rate_warmup_steps': 0}
  optimizer = adamw(h)
  w, g = np.array([[0.5, -2.0]]), np.array([[0.3, 0.1]])
  updates, _ = optimizer.update({'w': g}, optimizer.init({'w': w}), {'w': w})
  new = optax.apply_updates({'w': w}, updates)['w']
  expected = w - 0.01 * (g / (np.abs(g) + 1e-8) + 0.05 * w)
  np.testing.assert_allclose(new, expected, rtol=1e-5)
