"""Inference end to end with the real LoadGen: each reference in each of its scenarios, trained for a moment."""
import json
import shutil
import signal
import subprocess
import sys
import types

import pytest

from launchers import traffic
from references.squad import bert_task, weights
from scoring import dawnbench, inference, scenarios
from scoring import tape as tapes
from tests.drawn import drawn
from tests.input_pipelines import made_squad
from tests.launchers.running import DIGITS, finish, launch, one_line, read_json, start, train, wait_for

SMOKE, TINY, BERT = (f'references/{name}.py' for name in (
    'resnet_imagenet/configs/smoke', 'squad/configs/tiny', 'squad/configs/bert_base'))
SHORT = ('--min_duration_seconds=0.3', '--usd_per_hour=1')
TEXT = ('--config.batch_size=16', '--config.buckets=(40,80)', '--config.num_epochs=1', '--config.eval_batch_size=16',
        '--config.stop=end', '--config.target_f1=0.01')
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """name -> (flags of its config, workdir): a trained run of each reference."""
  folder = tmp_path_factory.mktemp('runs')
  made_squad.write(folder / 'files', train=made_squad.articles(100, 0))
  (folder / 'vocab.txt').write_text('\n'.join(made_squad.VOCAB) + '\n')
  done = launch('prepare', '--dataset=squad', f'--from_dir={folder / "files"}', f'--data_dir={folder / "data"}',
                f'--vocab={folder / "vocab.txt"}')
  assert done.returncode == 0, done.stderr
  sizes = {'num_layers': 1, 'width': 32, 'num_heads': 2, 'feed_forward': 64, 'vocabulary': len(made_squad.VOCAB)}
  made = bert_task.Config(batch_size=16, **sizes).make_task('')
  weights.save(folder / 'model.safetensors', drawn(made.init)['params'])
  text = (f'--data_dir={folder / "data"}', *TEXT)
  flags = {
      'digits': (f'--config={DIGITS}', '--config.num_epochs=5', '--config.stop=end'),
      'resnet': (f'--config={SMOKE}', '--config.num_epochs=2'),
      'qanet': (f'--config={TINY}', *text, '--config.num_words=400', '--config.width=32', '--config.num_heads=2',
                '--config.encoder_convs=1', '--config.model_convs=1', '--config.passes=1', '--config.max_question=12'),
      'bert': (f'--config={BERT}', *text, f'--config.init_from={folder / "model.safetensors"}',
               '--config.compute_dtype=float32', *(f'--config.{name}={value}' for name, value in sizes.items()))}
  for name, given in flags.items():
    config, *rest = given
    done = train(folder / name, *rest, config=config.removeprefix('--config='))
    assert done.returncode in (0, 3), done.stderr
  return {name: (given, folder / name) for name, given in flags.items()}


def infer(run, scenario, mode, *more):
  flags, workdir = run
  rate = ('--target_qps=150',) if scenario == 'server' and '--find_peak' not in more else ()
  return launch('infer', *flags, f'--workdir={workdir}', f'--scenario={scenario}', f'--mode={mode}', *SHORT, *rate,
                *more)


def record_of(run, scenario, mode):
  return read_json(run[1] / 'inference' / scenario / mode / 'record.json')


CASES = [(name, scenario) for name, benchmark, model in (
    ('digits', 'digits', 'GroupNet'), ('resnet', 'synthetic', 'ResNet-18'), ('qanet', 'squad', 'QANet-like'),
    ('bert', 'squad', 'BERT')) for scenario in scenarios.rules(benchmark, model).scenarios]


@pytest.mark.parametrize('name, scenario', CASES)
def test_each_scenario_of_each_reference_is_valid(runs, name, scenario):
  done = infer(runs[name], scenario, 'performance', '--min_queries=700')
  made = record_of(runs[name], scenario, 'performance')
  assert done.returncode == (0 if made['valid'] else 3), done.stderr
  late = scenario == 'server' and all('INVALID' in fault or 'not satisfied' in fault for fault in made['faults'])
  assert made['valid'] or late, 'only the latency limit of a server depends on how busy the machine is'
  assert made['shortfalls'] and '600 s' in made['shortfalls'][0] and made['round'] == 'v6.1'
  assert made['latency_ms']['p50'] > 0 and made['samples_per_second'] > 0
  assert made['checkpoint']['parameters_sha256'] == read_json(runs[name][1] / 'record.json')['parameters_sha256']
  assert 'not verified by MLCommons Association' in done.stdout


@pytest.mark.parametrize('name', ['digits', 'resnet', 'qanet', 'bert'])
def test_answers_are_the_same_twice_and_measure_what_training_measured(runs, name):
  trained = read_json(runs[name][1] / 'record.json')['evaluations'][-1]['metrics']
  digests = []
  for more in (('--nofold',), ('--nofold',), ()):
    done = infer(runs[name], 'offline', 'accuracy', *more)
    assert done.returncode == 0, done.stderr
    made = record_of(runs[name], 'offline', 'accuracy')
    digests.append(made['answers_sha256'])
    shared = set(trained) & set(made['metrics'])
    assert shared and all(made['metrics'][metric] == trained[metric] for metric in shared), 'exactly'
    assert made['valid'] and made['checkpoint']['metrics'] == trained
    assert made['serving']['folded'] == (not more and name != 'qanet'), 'which has nothing to fold'
  assert digests[0] == digests[1]
  text = (runs[name][1] / 'inference' / 'offline' / 'accuracy' / 'accuracy.txt').read_text()
  assert text.startswith('accuracy=' if name in ('digits', 'resnet') else '{"exact_match": ')


@pytest.mark.parametrize('name', ['digits', 'bert'])
def test_dawnbench_times_items_and_keeps_to_its_thresholds(runs, name):
  done = infer(runs[name], 'single_stream', 'dawnbench', '--author=A B', '--author_email=a@b.c')
  made = record_of(runs[name], 'single_stream', 'dawnbench')
  assert done.returncode == (0 if name == 'digits' else 3), 'no board to miss; a threshold that is missed'
  assert ('no board for digits' if name == 'digits' else 'but SQuAD is scored on all 10570') in done.stdout
  items, samples = made['serving']['num_items'], made['num_samples']
  assert made['valid'] and made['num_evaluated'] == items and samples >= items
  assert made['latency_ms']['mean'] == pytest.approx(made['loadgen']['latency_ns']['mean'] * samples / items / 1e6)
  assert made['latency_ms']['mean_with_preprocessing'] > 0
  assert made['cost_usd'] == pytest.approx(made['latency_ms']['mean'] / 3.6e6), 'a dollar an hour'


def test_an_entry_of_dawnbench_is_one_that_our_review_and_its_format_admit(runs, tmp_path):
  """The record of a real run, with the numbers of a model and a set that has a board."""
  infer(runs['digits'], 'single_stream', 'dawnbench')
  made = record_of(runs['digits'], 'single_stream', 'dawnbench')
  made |= {'benchmark': 'cifar10', 'num_evaluated': 10_000, 'metrics': {'accuracy': 0.94},
           'submitter': {'author': 'A B', 'author_email': 'a@b.c', 'hardware': ''}}
  from scoring import dawnbench_inference
  path = dawnbench_inference.write(made, tmp_path)
  report = dawnbench.check_tree(tmp_path)
  assert (report.entries, report.problems) == (1, []), report
  told = json.loads(path.read_text())
  assert told['top1Accuracy'] == 94.0 and told['latency'] == made['latency_ms']['mean'] and told['misc']['checkpoint']
  for change, words in (({'metrics': {'accuracy': 0.93999}}, 'the threshold of CIFAR10 94.0'),
                        ({'num_evaluated': 9_999}, 'scored on all 10000'), ({'valid': False}, 'not valid')):
    with pytest.raises(Exception, match=words):
      dawnbench_inference.entry({**made, **change})


@pytest.mark.slow
def test_the_peak_of_a_server_is_found_and_holds(runs):
  flags, workdir = runs['digits']
  done = finish(start('infer', *flags, f'--workdir={workdir}', '--scenario=server', '--mode=performance', '--find_peak',
                      '--target_qps=300', '--min_queries=700', *SHORT), timeout=900)
  if done.returncode:  # a machine so busy that no rate holds twice is told so, and nothing is recorded
    assert done.returncode == 1 and '--find_peak: ' in one_line(done.stderr), done.stderr
    pytest.skip('this machine is too busy for a server')
  folder = runs['digits'][1] / 'inference' / 'server' / 'performance'
  tried = [(e['target_qps'], not e['faults']) for e in tapes.read(folder) if e['event'] == 'tried']
  best = tried[-1][0]
  made = record_of(runs['digits'], 'server', 'performance')
  assert made['valid'] and tried[-2:] == [(best, True)] * 2, 'the rate that is reported held when it was run again'
  assert len(made['tried']) == len(tried) and made['latency_limit_ms'] == 15
  assert float(made['loadgen']['settings']['target_qps']) == pytest.approx(tried[-1][0], rel=1e-4)
  assert any(not valid for rate, valid in tried if rate > best), 'a higher one did not'


def test_the_record_is_derived_again_from_tape_and_logs(runs):
  infer(runs['digits'], 'multi_stream', 'accuracy')
  folder = runs['digits'][1] / 'inference' / 'multi_stream' / 'accuracy'
  before = {name: (folder / name).read_bytes() for name in ('record.json', 'accuracy.txt')}
  for name in before:
    (folder / name).unlink()
  done = launch('score', f'--workdir={runs["digits"][1]}')
  assert done.returncode in (0, 3) and str(folder / 'record.json') in done.stdout, done.stderr
  assert {name: (folder / name).read_bytes() for name in before} == before
  log = folder / 'mlperf_log_detail.txt'
  log.write_text(log.read_text().replace('"is_error": false', '"is_error": true', 1))
  assert not inference.make(folder)['valid']


def test_other_answers_than_were_measured_show(runs):
  infer(runs['digits'], 'offline', 'accuracy')
  folder = runs['digits'][1] / 'inference' / 'offline' / 'accuracy'
  log = folder / 'mlperf_log_accuracy.json'
  text = log.read_text()
  at = text.index('"data" : "') + len('"data" : "')
  log.write_text(text[:at] + ('1' if text[at] != '1' else '2') + text[at + 1:])
  assert inference.make(folder)['faults'] == ['mlperf_log_accuracy.json: not as the run left it']


def test_a_tape_of_inference_is_no_run_of_training(runs):
  infer(runs['digits'], 'offline', 'accuracy')
  folder = runs['digits'][1] / 'inference' / 'offline' / 'accuracy'
  assert 'is a tape of inference' in one_line(launch('score', f'--workdir={folder}').stderr)


def test_what_was_measured_before_is_kept(runs):
  infer(runs['digits'], 'offline', 'accuracy')
  first = record_of(runs['digits'], 'offline', 'accuracy')
  done = infer(runs['digits'], 'offline', 'accuracy', '--batch_size=7')
  kept = [read_json(path) for path in (runs['digits'][1] / 'inference' / 'offline' / 'earlier').glob('*/record.json')]
  assert first in kept and 'earlier/accuracy_' in done.stdout
  assert record_of(runs['digits'], 'offline', 'accuracy')['batch_sizes'] == [7]


def test_a_checkpoint_of_another_run_is_refused(runs, tmp_path):
  flags, workdir = runs['digits']
  shutil.copytree(workdir, tmp_path / 'run', ignore=shutil.ignore_patterns('inference', 'checkpoints'))
  done = train(tmp_path / 'other', '--config.num_epochs=2', '--config.seed=5')
  assert done.returncode in (0, 3), done.stderr
  shutil.copytree(tmp_path / 'other' / 'checkpoints', tmp_path / 'run' / 'checkpoints')
  done = infer((flags, tmp_path / 'run'), 'offline', 'accuracy')
  assert done.returncode == 1 and 'is of another run than its tape' in one_line(done.stderr)


def test_both_modes_become_a_tree(runs, tmp_path):
  done = launch('score', f'--workdir={runs["resnet"][1]}', f'--inference_tree={tmp_path / "none"}')
  if 'no scenario was run in both modes' in done.stderr:  # in whatever order tests ran
    assert done.returncode == 1
  for mode in ('accuracy', 'performance'):
    assert infer(runs['resnet'], 'offline', mode, '--min_queries=700').returncode == 0
  done = launch('score', f'--workdir={runs["resnet"][1]}', f'--inference_tree={tmp_path / "tree"}')
  assert done.returncode in (0, 3) and 'short of' in done.stdout, done.stderr
  scenario = next((tmp_path / 'tree').glob('open/*/results/*/*/Offline'))
  assert (scenario / 'measurements.json').is_file() and 'hash=' in (scenario / 'accuracy' / 'accuracy.txt').read_text()


def test_two_at_once_are_refused(runs):
  flags, workdir = runs['digits']
  first = start('infer', *flags, f'--workdir={workdir}', '--scenario=single_stream', '--mode=performance',
                '--min_duration_seconds=30')
  wait_for(workdir / 'inference' / 'single_stream' / 'performance.part' / 'tape.jsonl', '"loadgen"', first)
  done = infer(runs['digits'], 'offline', 'accuracy')
  assert done.returncode == 1 and 'another process measures this run' in one_line(done.stderr)
  first.send_signal(signal.SIGINT)
  assert finish(first).returncode == -signal.SIGINT, 'Ctrl-C ends it at once'
  assert infer(runs['digits'], 'single_stream', 'performance').returncode == 0, 'and leaves nothing in the way'


@pytest.mark.parametrize('buckets, sizes, told', [((1,), (8,), '1 program'), ((40, 80), (1, 2, 4), '6 programs')])
def test_the_programs_that_are_compiled_are_counted(buckets, sizes, told, monkeypatch, capsys):
  monkeypatch.delattr(traffic, 'Engine')  # no more than the line
  with pytest.raises(NameError, match='Engine'):
    traffic.drive(types.SimpleNamespace(buckets=buckets), sizes, tapes.Tape(), None, None, None, None)
  assert capsys.readouterr().out == f'compiling {told}\n'


@pytest.mark.parametrize('name, more, status, words', [
    ('digits', ('--config.num_epochs=6',), 1, 'a run of another config (num_epochs'),
    ('digits', ('--target_qps=0',), 2, '--target_qps=0: queries a second, more than 0'),
    ('digits', ('--target_qps=nan',), 2, 'queries a second'),
    ('digits', ('--scenario=sometimes',), 2, 'should be one of <single_stream|multi_stream|server|offline>'),
    ('digits', ('--mode=dawnbench', '--scenario=offline'), 2, 'which is --scenario=single_stream'),
    ('digits', ('--scenario=server', '--mode=performance'), 2, 'say --target_qps=N, or --find_peak'),
    ('digits', ('--target_qps=5',), 2, 'mean nothing in single_stream'),
    ('digits', ('--find_peak',), 2, '--find_peak searches in --scenario=server'),
    ('digits', ('--batch_size=0',), 2, 'batch_size'),
    ('bert', ('--scenario=multi_stream',), 1, "is not asked 'multi_stream': its scenarios are"),
    ('digits', ('--workdir=nowhere',), 1, 'no run with a checkpoint there; train first')])
def test_what_is_wrong_is_one_line(runs, name, more, status, words):
  flags, workdir = runs[name]
  before = set(workdir.rglob('*.part'))
  done = launch('infer', *flags, f'--workdir={workdir}', '--scenario=single_stream', '--mode=accuracy', *more)
  assert done.returncode == status and words in one_line(done.stderr), done.stderr
  assert set(workdir.rglob('*.part')) == before, 'nothing half-written'


def test_a_damaged_or_missing_checkpoint_is_one_line_and_is_not_moved(runs, tmp_path):
  flags, workdir = runs['digits']
  shutil.copytree(workdir, tmp_path / 'run', ignore=shutil.ignore_patterns('inference'))
  for path in (tmp_path / 'run' / 'checkpoints').rglob('*'):
    if path.is_file() and path.stat().st_size > 100 and 'state' in path.parts:
      path.write_bytes(path.read_bytes()[:50])
  run = flags, tmp_path / 'run'
  done = infer(run, 'single_stream', 'accuracy')
  assert done.returncode == 1 and 'no checkpoint is whole' in one_line(done.stderr)
  assert not (tmp_path / 'run' / 'checkpoints' / 'damaged').exists()
  shutil.rmtree(tmp_path / 'run' / 'checkpoints')
  assert 'no run with a checkpoint there' in one_line(infer(run, 'single_stream', 'accuracy').stderr)


def test_without_loadgen_it_says_what_to_install(runs):
  flags, workdir = runs['digits']
  code = ("import sys; sys.modules['mlperf_loadgen'] = None; from launchers import command, infer; "
          "command.run(infer.main, '')")
  done = subprocess.run([sys.executable, '-c', code, *flags, f'--workdir={workdir}', '--scenario=offline',
                         '--mode=accuracy'], capture_output=True, text=True)
  assert done.returncode == 1 and "pip install -e '.[inference]'" in one_line(done.stderr)
