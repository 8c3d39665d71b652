"""The statistics of sets of runs, against values computed by hand and by simulation."""
import json
import math

import pytest

from scoring import audit, ledger, record, statistics
from scoring.problem import Problem
from tests import made_sets, tapes


def run(number, seconds=None, *, metric=0.94, wall=None, status=None):
  reached = seconds is not None
  return {'run': f'run_{number:03}', 'status': status or ('complete' if reached else 'failed'), 'reached': reached,
          'metric': metric, 'seconds': {'dawnbench': seconds}, 'wall_seconds': {'dawnbench': wall or seconds}}


def dawnbench(runs, key):
  return statistics.summarize(runs)['seconds']['dawnbench'][key]


def test_distribution_by_hand():
  times = [3.0, 1.0, 2.0, 5.0, 4.0]
  summary = statistics.summarize([run(i, t, metric=0.9 + t / 100) for i, t in enumerate(times)])
  row = summary['seconds']['dawnbench']
  # sd = sqrt(10 / 4); the 97.5 % quantile of t with 4 degrees of freedom is 2.776445 in any table.
  half = 2.7764451 * math.sqrt(2.5) / math.sqrt(5)
  assert (row['n'], row['mean'], row['median'], row['min'], row['max']) == (5, 3.0, 3.0, 1.0, 5.0)
  assert row['sd'] == pytest.approx(1.5811388)
  assert row['interval'] == pytest.approx([3 - half, 3 + half])
  assert row['olympic_mean'] == 3.0 and row['expected_seconds_to_success'] == 3.0
  assert summary['metric']['mean'] == pytest.approx(0.93) and summary['metric']['max'] == pytest.approx(0.95)
  assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_skewness_by_hand():
  # deviations from 4: -3, -2, -1, 0, 6; squares sum to 50, cubes to 180: 36 / 10 ** 1.5
  assert statistics.skewness([1.0, 2.0, 3.0, 4.0, 10.0]) == pytest.approx(36 / 10 ** 1.5)
  assert statistics.skewness([-1.0, -2.0, -3.0, -4.0, -10.0]) == pytest.approx(-36 / 10 ** 1.5)
  for none in ([], [1.0], [1.0, 2.0], [5.0] * 9, [0.0] * 9, [1.0] * 24 + [1.0 + 1e-15]):
    assert statistics.skewness(none) is None and not statistics.doubtful(statistics.describe(none))


@pytest.mark.parametrize('n, skewness, doubtful', [
    (5, 0.99, False), (5, 1.01, True), (25, -1.01, True), (25, 0.99, False), (100, 1.99, False), (100, 2.01, True)])
def test_how_skewed_is_too_skewed_depends_on_the_number_of_values(n, skewness, doubtful):
  assert statistics.doubtful({'n': n, 'skewness': skewness}) == doubtful


def test_a_table_says_what_is_too_skewed():
  clocks = ('dawnbench', 'dawnbench_without_compile', 'mlperf', 'warm')
  even = [{**run(i, 1.0, metric=0.9 + i % 3 / 1000), 'seconds': {c: 100.0 + i % 5 for c in clocks}} for i in range(24)]
  assert 'skewed' not in statistics.table(statistics.summarize(even))
  slow = {**run(24, 1.0, metric=0.5), 'seconds': {c: 200.0 for c in clocks}}  # a neighbour on the machine
  lines = statistics.table(statistics.summarize([*even, slow])).split('\n')
  assert lines[-1] == ('too skewed, intervals may be too short: metric -4.7, dawnbench 4.7, '
                       'dawnbench_without_compile 4.7, mlperf 4.7, warm 4.7')
  assert max(map(len, lines)) <= 120
  slow['seconds']['warm'] = 102.0
  assert statistics.table(statistics.summarize([*even, slow])).split('\n')[-1].endswith('mlperf 4.7')


def test_confidence_widens_intervals():
  runs = [run(i, float(i + 1)) for i in range(5)] + [run(5, wall=9.0)]
  narrow, wide = (statistics.summarize(runs, confidence=c) for c in (0.5, 0.99))
  for get in (lambda s: s['success_rate']['interval'], lambda s: s['seconds']['dawnbench']['interval']):
    assert get(wide)[0] < get(narrow)[0] < get(narrow)[1] < get(wide)[1]
  with pytest.raises(Problem, match='between 0 and 1'):
    statistics.summarize(runs, confidence=95)


@pytest.mark.parametrize('successes, n, low, high', [
    (19, 20, 0.75127, 0.99873),  # Clopper and Pearson's interval, as in R's binom.test(19, 20)
    (0, 10, 0.0, 1 - 0.025 ** 0.1), (10, 10, 0.025 ** 0.1, 1.0)])
def test_clopper_pearson(successes, n, low, high):
  assert statistics.binomial_interval(successes, n) == pytest.approx([low, high], abs=1e-5)


def test_clopper_pearson_inverts_the_binomial():
  low, high = statistics.binomial_interval(35, 50)
  pmf = [[math.comb(50, k) * p ** k * (1 - p) ** (50 - k) for k in range(51)] for p in (low, high)]
  assert sum(pmf[0][35:]) == pytest.approx(0.025) and sum(pmf[1][:36]) == pytest.approx(0.025)


def test_expected_seconds_to_success_of_a_dawnbench_entry():
  # Page's CIFAR10 entry reached the target in 35 of 50 runs of 74.04 s each: 74.04 / 0.7 = 105.77 s.
  runs = [run(i, 74.04) for i in range(35)] + [run(i, wall=74.04) for i in range(35, 50)]
  assert dawnbench(runs, 'expected_seconds_to_success') == pytest.approx(105.7714, abs=1e-4)
  # 2 of 4 reached it, in 10 s and 30 s, the others gave up after 50 s and 70 s: 20 + 1 * 60.
  runs = [run(0, 10.0), run(1, 30.0), run(2, wall=50.0), run(3, wall=70.0, status='preempted')]
  assert dawnbench(runs, 'expected_seconds_to_success') == 80.0


def test_expected_seconds_to_success_count_what_a_restart_lost():
  # Reached at the second attempt: 1 + 2 + 3 s set-up and 10 s training; 4 s until it is killed and 5 s until it is back
  # are lost; 6 s set-up and 10 s training again: 41 s by DAWNBench's clock, without evaluation and checkpoints.
  story = tapes.Story().set_up().point('run_start', step=0).train(10.0).eval(2.0, 0.5)
  saved = story.checkpoint(1.0)
  story.killed_in('train', 4.0).restart(saved, after=5.0).set_up().train(10.0).eval(2.0, 0.95).finish()
  # Missed: 6 s set-up and 20 s training, 26 s; another like it: 41 + 2 * 26 = 93 s until a success.
  missed = tapes.Story().set_up().point('run_start', step=0).train(10.0).eval(2.0, 0.5).train(10.0).eval(2.0, 0.6)
  missed.finish(status='aborted')
  rows = [ledger.row(f'run_00{n}', record.record(events))
          for n, events in enumerate([missed.events, story.events, missed.events])]
  assert dawnbench(rows, 'mean') == pytest.approx(41.0)
  assert dawnbench(rows, 'expected_seconds_to_success') == pytest.approx(93.0)


def test_unknown_time_of_a_missing_run_makes_the_expected_time_unknown():
  missing = run(2, metric=None, status='missing')
  summary = statistics.summarize([run(0, 10.0), run(1, 30.0), missing])
  assert (summary['n'], summary['reached'], summary['success_rate']['mean']) == (3, 2, pytest.approx(2 / 3))
  assert summary['metric']['n'] == 2
  assert summary['seconds']['dawnbench']['expected_seconds_to_success'] is None


@pytest.mark.parametrize('times, failed, expected', [
    ([9.0, 1.0, 2.0, 3.0, 4.0], 0, 3.0),  # without 1 and 9
    ([9.0, 1.0, 2.0, 3.0], 1, 14 / 3),    # the failed run is the slowest: only 1 goes
    ([9.0, 1.0, 2.0, 3.0], 2, None), ([1.0, 2.0], 0, None), ([1.0, 2.0], 1, 2.0), ([1.0], 1, None)])
def test_olympic_mean(times, failed, expected):
  runs = [run(i, t) for i, t in enumerate(times)] + [run(10 + i, wall=99.0) for i in range(failed)]
  assert dawnbench(runs, 'olympic_mean') == (expected if expected is None else pytest.approx(expected))


def test_one_run():
  summary = statistics.summarize([run(0, 12.5)])
  row = summary['seconds']['dawnbench']
  assert (row['n'], row['mean'], row['median'], row['sd'], row['interval']) == (1, 12.5, 12.5, None, None)
  assert row['olympic_mean'] is None and row['expected_seconds_to_success'] == 12.5
  assert summary['success_rate']['interval'] == pytest.approx([0.025, 1.0])


def test_all_failed():
  summary = statistics.summarize([run(i, wall=5.0, metric=0.5) for i in range(3)])
  assert (summary['n'], summary['reached'], summary['success_rate']['mean']) == (3, 0, 0.0)
  assert summary['seconds']['dawnbench'] == {
      'n': 0, 'mean': None, 'sd': None, 'median': None, 'min': None, 'max': None, 'skewness': None, 'interval': None,
      'olympic_mean': None, 'expected_seconds_to_success': None}
  assert summary['metric']['n'] == 3 and 'None' not in statistics.table(summary)


@pytest.mark.parametrize('bad', [
    {'metric': math.nan}, {'metric': math.inf}, {'seconds': {'dawnbench': math.nan}}, {'seconds': {'dawnbench': -1.0}},
    {'wall_seconds': {'dawnbench': math.inf}}, {'metric': None}, {'seconds': {'dawnbench': None}}, {'reached': False}])
def test_refuses_what_cannot_be_and_names_the_run(bad):
  with pytest.raises(Problem, match='run_001'):
    statistics.summarize([run(0, 1.0), {**run(1, 2.0), **bad}, run(2, 3.0)])


def test_refuses_no_runs():
  with pytest.raises(Problem, match='no runs'):
    statistics.summarize([])


def test_a_clock_that_no_run_has_is_empty():
  runs = [{**run(i, 1.0), 'seconds': {'dawnbench': 1.0, 'mlperf': None}} for i in range(3)]
  assert statistics.summarize(runs)['seconds']['mlperf']['n'] == 0


def test_one_is_counted_as_one(tmp_path):
  folder = made_sets.make(tmp_path / 'set', made_sets.CIFAR10, [0.9411], stop_after=1)
  shown = ledger.table(ledger.summary(folder))
  assert shown.startswith('1 of 1 run reached the target') and 'compiled: 1 of 1 cold' in shown
  tape = tapes.record([{'accuracy': 1.0}], target={'metric': 'accuracy', 'value': 1.0, 'num_examples': 1},
                      hyperparameters={'opt_learning_rate_training_steps': 1}, num_train_examples=1, batch_size=1)
  assert '(1 example)' in record.table(record.record(tape.events))
  tape.events[11]['samples'] = 2
  assert any('has 2 samples, but 1 step of 1 make 1' in line for line in audit.findings(tape.events))


def test_an_interval_ends_where_no_mean_can_be_and_says_so():
  few = statistics.summarize([run(i, t, metric=m) for i, (t, m) in enumerate([(1.0, 0.999), (9.0, 0.96)])])
  seconds, metric = few['seconds']['dawnbench'], few['metric']
  assert seconds['interval'][0] == 0 and seconds['interval'][1] > 9 and seconds['cut'] == ['low']
  assert metric['interval'][1] == 1 and 0 < metric['interval'][0] < 0.96 and metric['cut'] == ['high']
  assert statistics.table(few).endswith('intervals are cut at what can be: metric high, dawnbench low')
  enough = statistics.summarize([run(i, 10.0 + i % 2, metric=0.95 + i % 2 / 100) for i in range(6)])
  assert 'cut' not in {**enough['metric'], **enough['seconds']['dawnbench']} and 'cut' not in statistics.table(enough)


def test_an_interval_is_whole_where_a_value_lies_outside():
  half = lambda made: made['interval'][1] - made['mean']
  for values, most in (([-1.0, -1.1], math.inf), ([94.0, 94.5], 1.0)):
    made = statistics.describe(values, most=most)
    assert made['mean'] - made['interval'][0] == pytest.approx(half(made)) and 'cut' not in made


def test_table():
  clocks = ('dawnbench', 'dawnbench_without_compile', 'mlperf', 'warm')
  runs = [{**run(i, 1.0), 'seconds': {c: 100.0 + i for c in clocks}} for i in range(19)]
  runs.append({**run(19), 'seconds': dict.fromkeys(clocks), 'wall_seconds': dict.fromkeys(clocks, 190.0)})
  text = statistics.table(statistics.summarize(runs))
  lines = text.split('\n')
  assert text.isascii() and len(lines) <= 14 and max(map(len, lines)) <= 120
  assert '19 of 20' in lines[0] and '95.0 %' in lines[0] and '75.1 to 99.9 %' in lines[0]
  assert len({len(line) for line in lines[1:-1]}) == 1  # aligned
  (mlperf,) = [line.split() for line in lines if line.startswith('mlperf')]
  assert mlperf[2:4] == ['19', '109.0000'] and mlperf[-2:] == ['109.5000', '119.0000']


@pytest.mark.parametrize('p, n', [(0.5, 10), (0.7, 20), (0.95, 10)])
def test_exact_interval_covers_at_least_its_confidence(p, n):
  # Coverage by enumeration of all outcomes: no sampling error.
  intervals = [statistics.binomial_interval(k, n) for k in range(n + 1)]
  coverage = sum(math.comb(n, k) * p ** k * (1 - p) ** (n - k) for k, (a, b) in enumerate(intervals) if a <= p <= b)
  assert coverage >= 0.95


def test_an_interval_of_differences_is_not_cut_at_zero():
  told = statistics.describe([0.1, 2.0], least=-math.inf)
  assert told['interval'] == pytest.approx([-11.02, 13.12], abs=0.01) and 'cut' not in told
  assert statistics.describe([0.1, 2.0])['cut'] == ['low']
