"""Whether intervals hold what they promise: 2,000 seeded experiments each, in which the truth is known."""
import math
import random

import pytest

from benchmarks import coverage
from scoring import claims, statistics, two_samples
from scoring import tape as tapes

EXPERIMENTS = 2000
# 95 % of 2,000 is 1,900 with a standard error of 10: 93 to 97 % is four of them to either side
RIGHT = range(1860, 1941)


def covered(interval, truth: float, draw, seed: int = 7) -> int:
  """How many of the experiments' intervals hold the truth; `draw(source)` makes an experiment's values."""
  source = random.Random(seed)
  found = [interval(draw(source)) for _ in range(EXPERIMENTS)]
  return sum(low <= truth <= high for low, high in found)


def normal(n, mean=100.0, sd=15.0):
  return lambda source: [source.gauss(mean, sd) for _ in range(n)]


def lognormal(n, sigma):
  return lambda source: [source.lognormvariate(0.0, sigma) for _ in range(n)]


@pytest.mark.parametrize('rate, n', [(0.5, 10), (0.8, 10), (0.95, 20), (0.99, 50)])
def test_the_exact_interval_of_a_success_rate(rate, n):
  assert covered(lambda k: statistics.binomial_interval(k, n), rate,
                 lambda source: sum(source.random() < rate for _ in range(n))) >= 1900


@pytest.mark.parametrize('n', [2, 5, 10, 20])
def test_the_t_interval_of_a_mean(n):
  assert covered(lambda v: statistics.describe(v)['interval'], 100.0, normal(n)) in RIGHT


@pytest.mark.parametrize('n, sigma', [(25, None), (25, 0.25), (50, 0.25)])  # normal values, and ones with a slow tail
def test_the_bootstrap_interval_of_a_mean(n, sigma):
  draw, truth = (normal(n), 100.0) if sigma is None else (lognormal(n, sigma), math.exp(sigma ** 2 / 2))
  assert covered(statistics.bootstrap_interval, truth, draw) in RIGHT


def test_the_bootstrap_as_scipy_has_it_covers_skewed_values_too_seldom_at_25():
  from scipy.stats import bootstrap

  def plain(values):
    return bootstrap((values,), lambda data, axis: data.mean(axis=axis), n_resamples=999, rng=0).confidence_interval
  assert covered(plain, math.exp(0.125), lognormal(25, 0.5)) < RIGHT.start


def rows_of(table: str) -> dict[str, list[str]]:
  """The cells of each row of a Markdown table."""
  found = [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines() if line[:1] == '|']
  return {cells[0]: cells[1:] for cells in found}


@pytest.mark.parametrize('name, holds', [('gamma, skewness 1', True), ('lognormal, sigma 0.75', False),
                                         ('5 % take twice as long', False)])
def test_where_intervals_of_skewed_values_hold_as_the_readme_has_it(name, holds):
  population, = [one for one in coverage.POPULATIONS if one[0] == name]
  row = coverage.simulate(population, 25, EXPERIMENTS)
  assert [row[kind] * EXPERIMENTS >= RIGHT.start for kind in ('t', 'bootstrap')] == [holds, holds]
  assert (row['doubted'] < 0.5) == holds, 'what does not hold is doubted more often than not'
  table = rows_of((tapes.ROOT / 'scoring' / 'README.md').read_text())
  told = table[name][1 + table['values'][1:].index('25 values')]
  numbers = [float(word.strip('()')) for word in told.replace('/', ' ').split()]
  assert numbers == pytest.approx([100 * row[kind] for kind in ('t', 'bootstrap', 'doubted')], abs=1.0)


@pytest.mark.parametrize('population', coverage.POPULATIONS, ids=lambda population: population[0])
def test_the_simulated_populations_are_what_they_are_said_to_be(population):
  _, mean, skewness, draw = population
  source = random.Random(1)
  values = [draw(source) for _ in range(200_000)]
  assert sum(values) / len(values) == pytest.approx(mean, rel=0.01)
  if skewness < 3.5:  # the tails of the others are too rare to be seen so soon
    assert statistics.skewness(values) == pytest.approx(skewness, rel=0.1, abs=0.02)


def test_the_bootstrap_is_offered_from_25_to_1000_values_and_is_the_same_each_time():
  values = lognormal(30, 0.5)(random.Random(1))
  assert statistics.bootstrap_interval(values[:24]) is statistics.bootstrap_interval(values * 34) is None
  assert 'bootstrap_interval' not in statistics.describe(values[:24])
  found = [statistics.describe(values)['bootstrap_interval'] for _ in range(2)]
  assert found[0] == found[1] and found[0] == [round(end, 6) for end in found[0]]
  low, high = statistics.bootstrap_interval(values, 0.5)
  assert found[0][0] < low < sum(values) / 30 < high < found[0][1]
  assert statistics.bootstrap_interval([2.5] * 25) == [2.5, 2.5]
  assert statistics.bootstrap_interval([1.0] * 24 + [1.0 + 1e-15]) == [1.0, 1.0 + 1e-15]
  low, high = statistics.bootstrap_interval([1.0] * 24 + [2.0])
  assert 1.0 <= low < 1.04 < high < 2.0


def both(n_a, sd_a, n_b, sd_b):
  return lambda source: (normal(n_a, 90.0, sd_a)(source), normal(n_b, 100.0, sd_b)(source))


@pytest.mark.parametrize('sizes', [(5, 4.0, 5, 4.0), (20, 2.0, 6, 8.0)])
def test_the_intervals_of_a_difference_and_a_ratio(sizes):
  def compare(key):
    return lambda samples: two_samples.compare(*samples, paired=False)[key]
  assert covered(compare('difference_interval'), -10.0, both(*sizes)) in RIGHT
  assert covered(compare('ratio_interval'), 0.9, both(*sizes)) in RIGHT


def test_the_intervals_of_pairs():
  def draw(source):  # what a seed shares, and what each run has of its own
    shared = [source.gauss(0.0, 10.0) for _ in range(8)]
    return [[mean + s + source.gauss(0.0, 2.0) for s in shared] for mean in (90.0, 100.0)]

  def compare(key):
    return lambda samples: two_samples.compare(*samples, paired=True)[key]
  assert covered(compare('difference_interval'), -10.0, draw) in RIGHT
  assert covered(compare('ratio_interval'), 0.9, draw) in RIGHT


def test_equal_sides_seldom_differ():
  source, found = random.Random(3), {'p': 0, 'rank_p': 0}
  for _ in range(EXPERIMENTS):
    made = two_samples.compare(normal(8)(source), normal(8)(source), paired=False)
    assert (made['p'] < 0.05) != (made['ratio_interval'][0] <= 1.0 <= made['ratio_interval'][1])
    for name in found:
      found[name] += made[name] < 0.05
  assert 60 <= found['p'] <= 140 and 60 <= found['rank_p'] <= 140


@pytest.mark.parametrize('paired', [False, True])
def test_as_many_runs_as_are_needed_show_the_difference_four_times_in_five(paired):
  # means 95 and 100 with a spread of 5 %; a pair's difference spreads by sqrt(2) as much
  n = claims.runs_needed_for_difference(5.0, *([5.0 * math.sqrt(2)] if paired else [5.0, 5.0]))
  source, fast, slow = random.Random(5), normal(n, 95.0, 5.0), normal(n, 100.0, 5.0)
  shown = sum(two_samples.compare(fast(source), slow(source), paired=paired)['p'] < 0.05 for _ in range(EXPERIMENTS))
  assert 0.77 <= shown / EXPERIMENTS <= 0.85
