"""The reader of SQuAD: its parts by hand, its recipes, its optimizers, and a run on a small made SQuAD."""
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from input_pipelines import squad, squad_prepare
from layers.dropout import dropout
from references.squad import model, prior
from references.squad import optimizer as optimizers
from references.squad.configs import qanet, qanet_vectors, tiny
from references.squad.model import NEVER, Reader, SeparableConv, best_span, context_query_attention, masked_softmax
from references.squad.task import Config
from references.squad.vectors import read_vectors
from scoring.problem import Problem
from tests.drawn import drawn
from tests.input_pipelines import made_squad
from tests.references.test_digits import describe
from tests.references.test_resnet import golden
from training import config as configs

SMALL = dict(batch_size=16, num_words=400, num_chars=60, word_width=16, char_width=8, width=16, num_heads=2,
             encoder_convs=1, model_blocks=1, model_convs=1, passes=2, dropout=0.0, average_decay=0.9,
             learning_rate=5e-3, weight_decay=0.0, buckets=(40, 80), max_question=12, num_epochs=2.0,
             compute_dtype='float32', eval_batch_size=16)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('squad')
  made_squad.write(folder / 'files')
  squad_prepare.prepare(folder / 'data', folder / 'files', None)
  return folder / 'data'


def network(**sizes):
  return Reader(**{**dict(num_words=50, num_chars=20, word_width=8, char_width=6, vector_width=0, width=8, num_heads=2,
                          encoder_convs=1, model_blocks=2, model_convs=1, passes=2, dropout=0.3, dtype=jnp.float32),
                   **sizes})


@functools.cache
def made():
  """A network as programs: (its variables, its apply, which trains if `train`); op by op it would take a minute."""
  net = network()
  return drawn(functools.partial(net.init, train=False), *inputs()), jax.jit(net.apply, static_argnames='train')


def inputs(length=12, asked=5, real=9, real_asked=4, seed=0):
  dice = np.random.default_rng(seed)
  context, question = dice.integers(1, 60, (2, length)), dice.integers(1, 60, (2, asked))
  letters = dice.integers(1, 20, (2, length, 16)), dice.integers(1, 20, (2, asked, 16))
  match = dice.integers(0, 2, (2, length, 3))
  for array in (context, letters[0], match):
    array[:, real:] = 0
  for array in (question, letters[1]):
    array[:, real_asked:] = 0
  return context, letters[0], question, letters[1], match


# -- the parts

def test_best_span_is_the_best_of_all_spans():
  dice = np.random.default_rng(0)
  for length, longest in ((7, 3), (40, 30), (20, 30), (1, 30)):
    start, end = dice.normal(size=(2, 50, length)).astype(np.float32)
    first, last = map(np.asarray, best_span(jnp.asarray(start), jnp.asarray(end), longest))
    for n in range(50):
      spans = [(start[n, a] + end[n, b], a, b) for a in range(length) for b in range(a, min(a + longest, length))]
      assert (first[n], last[n]) == max(spans)[1:]


def test_best_span_never_ends_in_padding():
  start, end = jnp.full((1, 8), NEVER).at[0, :3].set(-50.0), jnp.full((1, 8), NEVER).at[0, :3].set(-60.0)
  first, last = best_span(start, end, 30)
  assert 0 <= int(first[0]) <= int(last[0]) < 3


def test_a_softmax_over_nothing_is_zero():
  found = masked_softmax(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[True, False], [False, False]]))
  assert np.array_equal(found, [[1, 0], [0, 0]])


def test_the_depthwise_convolution_is_xlas():
  conv = SeparableConv(5, 7, jnp.float32)
  x = jax.random.normal(jax.random.key(0), (2, 11, 4))
  variables = conv.init(jax.random.key(1), x)
  taps, mix = variables['params']['depthwise'], variables['params']['pointwise']
  deep = jax.lax.conv_general_dilated(x, taps[:, None, :], (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC'),
                                      feature_group_count=4)
  np.testing.assert_allclose(conv.apply(variables, x), jax.nn.relu(deep @ mix['kernel'] + mix['bias']), atol=1e-5)


def test_context_query_attention_by_hand():
  dice = np.random.default_rng(0)
  c, q, s = dice.normal(size=(6, 3)), dice.normal(size=(4, 3)), dice.normal(size=(6, 4))
  soft = lambda x, axis: np.exp(x) / np.exp(x).sum(axis, keepdims=True)
  rows, columns = soft(s[:5, :3], 1), soft(s[:5, :3], 0)
  asked, about = context_query_attention(*(jnp.asarray(x[None], jnp.float32) for x in (c, q, s)),
                                         jnp.arange(6)[None] < 5, jnp.arange(4)[None] < 3)
  np.testing.assert_allclose(asked[0, :5], rows @ q[:3], atol=1e-5)
  np.testing.assert_allclose(about[0, :5], rows @ columns.T @ c[:5], atol=1e-5)


def test_padding_changes_nothing():
  variables, apply = made()
  short = [x[:, :9] if x.shape[1] == 12 else x[:, :4] for x in inputs()]
  ours, theirs = apply(variables, *inputs(), train=False), apply(variables, *short, train=False)
  for padded, bare in zip(ours, theirs):
    np.testing.assert_allclose(padded[:, :9], bare, atol=1e-4)
    assert (padded[:, 9:] == NEVER).all()


def keys_of_dropout(monkeypatch, run):
  """The random keys, integers [N, 2], of every dropout of what `run` computes."""
  found = []
  def spy(x, rate, key, broadcast_dims):
    found.append(jax.random.key_data(key))
    return dropout(x, rate, key, broadcast_dims)
  monkeypatch.setattr(model, 'dropout', spy)
  return np.asarray(jax.jit(lambda: (run(), found)[1])())


def test_all_is_dropped_by_keys_of_its_own(monkeypatch):
  variables, _ = made()
  run = lambda train: network().apply(variables, *inputs(), train=train, rngs={'dropout': jax.random.key(0)})
  keys = keys_of_dropout(monkeypatch, lambda: run(True))
  # Words and characters of both texts; 3 layers of each encoder and 6 of 2 passes, each with its stochastic depth but
  # the first of a stack, whose rate is 0; both sides of the similarity, and what goes into the stack.
  assert len(keys) == 4 + 2 * (3 + 2) + 2 * (6 + 5) + 2 + 1 and len(np.unique(keys, axis=0)) == len(keys)
  assert len(keys_of_dropout(monkeypatch, lambda: run(False))) == 0


def test_every_parameter_learns_and_dropout_is_for_training_only():
  apply = made()[1]
  variables = jax.jit(functools.partial(network().init, train=False))(jax.random.key(0), *inputs())  # as a run begins
  def loss(params, key, train):
    start, end = apply({'params': params}, *inputs(), train=train, rngs={'dropout': key})
    return (optax.softmax_cross_entropy_with_integer_labels(jnp.stack([start, end]), jnp.array([[2, 3], [4, 5]]))).sum()
  grads = jax.jit(jax.grad(loss), static_argnums=2)(variables['params'], jax.random.key(1), False)
  still = [jax.tree_util.keystr(path) for path, g in jax.tree_util.tree_flatten_with_path(grads)[0] if not g.any()]
  assert not still, still
  values = [float(loss(variables['params'], jax.random.key(n), train)) for n in (1, 2) for train in (True, False)]
  assert values[0] != values[2] and values[1] == values[3]


def test_words_beyond_the_vocabulary_are_unknown_and_their_characters_are_read():
  variables, apply = made()
  context, letters, *rest = inputs()
  starts = lambda context, letters: np.asarray(apply(variables, context, letters, *rest, train=False)[0])
  rare, other, unknown = (np.where(context == context[0, 0], n, context) for n in (55, 59, 1))
  assert np.array_equal(starts(rare, letters), starts(other, letters))
  assert np.array_equal(starts(rare, letters), starts(unknown, letters))
  assert not np.array_equal(starts(rare, letters), starts(rare, np.where(letters == letters[0, 0, 0], 2, letters)))


# -- recipes

@pytest.mark.parametrize('name', ['tiny', 'qanet', 'qanet_vectors'])
def test_each_recipe_resolves_to_its_golden_text(name):
  config = configs.load(f'references/squad/configs/{name}.py')
  task = config.make_task('')
  log = ''.join(f'{key}: {value!r}\n' for key, value in task.hyperparameters.items() if 'steps' not in key)
  golden(f'squad_{name}.txt', f'{configs.to_text(config)}\n{task.model_name}, {task.tricks}\n{log}{describe(task)}')


@pytest.mark.parametrize('change, words', [
    ({'width': 100, 'num_heads': 8}, 'width=100, num_heads=8'), ({'width': 15, 'num_heads': 0}, 'the width is even'),
    ({'compute_dtype': 'half'}, 'choose float32 or bfloat16'), ({'optimizer': 'sgd'}, 'choose adamw or lamb'),
    ({'word_vectors': 'x'}, 'give both or neither'), ({'vector_width': 5}, 'give both or neither'),
    ({'dropout': 1.0}, 'dropout=1.0'), ({'num_epochs': float('nan')}, 'num_epochs=nan'), ({'passes': 0}, 'passes=0')])
def test_values_that_make_no_sense_are_one_line(change, words):
  with pytest.raises(Problem, match=words):
    dataclasses.replace(tiny.get_config(), **change)


def test_buckets_must_rise():
  with pytest.raises(Problem, match='rising lengths'):
    dataclasses.replace(tiny.get_config(), buckets=(128, 64)).make_task('')


# -- the optimizers

@pytest.mark.parametrize('name', ['adamw', 'lamb'])
@pytest.mark.parametrize('clip', [0.0, 0.5])
def test_optimizers_by_the_formula(name, clip):
  config = dataclasses.replace(tiny.get_config(), optimizer=name, gradient_clip_norm=clip, weight_decay=0.1)
  made = optimizers.optimizer(optimizers.hyperparameters(config, 20))
  dice = np.random.default_rng(0)
  params = {'matrix': dice.normal(size=(3, 4)), 'vector': dice.normal(size=3)}
  ours, state = jax.tree.map(jnp.float32, params), made.init(jax.tree.map(jnp.float32, params))
  m, v = (jax.tree.map(np.zeros_like, params) for _ in range(2))
  warmup = optimizers.hyperparameters(config, 20)['opt_learning_rate_warmup_steps']
  for step in range(20):
    grads = jax.tree.map(lambda x: dice.normal(size=x.shape), params)
    updates, state = made.update(jax.tree.map(jnp.float32, grads), state, ours)
    ours = optax.apply_updates(ours, updates)
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    rate = config.learning_rate * (step / warmup if step < warmup else (20 - step) / (20 - warmup))
    for key, g in grads.items():
      g = g * min(1, clip / norm) if clip else g
      m[key] = config.beta_1 * m[key] + (1 - config.beta_1) * g
      v[key] = config.beta_2 * v[key] + (1 - config.beta_2) * g**2
      change = m[key] / (1 - config.beta_1**(step + 1)) / (
          np.sqrt(v[key] / (1 - config.beta_2**(step + 1))) + config.epsilon)
      if key == 'matrix':
        change = change + 0.1 * params[key]
        change = change * (np.linalg.norm(params[key]) / np.linalg.norm(change) if name == 'lamb' else 1)
      params[key] = params[key] - rate * change
  for key in params:
    np.testing.assert_allclose(ours[key], params[key], rtol=1e-4, atol=1e-5)


# -- word vectors

def test_vectors_are_read_by_word_then_in_lower_case(tmp_path):
  file = tmp_path / 'vectors.txt'
  file.write_text('4 2\ncat 1 2\nthe 3 4\n. . . 5 6\nTHE 9 9\n')
  table = read_vectors(file, ['', '', 'the', 'The', 'Cat', 'dog', '. . .', 'THE'], 2)
  assert table.tolist() == [[0, 0], [0, 0], [3, 4], [3, 4], [1, 2], [0, 0], [5, 6], [9, 9]]


@pytest.mark.parametrize('content, words', [
    ('cat 1 2 3\n', 'line 1: has 3 numbers, and vector_width is 2'),
    ('4 3\ncat 1 2 3\n', 'line 2: has 3 numbers'), ('', 'a vector of none of the 1 words'),
    ('dog 1 2\n', 'a vector of none of the 1 words'), ('cat 1\n', 'line 1: has 1 numbers, and vector_width is 2'),
    ('cat 1 2\ncat 1 x\n', 'line 2: holds what is no number'), ('cat 1 nan\n', 'line 1: holds what is no number'),
    (b'c\xff 1 2\n', 'cannot read'), (None, 'cannot read')])
def test_bad_vector_files_are_one_line(tmp_path, content, words):
  file = tmp_path / 'vectors.txt'
  if content is not None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(Problem, match=words):
    read_vectors(file, ['cat'], 2)


def test_the_run_begins_with_the_vectors_of_the_file(data_dir, tmp_path):
  file = tmp_path / 'vectors.txt'
  file.write_text('tower 1 2 3\nred 4 5 6\n')
  task = dataclasses.replace(Config(**SMALL), word_vectors=str(file), vector_width=3).make_task(str(data_dir))
  assert task.tricks == {'pretrained_word_vectors': str(file)}
  variables = task.import_variables(drawn(task.init))
  words = squad.vocabulary(data_dir)
  table = variables['vectors']['embed']['table']
  assert table[words.index('tower')].tolist() == [1, 2, 3] and table[words.index('red')].tolist() == [4, 5, 6]
  assert np.count_nonzero(table.any(1)) == 2 + ('Tower' in words)


# -- the whole

def test_word_dropout_hides_words_and_never_padding(data_dir):
  task = dataclasses.replace(Config(**SMALL), word_dropout=0.5).make_task(str(data_dir))
  batch = next(iter(task.data['train'].batches(0, 1)))
  keys = type('Keys', (), {'view': jax.random.split(jax.random.key(0), 16)})
  hidden = task.prepare(batch, keys, None)
  for name in ('context', 'question'):
    real, seen = batch[name] > 0, np.asarray(hidden[name])
    assert ((seen > 0) == real).all() and 0.3 < (seen[real] == 1).mean() < 0.7


def test_f1_is_that_of_the_answers_texts(data_dir):
  task = Config(**SMALL).make_task(str(data_dir))
  source = squad.Words(data_dir, 'eval')
  right = [{'index': np.arange(len(source.rows)), 'first': source.rows[:, 1], 'last': source.rows[:, 2]}]
  wrong = [{**right[0], 'first': source.rows[:, 1] * 0, 'last': source.rows[:, 1] * 0}]
  padded = [{name: np.append(x, -1) for name, x in right[0].items()}]
  count = len(source.rows)
  assert task.finish(iter(right)) == task.finish(iter(padded)) == {'f1': (count, count), 'exact_match': (count, count)}
  assert task.finish(iter(wrong))['f1'][0] == 0


def test_the_best_constant_answer_is_found():
  rows, lengths = np.array([[3, 4], [3, 5], [2, 4], [90, 91]]), np.array([100, 100, 100, 100])
  assert prior.best_constant(rows, lengths) == (3, 2)
  assert prior.best_constant(np.array([[7, 7]]), np.array([8])) == (7, 1)


def test_configs_of_the_same_family_differ_where_they_say():
  one, other = qanet.get_config(), qanet_vectors.get_config()
  assert other.word_vectors and not one.word_vectors and one.target_f1 == other.target_f1 == 0.75


def test_a_batch_of_real_questions_can_be_learned(squad_files, tmp_path):
  made_squad.write(tmp_path / 'files', *(
      {'version': '1.1', 'data': json.loads((squad_files / name).read_text())['data'][:5]}
      for name in ('train-v1.1.json', 'dev-v1.1.json')))
  squad_prepare.prepare(tmp_path, tmp_path / 'files', None)
  config = dataclasses.replace(tiny.get_config(), batch_size=8, buckets=(160,), dropout=0.0, word_dropout=0.0)
  task = config.make_task(str(tmp_path))
  assert json.dumps(task.hyperparameters)
  batch = next(iter(task.data['train'].batches(0, 1)))
  params, optimizer = jax.jit(task.init)(jax.random.key(0))['params'], optax.adam(3e-3)
  state = optimizer.init(params)

  @jax.jit
  def step(params, state):
    (loss, _), grads = jax.value_and_grad(task.loss, has_aux=True)(params, {}, batch, jax.random.key(0))
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss

  losses = []
  for _ in range(60):
    params, state, loss = step(params, state)
    losses.append(float(loss))
  assert losses[0] > 7 and losses[-1] < 1, losses[::10]
