"""LoadGen's log of answers, and accuracy.txt, held against what the official scripts printed for the same log."""
import hashlib

import pytest

from scoring import accuracy_log
from scoring.problem import Problem
from tests.scoring.loadgen_runs import GOLDEN, NUM_SAMPLES, image_answer, image_label

LOG = GOLDEN / 'single_stream/accuracy/mlperf_log_accuracy.json'
LABELS = [*map(image_label, range(NUM_SAMPLES))]
# accuracy-imagenet.py of mlcommons/inference b66003e1 on LOG with --dtype int32 (test_official_scripts.py runs it)
OFFICIAL = 'accuracy=90.000%, good=90, total=100'


def test_the_answers_are_those_that_were_given():
  answers = dict(accuracy_log.read(LOG))
  assert answers == {index: image_answer(index) for index in range(NUM_SAMPLES)}


@pytest.mark.parametrize('scenario', ['single_stream', 'multi_stream'])  # some are answered twice in a multi-stream
def test_images_are_scored_as_the_official_script_does(scenario):
  scores = accuracy_log.image_scores(GOLDEN / scenario / 'accuracy/mlperf_log_accuracy.json', LABELS)
  assert scores == {'accuracy': 0.9, 'top5_accuracy': 0.99, 'good': 90, 'total': 100}
  text = accuracy_log.image_text(scores['good'], scores['total'])
  assert text.splitlines() == [OFFICIAL, 'Result not verified by MLCommons Association.']


def written(path, answers) -> str:
  """A log in LoadGen's form at `path`, of (sample, bytes)."""
  lines = [f'{{ "seq_id" : {n}, "qsl_idx" : {index}, "data" : "{data.hex().upper()}" }}'
           for n, (index, data) in enumerate(answers)]
  path.write_text('[\n' + ',\n'.join(lines) + '\n]\n')
  return path


def test_the_form_is_loadgens(tmp_path):
  assert written(tmp_path / 'log.json', accuracy_log.read(LOG)).read_bytes() == LOG.read_bytes()


def test_one_class_is_enough_but_says_nothing_of_five(tmp_path):
  path = written(tmp_path / 'log.json', [(1, bytes([4, 0, 0, 0])), (0, bytes([9, 0, 0, 0]))])
  assert accuracy_log.image_scores(path, [3, 4]) == {'accuracy': 0.5, 'top5_accuracy': None, 'good': 1, 'total': 2}


@pytest.mark.parametrize('answers, labels, text', [
    ([(0, b'abcd')], [1, 2], 'answered are 1 of 2;'), ([(5, b'abcd')], [1], 'sample 5 is none of 1'),
    ([(-1, b'abcd')], [1], 'sample -1 is none of 1'), ([(0, b'abc')], [1], 'sample 0 has 3 bytes'),
    ([(0, b'')], [1], 'sample 0 has 0 bytes')])
def test_what_cannot_be_scored_is_named(tmp_path, answers, labels, text):
  with pytest.raises(Problem, match=text):
    accuracy_log.image_scores(written(tmp_path / 'log.json', answers), labels)


@pytest.mark.parametrize('text', [
    '', '[\n', '[\n]\nx', '{}', '[\n{"qsl_idx": 1}\n]\n', '[\n{"qsl_idx": "x", "data": ""}\n]\n',
    '[\n{"qsl_idx": 0, "data": "0"}\n]\n', '[\n1\n]\n', '[\n\n\n...\n\n]\n'])
def test_a_log_that_is_not_whole_is_refused(tmp_path, text):
  (tmp_path / 'log.json').write_text(text)
  with pytest.raises(Problem, match='log.json: not a whole log of answers'):
    list(accuracy_log.read(tmp_path / 'log.json'))


def test_a_missing_log_is_named(tmp_path):
  for use in (accuracy_log.read_bytes, lambda path: list(accuracy_log.read(path))):
    with pytest.raises(Problem, match='none.json: cannot read the answers'):
      use(tmp_path / 'none.json')


def test_squads_line_is_what_the_checker_looks_for():
  first, second = accuracy_log.squad_text(81.25, 88.5).splitlines()
  assert first == '{"exact_match": 81.25, "f1": 88.5}'
  assert second == 'Result not verified by MLCommons Association.'


@pytest.mark.parametrize('size', [0, 4095, 4096, 10_000, 100_000])
def test_a_log_is_shortened_and_its_digest_kept(size):
  log = bytes(65 + n % 26 for n in range(size))
  short = accuracy_log.shortened(log)
  assert short == log if size < 4096 else short == log[:4096] + b'\n\n...\n\n' + log[-4096:]
  assert len(short) <= 10 * 1024
  assert accuracy_log.with_hash('accuracy=1\n', log) == f'accuracy=1\n\nhash={hashlib.sha256(log).hexdigest()}\n'
