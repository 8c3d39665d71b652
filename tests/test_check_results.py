"""The CI job that reviews results: its steps, run on clones of this checkout, pass what is right and stop a cheat."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launchers import checkout
from scoring import tape as tapes

WORKFLOW = tapes.ROOT / '.github' / 'workflows' / 'check_results.yml'


def git(*arguments, cwd=None):
  subprocess.run(['git', '-c', 'user.name=A. Tester', '-c', 'user.email=tester@example.org', *map(str, arguments)],
                 cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def workspace(tmp_path):
  """What the job's runner has after its checkouts: this commit, and a proposal on top of it."""
  if checkout.git('rev-parse', '--is-shallow-repository') != 'false':
    pytest.skip('needs a checkout with its history')
  git('clone', '--quiet', tapes.ROOT, tmp_path / 'base')
  git('clone', '--quiet', tapes.ROOT, tmp_path / 'proposed')
  return tmp_path


def job(workspace: Path) -> list[tuple[str, subprocess.CompletedProcess]]:
  """Runs the job's commands, but for the installation, until one fails."""
  done = []
  for step in yaml.safe_load(WORKFLOW.read_text())['jobs']['check']['steps']:
    if 'run' not in step or step['name'] == 'Install':
      continue
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    result = subprocess.run(['bash', '-e', '-c', step['run']], cwd=workspace / step.get('working-directory', '.'),
                            capture_output=True, text=True, env={**os.environ, **step.get('env', {}), 'PATH': path})
    done.append((step['name'], result))
    if result.returncode:
      break
  return done


def propose(workspace, path, old, new):
  """Commits a change of one file of the proposal."""
  file = workspace / 'proposed' / path
  assert old in file.read_text()
  file.write_text(file.read_text().replace(old, new))
  git('commit', '--all', '--quiet', '--message=better', cwd=workspace / 'proposed')


def test_the_job_passes_what_is_published(workspace):
  done = job(workspace)
  assert [result.returncode for _, result in done] == [0, 0, 0], done[-1]
  assert '0 problems' in done[1][1].stdout and '0 stale' in done[2][1].stdout


def test_the_job_stops_a_better_accuracy(workspace):
  propose(workspace, 'results/digits_2core_epyc/run_003/tape.jsonl', '"num_evaluated": 364', '"num_evaluated": 363')
  name, result = job(workspace)[-1]
  assert name == 'Review every tape' and result.returncode == 1
  assert 'problem: digits_2core_epyc/run_003/tape.jsonl: line' in result.stdout


def test_the_job_stops_a_better_table(workspace):
  propose(workspace, 'README.md', '20 of 20 runs', '21 of 20 runs')
  name, result = job(workspace)[-1]
  assert name == 'Tables are those of the tapes' and result.returncode == 1


def test_the_job_does_not_use_the_checker_of_the_proposal(workspace):
  propose(workspace, 'launchers/score.py', 'report = review.review(root)', 'report = review.Report(26)')
  propose(workspace, 'results/digits_2core_epyc/ledger.jsonl', '"exit_status": 0', '"exit_status": 3')
  assert job(workspace)[-1][1].returncode == 1


def test_from_a_fork_to_a_reviewed_entry(workspace):
  """The steps of docs/submitting.md, with real runs of the proposal's own commit."""
  fork = workspace / 'proposed'
  (fork / 'references' / 'cifar' / 'configs' / 'mine.py').write_text(
      '"""Digits, faster."""\nimport dataclasses\nfrom references.cifar.configs import digits\n\n\n'
      'def get_config():\n  return dataclasses.replace(digits.get_config(), peak_learning_rate=0.012)\n')
  git('add', '--all', cwd=fork)
  git('commit', '--quiet', '--message=mine', cwd=fork)

  def command(*arguments):
    return subprocess.run([sys.executable, '-m', *arguments], cwd=fork, capture_output=True, text=True, check=True,
                          env={**os.environ, 'JAX_PLATFORMS': 'cpu'}).stdout
  command('launchers.train', '--config=references/cifar/configs/mine.py', '--workdir=runs/mine', '--runs=3')
  told = command('launchers.score', '--workdir=runs/mine', '--submission=runs/package')
  assert '3 entries, 0 problems, 0 warnings' in told
  shutil.copytree(fork / 'runs' / 'mine', fork / 'results' / 'mine', ignore=shutil.ignore_patterns('checkpoints'))
  with open(fork / 'results' / 'README.md', 'a') as page:
    page.write('\n`mine`: digits, faster.\n\n<!-- results: mine -->\n<!-- end of results -->\n')
  published = sum(folder.is_dir() for folder in (fork / 'results').iterdir())
  assert f'{published} folders' in command('launchers.results')
  git('add', '--all', cwd=fork)
  git('commit', '--quiet', '--message=results', cwd=fork)
  listed = subprocess.run(['git', 'ls-files', 'results/mine'], cwd=fork, capture_output=True, text=True).stdout.split()
  assert listed == ['results/mine/ledger.jsonl', *(f'results/mine/run_{n:03d}/tape.jsonl' for n in range(3)),
                    'results/mine/summary.json']
  git('clean', '--quiet', '--force', '-dx', cwd=fork)  # what a checkout of it has
  done = job(workspace)
  assert [result.returncode for _, result in done] == [0, 0, 0], done[-1]


def test_the_job_has_no_rights_and_no_secrets():
  told = yaml.safe_load(WORKFLOW.read_text())
  assert told['permissions'] == {'contents': 'read'} and 'secrets' not in WORKFLOW.read_text()
  assert 'pull_request' in told[True]  # YAML 1.1 reads the key `on` as true
