"""The CIFAR-10 recipes: what they resolve to, their parts against plain formulas, and runs on real images."""
import dataclasses
import importlib
import math
import os
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipelines import cifar10 as data
from input_pipelines import cifar10_prepare
from layers.convolution import ROUND, by_onednn
from references.cifar import images, optimizers
from references.cifar.cifar10 import Config, Shape
from references.cifar.model import partly_identity
from scoring import dawnbench
from scoring import tape as tapes
from scoring.problem import Problem
from tests.launchers import running
from training import config as configs
from training import step

GOLDEN = Path(__file__).parent / 'golden'
RECIPES = ('airbench94', 'airbench94_muon', 'no_tta', 'fastest', 'cpu', 'gpu', 'resnet18')
SMALL = Config(widths=(4, 8, 8), batch_size=16, compute_dtype='float32')


def recipe(name):
  return importlib.import_module(f'references.cifar.configs.{name}').get_config()


def start(task):
  return jax.jit(lambda: step.init_state(task, np.uint32(0)))()


def describe(config) -> str:
  """The config, and every parameter with its shape and group."""
  state = jax.eval_shape(lambda: step.init_state(config.make_task(''), np.uint32(0)))
  leaves = jax.tree_util.tree_flatten_with_path(state.params)[0]
  lines = [f'{jax.tree_util.keystr(path)} {x.dtype}{list(x.shape)} {optimizers.group(path)}\n' for path, x in leaves]
  return configs.to_text(config) + ''.join(sorted(lines))


@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_resolves_to_its_golden_text(name):
  text, file = describe(recipe(name)), GOLDEN / f'{name}.txt'
  if os.environ.get('DAYBREAK_UPDATE_GOLDEN'):
    file.write_text(text)
  assert text == file.read_text()


@pytest.mark.parametrize('name, steps, samples', [
    ('airbench94', 476, 487424), ('airbench94_muon', 200, 400000), ('fastest', 243, 373248), ('no_tta', 450, 900000)])
def test_the_schedule_has_the_sources_number_of_steps(name, steps, samples):
  task = recipe(name).make_task('')
  assert (task.num_steps, task.data['train'].order.samples(task.num_steps)) == (steps, samples)
  assert task.target.next_evaluation(1) == steps


def test_tricks_are_declared():
  assert recipe('no_tta').make_task('').tricks == {} == recipe('resnet18').make_task('').tricks
  assert recipe('airbench94').make_task('').tricks == {'test_time_augmentation': 'mirror_translate'}
  assert recipe('fastest').make_task('').tricks == {'test_time_augmentation': 'uncertain'}
  assert set(recipe('cpu').make_task('').tricks) == {'test_time_augmentation', 'progressive_resizing'}


def test_image_sizes_change_where_the_config_says():
  task = dataclasses.replace(SMALL, batch_size=500, num_epochs=1.0, image_sizes=(20, 32),
                             image_size_starts=(0.0, 0.255)).make_task('')
  sizes = [task.data['train'].shape_at(s) for s in range(task.num_steps)]
  assert [shape.image_size for shape in sizes] == [20] * 26 + [32] * 74
  assert task.data['eval'].shape_at(0) is None


@pytest.mark.parametrize('changes, words', [
    ({'network': 'vgg'}, "network='vgg': choose airbench or resnet18"),
    ({'optimizer': 'adam'}, 'choose nesterov or muon'), ({'num_epochs': 0.0}, 'num_epochs'),
    ({'num_epochs': math.nan}, 'num_epochs'), ({'widths': (64, 256)}, 'three positive numbers'),
    ({'image_sizes': (24, 32)}, 'as many starts as sizes'), ({'image_size_starts': (0.5,)}, 'rising from 0.0'),
    ({'image_sizes': (8,)}, 'from 16 to 32'), ({'test_time_augmentation': 'all'}, 'choose none or mirror'),
    ({'muon_normalize': (0, 1)}, 'at least 1'), ({'learning_rate': -1.0}, 'learning_rate=-1.0'),
    ({'whitening_examples': 60000}, 'at most 50000'), ({'target_accuracy': 94.0}, 'at most 1')])
def test_a_wrong_value_is_named(changes, words):
  with pytest.raises(Problem, match=words.replace('(', r'\(')):
    dataclasses.replace(Config(), **changes)


# -- parts

def test_filters_that_hand_their_channel_on():
  kernel = partly_identity(jax.random.key(0), (3, 3, 4, 6))
  x = jax.random.normal(jax.random.key(1), (2, 5, 5, 4))
  y = by_onednn(x, kernel, 1, ROUND)
  np.testing.assert_allclose(y[..., :4], x, atol=1e-6)
  assert np.abs(kernel[..., 4:]).max() <= 1 / 6 and np.std(kernel[..., 4:]) > 0.05


@pytest.mark.parametrize('others, products', [([(9, 50)], 9), ([(60, 90), (6, 41)], 27)])  # all as one, and one by one
@pytest.mark.parametrize('shape', [(6, 40), (40, 6)])
def test_the_newton_schulz_iteration_is_its_formula(shape, others, products):
  matrix = np.random.default_rng(0).normal(size=shape)
  a, b, c = 3.4445, -4.7750, 2.0315
  u, s, v = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
  for _ in range(3):
    s = a * s + b * s**3 + c * s**5
  matrices = [jnp.asarray(matrix), *(jnp.asarray(np.random.default_rng(1).normal(size=size)) for size in others)]
  text = str(jax.make_jaxpr(lambda x: optimizers.orthogonalized(x, (a, b, c)))(matrices))
  assert text.count('dot_general') == products
  got = np.asarray(optimizers.orthogonalized(matrices, (a, b, c))[0], np.float64)
  assert np.linalg.norm(got - u * s @ v) <= 0.05 * np.linalg.norm(s)  # bfloat16


def test_muon_normalises_moves_and_decays_as_written():
  random = np.random.default_rng(0)
  first, *grads = (random.normal(size=(3, 3, 4, 5)) for _ in range(5))
  coefficients, period = (3.4576, -4.7391, 2.0843), lambda step: 2
  ours = optimizers.muon(lambda step: 0.1 / (1 + step), 0.6, coefficients, 0.01, period)
  params = jnp.asarray(first)
  state, expected, buffer = ours.init(params), np.array(first), np.zeros_like(first)
  for number, grad in enumerate(grads):
    moves, state = ours.update(jnp.asarray(grad), state, params)
    params = params + moves
    buffer = 0.6 * buffer + grad
    direction = np.asarray(optimizers.orthogonalized(
        [jnp.asarray((grad + 0.6 * buffer).reshape(36, 5).T)], coefficients)[0], np.float64).T.reshape(first.shape)
    if number % 2:  # at the second and the fourth update
      expected *= math.sqrt(5) / np.linalg.norm(expected)
    expected = (expected - 0.1 / (1 + number) * direction) * (1 - 0.1 / (1 + number) * 0.01)
    np.testing.assert_allclose(params, expected, atol=5e-3)


def test_lookahead_pulls_parameters_and_statistics_and_ends_at_the_average():
  task = dataclasses.replace(SMALL, lookahead_steps=5, batch_size=5000, num_epochs=1.2).make_task('')
  state = start(task)
  assert task.num_steps == 12
  first = np.asarray(state.params['head'])
  moved = jax.tree.map(lambda x: x + 1, state.params)
  at = lambda number: task.after_update(dataclasses.replace(state, step=jnp.int32(number), params=moved))
  np.testing.assert_array_equal(at(4).params['head'], moved['head'])
  decay = 0.95**5 * (10 / 12)**3
  for which in (at(10).params['head'], at(10).model_state['lookahead']['params']['head']):
    np.testing.assert_allclose(which, decay * first + (1 - decay) * (first + 1), rtol=1e-6)
  np.testing.assert_array_equal(at(12).params['head'], first)
  statistics = at(12).model_state
  assert jax.tree.all(jax.tree.map(np.array_equal, statistics['batch_stats'], state.model_state['batch_stats']))


def test_whitening_makes_patches_uncorrelated():
  random = np.random.default_rng(0)
  pictures = jnp.asarray(np.cumsum(random.normal(size=(40, 16, 16, 3)), 1) @ random.normal(size=(3, 3)), jnp.float32)
  filters = images.whitening_filters(pictures, epsilon=0.0)
  assert filters.shape == (2, 2, 3, 24)
  np.testing.assert_array_equal(filters[..., 12:], -filters[..., :12])
  y = jax.lax.conv_general_dilated(pictures, filters[..., :12], (1, 1), 'VALID',
                                   dimension_numbers=('NHWC', 'HWIO', 'NHWC')).reshape(-1, 12)
  np.testing.assert_allclose(y.T @ y / len(y), np.eye(12), atol=2e-3)


@pytest.mark.parametrize('views', sorted(images.VIEWS))
def test_an_evaluation_does_not_depend_on_its_batch_size(views):
  """61 images in one batch and in batches of 8: the quarter that `uncertain` looks at again is one of all 61."""
  random = np.random.default_rng(0)
  rows = {'image': random.integers(0, 256, (61, 32, 32, 3)).astype(np.uint8), 'label': random.integers(0, 10, 61)}
  task = dataclasses.replace(SMALL, test_time_augmentation=views).make_task('')
  state = start(task)
  whitened = jax.jit(task.init_from_data)({'params': state.params, **state.model_state}, rows)
  evaluate, found = jax.jit(task.evaluate), []
  for size in (61, 8):
    padded = -(-61 // size) * size
    index = np.where(np.arange(padded) < 61, np.arange(padded), 0).reshape(-1, size)
    mask = (np.arange(padded) < 61).reshape(-1, size)
    outputs = [jax.device_get(evaluate(whitened, {**{k: x[i] for k, x in rows.items()}, 'mask': m}))
               for i, m in zip(index, mask)]
    found.append({name: (float(a), int(b)) for name, (a, b) in task.finish(iter(outputs)).items()})
  assert found[0]['accuracy'] == found[1]['accuracy'] and found[0]['accuracy'][1] == 61
  assert found[0]['loss'] == pytest.approx(found[1]['loss'], rel=1e-5)


def test_uncertain_looks_again_at_the_least_certain_quarter_only():
  task = dataclasses.replace(SMALL, test_time_augmentation='uncertain').make_task('')
  one = lambda right: {'right': np.full(4, right), 'loss': np.full(4, 1.0 - right)}
  batches = [{'certainty': np.array([.9, .2, .8, .1]), 'first': one(0.0), 'all': one(1.0), 'mask': np.ones(4, bool)},
             {'certainty': np.array([.3, .7, .6, .05]), 'first': one(0.0), 'all': one(1.0),
              'mask': np.array([True, True, True, False])}]
  assert task.finish(iter(batches))['accuracy'] == (1.0, 7)  # 7 // 4 = 1 of the 7 that count


# -- real images

NO_TTA = 'references/cifar/configs/no_tta.py'

@pytest.fixture(scope='module')
def prepared(data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('cifar10')
  cifar10_prepare.prepare(folder, Path(data_dir), tfds=False)
  yield folder
  data.array_file(folder).unlink()  # 184 MB, and pytest keeps its folders


def arguments(prepared):
  """A short schedule of a small network, in which sizes, checkpoints and lookahead all come up."""
  fields = {'widths': '(8,16,16)', 'batch_size': 500, 'compute_dtype': 'float32', 'num_epochs': 0.12,
            'lookahead_steps': 5, 'norm_learning_rate': 20, 'head_learning_rate': 300, 'image_sizes': '(24,32)',
            'image_size_starts': '(0.0,0.5)'}
  return [f'--data_dir={prepared}', '--log_every_steps=1', '--checkpoint_every_steps=2',
          *(f'--config.{name}={value}' for name, value in fields.items())]


@pytest.fixture(scope='module')
def whole(prepared, tmp_path_factory):
  """The workdir of a run that nothing stopped."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  done = running.train(workdir, *arguments(prepared), config=NO_TTA)
  assert done.returncode == 3, done.stderr
  return workdir


@pytest.mark.slow
@pytest.mark.parametrize('number, stop', [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_run_on_real_images_that_is_stopped_and_resumed_ends_with_the_same_bits(
    number, stop, prepared, whole, tmp_path):
  workdir = tmp_path / 'run'
  process = running.start('train', f'--config={NO_TTA}', f'--workdir={workdir}', *arguments(prepared))
  running.wait_for(workdir / 'tape.jsonl', '"step": 5', process)
  assert running.kill(process, number).returncode == stop
  resumed = running.train(workdir, *arguments(prepared), config=NO_TTA)
  assert resumed.returncode == 3, resumed.stderr
  made, expected = (running.read_json(w / 'record.json') for w in (workdir, whole))
  assert made['restarts'] == 1
  for key in ('parameters_sha256', 'metric', 'num_evaluated', 'final_step'):
    assert made[key] == expected[key]


def test_a_run_on_real_images_learns_and_its_tape_says_what_it_saw(prepared, whole):
  events = tapes.read(whole)
  assert running.read_json(whole / 'record.json')['metric'] > 0.15  # it learns: chance is 0.1
  assert events[0]['tricks'] == {'progressive_resizing': '24 to 32'}
  assert {e['fingerprint'] for e in events if 'fingerprint' in e} == {data.fingerprint(prepared)}
  with pytest.raises(Problem, match='does not reach CIFAR10'):
    dawnbench.entry(events, author='A', author_email='a@b.c')


def test_without_the_data_training_says_what_to_type(tmp_path):
  done = running.train(tmp_path / 'run', f'--data_dir={tmp_path}/none', '--config.widths=(4,4,4)',
                       config=NO_TTA)
  assert done.returncode == 1
  assert f'python -m launchers.prepare --dataset=cifar10 --data_dir={tmp_path}/none' in running.one_line(done.stderr)


@pytest.mark.parametrize('name', ['airbench94', 'airbench94_muon'])
def test_steps_that_do_not_train_the_whitening_are_those_that_do_once_its_rate_is_0(name):
  task = dataclasses.replace(recipe(name), widths=(4, 8, 8), batch_size=20, compute_dtype='float32',
                             whitening_epochs=0.01, num_epochs=0.02).make_task('')
  random, state = np.random.default_rng(0), start(task)
  whitening = {'filters': jnp.asarray(random.normal(size=(2, 2, 3, 24)), jnp.float32)}
  state = dataclasses.replace(state, model_state={**state.model_state, 'whitening': {'Whitening_0': whitening}})
  batch = {'image': random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
           'label': random.integers(0, 10, 20).astype(np.int32), 'mask': np.ones(20, bool),
           'index': np.arange(20, dtype=np.int32), 'epoch': np.zeros(20, np.int32)}
  shapes = [task.data['train'].shape_at(number) for number in range(task.num_steps)]
  assert shapes == [Shape(32, True)] * 25 + [Shape(32, False)] * 25
  steps = {trained: jax.jit(step.make_train_step(task, shape=Shape(32, trained))) for trained in (True, False)}
  at = lambda number: jax.tree.map(lambda x: jnp.full_like(x, number) if x.dtype == jnp.int32 else x, state)
  convolutions = lambda step: step.trace(state, batch, np.uint32(0)).lower(lowering_platforms=('tpu',)).as_text().count(
      'stablehlo.convolution')
  assert convolutions(steps[True]) == convolutions(steps[False]) + 1  # that of the first one's input
  for number in (0, 25):
    trained, untrained = (steps[which](at(number), batch, np.uint32(0))[0] for which in (True, False))
    same = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5, atol=1e-7), trained.params, untrained.params)
    moved = not same['Whitening_0'].pop('bias')
    assert all(jax.tree.leaves(same)) and moved == (number == 0), (number, same)


@pytest.mark.parametrize('name', ['airbench94', 'airbench94_muon'])
def test_a_whitening_that_is_never_trained_stays(name):
  task = dataclasses.replace(recipe(name), whitening_epochs=0.0).make_task('')
  assert task.data['train'].shape_at(0) == Shape(32, False)
  params = start(task).params
  moves, _ = task.optimizer.update(jax.tree.map(jnp.ones_like, params), task.optimizer.init(params), params)
  assert not np.any(moves['Whitening_0']['bias']) and np.any(moves['head'])
