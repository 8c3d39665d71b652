"""BERT: its parts, its files, its answers; its numbers are held against transformers in `make test-peers`."""
import dataclasses
import functools
import pickle

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from input_pipelines import squad, squad_prepare, squad_sequences
from layers import platforms
from references.squad import weights
from references.squad.bert import Bert, Sizes, for_all, gelu
from references.squad.bert_task import Config
from references.squad.model import NEVER
from scoring.problem import Problem
from tests.drawn import drawn
from tests.input_pipelines import made_squad
from tests.references.test_digits import describe
from tests.references.test_resnet import golden
from tests.references.test_squad import keys_of_dropout
from training import config as configs

SIZES = Sizes(num_layers=2, width=16, num_heads=2, feed_forward=24, vocabulary=80)
SMALL = dict(num_layers=2, width=16, num_heads=2, feed_forward=24, vocabulary=80, batch_size=16, buckets=(64, 128),
             compute_dtype='float32', eval_batch_size=16)


def inputs(length=12, real=9):
  dice = np.random.default_rng(0)
  return (jnp.asarray(dice.integers(0, 80, (2, length))), jnp.asarray(dice.integers(0, 2, (2, length))),
          jnp.arange(length)[None] < jnp.array([[length], [real]]))


def made(**more):
  """(apply, params) of a network, as programs; op by op it would take a minute."""
  network = Bert(SIZES, **more)
  params = drawn(functools.partial(network.init, train=False), *inputs())['params']
  return jax.jit(network.apply, static_argnames='train'), params


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('squad')
  made_squad.write(folder / 'files')
  (folder / 'vocab.txt').write_text('\n'.join(made_squad.VOCAB) + '\n')
  squad_prepare.prepare(folder / 'data', folder / 'files', folder / 'vocab.txt')
  return folder / 'data'


# -- the network

@pytest.mark.parametrize('name, count', [('bert_base', 108_893_186), ('bert_large', 334_094_338)])
def test_each_recipe_resolves_to_its_golden_text_and_has_as_many_parameters_as_transformers(name, count):
  config = configs.load(f'references/squad/configs/{name}.py')
  task = config.make_task('')
  shapes = jax.eval_shape(task.init, jax.random.key(0))['params']
  assert sum(x.size for x in jax.tree.leaves(shapes)) == count
  small = dataclasses.replace(config, num_layers=1).make_task('')
  golden(f'squad_{name}.txt', f'{configs.to_text(config)}\n{task.model_name}, {task.tricks}\n{describe(small)}')


def test_padding_changes_nothing_and_is_never_chosen():
  apply, params = made(dropout=0.0)
  tokens, types, valid = inputs()
  whole = apply({'params': params}, tokens, types, valid, train=False)
  other = apply({'params': params}, jnp.where(valid, tokens, 7), types, valid, train=False)
  short = apply({'params': params}, tokens[1:, :9], types[1:, :9], valid[1:, :9], train=False)
  for a, b, c in zip(whole, other, short):
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(a[1:, :9], c, atol=1e-5)
    assert (a[1, 9:] == NEVER).all()


def test_written_out_attention_is_jaxs():
  apply, params = made(dropout=1e-9)  # so small that nothing is dropped, and attention is written out to train
  ours = apply({'params': params}, *inputs(), train=True, rngs={'dropout': jax.random.key(0)})
  theirs = apply({'params': params}, *inputs(), train=False)
  for a, b in zip(ours, theirs):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-6), ('bfloat16', 2**-8)])
def test_gelu_is_the_exact_one_rounded_once(dtype, tolerance):
  x, dy = jnp.linspace(-6, 6, 2001).astype(dtype), jnp.linspace(2, 3, 2001).astype(dtype)
  y, pull_back = jax.vjp(gelu, x)
  exact, exact_back = jax.vjp(lambda x: x * jax.scipy.special.erfc(-x / np.sqrt(2)) / 2, x.astype(jnp.float32))
  for have, want in ((y, exact), (pull_back(dy)[0], exact_back(dy.astype(jnp.float32))[0])):
    assert have.dtype == dtype
    np.testing.assert_allclose(np.asarray(have, np.float32), want, rtol=tolerance, atol=1e-6)


def test_elsewhere_gelu_is_flaxs():
  x = jax.ShapeDtypeStruct((4, 8), jnp.bfloat16)
  step = lambda f: jax.jit(jax.grad(lambda x: f(x).astype(jnp.float32).sum())).trace(x)
  counts = lambda f, platform: [step(f).lower(lowering_platforms=(platform,)).as_text().count(f'stablehlo.{name} ')
                                for name in ('convert', 'multiply', 'exponential')]
  flaxs = functools.partial(flax.linen.gelu, approximate=False)
  assert counts(gelu, 'tpu') == counts(flaxs, 'tpu') and counts(gelu, 'cuda') == counts(flaxs, 'cuda')
  assert counts(gelu, 'cpu') != counts(flaxs, 'cpu')


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_on_gpus_positions_are_added_by_a_product_that_is_exact(dtype, monkeypatch):
  rows = jax.random.normal(jax.random.key(0), (5, 3)).astype(dtype)
  dy = jax.random.normal(jax.random.key(1), (4, 5, 3)).astype(dtype)
  step = lambda rows: (for_all(rows, 4) * dy).sum()
  products = lambda platform: jax.jit(jax.grad(step)).trace(rows).lower(
      lowering_platforms=(platform,)).as_text().count('stablehlo.dot_general')
  assert products('cuda') and not products('cpu') and not products('tpu')
  sums = jax.grad(step)(rows)
  monkeypatch.setattr(platforms, 'dependent', lambda *args, cuda, default: cuda(*args))
  np.testing.assert_array_equal(for_all(rows, 4), np.broadcast_to(rows, (4, 5, 3)))
  tolerance = {'float32': 1e-6, 'bfloat16': 2**-7}[dtype]
  np.testing.assert_allclose(*(np.asarray(x, np.float32) for x in (jax.grad(step)(rows), sums)), tolerance, tolerance)


def test_only_training_adds_positions_by_a_product():
  apply, params = made()
  for train, more in ((True, 1), (False, 0)):
    answer = jax.jit(lambda params: apply({'params': params}, *inputs(), train=train,
                                          rngs={'dropout': jax.random.key(0)}))
    products = lambda platform: answer.trace(params).lower(
        lowering_platforms=(platform,)).as_text().count('stablehlo.dot_general')
    assert products('cuda') == products('tpu') + more


def test_dropout_is_for_training_only_and_bfloat16_is_close():
  apply, params = made(dropout=0.5)
  run = lambda key, train: np.asarray(apply({'params': params}, *inputs(), train=train,
                                                    rngs={'dropout': jax.random.key(key)})[0])
  assert np.array_equal(run(0, False), run(1, False)) and not np.array_equal(run(0, True), run(1, True))
  half, _ = made(dtype=jnp.bfloat16)
  for a, b in zip(apply({'params': params}, *inputs(), train=False),
                  half({'params': params}, *inputs(), train=False)):
    assert b.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=0.03)


def test_all_is_dropped_by_keys_of_its_own(monkeypatch):
  _, params = made()
  run = lambda train: Bert(SIZES).apply({'params': params}, *inputs(), train=train, rngs={'dropout': jax.random.key(0)})
  keys = keys_of_dropout(monkeypatch, lambda: run(True))
  assert len(keys) == 1 + 2 * 3, 'embeddings; of each layer attention, and what it and the feed-forward layer add'
  assert len(np.unique(keys, axis=0)) == len(keys)
  assert len(keys_of_dropout(monkeypatch, lambda: run(False))) == 0


def test_gradient_checkpointing_changes_no_gradient():
  gradients = []
  for remat in (False, True):
    apply, params = made(dropout=0.2, remat=remat)
    loss = lambda params: sum(jnp.sum(x[:, :9]**2) for x in apply(
        {'params': params}, *inputs(), train=True, rngs={'dropout': jax.random.key(0)}))
    gradients.append(jax.jit(jax.grad(loss))(params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *gradients)


# -- files of weights

def test_out_and_in_again_is_the_same_bits(tmp_path):
  _, params = made()
  weights.save(tmp_path / 'a.safetensors', params)
  _, other = made()
  back = weights.load(tmp_path / 'a.safetensors', jax.tree.map(np.zeros_like, other))
  assert jax.tree.structure(back) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, back, params)
  weights.save(tmp_path / 'b.safetensors', back)
  assert (tmp_path / 'a.safetensors').read_bytes() == (tmp_path / 'b.safetensors').read_bytes()


def altered(folder, change):
  """A file of weights with `change` made to its tensors."""
  _, params = made()
  weights.save(folder / 'whole.safetensors', params)
  tensors = change(load_file(folder / 'whole.safetensors'))
  save_file(tensors, folder / 'altered.safetensors')
  return folder / 'altered.safetensors', params


def renamed(tensors):
  """Without the prefix, with LayerNorm's old names, without a head, and with what pretrained files hold besides."""
  names = {name: name.removeprefix('bert.').replace('LayerNorm.weight', 'LayerNorm.gamma').replace(
      'LayerNorm.bias', 'LayerNorm.beta') for name in tensors if not name.startswith('qa_outputs')}
  return {**{new: tensors[old] for old, new in names.items()}, 'cls.predictions.bias': np.ones(3, np.float32),
          'pooler.dense.weight': np.ones((2, 2), np.float32), 'embeddings.position_ids': np.arange(3)}


def test_pretrained_files_are_read_and_keep_our_head(tmp_path):
  path, params = altered(tmp_path, renamed)
  found = weights.load(path, jax.tree.map(lambda x: x + 1, params))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), found.pop('qa_outputs'), params.pop('qa_outputs'))
  jax.tree.map(np.testing.assert_array_equal, found, params)


def test_half_precision_becomes_float32(tmp_path):
  path, params = altered(tmp_path, lambda t: {name: x.astype(np.float16) for name, x in t.items()})
  found = weights.load(path, params)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float16).astype(np.float32)), found, params)
  assert all(x.dtype == np.float32 for x in jax.tree.leaves(found))


QUERY = 'bert.encoder.layer.1.attention.self.query.weight'
BAD = {
    'missing': (lambda t: {n: x for n, x in t.items() if n != QUERY}, f'tensor {QUERY} is missing \\(1 are\\)'),
    'half a head': (lambda t: {n: x for n, x in t.items() if n != 'qa_outputs.bias'}, 'qa_outputs.bias is missing'),
    'extra': (lambda t: {**t, 'bert.encoder.layer.2.output.dense.bias': np.ones(16, np.float32)},
              'tensor bert.encoder.layer.2.output.dense.bias is not of a BERT with 2 layers'),
    'twice': (lambda t: {**t, 'bert.embeddings.LayerNorm.gamma': np.ones(16, np.float32)}, 'is there twice'),
    'misshapen': (lambda t: {**t, QUERY: np.ones((16, 8), np.float32)}, r'is \(16, 8\), expected \(16, 16\)'),
    'one dimension': (lambda t: {**t, QUERY: np.ones(256, np.float32)}, r'is \(256,\), expected \(16, 16\)'),
    'integers': (lambda t: {**t, QUERY: np.ones((16, 16), np.int32)}, 'is int32, not of floating point'),
    'not finite': (lambda t: {**t, QUERY: np.full((16, 16), np.nan, np.float32)}, 'not finite')}


@pytest.mark.parametrize('name', BAD)
def test_wrong_tensors_are_named(name, tmp_path):
  change, words = BAD[name]
  path, params = altered(tmp_path, change)
  with pytest.raises(Problem, match=words) as problem:
    weights.load(path, params)
  assert 'altered.safetensors' in str(problem.value) and '\n' not in str(problem.value)


class Bomb:
  """What a pickle can do."""
  def __reduce__(self):
    return pytest.fail, ('it was unpickled',)


@pytest.mark.parametrize('content', [b'', b'short', pickle.dumps(Bomb()), b'\xff' * 100, None, 'cut'])
def test_files_of_another_kind_are_one_line_and_nothing_is_unpickled(content, tmp_path):
  path, params = altered(tmp_path, lambda t: t)
  if content == 'cut':
    path.write_bytes(path.read_bytes()[:-100])
  elif content is None:
    path.unlink()
  else:
    path.write_bytes(content)
  with pytest.raises(Problem, match='altered.safetensors: is no whole safetensors file'):
    weights.load(path, params)


# -- answers

@pytest.mark.parametrize('n_best', [4, 1000])
def test_the_best_answer_is_the_best_over_all_windows(n_best, tmp_path):
  text = ' '.join(f'The tower {n} is red.' for n in range(150))
  answers = [{'text': 'red', 'answer_start': text.index('red')}]
  long = {'data': [{'title': 't', 'paragraphs': [{'context': text, 'qas': [
      {'id': str(n), 'question': 'What is the tower like?', 'answers': answers} for n in range(6)]}]}]}
  made_squad.write(tmp_path / 'files', evaluation=long)
  (tmp_path / 'vocab.txt').write_text('\n'.join(made_squad.VOCAB) + '\n')
  squad_prepare.prepare(tmp_path / 'data', tmp_path / 'files', tmp_path / 'vocab.txt')
  source = squad_sequences.Sequences(tmp_path / 'data', 'eval')
  count = len(source.rows)
  assert count > 6 * 4
  dice = np.random.default_rng(0)
  start, end = dice.normal(size=(2, count, 400)).astype(np.float32)
  shuffled = dice.permutation(count)
  batches = [{'index': np.append(part, -1), 'start': start[np.append(part, 0)], 'end': end[np.append(part, 0)]}
             for part in np.array_split(shuffled, 5)]
  found = squad_sequences.best_answers(source, batches, n_best=n_best)
  for number in range(6):
    spans = []
    for n in np.flatnonzero(source.rows[:, 0] == number):
      own, windows = source.windows(n)
      first, stop = source.rows[n, 1:3]
      shift = source.asked[n] + 2 - first
      likely = [set(np.argsort(-x[n])[:n_best]) for x in (start, end)]
      seen = lambda p, w: min(p - w[0], w[1] - 1 - p) + 0.01 * (w[1] - w[0]) if w[0] <= p < w[1] else -1
      for a in range(first, stop):
        if a + shift in likely[0] and max(range(len(windows)), key=lambda k: seen(a, windows[k])) == own:
          spans += [(start[n, a + shift] + end[n, b + shift], a, b) for b in range(a, min(a + 30, stop))
                    if b + shift in likely[1]]
    assert found[number] == (max(spans)[1:] if spans else (-1, -1))


def test_right_logits_give_a_perfect_score(data_dir):
  task = Config(**SMALL).make_task(str(data_dir))
  source = squad_sequences.Sequences(data_dir, 'eval')
  batches = []
  for batch in task.data['eval'].batches(0, task.data['eval'].order.num_steps):
    start, end = np.full((2, *batch['tokens'].shape), -9.0, np.float32)
    for row, n in enumerate(batch['index']):
      if n >= 0 and source.rows[n, 3]:
        start[row, source.rows[n, 3]], end[row, source.rows[n, 4]] = 5, 5
    batches.append({'index': batch['index'], 'start': start, 'end': end})
  count = squad.metadata(data_dir).num_eval
  assert task.finish(iter(batches)) == {'f1': (count, count), 'exact_match': (count, count)}


def test_sequences_hold_what_bert_expects(data_dir):
  data = squad_sequences.sequences(data_dir, 'train', batch_size=16, seed=0, buckets=(64, 128), process=(0, 1))
  batch = next(iter(data.batches(3, 4)))
  vocabulary = made_squad.VOCAB
  for tokens, types, valid, start, end in zip(*(batch[k] for k in ('tokens', 'types', 'valid', 'start', 'end'))):
    length = valid.sum()
    pieces = [vocabulary[t] for t in tokens[:length]]
    first = pieces.index('[SEP]')
    assert pieces[0] == '[CLS]' and pieces[-1] == '[SEP]' and pieces.count('[SEP]') == 2
    assert valid[:length].all() and not tokens[length:].any()
    assert types.tolist() == [0] * (first + 1) + [1] * (length - first - 1) + [0] * (len(types) - length)
    assert first < start <= end and ''.join(pieces[start:end + 1]) in made_squad.COLOURS


def test_without_word_pieces_one_line_says_what_to_do(tmp_path):
  made_squad.write(tmp_path / 'files')
  squad_prepare.prepare(tmp_path / 'data', tmp_path / 'files', None)
  with pytest.raises(Problem, match='prepared without word pieces; run: .* --vocab=FILE'):
    Config(**SMALL).make_task(str(tmp_path / 'data'))


def test_a_vocabulary_larger_than_the_berts_is_one_line(data_dir):
  with pytest.raises(Problem, match=r'vocabulary=20: squad was prepared with \d+ word pieces; .* --config.vocabulary='):
    Config(**{**SMALL, 'vocabulary': 20}).make_task(data_dir)


@pytest.mark.parametrize('change, words', [({'width': 15}, 'the width divides'), ({'num_layers': 0}, 'num_layers=0'),
                                           ({'compute_dtype': 'x'}, 'choose float32'), ({'dropout': 1.0}, 'dropout=1')])
def test_values_that_make_no_sense_are_one_line(change, words):
  with pytest.raises(Problem, match=words):
    Config(**{**SMALL, **change})


def test_a_run_begins_with_the_weights_of_the_file(data_dir, tmp_path):
  path, params = altered(tmp_path, lambda t: t)
  task = Config(**SMALL, init_from=str(path)).make_task(str(data_dir))
  found = task.import_variables(drawn(task.init, seed=5))
  jax.tree.map(np.testing.assert_array_equal, found['params'], params)
  assert task.tricks == {'pretrained_weights': str(path)}
