"""How often intervals of a mean hold it where values are skewed, by simulation: Student's t and the bootstrap.

  python -m benchmarks.coverage [--experiments=2000] [--sizes=5,10,25,50,100]

Both promise 95 %; of 2,000 experiments 93 % is four standard errors short of it. Prints a Markdown table, of which a
cell is the coverage of t, that of the bootstrap where it is offered, and in brackets how many of the samples are called
too skewed for their number (statistics.doubtful), all in %; and one line of JSON. Eight minutes of one core.
"""
import json
import math
import random

from absl import flags

from launchers import command
from scoring import statistics

FLAGS = flags.FLAGS


def lognormal(sigma: float):
  """(name, mean, skewness, draw) of exp(sigma x), x being standard normal: a slow tail."""
  w = math.exp(sigma ** 2)
  return (f'lognormal, sigma {sigma:g}', math.sqrt(w), (w + 2) * math.sqrt(w - 1),
          lambda source: source.lognormvariate(0.0, sigma))


def gamma(skewness: float):
  """The same of a gamma distribution; of skewness 2 it is the exponential one."""
  shape = 4 / skewness ** 2
  return f'gamma, skewness {skewness:g}', shape, skewness, lambda source: source.gammavariate(shape, 1.0)


def outliers(share: float, sd: float = 0.05, times: float = 2.0):
  """Normal times, a share of which takes longer by a factor: a cold cache, a neighbour on the machine."""
  mean = 1 + share * (times - 1)
  variance = sd ** 2 * (1 - share + share * times ** 2) + share * (1 - share) * (times - 1) ** 2
  third = share * ((times - mean) ** 3 + 3 * (times - mean) * (times * sd) ** 2) + (
      1 - share) * ((1 - mean) ** 3 + 3 * (1 - mean) * sd ** 2)
  return (f'{100 * share:g} % take twice as long', mean, third / variance ** 1.5,
          lambda source: source.gauss(1.0, sd) * (times if source.random() < share else 1.0))


POPULATIONS = [('normal', 100.0, 0.0, lambda source: source.gauss(100.0, 15.0)),
               *map(lognormal, (0.25, 0.5, 0.75, 1.0)), *map(gamma, (1.0, 2.0, 4.0)),
               *map(outliers, (0.3, 0.1, 0.05))]


def simulate(population, n: int, experiments: int, seed: int = 7) -> dict:
  """Shares of experiments whose intervals hold the mean, by t and by bootstrap (None where it is not offered).

  `doubted`: the share of samples that are called too skewed.
  """
  name, mean, skewness, draw = population
  source, held, doubted = random.Random(seed), {'interval': 0, 'bootstrap_interval': 0}, 0
  for _ in range(experiments):
    told = statistics.describe([draw(source) for _ in range(n)])
    doubted += statistics.doubtful(told)
    for key in held:
      held[key] += key in told and told[key][0] <= mean <= told[key][1]
  return {'values': name, 'skewness': round(skewness, 2), 'n': n, 't': held['interval'] / experiments,
          'bootstrap': held['bootstrap_interval'] / experiments if n in statistics.BOOTSTRAPPED else None,
          'doubted': doubted / experiments}


def cell(row: dict) -> str:
  shares = [row['t'], *([] if row['bootstrap'] is None else [row['bootstrap']])]
  return f'{" / ".join(f"{100 * share:.1f}" for share in shares)} ({100 * row["doubted"]:.0f})'


def main() -> int:
  found, sizes = [], list(map(int, FLAGS.sizes))
  print('| values | skewness | ' + ' | '.join(f'{n} values' for n in sizes) + ' |\n' + '|---' * (len(sizes) + 2) + '|')
  for population in POPULATIONS:
    rows = [simulate(population, n, FLAGS.experiments) for n in sizes]
    found += rows
    print(f'| {population[0]} | {population[2]:.2f} | {" | ".join(map(cell, rows))} |', flush=True)
  print(json.dumps({'benchmark': 'coverage', 'experiments': FLAGS.experiments, 'rows': found}))
  return 0


if __name__ == '__main__':
  flags.DEFINE_integer('experiments', 2000, 'of each kind', lower_bound=20)
  flags.DEFINE_list('sizes', ['5', '10', '25', '50', '100'], 'numbers of values')
  flags.register_validator('sizes', lambda given: all(n.isdecimal() and int(n) > 1 for n in given),
                           'must be numbers above 1: an interval takes two values')
  command.script(main, __doc__)
