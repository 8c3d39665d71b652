"""SQuAD end to end, on a small made one: prepared, learned, resumed to the bit, scored."""
import json
import subprocess
import sys

import pytest

from references.squad import bert_task, evaluate, weights
from scoring import tape as tapes
from tests.drawn import drawn
from tests.input_pipelines import made_squad
from tests.launchers.running import ROOT, kill, launch, one_line, read_json, start, train, wait_for
from training import checkpoint

TINY, BERT = 'references/squad/configs/tiny.py', 'references/squad/configs/bert_base.py'
SIZES = ('--config.batch_size=16', '--config.num_words=400', '--config.width=32', '--config.num_heads=2',
         '--config.encoder_convs=1', '--config.model_convs=1', '--config.passes=1', '--config.buckets=(40,80)',
         '--config.max_question=12', '--config.num_epochs=5', '--config.eval_every_epochs=2',
         '--config.eval_batch_size=16', '--config.learning_rate=0.005')
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('squad')
  made_squad.write(folder / 'files', train=made_squad.articles(250, 0))
  done = launch('prepare', '--dataset=squad', f'--from_dir={folder / "files"}', f'--data_dir={folder / "data"}')
  assert done.returncode == 0 and 'add --vocab=FILE' in done.stdout, done.stderr
  return folder


@pytest.fixture(scope='module')
def run(data):
  done = train(data / 'run', f'--data_dir={data / "data"}', *SIZES, config=TINY)
  assert done.returncode == 0, done.stderr
  return data / 'run'


def test_answers_are_learned(run):
  made = read_json(run / 'record.json')
  counted = sum(len(p['qas']) for p in made_squad.articles(30, 1)['data'][0]['paragraphs'])
  assert made['benchmark'] == 'squad' and made['num_evaluated'] == counted
  assert made['reached'] and made['metric'] >= 0.5, 'better than a colour at random'
  assert [e['metrics'].keys() for e in made['evaluations']][0] == {'f1', 'exact_match'}


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_bitwise_equal(run, data, tmp_path):
  process = start('train', f'--config={TINY}', f'--workdir={tmp_path}', f'--data_dir={data / "data"}', *SIZES,
                  '--checkpoint_every_steps=7')
  wait_for(tmp_path / 'tape.jsonl', '"event": "checkpoint"', process)
  kill(process)
  done = train(tmp_path, f'--data_dir={data / "data"}', *SIZES, config=TINY)
  assert done.returncode == 0, done.stderr
  ours, theirs = (read_json(folder / 'record.json') for folder in (tmp_path, run))
  assert ours['parameters_sha256'] == theirs['parameters_sha256'] and ours['metric'] == theirs['metric']
  assert any(e['event'] == 'process' and e['resumed'] for e in tapes.read(tmp_path))


def test_the_log_is_checked_against_dawnbenchs_target(run, tmp_path):
  def verdict(log):
    done = subprocess.run([sys.executable, '-m', 'mlperf_logging.compliance_checker', '--werror', '--config',
                           ROOT / 'scoring' / 'rules' / 'squad.yaml', '--log_output', tmp_path / 'log', log],
                          capture_output=True, text=True, cwd=tmp_path)
    return done.stdout + done.stderr
  text, counted = (run / 'result_0.txt').read_text(), read_json(run / 'record.json')['num_evaluated']
  log = tmp_path / 'result_0.txt'
  metric = max(e['metrics']['f1'] for e in read_json(run / 'record.json')['evaluations'])
  log.write_text(text.replace(f'"eval_samples", "value": {counted}', '"eval_samples", "value": 10570'))
  assert ('SUCCESS' in verdict(log)) == (metric >= 0.75)
  log.write_text(log.read_text().replace(f'"value": {metric}', '"value": 0.7512'))
  assert 'SUCCESS' in verdict(log)
  assert 'SUCCESS' not in verdict(run / 'result_0.txt'), 'so few questions are not SQuAD'


def test_a_run_on_other_data_or_none_is_one_line(run, data, tmp_path):
  done = train(tmp_path / 'a', f'--data_dir={tmp_path}', config=TINY)
  assert done.returncode == 1 and 'no squad there; get it with: python -m launchers.prepare' in one_line(done.stderr)
  done = train(tmp_path / 'b', f'--data_dir={data / "data"}', '--config.word_vectors=nowhere.txt',
               '--config.vector_width=4', *SIZES, config=TINY)
  assert done.returncode == 1 and 'word_vectors=nowhere.txt: no such file; say' in one_line(done.stderr)
  assert 'compil' not in done.stderr


def test_bert_is_fine_tuned_from_a_file_of_weights_resumes_and_is_exported(data, run, tmp_path):
  sizes = {'num_layers': 1, 'width': 32, 'num_heads': 2, 'feed_forward': 64, 'vocabulary': len(made_squad.VOCAB)}
  (tmp_path / 'vocab.txt').write_text('\n'.join(made_squad.VOCAB) + '\n')
  assert launch('prepare', '--dataset=squad', f'--from_dir={data / "files"}', f'--data_dir={tmp_path}',
                f'--vocab={tmp_path / "vocab.txt"}').returncode == 0
  task = bert_task.Config(batch_size=16, **sizes).make_task('')
  weights.save(tmp_path / 'model.safetensors', drawn(task.init)['params'])
  flags = (f'--data_dir={tmp_path}', f'--config.init_from={tmp_path / "model.safetensors"}', '--config.batch_size=16',
           '--config.buckets=(64,128)', '--config.num_epochs=2', '--config.eval_batch_size=16',
           '--config.compute_dtype=float32', '--config.learning_rate=0.002', '--config.target_f1=0.1',
           '--config.stop=end', *(f'--config.{name}={value}' for name, value in sizes.items()))
  done = train(tmp_path / 'run', *flags, config=BERT)
  assert done.returncode in (0, 3), done.stderr
  made = read_json(tmp_path / 'run' / 'record.json')
  assert made['tricks'] == {'pretrained_weights': str(tmp_path / 'model.safetensors')}
  evaluations = [e['metrics']['f1'] for e in made['evaluations']]
  assert len(evaluations) == 4 and max(evaluations) > 0.02
  process = start('train', f'--config={BERT}', f'--workdir={tmp_path / "again"}', *flags, '--checkpoint_every_steps=9')
  wait_for(tmp_path / 'again' / 'tape.jsonl', '"event": "checkpoint"', process)
  kill(process)
  train(tmp_path / 'again', *flags, config=BERT)
  assert read_json(tmp_path / 'again' / 'record.json')['parameters_sha256'] == made['parameters_sha256']
  def export(workdir):
    return subprocess.run([sys.executable, '-m', 'references.squad.export', f'--workdir={workdir}',
                           f'--output={tmp_path / "out.safetensors"}'], capture_output=True, text=True, cwd=ROOT)
  assert 'is not a run of BERT' in one_line(export(run).stderr) and 'no checkpoint' in one_line(export(tmp_path).stderr)
  done = export(tmp_path / 'run')
  assert done.returncode == 0 and f'step {made["final_step"]}' in done.stdout, done.stderr
  params = weights.load(tmp_path / 'out.safetensors', drawn(task.init, seed=1)['params'])
  assert checkpoint.sha256(params) == made['parameters_sha256']
  done = train(tmp_path / 'other', *flags, '--config.width=64', config=BERT)
  assert done.returncode == 1 and 'model.safetensors: tensor bert.' in one_line(done.stderr)


def test_prepare_refuses_flags_of_other_sets(data):
  done = launch('prepare', '--dataset=cifar10', '--vocab=x', f'--data_dir={data}')
  assert done.returncode == 2 and '--vocab means nothing for --dataset=cifar10' in one_line(done.stderr)


def test_the_official_metric_as_a_command(data, tmp_path):
  told = made_squad.articles(30, 1)
  questions = [q for p in told['data'][0]['paragraphs'] for q in p['qas']]
  file, source = tmp_path / 'predictions.json', data / 'files' / 'dev-v1.1.json'

  def run(*arguments):
    return subprocess.run([sys.executable, '-m', 'references.squad.evaluate', *map(str, arguments)],
                          capture_output=True, text=True, cwd=ROOT)

  file.write_text(json.dumps({q['id']: q['answers'][0]['text'] for q in questions}))
  done = run(source, file)
  assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {'exact_match': 100.0, 'f1': 100.0}, '')
  file.write_text(json.dumps({q['id']: q['answers'][0]['text'] for q in questions[1:]}))
  done = run(source, file)
  assert json.loads(done.stdout)['f1'] == pytest.approx(100 * (1 - 1 / len(questions)))
  assert f'1 of {len(questions)} questions have no prediction' in done.stderr
  for content in ('[1]', '{"a": 1}', '{'):
    file.write_text(content)
    done = run(source, file)
    assert done.returncode == 1 and 'predictions.json' in one_line(done.stderr)
  assert run(source).returncode == 2 and evaluate.__doc__ in run('--help').stdout
