"""What a tape says of its code is held against that code."""
import subprocess
import sys

import pytest

from launchers import checkout, recipe
from references.cifar.configs import digits
from scoring import review
from scoring import tape as tapes
from tests import made_sets
from tests.tapes import HEADER
from training import config as configs

CONFIGS = sorted(p.relative_to(tapes.ROOT).as_posix() for p in tapes.ROOT.glob('references/*/configs/*.py')
                 if p.stem != '__init__')
PRINT = "from launchers import checkout as c; print(c.code_sha256(), c.commit_sha256('HEAD'))"


@pytest.mark.parametrize('path', CONFIGS)
def test_the_task_of_every_recipe_is_made_again_as_it_was(path):
  config = configs.load(str(tapes.ROOT / path))
  first = {**HEADER, **recipe.describe(config, config.make_task('')), 'command': [f'--config={path}', '--workdir=x'],
           'event': 'process'}
  assert list(recipe._task([first])) == []
  assert any('its code makes it' in line for line in recipe._task([{**first, 'model': 'another'}]))
  assert any('its config is not' in line for line in recipe._task([{**first, 'config': first['config'] + 'x = 1\n'}]))


DIGITS = 'references/cifar/configs/digits.py'
MINE = 'references/x/configs/mine.py'


@pytest.mark.parametrize('path, runs', [
    (MINE, True), ('references/y/../x/configs/mine.py', True), (f'{{root}}/{MINE}', True),
    ('references/x/configs/untracked.py', False), ('references/x/task.py', False), (f'a/{MINE}', False),
    ('references/x/configs/a/mine.py', False), ('references/x/configs/../task.py', False), ('{root}/../mine.py', False),
    ('/etc/passwd', False), ('', False)])
def test_a_review_runs_no_file_but_a_config_that_git_knows(tmp_path, monkeypatch, path, runs):
  root, ran = tmp_path / 'checkout', tmp_path / 'ran'
  for name in (MINE, 'references/x/configs/untracked.py', 'references/x/task.py', f'a/{MINE}',
               'references/x/configs/a/mine.py', '../mine.py'):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text('from pathlib import Path\nfrom references.cifar.configs.digits import get_config\n'
                             f'Path({str(ran)!r}).touch()\n')
  subprocess.run(['git', 'init', '--quiet'], cwd=root, check=True)
  subprocess.run(['git', 'add', '--', 'references', 'a', ':!*untracked.py'], cwd=root, check=True)
  monkeypatch.setattr(tapes, 'ROOT', root)
  config = digits.get_config()
  first = {**HEADER, **recipe.describe(config, config.make_task('')), 'event': 'process'}
  lines = list(recipe._task([{**first, 'command': [f'--config={path.format(root=root)}']}]))
  assert ran.exists() == runs
  assert lines == [] if runs else len(lines) == 1 and 'is no config of the checkout' in lines[0]


@pytest.fixture
def clone(tmp_path):
  """A clone of this checkout, so that nothing in it is uncommitted."""
  subprocess.run(['git', 'clone', '--quiet', str(tapes.ROOT), str(tmp_path / 'clone')], check=True)
  return tmp_path / 'clone'


def test_the_digest_of_a_commit_is_that_of_its_checkout(clone):
  def digests():
    return subprocess.run([sys.executable, '-c', PRINT], cwd=clone, capture_output=True, text=True, check=True,
                          ).stdout.split()
  mine, commits = digests()
  assert mine == commits
  (clone / 'training' / 'new.py').write_text('x = 1\n')
  mine, commits = digests()
  assert mine != commits


def test_only_files_that_git_does_not_ignore_are_in_the_digest(clone, monkeypatch):
  monkeypatch.setattr(tapes, 'ROOT', clone)
  configs_of, right = clone / 'references' / 'cifar' / 'configs', checkout.code_sha256()
  (configs_of / '.#digits.py').symlink_to('somebody@host.1234:5678')  # as Emacs locks a file
  assert checkout.code_sha256() == right
  stray = configs_of / '.ipynb_checkpoints' / 'digits-checkpoint.py'
  stray.parent.mkdir()
  stray.write_text('x = 1\n')
  assert checkout.code_sha256() != right
  (clone / '.gitignore').write_text('.ipynb_checkpoints/\n')
  assert checkout.code_sha256() == right
  monkeypatch.setattr(checkout, 'git', lambda *words: None)  # without git nobody knows that it is ignored
  assert checkout.code_sha256() != right
  stray.unlink()
  assert checkout.code_sha256() == right


def test_a_copy_below_a_checkout_of_something_else_has_no_git(tmp_path, monkeypatch):
  root, identity = tmp_path / 'other' / 'copy', ('-c', 'user.name=A. Tester', '-c', 'user.email=tester@example.org')
  root.mkdir(parents=True)
  for words in (['init', '--quiet'], [*identity, 'commit', '--quiet', '--allow-empty', '--message=theirs']):
    subprocess.run(['git', *words], cwd=tmp_path / 'other', check=True)
  monkeypatch.setattr(tapes, 'ROOT', tmp_path / 'other')
  theirs = checkout.git('rev-parse', 'HEAD')
  monkeypatch.setattr(tapes, 'ROOT', root)
  assert theirs and checkout.git('rev-parse', 'HEAD') is checkout.changed() is None
  problems, warnings = recipe._commit(theirs, '0' * 64, '')
  assert problems == [] and 'cannot be looked at here' in warnings[0]


def tape_of(folder, **header):
  folder.mkdir()
  tape = tapes.Tape(folder / 'tape.jsonl')
  tape.event('process', **{**HEADER, 'fixture': False, 'command': [f'--config={DIGITS}'], **header})
  tape.close()
  report = review.Report()
  recipe.add(report, folder)
  return report


def test_a_digest_that_is_not_its_commits_is_a_finding(tmp_path):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  head = checkout.git('rev-parse', 'HEAD')
  right = tape_of(tmp_path / 'right', git_commit=head, code_sha256=checkout.commit_sha256(head))
  wrong = tape_of(tmp_path / 'wrong', git_commit=head, code_sha256='0' * 64)
  assert not [line for line in right.problems if 'code_sha256' in line]
  assert any('code_sha256 is 0000000000000000...' in line for line in wrong.problems)
  assert 'no such commit' in tape_of(tmp_path / 'unknown', git_commit='1' * 40).problems[0]


def test_code_that_nobody_can_look_at_is_a_finding(tmp_path):
  assert 'nobody can look at it' in tape_of(tmp_path / 'none', git_commit=None).problems[0]
  assert 'nobody can look at it' in tape_of(tmp_path / 'other', git_commit=None, code_sha256='0' * 64).problems[0]
  known = tape_of(tmp_path / 'known', git_commit=None, code_sha256=checkout.code_sha256())
  assert not [line for line in known.problems if 'commit' in line] and 'names no commit' in known.warnings[0]


def test_a_digest_of_code_may_be_left_out_only_where_the_commit_wrote_none(tmp_path):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  before = tapes.read(tapes.ROOT / 'results' / 'squad_tiny_2core_epyc')[0]['git_commit']
  assert tape_of(tmp_path / 'before', git_commit=before).problems == []
  found = tape_of(tmp_path / 'since', git_commit=checkout.git('rev-parse', 'HEAD')).problems
  assert len(found) == 1 and 'code_sha256 is missing, and the code of its commit' in found[0]


def test_the_code_of_a_restart_is_looked_at_too(tmp_path):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  head = checkout.git('rev-parse', 'HEAD')
  tape = tapes.Tape(tmp_path / 'tape.jsonl')
  for digest in (checkout.commit_sha256(head), '0' * 64):
    tape.event('process', **{**HEADER, 'fixture': False, 'git_commit': head, 'code_sha256': digest})
  tape.close()
  report = review.Report()
  recipe.add(report, tmp_path)
  assert [line for line in report.problems if 'code_sha256 is 0000000000000000...' in line]


@pytest.mark.parametrize('config, words', [
    (DIGITS, None), ('/tmp/mine.py', 'is no config of'), ('references/x/task.py', 'is no config of'),
    ('references/a\0b/configs/mine.py', 'is no config of'), (MINE, 'is not in its commit')])
def test_the_config_of_other_code_is_one_of_its_commit(tmp_path, config, words):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  before = tapes.read(tapes.ROOT / 'results' / 'squad_tiny_2core_epyc')[0]['git_commit']
  found = tape_of(tmp_path / 'run', git_commit=before, command=[f'--config={config}']).problems
  assert found == [] if words is None else len(found) == 1 and 'line 1: --config=' in found[0] and words in found[0]


@pytest.mark.parametrize('hours, told', [(0.5, 0), (2, 1)])
def test_a_run_is_not_older_than_its_code(tmp_path, hours, told):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  head = checkout.git('rev-parse', 'HEAD')
  committed = int(checkout.git('show', '--no-patch', '--format=%ct', head))
  tape = tapes.Tape(tmp_path / 'tape.jsonl', now=lambda: committed - 3600 * hours)
  tape.event('process', **{**HEADER, 'fixture': False, 'git_commit': head, 'code_sha256': checkout.commit_sha256(head)})
  tape.close()
  report = review.Report()
  recipe.add(report, tmp_path)
  found = [line for line in report.problems if 'line 1: its process starts before its commit was made' in line]
  assert len(found) == told


def test_what_a_tape_calls_its_commit_is_given_to_git_only_where_it_is_one(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(checkout, 'git', lambda *words: asked.append(words))
  tape_of(tmp_path / 'run', git_commit='--output=/x', code_sha256='0' * 64)
  assert not any('/x' in word for words in asked for word in words)


def test_code_that_a_fork_changed_is_told(clone, monkeypatch):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  monkeypatch.setattr(tapes, 'ROOT', clone)
  git = ('git', '-c', 'user.name=A. Tester', '-c', 'user.email=tester@example.org')

  def commit(*paths):
    for path in paths:
      (clone / path).write_text('x = 1\n')
    subprocess.run([*git, 'add', *paths], cwd=clone, check=True)
    subprocess.run([*git, 'commit', '--quiet', '--message=mine'], cwd=clone, check=True)
    made = checkout.git('rev-parse', 'HEAD')
    assert list(recipe._to_read(made)) == []  # in the history
    checkout.git('reset', '--hard', '--quiet', 'HEAD~1')
    return made

  def told(*paths):
    return [line.partition('checkout, and ')[2] for line in recipe._to_read(commit(*paths))]

  mine, other = 'references/cifar/configs/mine.py', 'references/cifar/configs/other.py'
  assert told(mine, other) == [f'adds or changes config {mine}, {other}']
  assert told('scoring/clocks.py') == ['changes more than configs: scoring/clocks.py']
  assert told(mine, 'optax.py', 'README.md')[1:] == ['changes more than configs: optax.py']
  checkout.git('mv', 'scoring/clocks.py', mine)
  assert 'changes more than configs: optax.py, scoring/clocks.py' in told('optax.py')
  checkout.git('rm', '-r', '--quiet', 'launchers')  # so that its code writes no digest
  (clone / 'launchers').mkdir()
  problems, warnings = recipe._commit(commit('launchers/train.py'), None, '')
  assert problems == [] and 'changes more than configs: launchers/' in warnings[0]


def test_code_without_a_common_history_is_told(clone, monkeypatch):
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  monkeypatch.setattr(tapes, 'ROOT', clone)
  identity = ('-c', 'user.name=A. Tester', '-c', 'user.email=tester@example.org')
  made = checkout.git(*identity, 'commit-tree', '-m', 'mine', 'HEAD^{tree}')
  assert recipe._commit(made, checkout.commit_sha256(made), '') == (
      [], [f'its commit {made[:12]} shares no history with this checkout: read it'])


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Made-up runs of a real config: the second misses its target, and both look once an epoch."""
  return made_sets.cifar10(tmp_path_factory.mktemp('sets') / 'set', best=(0.9411, 0.9396))


def lines(runs, number, change=lambda events: None):
  events = tapes.read(runs / f'run_00{number}')
  change(events)
  return list(recipe._task(events))


def test_evaluations_are_where_the_config_wants_them(runs):
  assert lines(runs, 0) == lines(runs, 1) == []

  def every_second(events):
    stops = [e for e in events if e['event'] == 'eval' and e['edge'] == 'stop']
    events[:] = [e for e in events if not any(e is stop for stop in stops[1:-1:2])]
  assert any('evaluation 2 is at step 96, by its config at step 64' in line for line in lines(runs, 1, every_second))

  def first_left_out(events):
    events.remove(next(e for e in events if e['event'] == 'eval' and e['edge'] == 'stop'))
  found = lines(runs, 0, first_left_out)
  assert any('evaluation 1 is at step 64, by its config at step 32' in line for line in found)

  def once_more(events):
    at = next(n for n, e in enumerate(events) if e['event'] == 'eval' and e['edge'] == 'stop')
    events.insert(at, {**events[at], 'step': 12})
  assert any('evaluation 1 is at step 12, by its config at step 32' in line for line in lines(runs, 0, once_more))


def test_a_run_without_its_target_goes_on_to_the_end_of_its_schedule(runs):

  def cut(events):
    last = max(n for n, e in enumerate(events) if e['event'] == 'train' and e['edge'] == 'start')
    del events[last:[e['event'] for e in events].index('run_stop')]
  assert any('training ended at step' in line and 'the schedule of its config has' in line
             for line in lines(runs, 1, cut))

  def and_killed(events):
    cut(events)
    del events[[e['event'] for e in events].index('run_stop'):]
  assert lines(runs, 1, and_killed) == []


def test_embedded_data_are_those_of_the_code():
  config = digits.get_config()
  task = config.make_task('')
  first = {**HEADER, **recipe.describe(config, task), 'event': 'process',
           'command': ['--config=references/cifar/configs/digits.py']}
  data = {'event': 'data', 'edge': 'start', 'split': 'train', 'fingerprint': task.data['train'].fingerprint}
  assert list(recipe._task([first, data])) == []
  found = list(recipe._task([first, {**data, 'fingerprint': '0' * 64}]))
  assert found == ['line 2: its train data are not those that its code embeds']
