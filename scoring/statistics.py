"""What a set of runs says together: how often the target is reached, how fast, and how surely.

With a fixed schedule the randomness sits in whether the target is reached at all, so every run counts, failed and
missing ones too, and each estimate carries an interval.
"""
import math
import statistics as standard

from scoring.problem import Problem, counted

# Values: with fewer the bootstrap covers too seldom; means of more are normal, and BCa takes time by their square.
BOOTSTRAPPED = range(25, 1001)
RESAMPLES = 4999


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
  seldom. Its level is raised by just that (Hesterberg 2015, The American Statistician 69, on the expanded percentile
  interval). Of 25 to 100 values it then covers 92.9 % and more up to a skewness of 2 (of what they are drawn from), and
  less beyond, as little as 71 % at n = 25 where one in 20 is twice the others (benchmarks.coverage; README.md has its
  table); `doubtful` is the sign. The seed is fixed, and the ends are rounded to 6 digits after the point, so that the
  same values give the same interval. None for fewer than 25 or more than 1,000.
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


def skewness(values) -> float | None:
  """The third standardised moment of a sample, by n; None for fewer than three values, or ones that do not vary."""
  mean = standard.fmean(values) if values else 0.0
  variance = math.fsum((value - mean) ** 2 for value in values) / max(len(values), 1)
  if len(values) < 3 or variance <= (1e-9 * mean) ** 2:
    return None
  return math.fsum((value - mean) ** 3 for value in values) / len(values) / variance ** 1.5


def doubtful(described: dict) -> bool:
  """Whether a sample is so skewed, for as many values as it has, that intervals of 95 % may cover less than 93 %.

  That is where its skewness g is above 1 and n < 25 g^2 (Cochran 1977, Sampling Techniques, chapter 2). Simulated from
  n = 25 on, more than half of the samples of each kind that is covered less look so, and seldom half of the others;
  fewer values show little of how skewed they are, and none a slow run that is not among them (benchmarks.coverage).
  """
  g = described['skewness']
  return g is not None and abs(g) > max(1.0, math.sqrt(described['n']) / 5)


def describe(values, confidence: float = 0.95, most: float = math.inf, least: float = 0.0) -> dict:
  """Sample statistics, None where values are too few; `interval` is the mean's by Student's t, for normal values.

  Of skewed ones it holds the mean less often than it promises (`doubtful`). Where it leaves `least` to `most`, and no
  value does, it is cut there, and holds the mean as often as before, since that lies between them too; `cut` names that
  end, a sign of too few values. For 25 to 1,000 values there is a `bootstrap_interval` as well.
  """
  values, interval, sd, cut = list(values), None, None, []
  if len(values) >= 2:
    from scipy.special import stdtrit
    sd = standard.stdev(values)
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * sd / math.sqrt(len(values))
    free = [standard.fmean(values) - half, standard.fmean(values) + half]
    interval = [max(free[0], least) if min(values) >= least else free[0],
                min(free[1], most) if max(values) <= most else free[1]]
    cut = [name for name, end, kept in zip(('low', 'high'), free, interval) if end != kept]
  resampled = bootstrap_interval(values, confidence)
  return {'n': len(values), 'mean': standard.fmean(values) if values else None, 'sd': sd,
          'median': standard.median(values) if values else None, 'min': min(values, default=None),
          'max': max(values, default=None), 'skewness': skewness(values), 'interval': interval,
          **({'cut': cut} if cut else {}), **({'bootstrap_interval': resampled} if resampled else {})}


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
          'metric': describe([run['metric'] for run in runs if run['metric'] is not None], confidence, most=1.0),
          'seconds': seconds}


def aligned(lines) -> list[str]:
  """Rows of cells as lines of text: the first column to the left, the others to the right."""
  widths = [max(map(len, column)) for column in zip(*lines)]
  return ['  '.join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]) for line in lines]


def success(summary) -> str:
  """How many runs of a summary reached the target, with the interval of their share, as one line."""
  low, high = summary['success_rate']['interval']
  return (f'{summary["reached"]} of {counted(summary["n"], "run")} reached the target: '
          f'{100 * summary["success_rate"]["mean"]:.1f} % ({100 * summary["confidence"]:g} % interval '
          f'{100 * low:.1f} to {100 * high:.1f} %)')


def table(summary) -> str:
  """A summary as aligned ASCII text: one line on success, then one for the metric and for each clock's seconds."""
  def cell(value):
    return '-' if value is None else str(value) if isinstance(value, int) else f'{value:.{0 if value >= 1e4 else 4}f}'

  percent = f'{100 * summary["confidence"]:g} %'
  last = f'low, high: {percent} interval of the mean; expected: seconds until a success, failures included'
  lines = [('', 'n', 'mean', 'sd', 'median', 'min', 'max', 'low', 'high', 'olympic', 'expected')]
  rows = [('metric', summary['metric']), *((f'{clock} s', row) for clock, row in summary['seconds'].items())]
  for name, row in rows:
    cells = [row[key] for key in ('n', 'mean', 'sd', 'median', 'min', 'max')] + (row['interval'] or [None, None])
    lines.append((name, *map(cell, cells + [row.get('olympic_mean'), row.get('expected_seconds_to_success')])))
  skewed = [f'{name.removesuffix(" s")} {row["skewness"]:.1f}' for name, row in rows if doubtful(row)]
  doubt = [f'too skewed, intervals may be too short: {", ".join(skewed)}'] if skewed else []
  if cut := [f'{name.removesuffix(" s")} {end}' for name, row in rows for end in row.get('cut', ())]:
    doubt.append(f'too few runs, intervals are cut at what can be: {", ".join(cut)}')
  return '\n'.join([success(summary), *aligned(lines), last, *doubt])
