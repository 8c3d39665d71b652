"""How many runs a claim takes: on how often the target is reached, or on how much faster one side is than the other."""
import math

from scoring.problem import Problem
from scoring.statistics import aligned, binomial_interval, success

MOST_RUNS = 100_000  # where searching for a number of runs gives up
LEAST_RATES = (0.8, 0.9, 0.95, 0.99)
HALF_WIDTHS = (0.1, 0.05, 0.02, 0.01)
EFFECTS = (0.01, 0.02, 0.03, 0.05, 0.1)  # shares of the mean


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


def _cell(needed: int | None, enough: bool) -> str:
  return f'>{MOST_RUNS} ' if needed is None else f'{needed}{"*" if enough else " "}'


def _faster(row: dict, confidence: float) -> list[str]:
  """For one clock the runs a side that each of EFFECTS takes, and the spread as a share of the mean."""
  share = row['sd'] / row['mean'] if row['sd'] and row['mean'] else 0.0
  if share < 1e-9:  # one run, or times that do not vary, as measured ones would
    return ['- '] * len(EFFECTS) + ['-']
  needed = [runs_needed_for_difference(effect, share, share, confidence=confidence) for effect in EFFECTS]
  return [_cell(runs, runs is not None and runs <= row['n']) for runs in needed] + [f'{100 * share:.1f} %']


def table(summary: dict) -> str:
  """How many runs it takes to claim this and that of a set, from its summary, as aligned ASCII text.

  Success rates: runs, if as many of them reach the target. Seconds by each clock: runs a side that show a difference
  four times in five, if the other side spreads alike. A star marks what the set has runs enough for.
  """
  rate, confidence = summary['success_rate']['mean'], summary['confidence']
  low, high = summary['success_rate']['interval']
  least = ['- ' if claim >= rate else _cell(runs_needed_for_rate(rate, lower=claim, confidence=confidence),
                                            low >= claim) for claim in LEAST_RATES]
  within = [_cell(runs_needed_for_rate(rate, half_width=claim, confidence=confidence), high - low <= 2 * claim)
            for claim in HALF_WIDTHS]
  percents = lambda claims: [f'{100 * claim:g} % ' for claim in claims]
  return '\n'.join(line.rstrip() for line in [
      success(summary), '',
      *aligned([('at least', *percents(LEAST_RATES)), ('runs', *least)]), '',
      *aligned([('within +-', *percents(HALF_WIDTHS)), ('runs', *within)]), '',
      *aligned([('faster by', *percents(EFFECTS), 'sd'),
                *((f'{clock} s', *_faster(row, confidence)) for clock, row in summary['seconds'].items())]), '',
      '*: these runs are enough; success rates: runs it takes if as many of them reach the target; faster: runs a side',
      f'that reach it and show the difference four times in five, by a two-sided t test at {100 * confidence:g} %, if '
      'both spread so'])
