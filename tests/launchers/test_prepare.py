"""Preparing CIFAR-10: every source gives the same, every defect is one line, nothing half-done is ever left."""
import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

import numpy as np
import pytest

from input_pipelines import cifar10, cifar10_prepare, download, staging
from scoring.problem import Problem
from tests.input_pipelines import made
from tests.launchers.running import ROOT, finish, kill, launch, one_line, read_json

# the command as a process of its own, with the constants of the made files; {0} is what else to put in place
COMMAND = '''from tests.input_pipelines import made
from input_pipelines import cifar10_prepare, cifar10_tfds, staging
from launchers import command, prepare
import time
made.patch(setattr)
{0}
command.script(prepare.main, prepare.__doc__)'''
PREPARING = 'cifar10.preparing'


@pytest.fixture
def small(monkeypatch):
  """The constants of the made files, and no proxy on the way to this machine."""
  made.patch(monkeypatch.setattr)
  monkeypatch.setenv('no_proxy', '*')
  return monkeypatch


@pytest.fixture
def source(tmp_path):
  return made.unpack(tmp_path / 'source' / made.FOLDER)


@pytest.fixture
def data(tmp_path):
  return tmp_path / 'data'


def start(*arguments, place='') -> subprocess.Popen:
  return subprocess.Popen([sys.executable, '-c', COMMAND.format(place), '--dataset=cifar10', *map(str, arguments)],
                          cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, 'no_proxy': '*'})


def prepare(data, from_dir=None, tfds=False) -> str:
  return cifar10_prepare.prepare(data, from_dir, tfds)


def refused(data, *arguments, **keywords) -> str:
  """The one line of the Problem; it left nothing behind."""
  with pytest.raises(Problem) as caught:
    prepare(data, *arguments, **keywords)
  assert not data.exists() or not any(data.iterdir())
  return str(caught.value)


def names(data) -> set[str]:
  return {p.name for p in cifar10.directory(data).iterdir()}


def check_prepared(data):
  np.testing.assert_array_equal(np.load(cifar10.array_file(data)), made.array())
  assert cifar10.fingerprint(data) == cifar10_prepare.array_sha256(made.array())
  assert {p.name for p in data.iterdir()} == {'cifar10'}
  cifar10.load(data)


def check_tfds(data):
  """What TFDS itself reads: every pixel, label and id, under its own names."""
  import tensorflow_datasets as tfds
  rows = made.rows()
  for source, split, part in (
      (tfds.builder_from_directory(cifar10.directory(data)).as_data_source(split='train'), 'train', rows[:150]),
      (tfds.data_source('cifar10', split='test', data_dir=data), 'test', rows[150:])):
    assert len(source) == len(part)
    records = {record['id'].decode(): record for record in source}
    for i, row in enumerate(part):
      record = records[f'{split}_{i:05d}']
      assert record['label'] == row[0]
      np.testing.assert_array_equal(record['image'], row[1:].reshape(32, 32, 3))
  features = tfds.builder_from_directory(cifar10.directory(data)).info.features
  assert tuple(features['label'].names) == cifar10.CLASSES and features['image'].shape == (32, 32, 3)


# --- what goes in ---

@pytest.mark.parametrize('form', ['files', 'files in their folder', 'archive', 'archive in a folder'])
def test_every_form_of_the_files_gives_the_same(small, source, data, tmp_path, form):
  archive = tmp_path / cifar10_prepare.ARCHIVE
  archive.write_bytes(made.archive())
  from_dir = {'files': source, 'files in their folder': source.parent, 'archive': archive,
              'archive in a folder': tmp_path}[form]
  report = prepare(data, from_dir)
  check_prepared(data)
  assert names(data) == {'cifar10.npy', 'cifar10.json'}
  told = cifar10.provenance(data)
  assert told['official_archive'] is False and set(told['files_sha256']) == set(made.FILES)
  assert ('not the official one' in report) == form.startswith('archive')
  for word in (cifar10.fingerprint(data), '--config=references/cifar/configs/no_tta.py', f'--data_dir={data}', '150'):
    assert word in report


def test_tfds_reads_what_was_written_for_it(small, source, data):
  prepare(data, source, tfds=True)
  check_prepared(data)
  check_tfds(data)


def test_the_features_are_those_of_tfds_own_builder(small, source, data, tmp_path):
  import tensorflow_datasets as tfds
  prepare(data, source, tfds=True)
  own = tfds.builder('cifar10', data_dir=tmp_path / 'none')
  ours = tfds.builder_from_directory(cifar10.directory(data))
  assert own.info.features.to_json() == ours.info.features.to_json()
  assert str(own.version) == str(ours.version) == cifar10.VERSION
  assert own.info.supervised_keys == ours.info.supervised_keys


def test_again_does_nothing_and_adds_what_is_missing(small, source, data):
  prepare(data, source)
  before = cifar10.array_file(data).stat()
  shutil.rmtree(source)
  assert 'nothing to do' in prepare(data)
  assert 'dataset_info.json' in prepare(data, tfds=True)
  check_prepared(data)
  check_tfds(data)
  assert cifar10.array_file(data).stat().st_mtime_ns == before.st_mtime_ns
  assert 'nothing to do' in prepare(data, tfds=True)


def test_a_damaged_set_is_prepared_again(small, source, data, capsys):
  prepare(data, source)
  for damage in (lambda file: file.write_bytes(file.read_bytes()[:-9] + bytes(9)),  # only its sha256 tells
                 lambda file: file.write_bytes(b''), lambda file: file.with_suffix('.json').unlink()):
    damage(cifar10.array_file(data))
    prepare(data, source)
    assert 'preparing it again' in capsys.readouterr().out
    check_prepared(data)


def test_a_set_that_tfds_prepared_is_kept(small, source, data):
  prepare(data, source, tfds=True)
  for file in (cifar10.array_file(data), cifar10.provenance_file(data)):
    file.unlink()
  before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in cifar10.directory(data).iterdir()}
  prepare(data, source, tfds=True)
  check_prepared(data)
  for name, kept in before.items():
    file = cifar10.directory(data) / name
    assert (file.read_bytes(), file.stat().st_mtime_ns) == kept


def test_a_set_in_tfrecord_format_gets_a_copy_that_needs_no_tensorflow(small, source, data):
  made.unpack(cifar10.directory(data), {'dataset_info.json': b'{"fileFormat": "tfrecord"}'})
  with pytest.raises(Problem, match='tfrecord format, which needs TensorFlow'):
    cifar10.load(data)
  prepare(data, source, tfds=True)
  check_prepared(data)
  assert names(data) == {'cifar10.npy', 'cifar10.json', 'dataset_info.json'}


def test_without_tfds_it_says_what_to_install(small, source, data):
  find_spec = cifar10_prepare.importlib.util.find_spec
  small.setattr(cifar10_prepare.importlib.util, 'find_spec', lambda name: None if name == 'PIL' else find_spec(name))
  line = refused(data, source, tfds=True)
  assert 'PIL not installed' in line and "pip install -e '.[data]'" in line and '--notfds' in line
  prepare(data, source)


# --- what is wrong with it ---

def changed(name, change):
  return lambda files: {**files, name: change(files[name])}


def relabelled(record, label):
  def change(content):
    records = np.frombuffer(content, np.uint8).reshape(-1, cifar10.ROW).copy()
    records[record, 0] = label if label is not None else (records[record, 0] + 1) % 10
    return records.tobytes()
  return change


def swapped(files):
  return {**files, 'data_batch_2.bin': files['data_batch_4.bin'], 'data_batch_4.bin': files['data_batch_2.bin']}


def reversed_records(content):
  return np.frombuffer(content, np.uint8).reshape(-1, cifar10.ROW)[::-1].tobytes()


@pytest.mark.parametrize('packed', [False, True], ids=['files', 'archive'])
@pytest.mark.parametrize('change, words', [
    (lambda files: {n: c for n, c in files.items() if n != 'data_batch_3.bin'}, ['data_batch_3.bin missing']),
    (changed('test_batch.bin', lambda c: c[:-1]), ['test_batch.bin: 92189 bytes, not 92190']),
    (changed('data_batch_1.bin', lambda c: c + c), ['data_batch_1.bin: 184380 bytes, not 92190']),
    (changed('data_batch_1.bin', lambda c: b''), ['data_batch_1.bin: 0 bytes']),
    (changed('data_batch_5.bin', relabelled(13, 10)), ['data_batch_5.bin: record 13 has the label 10', '0 to 9']),
    (swapped, ['data_batch_2.bin holds the records of data_batch_4.bin']),
    (changed('data_batch_4.bin', relabelled(3, None)), ['data_batch_4.bin', '14 of class', '16 of class', 'has 15']),
    (changed('data_batch_4.bin', reversed_records), ['data_batch_4.bin', 'in another order']),
])
def test_a_defect_of_a_file_is_named(small, data, tmp_path, change, words, packed):
  files = change(made.contents())
  if packed:
    source = tmp_path / cifar10_prepare.ARCHIVE
    source.write_bytes(made.archive(files))
  else:
    source = made.unpack(tmp_path / 'source', files)
  line = refused(data, source)
  for word in [*words, str(source), 'leave --from_dir out']:
    assert word in line


def link(name, target, kind=tarfile.SYMTYPE):
  member = tarfile.TarInfo(name)
  member.type, member.linkname = kind, target
  return member


@pytest.mark.parametrize('extra, words', [
    (('/etc/cron.d/x', b'x'), ['/etc/cron.d/x']),
    (('cifar-10-batches-bin/../../x', b'x'), ['cifar-10-batches-bin/../../x']),
    (link('cifar-10-batches-bin/data', '/etc'), ['cifar-10-batches-bin/data', "a link to '/etc'"]),
    (link('hard', '../../x', tarfile.LNKTYPE), ['hard', 'a link to']),
    (link('pipe', '', tarfile.FIFOTYPE), ['pipe']),
    (('cifar-10-batches-bin/test_batch.bin', made.contents()['test_batch.bin']), ['test_batch.bin', 'there twice']),
])
def test_an_archive_with_a_member_that_has_no_place_there_is_refused(small, data, tmp_path, extra, words):
  source = tmp_path / 'bad.tar.gz'
  source.write_bytes(made.archive(extra=[extra]))
  line = refused(data, source)
  for word in [*words, str(source)]:
    assert word in line


def test_an_archive_of_other_classes_is_refused(small, data, tmp_path):
  source = tmp_path / 'other.tar.gz'
  source.write_bytes(made.archive(classes=('apple', 'aquarium_fish')))
  assert 'ten classes' in refused(data, source)


@pytest.mark.parametrize('damage', [
    lambda content: content[:len(content) // 2], lambda content: content[:-4], lambda content: b'',
    lambda content: b'text', lambda content: content[:-8] + bytes(4) + content[-4:]],  # gzip's checksum
    ids=['half', 'end', 'empty', 'text', 'checksum'])
def test_a_damaged_archive_is_named(small, data, tmp_path, damage):
  source = tmp_path / 'bad.tar.gz'
  source.write_bytes(damage(made.archive()))
  line = refused(data, source)
  assert str(source) in line and 'cut short, or no .tar.gz' in line


def test_a_wrong_from_dir_is_named(small, data, tmp_path):
  for from_dir in (tmp_path, tmp_path / 'none'):
    line = refused(data, from_dir)
    assert f'--from_dir={from_dir}' in line and 'cifar-10-binary.tar.gz' in line


# --- the download ---

@pytest.fixture
def server(small, tmp_path):
  """Serves a folder on this machine: (folder, url)."""
  folder = tmp_path / 'served'
  folder.mkdir()

  class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
      pass

    def end_headers(self):
      if 'cut' in self.path:
        self.close_connection = True
      super().end_headers()

    def copyfile(self, source, output):
      content = source.read()
      output.write(content[:len(content) // 2] if 'cut' in self.path else content)
      if 'slow' in self.path:
        time.sleep(1)

  running = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder))
  thread = threading.Thread(target=running.serve_forever, kwargs={'poll_interval': 0.01})
  thread.start()
  yield folder, f'http://127.0.0.1:{running.server_port}/'
  running.shutdown()
  thread.join()
  running.server_close()


def serve(server, small, name='cifar-10-binary.tar.gz', content=None) -> str:
  """Serves the made archive, or `content` in its place; its url."""
  folder, url = server
  official = made.archive()
  (folder / name).write_bytes(official if content is None else content(official))
  made.patch(small.setattr, url + name, official)
  return url + name


def test_the_download_is_prepared_and_nothing_else_is_kept(server, small, data):
  url = serve(server, small)
  report = prepare(data, tfds=True)
  check_prepared(data)
  check_tfds(data)
  told = cifar10.provenance(data)
  assert told['official_archive'] and told['source'] == url and 'the official one' in report
  assert told['archive_sha256'] == cifar10_prepare.ARCHIVE_SHA256


@pytest.mark.parametrize('name, content, words', [
    ('a.gz', lambda c: c[:-1] + b'x', ['wrong content', 'sha256']),
    ('a.gz', lambda c: c + b'x', ['wrong content', 'more than']),
    ('a.gz', lambda c: b'<html>log in</html>', ['ended after 19 of']),
    ('cut.gz', None, ['ended after']),
])
def test_a_wrong_download_is_named(server, small, data, name, content, words):
  url = serve(server, small, name, content)
  line = refused(data)
  for word in [*words, url, '--from_dir']:
    assert word in line


def test_no_answer_is_named(server, small, data):
  url = serve(server, small)
  small.setattr(cifar10_prepare, 'URL', url + 'x')
  assert 'answered 404' in refused(data)
  for other, word in (('http://127.0.0.1:9/x', 'refused'), ('http://no.such.host.invalid/x', 'no download')):
    small.setattr(cifar10_prepare, 'URL', other)
    line = refused(data)
    assert word in line and other in line and '--from_dir' in line


def test_a_terminal_sees_how_far_the_download_is(server, small, data, capsys):
  serve(server, small)
  small.setattr(sys.stderr, 'isatty', lambda: True)
  prepare(data)
  shown = capsys.readouterr().err
  assert 'MB of' in shown and shown.endswith('\r')


def test_a_server_that_falls_silent_is_named(server, small, data):
  small.setattr(download, 'TIMEOUT_SECONDS', 0.2)
  serve(server, small, 'slow-cut.gz')
  assert 'timed out' in refused(data)


# --- what can happen meanwhile ---

STAGES = {
    'array': 'w = cifar10_prepare.write_array\ncifar10_prepare.write_array = lambda *a: (w(*a), open({0!r}, "w"), '
             'time.sleep(60))',
    'tfds': 'w = cifar10_tfds.write\ncifar10_tfds.write = lambda *a: (w(*a), open({0!r}, "w"), time.sleep(60))',
    'publish': 'staging.publish = lambda *a: (open({0!r}, "w"), time.sleep(60))'}


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize('stage', STAGES)
def test_a_kill_leaves_nothing_that_looks_finished(small, source, data, tmp_path, stage, number):
  reached = tmp_path / 'reached'
  # A shell's background jobs ignore SIGINT, and so would what the tests start there.
  heard = 'import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n'
  process = start(f'--data_dir={data}', f'--from_dir={source}', place=heard + STAGES[stage].format(str(reached)))
  while not reached.exists():
    assert process.poll() is None, process.communicate()
    time.sleep(0.01)
  with pytest.raises(Problem, match='another process is preparing cifar10'):
    prepare(data, source)
  done = kill(process, number)
  assert {p.name for p in data.iterdir()} <= ({PREPARING} if number == signal.SIGKILL else set())
  assert done.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
  with pytest.raises(Problem, match='no CIFAR-10 there'):
    cifar10.load(data)
  prepare(data, source, tfds=True)
  check_prepared(data)
  check_tfds(data)


@pytest.mark.parametrize('moves', range(7))
def test_a_failure_between_two_files_leaves_what_loads_or_is_refused(small, source, data, moves):
  """Beside a damaged array, files come one by one; wherever that stops, the next command repairs it."""
  prepare(data, source)
  cifar10.array_file(data).write_bytes(b'damaged')
  replace, moved = os.replace, []

  def fail(file, goal):
    if cifar10.directory(data) in goal.parents:
      moved.append(goal)
      if len(moved) > moves:
        raise OSError(28, 'No space left on device')
    replace(file, goal)
  small.setattr(staging.os, 'replace', fail)
  with pytest.raises(Problem, match='No space left on device'):
    prepare(data, source, tfds=True)
  assert {p.name for p in data.iterdir()} == {'cifar10'} and cifar10.fingerprint(data) is None
  assert [p.name for p in moved[4:]] == ['dataset_info.json', 'cifar10.npy', 'cifar10.json'][:max(0, moves - 3)]
  small.setattr(staging.os, 'replace', replace)
  prepare(data, source, tfds=True)
  check_prepared(data)
  check_tfds(data)


def test_too_small_a_disk_is_named_before_anything_is_written(small, source, data):
  usage = shutil.disk_usage('/')
  small.setattr(staging.shutil, 'disk_usage', lambda path: usage._replace(free=500_000))
  line = refused(data, source)
  assert 'No space left' in line and str(data) in line
  small.setattr(staging.shutil, 'disk_usage', lambda path: usage._replace(free=600_000))
  prepare(data, source)  # without TFDS's files it is enough


@pytest.mark.parametrize('size, tfds', [(300, False), (800, True)])
def test_a_disk_that_fills_up_is_named_and_left_empty(source, tmp_path, size, tfds):
  disk = tmp_path / 'disk'
  disk.mkdir()
  if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}k', 'tmpfs', disk]).returncode:
    pytest.skip('needs the right to mount a tmpfs')
  try:
    done = finish(start(f'--data_dir={disk}', f'--from_dir={source}', f'--tfds={tfds}',
                        place='staging.check_space = lambda *_: None'))  # as if another filled it since
    line = one_line(done.stderr)
    assert done.returncode == 1 and 'No space left' in line and str(disk) in line
    assert not any(disk.iterdir())
  finally:
    subprocess.run(['umount', disk], check=True)


# --- the command ---

def test_the_command_ends_with_what_to_type_next(source, data):
  done = finish(start(f'--data_dir={data}', f'--from_dir={source}', '--notfds'))
  assert done.returncode == 0 and done.stderr == ''
  assert f'python -m launchers.train --config=references/cifar/configs/no_tta.py --workdir=runs/no_tta ' \
         f'--data_dir={data}' in done.stdout
  assert read_json(cifar10.provenance_file(data))['source'] == str(source)


@pytest.mark.parametrize('arguments, status, words', [
    ([], 2, ['--dataset is missing', 'launchers.prepare --dataset=cifar10']),
    (['--dataset=cifar100'], 2, ['cifar100', 'cifar10']),
    (['--dataset=cifar10', '--fromdir=x'], 2, ['fromdir', 'from_dir']),
    (['--dataset=cifar10', 'stray'], 2, ['stray']),
    (['--dataset=cifar10', '--notfds', '--from_dir=/none'], 1, ['--from_dir=/none']),
    (['--dataset=cifar10', '--notfds', f'--from_dir={ROOT}/tests'], 1, ['--from_dir', 'data_batch_1.bin']),
])
def test_a_wrong_flag_is_named(arguments, status, words, tmp_path):
  done = launch('prepare', *arguments, f'--data_dir={tmp_path}')
  line = one_line(done.stderr)
  assert done.returncode == status, line
  for word in words:
    assert word in line


def test_a_data_dir_that_cannot_be_written_is_named(small, source):
  with pytest.raises(Problem, match='/dev/null: cannot prepare cifar10 there'):
    prepare(cifar10.Path('/dev/null'), source)


def test_help_lists_the_flags():
  done = launch('prepare', '--help')
  assert done.returncode == 0
  for flag in ('--dataset', '--data_dir', '--from_dir', '--tfds'):
    assert flag in done.stdout


def test_the_real_files_are_prepared(data_dir):
  with tempfile.TemporaryDirectory() as folder:  # large, and pytest keeps its own folders
    done = launch('prepare', '--dataset=cifar10', f'--from_dir={data_dir}', f'--data_dir={folder}', '--notfds')
    assert done.returncode == 0, done.stderr
    assert cifar10.load(folder)['eval']['label'][:5].tolist() == [3, 8, 8, 0, 6]
    assert f'fingerprint  {cifar10_prepare.array_sha256(cifar10.open_array(folder))}\n' in done.stdout
