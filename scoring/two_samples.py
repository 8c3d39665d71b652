"""Is the mean of one sample smaller than that of another: difference, ratio, intervals and tests.

Student's t where values are paired, Welch's (1947, Biometrika 34) where they are not; beside it a rank test that wants
no normal values: Wilcoxon's signed ranks (1945, Biometrics Bulletin 1) or Mann and Whitney's U (1947, Annals of
Mathematical Statistics 18).
"""
import math
import statistics as standard

from scoring import claims

TESTS = {True: ['paired t', "Wilcoxon's signed ranks"], False: ["Welch's t", "Mann and Whitney's U"]}


def _ratio_interval(a, b, paired: bool, freedom: float, confidence: float) -> list[float] | None:
  """The interval of mean(a) / mean(b) by Fieller's theorem (1954, J. Royal Stat. Soc. B 16), None where unbounded.

  It holds the ratios r for which mean(a) - r mean(b) is no further from 0 than its standard error allows. The degrees
  of freedom are those of the test of r = 1, so that the interval holds 1 exactly where the test finds no difference.
  Below 0, where no ratio of times or dollars is, it is cut.
  """
  from scipy.special import stdtrit
  t, top, bottom = float(stdtrit(freedom, (1 + confidence) / 2)), standard.fmean(a), standard.fmean(b)
  var_a, var_b = standard.variance(a) / len(a), standard.variance(b) / len(b)
  together = standard.covariance(a, b) / len(a) if paired else 0.0
  # roots of square r^2 - 2 linear r + constant = 0
  square, linear, constant = bottom ** 2 - t * t * var_b, top * bottom - t * t * together, top ** 2 - t * t * var_a
  inside = linear ** 2 - square * constant
  if square <= 0 or inside < 0:
    return None
  return [max(0.0, (linear - math.sqrt(inside)) / square), (linear + math.sqrt(inside)) / square]


def compare(a, b, *, paired: bool, confidence: float = 0.95) -> dict:
  """Compares the means of two samples; `paired` ones have partners in order.

  Returns:
    JSON-able dict: `n`, `mean` and `sd` of either side (`n_a` ...), `difference` (a - b) and `ratio` (a / b), each with
    an `_interval`; `p` of the t test and `rank_p`, both two-sided; `runs_needed`, runs a side to show this difference
    four times in five. None where values are too few for it, or do not vary: measured times do, so that times which do
    not prove nothing.
  """
  a, b = list(a), list(b)
  means = {'n_a': len(a), 'n_b': len(b), 'mean_a': standard.fmean(a) if a else None,
           'mean_b': standard.fmean(b) if b else None, 'sd_a': standard.stdev(a) if len(a) > 1 else None,
           'sd_b': standard.stdev(b) if len(b) > 1 else None}
  found = {**means, **dict.fromkeys(('difference', 'difference_interval', 'ratio', 'ratio_interval', 'p', 'rank_p',
                                     'runs_needed'))}
  if not a or not b:
    return found
  found['difference'] = means['mean_a'] - means['mean_b']
  found['ratio'] = means['mean_a'] / means['mean_b'] if means['mean_b'] else None
  if min(len(a), len(b)) < 2:
    return found
  samples = [[x - y for x, y in zip(a, b)]] if paired else [a, b]
  spreads = [standard.stdev(sample) for sample in samples]
  if max(spreads) <= 1e-9 * max(map(abs, a + b)):  # what rounding leaves of values that are the same
    return found
  from scipy import special, stats
  errors = [spread ** 2 / len(sample) for spread, sample in zip(spreads, samples)]  # squared standard errors of means
  freedom = sum(errors) ** 2 / sum(e ** 2 / (len(sample) - 1) for e, sample in zip(errors, samples))
  half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(sum(errors))
  ranks = stats.wilcoxon(*samples) if paired else stats.mannwhitneyu(*samples)
  found.update(difference_interval=[found['difference'] - half, found['difference'] + half],
               p=2 * float(special.stdtr(freedom, -abs(found['difference']) / math.sqrt(sum(errors)))),
               rank_p=float(ranks.pvalue))
  if found['ratio'] is not None:
    found['ratio_interval'] = _ratio_interval(a, b, paired, freedom, confidence)
  if found['difference']:
    found['runs_needed'] = claims.runs_needed_for_difference(found['difference'], *spreads, confidence=confidence)
  return found


def fisher(reached_a: int, n_a: int, reached_b: int, n_b: int) -> float:
  """The two-sided p value that both succeed equally often, by Fisher's exact test (1934)."""
  from scipy.stats import fisher_exact
  return float(fisher_exact([[reached_a, n_a - reached_a], [reached_b, n_b - reached_b]]).pvalue)
