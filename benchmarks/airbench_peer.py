"""K. Jordan's airbench94_muon.py or airbench94_compiled.py, from a checkout of his cifar10-airbench that a user names.

  python -m benchmarks.airbench_peer --peer_dir=DIR --data_dir=DIR [--peer=airbench94] [--runs=25] [--dtype=bfloat16]

The file is not modified. Trains as its own last lines do, a warm-up run first, and prints one line of JSON a run:
accuracy with its test-time augmentation, and seconds on its own clock. Nothing of it is copied. On a machine without
CUDA, for which it was not written, the names of CUDA that it uses stand for the CPU: half precision becomes float32
(with --dtype=bfloat16 under torch's autocast), its events read the clock, freed memory stays with the process as in
launchers.train, and beforehand there is one batch of each kind instead of a whole run, since those compile all.
"""
import contextlib
import importlib.util
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from absl import flags

from benchmarks import extras
from input_pipelines import cifar10
from launchers import command, memory
from scoring.problem import Problem

FILES = {'airbench94_muon': 'airbench94_muon.py', 'airbench94': 'legacy/airbench94_compiled.py'}
MUON = 'airbench94_muon'
COMMIT = 'f1c599c4af24aca803e3e65a6a7e52a502e09d0e'  # that this was written for

FLAGS = flags.FLAGS


def define_flags():
  """Those of the scripts that run it; in a function, since launchers.train has some of these names too."""
  flags.DEFINE_string('peer_dir', '', 'checkout of github.com/KellerJordan/cifar10-airbench')
  flags.DEFINE_enum('peer', MUON, list(FILES), 'which file of it: with Muon, or with SGD and lookahead')
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'where launchers.prepare put CIFAR-10')
  flags.DEFINE_integer('runs', 25, 'how many of each, after a warm-up', lower_bound=1)
  flags.DEFINE_enum('dtype', 'bfloat16', ['float32', 'bfloat16'],
                    'on a CPU; on a GPU the peer computes in float16, as its file says')


def check(peer_dir: str, name: str = MUON) -> Path:
  """Its file; raises Problem where it, or what it imports, is not there."""
  path = Path(peer_dir).expanduser() / FILES[name]
  if not peer_dir or not path.is_file():
    raise Problem(f'--peer_dir={peer_dir}: no {FILES[name]} there; git clone '
                  f'https://github.com/KellerJordan/cifar10-airbench, git checkout {COMMIT}, and name that folder')
  extras.need('peers', 'torch', 'torchvision')
  return path


def load(peer_dir: str, name: str = MUON):
  """Its file as a module."""
  path = check(peer_dir, name)
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  with mock.patch.object(sys, 'argv', [str(path)]):  # it reads its own text
    spec.loader.exec_module(module)
  return module


class Clock:
  """A CUDA event on a machine that has none."""

  def __init__(self, enable_timing=True):
    self.seconds = None

  def record(self):
    self.seconds = time.perf_counter()

  def elapsed_time(self, other) -> float:
    """Milliseconds from this one to `other`."""
    return 1000 * (other.seconds - self.seconds)


@contextlib.contextmanager
def device(torch):
  """'cuda', or where there is none 'cpu', with the names of CUDA that the file uses standing for it."""
  if torch.cuda.is_available():
    yield 'cuda'
    return
  load_here = lambda path, map_location=None, read=torch.load: read(path)
  with contextlib.ExitStack() as stack:
    for where, name, new in ((torch.Tensor, 'half', torch.Tensor.float),
                             (torch.nn.Module, 'half', torch.nn.Module.float), (torch, 'load', load_here),
                             (torch.nn.Module, 'cuda', lambda module: module),
                             (torch.cuda, 'Event', Clock), (torch.cuda, 'synchronize', lambda: None)):
      stack.enter_context(mock.patch.object(where, name, new))
    yield 'cpu'


def network(peer, torch, where: str, dtype: str):
  """airbench94_muon's network, channels last, compiled as the file does, or on a CPU by default."""
  model = peer.CifarNet().to(where).to(memory_format=torch.channels_last)
  cast(torch, model, where, dtype)
  model.compile(**mode(where))
  return model


def pair(peer, torch, where: str, dtype: str):
  """airbench94's two networks, compiled alike: one trains the whitening's bias, the other goes on without."""
  trained, fixed = peer.make_net(), peer.make_net()
  fixed[0].bias.requires_grad = False
  models = tuple(torch.compile(model, **mode(where)) for model in (trained, fixed))
  for model in models:  # compiled already: of a Sequential whose forward is wrapped, torch would compile pieces
    cast(torch, model, where, dtype)
  return models


def cast(torch, model, where: str, dtype: str):
  if where == 'cpu' and dtype == 'bfloat16':
    model.forward = torch.autocast('cpu', torch.bfloat16)(model.forward)


def mode(where: str) -> dict:
  return {'mode': 'max-autotune'} if where == 'cuda' else {}


def write_data(torch, data_dir: str, folder: Path):
  """CIFAR-10 as the file would have saved it."""
  folder.mkdir()
  for split, name in (('train', 'train'), ('eval', 'test')):
    rows = cifar10.load(data_dir)[split]
    torch.save({'images': torch.tensor(rows['image']), 'labels': torch.tensor(rows['label']).long(),
                'classes': list(cifar10.CLASSES)}, folder / f'{name}.pt')


def warm_up(peer, models: tuple, where: str):
  """As the file does; on a CPU a batch for each program that is compiled: gradients, Muon, evaluations."""
  if where == 'cuda':
    peer.main('warmup', *models)
    return
  with_muon = peer.__name__ == MUON
  batch_size = 2000 if with_muon else peer.hyp['opt']['batch_size']
  images, labels = next(iter(peer.CifarLoader('cifar10', batch_size=batch_size, aug={'flip': True, 'translate': 2})))
  # while the whitening bias is trained, and afterwards
  ways = [{'whiten_bias_grad': True}, {'whiten_bias_grad': False}] if with_muon else [{}]
  for model, way in itertools.product(models, ways):
    peer.F.cross_entropy(model(images, **way), labels).backward()
  if with_muon:
    filters = [p for p in models[0].parameters() if p.ndim == 4 and p.requires_grad]
    peer.Muon(filters, lr=0.24, momentum=0.6, nesterov=True).step()  # `main` draws all weights anew
  test = peer.CifarLoader('cifar10', train=False, batch_size=2000)
  test.images, test.labels = test.images[:2000], test.labels[:2000]
  for model in models:
    model.zero_grad(set_to_none=True)
    for views in (0, 2):  # after each epoch, and at the end, whose shifted images lie otherwise in memory
      peer.evaluate(model, test, tta_level=views)


def train(peer_dir: str, data_dir: str, runs: int, dtype: str, name: str = MUON):
  """Yields {run, accuracy, seconds, device, torch} of each run, after the warm-up."""
  peer, data_dir = load(peer_dir, name), Path(data_dir).expanduser().absolute()  # it trains in a folder of its own
  import torch
  told, clock = [], 'time_seconds' if name == MUON else 'total_time_seconds'
  # of a row an epoch and one at the end; all that it is given would keep each run's images and networks
  peer.print_training_details = lambda variables, is_final_entry: told.append(variables[clock])
  with device(torch) as where, tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    write_data(torch, data_dir, Path('cifar10'))  # where it looks
    models = (network(peer, torch, where, dtype),) if name == MUON else pair(peer, torch, where, dtype)
    warm_up(peer, models, where)
    for run in range(runs):
      accuracy = peer.main(run, *models)
      yield {'run': run, 'accuracy': round(accuracy, 4), 'seconds': round(told[-1], 4),
             'device': torch.cuda.get_device_name() if where == 'cuda' else where, 'torch': torch.__version__}


def main() -> int:
  memory.keep_freed()
  for run in train(FLAGS.peer_dir, FLAGS.data_dir, FLAGS.runs, FLAGS.dtype, FLAGS.peer):
    print(json.dumps(run), flush=True)
  return 0


if __name__ == '__main__':
  define_flags()
  command.script(main, __doc__)
