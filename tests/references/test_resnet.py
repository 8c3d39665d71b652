"""ResNet and its recipes: numbers, shapes, groups, and what each config resolves to."""
import dataclasses
import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from layers import convolution, onednn
from references.resnet_imagenet.configs import (
  imagenette,
  mlperf_1632,
  mlperf_3264,
  mlperf_8192,
  mlperf_32768,
  sgd,
  smoke,
)
from references.resnet_imagenet.model import BatchNorm, ResNet, convolve
from scoring.problem import Problem
from tests.layers import divided
from tests.references import resnet_weights
from tests.references.test_digits import GOLDEN, describe
from training import config as configs

GOLDEN_NUMERICS = GOLDEN / 'resnet50_torchvision.npz'
NAMES = [p.stem for p in sorted(Path('references/resnet_imagenet/configs').glob('*.py')) if p.stem != '__init__']


def golden(name: str, text: str):
  if os.environ.get('DAYBREAK_UPDATE_GOLDEN'):
    (GOLDEN / name).write_text(text)
  assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize('name', NAMES)
def test_each_recipe_resolves_to_its_golden_text_and_makes_a_task(name):
  config = configs.load(f'references/resnet_imagenet/configs/{name}.py')
  task = config.make_task('')
  log = ''.join(f'{key}: {value!r}\n' for key, value in task.hyperparameters.items())
  golden(f'resnet_{name}.txt', f'{configs.to_text(config)}\n{task.model_name}, {task.num_steps} steps, {task.target}, '
         f'{task.tricks}\n{log}')


def test_parameters_have_their_golden_shapes_and_decay():
  golden('resnet_params.txt', describe(mlperf_1632.get_config().make_task('')))
  golden('resnet_params_sgd.txt', describe(sgd.get_config().make_task('')))


@pytest.mark.parametrize('depth, count', [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)])
def test_every_depth_has_as_many_parameters_as_torchvisions(depth, count):
  init = functools.partial(ResNet(depth, 1000).init, train=False)
  shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
  assert sum(x.size for x in jax.tree.leaves(shapes['params'])) == count


@functools.cache
def ours():
  """({'eval_logits', 'train_logits'}, {torchvision's name: gradient in our layout}) of the made-up weights."""
  variables, (images, labels) = resnet_weights.variables(), resnet_weights.batch()
  net = resnet_weights.network()

  def loss(params):
    logits, _ = net.apply({**variables, 'params': params}, images, train=True, mutable=['batch_stats'])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits
  with jax.default_matmul_precision('float32'):
    grads, logits = jax.jit(jax.grad(loss, has_aux=True))(variables['params'])
    results = {'eval_logits': jax.jit(functools.partial(net.apply, train=False))(variables, images),
               'train_logits': logits}
  names = {resnet_weights.torch_name('/'.join(key.key for key in path)): np.asarray(g)
           for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]}
  return jax.tree.map(np.asarray, results), names


def test_logits_and_gradients_are_those_that_torchvision_gave():
  results, grads = ours()
  with np.load(GOLDEN_NUMERICS) as theirs:
    for name, value in results.items():
      np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-4)
    for name, value in grads.items():
      assert np.linalg.norm(value) == pytest.approx(float(theirs[f'gradient {name}']), rel=1e-3), name


def test_the_stem_by_blocks_of_pixels_is_the_same_convolution():
  variables, (images, _) = resnet_weights.variables(), resnet_weights.batch()
  logits = [jax.jit(functools.partial(resnet_weights.network(space_to_depth=blocks).apply, train=False))(
      variables, images) for blocks in (False, True)]
  np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('batch, size, stride, pad, way', [
    (8, (28, 31), 1, 1, 'winograds'), (12, (57, 56), 1, 1, 'winograds'), (6, (28, 28), 1, 1, 'xlas'),
    (8, (28, 27), 1, 1, 'xlas'), (8, (28, 28), 2, 1, 'xlas'), (8, (30, 30), 1, 0, 'xlas'), (8, (6, 9), 1, 1, 'xlas'),
    (8, (6, 8), 1, 1, 'product'), (6, (7, 7), 1, 1, 'product'), (8, (14, 13), 2, 1, 'product'),
    (3, (1, 2), 1, 1, 'product')])
def test_3x3_ones_are_winograds_or_products_on_cpus_with_xlas_values_and_gradients(batch, size, stride, pad, way):
  rng, padding = np.random.default_rng(0), [(pad, pad)] * 2
  x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((batch, *size, 3), (3, 3, 3, 5)))
  y, pull_back = jax.vjp(lambda *args: convolution.by_xla(*args, stride, padding), x, kernel)
  dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)

  @jax.jit
  def ours(x, kernel, dy):
    y, pull_back = jax.vjp(lambda *args: convolve(*args, stride, padding), x, kernel)
    return y, *pull_back(dy)
  text = ours.lower(x, kernel, dy).as_text()
  assert ('stablehlo.convolution' in text) == (way == 'xlas')
  by_patches = way == 'xlas' and stride > 1  # their filters' gradient
  assert ('stablehlo.while' in text) == (way == 'winograds' or by_patches)
  for mine, xlas in zip(ours(x, kernel, dy), (y, *pull_back(dy)), strict=True):
    np.testing.assert_allclose(mine, xlas, rtol=1e-4, atol=1e-4 * float(jnp.abs(xlas).max()))


@pytest.mark.parametrize('window, stride, pad', [(3, 1, 1), (3, 2, 1), (7, 2, 3), (1, 1, 0), (1, 2, 0)])
def test_in_bfloat16_none_is_xlas_on_cpus(window, stride, pad):
  rng, padding = np.random.default_rng(0), [(pad, pad)] * 2
  x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in (
      (6, 15, 14, 3), (window, window, 3, 5)))  # a batch that four does not divide
  plain = functools.partial(convolution.by_xla, stride=stride, padding=padding)
  exact, exact_back = jax.vjp(plain, *(a.astype(jnp.float32) for a in (x, kernel)))
  dy = jnp.asarray(rng.normal(size=exact.shape), jnp.bfloat16)

  def ours(x, kernel, dy):
    y, pull_back = jax.vjp(lambda *args: convolve(*args, stride, padding), x, kernel)
    return y, *pull_back(dy)
  told = {platform: jax.jit(ours).trace(x, kernel, dy).lower(lowering_platforms=(platform,)).as_text()
          for platform in ('cpu', 'cuda')}
  xlas = 0 if window == 1 or onednn.available(jnp.bfloat16) else 3
  assert [told[platform].count('stablehlo.convolution') for platform in ('cpu', 'cuda')] == [xlas, 3]
  assert 'stablehlo.slice' not in told['cuda'] and 'custom_call' not in told['cuda']  # as on any host
  for have, want in zip(jax.jit(ours)(x, kernel, dy), (exact, *exact_back(dy.astype(jnp.float32))), strict=True):
    assert np.linalg.norm(np.asarray(have, np.float32) - want) <= 4e-3 * np.linalg.norm(want)


@pytest.mark.parametrize('devices', [2, 4])
@pytest.mark.parametrize('size, stride, ours', [(28, 1, ' while('), (4, 1, ' dot('), (8, 2, ' dot(')])
def test_a_batch_divided_over_devices_stays_there(devices, size, stride, ours):
  divided.assert_it_stays_there(lambda *args: convolve(*args, stride, [(1, 1)] * 2), devices, (16, size, size, 3),
                                (3, 3, 3, 5), ours=ours)


@pytest.mark.parametrize('group', [0, 4, 12])
def test_a_group_of_rows_is_normalised_by_its_own_statistics(group):
  x = np.random.default_rng(0).normal(3, 2, (12, 5, 5, 3)).astype(np.float32)
  norm = BatchNorm(group, dtype=jnp.float32)
  variables = norm.init(jax.random.key(0), x[:1], train=False)
  y, updates = norm.apply(variables, x, train=True, mutable=['batch_stats'])
  groups = x.reshape(-1, group or 12, 5, 5, 3).astype(np.float64)
  mean, var = groups.mean((1, 2, 3), keepdims=True), groups.var((1, 2, 3), keepdims=True)
  np.testing.assert_allclose(y, ((groups - mean) / np.sqrt(var + 1e-5)).reshape(x.shape), atol=2e-5)
  np.testing.assert_allclose(updates['batch_stats']['mean'], 0.1 * mean.mean((0, 1, 2, 3)), rtol=1e-5)
  np.testing.assert_allclose(updates['batch_stats']['var'], 0.9 + 0.1 * var.mean((0, 1, 2, 3)), rtol=1e-5)


def test_blocks_start_as_the_identity_and_the_head_nearly_at_nothing():
  task = mlperf_1632.get_config().make_task('')
  params = jax.jit(task.init)(jax.random.key(0))['params']
  block = params['stage2_block3']
  assert not np.any(block['norm3']['scale']) and np.all(block['norm2']['scale'] == 1)
  kernel = np.asarray(params['stage1_block1']['conv2']['kernel'])
  assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)
  assert abs(kernel).max() < 2.3 * kernel.std()  # cut at two of the deviations before the cut
  assert np.asarray(params['head']['kernel']).std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize('module, batch_size, rate, decay, warmup, steps, epochs', [
    (mlperf_1632, 1632, 7.4, 5e-5, 2, 27476, 37), (mlperf_3264, 3264, 10.5, 5e-5, 2, None, 37),
    (mlperf_8192, 8192, 17, 2e-4, 5, 6095, 44), (mlperf_32768, 32768, 21.2, 2.5e-5, 16, None, 58)])
def test_the_reference_points_are_mlperfs(module, batch_size, rate, decay, warmup, steps, epochs):
  """mlperf-logging, rcp_checker/training_4.0.0/rcps_resnet.json; their steps where they are of one whole schedule."""
  config = module.get_config()
  log = config.make_task('').hyperparameters
  assert (config.batch_size, config.num_epochs) == (batch_size, epochs)
  assert log['opt_name'] == 'lars' and log['lars_opt_base_learning_rate'] == rate
  assert log['lars_opt_weight_decay'] == decay and log['lars_opt_learning_rate_warmup_epochs'] == warmup
  if steps:
    # Theirs count whole steps an epoch.
    assert log['lars_opt_learning_rate_decay_steps'] == pytest.approx(steps, rel=2e-3)
  assert log['lars_opt_learning_rate_decay_poly_power'] == 2 and log['lars_opt_end_learning_rate'] == 1e-4
  assert log['lars_epsilon'] == 0.0 and log['model_bn_span'] == config.batch_norm_group_size


@pytest.mark.parametrize('field, value, words', [
    ('depth', 42, 'choose 14 or 18 or 34 or 50 or 101'), ('optimizer', 'adam', 'choose lars or sgd'),
    ('batch_norm_group_size', 100, 'must divide'), ('warmup_epochs', 40.0, 'less than num_epochs'),
    ('image_sizes', (224, 128), 'as many starts'), ('eval_image_size', 300, 'at most 256'),
    ('learning_rate', float('nan'), 'at least 0'), ('target_metric', 'f1', 'top5_accuracy')])
def test_a_wrong_field_is_one_clear_line(field, value, words):
  with pytest.raises(Problem, match=words) as problem:
    dataclasses.replace(mlperf_1632.get_config(), **{field: value})
  assert field in str(problem.value) and '\n' not in str(problem.value)


def test_evaluation_counts_rows_and_ranks_exactly():
  task = dataclasses.replace(smoke.get_config(), num_classes=8).make_task('')
  logits = np.array([[9, 0, 0, 0, 0, 0, 0, 1], [9, 8, 7, 6, 5, 4, 3, 2], [9, 8, 7, 6, 5, 4, 3, 2]], np.float32)
  task.network = type('Fixed', (), {'apply': staticmethod(lambda variables, images, train: jnp.array(logits))})
  batch = {'image': np.zeros((3, 32, 32, 3), np.uint8), 'label': np.array([0, 4, 5]), 'mask': np.ones(3, bool)}
  sums = task.evaluate({}, batch)
  assert (float(sums['accuracy'][0]), float(sums['top5_accuracy'][0]), int(sums['accuracy'][1])) == (1, 2, 3)
  sums = task.evaluate({}, {**batch, 'mask': np.array([True, False, True])})
  assert (float(sums['accuracy'][0]), float(sums['top5_accuracy'][0]), int(sums['accuracy'][1])) == (1, 1, 2)


def test_imagenette_is_for_a_laptop():
  config = imagenette.get_config()
  assert config.num_classes == 10 and config.target_value >= 0.3  # chance is 0.1
