"""The runs of a set as a package in MLPerf Training's layout, for MLCommons' own package checker under ruleset 4.0.0.

Layout, number of runs and the fields of a system description are those of mlcommons/policies (submission_rules.adoc)
and of mlperf-logging 4.1.68 (package_checker, system_desc_checker). ResNet's last round was 4.0: nothing can be
submitted any more, and every file says that it is no official result. The checker exits with 0 whatever it finds; its
verdict is the line that ends in SUCCESS. The closed division is judged by reference convergence points; the
`scaling.json` that the checker writes beside the logs is the review's to add, and so no package has one.
"""
import json
import math
import re
import shlex
import statistics as standard

from scoring import audit_header, clocks, convergence, mlperf, record, statistics
from scoring.problem import Problem, counted

RULESET = '4.0.0'
# ours -> (MLPerf's, how many runs a result is: benchmark_meta.py, its target: training_rules.adoc)
BENCHMARKS = {'imagenet': ('resnet', 5, {'metric': 'accuracy', 'value': 0.759, 'num_examples': 50_000})}
IMPLEMENTATION = 'daybreak_jax'
STATUS = {'cloud': 'Available cloud', 'onprem': 'Available on-premise', 'preview': 'Preview',
          'research': 'Research, Development, or Internal (RDI)'}
FIELDS = """
submitter division status system_name number_of_nodes host_processors_per_node host_processor_model_name
host_processor_core_count host_processor_vcpu_count host_processor_frequency host_processor_caches
host_processor_interconnect host_memory_capacity host_storage_type host_storage_capacity host_networking
host_networking_topology host_memory_configuration accelerators_per_node accelerator_model_name
accelerator_host_interconnect accelerator_frequency accelerator_on-chip_memories accelerator_memory_configuration
accelerator_memory_capacity accelerator_interconnect accelerator_interconnect_topology cooling hw_notes framework
other_software_stack operating_system sw_notes""".split()
SCRIPT = '#!/usr/bin/env bash\n# {notice}\nset -euo pipefail\n'


def slug(text: str) -> str:
  """`text` as the name of a file or folder."""
  return re.sub('[^A-Za-z0-9.]+', '-', text).strip('-.') or 'unknown'


def window(runs: list, count: int) -> list:
  """Of the runs in order the `count` consecutive ones whose olympic score is the median, failed ones infinite.

  The rule of training_rules.adoc, "Scoring", for more runs than a result takes; of two in the middle the slower.
  """
  windows = [runs[at:at + count] for at in range(len(runs) - count + 1)]
  scores = []
  for some in windows:
    times = [clocks.seconds(events, clocks.MLPERF) if events else None for _, events in some]
    good = [t for t in times if t is not None]
    score = statistics.olympic_mean(good, len(times) - len(good))
    scores.append(float('inf') if score is None else score)
  middle = standard.median_high(scores)
  if middle == float('inf'):
    raise Problem(f'the median of all windows of {count} runs has more than one that missed the target: no result')
  return windows[scores.index(middle)]


def _known(first: dict) -> dict[str, str]:
  """The fields of a system description that a tape knows."""
  hardware, submitter = first['hardware'], first['submitter']
  nodes = hardware['process_count']
  accelerated = hardware['platform'] != 'cpu'
  return {
      'submitter': submitter['organization'], 'division': first['division'], 'status': STATUS[submitter['status']],
      'number_of_nodes': str(nodes), 'host_processor_model_name': hardware['host'],
      'accelerators_per_node': str(hardware['device_count'] // nodes if accelerated else 0),
      'accelerator_model_name': hardware['device_kind'] if accelerated else '',
      'framework': f'JAX {first["versions"]["jax"]}',
      'other_software_stack': ', '.join(f'{name} {version}' for name, version in first['versions'].items())}


def check_system(first: dict, given: dict):
  """Raises Problem where what the submitter says is no field of a system description, or contradicts the tape."""
  unknown = sorted(set(given) - set(FIELDS))
  if unknown:
    raise Problem(f'{", ".join(unknown)}: MLPerf\'s system description has no such field; it has {", ".join(FIELDS)}')
  known = _known(first)
  if first['hardware']['process_count'] > 1:  # processes are not always nodes
    known = {name: value for name, value in known.items() if name not in ('number_of_nodes', 'accelerators_per_node')}
  for name, value in given.items():
    if not isinstance(value, str):
      raise Problem(f'{name} is {value!r:.40}; every field is a string')
    if value != known.get(name, value):
      raise Problem(f'{name} is {value!r:.60}, but the tapes say {known[name]!r}; leave it out')


def system(first: dict, given: dict) -> dict:
  """The system description: what the submitter says, checked by `check_system`, and what the tape knows."""
  hardware = first['hardware']
  name = first['submitter']['hardware'] or f'{hardware["device_count"]}x{hardware["device_kind"]}'
  described = {**dict.fromkeys(FIELDS, ''), 'system_name': name, **_known(first), **given}
  notes = (described['sw_notes'], 'A fixture: made up, nothing was trained.' if first.get('fixture') else '')
  return {**described, 'sw_notes': ' '.join(filter(None, (*notes, record.NOTICE)))}


def _unjudged(first: dict) -> str | None:
  """Why MLPerf has no reference convergence points for some runs; None where it has."""
  if first['division'] == 'closed' and first['target'] == BENCHMARKS.get(first['benchmark'], [None])[-1]:
    return None
  asked, given = (', '.join(f'{name} to {target["metric"]} {target["value"]}' for name, target in some) for some in (
      [(name, target) for name, (*_, target) in BENCHMARKS.items()], [(first['benchmark'], first['target'])]))
  return (f'only runs of {asked} in the closed division are judged by reference convergence points, and these are '
          f'{given} in the {first["division"]} division')


def reference(first: dict, path: str | None = None) -> dict | None:
  """The points that some runs are judged by, of a file or MLCommons' own (convergence.reference), None without any.

  Raises:
    Problem: `path` is no file of them, or MLPerf has none for these runs.
  """
  if (reason := _unjudged(first)) and path:
    raise Problem(f'--reference_points={path}: {reason}; leave it out')
  return None if reason else convergence.reference(path, BENCHMARKS[first['benchmark']][0], RULESET)


def check_points(first: dict, given: dict | None):
  """Raises Problem where the points that a submission keeps are none, or its runs are judged by none or by others."""
  if given is not None:
    if reason := _unjudged(first):
      raise Problem(f'must be null: {reason}')
    convergence.points_of(given)
    own = reference(first) or given
    if own['points'] != given['points'] and any(p['batch_size'] >= first['batch_size'] for p in own['points']):
      raise Problem(f'are not those of {own["source"]}, which judge this batch size; leave --reference_points out')


def result(runs: list) -> list:
  """The runs that a result of MLPerf's benchmark is made of; raises Problem where they make none."""
  first = next(events[0] for _, events in runs if events)
  if first['benchmark'] not in BENCHMARKS:
    raise Problem(f'MLPerf Training has no benchmark {first["benchmark"]}: only {", ".join(BENCHMARKS)} is packed')
  benchmark, count, target = BENCHMARKS[first['benchmark']]
  if len(runs) < count:
    raise Problem(f'a result of {benchmark} is {counted(count, "run")}, and these are {len(runs)}')
  if first['target'] != target:
    raise Problem(f'a result of {benchmark} is to {target}, and these runs are to {first["target"]}')
  return window(runs, count)


def judge(chosen: list, given: dict | None) -> dict | None:
  """How fast the runs of a result converge beside the reference; None in the open division, which is not judged.

  Args:
    chosen: of `result`.
    given: points, of `reference`.

  Returns:
    That of `convergence.normalize`, with `epochs` of each run, None where it failed, rounded as rcp_checker does,
    `batch_size`, and `minutes`, the score before the factor.

  Raises:
    Problem: there are no points.
  """
  first = next(events[0] for _, events in chosen if events)
  if first['division'] != 'closed':
    return None
  if given is None:
    raise Problem("the closed division is judged by MLCommons' reference points: pip install -e '.[mlperf]'")
  hits = [clocks.reached(events) if events else None for _, events in chosen]
  epochs = [round(hit['epoch'], 3) if hit else None for hit in hits]
  times = [clocks.seconds(events, clocks.MLPERF) for (_, events), hit in zip(chosen, hits) if hit]
  made = convergence.normalize([math.inf if epoch is None else epoch for epoch in epochs], first['batch_size'],
                               convergence.points_of(given))
  return {**made, 'epochs': epochs, 'batch_size': first['batch_size'], 'source': given['source'],
          'minutes': statistics.olympic_mean(times, len(epochs) - len(times)) / 60}


HOW = {'found': '', 'interpolated': ', interpolated', 'smallest': ', at its smallest batch'}


def told(judged: dict | None) -> list[str]:
  """What `judge` found, as lines for people."""
  if judged is None:
    return ['convergence: the open division is not judged by it']
  epochs = ', '.join('failed' if epoch is None else f'{epoch:g}' for epoch in judged['epochs'])
  lines = [f'epochs to the target: {epochs}; {judged["mean"]:.3f} on average without the fastest and the slowest']
  at = f'at batch size {judged["batch_size"]:,}'
  if judged['how'] == 'missing':
    return [*lines, f'reference: none {at} or larger in {judged["source"]}: make one of twice as many runs of the '
            'reference, and name it with --reference_points']
  lines.append(f'reference: {judged["reference"]:.3f} {at}{HOW[judged["how"]]} ({judged["source"]}); fewer than '
               f'{judged["least"]:.3f} are too few: {"passes" if judged["passes"] else "FAILS"}')
  if judged['passes']:
    lines.append(f'score: {judged["minutes"]:.3f} minutes x {judged["factor"]:.4f} = '
                 f'{judged["minutes"] * judged["factor"]:.3f} minutes')
  return lines


def files(runs: list, given: dict, points: dict | None) -> dict[str, str]:
  """Path -> text of the package of some runs, (name, events) each, in order.

  Args:
    given: fields of the system description that the submitter gave.
    points: reference convergence points, of `reference`.

  Raises:
    Problem: why there is no such package of these runs.
  """
  first = next(events[0] for _, events in runs if events)
  chosen = result(runs)
  benchmark, judged = BENCHMARKS[first['benchmark']][0], judge(chosen, points)
  if judged and not judged['passes']:
    raise Problem(f'the package checker would refuse these runs of {benchmark}: {"; ".join(told(judged))}')
  described = system(first, given)
  organisation, name = slug(described['submitter']), slug(described['system_name'])
  home = f'{organisation}/benchmarks/{benchmark}'
  at, code = f'{home}/{name}', f'{home}/implementations/{IMPLEMENTATION}'
  made = {f'{organisation}/systems/{name}.json': json.dumps(described, indent=1) + '\n'}
  for number, (_, events) in enumerate(chosen):
    made[f'{organisation}/results/{name}/{benchmark}/result_{number}.txt'] = mlperf.text(events)
  script = SCRIPT.format(notice=record.NOTICE)
  made |= {
      f'{code}/README.md': _implementation(first),
      f'{at}/{name}_{IMPLEMENTATION}.json': json.dumps(
          {'notice': record.NOTICE, 'implementation': IMPLEMENTATION, 'git_commit': first['git_commit'],
           'config': audit_header.parse_config(first['config']), 'hyperparameters': first['hyperparameters']},
          indent=1) + '\n',
      f'{at}/README.md': _readme(chosen, runs, benchmark, judged),
      f'{at}/setup.sh': script + _setup(first),
      f'{at}/init_datasets.sh': script + 'references/resnet_imagenet/download_dataset.sh "$@"\n'
                                         'references/resnet_imagenet/verify_dataset.sh\n',
      f'{at}/run_and_time.sh': script + _command(first)}
  return made


def _implementation(first: dict) -> str:
  return (f'# Daybreak\n\n{record.NOTICE}\n\nThe code is that of commit `{first["git_commit"]}` of the repository that '
          'this package was made in: `references/resnet_imagenet`, and what it imports.\n')


def _readme(chosen: list, runs: list, benchmark: str, judged: dict | None) -> str:
  first = next(events[0] for _, events in chosen if events)
  made_up = '**A fixture: these runs were made up to test the packaging; nothing was trained.**\n\n'
  lines = [f'| `result_{n}.txt` | `{name}` | {events[0]["seed"] if events else "failed"} |'
           for n, (name, events) in enumerate(chosen)]
  return (f'# {benchmark}, {counted(len(chosen), "run")} of {len(runs)}\n\n{record.NOTICE}\n\n'
          f'{made_up if first.get("fixture") else ""}'
          'Of more runs the consecutive ones with the median score are taken (training_rules.adoc, "Scoring").\n\n'
          '| log | run | seed |\n|---|---|---|\n' + '\n'.join(lines) + '\n\n'
          + ''.join(f'- {line}\n' for line in told(judged)) + '\n'
          f'`setup.sh`, `init_datasets.sh` and `run_and_time.sh` begin in a checkout of commit '
          f'`{first["git_commit"]}`.\n')


def _setup(first: dict) -> str:
  packages = [f'{name}=={version}' for name, version in first['versions'].items()
              if name not in ('python', 'daybreak') and version != 'not installed']
  return f"pip install -e '.[data]' {' '.join(map(shlex.quote, packages))}\n"


def _command(first: dict) -> str:
  """The command of a run of its own, into a workdir that the caller names."""
  words = [w for w in audit_header.words(first['command'])
           if not w.startswith(('--workdir=', '--runs=', '--data_dir=', '--checkpoint_dir=', '--config.seed='))]
  return ('python -m launchers.train ' + ' '.join(map(shlex.quote, words))
          + ' --workdir="${WORKDIR:?name a folder}" --config.seed="${SEED:?name a seed}" "$@"\n')
