"""user.conf as LoadGen takes it, and the tree of an entry: what is in it, and when there is none."""
import json
import shutil
from pathlib import Path

import pytest

from scoring import accuracy_log, inference_package, loadgen_log
from scoring.problem import Problem
from scoring.scenarios import rules
from tests.scoring.loadgen_runs import GOLDEN, put_record

RESNET, TOY = rules('imagenet', 'ResNet-50'), rules('cifar10', 'toy')


def conf(scenario: str, asked=RESNET, **told) -> list[str]:
  return inference_package.user_conf(asked, asked.scenario(scenario), **told).splitlines()


def test_user_conf_says_what_is_asked():
  note = '# Result not verified by MLCommons Association.'
  assert conf('single_stream', target_latency_ms=0.35) == [
      note, 'resnet50.SingleStream.target_latency = 0.35', 'resnet50.SingleStream.min_duration = 600000',
      'resnet50.SingleStream.min_query_count = 100']
  assert conf('multi_stream', target_latency_ms=4, min_duration_ms=500, min_query_count=700)[1:] == [
      'resnet50.MultiStream.target_latency = 4', 'resnet50.MultiStream.min_duration = 500',
      'resnet50.MultiStream.min_query_count = 700']
  assert conf('server', TOY, target_qps=812.5)[1:] == [
      'daybreak-cifar10.Server.target_latency = 15', 'daybreak-cifar10.Server.target_qps = 812.5',
      'daybreak-cifar10.Server.min_duration = 600000', 'daybreak-cifar10.Server.min_query_count = 662']
  assert conf('offline', rules('squad', 'BERT'), target_qps=1e6, performance_sample_count=20_000)[1:] == [
      'bert.Offline.target_qps = 1000000', 'bert.Offline.min_duration = 600000',
      'bert.Offline.min_query_count = 10833', 'bert.Offline.performance_sample_count_override = 20000']
  assert conf('single_stream', TOY, target_latency_ms=1, whole_set=10_000)[2:] == [
      f'daybreak-cifar10.SingleStream.{line}' for line in (
          'min_duration = 0', 'min_query_count = 10000', 'performance_sample_count_override = 10000',
          'max_query_count = 10000', 'performance_issue_unique = 1')]


@pytest.mark.parametrize('scenario, told, text', [
    ('server', {'target_qps': 0}, 'target_qps=0: must be positive'),
    ('offline', {'target_qps': -1.0}, 'target_qps=-1.0: must be positive'),
    ('server', {'target_qps': float('inf')}, 'must be positive'), ('server', {'target_qps': float('nan')}, 'positive'),
    ('single_stream', {'target_latency_ms': 0}, 'target_latency_ms=0: must be positive'),
    ('server', {}, 'target_qps=None: server needs one'), ('single_stream', {}, 'single_stream needs one'),
    ('single_stream', {'target_latency_ms': 1, 'target_qps': 1}, 'single_stream takes none'),
    ('server', {'target_latency_ms': 1, 'target_qps': 1}, 'server takes none')])
def test_a_target_that_cannot_be_is_refused(scenario, told, text):
  with pytest.raises(Problem, match=text):
    conf(scenario, **told)


@pytest.fixture
def runs(tmp_path):
  """Both modes of two scenarios, as launchers.infer leaves them."""
  folders = []
  for scenario in ('single_stream', 'multi_stream'):
    for mode in ('performance', 'accuracy'):
      folders.append(tmp_path / 'inference' / scenario / mode)
      shutil.copytree(GOLDEN / scenario / mode, folders[-1])
      put_record(folders[-1], 'cifar10', 'toy', scenario, mode)
  return folders


def test_the_tree(tmp_path, runs):
  description, lacking = inference_package.write(runs, tmp_path / 'entry', details={'host_memory_capacity': '8 GB'})
  root = tmp_path / 'entry/open/Daybreak-Test'
  assert description == root / 'systems/1-x-cpu.json'
  results = root / 'results/1-x-cpu/cifar10'
  found = {str(path.relative_to(results)) for path in results.rglob('*') if path.is_file()}
  logs = {'mlperf_log_summary.txt', 'mlperf_log_detail.txt'}
  assert found == {f'{scenario}/{name}' for scenario in ('SingleStream', 'MultiStream') for name in (
      'README.md', 'measurements.json', 'record.json', 'user.conf', *(f'performance/run_1/{log}' for log in logs),
      *(f'accuracy/{log}' for log in logs), 'accuracy/accuracy.txt', 'accuracy/mlperf_log_accuracy.json')}
  assert (root / 'src/cifar10/README.md').is_file()
  assert lacking == ['cifar10 SingleStream: configured to last 0.1 s, v6.1 asks 600 s',
                     'cifar10 SingleStream: 100 samples in memory, v6.1 asks 1024',
                     'cifar10 MultiStream: configured to last 0.1 s, v6.1 asks 600 s',
                     'cifar10 MultiStream: 100 samples in memory, v6.1 asks 1024']
  told = json.loads(description.read_text())
  assert len(told) == 36 and all(told.values())  # 35 that the checker asks for, and a note
  assert (told['accelerators_per_node'], told['host_memory_capacity'], told['cooling']) == ('0', '8 GB', 'not recorded')
  assert all(line in told['sw_notes'] for line in lacking)


def test_each_text_of_ours_says_that_nobody_verified_it(tmp_path, runs):
  inference_package.write(runs, tmp_path / 'entry')
  files = [path for path in (tmp_path / 'entry').rglob('*') if path.is_file()]
  texts = [path for path in files if not path.name.startswith('mlperf_log')]
  assert len(texts) == 2 + 2 * 5
  for path in texts:
    assert 'Result not verified by MLCommons Association.' in path.read_text(), path


def test_the_logs_are_copied_and_the_answers_shortened(tmp_path, runs):
  inference_package.write(runs, tmp_path / 'entry')
  folder = tmp_path / 'entry/open/Daybreak-Test/results/1-x-cpu/cifar10/SingleStream'
  for mode, place in (('performance', 'performance/run_1'), ('accuracy', 'accuracy')):
    for name in (loadgen_log.SUMMARY, loadgen_log.DETAIL):
      assert (folder / place / name).read_bytes() == (GOLDEN / 'single_stream' / mode / name).read_bytes()
  answers = (GOLDEN / 'single_stream/accuracy' / loadgen_log.ACCURACY).read_bytes()
  assert (folder / 'accuracy' / loadgen_log.ACCURACY).read_bytes() == accuracy_log.shortened(answers)
  assert (folder / 'accuracy/accuracy.txt').read_text() == accuracy_log.with_hash(
      (runs[1] / 'accuracy.txt').read_text(), answers)
  text = (folder / 'README.md').read_text()
  for part in ('accuracy=90.000%, good=90, total=100', 'abab', 'step 7 of run toy', 'never a benchmark', '0.1 s',
               'none with changes', 'python -m launchers.infer --config=toy.py --mode=performance'):
    assert part in text, part


@pytest.mark.parametrize('tricks, retraining, begun', [
    ({}, 'yes: trained from random weights to sha256 abab', 'none'),
    ({'pretrained_weights': '/home/me/bert.safetensors'}, 'yes: fine-tuned to sha256 abab', 'bert.safetensors')])
def test_where_the_weights_came_from_is_told(tmp_path, runs, tricks, retraining, begun):
  for folder in runs:
    record = json.loads((folder / 'record.json').read_text())
    (folder / 'record.json').write_text(json.dumps({**record, 'tricks': tricks}))
  description, _ = inference_package.write(runs, tmp_path / 'entry')
  told = json.loads((description.parents[1] / 'results/1-x-cpu/cifar10/SingleStream/measurements.json').read_text())
  assert told['retraining'].startswith(retraining) and told['starting_weights_filename'] == begun


def on_gpus(folder: Path):
  """Makes the record that of a run on two hosts with four GPUs each."""
  record = json.loads((folder / 'record.json').read_text())
  record['hardware'] |= {'platform': 'gpu', 'device_kind': 'NVIDIA H100', 'device_count': 8, 'process_count': 2}
  (folder / 'record.json').write_text(json.dumps(record))


def test_accelerators_are_counted_by_node(tmp_path, runs):
  for folder in runs:
    on_gpus(folder)
  told = json.loads(inference_package.write(runs, tmp_path / 'entry')[0].read_text())
  assert (told['number_of_nodes'], told['accelerators_per_node']) == ('2', '4')
  assert told['accelerator_model_name'] == 'NVIDIA H100' and told['system_name'] == '8 x NVIDIA H100'


def edit(folder: Path, name: str, old: str, new: str):
  text = (folder / name).read_text()
  assert old in text
  (folder / name).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize('change, text', [
    (lambda runs: edit(runs[0], loadgen_log.SUMMARY, ': VALID', ': INVALID'), 'does not stand: Result is INVALID'),
    (lambda runs: edit(runs[1], 'record.json', '"step": 7', '"step": 8'), 'checkpoint differ between'),
    (lambda runs: on_gpus(runs[1]), 'hardware differ'),
    (lambda runs: [on_gpus(folder) for folder in runs[2:]], 'hardware differ'),
    (lambda runs: edit(runs[1], 'record.json', '"git_commit"', '"other"'), 'record.json: has no git_commit'),
    (lambda runs: edit(runs[1], 'record.json', '{', '['), 'record.json: cannot read the record'),
    (lambda runs: (runs[1] / 'record.json').unlink(), 'record.json: cannot read the record'),
    (lambda runs: edit(runs[1], 'record.json', '"accuracy"', '"dawnbench"'), 'is of mode dawnbench'),
    (lambda runs: edit(runs[1], 'record.json', '"single_stream"', '"endless"'), "is not asked 'endless'"),
    (lambda runs: edit(runs[1], 'record.json', '"num_samples": 100', '"num_samples": 99'), 'is 100, wanted 99'),
    (lambda runs: (runs[1] / 'accuracy.txt').write_text('accuracy=99%'), 'accuracy.txt: is not what'),
    (lambda runs: (runs[1] / 'accuracy.txt').unlink(), 'accuracy.txt: cannot read'),
    (lambda runs: runs.pop(), 'cifar10 MultiStream has no run in accuracy mode'),
    (lambda runs: runs.append(runs[0]), 'is the same scenario and mode'),
    (lambda runs: runs.clear(), 'there is no run to write')])
def test_runs_that_make_no_entry_are_refused_and_nothing_is_written(tmp_path, runs, change, text):
  change(runs)
  with pytest.raises(Problem, match=text):
    inference_package.write(runs, tmp_path / 'entry')
  assert [path.name for path in tmp_path.iterdir()] == ['inference']


@pytest.mark.parametrize('details, text', [
    ({'colour': 'red'}, 'colour is not a detail'), ({'cooling': ' '}, 'is empty'),
    ({'division': 'closed'}, 'division is not a detail')])
def test_details_are_the_systems(tmp_path, runs, details, text):
  with pytest.raises(Problem, match=text):
    inference_package.write(runs, tmp_path / 'entry', details=details)


def test_a_tree_that_is_there_is_left_alone(tmp_path, runs):
  (tmp_path / 'entry').mkdir()
  with pytest.raises(Problem, match='entry: is there already'):
    inference_package.write(runs, tmp_path / 'entry')
  assert not list((tmp_path / 'entry').iterdir())
