"""SQuAD from its files to batches: every answer where it was, every question once, whatever is wrong named."""
import json
from pathlib import Path

import numpy as np
import pytest

from input_pipelines import buckets, squad, squad_bert, squad_json, squad_prepare, squad_words
from scoring.problem import Problem
from tests.input_pipelines import made_squad


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A folder of data sets with a small SQuAD, word pieces included; and where its files are."""
  folder = tmp_path_factory.mktemp('squad')
  made_squad.write(folder / 'files')
  (folder / 'vocab.txt').write_text('\n'.join(made_squad.VOCAB) + '\n')
  squad_prepare.prepare(folder / 'data', folder / 'files', folder / 'vocab.txt')
  return folder


def split(folder, name, **more):
  return squad.words(folder / 'data', name, **{'batch_size': 16, 'seed': 0, 'buckets': (24, 40, 64), 'max_question': 8,
                                               'process': (0, 1), **more})


# -- words

@pytest.mark.parametrize('text, found', [
    ('It cost $5,000.50 in 1960s', ['It', 'cost', '$', '5', ',', '000', '.', '50', 'in', '1960', 's']),
    ("don't re-enter", ['don', "'", 't', 're', '-', 'enter']), ('', []), ('  \n ', []),
    ('naïve 東京 a_b', ['naïve', '東京', 'a', '_', 'b'])])
def test_words_are_cut_at_every_change_of_kind(text, found):
  made, spans = squad_words.words(text)
  assert made == found
  assert [text[a:b] for a, b in spans] == found


@pytest.mark.parametrize('one, other', [('runs', 'running'), ('study', 'studies'), ('Founded', 'founder'),
                                        ('city', 'cities'), ('nation', 'nations')])
def test_inflected_words_have_one_stem(one, other):
  assert squad_words.stem(one) == squad_words.stem(other)


def test_other_words_have_other_stems_and_short_ones_stay():
  assert len({squad_words.stem(word) for word in ('house', 'river', 'stone', 'was', 'is', 'as', '7', '-')}) == 8


def test_the_vocabulary_counts_the_training_split_only():
  made = squad_words.Vocabulary([['b', 'a', 'b']], [['c', 'b', 'ü']])
  assert made.words == ['', '', 'b', 'a', 'c', 'ü'] and made.num_trained == 4
  assert made.alphabet[:2] == ['', ''] and set(made.alphabet[2:]) == {'a', 'b'}
  assert made.chars[made.ids(['ü', 'b'])][:, 0].tolist() == [1, 2]


# -- the files

def change(path, value, told=None):
  """A small file with one thing in it changed; `path` leads there."""
  told = json.loads(told) if told else made_squad.articles(2, 0)
  at = told
  for key in path[:-1]:
    at = at[key]
  if value is None:
    del at[path[-1]]
  else:
    at[path[-1]] = value
  return json.dumps(told).encode()


QUESTION = ('data', 0, 'paragraphs', 1, 'qas', 0)
FIRST = ('data', 0, 'paragraphs', 0, 'qas', 0)
ANSWER = (*QUESTION, 'answers', 0)
BAD = {
    'no JSON': (b'{"data": [', 'is no JSON (line 1, column 11)'),
    'not UTF-8': (b'{"data": "\xff"}', 'is not UTF-8 at byte 10'),
    'too deep': (b'[' * 200_000, 'is no JSON (too deep)'),
    'no data': (b'[1]', 'the file: has no data'),
    'nothing': (b'{"data": []}', 'holds no question'),
    'no context': (change(('data', 0, 'paragraphs', 1, 'context'), None), 'article 0, paragraph 1: has no context'),
    'empty question': (change((*QUESTION, 'question'), '  '), 'is empty'),
    'a number for a question': (change((*QUESTION, 'question'), 7), 'has no question that is a str'),
    'a bool for a position': (change((*ANSWER, 'answer_start'), True), 'has no answer_start that is an int'),
    'answer elsewhere': (change((*ANSWER, 'answer_start'), 3), 'is not in its context at character 3'),
    'answer beyond the end': (change((*ANSWER, 'answer_start'), 10_000), 'is not in its context at character 10000'),
    'negative position': (change((*ANSWER, 'answer_start'), -1), 'is not in its context'),
    'empty answer': (change((*ANSWER, 'text'), ''), 'is not in its context'),
    'no answers': (change((*QUESTION, 'answers'), []), 'has no answer'),
    'twice the same id': (change((*QUESTION, 'id'), 'x', change((*FIRST, 'id'), 'x')), 'question x: is there twice')}



@pytest.mark.parametrize('name', BAD)
def test_a_bad_file_is_one_line_and_leaves_nothing(name, tmp_path):
  content, words = BAD[name]
  made_squad.write(tmp_path / 'files')
  (tmp_path / 'files' / 'dev-v1.1.json').write_bytes(content)
  with pytest.raises(Problem) as problem:
    squad_prepare.prepare(tmp_path / 'data', tmp_path / 'files', None)
  told = str(problem.value)
  assert words in told and 'dev-v1.1.json' in told and '\n' not in told
  assert not list((tmp_path / 'data').iterdir())


def test_bad_records_are_named():
  for path, value in (((*QUESTION, 'question'), ''), ((*ANSWER, 'answer_start'), 3)):
    told = json.loads(change(path, value))
    name = told['data'][0]['paragraphs'][1]['qas'][0]['id']
    with pytest.raises(Problem, match=f'question {name}: '):
      list(squad_json._questions(Path('x.json'), told))


def test_missing_files_and_vocabularies_are_one_line(tmp_path):
  with pytest.raises(Problem, match='train-v1.1.json is not there'):
    squad_prepare.prepare(tmp_path / 'data', tmp_path, None)
  made_squad.write(tmp_path)
  for content in ('a\nb\n', '[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\nx\n'):
    (tmp_path / 'vocab.txt').write_text(content)
    with pytest.raises(Problem, match='is no WordPiece vocabulary'):
      squad_prepare.prepare(tmp_path / 'data', tmp_path, tmp_path / 'vocab.txt')
  with pytest.raises(Problem, match='vocab=.*nowhere: cannot read'):
    squad_prepare.prepare(tmp_path / 'data', tmp_path, tmp_path / 'nowhere')


# -- prepared

def test_prepared_once_and_again_only_where_something_changed(prepared, tmp_path):
  made_squad.write(tmp_path / 'files')
  run = lambda vocab=None: squad_prepare.prepare(tmp_path / 'data', tmp_path / 'files', vocab)
  assert 'written' in run() and 'nothing to do' in run()
  first = squad.metadata(tmp_path / 'data')
  assert not first.num_pieces and 'add --vocab=FILE' in run()
  run(prepared / 'vocab.txt')
  assert squad.metadata(tmp_path / 'data') == squad.metadata(prepared / 'data') != first, 'the same bytes anywhere'
  made_squad.write(tmp_path / 'files', train=made_squad.articles(121, 0))
  assert 'written' in run(prepared / 'vocab.txt')
  assert squad.metadata(tmp_path / 'data').fingerprint != squad.metadata(prepared / 'data').fingerprint
  damaged = squad.directory(tmp_path / 'data') / 'word_chars.npy'
  whole = damaged.read_bytes()
  for content in (b'short', whole[:-1] + bytes([whole[-1] ^ 1])):
    damaged.write_bytes(content)
    assert 'written' in run(prepared / 'vocab.txt'), 'what is damaged is made again'
    assert damaged.read_bytes() == whole


def test_what_is_missing_or_damaged_is_one_line(prepared, tmp_path):
  with pytest.raises(Problem, match='no squad there; get it with'):
    squad.metadata(tmp_path)
  folder = squad.directory(tmp_path)
  folder.mkdir(parents=True)
  (folder / 'squad.json').write_text('{"fingerprint": 1}')
  with pytest.raises(Problem, match='squad.json: damaged, or of an older version; prepare it again'):
    squad.metadata(tmp_path)
  (folder / 'squad.json').write_bytes((squad.directory(prepared / 'data') / 'squad.json').read_bytes())
  with pytest.raises(Problem, match='train_words_context.npy: missing or damaged'):
    squad.Words(tmp_path, 'train')


def test_every_answer_is_where_its_words_are(prepared):
  source = squad.Words(prepared / 'data', 'train')
  for n, question in enumerate(squad_json.read(prepared / 'files' / 'train-v1.1.json')):
    paragraph, first, last = source.rows[n]
    spans = source.spans[paragraph]
    assert question.context[spans[first, 0]:spans[last, 1]] == question.answers[0][0]


# -- batches

def test_batches_hold_what_the_files_say(prepared):
  words = squad.vocabulary(prepared / 'data')
  questions = squad_json.read(prepared / 'files' / 'train-v1.1.json')
  data = split(prepared, 'train')
  for step, batch in zip(range(5), data.batches(0, 5)):
    spec = data.spec(data.shape_at(step))
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
        name: (x.shape, x.dtype) for name, x in spec.items()}
    for row, n in enumerate(batch['index']):
      question = questions[data.batches.kept.numbers[n]]
      found, _ = squad_words.words(question.context)
      asked = squad_words.words(question.text)[0][:8]
      assert [words[i] for i in batch['context'][row] if i] == found
      assert [words[i] for i in batch['question'][row] if i] == asked
      assert ' '.join(found[batch['start'][row]:batch['end'][row] + 1]) == question.answers[0][0]
      same = [[made(word) in set(map(made, asked)) for word in found] for made in (str, str.lower, squad_words.stem)]
      assert batch['match'][row, :len(found)].tolist() == np.array(same).T.tolist()
      assert not batch['match'][row, len(found):].any() and not batch['context_chars'][row, len(found):].any()


def test_each_question_at_most_once_an_epoch_and_evaluation_all_of_them(prepared):
  data = split(prepared, 'train')
  steps = data.order.epoch_examples // 16
  for epoch in range(3):
    seen = data.order.rows(epoch * steps, (epoch + 1) * steps)
    assert len(set(seen.index.ravel())) == steps * 16 and (seen.epoch == epoch).all()
  evaluation = split(prepared, 'eval', buckets=(24,))
  index = np.concatenate([batch['index'] for batch in evaluation.batches(0, evaluation.order.num_steps)])
  assert sorted(index[index >= 0]) == list(range(squad.metadata(prepared / 'data').num_eval))
  assert evaluation.order.buckets[-1] > 24, 'what is longer than the buckets gets one of its own'


def test_the_stream_from_any_step_and_on_any_number_of_processes_is_the_same(prepared):
  whole = list(split(prepared, 'train').batches(0, 40))
  for step in (1, 17, 33):
    for ours, theirs in zip(split(prepared, 'train').batches(step, 40), whole[step:], strict=True):
      assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
  parts = [list(split(prepared, 'train', process=(n, 4)).batches(0, 40)) for n in range(4)]
  for step, batch in enumerate(whole):
    assert all(np.array_equal(np.concatenate([part[step][name] for part in parts]), batch[name]) for name in batch)


def test_seeds_give_other_orders_and_epochs_too(prepared):
  rows = [split(prepared, 'train', seed=seed).order.rows(0, 20).index for seed in (0, 1, 0)]
  assert (rows[0] == rows[2]).all() and (rows[0] != rows[1]).any()


def test_training_leaves_out_what_is_longer_than_the_last_bucket(prepared):
  data = split(prepared, 'train', buckets=(24, 30))
  assert 0 < data.order.num_examples < squad.metadata(prepared / 'data').num_train
  assert max(data.order.lengths) <= 30
  with pytest.raises(Problem, match='every paragraph of train is longer'):
    split(prepared, 'train', buckets=(2,))
  with pytest.raises(Problem, match='rising lengths'):
    split(prepared, 'train', buckets=(30, 20))


def test_buckets_hold_their_records_and_less_padding():
  lengths = np.random.default_rng(0).integers(10, 400, 3000)
  order = buckets.BucketShuffled(3000, 32, 0, lengths=lengths, buckets=(100, 200, 300, 400))
  for step in range(200):
    assert lengths[order.rows(step, step + 1).index].max() <= order.shape_at(step)
  before, after = buckets.padded_share(order, 93)
  assert 0.45 < before < 0.55 and after < 0.25
  assert len({order.shape_at(step) for step in range(12)}) > 2, 'batches of all lengths come mixed'


# -- word pieces

def test_windows_step_128_and_end_with_the_paragraph():
  assert squad_bert.windows(100, 10) == [(0, 100)]
  assert squad_bert.windows(371, 10) == [(0, 371)] and squad_bert.windows(372, 10) == [(0, 371), (128, 372)]
  assert squad_bert.windows(700, 64) == [(0, 317), (128, 445), (256, 573), (384, 700)]


@pytest.mark.parametrize('length, question', [(700, 64), (372, 10), (5000, 20), (20, 3)])
def test_each_piece_has_one_best_window(length, question):
  spans = squad_bert.windows(length, question)
  owners = np.zeros(length, int)
  for n, (start, stop) in enumerate(spans):
    best = squad_bert.best_context(n, spans)
    for k in np.flatnonzero(best):
      p = start + k
      seen = [min(p - a, b - 1 - p) + 0.01 * (b - a) if a <= p < b else -1 for a, b in spans]
      assert seen[n] == max(seen)
    owners[start:stop] += best
  assert (owners == 1).all()


def test_sequences_find_their_answers_or_point_at_the_beginning(prepared):
  folder = squad.directory(prepared / 'data')
  sequences = np.load(folder / 'train_sequences.npy')
  context, asked = (squad.Ragged(folder, f'train_bert_{name}') for name in ('context', 'question'))
  rows = np.load(folder / 'train_bert_rows.npy')
  questions = squad_json.read(prepared / 'files' / 'train-v1.1.json')
  assert sorted(set(sequences[:, 0])) == list(range(len(questions)))
  for n, start, stop, first, last in sequences:
    tokens = [2, *asked[n], 3, *context[rows[n, 0]][start:stop], 3]
    pieces = [made_squad.VOCAB[t] for t in tokens[first:last + 1]]
    assert ''.join(pieces).replace('##', '') == questions[n].answers[0][0]
  assert squad_bert.answer(5, 6, (6, 20), 4) == squad_bert.answer(19, 20, (6, 20), 4) == (0, 0)
  assert squad_bert.answer(6, 19, (6, 20), 4) == (6, 19)


def test_a_paragraph_of_ten_thousand_words_and_a_long_question(tmp_path):
  long = made_squad.articles(3, 2)
  text = 'The tower is red. ' * 2500
  long['data'][0]['paragraphs'].append({'context': text, 'qas': [{
      'id': 'long', 'question': 'what ' * 90, 'answers': [{'text': 'red', 'answer_start': text.rindex('red')}]}]})
  made_squad.write(tmp_path / 'files', evaluation=long)
  (tmp_path / 'vocab.txt').write_text('\n'.join(made_squad.VOCAB) + '\n')
  squad_prepare.prepare(tmp_path / 'data', tmp_path / 'files', tmp_path / 'vocab.txt')
  data = split(tmp_path, 'eval')
  last = list(data.batches(data.order.num_steps - 1, data.order.num_steps))[0]
  assert last['context'].shape[1] >= 12_500 and (last['question'] > 0).sum(1).max() == 8
  folder = squad.directory(tmp_path / 'data')
  sequences = np.load(folder / 'eval_sequences.npy')
  assert (sequences[:, 0] == sequences[-1, 0]).sum() > 90
  assert squad.Ragged(folder, 'eval_bert_question').lengths[-1] == 64
  assert sequences[-1, 3] > 0 and sequences[-1, 2] == squad.Ragged(folder, 'eval_bert_context').lengths[-1]


# -- the real files

def test_real_squad_has_the_counts_that_everybody_has(squad_files, tmp_path):
  said = squad_prepare.prepare(tmp_path, squad_files, squad_files / 'vocab.txt')
  told = squad.told(tmp_path)['splits']
  assert told['eval']['num_questions'] == 10_570 and told['eval']['num_sequences'] == 10_833
  assert told['train']['num_questions'] == 87_599
  assert told['train']['exact_answers'] / 87_599 > 0.995
  sequences = np.load(squad.directory(tmp_path) / 'eval_sequences.npy')
  assert (np.diff(sequences[:, 0]) >= 0).all(), 'in the order of the questions'
  train = np.load(squad.directory(tmp_path) / 'train_sequences.npy')
  assert len(set(train[train[:, 3] > 0][:, 0])) > 0.999 * 87_599, 'each answer lies whole in some window'
  before, after = [p for p in squad.padding(tmp_path) if p.split == 'train'][0][1:3]
  assert after < before / 2 and 'padding' in said
