"""Reading sets of images: what prepare wrote and what TFDS wrote, whole or damaged."""
import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from array_record.python import array_record_module
from hypothesis import given
from hypothesis import strategies as st

from input_pipelines import example, image_prepare, image_worker, images
from scoring.problem import Problem
from tests.input_pipelines import made_images as made
from tests.launchers.running import ROOT


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """DATA_DIR with the made set as `own`, of four shards to train and two to evaluate."""
  data, size = tmp_path_factory.mktemp('data'), image_prepare.SHARD_BYTES
  image_prepare.SHARD_BYTES = sum(len(image) + image_prepare.RECORD_BYTES for image in made.train().values()) / 4
  try:
    image_prepare.prepare_folder(data, name='own', from_dir=made.folders(tmp_path_factory.mktemp('source')), workers=1,
                                 repack='off')
  finally:
    image_prepare.SHARD_BYTES = size
  return data


@pytest.fixture
def data(prepared, tmp_path):
  """A copy that may be damaged."""
  subprocess.run(['cp', '-r', prepared, tmp_path / 'data'], check=True)
  return tmp_path / 'data'


def folder(data) -> Path:
  return data / 'own' / image_prepare.VERSION


def shard(data, number, split='train') -> Path:
  return Path(images.shards(data, 'own', split)[number][0])


def refused(act, *arguments) -> str:
  with pytest.raises(Problem) as caught:
    act(*arguments)
  return str(caught.value)


def read_all(data):
  found = images.Records(data, 'own', 'train')
  return found.read(range(len(found)))


def write(file, records):
  writer = array_record_module.ArrayRecordWriter(str(file), image_worker.WRITER_OPTIONS)
  for record in records:
    writer.write(record)
  writer.close()


# --- a set that is whole ---

def test_records_are_read_in_any_order(prepared):
  right = [record[:2] for record in made.records(made.train())]
  found = images.Records(prepared, 'own', 'train')
  assert len(found) == 21 and len(images.shards(prepared, 'own', 'train')) == 4
  indices = random.Random(0).sample(range(21), 21) + [3, 3]
  assert found.read(indices) == [right[i] for i in indices]
  assert found.read([]) == []
  assert len(images.Records(prepared, 'own', 'validation')) == 9


def test_a_record_says_where_it_is(prepared):
  found, lengths = images.Records(prepared, 'own', 'train'), [n for _, n in images.shards(prepared, 'own', 'train')]
  assert sum(lengths) == 21
  index = lengths[0] + lengths[1] + 2
  assert found.where(index) == f'{shard(prepared, 2)} record 2 ({made.records(made.train())[index][2]})'
  for index in (-1, 21):
    with pytest.raises(IndexError):
      found.read([index])


def test_many_threads_read_at_once(prepared):
  found, right = images.Records(prepared, 'own', 'train'), [r[:2] for r in made.records(made.train())]
  failed = []

  def read(seed):
    for i in random.Random(seed).choices(range(21), k=300):
      if found.read([i]) != [right[i]]:
        failed.append(i)
  threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not failed


def test_metadata_come_from_small_files_alone(prepared, data):
  told = images.metadata(prepared, 'own')
  assert told.class_names == tuple(sorted(made.WNIDS)) and told.num_examples == {'train': 21, 'validation': 9}
  assert (told.name, told.version) == ('own', '1.0.0')
  assert told.fingerprint == json.loads((folder(prepared) / 'own.json').read_text())['fingerprint']
  for file in folder(data).glob('*array_record*'):
    file.unlink()
  assert images.metadata(data, 'own') == told


def test_neither_tfds_nor_the_records_are_imported_for_metadata(prepared):
  code = (f'import sys\nfrom input_pipelines import images\nimages.metadata({str(prepared)!r}, "own")\n'
          f'found = images.Records({str(prepared)!r}, "own", "train")\n'
          'assert not {"array_record", "tensorflow_datasets", "jax"} & set(sys.modules), "too much"\n'
          'found.read([1])\nassert "tensorflow_datasets" not in sys.modules\n')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_the_newest_whole_version_is_read(data):
  for version in ('0.9.0', '1.0.10', '2.0.0', 'incomplete.3.0.0'):
    (data / 'own' / version).mkdir()
  subprocess.run(f'cp {folder(data)}/* {data}/own/1.0.10', shell=True, check=True)
  assert images.metadata(data, 'own').version == '1.0.10'


def test_a_home_and_text_are_paths_too(prepared, monkeypatch):
  monkeypatch.setenv('HOME', str(prepared.parent))
  assert images.metadata(f'~/{prepared.name}', 'own') == images.metadata(str(prepared), 'own')


def test_more_shards_than_files_may_be_open_raise_the_limit(prepared):
  code = ('import resource\nfrom input_pipelines import images\n'
          'hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n'
          'resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))\n'
          f'found = images.Records({str(prepared)!r}, "own", "train")\n'
          'print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert int(done.stdout) == 4 + images.SPARE_FILES, done.stderr


def test_a_set_that_tfds_wrote_is_read(tmp_path):
  import tensorflow_datasets as tfds

  class Cats(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Without file names, compressed, and in the order that TFDS shuffles to."""
    VERSION = tfds.core.Version('3.2.1')

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
          'image': tfds.features.Image(encoding_format='jpeg'), 'label': tfds.features.ClassLabel(names=['a', 'b'])}))

    def _split_generators(self, dl_manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for i in range(20):
        (tmp_path / f'{i}').write_bytes(made.jpeg(i))
        yield i, {'image': str(tmp_path / f'{i}'), 'label': i % 2}
  tfds.disable_progress_bar()
  Cats(data_dir=tmp_path / 'data', file_format='array_record').download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  told = images.metadata(tmp_path / 'data', 'cats')
  assert told.class_names == ('a', 'b') and told.num_examples == {'train': 20} and told.version == '3.2.1'
  assert told.fingerprint.startswith('tfds-') and len(told.fingerprint) == 69
  found = images.Records(tmp_path / 'data', 'cats', 'train')
  assert sorted(found.read(range(20))) == sorted((made.jpeg(i), i % 2) for i in range(20))
  assert found.where(3).endswith(' record 3')


# --- what is missing or damaged ---

def test_nothing_prepared_is_told_with_the_command(tmp_path):
  line = refused(images.metadata, tmp_path, 'own')
  assert f'{tmp_path}/own: no own there' in line
  assert f'launchers.prepare --dataset=image_folder --name=own --from_dir=DIR --data_dir={tmp_path}' in line
  assert '--dataset=imagenet2012 --manual_dir=DIR' in refused(images.Records, tmp_path, 'imagenet2012', 'train')


def test_a_split_that_is_not_there_is_told_with_those_that_are(prepared):
  line = refused(images.Records, prepared, 'own', 'test')
  assert "no split 'test', but train, validation" in line


@pytest.mark.parametrize('file, content, words', [
    ('features.json', None, 'features.json or label.labels.txt is missing or damaged'),
    ('features.json', '{', 'features.json or label.labels.txt is missing or damaged'),
    ('features.json', '[]', 'features.json or label.labels.txt is missing or damaged'),
    ('features.json', '{"featuresDict": {"features": {"text": {}}}}', 'has text, and not image and label'),
    ('label.labels.txt', None, 'features.json or label.labels.txt is missing or damaged'),
    ('label.labels.txt', '\n', 'label.labels.txt names no class'),
    ('dataset_info.json', '{', 'dataset_info.json: damaged'), ('dataset_info.json', '[]', 'dataset_info.json: damaged'),
    ('dataset_info.json', '{"splits": [{}]}', 'dataset_info.json: damaged'),
    ('dataset_info.json', '{"splits": [{"name": "train", "shardLengths": ["x"]}]}', 'dataset_info.json: damaged'),
    ('dataset_info.json', '{"splits": [], "fileFormat": "tfrecord"}', 'in tfrecord format, which needs TensorFlow')])
def test_damaged_metadata_are_named(data, file, content, words):
  (folder(data) / file).unlink()
  if content is not None:
    (folder(data) / file).write_text(content)
  line = refused(images.metadata, data, 'own')
  assert words in line and str(folder(data)) in line and 'launchers.prepare' in line or 'name another set' in line


def test_our_own_file_may_be_missing_or_damaged(data):
  for content in ('{', '[]', '{"fingerprint": 3}', None):
    (folder(data) / 'own.json').unlink()
    if content:
      (folder(data) / 'own.json').write_text(content)
    assert images.metadata(data, 'own').fingerprint.startswith('tfds-')


@pytest.mark.parametrize('damage, words', [
    (lambda c: None, 'No such file'), (lambda c: b'', 'missing, damaged or cut short'),
    (lambda c: b'text', 'missing, damaged or cut short'), (lambda c: c[:-100], 'missing, damaged or cut short'),
    (lambda c: c[:len(c) // 2], 'damaged'), (lambda c: bytes(len(c)), 'damaged')],
    ids=['missing', 'empty', 'text', 'end', 'half', 'zeros'])
def test_a_damaged_shard_is_named(data, damage, words):
  file = shard(data, 1)
  content = damage(file.read_bytes())
  file.unlink()
  if content is not None:
    file.write_bytes(content)
  line = refused(read_all, data)
  assert words in line and str(file) in line and 'prepare again' in line and '\n' not in line
  start = images.shards(data, 'own', 'train')[0][1]
  assert images.Records(data, 'own', 'train').where(start) == f'{file} record 0'


def test_a_shard_of_another_length_is_named(data):
  file, other = shard(data, 0), shard(data, 3)
  write(file, [b''] * 2)
  assert f'{file}: holds 2 records, not ' in refused(read_all, data)
  write(file, [b''] * images.shards(data, 'own', 'train')[0][1])
  assert f'{file} record 0: damaged' in refused(read_all, data)
  assert other.is_file()


def test_a_damaged_record_is_named_and_the_others_are_read(data):
  file = shard(data, 2)
  content = bytearray(file.read_bytes())
  image = made.records(made.train())[sum(n for _, n in images.shards(data, 'own', 'train')[:2]) + 1][0]
  content[content.index(image) + len(image) // 2] ^= 1
  file.write_bytes(content)
  found = images.Records(data, 'own', 'train')
  index = sum(n for _, n in images.shards(data, 'own', 'train')[:2]) + 1
  line = refused(found.read, [index])
  assert f'{file} record 1: damaged' in line
  assert [r[:2] for i, r in enumerate(made.records(made.train())) if i != index] == \
      found.read([i for i in range(21) if i != index])


@pytest.mark.parametrize('label', [3, -1, 1 << 40])
def test_a_label_that_no_class_has_is_named(data, label):
  file, length = shard(data, 0), images.shards(data, 'own', 'train')[0][1]
  good = [example.encode(b'a.jpg', b'x', 0)] * (length - 1)
  bad = example.encode(b'b.jpg', b'x', label) if label >= 0 else \
      example.encode(b'b.jpg', b'x', (1 << 64) + label)
  write(file, [*good, bad])
  line = refused(read_all, data)
  assert f'{file} record {length - 1} (b.jpg): its label is {label}, and there are 3 classes' in line


# --- one record ---

def protobuf(features: dict) -> bytes:
  from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2
  made_features = {}
  for key, value in features.items():
    kind = {bytes: ('bytes_list', tf_feature_pb2.BytesList), int: ('int64_list', tf_feature_pb2.Int64List),
            float: ('float_list', tf_feature_pb2.FloatList)}[type(value[0])]
    made_features[key] = tf_feature_pb2.Feature(**{kind[0]: kind[1](value=value)})
  return tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=made_features)).SerializeToString(
      deterministic=True)


@given(st.binary(max_size=300), st.binary(max_size=40_000), st.integers(0, 2 ** 63 - 1))
def test_a_record_is_what_protobuf_makes_of_it(name, image, label):
  record = example.encode(name, image, label)
  assert record == protobuf({'file_name': [name], 'image': [image], 'label': [label]})
  assert example.parse(record) == (image, label, name.decode(errors='replace'))


def test_a_record_is_what_the_features_of_tfds_serialize():
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import example_serializer
  features = tfds.features.FeaturesDict({'image': tfds.features.Image(encoding_format='jpeg'), 'file_name':
                                         tfds.features.Text(), 'label': tfds.features.ClassLabel(num_classes=1000)})
  serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
  right = serializer.get_tf_example({'image': made.jpeg(1), 'file_name': b'a.JPEG', 'label': 999})
  assert example.encode(b'a.JPEG', made.jpeg(1), 999) == right.SerializeToString(deterministic=True)


@given(st.integers(-2 ** 63, 2 ** 63 - 1), st.booleans())
def test_other_features_and_orders_are_parsed(label, first):
  features = {'image': [b'x'], 'label': [label], 'objects': [1, 2, 3], 'weight': [0.5], 'zzz': [b'a', b'b']}
  if not first:
    features['a'] = [b'before']
  assert example.parse(protobuf(features)) == (b'x', label, '')


def test_an_unpacked_label_is_parsed():
  feature = b'\x1a\x02\x08\x07'  # Int64List without packing, as old writers have it
  entry = b'\x0a\x05label\x12' + bytes([len(feature)]) + feature
  record = protobuf({'image': [b'x']})
  inner = record[2:] + b'\x0a' + bytes([len(entry)]) + entry
  assert example.parse(b'\x0a' + bytes([len(inner)]) + inner) == (b'x', 7, '')


@pytest.mark.parametrize('record', [
    b'', b'\x0a', b'\xff' * 20, protobuf({'image': [b'x']}), protobuf({'label': [3]}),
    protobuf({'image': [b'x', b'y'], 'label': [3]}), protobuf({'image': [3], 'label': [3]}),
    protobuf({'image': [b'x'], 'label': [3, 4]}), protobuf({'image': [b'x'], 'label': [0.5]}),
    example.encode(b'a', b'x' * 300, 3)[:-1], example.encode(b'a', b'x' * 300, 3)[:100]])
def test_what_is_no_record_of_an_image_is_refused(record):
  with pytest.raises(ValueError):
    example.parse(record)


@given(st.data())
def test_a_damaged_record_is_refused_or_parsed(data):
  record = bytearray(example.encode(b'name', b'image' * 20, 5))
  for _ in range(data.draw(st.integers(1, 3))):
    record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
  try:
    image, label, name = example.parse(bytes(record))
  except ValueError:
    return
  assert isinstance(image, bytes) and isinstance(label, int) and isinstance(name, str)


def test_real_images_are_read_back(data_dir, tmp_path):
  originals = sorted((Path(data_dir) / 'imagenet_originals').glob('*.JPEG'))[:40]
  if not originals:
    pytest.skip('needs imagenet_originals in DAYBREAK_TEST_DATA')
  files = {f'{file.name.split("_")[0]}/{file.name}': file.read_bytes() for file in originals}
  source = made.folders(tmp_path / 'source', train_files=files, evaluated_files=files)
  report = image_prepare.prepare_folder(tmp_path / 'data', name='own', from_dir=source, workers=2, repack='off')
  assert '0 re-encoded' in report
  found = images.Records(tmp_path / 'data', 'own', 'train')
  assert found.read(range(len(found))) == [(content, i) for i, (_, content) in enumerate(sorted(files.items()))]
