"""The scripts that MLPerf's layout asks for: clean shell, and they prepare, verify and train for real."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scoring import tape as tapes

SCRIPTS = sorted((tapes.ROOT / 'references').rglob('*.sh'))
NAMES = ('download_dataset.sh', 'run_and_time.sh', 'verify_dataset.sh')  # mlcommons/training_policies, CONTRIBUTING.md
REFERENCES = ('cifar', 'resnet_imagenet', 'squad')


def run(script: str, *arguments, cwd=tapes.ROOT, **environment):
  """Runs a script of `references`, with this Python."""
  return subprocess.run([str(tapes.ROOT / 'references' / script), *map(str, arguments)], cwd=cwd, text=True,
                        capture_output=True, env={**os.environ, 'PYTHON': sys.executable, **environment})


def test_each_reference_has_what_mlperf_asks_for():
  assert [p.relative_to(tapes.ROOT / 'references').as_posix() for p in SCRIPTS] == sorted(
      [f'{reference}/{name}' for reference in REFERENCES for name in NAMES] + ['run_and_time.sh'])
  for script in SCRIPTS:
    assert os.access(script, os.X_OK), script


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda p: str(p.relative_to(tapes.ROOT)))
def test_scripts_are_clean(script):
  subprocess.run(['bash', '-n', str(script)], check=True)
  shellcheck = shutil.which('shellcheck', path=Path(sys.executable).parent) or 'shellcheck'
  done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout
  text = script.read_text()
  for config in re.findall(r'references/[a-z_]+/configs/\w+\.py', text):
    assert (tapes.ROOT / config).is_file(), config


def test_run_and_time_trains_digits_and_tells_how_long_it_took(tmp_path):
  done = run('cifar/run_and_time.sh', '--author=A. Tester', cwd=tmp_path, SEED='5', WORKDIR=str(tmp_path / 'run'),
             CONFIG='references/cifar/configs/digits.py', JAX_PLATFORMS='cpu')
  assert done.returncode == 0, done.stderr
  first = tapes.read(tmp_path / 'run')[0]
  assert first['seed'] == 5 and first['submitter']['author'] == 'A. Tester'
  name, config, seed, seconds, status = done.stdout.splitlines()[-1].split(',')
  assert (name, config, seed, status) == ('RESULT', 'digits', '5', '0') and 0 < int(seconds) < 300


def test_run_and_time_ends_with_the_status_of_training(tmp_path):
  done = run('run_and_time.sh', 'references/cifar/configs/nothing.py', WORKDIR=str(tmp_path / 'run'))
  assert done.returncode == 1 and 'no such file' in done.stderr and done.stdout.endswith(',1\n')
  done = run('run_and_time.sh')
  assert done.returncode == 2 and done.stderr.count('\n') == 1


@pytest.mark.parametrize('reference', REFERENCES)
def test_verifying_nothing_fails_in_one_line(tmp_path, reference):
  done = run(f'{reference}/verify_dataset.sh', DATA_DIR=str(tmp_path))
  assert done.returncode == 1 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1


def test_imagenet_cannot_be_downloaded_and_says_what_it_needs(tmp_path):
  done = run('resnet_imagenet/download_dataset.sh', DATA_DIR=str(tmp_path))
  assert done.returncode == 1 and 'needs either --manual_dir' in done.stderr and done.stderr.count('\n') == 1


def test_real_cifar10_is_prepared_and_verified(data_dir, tmp_path):
  where = {'DATA_DIR': str(tmp_path / 'sets')}
  # a path that is relative to where the user stands
  done = run('cifar/download_dataset.sh', f'--from_dir={os.path.relpath(data_dir, tmp_path)}', '--notfds', cwd=tmp_path,
             **where)
  assert done.returncode == 0, done.stderr
  assert run('cifar/verify_dataset.sh', **where).stdout.count('whole, to the byte') == 1
  array = next((tmp_path / 'sets').rglob('cifar10.npy'))
  with open(array, 'r+b') as file:
    file.seek(10_000)
    byte = file.read(1)
    file.seek(10_000)
    file.write(bytes([byte[0] ^ 1]))
  done = run('cifar/verify_dataset.sh', **where)
  assert done.returncode == 1 and 'is not what was prepared there' in done.stderr


def test_real_squad_is_prepared_and_verified(squad_files, tmp_path):
  where = {'DATA_DIR': str(tmp_path / 'sets')}
  done = run('squad/download_dataset.sh', f'--from_dir={squad_files}', **where)
  assert done.returncode == 0, done.stderr
  assert run('squad/verify_dataset.sh', **where).returncode == 0
  told = next((tmp_path / 'sets').rglob('squad.json'))
  told.write_text(json.dumps({**json.loads(told.read_text()), 'fingerprint': '0' * 64}))
  done = run('squad/verify_dataset.sh', **where)
  assert done.returncode == 1 and 'is not what was prepared there' in done.stderr


def test_real_photographs_are_prepared_and_verified(data_dir, tmp_path):
  where, flags = {'DATA_DIR': str(tmp_path / 'sets')}, ('--dataset=image_folder', '--name=imagenette')
  done = run('resnet_imagenet/download_dataset.sh', *flags, f'--from_dir={data_dir}/imagenette', '--repack=off',
             **where)
  assert done.returncode == 0, done.stderr
  assert run('resnet_imagenet/verify_dataset.sh', *flags, **where).returncode == 0
  shard = max((tmp_path / 'sets').rglob('*validation*array_record*'), key=lambda p: p.stat().st_size)
  with open(shard, 'r+b') as file:
    file.seek(shard.stat().st_size // 2)
    byte = file.read(1)
    file.seek(shard.stat().st_size // 2)
    file.write(bytes([byte[0] ^ 1]))
  done = run('resnet_imagenet/verify_dataset.sh', *flags, **where)
  assert done.returncode == 1 and str(shard.parent) in done.stderr and done.stderr.startswith('error: '), done.stderr
