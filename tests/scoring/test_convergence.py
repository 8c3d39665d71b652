"""Reference convergence points, by hand and against MLCommons' own checker on its own points."""
import json
import math
from pathlib import Path

import pytest

from scoring import convergence
from scoring.problem import Problem


@pytest.fixture(scope='module')
def official():
  """MLCommons' points of ResNet-50, and their checker's reading of them."""
  from mlperf_logging.rcp_checker import rcp_checker
  path = Path(rcp_checker.__file__).with_name('training_4.0.0') / 'rcps_resnet.json'
  return path, rcp_checker.RCP_Checker('training', '4.0.0', 'resnet', False)


def test_a_point_by_hand():
  # Without 33 and 37 the mean of the other 8 is 280 / 8 = 35; squared deviations of all 10 from their mean 35 sum to
  # 4 + 1 + 1 + 1 + 0 + 0 + 1 + 1 + 1 + 4 = 14, so that the spread by n is sqrt(1.4).
  point = convergence.point(1632, [33, 34, 34, 34, 35, 35, 36, 36, 36, 37])
  assert (point.batch_size, point.mean, point.n) == (1632, 35.0, 8)
  assert point.sd == pytest.approx(math.sqrt(1.4))
  # 5 runs leave 3: 8 + 3 - 2 = 9 degrees of freedom, whose 95 % quantile is 1.833113 in any table.
  assert point.least(5) == pytest.approx(35 - 1.833113 * math.sqrt(1.4) * math.sqrt(1 / 8 + 1 / 3), abs=1e-5)


def test_the_factor_by_hand():
  # The least mean is 33.53 (above). 34, 34, 35, 35, 35 without the ends: 104 / 3 = 34.667, within chance, and
  # 35 / 34.667 = 1.009615.
  points = [convergence.point(1632, [33, 34, 34, 34, 35, 35, 36, 36, 36, 37])]
  judged = convergence.normalize([35, 34, 35, 34, 35], 1632, points)
  assert judged['passes'] and judged['how'] == 'found' and judged['factor'] == pytest.approx(1.0096154, abs=1e-7)
  assert convergence.normalize([36, 35, 36, 35, 36], 1632, points)['factor'] == 1.0
  assert not convergence.normalize([33, 33, 33, 34, 34], 1632, points)['passes']
  # One run that failed counts as the slowest, which is left out.
  assert convergence.normalize([35, 34, 35, 34, math.inf], 1632, points)['mean'] == pytest.approx(104 / 3)


def test_between_two_points_by_hand():
  # A quarter of the way from 1000 to 2000: 30 + 0.25 * 8 = 32 epochs, spread 1 + 0.25 * 2 = 1.5.
  low, high = convergence.Point(1000, 30.0, 1.0, 10), convergence.Point(2000, 38.0, 3.0, 10)
  assert convergence.interpolate(1250, low, high, 5) == convergence.Point(1250, 32.0, 1.5, 10)
  assert convergence.normalize([31, 31, 31, 31, 31], 1250, [high, low])['how'] == 'interpolated'
  assert convergence.normalize([31, 31, 31, 31, 31], 500, [high, low])['how'] == 'smallest'
  missing = convergence.normalize([99, 99, 99, 99, 99], 2001, [high, low])
  assert missing['how'] == 'missing' and not missing['passes'] and missing['reference'] is None


def test_pruning_by_hand():
  def points(*means):
    return [convergence.Point(1000 * (i + 1), mean, 1.0, 10) for i, mean in enumerate(means)]
  # 2000 converges fastest, so 1000 goes; the line from 2000 (30) to 4000 (36) passes 3000 at 33, below its 34.
  assert [p.batch_size for p in convergence.prune(points(31.0, 30.0, 34.0, 36.0))] == [2000, 4000]
  assert [p.batch_size for p in convergence.prune(points(30.0, 31.0, 34.0, 40.0))] == [1000, 2000, 3000, 4000]


def test_points_are_those_of_the_official_checker(official):
  path, checker = official
  points = convergence.load(path, 'resnet')
  assert len(points) == len(checker.rcp_data)
  for mine, theirs in zip(points, checker.rcp_data.values()):
    assert (mine.batch_size, mine.mean, mine.sd) == (
        theirs['BS'], pytest.approx(theirs['RCP Mean']), pytest.approx(theirs['RCP Stdev']))
    assert mine.least(5) == pytest.approx(theirs['Min Epochs'], abs=1e-4)  # their bisection stops at 1e-4
  assert [p.batch_size for p in convergence.prune(points)] == [p['BS'] for p in checker.pruned_rcp_data.values()]


@pytest.mark.parametrize('batch_size', [1024, 1632, 2048, 3264, 4096, 8192, 32768, 65536, 67840, 70000])
@pytest.mark.parametrize('shift', [-4, -1, -0.5, 0, 2])
def test_verdicts_are_those_of_the_official_checker(official, tmp_path, batch_size, shift):
  from mlperf_logging.rcp_checker import rcp_checker
  path, checker = official
  points = convergence.load(path, 'resnet')
  base = convergence.normalize([35] * 5, batch_size, points)['reference'] or 90
  epochs = [base + shift + d for d in (-1.0, -0.25, 0.0, 0.25, 1.0)]
  for n, epoch in enumerate(epochs):
    lines = [{'key': 'submission_benchmark', 'value': 'resnet'}, {'key': 'global_batch_size', 'value': batch_size},
             {'key': 'eval_accuracy', 'value': 0.76, 'metadata': {'epoch_num': epoch}},
             {'key': 'run_stop', 'value': None, 'metadata': {'status': 'success'}}]
    text = ''.join(f':::MLLOG {json.dumps(line)}\n' for line in lines)
    (tmp_path / f'result_{n}.txt').write_text(text)
  passed, _, factor = rcp_checker.check_directory(str(tmp_path), 'training', '4.0.0', False, False,
                                                  rcp_pass='pruned_rcps')
  mine = convergence.normalize(epochs, batch_size, points)
  assert mine['passes'] == passed and mine['factor'] == pytest.approx(factor, abs=1e-4)  # they round epochs to 0.001


def rows(*points, benchmark='resnet'):
  return json.dumps({f'{n}': {'Benchmark': benchmark, 'BS': size, 'Epochs to converge': epochs}
                     for n, (size, epochs) in enumerate(points)})


WRONG = {
    'not a file': ['', '[]', '{"a": {"BS": 1}}', rows((8, 5)), rows((8, [1, '2', 3, 4])), rows((8, [1, None, 3, 4])),
                   rows((8, [10 ** 400, 10 ** 400, 10 ** 400, 10 ** 400])), '[' * 100_000, rows((8, [math.nan] * 4)),
                   rows((8, [math.inf] * 4))],
    'no reference': ['{}', rows((8, [5, 5, 5, 5]), benchmark='bert')],
    'of resnet alone, but of bert': [rows((8, [5, 5, 5, 5]), benchmark='bert')],
    'at least 4 runs': [rows((8, [1, 2, 3]))],
    'is no reference convergence point': [rows(('8', [5, 5, 5, 5])), rows((0, [5, 5, 5, 5])), rows((8, [-5] * 4)),
                                          rows((True, [5] * 4))],
    'two reference convergence points': [rows((8, [5, 5, 5, 5]), (8, [6, 6, 6, 6]))]}


@pytest.mark.parametrize('word, text', [(word, text) for word, texts in WRONG.items() for text in texts])
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, word, text):
  (tmp_path / 'points.json').write_text(text)
  with pytest.raises(Problem, match=f'points.json: .*{word}'):
    convergence.load(tmp_path / 'points.json', 'resnet')
  with pytest.raises(Problem, match='cannot read'):
    convergence.load(tmp_path / 'nothing.json', 'resnet')


def test_points_that_a_submission_keeps_are_those_of_the_file(official, tmp_path, monkeypatch):
  path, _ = official
  own = convergence.reference(None, 'resnet', '4.0.0')
  assert own['source'].startswith('mlperf-logging 4.') and own['source'].endswith(', training_4.0.0/rcps_resnet.json')
  assert convergence.points_of(json.loads(json.dumps(own))) == convergence.load(path, 'resnet')
  (tmp_path / 'mine.json').write_text(path.read_text())
  assert convergence.reference(tmp_path / 'mine.json', 'resnet', '4.0.0') == {**own, 'source': 'mine.json'}
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  assert convergence.reference(None, 'resnet', '4.0.0') is None


@pytest.mark.parametrize('wrong', [
    {}, [], 'x', {'source': 'x', 'points': []},
    {'source': 1, 'points': [{'batch_size': 8, 'mean': 1, 'sd': 1, 'n': 8}]},
    {'source': 'x', 'points': {'batch_size': 8}}, {'source': 'x', 'points': ['abc']},
    {'source': 'x', 'points': [{'batch_size': 8, 'mean': 1.0, 'sd': 1.0}]},
    {'source': 'x', 'points': [{'batch_size': 8, 'mean': '1', 'sd': 1.0, 'n': 8}]},
    {'source': 'x', 'points': [{'batch_size': 8, 'mean': 10 ** 400, 'sd': 1.0, 'n': 8}]},
    {'source': 'x', 'points': [{'batch_size': 8, 'mean': 1.0, 'sd': math.nan, 'n': 8}]},
    {'source': 'x', 'more': 1, 'points': [{'batch_size': 8, 'mean': 1.0, 'sd': 1.0, 'n': 8}]},
    {'source': 'x', 'points': [{'batch_size': 8, 'mean': 1.0, 'sd': 1.0, 'n': 8}] * 2}])
def test_kept_points_that_are_none_are_refused(wrong):
  with pytest.raises(Problem):
    convergence.points_of(wrong)


@pytest.mark.parametrize('epochs', [[30, 31], [30, 31, math.inf, math.inf]])
def test_too_few_runs_are_refused(epochs):
  with pytest.raises(Problem, match='at least 3 runs'):
    convergence.normalize(epochs, 1000, [convergence.Point(1000, 30.0, 1.0, 10)])
