"""What a set of runs says together: how often the target is reached, how fast, and how surely.

With a fixed schedule the randomness sits in whether the target is reached at all, so every run counts, failed and
missing ones too, and each estimate carries an interval.
"""
import math
import statistics as standard

from scoring.problem import Problem

# Values: with fewer the bootstrap covers too seldom; means of more are normal, and BCa takes time by their square.
BOOTSTRAPPED = range(25, 1001)
RESAMPLES = 4999
MOST_RUNS = 100_000  # where searching for a number of runs gives up


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> list[float]:
  """The exact interval of a success rate (Clopper and Pearson 1934, Biometrika 26), by quantiles of the beta."""
  from scipy.special import betaincinv
  tail = (1 - confidence) / 2
  low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
  high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
  return [low, high]


def bootstrap_interval(values, confidence: float = 0.95) -> list[float] | None:
  """The mean's interval for values that need not be normal: BCa (Efron 1987, JASA 82) at an expanded level.

  The bootstrap takes the spread as sqrt((n-1)/n) and the normal's quantile instead of Student's, and so covers too
  seldom, below 93 % for skewed values at n = 25 (tests/scoring/test_coverage.py). Its level is raised by just that
  (Hesterberg 2015, The American Statistician 69, on the expanded percentile interval). The seed is fixed, and the ends
  are rounded to 6 digits after the point, so that the same values give the same interval. None for fewer than 25
  or more than 1,000.
  """
  n = len(values)
  if n not in BOOTSTRAPPED:
    return None
  if max(values) - min(values) <= 1e-9 * max(map(abs, values)):  # all the same, but for rounding
    return [min(values), max(values)]
  from scipy.special import ndtr, stdtrit
  from scipy.stats import bootstrap
  level = 1 - 2 * float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + confidence) / 2)))
  found = bootstrap((values,), lambda data, axis: data.mean(axis=axis), n_resamples=RESAMPLES, confidence_level=level,
                    batch=1_000_000 // n, rng=0).confidence_interval  # a million values at a time
  return [round(float(found.low), 6), round(float(found.high), 6)]


def describe(values, confidence: float = 0.95) -> dict:
  """Sample statistics, None where values are too few; `interval` is the mean's by Student's t, for normal values.

  For 25 to 1,000 values there is a `bootstrap_interval` as well.
  """
  values, interval, sd = list(values), None, None
  if len(values) >= 2:
    from scipy.special import stdtrit
    sd = standard.stdev(values)
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * sd / math.sqrt(len(values))
    interval = [standard.fmean(values) - half, standard.fmean(values) + half]
  resampled = bootstrap_interval(values, confidence)
  return {'n': len(values), 'mean': standard.fmean(values) if values else None, 'sd': sd,
          'median': standard.median(values) if values else None, 'min': min(values, default=None),
          'max': max(values, default=None), 'interval': interval,
          **({'bootstrap_interval': resampled} if resampled else {})}


def olympic_mean(times, failed: int) -> float | None:
  """MLPerf's score: the mean without the fastest and the slowest run; None for fewer than three runs.

  One run that failed counts as the slowest; with two there is no score (training_rules.adoc, "Benchmark Results").
  """
  if failed > 1 or len(times) + failed < 3:
    return None
  return standard.fmean(sorted(times)[1:] if failed else sorted(times)[1:-1])


def expected_seconds(succeeded, failed) -> float | None:
  """Mean seconds if runs repeat until one succeeds: mean(T_success) + (1-p)/p mean(T_fail), p the share of successes.

  The geometric distribution has (1-p)/p failures before a success. None without a success, or where the seconds that a
  failed run spent are None, which is to say unknown.
  """
  if not succeeded or None in failed:
    return None
  # (1-p)/p mean(T_fail) is the sum of failed time divided by the number of successes.
  return standard.fmean(succeeded) + math.fsum(failed) / len(succeeded)


def runs_needed_for_rate(rate: float, *, half_width: float | None = None, lower: float | None = None,
                         confidence: float = 0.95) -> int | None:
  """How many runs a claim on a success rate takes, if the share `rate` of them, rounded down, reaches the target.

  Args:
    rate: the share expected to succeed, from 0 to 1.
    half_width: the exact interval is to be no longer than twice this; or
    lower: its lower end is to be at least this.
    confidence: of that interval, between 0 and 1.

  Returns:
    The smallest such number, of which one more can be too few again, since successes are whole; None above 100,000.

  Raises:
    Problem: not exactly one claim is given, or one that no number of runs can support.
  """
  if (half_width is None) == (lower is None) or not 0 <= rate <= 1:
    raise Problem(f'a claim on a success rate of {rate}: needs a rate from 0 to 1 and one of half_width and lower')
  if (lower is not None and not 0 <= lower < rate) or (half_width is not None and not 0 < half_width < 1):
    raise Problem(f'a success rate of {rate} cannot support the claim half_width={half_width}, lower={lower}; the '
                  'lower end must lie below the rate, and half_width between 0 and 1')
  for n in range(1, MOST_RUNS + 1):
    low, high = binomial_interval(math.floor(rate * n + 1e-9), n, confidence)
    if low >= lower if lower is not None else high - low <= 2 * half_width:
      return n
  return None


def runs_needed_for_difference(effect: float, sd: float, other_sd: float | None = None, *, power: float = 0.8,
                               confidence: float = 0.95) -> int | None:
  """How many runs a side it takes to show a difference of two means by a two-sided t test, for normal values.

  The power is that of the noncentral t (Cohen 1988, Statistical Power Analysis, chapter 2).

  Args:
    effect: the difference to show: 0.05 for 5 % of the mean, where the spreads are shares of the mean too.
    sd: standard deviation of one side; of the differences, where runs are paired.
    other_sd: of the other side; None for paired runs.
    power: the chance to show it, between 0 and 1.
    confidence: 1 minus the significance level.

  Returns:
    Runs a side, at least 2; None above 100,000.

  Raises:
    Problem: the effect is zero, or a spread or chance is out of range.
  """
  spread = sd if other_sd is None else math.sqrt(sd ** 2 + other_sd ** 2)
  if not effect or spread <= 0 or not 0 < power < 1 or not 0 < confidence < 1:
    raise Problem(f'effect={effect}, sd={sd}, other_sd={other_sd}, power={power}, confidence={confidence}: the effect '
                  'must not be 0, the spread be positive, the others between 0 and 1')
  from scipy.special import nctdtr, stdtrit

  def shown(n):
    freedom, shift = (n - 1) * (1 if other_sd is None else 2), abs(effect) / spread * math.sqrt(n)
    # the chance to be significant in the wrong direction is left out: where power is of use, it is nil
    return 1 - nctdtr(freedom, shift, stdtrit(freedom, (1 + confidence) / 2)) >= power

  below, enough = 1, 2
  while not shown(enough):  # the power grows with n: double, then bisect
    below, enough = enough, 2 * enough
    if below > MOST_RUNS:
      return None
  while enough - below > 1:
    middle = (below + enough) // 2
    below, enough = (below, middle) if shown(middle) else (middle, enough)
  return enough


def check(runs):
  """Raises Problem, naming the run, where a value is not a finite number or contradicts `reached`."""
  clocks = {clock for run in runs if run['reached'] for clock, value in run['seconds'].items() if value is not None}
  for run in runs:
    times = [(f'seconds[{c!r}]', v) for c, v in run['seconds'].items()]
    spent = [(f'wall_seconds[{c!r}]', v) for c, v in run['wall_seconds'].items()]
    for key, value in [('metric', run['metric']), *times, *spent]:
      if value is not None and (not math.isfinite(value) or (key != 'metric' and value < 0)):
        raise Problem(f'{run["run"]}: {key} is {value}, which no run can have measured; repair the run or its tape')
    if not run['reached'] and any(value is not None for _, value in times):
      raise Problem(f'{run["run"]}: did not reach the target but has seconds to target; read its tape again')
    if run['reached'] and (run['metric'] is None or any(run['seconds'].get(clock) is None for clock in clocks)):
      raise Problem(f'{run["run"]}: reached the target, but its metric or its seconds are missing; read its tape again')


def summarize(runs, *, confidence: float = 0.95) -> dict:
  """Distribution of success, metric and seconds to target over all runs; every run counts in `n`.

  Args:
    runs: dicts of `run` (its name), `status`, `reached` (bool), `metric` (float or None), `seconds` (clock to seconds
      to target; None where not reached) and `wall_seconds` (clock to seconds until the end of the run, or None).
    confidence: coverage of every interval, between 0 and 1.

  Returns:
    JSON-able dict: `n`, `reached`, `confidence`, `success_rate`, `metric` and, by clock, `seconds`.

  Raises:
    Problem: there are no runs, or a run has values that cannot be.
  """
  if not runs:
    raise Problem('no runs to summarize; name a folder that holds runs')
  if not 0 < confidence < 1:
    raise Problem(f'confidence={confidence}: must lie between 0 and 1, such as 0.95')
  check(runs)
  good, bad = [run for run in runs if run['reached']], [run for run in runs if not run['reached']]
  seconds = {}
  for clock in dict.fromkeys(clock for run in runs for clock in (*run['seconds'], *run['wall_seconds'])):
    times = [run['seconds'][clock] for run in good if run['seconds'].get(clock) is not None]
    spent = [run['wall_seconds'].get(clock) for run in bad]
    seconds[clock] = {**describe(times, confidence), 'olympic_mean': olympic_mean(times, len(bad)),
                      'expected_seconds_to_success': expected_seconds(times, spent)}
  return {'n': len(runs), 'reached': len(good), 'confidence': confidence,
          'success_rate': {'mean': len(good) / len(runs),
                           'interval': binomial_interval(len(good), len(runs), confidence)},
          'metric': describe([run['metric'] for run in runs if run['metric'] is not None], confidence),
          'seconds': seconds}


def table(summary) -> str:
  """A summary as aligned ASCII text: one line on success, then one for the metric and for each clock's seconds."""
  def cell(value):
    return '-' if value is None else str(value) if isinstance(value, int) else f'{value:.{0 if value >= 1e4 else 4}f}'

  percent, rate = f'{100 * summary["confidence"]:g} %', summary['success_rate']
  low, high = rate['interval']
  first = (f'{summary["reached"]} of {summary["n"]} runs reached the target: {100 * rate["mean"]:.1f} % '
           f'({percent} interval {100 * low:.1f} to {100 * high:.1f} %)')
  last = f'low, high: {percent} interval of the mean; expected: seconds until a success, failures included'
  lines = [('', 'n', 'mean', 'sd', 'median', 'min', 'max', 'low', 'high', 'olympic', 'expected')]
  for name, row in [('metric', summary['metric']), *((f'{c} s', row) for c, row in summary['seconds'].items())]:
    cells = [row[key] for key in ('n', 'mean', 'sd', 'median', 'min', 'max')] + (row['interval'] or [None, None])
    lines.append((name, *map(cell, cells + [row.get('olympic_mean'), row.get('expected_seconds_to_success')])))
  widths = [max(map(len, column)) for column in zip(*lines)]
  body = ['  '.join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]) for line in lines]
  return '\n'.join([first, *body, last])
