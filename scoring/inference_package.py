"""Inference runs as a tree in the layout of MLPerf Inference v6.1's Open division, to be read and checked by anybody.

What is trained here is nobody's reference weights, and no tree made here was submitted: each says that it is not
verified. Layout and the keys of the system's description are those that the submission checker of v6.1 asks for
(mlcommons/inference at b66003e1: tools/submission/submission_checker/constants.py). It knows `resnet50` and `bert-99`
only; of other benchmarks the tree has the same form, for people to read.
"""
import json
import math
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from scoring import accuracy_log, loadgen_log
from scoring.accuracy_log import UNVERIFIED
from scoring.problem import Problem
from scoring.record import text as _json
from scoring.record import write_text
from scoring.scenarios import MIN_DURATION_MS, Rules, Scenario, rules

UNKNOWN = 'not recorded'
NEEDED = ('benchmark', 'model', 'scenario', 'mode', 'round', 'num_samples', 'hardware', 'versions', 'precision',
          'input_dtype', 'transformations', 'checkpoint', 'tricks', 'submitter', 'git_commit', 'git_dirty', 'command',
          'batch_sizes', 'xla_flags', 'config')
ONE_RUN = ('scenario', 'mode', 'command')  # all else is the same in both modes
BY_HAND = ('host_processors_per_node', 'host_memory_capacity', 'host_storage_capacity', 'host_storage_type',
           'host_processor_frequency', 'host_processor_caches', 'host_memory_configuration',
           'host_processor_interconnect', 'host_networking', 'host_networking_topology', 'host_network_card_count',
           'accelerator_memory_capacity', 'accelerator_frequency', 'accelerator_host_interconnect',
           'accelerator_interconnect', 'accelerator_interconnect_topology', 'accelerator_memory_configuration',
           'accelerator_on-chip_memories', 'cooling', 'operating_system', 'hw_notes', 'system_type_detail')


def user_conf(asked: Rules, scenario: Scenario, *, target_latency_ms: float | None = None,
              target_qps: float | None = None, min_duration_ms: int = MIN_DURATION_MS,
              min_query_count: int | None = None, performance_sample_count: int | None = None,
              whole_set: int | None = None) -> str:
  """The text of a run's user.conf, which LoadGen takes over its own configuration, shorter durations too.

  Args:
    target_latency_ms: what a query of single_stream or multi_stream is expected to take, or less: LoadGen makes so
      many queries in advance, and a run that uses them up is invalid. The server's limit is the scenario's.
    target_qps: the server's rate; offline, the rate that is expected, or more.
    min_query_count: the default is the scenario's minimum: of queries or, offline, of samples.
    performance_sample_count: how many samples are held; LoadGen's own count where it is None.
    whole_set: the number of samples of the data set, to issue each once and no more, as DAWNBench does.

  Raises:
    Problem: a target that the scenario does not take, lacks, or that is not positive.
  """
  streams = scenario.name in ('single_stream', 'multi_stream')
  for name, value, wanted in (('target_latency_ms', target_latency_ms, streams),
                              ('target_qps', target_qps, not streams)):
    if (value is not None) != wanted:
      raise Problem(f'{name}={value}: {scenario.name} {"needs one" if wanted else "takes none"}')
    if wanted and not 0 < value < math.inf:
      raise Problem(f'{name}={value}: must be positive')
  values = {'target_latency': target_latency_ms if streams else scenario.latency_limit_ms, 'target_qps': target_qps,
            'min_duration': min_duration_ms,
            'min_query_count': scenario.min_queries if scenario.samples_per_query else scenario.min_samples,
            'performance_sample_count_override': performance_sample_count}
  if min_query_count is not None:
    values['min_query_count'] = min_query_count
  if whole_set is not None:
    values |= {'min_duration': 0, 'min_query_count': whole_set, 'max_query_count': whole_set,
               'performance_sample_count_override': whole_set, 'performance_issue_unique': 1}
  lines = [f'{asked.model}.{scenario.loadgen}.{key} = {value:.12g}' for key, value in values.items()
           if value is not None]
  return f'# {UNVERIFIED}\n' + '\n'.join(lines) + '\n'


def _record(folder: Path) -> dict:
  path = folder / 'record.json'
  try:
    record = json.loads(path.read_text(encoding='utf-8'))
    missing = [key for key in NEEDED if key not in record]
  except (OSError, ValueError, TypeError) as error:
    reason = getattr(error, 'strerror', None) or 'not JSON'
    raise Problem(f'{path}: cannot read the record ({reason}); name the folder of a run of launchers.infer') from None
  if record.get('mode') not in loadgen_log.MODES:
    raise Problem(f'{path}: is of mode {record.get("mode")}; an entry is of {" and ".join(loadgen_log.MODES)}')
  if missing:
    raise Problem(f'{path}: has no {", ".join(missing)}; name the folder of a run of launchers.infer')
  return record


def _pairs(folders: Iterable) -> dict[tuple[str, str], dict]:
  """{(its folder's benchmark, and scenario): {mode: (folder, record)}}; raises Problem where a run does not stand."""
  pairs = {}
  for folder in map(Path, folders):
    record = _record(folder)
    asked = rules(record['benchmark'], record['model'])
    scenario = asked.scenario(record['scenario'])
    found = loadgen_log.faults(folder, mode=record['mode'], rules=asked, scenario=scenario,
                               num_samples=record['num_samples'])
    if found:
      raise Problem(f'{folder}: the run does not stand: {"; ".join(found)}')
    modes = pairs.setdefault((asked.directory, scenario.loadgen), {})
    if record['mode'] in modes:
      raise Problem(f'{folder}: {modes[record["mode"]][0]} is the same scenario and mode; give one of them')
    modes[record['mode']] = folder, record
  if not pairs:
    raise Problem('there is no run to write; run launchers.infer in both modes first')
  for (directory, scenario), modes in pairs.items():
    if lacks := set(loadgen_log.MODES) - set(modes):
      raise Problem(f'{directory} {scenario} has no run in {"".join(lacks)} mode; run launchers.infer in both modes')
  return pairs


def _same(pairs: dict):
  """Raises Problem where the two modes of a scenario, or the machines of all, are not the same."""
  first = next(iter(pairs.values()))['performance'][1]
  for (directory, scenario), modes in pairs.items():
    (_, fast), (folder, exact) = modes['performance'], modes['accuracy']
    differ = [key for key in NEEDED if key not in ONE_RUN and fast[key] != exact[key]]
    differ += [key for key in ('hardware', 'submitter', 'round') if fast[key] != first[key]]
    if differ:
      raise Problem(f'{folder}: {", ".join(dict.fromkeys(differ))} differ between the runs of {directory} {scenario}, '
                    'or from the first; an entry is of one model on one machine')


def system_description(record: dict, details: Mapping[str, str], notes: str) -> dict:
  """The 35 keys about the system and a note; `details` fill or replace any of them, the rest is `not recorded`.

  Raises:
    Problem: a detail is none of the keys, or is empty.
  """
  hardware, submitter, cpu = record['hardware'], record['submitter'], record['hardware']['platform'] == 'cpu'
  nodes = hardware.get('process_count', 1)
  told = dict.fromkeys(BY_HAND, UNKNOWN) | {
      'division': 'open', 'submitter': _name(submitter['organization']), 'status': 'rdi', 'system_type': 'edge',
      'system_name': submitter.get('hardware') or f'{hardware["device_count"]} x {hardware["device_kind"]}',
      'number_of_nodes': str(nodes), 'host_processor_model_name': hardware.get('host') or UNKNOWN,
      'host_processor_core_count': str(hardware.get('host_cores') or UNKNOWN),
      'accelerators_per_node': '0' if cpu else str(hardware['device_count'] // nodes),  # read as an integer
      'accelerator_model_name': 'none' if cpu else hardware['device_kind'],
      'framework': f'JAX {record["versions"]["jax"]}',
      'other_software_stack': ', '.join(f'{name} {version}' for name, version in record['versions'].items()),
      'sw_notes': notes, 'notes': notes}
  for key, value in details.items():
    if key not in told or key in ('division', 'submitter', 'notes'):
      raise Problem(f'{key} is not a detail of a system; those are {", ".join(sorted(told))}')
    if not str(value).strip():
      raise Problem(f'{key} is empty; leave it out, or say what the system has')
    told[key] = str(value)
  return told


def _name(text: str) -> str:
  return re.sub('[^A-Za-z0-9.]+', '-', text).strip('-.')[:64] or 'unnamed'


def _code(record: dict) -> str:
  return f'{record["git_commit"]}{" with changes that are not committed" if record["git_dirty"] else ""}'


def _command(record: dict) -> str:
  return shlex.join(['python', '-m', 'launchers.infer', *record['command']])


def _readme(record: dict, asked: Rules, result: dict, scores: str, lacking: list) -> str:
  made, latency = record['checkpoint'], result['latency_ns']
  lines = [
      f'# {asked.directory}, {result["scenario"]}', '', f'**{UNVERIFIED}** Open division, weights of our own training.',
      '', f'- Model: {record["model"]} on {record["benchmark"]}, {record["precision"]}; weights as trained, '
      f'except: {record["transformations"]}.',
      f'- Weights: step {made["step"]} of run {made["run"]}, sha256 {made["parameters_sha256"]}; there: '
      f'{made["metric"]}.',
      f'- Accuracy: `{scores}`', f'- Samples a second: {result["samples_per_second"]}',
      f'- Nanoseconds a query: mean {latency["mean"]}, p50 {latency["p50"]}, p90 {latency["p90"]}, '
      f'p99 {latency["p99"]}; early stopping\'s estimate {result["early_stopping_ns"]}',
      f'- LoadGen {result["loadgen"]} with the seeds of {asked.round}; code {_code(record)}',
      f'- Command: `{_command(record)}`', '']
  if not asked.official:
    lines += [f'{record["benchmark"]} was never a benchmark of MLPerf Inference: this is its way of asking, not a '
              'result on its scale.', '']
  if lacking:
    lines += ['Shorter than the rules ask:', '', *(f'- {line}' for line in lacking), '']
  return '\n'.join(lines)


def _write_scenario(modes: dict, folder: Path) -> list[str]:
  """Writes the folder of one scenario; what it lacks of what the round asks."""
  (fast, record), (exact, _) = modes['performance'], modes['accuracy']
  asked, result = rules(record['benchmark'], record['model']), loadgen_log.read(fast)
  lacking = loadgen_log.shortfalls(result, asked, asked.scenario(record['scenario']))
  answers = accuracy_log.read_bytes(exact / loadgen_log.ACCURACY)
  scores = accuracy_log.read_bytes(exact / 'accuracy.txt').decode('utf-8', 'replace')
  if UNVERIFIED not in scores or not scores.startswith(('accuracy=', '{"exact_match": ')):
    raise Problem(f'{exact / "accuracy.txt"}: is not what launchers.infer writes; run the accuracy mode again')
  for source, place in ((fast, folder / 'performance/run_1'), (exact, folder / 'accuracy')):
    place.mkdir(parents=True)
    for name in (loadgen_log.SUMMARY, loadgen_log.DETAIL):
      shutil.copyfile(source / name, place / name)
  shutil.copyfile(fast / loadgen_log.USER_CONF, folder / loadgen_log.USER_CONF)
  (folder / 'accuracy' / loadgen_log.ACCURACY).write_bytes(accuracy_log.shortened(answers))
  begun = record['tricks'].get('pretrained_weights')
  measurements = {'input_data_types': record['input_dtype'], 'weight_data_types': record['precision'],
                  'weight_transformations': record['transformations'],
                  'retraining': f'yes: {"fine-tuned" if begun else "trained from random weights"} to sha256 '
                                f'{record["checkpoint"]["parameters_sha256"]}',
                  'starting_weights_filename': Path(begun).name if begun else 'none', 'notes': UNVERIFIED}
  texts = {'accuracy/accuracy.txt': accuracy_log.with_hash(scores, answers),
           'measurements.json': _json(measurements), 'record.json': _json({**record, 'notes': UNVERIFIED}),
           'README.md': _readme(record, asked, result, scores.splitlines()[0], lacking)}
  for name, text in texts.items():
    write_text(folder / name, text)
  return lacking


def write(run_folders: Iterable, out_dir, *, details: Mapping[str, str] | None = None) -> tuple[Path, list[str]]:
  """Writes the tree of an entry whole or not at all: (its system's description, what runs lack of the round's rules).

  Args:
    run_folders: those of launchers.infer, WORKDIR/inference/SCENARIO/MODE: both modes of each scenario, on one machine.
    out_dir: a folder that is not there yet.
    details: keys of the system's description that no run can know, such as `host_memory_capacity`.

  Raises:
    Problem: a run does not stand, lacks its other mode, or is of another model or machine than that.
  """
  out_dir, pairs = Path(out_dir), _pairs(run_folders)
  if out_dir.exists():
    raise Problem(f'{out_dir}: is there already; name a folder that is not')
  _same(pairs)
  record = next(iter(pairs.values()))['performance'][1]
  system = system_description(record, details or {}, UNVERIFIED)
  organization, name, lacking = system['submitter'], _name(system['system_name']), []
  try:
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix='.inference-') as part:
      root = Path(part, 'tree', 'open', organization)
      for (directory, scenario), modes in pairs.items():
        made = modes['performance'][1]
        folder = root / 'results' / name / directory / scenario
        lacking += [f'{directory} {scenario}: {line}' for line in _write_scenario(modes, folder)]
        write_text(root / 'src' / directory / 'README.md',
                   f'# Code\n\n{UNVERIFIED}\n\nDaybreak at {_code(made)}: launchers/infer.py, serving/ and '
                   f'references/.\n\n    {_command(made)}\n')
      system['sw_notes'] = '; '.join([UNVERIFIED, *lacking])
      write_text(root / 'systems' / f'{name}.json', _json(system))
      os.replace(Path(part, 'tree'), out_dir)
  except OSError as error:
    raise Problem(f'{out_dir}: cannot write the tree ({error.strerror}); name another folder') from None
  return out_dir / 'open' / organization / 'systems' / f'{name}.json', lacking
