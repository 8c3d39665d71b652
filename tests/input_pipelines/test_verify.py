"""Verifying reads every byte of what was prepared, names what is not as it was, and changes nothing."""
import subprocess
import sys

import pytest

from input_pipelines import cifar10, cifar10_prepare, image_prepare, squad, squad_prepare, verify
from scoring import tape as tapes
from scoring.problem import Problem
from tests.input_pipelines import made, made_images, made_squad


def flip(file, at: int):
  """Changes one bit of a file."""
  content = bytearray(file.read_bytes())
  content[at] ^= 1
  file.write_bytes(content)


def files(folder) -> dict:
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_cifar10(tmp_path, monkeypatch):
  made.patch(monkeypatch.setattr)
  cifar10_prepare.prepare(tmp_path / 'data', made.unpack(tmp_path / 'source' / made.FOLDER), False)
  before = files(tmp_path / 'data')
  assert cifar10.fingerprint(tmp_path / 'data') in verify.verify_cifar10(tmp_path / 'data')
  assert files(tmp_path / 'data') == before
  flip(cifar10.array_file(tmp_path / 'data'), 500)
  with pytest.raises(Problem, match='is not what was prepared there'):
    verify.verify_cifar10(tmp_path / 'data')
  (cifar10.directory(tmp_path / 'data') / 'cifar10.json').unlink()
  with pytest.raises(Problem, match='nothing says'):
    verify.verify_cifar10(tmp_path / 'data')


def test_squad(tmp_path):
  made_squad.write(tmp_path / 'source')
  squad_prepare.prepare(tmp_path / 'data', tmp_path / 'source', None)
  before = files(tmp_path / 'data')
  assert squad.told(tmp_path / 'data')['fingerprint'] in verify.verify_squad(tmp_path / 'data')
  assert files(tmp_path / 'data') == before
  flip(squad.directory(tmp_path / 'data') / 'train_words_context.npy', -1)
  with pytest.raises(Problem, match='is not what was prepared there'):
    verify.verify_squad(tmp_path / 'data')


def test_images(tmp_path):
  folder = made_images.folders(tmp_path / 'source')
  image_prepare.prepare_folder(tmp_path / 'data', name='tiny', from_dir=folder, workers=1, repack='off')
  before = files(tmp_path / 'data')
  assert 'whole, to the byte' in verify.verify_images(tmp_path / 'data', 'tiny')
  assert files(tmp_path / 'data') == before
  shards = sorted((tmp_path / 'data').rglob('*array_record*'))
  content = shards[0].read_bytes()
  held = [at for at, byte in enumerate(content) if byte]  # the rest of a block is filled up with zeros
  for at in held[len(held) // 8::len(held) // 4]:
    flip(shards[0], at)
    with pytest.raises(Problem, match='cannot be read|damaged|is not what was prepared'):
      verify.verify_images(tmp_path / 'data', 'tiny')
    shards[0].write_bytes(content)
  shards[0].unlink()
  with pytest.raises(Problem, match='is missing'):
    verify.verify_images(tmp_path / 'data', 'tiny')


@pytest.mark.parametrize('flags, words', [
    (['--dataset=cifar10', '--from_dir=x'], '--from_dir is for preparing'),
    (['--dataset=squad', '--vocab=x'], '--vocab is for preparing')])
def test_flags_of_preparing_are_refused(flags, words, tmp_path):
  done = subprocess.run([sys.executable, '-m', 'launchers.prepare', '--verify', f'--data_dir={tmp_path}', *flags],
                        cwd=tapes.ROOT, capture_output=True, text=True)
  assert done.returncode == 2 and words in done.stderr and done.stderr.count('\n') == 1
