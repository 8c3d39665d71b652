"""What each benchmark is asked at inference: MLPerf's scenarios, their limits and minima, and the rounds' seeds.

Figures are those of MLPerf Inference v6.1 (mlcommons/inference at b66003e1: loadgen/mlperf.conf, the constants of its
submission checker; mlcommons/inference_policies, inference_rules.adoc). Only ResNet on ImageNet and BERT on SQuAD were
ever benchmarks of it; everything else is asked in the same way, under a name of its own. What is trained here is no
reference weight, so that all of it belongs to the Open division, which takes any mix of scenarios: ResNet-50 was last
asked as a server in v5.0 (15 ms), BERT in v4.1 (130 ms).
"""
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from scoring.problem import Problem

SCENARIOS = ('single_stream', 'multi_stream', 'server', 'offline')
MIN_DURATION_MS = 600_000
ROUND = 'v6.1'


class Round(NamedTuple):
  """A round's seeds, and the versions of mlcommons-loadgen on PyPI that carry them."""
  wheels: tuple[str, ...]
  qsl_rng_seed: int
  sample_index_rng_seed: int
  schedule_rng_seed: int

  @property
  def seeds(self) -> dict[str, int]:
    """The three seeds by the names that LoadGen's settings and logs give them."""
    return {name: getattr(self, name) for name in ('qsl_rng_seed', 'sample_index_rng_seed', 'schedule_rng_seed')}


# Read out of each of these wheels, through TestSettings.FromConfig, on 2026-11-25; a wheel's number is not its round's.
ROUNDS = {
    'v4.1': Round(('4.1.30', '5.0.5'), 3066443479025735752, 10688027786191513374, 14962580496156340209),
    'v5.0': Round(('5.0.15', '5.0.20'), 6023615788873153749, 15036839855038426416, 9933818062894767841),
    'v5.1': Round(('5.0.25', '5.1.2', '6.0.3'), 1780908523862526354, 14771362308971278857, 18209322760996052031),
    'v6.0': Round(('6.0.14', '6.0.15'), 2465351861681999779, 14276810075590677512, 3936089224930324775),
    'v6.1': Round(('6.0.16', '6.0.17'), 2085463073848966840, 2747215439041700203, 16159082839903944936),
}


@dataclass(frozen=True)
class Scenario:
  """How queries come, and what a run of them must reach.

  Attributes:
    name: ours; `loadgen`: LoadGen's, which is also the name of its folder in a submission.
    latency_limit_ms: what the percentile must stay below; None where latency is the result, or does not count.
    percentile: of the latencies, that is the result or is limited; None offline.
    samples_per_query: None offline, where LoadGen sizes the one query.
    min_samples: the fewest in offline's query; 1 elsewhere.
    min_queries: the fewest that a run is valid with: LoadGen's minimum or, where it asks more, early stopping's.
  """
  name: str
  loadgen: str
  latency_limit_ms: float | None
  percentile: int | None
  samples_per_query: int | None
  min_samples: int
  min_queries: int


@dataclass(frozen=True)
class Rules:
  """What one benchmark is asked.

  Attributes:
    benchmark, model_name: the tape's.
    model: the key of LoadGen's configuration; one that it does not know for what never was a benchmark.
    directory: the benchmark's folder in a submission.
    official: it was a benchmark of MLPerf Inference.
    round: whose seeds are used, a key of ROUNDS.
    performance_sample_count: how many samples are held in memory, at most: a smaller data set is held whole.
    metric: the tape's; `quality_targets`: MLPerf's (official) or DAWNBench's, as fractions, by the name of the target.
    scenarios: what is asked, by our name.
  """
  benchmark: str
  model_name: str
  model: str
  directory: str
  official: bool
  round: str
  performance_sample_count: int
  metric: str
  quality_targets: Mapping[str, float]
  scenarios: Mapping[str, Scenario]

  def scenario(self, name: str) -> Scenario:
    """The scenario of that name; raises Problem where this benchmark is not asked it."""
    if name not in self.scenarios:
      raise Problem(f'{self.benchmark} ({self.model_name}) is not asked {name!r}: its scenarios are '
                    f'{", ".join(self.scenarios)}')
    return self.scenarios[name]


def _table(names: tuple, server_ms: float, offline_samples: int) -> dict[str, Scenario]:
  rows = {
      'single_stream': Scenario('single_stream', 'SingleStream', None, 90, 1, 1, 100),
      'multi_stream': Scenario('multi_stream', 'MultiStream', None, 99, 8, 1, 662),
      # with nothing above the limit, early stopping needs 662 queries to be sure of a 99th percentile
      'server': Scenario('server', 'Server', server_ms, 99, 1, 1, 662),
      'offline': Scenario('offline', 'Offline', None, None, None, offline_samples, 1),
  }
  return {name: rows[name] for name in SCENARIOS if name in names}


def rules(benchmark: str, model_name: str) -> Rules:
  """What a model is asked, by its tape's `benchmark` and `model`; other names than SQuAD are taken as photographs."""
  if benchmark == 'squad':
    bert = model_name.startswith('BERT')
    return Rules(benchmark, model_name, 'bert' if bert else 'daybreak-squad', 'bert-99' if bert else 'squad', bert,
                 ROUND, 10_833 if bert else 10_570, 'f1',
                 {'bert-99': 0.99 * 0.90874, 'bert-99.9': 0.999 * 0.90874} if bert else {'dawnbench': 0.75},
                 _table(('single_stream', 'server', 'offline'), 130.0, 10_833 if bert else 10_570))
  official = benchmark == 'imagenet' and model_name.startswith('ResNet')
  name = re.sub('[^A-Za-z0-9]+', '-', benchmark).strip('-').lower() or 'images'  # a dot ends a model's key
  targets = {'resnet50': 0.99 * 0.7646} if official else {'dawnbench': 0.94} if benchmark == 'cifar10' else {}
  return Rules(benchmark, model_name, 'resnet50' if official else f'daybreak-{name}', 'resnet50' if official else name,
               official, ROUND, 1024, 'accuracy', targets, _table(SCENARIOS, 15.0, 24_576))
