"""What a tape says of its code is held against that code."""
import subprocess
import sys

import pytest

from launchers import checkout, recipe
from scoring import review
from scoring import tape as tapes
from tests.tapes import HEADER
from training import config as configs

CONFIGS = sorted(p.relative_to(tapes.ROOT).as_posix() for p in tapes.ROOT.glob('references/*/configs/*.py')
                 if p.stem != '__init__')
PRINT = "from launchers import checkout as c; print(c.code_sha256(), c.commit_sha256('HEAD'))"


@pytest.mark.parametrize('path', CONFIGS)
def test_the_task_of_every_recipe_is_made_again_as_it_was(path):
  config = configs.load(str(tapes.ROOT / path))
  first = {**HEADER, **recipe.describe(config, config.make_task('')), 'command': [f'--config={path}', '--workdir=x']}
  assert list(recipe._task(first)) == []
  assert any('its code makes it' in line for line in recipe._task({**first, 'model': 'another'}))
  assert any('its config is not' in line for line in recipe._task({**first, 'config': first['config'] + 'x = 1\n'}))
  assert any('no file of the checkout' in line for line in recipe._task({**first, 'command': ['--config=/etc/passwd']}))


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


def tape_of(folder, **header):
  folder.mkdir()
  tape = tapes.Tape(folder / 'tape.jsonl')
  tape.event('process', **{**HEADER, 'fixture': False, **header})
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
  assert 'cannot be looked at' in tape_of(tmp_path / 'none', git_commit=None).warnings[0]
