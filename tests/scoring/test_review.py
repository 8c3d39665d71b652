"""A review finds what was tampered with and names it, also where all that follows from it was made anew to match."""
import json
import random
import shutil
from pathlib import Path

import pytest

from launchers import checkout, recipe
from scoring import packages, review
from scoring import tape as tapes
from tests import made_sets
from tests.scoring.tampering import AS_IT_IS, RESEALED, events, one, tape

DIGITS = tapes.ROOT / 'results' / 'digits_2core_epyc'


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """name -> an untampered submission."""
  folder = tmp_path_factory.mktemp('submissions')
  sets = {'digits': DIGITS, 'cifar10': made_sets.cifar10(folder / 'cifar10_runs'),
          'resnet': made_sets.resnet(folder / 'resnet_runs', runs=6)}
  for name, runs in sets.items():
    packages.write(runs, folder / name, author='A. Tester', author_email='tester@example.org')
  return {name: folder / name for name in sets}


def found(root: Path) -> list[str]:
  """The problems that `launchers.score --check` prints."""
  report = review.review(root)
  recipe.add(report, root)
  assert all('\n' not in line for line in report.problems + report.warnings)
  return report.problems


def reseal(root: Path):
  """Makes everything anew that follows from the tapes, as a careful cheat would; the manifest too."""
  said = {key: value for key, value in json.loads((root / 'submission.json').read_text()).items() if key != 'notice'}
  try:
    made, _ = packages.derived(root / 'runs', said)
  except review.audit.BROKEN:
    made = {}
  kept = {f'runs/{path}' for path in packages.raw(root / 'runs')} | {'submission.json'}
  if made:
    for path in [p for p in root.rglob('*') if p.is_file() and p.relative_to(root).as_posix() not in kept]:
      path.unlink()
  for path, content in made.items():
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)
  files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob('*') if p.is_file()}
  files.pop('manifest.json', None)
  (root / 'manifest.json').write_text(packages.manifest(files))


@pytest.mark.parametrize('name, of, change, file, words', RESEALED, ids=[case[0] for case in RESEALED])
def test_tapes_and_ledger_give_it_away_though_all_that_follows_was_made_anew(whole, tmp_path, name, of, change, file,
                                                                             words):
  if words == 'no such commit' and checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  shutil.copytree(whole[of], tmp_path / 'package')
  change(tmp_path / 'package')
  reseal(tmp_path / 'package')
  lines = found(tmp_path / 'package')
  assert any(line.startswith(file) and any(w in line for w in words.split('|')) for line in lines), '\n'.join(lines)


@pytest.mark.parametrize('name, of, change, file, words', AS_IT_IS, ids=[case[0] for case in AS_IT_IS])
def test_a_changed_file_is_named(whole, tmp_path, name, of, change, file, words):
  shutil.copytree(whole[of], tmp_path / 'package')
  change(tmp_path / 'package')
  lines = found(tmp_path / 'package')
  assert any(file in line.split(': ')[0] + '/' and words in line for line in lines), '\n'.join(lines)


def test_a_lie_that_is_told_throughout_is_not_found(whole, tmp_path):
  """What docs/submitting.md says that a review cannot see: a time within its neighbours, and all made anew to match."""
  shutil.copytree(whole['cifar10'], tmp_path / 'package')
  events(1, one('eval', 'stop', 2, time=lambda t: t - 0.25))(tmp_path / 'package')
  assert found(tmp_path / 'package')
  reseal(tmp_path / 'package')
  assert found(tmp_path / 'package') == []


@pytest.mark.parametrize('of', ['digits', 'cifar10', 'resnet'])
def test_what_nobody_touched_has_no_finding(whole, of):
  assert found(whole[of]) == []


@pytest.mark.parametrize('of', ['digits', 'cifar10', 'resnet'])
def test_sealing_an_untouched_submission_anew_changes_nothing(whole, tmp_path, of):
  shutil.copytree(whole[of], tmp_path / 'package')
  reseal(tmp_path / 'package')
  files = lambda root: {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}
  assert files(tmp_path / 'package') == files(whole[of])


def test_published_results_have_no_finding():
  assert found(tapes.ROOT / 'results') == []


@pytest.mark.parametrize('words, told', [
    (['--runs=20', '--runs=1', '--workdir=runs/mine/run_002'], True), (['--runs=20', '--workdir=runs/mine'], True),
    (['--runs', '20', '--runs=1', '--workdir=runs/mine/run_002'], True),
    (['--runs=1', '--workdir=runs/mine/run_002'], True), (['-runs=3', '--workdir=runs/mine'], True),
    (['--runs=1', '--workdir=runs/mine'], False), (['--workdir=runs/run_002'], False)])
def test_one_run_of_a_set_that_is_shown_alone_is_found(tmp_path, words, told):
  name = 'squad_tiny_2core_epyc'
  shutil.copytree(tapes.ROOT / 'results' / name, tmp_path / name)
  path = tmp_path / name / 'tape.jsonl'
  first, rest = path.read_text().split('\n', 1)
  header = json.loads(first)
  header['command'] = [word for word in header['command'] if 'workdir' not in word] + words
  path.write_text(json.dumps(header) + '\n' + rest)
  for root, file in ((tmp_path, f'{name}/tape.jsonl'), (tmp_path / name, 'tape.jsonl')):
    lines = [line for line in review.review(root).problems if 'show the whole set' in line]
    assert [line.split(': ')[0] for line in lines] == [file] * told


def test_a_run_of_a_published_set_is_found_alone_but_not_beside_its_ledger(tmp_path):
  shutil.copytree(DIGITS / 'run_002', tmp_path / 'mine')
  lines = found(tmp_path)
  assert len(lines) == 1 and lines[0].startswith('mine/tape.jsonl: line 1: its command line made it run_002 of a set')
  assert found(DIGITS / 'run_002') == []


def test_a_set_without_its_ledger_is_found_wherever_it_lies(tmp_path):
  shutil.copytree(DIGITS, tmp_path / 'all' / '2026' / 'mine')
  assert review.review(tmp_path).problems == []
  (tmp_path / 'all' / '2026' / 'mine' / 'ledger.jsonl').unlink()
  for root, prefix in ((tmp_path, 'all/2026/mine/'), (tmp_path / 'all' / '2026' / 'mine', '')):
    report = review.review(root)
    assert report.problems[0].startswith(f'{prefix}ledger.jsonl: is missing: this is a set of runs without its ledger')
    assert report.entries == 20


@pytest.mark.parametrize('seconds', [0.0, 86_400.0])
def test_the_same_run_twice_is_found_also_with_its_times_moved(tmp_path, seconds):
  for name in ('one', 'two'):
    shutil.copytree(tapes.ROOT / 'results' / 'squad_tiny_2core_epyc', tmp_path / name)
  shutil.copytree(DIGITS, tmp_path / 'set')
  assert len(found(tmp_path)) == 1
  path = tmp_path / 'two' / 'tape.jsonl'
  told = [json.loads(line) for line in path.read_text().splitlines()]
  path.write_text(''.join(json.dumps({**e, 'time': e['time'] + seconds}) + '\n' for e in told))
  assert found(tmp_path) == ['two/tape.jsonl: is the run of one/tape.jsonl again; a run counts once']


@pytest.mark.parametrize('file, content, line', [
    ('manifest.json', None, 'manifest.json: is missing'), ('submission.json', None, 'submission.json: is missing'),
    *(('manifest.json', text, 'manifest.json: is not the sha256 of every file') for text in (
        '[]', '{', '{"files": []}', 'null'))])
def test_a_missing_or_broken_file_is_one_line(whole, tmp_path, file, content, line):
  shutil.copytree(whole['digits'], tmp_path / 'package')
  (tmp_path / 'package' / file).unlink()
  if content is not None:
    (tmp_path / 'package' / file).write_text(content)
  lines = [told for told in found(tmp_path / 'package') if told.startswith(file) and 'in manifest.json' not in told]
  assert len(lines) == 1 and lines[0].startswith(line)


def test_a_fixture_is_called_one(whole):
  assert all('is a fixture' in line for line in review.review(whole['resnet']).warnings)
  assert len(review.review(whole['resnet']).warnings) == 6 and not review.review(whole['digits']).warnings


@pytest.mark.parametrize('junk', [
    'null', '[]', '\0', '{"event": "process", "time": 1}', '{"event": "x", "time": 1e400}',
    '{"event": "process", "time": 1, "target": [], "hardware": 3}'])
def test_a_tape_of_junk_is_a_finding_and_no_traceback(whole, tmp_path, junk):
  shutil.copytree(whole['digits'], tmp_path / 'package')
  (tmp_path / 'package' / tape(3)).write_text(junk + '\n')
  reseal(tmp_path / 'package')
  assert any(line.startswith(tape(3)) for line in found(tmp_path / 'package'))


JUNK = (None, True, -1, 0, 1e300, 'x', '', [], {}, [1], {'a': 1}, 10**30)


def scramble(value, rng):
  """Puts junk in the place of something in a JSON value, or takes it away; the value changes in place."""
  at = value
  while True:
    key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
    if not (isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8):
      break
    at = at[key]
  if isinstance(at, dict) and rng.random() < 0.3:
    del at[key]
  else:
    at[key] = rng.choice(JUNK)


@pytest.mark.parametrize('seed', range(24))
def test_a_review_of_junk_never_raises(whole, tmp_path, seed):
  rng = random.Random(seed)
  shutil.copytree(whole['cifar10'], tmp_path / 'package')
  path = tmp_path / 'package' / rng.choice([tape(1), tape(1), 'runs/ledger.jsonl', 'submission.json', 'manifest.json'])
  values = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == '.jsonl' else [
      json.loads(path.read_text())]
  scramble(values[0] if rng.random() < 0.5 else rng.choice(values), rng)
  path.write_text(''.join(json.dumps(value) + '\n' for value in values))
  assert found(tmp_path / 'package')  # the manifest shows it, whatever it is
  reseal(tmp_path / 'package')
  found(tmp_path / 'package')  # some junk stands where nothing is read
