"""Real runs of LoadGen on a system that knows its answers: for tests, and for the logs in golden_loadgen/.

`python -m tests.scoring.loadgen_runs` makes those logs again; one process a run, since LoadGen takes one
configuration a process.
"""
import json
import subprocess
import sys
import time
from array import array
from pathlib import Path

from scoring import accuracy_log, inference_package, loadgen_log
from scoring.scenarios import rules

REASON = 'LoadGen has wheels for Linux on x86-64 and macOS on arm64, up to Python 3.13'
GOLDEN = Path(__file__).parent / 'golden_loadgen'
NUM_SAMPLES = 100
TARGETS = {'single_stream': {'target_latency_ms': 0.0005}, 'multi_stream': {'target_latency_ms': 0.002},
           'server': {'target_qps': 10_000}, 'offline': {'target_qps': 1000}}


def image_answer(index: int) -> bytes:
  """Five classes; of samples whose number ends in 9 the first is wrong, of those that end in 99 all are."""
  label, wrong = image_label(index), index % 10 == 9
  top = [(label + 1) % 1000, label] if wrong else [label, (label + 1) % 1000]
  rest = [(label + step) % 1000 for step in (2, 3, 4)]
  return array('i', [(label + 9) % 1000] * 5 if index % 100 == 99 else top + rest).tobytes()


def image_label(index: int) -> int:
  return index * 7 % 1000


def squad_answer(index: int) -> bytes:
  """Start and end logits of twelve tokens, [12, 2]: a span that depends on the sample."""
  logits = array('f', [0.0] * 24)
  logits[2 * (index % 5 + 5)] = logits[2 * (index % 5 + 6) + 1] = 10.0
  return logits.tobytes()


def start(folder, benchmark: str, model: str, scenario: str, mode: str, *, num_samples: int = NUM_SAMPLES,
          min_duration_ms: int = 100, trouble: str = '', **conf) -> subprocess.Popen:
  """Starts a run in a process of its own; its logs and user.conf are in `folder` when it has ended.

  trouble: '', `slow` (3 ms a query), `twice` (the first sample is completed twice).
  """
  folder, asked = Path(folder), rules(benchmark, model)
  folder.mkdir(parents=True, exist_ok=True)
  conf = {**TARGETS[scenario], 'min_duration_ms': min_duration_ms, **conf}
  (folder / 'user.conf').write_text(inference_package.user_conf(asked, asked.scenario(scenario), **conf))
  told = [str(folder), asked.model, asked.scenario(scenario).loadgen, mode, str(num_samples),
          str(min(asked.performance_sample_count, num_samples)), benchmark, trouble]
  return subprocess.Popen([sys.executable, '-m', 'tests.scoring.loadgen_runs', json.dumps(told)],
                          cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen):
  stderr = process.communicate()[1]
  assert process.returncode == 0, stderr


def put_record(folder, benchmark: str, model: str, scenario: str, mode: str, *, num_samples: int = NUM_SAMPLES,
               **fields):
  """The record.json and accuracy.txt that launchers.infer leaves beside the logs, as far as an entry needs them."""
  folder = Path(folder)
  record = {
      'benchmark': benchmark, 'model': model, 'scenario': scenario, 'mode': mode, 'round': 'v6.1',
      'num_samples': num_samples, 'precision': 'float32', 'input_dtype': 'uint8', 'transformations': 'none',
      'hardware': {'platform': 'cpu', 'device_kind': 'cpu', 'device_count': 1, 'process_count': 1, 'host': 'AMD EPYC',
                   'host_cores': 2},
      'versions': {'python': '3.11.7', 'jax': '0.10.2'}, 'git_commit': 'none', 'git_dirty': True, 'tricks': {},
      'batch_sizes': [1], 'xla_flags': '', 'config': '',
      'command': ['--config=toy.py', f'--mode={mode}'],
      'submitter': {'organization': 'Daybreak Test', 'hardware': ''},
      'checkpoint': {'run': 'toy', 'step': 7, 'parameters_sha256': 'ab' * 32, 'metric': 'accuracy 0.9'}, **fields}
  (folder / 'record.json').write_text(json.dumps(record))
  if mode == 'accuracy' and benchmark == 'squad':
    (folder / 'accuracy.txt').write_text(accuracy_log.squad_text(81.25, 88.5))
  elif mode == 'accuracy':
    scores = accuracy_log.image_scores(folder / loadgen_log.ACCURACY, [*map(image_label, range(num_samples))])
    (folder / 'accuracy.txt').write_text(accuracy_log.image_text(scores['good'], scores['total']))


def run_here(folder, model, scenario, mode, num_samples, in_memory, benchmark, trouble):
  """One run, in this process."""
  import mlperf_loadgen as loadgen
  settings = loadgen.TestSettings()
  assert settings.FromConfig(f'{folder}/user.conf', model, scenario) == 0
  settings.scenario = getattr(loadgen.TestScenario, scenario)
  settings.mode = loadgen.TestMode.AccuracyOnly if mode == 'accuracy' else loadgen.TestMode.PerformanceOnly
  answer = squad_answer if benchmark == 'squad' else image_answer
  answers = [array('B', answer(index)) for index in range(int(num_samples))]  # they live until the run has ended
  told = [item.buffer_info() for item in answers]
  pending = {'twice': trouble == 'twice'}

  def issue(ids, samples):
    if trouble == 'slow':
      time.sleep(0.003)
    if scenario == 'Offline' and mode == 'performance':  # one query, which must last
      time.sleep(settings.min_duration_ms / 1000)
    responses = [loadgen.QuerySampleResponse(one, *told[sample]) for one, sample in zip(ids, samples, strict=True)]
    loadgen.QuerySamplesComplete(responses)
    if pending['twice']:
      pending['twice'] = False
      loadgen.QuerySamplesComplete(responses[:1])

  output = loadgen.LogOutputSettings()
  output.outdir = folder
  logs = loadgen.LogSettings()
  logs.log_output, logs.enable_trace = output, False
  sut = loadgen.ConstructFastSUT(issue, lambda: None)
  library = loadgen.ConstructQSL(int(num_samples), int(in_memory), lambda samples: None, lambda samples: None)
  loadgen.StartTestWithLogSettings(sut, library, settings, logs, '')
  loadgen.DestroyFastSUT(sut)
  loadgen.DestroyQSL(library)


def make_golden():
  """The logs in golden_loadgen/, of the scenarios' durations in CI rather than the rules'."""
  for scenario in TARGETS:
    finish(start(GOLDEN / scenario / 'performance', 'cifar10', 'toy', scenario, 'performance'))
  for scenario in ('single_stream', 'multi_stream'):
    finish(start(GOLDEN / scenario / 'accuracy', 'cifar10', 'toy', scenario, 'accuracy'))
  finish(start(GOLDEN / 'server_invalid', 'cifar10', 'toy', 'server', 'performance', trouble='slow', target_qps=1000))
  finish(start(GOLDEN / 'single_stream_twice', 'cifar10', 'toy', 'single_stream', 'performance', trouble='twice'))
  for empty in [path for path in GOLDEN.rglob('*.json') if path.stat().st_size < 5]:
    empty.unlink()


if __name__ == '__main__':
  run_here(*json.loads(sys.argv[1])) if len(sys.argv) > 1 else make_golden()
