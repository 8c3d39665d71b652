"""Two samples compared, by hand and against scipy.stats."""
import math
import random
import statistics as standard

import pytest

from scoring import two_samples

A, B = [17.0, 18.0, 19.0], [27.0, 29.0, 28.0]


def test_unpaired_by_hand():
  # Means 18 and 28, variances 1: the difference's standard error is sqrt(1/3 + 1/3); Welch's degrees of freedom are
  # (2/3)^2 / (2 (1/3)^2 / 2) = 4, and t is 2.776445.
  made = two_samples.compare(A, B, paired=False)
  half = 2.776445 * math.sqrt(2 / 3)
  assert (made['mean_a'], made['mean_b'], made['sd_a'], made['difference']) == (18.0, 28.0, 1.0, -10.0)
  assert made['difference_interval'] == pytest.approx([-10 - half, -10 + half], abs=1e-5)
  # Fieller: (784 - t2/3) r2 - 2 504 r + (324 - t2/3) = 0 with t2 = 7.708647, so 781.430451 and 321.430451;
  # 504^2 - 781.430451 321.430451 = 2840.4577, whose root is 53.29594.
  assert made['ratio'] == pytest.approx(18 / 28)
  assert made['ratio_interval'] == pytest.approx([450.70406 / 781.430451, 557.29594 / 781.430451], abs=1e-6)
  assert made['rank_p'] == pytest.approx(0.1)  # of the 20 ways to deal the ranks, 2 are as extreme
  assert made['runs_needed'] == 2


def test_paired_by_hand():
  # Differences -10, -11, -9: mean -10, sd 1, standard error 1 / sqrt(3); t with 2 degrees of freedom is 4.302653.
  made = two_samples.compare(A, B, paired=True)
  half = 4.302653 / math.sqrt(3)
  assert made['difference_interval'] == pytest.approx([-10 - half, -10 + half], abs=1e-5)
  assert made['p'] == pytest.approx(2 * (0.5 - 17.3205 / (2 * math.sqrt(2 + 300))), abs=1e-5)  # t with 2 is algebraic
  assert made['rank_p'] == pytest.approx(0.25)  # all three signs alike, of eight ways


@pytest.mark.parametrize('paired', [False, True])
def test_t_tests_are_scipys(paired):
  from scipy import stats
  source = random.Random(0)
  for _ in range(20):
    n = source.randint(3, 9)
    a, b = ([source.gauss(10, 2) for _ in range(k)] for k in (n, n if paired else source.randint(2, 9)))
    theirs = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
    made = two_samples.compare(a, b, paired=paired)
    assert made['p'] == pytest.approx(theirs.pvalue)
    assert made['difference_interval'] == pytest.approx(list(theirs.confidence_interval()))


def test_a_paired_ratio_holds_the_ratios_that_a_t_test_would_not_refuse():
  from scipy import stats
  source = random.Random(2)
  b = [source.gauss(100, 5) for _ in range(10)]
  a = [0.9 * x + source.gauss(0, 1) for x in b]
  made = two_samples.compare(a, b, paired=True)
  for end in made['ratio_interval']:
    assert stats.ttest_1samp([x - end * y for x, y in zip(a, b)], 0.0).pvalue == pytest.approx(0.05)
  assert made['ratio_interval'][0] < standard.fmean(a) / standard.fmean(b) < made['ratio_interval'][1]


@pytest.mark.parametrize('a, b, paired', [
    ([], [1.0], False), ([1.0], [2.0, 3.0], False), ([1.0] * 3, [2.0] * 3, False),
    ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], True)])
def test_what_does_not_vary_or_is_too_few_is_not_tested(a, b, paired):
  made = two_samples.compare(a, b, paired=paired)
  assert made['p'] is made['difference_interval'] is made['ratio_interval'] is made['runs_needed'] is None
  assert made['difference'] == (None if not a else standard.fmean(a) - standard.fmean(b))


def test_one_side_may_be_constant_and_a_ratio_without_bounds():
  made = two_samples.compare([12.0] * 4, [12.0, 13.0, 14.0, 13.0], paired=False)
  assert made['p'] == pytest.approx(0.0917, abs=1e-4)  # t = 1 / (0.8165 / 2) = 2.4495 with 3 degrees of freedom
  made = two_samples.compare([1.0, 9.0], [1.0, 19.0], paired=False)
  assert made['ratio_interval'] is None and made['difference_interval'][0] < 0 < made['difference_interval'][1]
  assert two_samples.compare([1.0, 2.0], [0.0, 0.0], paired=False)['ratio'] is None


@pytest.mark.parametrize('table, p', [((3, 3, 0, 3), 0.1), ((20, 20, 20, 20), 1.0), ((3, 4, 1, 4), 34 / 70)])
def test_fisher_by_hand(table, p):
  # 3 of 3 against 0 of 3: 1 / C(6, 3) = 1/20, and the mirror image. Fisher's tea (3 of 4, 1 of 4): 2 (16 + 1) / 70.
  assert two_samples.fisher(*table) == pytest.approx(p)
