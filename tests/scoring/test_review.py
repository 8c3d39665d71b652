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
