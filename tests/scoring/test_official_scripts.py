"""MLCommons' own programs on what we write: the submission checker of v6.1, and both accuracy scripts, unmodified.

They are named by MLPERF_INFERENCE_DIR, a checkout of github.com/mlcommons/inference (tried at b66003e1):
`make test-checker MLPERF_INFERENCE_DIR=...`.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from input_pipelines import squad, squad_prepare, squad_sequences
from scoring import accuracy_log, inference_package, loadgen_log, squad_metric
from scoring.scenarios import rules
from tests.input_pipelines import made_squad
from tests.scoring.loadgen_runs import GOLDEN, NUM_SAMPLES, finish, image_label, put_record, start
from tests.scoring.test_accuracy_log import OFFICIAL, written

pytestmark = pytest.mark.checker
HOW = ('needs MLCommons\' programs: git clone https://github.com/mlcommons/inference, and set MLPERF_INFERENCE_DIR to '
       'the clone')
SHIMS = Path(__file__).with_name('accuracy_squad_shims')


@pytest.fixture(scope='module')
def official():
  """The checkout that the environment names."""
  folder = os.environ.get('MLPERF_INFERENCE_DIR')
  if not folder:
    pytest.skip(HOW)
  assert Path(folder, 'tools/submission/submission_checker/main.py').is_file(), f'{folder} is none: {HOW}'
  return Path(folder).absolute()


def check(official: Path, tree: Path) -> tuple[int, list[str]]:
  """(exit status, lines of errors) of the submission checker."""
  told = subprocess.run([sys.executable, '-m', 'submission_checker.main', '--input', str(tree), '--version', 'v6.1',
                         '--csv', str(tree.with_name('summary.csv'))], cwd=official / 'tools/submission',
                        capture_output=True, text=True)
  assert 'SUMMARY: submission' in told.stderr, told.stderr
  assert ('SUMMARY: submission looks OK' in told.stderr) == (told.returncode == 0)
  return told.returncode, [line.partition('ERROR] ')[2] for line in told.stderr.splitlines() if 'ERROR]' in line]


OFFICIALS = [('imagenet', 'ResNet-50', scenario, 50_000) for scenario in rules('imagenet', 'ResNet-50').scenarios] + [
    ('squad', 'BERT 24x1024', scenario, 10_833) for scenario in rules('squad', 'BERT 24x1024').scenarios]


@pytest.fixture(scope='module')
def entry(tmp_path_factory):
  """The tree of short runs of all scenarios of both benchmarks."""
  root, folders = tmp_path_factory.mktemp('entry'), []
  for benchmark, model, scenario, num_samples in OFFICIALS:
    for mode in loadgen_log.MODES:
      folders.append(root / benchmark / scenario / mode)
      finish(start(folders[-1], benchmark, model, scenario, mode, num_samples=num_samples))
      put_record(folders[-1], benchmark, model, scenario, mode, num_samples=num_samples)
  inference_package.write(folders, root / 'tree')
  return root


def test_short_runs_are_too_short_for_the_checker_and_nothing_else(official, entry):
  status, errors = check(official, entry / 'tree')
  assert status == 1
  rest = [line for line in errors if 'Test duration less than 600s' not in line]
  assert len(errors) - len(rest) == len(OFFICIALS)
  follows = re.compile('Some performance checks Checks failed for|NoResults .*mlperf_log_detail|SUMMARY: submission')
  assert [line for line in rest if not follows.match(line)] == []


def test_the_checker_takes_what_our_gate_does_not(official, entry):
  """A duration that was edited, a run that LoadGen calls invalid, and an error line."""
  edits = {'"effective_min_duration_ms", "value": 100': '"effective_min_duration_ms", "value": 600000',
           '"result_validity", "value": "VALID"': '"result_validity", "value": "INVALID"',
           '"is_error": false': '"is_error": true'}
  for path in (entry / 'tree').rglob(f'run_1/{loadgen_log.DETAIL}'):
    text = path.read_text()
    for old, new in edits.items():
      assert old in text
      text = text.replace(old, new, 1)
    path.write_text(text)
  assert check(official, entry / 'tree') == (0, [])
  for benchmark, model, scenario, num_samples in OFFICIALS:
    asked = rules(benchmark, model)
    place = entry / f'tree/open/Daybreak-Test/results/1-x-cpu/{asked.directory}/{asked.scenario(scenario).loadgen}'
    folder = place / 'performance/run_1'
    (folder / loadgen_log.USER_CONF).write_bytes((place / loadgen_log.USER_CONF).read_bytes())
    found = loadgen_log.faults(folder, mode='performance', rules=asked, scenario=asked.scenario(scenario),
                               num_samples=num_samples)
    for text in ('long, wanted 600 s', 'Result is INVALID', '1 errors, wanted none'):
      assert any(text in line for line in found), (scenario, text, found)


@pytest.mark.parametrize('scenario', ['single_stream', 'multi_stream'])
def test_the_official_script_scores_images_as_we_do(official, tmp_path, scenario):
  (tmp_path / 'val_map.txt').write_text(''.join(f'{n}.JPEG {image_label(n)}\n' for n in range(NUM_SAMPLES)))
  log = GOLDEN / scenario / 'accuracy' / loadgen_log.ACCURACY
  told = subprocess.run(
      [sys.executable, official / 'vision/classification_and_detection/tools/accuracy-imagenet.py',
       '--mlperf-accuracy-file', log, '--imagenet-val-file', tmp_path / 'val_map.txt', '--dtype', 'int32'],
      capture_output=True, text=True, check=True).stdout
  scores = accuracy_log.image_scores(log, [*map(image_label, range(NUM_SAMPLES))])
  assert told == OFFICIAL + '\n' == accuracy_log.image_text(scores['good'], scores['total']).splitlines(True)[0]


def test_the_official_script_shortens_logs_as_we_do(official, tmp_path):
  log = (GOLDEN / 'single_stream/accuracy' / loadgen_log.ACCURACY).read_bytes()
  text = accuracy_log.image_text(90, 100)
  folder = tmp_path / 'whole/open/Org/results/system/resnet50/Offline/accuracy'
  folder.mkdir(parents=True)
  (folder / loadgen_log.ACCURACY).write_bytes(log)
  (folder / 'accuracy.txt').write_text(text)
  subprocess.run([sys.executable, official / 'tools/submission/truncate_accuracy_log.py', '--input', tmp_path / 'whole',
                  '--submitter', 'Org', '--output', tmp_path / 'short'], capture_output=True, check=True)
  short = tmp_path / 'short' / folder.relative_to(tmp_path / 'whole')
  assert (short / loadgen_log.ACCURACY).read_bytes() == accuracy_log.shortened(log) != log
  assert (short / 'accuracy.txt').read_text() == accuracy_log.with_hash(text, log)


def squad_logs(files: Path, vocab: Path, folder: Path):
  """(our text of each question, what people said) of made logits, three quarters of which point at the answer.

  The logits are written as a log, too.
  """
  squad_prepare.prepare(folder / 'data', files, vocab)
  source, kept = squad_sequences.Sequences(folder / 'data', 'eval'), squad.Answers(folder / 'data')
  dice, batches, log = np.random.default_rng(0), [], []
  for n, length in enumerate(source.lengths):
    logits = dice.normal(size=(length, 2)).astype(np.float32)
    first, last = source.rows[n, 3:]
    if not first or dice.random() < 0.25:
      first = dice.integers(source.asked[n] + 2, length - 1)
      last = min(first + dice.integers(0, 4), length - 2)
    logits[first, 0] += 6
    logits[last, 1] += 6
    log.append((n, logits.tobytes()))
    batches.append({'index': [n], 'start': logits[None, :, 0], 'end': logits[None, :, 1]})
  texts = {}
  for number, (first, last) in squad_sequences.best_answers(source, batches).items():
    spans, question = source.spans[source.paragraphs[number]], kept.questions[number]
    texts[question.id] = question.context[spans[first, 0]:spans[last, 1]] if first >= 0 else ''
  written(folder / 'log.json', log)
  return texts, {question.id: [text for text, _ in question.answers] for question in kept.questions}


def run_squad_script(official: Path, folder: Path, files: Path, vocab: Path) -> tuple[str, dict]:
  """(what accuracy-squad.py prints last, its answers)."""
  python3 = Path(sys.executable).parent
  told = subprocess.run(
      [sys.executable, official / 'language/bert/accuracy-squad.py', '--vocab_file', vocab, '--val_data',
       files / 'dev-v1.1.json', '--log_file', folder / 'log.json', '--out_file', folder / 'answers.json',
       '--features_cache_file', folder / 'features.pickle'], capture_output=True, text=True, check=False,
      env={**os.environ, 'PYTHONPATH': str(SHIMS), 'PATH': f'{python3}:{os.environ["PATH"]}'})
  assert told.returncode == 0, told.stderr
  return told.stdout.splitlines()[-1], json.loads((folder / 'answers.json').read_text())


def test_the_official_script_scores_squad_as_we_do(official, tmp_path):
  made_squad.write(tmp_path / 'files')
  vocab = tmp_path / 'vocab.txt'
  vocab.write_text('\n'.join(made_squad.VOCAB) + '\n')
  ours, answers = squad_logs(tmp_path / 'files', vocab, tmp_path)
  told, theirs = run_squad_script(official, tmp_path, tmp_path / 'files', vocab)
  assert theirs == ours and len(set(ours.values())) > 20
  assert told == accuracy_log.squad_text(**squad_metric.score(answers, ours)).splitlines()[0]


def test_the_official_script_scores_the_real_squad_as_we_do(official, squad_files, tmp_path):
  ours, answers = squad_logs(squad_files, squad_files / 'vocab.txt', tmp_path)
  assert len((tmp_path / 'log.json').read_text().splitlines()) == 10_833 + 2
  told, theirs = run_squad_script(official, tmp_path, squad_files, squad_files / 'vocab.txt')
  scores, wanted = squad_metric.score(answers, ours), json.loads(told)
  assert 60 < wanted['f1'] < 90 and scores == pytest.approx(wanted, abs=0.005)
  # ours cuts the text between pieces, theirs aligns characters, and gives up to the whole word where it cannot
  assert set(theirs) == set(ours) and sum(theirs[name] != ours[name] for name in ours) <= 30
