"""The command that prepares images: killed at any moment it goes on, and no process of it is left behind."""
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from input_pipelines import image_progress, imagenet2012
from tests.input_pipelines import made_images as made
from tests.launchers.running import ROOT, finish, kill, launch, one_line

# the command as a process of its own, with the constants of the made set; {0} is what else to put in place
COMMAND = '''import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would this
from tests.input_pipelines import made_images
from input_pipelines import image_prepare, image_progress, image_shards, imagenet2012, staging
from launchers import command, prepare
made_images.patch(setattr)
imagenet2012.SHARDS = {{'train': 11, 'validation': 5}}
image_prepare.REPACKER = made_images.REPACKER
{0}
command.script(prepare.main, prepare.__doc__)'''
NAME, PREPARING = imagenet2012.NAME, f'{imagenet2012.NAME}.preparing'
SLEEP = 0.03  # seconds that an image takes, so that there is something to interrupt


@pytest.fixture(scope='module')
def manual(tmp_path_factory):
  return made.archives(tmp_path_factory.mktemp('source'))


@pytest.fixture(scope='module')
def whole(tmp_path_factory, manual):
  """What an uninterrupted run writes."""
  data = tmp_path_factory.mktemp('whole')
  done = finish(start(data, manual, sleep=0))
  assert done.returncode == 0 and done.stderr == '', done.stderr
  return tree(data)


@pytest.fixture
def data(tmp_path):
  return tmp_path / 'data'


@pytest.fixture
def token(monkeypatch):
  """In the environment of every process that this test starts, and of those that they start."""
  value = uuid.uuid4().hex
  monkeypatch.setenv('DAYBREAK_TEST_TOKEN', value)
  return value


def start(data, manual, *arguments, place='', sleep=SLEEP, workers=2) -> subprocess.Popen:
  return subprocess.Popen([sys.executable, '-c', COMMAND.format(place), '--dataset=imagenet2012', f'--data_dir={data}',
                           f'--manual_dir={manual}', f'--workers={workers}', '--repack=on', *map(str, arguments)],
                          cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, 'DAYBREAK_TEST_SLEEP': str(sleep)})


def tree(folder) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def finished(data) -> dict[str, int]:
  """The shards that are told to be whole, and when each was written."""
  return {p.stem: (data / PREPARING / 'shards' / p.stem).stat().st_mtime_ns
          for p in (data / PREPARING / 'state').glob('*.json')}


def wait_for_shards(data, count, process, seconds=60):
  end = time.monotonic() + seconds
  while len(finished(data)) < count:
    assert process.poll() is None and time.monotonic() < end, process.communicate()
    time.sleep(0.002)


def alive(token) -> list[str]:
  """Commands of the processes that have the token in their environment, but for this one."""
  found = []
  for folder in Path('/proc').glob('[0-9]*'):
    try:
      if folder.name != str(os.getpid()) and token.encode() in (folder / 'environ').read_bytes():
        found.append((folder / 'cmdline').read_text())
    except OSError:
      pass
  return found


def check_gone(token, seconds=20):
  end = time.monotonic() + seconds
  while alive(token):
    assert time.monotonic() < end, alive(token)
    time.sleep(0.01)


@pytest.mark.parametrize('seed', range(3))
def test_killed_again_and_again_it_ends_with_the_same_bytes(data, manual, whole, token, seed):
  chance, kept = random.Random(seed), {}
  for _ in range(3):
    process = start(data, manual, workers=chance.choice((1, 2, 3)))
    try:
      wait_for_shards(data, len(kept) + chance.choice((0, 1, 2)), process)
      time.sleep(chance.random() * 3 * SLEEP)
    finally:
      done = kill(process)
    assert done.returncode == -9
    assert kept.items() <= finished(data).items()  # what was whole is not written again
    kept = finished(data)
    assert not (data / NAME).exists()
  assert kept
  done = finish(start(data, manual, sleep=0))
  assert done.returncode == 0, done.stderr
  assert f'going on where an earlier process stopped: {len(kept)} of 16 files are there' in done.stdout
  assert tree(data) == whole
  check_gone(token)


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_whatever_ends_it_no_process_is_left(data, manual, whole, token, number):
  process = start(data, manual, sleep=0.2)
  wait_for_shards(data, 1, process)
  assert len(alive(token)) == 3
  done = kill(process, number)
  assert done.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
  if number == signal.SIGINT:
    assert 'the same command goes on' in one_line(done.stderr)
  assert number == signal.SIGINT or done.stderr == ''
  check_gone(token)
  done = finish(start(data, manual, sleep=0))
  assert 'going on' in done.stdout and tree(data) == whole


def test_a_second_process_waits_its_turn(data, manual):
  process = start(data, manual, sleep=10)
  try:
    while not (data / PREPARING / 'state').is_dir():
      assert process.poll() is None, process.communicate()
      time.sleep(0.01)
    done = finish(start(data, manual))
    assert done.returncode == 1 and f'another process is preparing {NAME} there' in one_line(done.stderr)
    assert process.poll() is None
  finally:
    kill(process)


def test_an_image_in_the_middle_that_is_damaged_ends_all(data, tmp_path, token):
  files = {**made.train(), 'n01443537/n01443537_3.JPEG': b'text'}
  where = made.archives(tmp_path / 'source', train=made.train_tar(files))
  done = finish(start(data, where))
  assert done.returncode == 1 and 'n01443537_3.JPEG: neither JPEG nor PNG' in one_line(done.stderr)
  check_gone(token, 0)
  kept = finished(data)
  made.archives(tmp_path / 'source')
  done = finish(start(data, where))
  assert done.returncode == 0 and kept
  assert 'the source or a flag has changed since this was interrupted: beginning anew' in done.stdout


@pytest.fixture(scope='module')
def halfway(tmp_path_factory, manual):
  """What a killed process left."""
  data = tmp_path_factory.mktemp('halfway')
  process = start(data, manual)
  wait_for_shards(data, 3, process)
  kill(process)
  return data


@pytest.mark.parametrize('change', ['source', 'flag', 'shards', 'nothing'])
def test_what_was_asked_otherwise_before_begins_anew(data, tmp_path, halfway, manual, change):
  shutil.copytree(halfway, data)
  if change == 'source':  # the same to the byte, but younger
    manual = shutil.copytree(manual, tmp_path / 'source')
    os.utime(manual / imagenet2012.TRAIN)
  done = finish(start(data, manual, *(['--repack=off'] if change == 'flag' else []), sleep=0, place=(
      'imagenet2012.SHARDS = {"train": 9, "validation": 6}' if change == 'shards' else '')))
  assert done.returncode == 0
  assert ('beginning anew' in done.stdout) == (change != 'nothing') != ('going on' in done.stdout)
  assert ('0 re-packed' in done.stdout) == (change == 'flag')
  assert len(list((data / NAME / imagenet2012.VERSION).glob('*array_record*'))) == (15 if change == 'shards' else 16)
  assert {p.name for p in data.iterdir()} == {NAME}


@pytest.mark.parametrize('damage', [
    lambda shard, state: shard.write_bytes(shard.read_bytes()[:-4]), lambda shard, state: shard.unlink(),
    lambda shard, state: state.write_text('{"rec'), lambda shard, state: state.unlink(),
    lambda shard, state: shard.write_bytes(bytes(shard.stat().st_size))],
    ids=['cut', 'gone', 'half told', 'untold', 'zeros'])
def test_a_shard_that_is_not_whole_is_written_again(data, manual, halfway, whole, damage):
  shutil.copytree(halfway, data)
  kept = sorted(finished(data))
  damage(data / PREPARING / 'shards' / kept[1], data / PREPARING / 'state' / f'{kept[1]}.json')
  done = finish(start(data, manual, sleep=0))
  assert f'{len(kept) - 1} of 16 files are there' in done.stdout and tree(data) == whole


def test_a_worker_that_is_killed_is_told_and_the_rest_is_kept(data, manual, whole, token):
  process = start(data, manual, sleep=0.1)
  wait_for_shards(data, 1, process)
  workers = [int(f.name) for f in Path('/proc').glob('[0-9]*') if f'{process.pid}' == _parent(f)]
  os.kill(workers[0], signal.SIGKILL)
  done = finish(process)
  line = one_line(done.stderr)
  assert done.returncode == 1 and 'ended with status -9' in line and 'fewer --workers' in line
  check_gone(token, 0)
  assert 'going on' in finish(start(data, manual, sleep=0)).stdout and tree(data) == whole


def _parent(folder) -> str | None:
  try:
    return (folder / 'stat').read_text().rpartition(')')[2].split()[1]
  except OSError:
    return None


def test_a_disk_that_fills_up_is_named_and_what_fits_is_kept(manual, tmp_path, whole, token):
  disk = tmp_path / 'disk'
  disk.mkdir()
  if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=500k', 'tmpfs', disk]).returncode:
    pytest.skip('needs the right to mount a tmpfs')
  try:
    done = finish(start(disk, manual, place='staging.check_space = lambda *_: None', sleep=0))
    line = one_line(done.stderr)
    assert done.returncode == 1 and 'No space left' in line and str(disk) in line
    check_gone(token, 0)
    assert finished(disk)
    subprocess.run(['mount', '-o', 'remount,size=9m', disk], check=True)
    done = finish(start(disk, manual, sleep=0))
    assert 'going on' in done.stdout and tree(disk) == whole
  finally:
    subprocess.run(['umount', disk], check=True)


def test_progress_is_a_line_now_and_then(data, manual):
  done = finish(start(data, manual, place='image_progress.LINE_SECONDS = 0.1'))
  lines = done.stderr.splitlines()
  assert done.returncode == 0 and len(lines) > 1
  assert all(line.startswith('writing: ') and ' of 30 images, ' in line and ' left' in line for line in lines)


def test_the_line_of_progress_tells_speed_and_the_time_left():
  bar = image_progress.Bar(1_000, 100_000_000)
  bar(250, 20_000_000)
  assert bar.line(60.0) == 'writing: 250 of 1,000 images, 25 %, 0 MB/s, 0:04:00 left'
  assert bar.line(10.0) == 'writing: 250 of 1,000 images, 25 %, 2 MB/s, 0:00:40 left'


@pytest.mark.parametrize('arguments, status, words', [
    (['--dataset=imagenet2012'], 1, ['--manual_dir', '--from_dir']),
    (['--dataset=imagenet2012', '--manual_dir=/none'], 1, ['--manual_dir=/none', 'image-net.org']),
    (['--dataset=imagenet2012', '--tfds'], 2, ['--tfds means nothing for --dataset=imagenet2012']),
    (['--dataset=imagenet2012', '--notfds'], 2, ['--tfds means nothing']),
    (['--dataset=imagenet2012', '--name=x'], 2, ['--name means nothing']),
    (['--dataset=image_folder', '--name=x'], 1, ['--from_dir']),
    (['--dataset=image_folder', '--from_dir=x'], 1, ['--name=']),
    (['--dataset=image_folder', '--name=x', '--manual_dir=x'], 2, ['--manual_dir means nothing']),
    (['--dataset=image_folder', '--name=x', '--val_labels=x'], 2, ['--val_labels means nothing']),
    (['--dataset=cifar10', '--workers=2'], 2, ['--workers means nothing for --dataset=cifar10']),
    (['--dataset=cifar10', '--repack=off'], 2, ['--repack means nothing']),
    (['--dataset=image_folder', '--workers=-1'], 2, ['workers']),
    (['--dataset=image_folder', '--repack=maybe'], 2, ['repack', 'auto']),
    (['--dataset=image_folder', '--data_dir=gs://bucket/x'], 2, ['gs://bucket/x', 'copy'])])
def test_a_wrong_flag_is_named(arguments, status, words, tmp_path):
  done = launch('prepare', f'--data_dir={tmp_path}', *arguments)
  line = one_line(done.stderr)
  assert done.returncode == status, line
  for word in words:
    assert word in line
  assert not any(tmp_path.iterdir())


def test_help_says_whose_each_flag_is():
  done = launch('prepare', '--help')
  for words in ('--manual_dir', '--val_labels', '(image_folder)', '--workers', '--repack', '(cifar10)'):
    assert words in done.stdout
