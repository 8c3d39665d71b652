"""CIFAR-10 is read whole and in the official order, from our file or from TFDS's, or refused in one line."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from input_pipelines import cifar10, cifar10_prepare
from scoring.problem import Problem
from tests.input_pipelines import made

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def prepared_once(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  with pytest.MonkeyPatch.context() as patch:
    made.patch(patch.setattr)
    cifar10_prepare.prepare(folder, made.unpack(folder / 'source'), tfds=True)
  return folder


@pytest.fixture
def prepared(prepared_once, tmp_path, monkeypatch):
  """A folder of data with the made CIFAR-10 in all its forms, free to be damaged."""
  made.patch(monkeypatch.setattr)
  shutil.copytree(prepared_once / 'cifar10', tmp_path / 'cifar10')
  return tmp_path


@pytest.fixture
def from_tfds(prepared):
  """The same as TFDS alone would leave it."""
  cifar10.array_file(prepared).unlink()
  cifar10.provenance_file(prepared).unlink()
  return prepared


def problem(data_dir) -> str:
  """The one line with which loading is refused; it names the command that helps."""
  with pytest.raises(Problem) as caught:
    cifar10.load(data_dir)
  line = str(caught.value)
  assert '\n' not in line and f'python -m launchers.prepare --dataset=cifar10 --data_dir={data_dir}' in line
  return line


def check_content(data):
  rows = made.rows()
  for split, part in (('train', rows[:cifar10.NUM_TRAIN]), ('eval', rows[cifar10.NUM_TRAIN:])):
    assert data[split]['image'].dtype == np.uint8 and data[split]['label'].dtype == np.int32
    np.testing.assert_array_equal(data[split]['image'], part[:, 1:].reshape(-1, 32, 32, 3))
    np.testing.assert_array_equal(data[split]['label'], part[:, 0])


def test_our_file_is_mapped_in_the_official_order(prepared):
  data = cifar10.load(str(prepared))
  check_content(data)
  assert not data['train']['image'].flags.owndata and not data['train']['image'].flags.writeable


def test_a_pixel_is_at_its_row_column_and_channel(prepared):
  official = made.records('data_batch_2.bin')[7, 1:]
  image = cifar10.load(prepared)['train']['image'][made.RECORDS + 7]
  assert [image[5, 9, channel] for channel in range(3)] == [official[1024 * c + 32 * 5 + 9] for c in range(3)]


def test_a_set_that_tfds_prepared_is_put_back_in_order(from_tfds):
  import tensorflow_datasets as tfds
  check_content(cifar10.load(from_tfds))
  assert cifar10.fingerprint(from_tfds) is None
  source = tfds.builder_from_directory(cifar10.directory(from_tfds)).as_data_source(split='train')
  ids = [record['id'] for record in source]
  assert ids != sorted(ids), 'it is shuffled on disk, so the order was restored'


def test_reading_our_file_needs_neither_jax_nor_tfds():
  done = subprocess.run([sys.executable, '-c', 'import sys; from input_pipelines import cifar10; '
                         'assert not {"jax", "tensorflow_datasets", "tensorflow", "PIL"} & set(sys.modules)'], cwd=ROOT)
  assert done.returncode == 0


def test_nothing_there_names_the_command(tmp_path):
  assert 'no CIFAR-10 there' in problem(tmp_path)
  with pytest.raises(Problem, match="--data_dir='/no/such folder'"):
    cifar10.load('/no/such folder')


def overwrite(change):
  def damage(data_dir):
    file = cifar10.array_file(data_dir)
    np.save(file, change(np.load(file)))
  return damage


def write(name, content):
  return lambda data_dir: (cifar10.directory(data_dir) / name).write_bytes(content)


def cut(name, size):
  def damage(data_dir):
    file = cifar10.directory(data_dir) / name
    file.write_bytes(file.read_bytes()[:size])
  return damage


def change_a_label(array):
  array[-1] = (array[-1] + 1) % 10
  return array


@pytest.mark.parametrize('damage, words', [
    (cut('cifar10.npy', -1), ['cut short', 'prepare again']),
    (cut('cifar10.npy', 40), ['cut short', 'prepare again']),
    (write('cifar10.npy', b''), ['cut short', 'prepare again']),
    (write('cifar10.npy', b'not an array'), ['not an array', 'prepare again']),
    (write('cifar10.npy', b"\x93NUMPY\x01\x00\x16\x00{'descr': '|u1', 'fort\n"), ['cut short', 'prepare again']),
    (overwrite(lambda array: array[:-1]), ['[553139], not uint8 [553140]', 'prepare again']),
    (overwrite(lambda array: array.astype(np.int16)), ['int16', 'prepare again']),
    (overwrite(lambda array: array.reshape(180, -1)), ['[180, 3073]', 'prepare again']),
    (overwrite(lambda array: array[::-1]), ['labels', 'official order', 'prepare again']),
    (overwrite(change_a_label), ['labels', 'official order', 'prepare again']),
])
def test_a_damaged_array_is_refused(prepared, damage, words):
  damage(prepared)
  line = problem(prepared)
  for word in [*words, str(cifar10.array_file(prepared))]:
    assert word in line


@pytest.mark.parametrize('damage, words', [
    (write('dataset_info.json', b'{"fileFormat": "tfrecord"}'), ['tfrecord format', 'TensorFlow']),
    (write('dataset_info.json', b'{}'), ['tfrecord format']),  # TFDS's default, as older ones wrote it
    (write('dataset_info.json', b'{'), ['cannot be read']),
    (write('dataset_info.json', b'[]'), ['cannot be read']),
    (write('dataset_info.json', b'{"fileFormat": "array_record"}'), ["'train' is broken"]),
    (lambda data_dir: (cifar10.directory(data_dir) / 'features.json').unlink(), ["'train' is broken"]),
    (cut('cifar10-train.array_record-00000-of-00001', 70000), ["'train' is broken"]),
    (lambda data_dir: (cifar10.directory(data_dir) / 'cifar10-test.array_record-00000-of-00001').unlink(),
     ["'test' is broken"]),
])
def test_a_set_of_tfds_that_cannot_be_read_is_named(from_tfds, damage, words):
  damage(from_tfds)
  line = problem(from_tfds)
  for word in [*words, str(cifar10.directory(from_tfds))]:
    assert word in line


@pytest.mark.parametrize('number, words', [(0, ['missing']), (999, ['is broken', "id 'train_00999'"])])
def test_ids_of_tfds_that_do_not_fill_the_split_are_named(from_tfds, monkeypatch, number, words):
  place = cifar10._place
  monkeypatch.setattr(cifar10, '_place', lambda identity, split, count: place(
      f'train_{number:05d}' if identity == b'train_00007' else identity, split, count))
  for word in words:
    assert word in problem(from_tfds)


def test_without_tfds_its_set_is_refused_with_what_to_install(from_tfds, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  assert "pip install -e '.[data]'" in problem(from_tfds)


def test_the_fingerprint_never_raises(prepared):
  assert cifar10.fingerprint(prepared) == cifar10_prepare.array_sha256(made.array())
  for text in ('', '{', '[]', '{}', '{"sha256": 3}', '\udcff'):
    cifar10.provenance_file(prepared).write_bytes(text.encode('utf-8', 'surrogateescape'))
    assert cifar10.fingerprint(prepared) is None
  assert cifar10.fingerprint('/no/such/folder') is None


def test_real_files_come_out_as_they_went_in(data_dir):
  source = Path(data_dir) / made.FOLDER
  with tempfile.TemporaryDirectory() as folder:  # large, and pytest keeps its own folders
    cifar10_prepare.prepare(Path(folder), Path(data_dir), tfds=False)
    data = cifar10.load(folder)
    assert len(cifar10.provenance(folder)['files_sha256']) == 6
    for split, names in (('train', made.FILES[:5]), ('eval', made.FILES[5:])):
      for i, name in enumerate(names):
        raw, part = np.fromfile(source / name, np.uint8).reshape(10000, 3073), slice(10000 * i, 10000 * (i + 1))
        np.testing.assert_array_equal(data[split]['label'][part], raw[:, 0])
        np.testing.assert_array_equal(data[split]['image'][part][..., 1].reshape(10000, -1), raw[:, 1025:2049])
