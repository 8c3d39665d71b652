"""MLPerf's reference convergence points: whether a set of runs converges suspiciously fast, and what its times become.

A submission to the closed division must not need fewer epochs than the reference would by more than chance; what it
needs less within chance is given back on its times. The rules are in training_policies (training_rules.adoc, "Reference
Convergence Points") and, where those are silent, what mlperf-logging 4.1.68 does (rcp_checker/rcp_checker.py): each
place is named below. Not built: benchmarks that drop more than one run at either end (unet3d), or count in samples.
"""
import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import statistics as standard
from pathlib import Path

from scoring.problem import Problem, counted

ALPHA = 0.05  # rcp_checker: RCP_Checker.alpha, one-sided


@dataclasses.dataclass(frozen=True)
class Point:
  """How fast the reference converges at one batch size.

  Attributes:
    batch_size: the global one.
    mean: of the epochs to the target, without the fastest and the slowest run.
    sd: of all of them, by n rather than n - 1 (numpy's default, which rcp_checker takes).
    n: how many runs the mean is of; twice the submission's where the point is interpolated (rcp_checker).
  """
  batch_size: int
  mean: float
  sd: float
  n: int

  def __post_init__(self):
    numbers = (self.batch_size, self.mean, self.sd, self.n)
    if not all(type(number) in (int, float) and abs(number) <= 1e9 for number in numbers) or (
        self.batch_size < 1 or self.mean <= 0 or self.sd < 0 or self.n < 2):
      raise Problem(f'{numbers!r:.80} is no reference convergence point: batch size, mean, spread and number of runs')

  def least(self, runs: int) -> float:
    """The smallest mean of `runs` runs, fastest and slowest left out, that a one-sided t test takes for chance.

    The submission is given the reference's spread, so that the pooled one is the same again (rcp_checker).
    """
    from scipy.special import stdtrit
    submitted = runs - 2
    return self.mean + float(stdtrit(self.n + submitted - 2, ALPHA)) * self.sd * math.sqrt(1 / self.n + 1 / submitted)


def point(batch_size: int, epochs) -> Point:
  """The point of reference runs that took `epochs` each, twice a submission's by the rules; to 9 digits after it."""
  epochs = sorted(epochs)
  if len(epochs) < 4:
    raise Problem(f'batch size {batch_size}: a reference convergence point needs at least 4 runs, not {len(epochs)}')
  return Point(batch_size, round(standard.fmean(epochs[1:-1]), 9), round(standard.pstdev(epochs), 9), len(epochs) - 2)


def load(path, benchmark: str) -> list[Point]:
  """The points of a benchmark in a file of mlperf-logging's format (rcps_resnet.json), by batch size.

  Raises:
    Problem: there is none, a batch size comes twice, or the file is of another benchmark.
  """
  try:
    rows = list(json.loads(Path(path).read_text(encoding='utf-8')).values())
    other = {str(row['Benchmark']) for row in rows} - {benchmark}
    found = sorted((point(row['BS'], row['Epochs to converge']) for row in rows), key=lambda p: p.batch_size)
  except Problem as problem:
    raise Problem(f'{path}: {problem}') from None
  except OSError as error:
    raise Problem(f'{path}: cannot read the reference convergence points ({error.strerror})') from None
  except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
    raise Problem(f'{path}: not a file of reference convergence points; each needs Benchmark, BS and Epochs to '
                  'converge') from None
  if other or not found:
    raise Problem(f'{path}: holds no reference convergence point' + (
        f' of {benchmark} alone, but of {", ".join(sorted(other))}' if other else ''))
  if len({p.batch_size for p in found}) < len(found):
    raise Problem(f'{path}: holds two reference convergence points of one batch size; leave one')
  return found


def reference(path, benchmark: str, ruleset: str) -> dict | None:
  """Points to judge by, as a submission keeps them: JSON-able `source` and `points`.

  Without a path they are MLCommons' own, of an installed mlperf-logging; None where it, or they, are not there.
  """
  if path:
    source, file = Path(path).name, path
  else:
    spec = importlib.util.find_spec('mlperf_logging')
    if not spec or not spec.origin:
      return None
    file = Path(spec.origin).parent / 'rcp_checker' / f'training_{ruleset}' / f'rcps_{benchmark}.json'
    source = f'mlperf-logging {importlib.metadata.version("mlperf-logging")}, training_{ruleset}/{file.name}'
  return {'source': source, 'points': [dataclasses.asdict(point) for point in load(file, benchmark)]}


def points_of(given: dict) -> list[Point]:
  """The points that a submission keeps; raises Problem where they are none."""
  try:
    found = [Point(**row) for row in given['points']]
    if set(given) != {'source', 'points'} or not isinstance(given['source'], str) or not found or (
        len({p.batch_size for p in found}) < len(found)):
      raise ValueError
  except (ValueError, TypeError, KeyError):
    raise Problem('must be null, or the source and points as launchers.score --submission writes them') from None
  return found


def interpolate(batch_size: int, low: Point, high: Point, runs: int) -> Point:
  """The point at a batch size between those of two others, on the straight line, in mean and spread."""
  share = (batch_size - low.batch_size) / (high.batch_size - low.batch_size)
  return Point(batch_size, low.mean + share * (high.mean - low.mean), low.sd + share * (high.sd - low.sd), 2 * runs)


def prune(points: list[Point]) -> list[Point]:
  """The points that are used: none below the batch size that converges fastest, none slower than its neighbours' line.

  One pass from small to large, which looks at a point again when its right neighbour has gone, but not at the one
  before it (rcp_checker, which says that it is not the convex envelope).
  """
  ordered = sorted(points, key=lambda p: p.batch_size)
  fastest = min(ordered, key=lambda p: p.mean)
  kept = [p for p in ordered if p.batch_size >= fastest.batch_size]
  i = 1
  while i < len(kept) - 1:
    if kept[i].mean > interpolate(kept[i].batch_size, kept[i - 1], kept[i + 1], 1).mean:
      del kept[i]
    else:
      i += 1
  return kept


def normalize(epochs, batch_size: int, points: list[Point]) -> dict:
  """Judges the epochs that a submission's runs took to the target, and the factor on its times.

  Args:
    epochs: one a run, math.inf for the one that may have failed; at least 3.
    batch_size: the global one.
    points: of the reference; pruned here.

  Returns:
    JSON-able dict: `passes`, `factor` on the times (1.0, or above where the runs converged faster), `mean` of the
    submission, `reference` and `least` epochs (None where there is no point), and `how` the point was found: 'found',
    'interpolated', 'smallest' (a batch smaller than any point's, which is held to the smallest) or 'missing'.

  Raises:
    Problem: fewer than 3 runs, more than one failed, or no points.
  """
  epochs = sorted(epochs)
  if len(epochs) < 3 or math.isinf(epochs[-2]) or not points:
    raise Problem(f'{counted(len(epochs), "run")} against {counted(len(points), "reference convergence point")}: needs '
                  'at least 3 runs, of which at most one failed, and at least one point')
  mean, kept = standard.fmean(epochs[1:-1]), prune(points)
  low = max((p for p in kept if p.batch_size <= batch_size), key=lambda p: p.batch_size, default=None)
  high = min((p for p in kept if p.batch_size >= batch_size), key=lambda p: p.batch_size, default=None)
  if high is None:  # the submitter has to make the point: twice as many runs of the reference
    return {'passes': False, 'factor': 1.0, 'mean': mean, 'reference': None, 'least': None, 'how': 'missing'}
  how = 'smallest' if low is None else 'found' if low == high else 'interpolated'
  used = interpolate(batch_size, low, high, len(epochs)) if how == 'interpolated' else high
  least = used.least(len(epochs))
  return {'passes': mean >= least, 'factor': max(1.0, used.mean / mean), 'mean': mean, 'reference': used.mean,
          'least': least, 'how': how}
