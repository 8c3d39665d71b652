"""Preparing ImageNet and folders of images: every source gives the same bytes, every defect is one line."""
import hashlib
import io
import os
import random
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from input_pipelines import example, image_file, image_prepare, image_shards, image_tars, imagenet2012, images, staging
from scoring.problem import Problem
from tests.input_pipelines import made_images as made

NAME = imagenet2012.NAME


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """The constants of the made set; and nothing that re-packs."""
  made.patch(monkeypatch.setattr)
  monkeypatch.setattr(image_prepare, 'REPACKER', made.REPACKER)
  monkeypatch.setattr(made, 'compiled', lambda: False)
  return monkeypatch


@pytest.fixture
def data(tmp_path):
  return tmp_path / 'data'


def prepare(data, manual_dir=None, from_dir=None, val_labels=None, workers=2, repack='off') -> str:
  return image_prepare.prepare_imagenet2012(data, manual_dir=manual_dir, from_dir=from_dir, val_labels=val_labels,
                                            workers=workers, repack=repack)


def prepare_folder(data, from_dir, name='own', workers=2, repack='off') -> str:
  return image_prepare.prepare_folder(data, name=name, from_dir=from_dir, workers=workers, repack=repack)


def refused(act, *arguments, **keywords) -> str:
  with pytest.raises(Problem) as caught:
    act(*arguments, **keywords)
  return str(caught.value)


def tree(folder) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def contents(data, name=NAME) -> dict[str, list]:
  """(image, label, where) of each record, by split."""
  found = {}
  for split in ('train', 'validation'):
    records = images.Records(data, name, split)
    found[split] = [(*records.read([i])[0], records.where(i)) for i in range(len(records))]
  return found


def check_prepared(data, train=None, evaluated=None, name=NAME):
  for split, files in (('train', train or made.train()), ('validation', evaluated or made.evaluated())):
    found, right = contents(data, name)[split], made.records(files)
    assert [record[:2] for record in found] == [record[:2] for record in right]
    assert all(where.endswith(f'({name})') for (_, _, where), (_, _, name) in zip(found, right))
  assert {p.name for p in data.iterdir()} == {name}


# --- what goes in ---

def source(tmp_path, form) -> dict:
  labels = tmp_path / 'labels.txt'
  labels.write_text(''.join(f'{wnid}\n' for wnid in made.EVALUATED))
  if form.startswith('folder'):
    return {'from_dir': made.folders(tmp_path / 'source', form.removeprefix('folder '))}
  if form == 'tars of pax':
    content = {'train': made.train_tar(form=tarfile.PAX_FORMAT), 'val': made.val_tar(form=tarfile.GNU_FORMAT)}
    return {'manual_dir': made.archives(tmp_path / 'source', **content)}
  if form == 'tars, devkit':
    return {'manual_dir': made.archives(tmp_path / 'source')}
  if form == 'tars, labels':
    return {'manual_dir': made.archives(tmp_path / 'source', devkit=b'damaged'), 'val_labels': labels}
  return {'manual_dir': made.archives(tmp_path / 'source', devkit=None)}


@pytest.mark.parametrize('form', ['tars, devkit', 'tars, labels', "tars, TFDS's labels", 'tars of pax', 'folder val',
                                  'folder validation', 'folder test'])
def test_every_form_of_the_source_gives_the_same_records(small, data, tmp_path, form):
  small.setattr(imagenet2012, 'TFDS_LABELS', str(tmp_path / 'labels.txt'))
  report = prepare(data, **source(tmp_path, form))
  check_prepared(data)
  told = images.provenance(data, NAME)
  digests = [hashlib.sha256(example.encode(name.encode(), image, label)).digest()
             for files in (made.train(), made.evaluated()) for image, label, name in made.records(files)]
  assert told['fingerprint'] == images.metadata(data, NAME).fingerprint == hashlib.sha256(b''.join(digests)).hexdigest()
  assert told['images'] == {'train': 21, 'validation': 9} and told['class_images']['train'] == made.TRAIN
  for word in (told['fingerprint'], '21 images to train', '9 to evaluate', '3 classes', 'n01484850 9', '0 re-encoded'):
    assert word in report
  if form.startswith('folder'):
    assert f"split validation is the folder {form.split()[1]}" in report


def test_archives_of_another_size_than_the_official_ones_are_said_to_be_so(small, data, tmp_path):
  manual = made.archives(tmp_path / 'source')
  small.setattr(imagenet2012, 'SIZES', {imagenet2012.TRAIN: (manual / imagenet2012.TRAIN).stat().st_size,
                                        imagenet2012.VALIDATION: 7})
  report = prepare(data, manual)
  assert f'{imagenet2012.TRAIN} has' in report and 'the official number of them' in report
  assert 'and the official one 7' in report


def test_tfds_reads_it_under_its_own_name_and_with_its_own_features(data, tmp_path):
  import tensorflow_datasets as tfds
  prepare(data, made.archives(tmp_path / 'source'))
  folder = data / NAME / imagenet2012.VERSION
  skip = {'image': tfds.decode.SkipDecoding()}
  for split, files in (('train', made.train()), ('validation', made.evaluated())):
    for found in (tfds.builder_from_directory(folder).as_data_source(split=split, decoders=skip),
                  tfds.data_source(NAME, split=split, data_dir=data, decoders=skip)):
      assert [(r['image'], r['label'], r['file_name'].decode()) for r in found] == made.records(files)
  decoded = tfds.builder_from_directory(folder).as_data_source(split='train')[0]
  assert decoded['image'].shape == (8, 9, 3)
  own = tfds.builder(NAME, data_dir=tmp_path / 'none').info
  ours = tfds.builder_from_directory(folder).info
  assert set(own.features) == set(ours.features) and own.supervised_keys == ours.supervised_keys
  for name in ('image', 'file_name'):
    assert own.features[name].to_json() == ours.features[name].to_json()
  assert type(own.features['label']) is type(ours.features['label'])
  assert str(own.version) == str(ours.version) and own.name == ours.name
  assert ours.splits['train'].num_examples == 21 and ours.splits['train'].num_shards == 4
  assert tuple(ours.features['label'].names) == made.WNIDS


def test_one_process_and_four_write_the_same_bytes(tmp_path):
  manual = made.archives(tmp_path / 'source')
  for workers in (1, 4):
    prepare(tmp_path / f'{workers}', manual, workers=workers)
  assert tree(tmp_path / '1') == tree(tmp_path / '4')


def test_the_fingerprint_does_not_depend_on_shards_and_does_on_content(small, tmp_path):
  prints = []
  for shards, files in ((1, None), (7, None), (1, {**made.train(), f'{made.WNIDS[0]}/n01440764_0.JPEG': made.jpeg(5)})):
    small.setattr(imagenet2012, 'SHARDS', {'train': shards, 'validation': 1})
    data = tmp_path / f'data{len(prints)}'
    prepare(data, from_dir=made.folders(tmp_path / f'{len(prints)}', train_files=files))
    prints.append(images.metadata(data, NAME).fingerprint)
    assert len(list((data / NAME / '5.1.0').glob('*train*'))) == shards
  assert prints[0] == prints[1] != prints[2]


def test_a_folder_gets_a_name_of_its_own_and_shards_by_size(small, data, tmp_path):
  files = {f'{name}/a.jpg': made.jpeg(i) for i, name in enumerate(('Ähre', 'b c', 'zebra'))}
  evaluated = {'b c/x.JPG': made.jpeg(7), 'zebra/y.jpeg': made.jpeg(8)}
  folder = made.folders(tmp_path / 'source', 'test', files, evaluated)
  (folder / 'train' / 'zebra' / 'notes.txt').write_text('')
  (folder / 'train' / 'zebra' / '._a.jpg').write_text('')
  (folder / 'train' / 'zebra' / 'more').mkdir()
  small.setattr(image_prepare, 'SHARD_BYTES', 1000)
  report = prepare_folder(data, folder)
  assert contents(data, 'own')['validation'][1][:2] == (made.jpeg(8), 1)
  assert images.metadata(data, 'own').class_names == ('b c', 'zebra', 'Ähre')
  assert 'split validation is the folder test' in report and '3 files left out' in report and 'Ähre 0' in report
  assert 1 < len(images.shards(data, 'own', 'train')) <= 3


# --- images that are no plain JPEGs ---

def broken_exif() -> bytes:
  return made.jpeg(3)[:2] + b'\xff\xe1\x00\x10Exif\0\0broken!!' + made.jpeg(3)[2:]


@pytest.mark.parametrize('image', [made.jpeg(1, 'L'), made.jpeg(2, progressive=True), broken_exif(),
                                   made.jpeg(4) + b'garbage behind', made.jpeg(5)[:2] + b'\xff' + made.jpeg(5)[2:]],
                         ids=['grey', 'progressive', 'exif', 'garbage', 'padding'])
def test_what_every_decoder_reads_is_kept_byte_for_byte(image):
  assert image_file.plain(image) and image_file.fit(image, None) == (image, image_file.KEPT)


@pytest.mark.parametrize('image', [made.jpeg(1, form='PNG'), made.jpeg(2, 'L', form='PNG'), made.jpeg(3, 'CMYK')],
                         ids=['png', 'grey png', 'cmyk'])
def test_png_and_four_colours_become_rgb(image):
  data, done = image_file.fit(image, None)
  assert done == image_file.REENCODED and image_file.plain(data)
  found = Image.open(io.BytesIO(data))
  right = np.asarray(Image.open(io.BytesIO(image)).convert('RGB').convert('L'), np.float64)
  assert (found.format, found.mode) == ('JPEG', 'RGB')
  np.testing.assert_allclose(np.asarray(found.convert('L'), np.float64).mean(), right.mean(), atol=2)


def test_four_colours_become_what_tensorflow_makes_of_them():
  """An Adobe file holds inverted colours: red is then stored C * K / 255 (tensorflow/core/lib/jpeg/jpeg_mem.cc)."""
  pixels = np.full((16, 16, 4), (200, 40, 90, 230), np.uint8)  # as Pillow has them: 255 - what is stored
  file = io.BytesIO()
  Image.fromarray(pixels, mode='CMYK').save(file, 'JPEG', quality=100)
  assert b'Adobe' in file.getvalue()
  stored = 255 - pixels[0, 0].astype(int)
  found = np.asarray(Image.open(io.BytesIO(image_file.fit(file.getvalue(), None)[0])))[8, 8]
  np.testing.assert_allclose(found, stored[:3] * stored[3] / 255, atol=3)


def test_odd_images_are_counted_and_named(data, tmp_path):
  files = made.train()
  files['n01443537/n01443537_1.JPEG'] = made.jpeg(1, form='PNG')
  files['n01484850/n01484850_3.JPEG'] = made.jpeg(2, 'CMYK')
  report = prepare(data, made.archives(tmp_path / 'source', train=made.train_tar(files)))
  assert '2 re-encoded' in report
  assert images.provenance(data, NAME)['reencoded'] == ['n01443537_1.JPEG', 'n01484850_3.JPEG']
  found = contents(data)['train'][8][0]
  assert image_file.plain(found) and found != files['n01443537/n01443537_1.JPEG']


def frame_at(image: bytes) -> int:
  return image.index(b'\xff\xc0')


@pytest.mark.parametrize('image, words', [
    (b'', 'empty'), (b'<html>not found</html>', 'neither JPEG nor PNG'), (b'GIF89a' + bytes(9), 'neither JPEG nor PNG'),
    (made.jpeg(5)[:len(made.jpeg(5)) // 2], 'cannot be decoded'), (made.jpeg(5)[:30], 'cannot be decoded'),
    (made.jpeg(5)[:3], 'cannot be decoded'), (made.jpeg(5)[:-2], 'cannot be decoded'),
    (made.jpeg(5, form='PNG')[:60], 'cannot be decoded'),
    (made.jpeg(5)[:frame_at(made.jpeg(5)) + 5] + bytes(4) + made.jpeg(5)[frame_at(made.jpeg(5)) + 9:],
     'cannot be decoded')],
    ids=['empty', 'html', 'gif', 'half', 'start', 'three bytes', 'no end', 'half a png', 'no size'])
@pytest.mark.parametrize('packed', [True, False], ids=['tar', 'folder'])
def test_an_image_that_cannot_be_decoded_is_named(data, tmp_path, image, words, packed):
  files = {**made.train(), 'n01443537/n01443537_2.JPEG': image}
  if packed:
    where = made.archives(tmp_path / 'source', train=made.train_tar(files))
    line, named = refused(prepare, data, where), f'{where / imagenet2012.TRAIN}: n01443537_2.JPEG'
  else:
    where = made.folders(tmp_path / 'source', train_files=files)
    line, named = refused(prepare, data, from_dir=where), f'{where}/train/n01443537/n01443537_2.JPEG'
  assert words in line and named in line and 'leave it out' in line


# --- re-packing ---

def test_what_repacks_is_asked_for_every_image(small, data, tmp_path):
  small.setattr(made, 'compiled', lambda: True)
  files = {**made.train(), 'n01443537/n01443537_2.JPEG': made.jpeg(1, form='PNG')}
  report = prepare_folder(data, made.folders(tmp_path / 'source', train_files=files), repack='auto')
  found = contents(data, 'own')
  right = {split: [made.repack(image) or image for image, _, _ in made.records(of)]
           for split, of in (('train', files), ('validation', made.evaluated()))}
  assert [r[0] for r in found['validation']] == right['validation']
  assert [r[0] for i, r in enumerate(found['train']) if i != 9] == [r for i, r in enumerate(right['train']) if i != 9]
  told = images.provenance(data, 'own')
  changed = sum(made.repack(image) is not None for image in [*files.values(), *made.evaluated().values()
                                                              ] if image.startswith(b'\xff\xd8'))
  assert told['repacked'] == changed > 5 and told['repack'] and f'{changed} re-packed' in report
  assert len(told['reencoded']) == 1


def test_without_the_compiled_part_auto_says_so_and_on_is_refused(small, data, tmp_path):
  folder = made.folders(tmp_path / 'source')
  assert 'compiled part' in refused(prepare_folder, data, folder, repack='on')
  report = prepare_folder(data, folder, repack='auto')
  assert 'compiled part of Daybreak, which is not there: prepared without' in report
  assert images.provenance(data, 'own')['repacked'] == 0


# --- what is wrong with the source ---

def link(name, target, kind=tarfile.SYMTYPE):
  member = tarfile.TarInfo(name)
  member.type, member.linkname = kind, target
  return member


STRANGE = [(('/etc/cron.d/x', b'x'), ['/etc/cron.d/x', 'out of its folder']),
           (('n/../../x.JPEG', b'x'), ['n/../../x.JPEG', 'out of its folder']),
           (link('a.JPEG', '/etc/passwd'), ['a.JPEG', "a link to '/etc/passwd'"]),
           (link('a.JPEG', 'b.JPEG', tarfile.LNKTYPE), ['a.JPEG', 'a link to']),
           (link('pipe', '', tarfile.FIFOTYPE), ['pipe', 'no plain file']),
           (link('disk', '', tarfile.BLKTYPE), ['disk', 'no plain file'])]


@pytest.mark.parametrize('place', ['outer', 'inner', 'validation'])
@pytest.mark.parametrize('extra, words', STRANGE)
def test_a_member_that_has_no_place_in_an_archive_is_refused(data, tmp_path, extra, words, place):
  content = {'outer': {'train': made.train_tar(extra=[extra])}, 'inner': {'train': made.train_tar(inner_extra=[extra])},
             'validation': {'val': made.val_tar(extra=[extra])}}[place]
  where = made.archives(tmp_path / 'source', **content)
  line = refused(prepare, data, where)
  for word in [*words, str(where), 'get it again', *(['n01443537.tar'] if place == 'inner' else [])]:
    assert word in line
  assert not data.exists()


def without(files, *names):
  return {path: content for path, content in files.items() if not path.startswith(names)}


@pytest.mark.parametrize('content, words', [
    ({'train': None}, ['ILSVRC2012_img_train.tar is not there', 'image-net.org']),
    ({'val': None}, ['ILSVRC2012_img_val.tar is not there']),
    ({'train': b''}, ['ILSVRC2012_img_train.tar', 'no tar archive']),
    ({'val': b'text' * 1000}, ['ILSVRC2012_img_val.tar', 'no tar archive']),
    ({'train': made.train_tar()[:-10240]}, ['ILSVRC2012_img_train.tar', 'cut short']),
    ({'train': made.train_tar()[:20000]}, ['ILSVRC2012_img_train.tar', 'cut short']),
    ({'val': made.val_tar()[:3000]}, ['ILSVRC2012_img_val.tar', 'cut short']),
    ({'train': made.train_tar(without(made.train(), 'n01484850/n01484850_8'))}, ['20 images', 'has 21']),
    ({'val': made.val_tar(dict(list(made.evaluated().items())[:-1]))}, ['8 images', 'has 9']),
    ({'val': made.val_tar(extra=[('ILSVRC2012_val_00000001.JPEG', b'x')])}, ['00000001.JPEG is there twice']),
    ({'val': made.val_tar(extra=[('ILSVRC2012_val_00000010.JPEG', b'x')])}, ['00000010.JPEG', 'no image of the val']),
    ({'val': made.val_tar(extra=[('README', b'x')])}, ['README', 'no image of the validation set']),
    ({'train': made.train_tar(inner_extra=[('n01443537_1.JPEG', b'x')])}, ['n01443537_1.JPEG is there twice']),
    ({'train': made.train_tar(inner_extra=[('n01440764_9.JPEG', b'x')])}, ['n01440764_9.JPEG', 'of class n01443537']),
    ({'train': made.train_tar(extra=[('n01443537.tar', made.tar([]))])}, ['n01443537.tar', 'there twice']),
    ({'train': made.train_tar(extra=[('README', b'x')])}, ['README', 'no archive']),
    ({'train': made.train_tar(extra=[('dogs.tar', made.tar([('a.JPEG', b'x')]))])}, ["'dogs' is no WNID"]),
    ({'train': made.train_tar(extra=[('n00000001.tar', made.tar([('a.JPEG', b'x')]))])}, ['4 classes', 'has 3']),
    ({'train': made.train_tar({p.replace('n01440764', 'n01440765'): c for p, c in made.train().items()})},
     ['not those of ImageNet 2012']),
    ({'devkit': b''}, ['t12.tar.gz', 'damaged', '--val_labels']),
    ({'devkit': b'text'}, ['t12.tar.gz', 'damaged']), ({'devkit': made.devkit()[:200]}, ['t12.tar.gz', 'damaged']),
    ({'devkit': made.devkit(damage=imagenet2012.META)}, ['t12.tar.gz', 'meta.mat']),
    ({'devkit': made.devkit(damage=imagenet2012.GROUND_TRUTH)}, ['t12.tar.gz', 'ground_truth']),
    ({'devkit': made.devkit(made.EVALUATED[:-1])}, ['8 labels', '9 validation images']),
    ({'devkit': made.devkit(made.EVALUATED[::-1])}, ['not the official validation labels']),
    ({'train': made.train_tar(inner_extra=[('b\udcff.JPEG', b'x')], form=tarfile.PAX_FORMAT)}, ['not printable']),
])
def test_a_defect_of_an_archive_is_named(data, tmp_path, content, words):
  line = refused(prepare, data, made.archives(tmp_path / 'source', **content))
  for word in [*words, str(tmp_path / 'source')]:
    assert word in line
  assert not data.exists()


def test_a_damaged_archive_ends_in_a_line_or_in_the_right_records(tmp_path):
  """Bytes of headers changed at random: never a traceback, and where checksums tell of it never other images."""
  whole, chance, problems = made.train_tar(form=tarfile.PAX_FORMAT), random.Random(0), 0
  right = [(label, name) for _, label, name in made.records(made.train())]
  heads = [at for at in range(0, len(whole), 512) if whole[at + 257:at + 262] == b'ustar']
  assert len(heads) > 21
  for _ in range(400):
    content, consistent = bytearray(whole), chance.random() < 0.7
    for _ in range(chance.choice((1, 1, 4))):
      at = chance.choice(heads) + chance.randrange(512)
      content[at] = chance.choice((0, 0xff, 0x80, ord('7'), chance.randrange(256)))
      if consistent:  # the checksum of the header is right again, and only what it says is wrong
        head = at - at % 512
        total = sum(content[head:head + 148]) + sum(content[head + 156:head + 512]) + 8 * 32
        content[head + 148:head + 156] = b'%06o\0 ' % total
    if chance.random() < 0.2:
      content = content[:chance.randrange(len(content))]
    source = made.archives(tmp_path / 'source', train=bytes(content))
    try:
      found = imagenet2012.from_archives(source, None, lambda images: None)
    except Problem as problem:
      problems += 1
      assert str(source) in str(problem) and len(str(problem)) < 500
      continue
    assert consistent or [member[3:] for member in found.splits['train'].members(0, 21)] == right
  assert 100 < problems < 400


def header(name, size, kind=tarfile.REGTYPE, content=b'') -> bytes:
  """A header that says what it likes; a size below 0 is written as GNU tar writes numbers that ASCII cannot hold."""
  member = tarfile.TarInfo(name)
  member.type = kind
  block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
  block[124:136] = b'%011o\0' % size if size >= 0 else (256 ** 12 + size).to_bytes(12, 'big')
  block[148:156] = b'%06o\0 ' % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
  return bytes(block) + content


FILE, END = header('a.JPEG', 512, content=bytes(range(256)) * 2), bytes(1024)


@pytest.mark.parametrize('content, words', [
    (FILE + b'x' * 512 + FILE + END, 'damaged at byte 1,024'), (FILE, 'damaged at byte 1,024'),
    (FILE + FILE[:100], 'damaged at byte 1,024'), (FILE[:600], "'a.JPEG' needs 1,024 bytes, and there are 600"),
    (FILE + header('b.JPEG', 4096) + END, "'b.JPEG' needs 5,632 bytes"), (header('b.JPEG', -1) + END, 'cut short'),
    (FILE + header('b.JPEG', -2048) + END, 'cut short'), (FILE + header('x', -4096, tarfile.XHDTYPE) + END, 'of -4096'),
    (header('x', 3 << 20, tarfile.XHDTYPE, b'20 comment=12345678\n' + bytes(3 << 20)) + FILE + END, 'of 3145728 bytes'),
    (header('x', 512, tarfile.XHDTYPE, b'11 size=-5\n' + bytes(501)) + FILE + END, 'cut short')])
def test_what_tarfile_would_pass_over_or_follow_is_named(tmp_path, content, words):
  file = tmp_path / 'x.tar'
  file.write_bytes(FILE + END)
  assert [entry[:3] for entry in image_tars.images(file)] == [('a.JPEG', 512, 512)]
  file.write_bytes(content)
  line = refused(image_tars.images, file)
  assert words in line and str(file) in line


@pytest.mark.parametrize('labels, words', [
    (None, ['cannot be read']), (made.EVALUATED[1:], ['8 labels']), (made.EVALUATED[::-1], ['not the official']),
    (['\0'] * 9, ['not the official'])])
def test_a_wrong_file_of_labels_is_named(data, tmp_path, labels, words):
  file = tmp_path / 'labels.txt'
  if labels:
    file.write_text('\n'.join(labels))
  line = refused(prepare, data, made.archives(tmp_path / 'source'), val_labels=file)
  for word in [*words, str(file)]:
    assert word in line


def test_without_any_validation_labels_it_says_where_they_are(small, data, tmp_path):
  small.setattr(imagenet2012, 'TFDS_LABELS', 'nowhere')
  line = refused(prepare, data, made.archives(tmp_path / 'source', devkit=None))
  assert 'ILSVRC2012_devkit_t12.tar.gz is not there' in line and '--val_labels' in line


def moved(folder):
  (folder / 'val' / 'n01440764').rename(folder / 'val' / 'swap')
  (folder / 'val' / 'n01443537').rename(folder / 'val' / 'n01440764')
  (folder / 'val' / 'swap').rename(folder / 'val' / 'n01443537')


def emptied(folder):
  shutil.rmtree(folder / 'train' / 'n01440764')
  (folder / 'train' / 'n01440764').mkdir()


def dangling(folder):
  (folder / 'train' / 'n01440764' / 'x.jpg').symlink_to('nowhere')


@pytest.mark.parametrize('change, words', [
    (lambda f: shutil.rmtree(f / 'train'), ['no folder train']),
    (lambda f: shutil.rmtree(f / 'val'), ['no folder val or validation or test']),
    (lambda f: (f / 'val' / 'n01440764').rename(f / 'val' / 'n02'), ['val/n02', 'has no class of that name']),
    (emptied, ['train/n01440764: no .jpg or .jpeg file']),
    (lambda f: [shutil.rmtree(c) or c.mkdir() for c in (f / 'val').iterdir()], ['/val', 'nothing to evaluate on']),
    (lambda f: [shutil.rmtree(c) for c in (f / 'train').iterdir()], ['/train: no folder of a class']),
    (dangling, ['x.jpg', 'neither a file nor a link to one']),
    (lambda f: (f / 'train' / ' a').mkdir(), ["' a'", 'blank']),
    (lambda f: (f / 'train' / 'a\nb').mkdir(), ["'a\\nb'", 'not printable']),
])
def test_a_defect_of_the_folders_is_named(data, tmp_path, change, words):
  folder = made.folders(tmp_path / 'source')
  change(folder)
  line = refused(prepare_folder, data, folder)
  for word in [*words, str(folder)]:
    assert word in line
  assert not data.exists()


@pytest.mark.parametrize('change, words', [
    (moved, ['not the official validation labels']),
    (lambda f: (f / 'train' / 'n01440764' / 'n01440764_0.JPEG').unlink(), ['/train: 20 images', 'has 21']),
    (lambda f: shutil.rmtree(f / 'val' / 'n01440764'), ['/val: 6 images', 'has 9']),
    (lambda f: shutil.copytree(f / 'train' / 'n01440764', f / 'train' / 'n09999999'), ['4 classes', 'image_folder'])])
def test_folders_that_are_not_imagenet_are_refused(data, tmp_path, change, words):
  folder = made.folders(tmp_path / 'source')
  change(folder)
  line = refused(prepare, data, from_dir=folder)
  for word in words:
    assert word in line


def test_validation_files_of_other_names_are_said_to_be_unchecked(data, tmp_path):
  renamed = {path.replace('ILSVRC2012_', ''): content for path, content in made.evaluated().items()}
  assert 'validation labels unchecked' in prepare(data, from_dir=made.folders(tmp_path / 's', evaluated_files=renamed))


@pytest.mark.parametrize('keywords, words', [
    ({}, ['--manual_dir', '--from_dir']), ({'manual_dir': 'a', 'from_dir': 'b'}, ['either']),
    ({'from_dir': 'b', 'val_labels': 'c'}, ['--val_labels goes with --manual_dir']),
    ({'manual_dir': 'nowhere'}, ['--manual_dir=nowhere']), ({'from_dir': 'nowhere'}, ['--from_dir=nowhere'])])
def test_flags_that_do_not_go_together_are_named(data, keywords, words):
  line = refused(prepare, data, **{key: imagenet2012.Path(value) for key, value in keywords.items()})
  for word in words:
    assert word in line


@pytest.mark.parametrize('name', ['', None, 'Own', 'a-b', '../x', '1a', 'imagenet2012', 'cifar10'])
def test_a_name_that_does_not_do_is_named(data, tmp_path, name):
  assert f"--name={name or ''}: " in refused(prepare_folder, data, made.folders(tmp_path / 'source'), name)


# --- what is there already ---

def test_again_does_nothing(data, tmp_path):
  manual = made.archives(tmp_path / 'source')
  prepare(data, manual)
  before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in data.rglob('*') if p.is_file()}
  shutil.rmtree(manual)
  assert 'already there and whole, nothing to do' in prepare(data, manual)
  (data / f'{NAME}.preparing').mkdir()  # as a kill at the very end leaves it
  assert 'nothing to do' in prepare(data, manual)
  assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in data.rglob('*') if p.is_file()} == before
  check_prepared(data)


def test_a_set_that_another_process_finished_meanwhile_is_kept(small, data, tmp_path):
  folder, source = made.folders(tmp_path / 'source'), image_prepare.image_folder.source

  def slow(from_dir):
    small.setattr(image_prepare.image_folder, 'source', source)
    assert 'written' in prepare_folder(data, folder)
    return source(from_dir)
  small.setattr(image_prepare.image_folder, 'source', slow)
  assert 'already there and whole' in prepare_folder(data, folder)
  check_prepared(data, name='own')


def test_a_lock_that_its_owner_has_removed_since_is_none(small, data):
  flock = staging.fcntl.flock

  def late(lock, how):
    os.unlink(lock.name)
    flock(lock, how)
  small.setattr(staging.fcntl, 'flock', late)
  with pytest.raises(Problem, match='another process is preparing own there'):
    with staging.folder(data, 'own'):
      pytest.fail('two have it')


@pytest.mark.parametrize('damage', [lambda f: f.unlink(), lambda f: f.write_bytes(f.read_bytes()[:-9]),
                                    lambda f: f.write_bytes(b'')])
def test_a_damaged_shard_is_named_and_nothing_is_overwritten(data, tmp_path, damage):
  manual = made.archives(tmp_path / 'source')
  prepare(data, manual)
  file = data / NAME / '5.1.0' / f'{NAME}-train.array_record-00002-of-00004'
  damage(file)
  line = refused(prepare, data, manual)
  assert str(file) in line and f'remove {file.parent}' in line


def test_a_set_that_tfds_prepared_is_accepted_as_it_is(data, tmp_path):
  prepare(data, made.archives(tmp_path / 'source'))
  images_file = data / NAME / '5.1.0' / f'{NAME}.json'
  images_file.unlink()
  before = tree(data)
  report = prepare(data)
  assert 'prepared by TFDS itself' in report and '21 images to train' in report and tree(data) == before
  (data / NAME / '5.1.0' / f'{NAME}-validation.array_record-00001-of-00002').unlink()
  assert 'validation.array_record-00001-of-00002: missing' in refused(prepare, data)


def test_a_set_in_tfrecord_format_is_refused(data, tmp_path):
  folder = data / NAME / '5.1.0'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text('{"fileFormat": "tfrecord", "splits": []}')
  line = refused(prepare, data, made.archives(tmp_path / 'source'))
  assert 'tfrecord format, which needs TensorFlow' in line and 'another --data_dir' in line


def test_a_folder_that_is_no_data_set_is_not_overwritten(data, tmp_path):
  (data / NAME / '5.1.0').mkdir(parents=True)
  assert 'not a whole data set' in refused(prepare, data, made.archives(tmp_path / 'source'))


def test_without_tfds_it_says_what_to_install(small, data, tmp_path):
  find_spec = image_prepare.importlib.util.find_spec
  small.setattr(image_prepare.importlib.util, 'find_spec', lambda name: None if name == 'PIL' else find_spec(name))
  line = refused(prepare, data, made.archives(tmp_path / 'source'))
  assert 'PIL not installed' in line and "pip install -e '.[data]'" in line


def test_too_small_a_disk_is_named_before_anything_is_written(small, data, tmp_path):
  usage = shutil.disk_usage('/')
  small.setattr(staging.shutil, 'disk_usage', lambda path: usage._replace(free=5000))
  small.setattr(image_shards, 'write', lambda *_: pytest.fail('wrote'))
  line = refused(prepare, data, made.archives(tmp_path / 'source'))
  assert 'No space left' in line and str(data) in line


def test_a_data_dir_that_cannot_be_written_is_named(tmp_path):
  line = refused(prepare, imagenet2012.Path('/dev/null'), made.archives(tmp_path / 'source'))
  assert '/dev/null: cannot prepare imagenet2012 there' in line


def test_a_source_that_changes_meanwhile_is_named(small, data, tmp_path):
  folder, check = made.folders(tmp_path / 'source'), staging.check_space
  file = folder / 'train' / 'n01443537' / 'n01443537_2.JPEG'
  small.setattr(staging, 'check_space', lambda *a: (check(*a), file.write_bytes(b'less')))
  assert f'{file}: 4 of its' in refused(prepare, data, from_dir=folder)
  small.setattr(staging, 'check_space', lambda *a: (check(*a), file.unlink()))
  file.write_bytes(made.train()['n01443537/n01443537_2.JPEG'])
  assert f'{file}: cannot be read' in refused(prepare, data, from_dir=folder)
  small.setattr(staging, 'check_space', check)
  file.write_bytes(made.train()['n01443537/n01443537_2.JPEG'])
  prepare(data, from_dir=folder)
  check_prepared(data)


def test_real_folders_are_prepared(data_dir, tmp_path):
  folder = imagenet2012.Path(data_dir) / 'imagenette'
  if not folder.is_dir():
    pytest.skip('needs imagenette in DAYBREAK_TEST_DATA')
  data = tmp_path / 'data'
  report = prepare_folder(data, folder, 'imagenette')
  assert '2,600 images to train, 600 to evaluate; 10 classes' in report and '0 re-encoded' in report
  found = images.Records(data, 'imagenette', 'validation')
  files = sorted((folder / 'val').glob('*/*'), key=lambda file: (file.parent.name, file.name))
  assert [image for image, _ in found.read(range(len(found)))] == [file.read_bytes() for file in files]
  assert os.listdir(data) == ['imagenette']
