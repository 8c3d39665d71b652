"""Submissions: MLCommons' own package checker passes them, every board that applies is there, none is half written."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from scoring import convergence, dawnbench, inference, ledger, mlperf_package, packages, record, review
from scoring import tape as tapes
from scoring.problem import Problem
from tests import made_inference, made_sets
from tests.tapes import Story

DIGITS = tapes.ROOT / 'results' / 'digits_2core_epyc'


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
  """Made-up sets of runs by name."""
  folder = tmp_path_factory.mktemp('sets')
  return {'cifar10': made_sets.cifar10(folder / 'cifar10'), 'resnet': made_sets.resnet(folder / 'resnet'),
          'seven': made_sets.resnet(folder / 'seven', runs=7),
          'quick': made_sets.resnet(folder / 'quick', 5, '--config.eval_offset_epochs=2.0'),  # at epoch 34
          'too quick': made_sets.resnet(folder / 'too_quick', stop_after=8)}  # at epoch 31


def checked(organisation) -> tuple[bool, str]:
  """(whether MLCommons' package checker ends in SUCCESS, what it printed); it exits with 0 either way."""
  done = subprocess.run(
      [sys.executable, '-m', 'mlperf_logging.package_checker', str(organisation), 'training', mlperf_package.RULESET,
       '--log_output', str(organisation.parent / 'checker.log')], capture_output=True, text=True)
  said = done.stdout + done.stderr
  assert ('PACKAGE CHECKER FOUND NO ERRORS' in said) != ('PACKAGE CHECKER FOUND ERRORS' in said), said
  return 'PACKAGE CHECKER FOUND NO ERRORS, SUCCESS' in said, said


@pytest.fixture
def mlperf(sets, tmp_path):
  """The folder of the organisation in the MLPerf package of five made-up ResNet runs."""
  packages.write(sets['resnet'], tmp_path / 'package')
  return tmp_path / 'package' / 'mlperf' / 'Daybreak'


def test_mlcommons_package_checker_passes_five_resnet_runs(mlperf):
  passed, said = checked(mlperf)
  assert passed, said
  assert 'RCP Test Passed: RCP found' in said and 'System description checker passed' in said
  assert said.count('Running compliance on file') == 5 and 'ERROR - ' not in said


def _result(mlperf, number):
  return next(mlperf.glob(f'results/*/resnet/result_{number}.txt'))


WRONG = {
    'four runs': lambda root: _result(root, 4).unlink(),
    'the same seed twice': lambda root: shutil.copyfile(_result(root, 3), _result(root, 4)),
    'converges too fast': lambda root: [path.write_text(path.read_text().replace('"epoch_num": 3', '"epoch_num": 2'))
                                        for path in root.glob('results/*/resnet/*.txt')],
    'two below the target': lambda root: [_result(root, n).write_text(
        _result(root, n).read_text().replace('"value": 0.759', '"value": 0.749')) for n in (0, 1)],
    'no cooling': lambda root: [path.write_text(path.read_text().replace('"cooling"', '"heating"'))
                                for path in root.glob('systems/*.json')],
}


@pytest.mark.parametrize('wrong', WRONG)
def test_mlcommons_package_checker_fails_what_is_wrong(mlperf, wrong):
  WRONG[wrong](mlperf)
  assert not checked(mlperf)[0]


def rcp_checked(folder, *arguments) -> tuple[bool, str]:
  """(whether MLCommons' rcp_checker passes the logs in a folder, what it printed)."""
  done = subprocess.run(
      [sys.executable, '-m', 'mlperf_logging.rcp_checker', str(folder), '--rcp_version', mlperf_package.RULESET,
       '--log_output', os.devnull, *map(str, arguments)], capture_output=True, text=True)
  said = done.stdout + done.stderr
  assert ('RCP test PASSED' in said) != ('RCP test FAILED' in said), said
  return 'RCP test PASSED' in said, said


def epoch(runs) -> float:
  """The epoch at which each of some made-up runs reaches its target, to three digits."""
  return round(record.record(tapes.read(runs / 'run_000'))['epoch'], 3)


def convergence_lines(package) -> list[str]:
  """What the README of the MLPerf package in a submission says of reference convergence points."""
  text = next(package.glob('mlperf/*/benchmarks/resnet/8*/README.md')).read_text()
  return [line.removeprefix('- ') for line in text.splitlines() if line.startswith('- ')]


def test_a_package_says_how_fast_it_converges_and_the_score_that_follows(sets, tmp_path):
  packages.write(sets['resnet'], tmp_path / 'package')
  epochs, reference, score = convergence_lines(tmp_path / 'package')
  at = epoch(sets['resnet'])
  assert 35 <= at < 35.05, 'whole steps'
  assert epochs == (f'epochs to the target: {", ".join([f"{at:g}"] * 5)}; {at:.3f} on average without the fastest and '
                    'the slowest')
  assert reference.startswith('reference: 35.000 at batch size 1,632 (mlperf-logging 4.')
  assert reference.endswith('are too few: passes')
  # each look trains 10 s, looks 2 s and saves 0.5 s, the last one not: 9 * 12 + 8 * 0.5 s after 2 * 0.5 s of data, at
  # a pace of 1, 1.01 ... 1.04 by run: 113 * 1.02 s are 1.921 minutes
  assert score == 'score: 1.921 minutes x 1.0000 = 1.921 minutes'
  assert review.review(tmp_path / 'package').problems == []


def test_the_factor_is_the_one_that_mlcommons_package_checker_sets(sets, tmp_path):
  packages.write(sets['quick'], tmp_path / 'package')
  home = next((tmp_path / 'package' / 'mlperf').iterdir())
  assert not list(home.rglob('scaling.json')), 'it is the review\'s to add'
  passed, said = checked(home)
  assert passed and 'Score should be normalized by factor of 35.0 / 34.0' in said, said
  scaling = json.loads(next(home.rglob('scaling.json')).read_text())['scaling_factor']
  assert scaling == pytest.approx(35 / epoch(sets['quick']))
  assert f'score: 1.921 minutes x {scaling:.4f} = {113 * 1.02 / 60 * scaling:.3f} minutes' in convergence_lines(
      tmp_path / 'package')


def test_runs_that_converge_too_fast_make_no_package_as_mlcommons_checkers_have_it(sets, tmp_path):
  left_out = packages.write(sets['too quick'], tmp_path / 'package')
  reason, = [line for line in left_out if 'package checker' in line]
  assert ', '.join([f'{epoch(sets["too quick"]):g}'] * 5) in reason and reason.endswith('FAILS')
  assert not (tmp_path / 'package' / 'mlperf').exists()
  assert reason in (tmp_path / 'package' / 'README.md').read_text()
  assert review.review(tmp_path / 'package').problems == []
  (tmp_path / 'logs').mkdir()
  for n in range(5):
    shutil.copyfile(tmp_path / 'package' / 'runs' / ledger.run_name(n) / 'result_0.txt',
                    tmp_path / 'logs' / f'result_{n}.txt')
  passed, said = rcp_checked(tmp_path / 'logs')
  assert not passed, said
  least = float(reason.split('fewer than ')[1].split()[0])
  assert float(said.split("'Min Epochs': ")[1].strip('npfloat64.(').split(')')[0].split('}')[0]) == pytest.approx(
      least, abs=1e-3), said


def own_points(path, *points):
  """A file of reference convergence points in MLCommons' format: (batch size, epochs of each run) each."""
  path.write_text(json.dumps({f'resnet_ref_{size}': {
      'Benchmark': 'resnet', 'BS': size, 'Hyperparams': {}, 'Epochs to converge': epochs} for size, epochs in points}))
  return path


def around(mean: float) -> list[float]:
  """Epochs of ten runs with that mean, also without the ends, and a spread of 1."""
  return [mean + d for d in (-2, -1, 0, 0, 0, 0, 0, 0, 1, 2)]


@pytest.mark.parametrize('points, how, mean', [
    ([(1632, 36)], '', 36), ([(2048, 36)], ', at its smallest batch', 36),
    ([(1024, 35), (2048, 36)], ', interpolated', 35 + 608 / 1024)])
def test_points_of_a_file_are_those_that_mlcommons_rcp_checker_reads(sets, tmp_path, points, how, mean):
  mine = own_points(tmp_path / 'mine.json', *((size, around(epochs)) for size, epochs in points))
  factor = mean / epoch(sets['resnet'])
  runs = list(ledger.tapes_of(sets['resnet']))
  made = mlperf_package.files(runs, {}, mlperf_package.reference(runs[0][1][0], mine))
  readme, = [text for path, text in made.items() if path.endswith('/README.md') and 'implementations' not in path]
  assert f'at batch size 1,632{how} (mine.json)' in readme and f' x {factor:.4f} = ' in readme
  (tmp_path / 'logs').mkdir()
  for path, text in made.items():
    if '/results/' in path:
      (tmp_path / 'logs' / path.rpartition('/')[2]).write_text(text)
  passed, said = rcp_checked(tmp_path / 'logs', '--custom_rcps', mine)
  assert passed and float(said.split(' = ')[1].split()[0]) == pytest.approx(factor), said


def test_a_batch_above_every_point_makes_no_package(sets, tmp_path):
  mine, runs = own_points(tmp_path / 'mine.json', (1024, around(36))), list(ledger.tapes_of(sets['resnet']))
  with pytest.raises(Problem, match='reference: none at batch size 1,632 or larger in mine.json'):
    mlperf_package.files(runs, {}, mlperf_package.reference(runs[0][1][0], mine))


def test_points_of_ones_own_make_a_package_only_where_mlcommons_has_none(sets, tmp_path, monkeypatch):
  mine = own_points(tmp_path / 'mine.json', (2048, around(31)))
  for name in ('resnet', 'too quick'):
    with pytest.raises(Problem, match='--reference_points: are not those of mlperf-logging .*, which judge this batch'):
      packages.write(sets[name], tmp_path / 'package', reference_points=mine)
  assert [path.name for path in tmp_path.iterdir()] == ['mine.json']
  load = convergence.load
  monkeypatch.setattr(convergence, 'load', lambda path, benchmark: (  # as if MLCommons had none above 1,024
      [convergence.point(1024, around(35))] if 'rcp_checker' in str(path) else load(path, benchmark)))
  packages.write(sets['resnet'], tmp_path / 'package', reference_points=mine)
  assert '(mine.json)' in convergence_lines(tmp_path / 'package')[1]
  report = review.review(tmp_path / 'package')
  assert report.problems == []
  assert any('reference_points: are not those of mlperf-logging' in line for line in report.warnings)
  monkeypatch.undo()
  assert any('reference_points: are not those of mlperf-logging' in line
             for line in review.review(tmp_path / 'package').problems)
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(Problem, match='mine.json: needs MLCommons. own beside it'):
    packages.write(sets['resnet'], tmp_path / 'another', reference_points=mine)


def test_without_mlperf_logging_and_a_file_there_is_no_package_that_nobody_judged(sets, tmp_path, monkeypatch):
  packages.write(sets['resnet'], tmp_path / 'judged')
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  left_out = packages.write(sets['resnet'], tmp_path / 'package')
  assert any("pip install -e '.[mlperf]'" in line for line in left_out)
  assert not (tmp_path / 'package' / 'mlperf').exists() and review.review(tmp_path / 'package').problems == []
  report = review.review(tmp_path / 'judged')
  assert report.problems == [] and any('reference_points: cannot be compared' in line for line in report.warnings)


@pytest.mark.parametrize('of, given, words', [
    ('cifar10', {'source': 'x', 'points': [{'batch_size': 8, 'mean': 1.0, 'sd': 1.0, 'n': 8}]}, 'must be null'),
    ('resnet', {'source': 'x', 'points': []}, 'must be null, or'),
    ('resnet', {'source': 'x', 'points': [{'batch_size': 1632, 'mean': 36.0, 'sd': 1.0, 'n': '8'}]}, 'is no reference'),
    ('resnet', {'source': 'x', 'points': [{'batch_size': 1632, 'mean': 36.0, 'sd': 1.0, 'n': 8}]}, 'which judge this'),
    ('resnet', 'x', 'must hold'), ('resnet', None, 'belongs to no submission')])
def test_points_that_do_not_belong_to_a_submission_are_found(sets, tmp_path, of, given, words):
  packages.write(sets[of], tmp_path / 'package')
  path = tmp_path / 'package' / 'submission.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), 'reference_points': given}))
  assert any(words in line for line in review.review(tmp_path / 'package').problems)


def test_the_open_division_is_not_judged(sets):
  runs = list(ledger.tapes_of(sets['too quick']))
  for _, events in runs:
    events[0]['division'] = 'open'
  assert mlperf_package.reference(runs[0][1][0]) is None and mlperf_package.judge(runs, None) is None
  made = mlperf_package.files(runs, {}, None)
  readme, = [text for path, text in made.items() if path.endswith('/README.md') and 'implementations' not in path]
  assert '- convergence: the open division is not judged by it\n' in readme
  with pytest.raises(Problem, match='=x: only .* imagenet to accuracy 0.759 in the open division; leave it out'):
    mlperf_package.reference(runs[0][1][0], 'x')


def test_runs_to_another_target_are_neither_judged_nor_a_result(sets):
  runs = list(ledger.tapes_of(sets['too quick']))
  for _, events in runs:
    events[0]['target'] = {**events[0]['target'], 'value': 0.7}
  with pytest.raises(Problem, match='--reference_points=x: .* these are imagenet to accuracy 0.7 in the closed'):
    mlperf_package.reference(runs[0][1][0], 'x')
  assert mlperf_package.reference(runs[0][1][0]) is None
  with pytest.raises(Problem, match="a result of resnet is to .*0.759.*, and these runs are to .*0.7,"):
    mlperf_package.result(runs)


def test_points_for_runs_that_mlperf_does_not_judge_are_refused(sets, tmp_path):
  mine = own_points(tmp_path / 'mine.json', (1024, around(36)))
  with pytest.raises(Problem, match='mine.json: only runs of imagenet to accuracy 0.759 in the closed'):
    packages.write(sets['cifar10'], tmp_path / 'package', reference_points=mine)
  with pytest.raises(Problem, match='nothing.json: cannot read'):
    packages.write(sets['resnet'], tmp_path / 'package', reference_points=tmp_path / 'nothing.json')
  assert [path.name for path in tmp_path.iterdir()] == ['mine.json']


def test_the_command_judges_a_set_of_runs(sets, tmp_path):
  for name, words in (('quick', f' x {35 / epoch(sets["quick"]):.4f} = '), ('too quick', 'FAILS')):
    shutil.copytree(sets[name], tmp_path / name)
    done = score(f'--workdir={tmp_path / name}')
    assert done.returncode == 0 and words in done.stdout and 'epochs to the target: 3' in done.stdout, done.stdout
  mine = own_points(tmp_path / 'mine.json', (1632, around(36)))
  done = score(f'--workdir={tmp_path / "quick"}', f'--reference_points={mine}')
  assert 'reference: 36.000 at batch size 1,632 (mine.json)' in done.stdout and 'FAILS' in done.stdout
  done = score(f'--workdir={tmp_path / "quick"}', f'--submission={tmp_path / "package"}', f'--reference_points={mine}')
  assert done.returncode == 1 and done.stderr.startswith('error: --reference_points: are not those of mlperf-logging')
  assert not (tmp_path / 'package').exists()
  for points, words in (((2048, around(36)), 'batch size 1,632, whose point must be made of 10 runs of the reference '
                         'or more, and the file has those of 2,048; make'), ((1632, [35, 35, 36, 37]), 'of 4 runs')):
    (tmp_path / 'quick' / 'summary.json').unlink()
    done = score(f'--workdir={tmp_path / "quick"}', f'--reference_points={own_points(mine, points)}')
    assert done.returncode == 1 and words in done.stderr and done.stderr.count('\n') == 1, done.stderr
    assert done.stdout == '' and not (tmp_path / 'quick' / 'summary.json').exists()
    ledger.summarize(tmp_path / 'quick')
  mine.write_text('[]')
  (tmp_path / 'quick' / 'summary.json').unlink()
  done = score(f'--workdir={tmp_path / "quick"}', f'--reference_points={mine}')
  assert done.stdout == '' and not (tmp_path / 'quick' / 'summary.json').exists()
  assert done.returncode == 1 and done.stderr.count('\n') == 1 and 'not a file of reference convergence' in done.stderr


def test_the_package_says_that_it_is_no_official_result_and_a_fixture(mlperf):
  for path in mlperf.rglob('*'):
    if path.is_file():
      assert 'ot an official MLPerf result' in path.read_text(), path
  for path in (*mlperf.glob('systems/*.json'), next(mlperf.glob('benchmarks/resnet/8*/README.md')),
               mlperf.parents[1] / 'README.md'):
    assert 'A fixture' in path.read_text().replace('**', ''), path


def test_scripts_of_the_package_are_shell_and_run_the_command_of_the_tapes(mlperf):
  scripts = sorted(mlperf.rglob('*.sh'))
  assert [p.name for p in scripts] == ['init_datasets.sh', 'run_and_time.sh', 'setup.sh']
  for script in scripts:
    subprocess.run(['bash', '-n', script], check=True)
  done = subprocess.run(['bash', scripts[1]], capture_output=True, text=True)
  assert done.returncode and 'WORKDIR: name a folder' in done.stderr
  assert f'--config={made_sets.RESNET} --workdir="${{WORKDIR' in scripts[1].read_text()


def test_of_more_runs_the_window_with_the_median_score_is_taken():
  def run(seconds):
    story = Story().set_up().point('run_start', step=0)
    return story.train(seconds).eval(0.0, 0.95 if seconds < 1000 else 0.5).finish().events
  runs = [(f'run_{n:03d}', run(seconds)) for n, seconds in enumerate([10, 20, 30, 40, 90, 80, 70])]
  assert [name for name, _ in mlperf_package.window(runs, 5)] == ['run_001', 'run_002', 'run_003', 'run_004', 'run_005']
  # scores 30, 50, 63.3: olympic means of the windows; with failures some are infinite
  runs[6] = ('run_006', [])
  assert [name for name, _ in mlperf_package.window(runs, 5)][0] == 'run_001'
  runs[2], runs[3] = ('run_002', []), ('run_003', run(2000))
  with pytest.raises(Problem, match='no result'):
    mlperf_package.window(runs, 5)


def test_a_package_of_seven_runs_holds_five_logs_and_all_tapes(sets, tmp_path):
  packages.write(sets['seven'], tmp_path / 'package')
  assert len(list((tmp_path / 'package').glob('mlperf/*/results/*/resnet/*.txt'))) == 5
  assert len(list((tmp_path / 'package').glob('runs/*/tape.jsonl'))) == 7
  assert 'Of more runs' in next((tmp_path / 'package').glob('mlperf/*/benchmarks/resnet/*/README.md')).read_text()


def test_what_the_submitter_says_of_the_machine_is_kept_and_may_not_contradict_the_tapes(sets, tmp_path):
  packages.write(sets['resnet'], tmp_path / 'package', system={'cooling': 'air', 'system_name': 'my box'})
  described = json.loads(next((tmp_path / 'package').glob('mlperf/*/systems/my-box.json')).read_text())
  assert described['cooling'] == 'air' and described['accelerators_per_node'] == '8'
  assert review.review(tmp_path / 'package').problems == []


@pytest.mark.parametrize('of', ['resnet', 'cifar10'])  # one that has a package of MLPerf's and one that has none
@pytest.mark.parametrize('given, words', [
    ({'accelerators_per_node': '4'}, 'the tapes say'), ({'accelerator_model_name': 'NVIDIA B200'}, 'the tapes say'),
    ({'colour': 'red'}, 'no such field'), ({'cooling': 1}, 'is a string')])
def test_a_wrong_description_of_the_machine_is_refused_and_found(sets, tmp_path, of, given, words):
  with pytest.raises(Problem, match=f'--system: .*{words}'):
    packages.write(sets[of], tmp_path / 'package', system=given)
  assert os.listdir(tmp_path) == []
  packages.write(sets[of], tmp_path / 'package')
  path = tmp_path / 'package' / 'submission.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), 'system': given}))
  found = [line for line in review.review(tmp_path / 'package').problems if 'submission.json: system: ' in line]
  assert len(found) == 1 and words in found[0]


def test_the_entry_for_dawnbench_is_of_the_run_with_the_median_time(sets, tmp_path):
  left_out = packages.write(sets['cifar10'], tmp_path / 'package')
  assert len(left_out) == 1 and 'MLPerf' in left_out[0]
  tree = tmp_path / 'package' / 'dawnbench'
  report = dawnbench.check_tree(tree)
  assert (report.entries, report.problems) == (1, [])
  told = json.loads(next(tree.glob('CIFAR10/train/*.json')).read_text())['misc']['run_set']
  assert told == {'runs': 5, 'with_entry': 4, 'chosen': 'run_003', 'by': 'median time'}  # each is slower than the last


def test_entries_of_inference_are_derived_again_and_reviewed(sets, tmp_path):
  runs = tmp_path / 'runs'
  shutil.copytree(sets['cifar10'], runs)
  for name, accuracy in (('run_000', 0.94), ('run_001', 0.95), ('run_002', 0.93)):
    folder = made_inference.dawnbench(runs / name, tapes.read(runs / name)[0], accuracy=accuracy)
  (folder.with_name('dawnbench.part')).mkdir()
  packages.write(runs, tmp_path / 'package')
  entry = next((tmp_path / 'package' / 'dawnbench' / 'CIFAR10' / 'inference').glob('*.json'))
  told = json.loads(entry.read_text())
  latencies = sorted((inference.make(runs / name / folder.relative_to(runs / 'run_002'))['latency_ms']['mean'], name)
                     for name in ('run_000', 'run_001'))
  assert (told['latency'], told['misc']['run_set']['chosen']) == latencies[1], 'of two the slower'
  assert told['misc']['run_set'] | {'chosen': ''} == {'runs': 3, 'with_entry': 2, 'chosen': '', 'by': 'median latency'}
  assert review.review(tmp_path / 'package').problems == []
  entry.write_text(json.dumps({**told, 'latency': 0.5}, indent=2))
  assert any(entry.name in line for line in review.review(tmp_path / 'package').problems)
  log = tmp_path / 'package' / 'runs' / 'run_000' / folder.relative_to(runs / 'run_002') / 'mlperf_log_detail.txt'
  log.write_text(log.read_text().replace('"is_error": false', '"is_error": true', 1))
  assert len(review.review(tmp_path / 'package').problems) > 1, 'a log that was changed shows'


def test_a_set_with_a_failed_run_has_a_submission_that_says_so(sets, tmp_path):
  runs = tmp_path / 'cifar10'
  shutil.copytree(sets['cifar10'], runs)
  (runs / 'run_001' / 'tape.jsonl').write_text('')
  lines = [json.loads(line) for line in (runs / 'ledger.jsonl').read_text().splitlines()]
  lines[3]['exit_status'] = 1
  (runs / 'ledger.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  packages.write(runs, tmp_path / 'package')
  assert review.review(tmp_path / 'package').problems == []
  assert '3 of 5 runs reached the target' in (tmp_path / 'package' / 'README.md').read_text()


def test_runs_with_a_finding_have_no_submission(sets, tmp_path):
  shutil.copytree(sets['cifar10'], tmp_path / 'cifar10')
  shutil.rmtree(tmp_path / 'cifar10' / 'run_002')
  with pytest.raises(Problem, match='run_002: is missing'):
    packages.write(tmp_path / 'cifar10', tmp_path / 'package')
  assert os.listdir(tmp_path) == ['cifar10']


def test_a_folder_that_is_there_is_left_alone(tmp_path):
  (tmp_path / 'package').mkdir()
  with pytest.raises(Problem, match='is there already'):
    packages.write(DIGITS, tmp_path / 'package')
  assert os.listdir(tmp_path / 'package') == []


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(Problem, match='cannot write'):
    packages.write(DIGITS, tmp_path / 'file' / 'package')


def test_a_folder_inside_its_own_set_is_refused(sets, tmp_path):
  shutil.copytree(sets['cifar10'], tmp_path / 'cifar10')
  for folder in ('package', 'run_000/package', '../cifar10/package'):
    with pytest.raises(Problem, match='lies in the set'):
      packages.write(tmp_path / 'cifar10', tmp_path / 'cifar10' / folder)
  packages.write(tmp_path / 'cifar10', tmp_path / 'package')


def test_the_readme_names_author_and_organization(sets, tmp_path):
  packages.write(sets['cifar10'], tmp_path / 'one', author='B. Other')
  assert 'By B. Other, organization Daybreak.' in (tmp_path / 'one' / 'README.md').read_text()
  packages.write(sets['cifar10'], tmp_path / 'two')
  assert 'By A. Tester, organization Daybreak.' in (tmp_path / 'two' / 'README.md').read_text(), 'as its tapes say'


def test_what_holds_nothing_to_review_is_one_line_that_says_what_does(tmp_path):
  (tmp_path / 'file').write_text('')
  (tmp_path / 'empty').mkdir()
  for name, words in (('file', 'is no folder'), ('empty', 'holds nothing to review'), ('missing', 'is not there')):
    lines = review.review(tmp_path / name).problems
    assert len(lines) == 1 and lines[0].startswith(f'{tmp_path / name}: {words}; name a submission, a set of runs, ')
    done = score(f'--check={tmp_path / name}')
    assert (done.returncode, done.stdout, done.stderr) == (1, '', f'error: --check={lines[0]}\n')


def test_other_things_to_review(sets, tmp_path):
  assert review.review(sets['cifar10']).problems == []
  assert review.review(tapes.ROOT / 'results').entries >= 26
  shutil.copytree(sets['cifar10'], tmp_path / 'cifar10')
  text = (tmp_path / 'cifar10' / 'summary.json').read_text()
  (tmp_path / 'cifar10' / 'summary.json').write_text(text.replace('"n": 5', '"n": 4'))
  assert review.review(tmp_path).problems[0].startswith('cifar10/summary.json: line 3')


NO_JAX = """
import sys
class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('jax', 'jaxlib', 'numpy', 'flax', 'optax', 'absl'):
      raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import pkgutil, scoring
for module in pkgutil.iter_modules(scoring.__path__):
  __import__(f'scoring.{module.name}')
from scoring import review
print(review.review(sys.argv[1]).problems)
"""


def test_a_review_needs_no_jax():
  # statistics need scipy, which needs numpy: a single run has none of them
  done = subprocess.run([sys.executable, '-c', NO_JAX, 'results/squad_tiny_2core_epyc'], cwd=tapes.ROOT,
                        capture_output=True, text=True)
  assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr


def score(*arguments):
  return subprocess.run([sys.executable, '-m', 'launchers.score', *map(str, arguments)], cwd=tapes.ROOT,
                        capture_output=True, text=True)


def test_the_command_writes_and_checks_a_submission(tmp_path):
  done = score(f'--workdir={DIGITS}', f'--submission={tmp_path / "package"}')
  assert done.returncode == 0 and done.stdout.endswith('20 entries, 0 problems, 0 warnings\n'), done.stderr
  assert score(f'--check={tmp_path / "package"}').returncode == 0
  done = score('--check=results/squad_tiny_2core_epyc')
  assert done.returncode == 0 and done.stdout.endswith('1 entry, 0 problems, 0 warnings\n')
  path = tmp_path / 'package' / 'runs' / ledger.run_name(3) / 'record.json'
  path.write_text(path.read_text().replace('"seed": 3', '"seed": 4'))
  done = score(f'--check={tmp_path / "package"}')
  assert done.returncode == 1 and 'problem: runs/run_003/record.json: line ' in done.stdout


@pytest.mark.parametrize('arguments, words', [
    (['--workdir=results/squad_tiny_2core_epyc', '--submission=x'], 'make a set with launchers.train --runs=N'),
    ([], 'give one of'), (['--workdir=x', '--check=x'], 'give one of'),
    ([f'--workdir={DIGITS}', '--submission=x', '--system=nothing.json'],
     '--system=nothing.json: is missing; name'),
    *[([f'--{name}=', *more], f'--{name}= is empty') for name, more in [
        ('check', []), ('workdir', ['--check=x']), ('compare', ['x']), ('submission', ['--workdir=x']),
        ('output', ['--page', '--workdir=x']), ('inference_tree', ['--workdir=x'])]],
    (['--submission=x'], '--submission lacks --workdir'), (['--page'], '--page lacks --workdir'),
    (['--reference_points=x'], '--reference_points lacks --workdir'),
    (['--workdir=x', '--page', '--reference_points=x'], 'and not with --page'),
    (['--workdir=x', '--page', '--submission=y'], '--submission and --page are different things'),
    (['--workdir=results/squad_tiny_2core_epyc', '--reference_points=x'], 'is no set of runs'),
    (['--watch'], '--watch lacks --page, and --workdir'), (['--watch', '--workdir=x'], '--watch lacks --page'),
    (['--check=results', '--submission=x'], '--submission lacks --workdir')])
def test_wrong_flags_are_told_in_one_line(arguments, words):
  done = score(*arguments)
  assert done.returncode in (1, 2) and words in done.stderr and done.stderr.count('\n') == 1
  assert not (tapes.ROOT / 'x').exists()
