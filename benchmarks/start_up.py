"""Seconds from the command to the end of the first training step of ResNet-50, against torch and flax, cold and warm.

  python -m benchmarks.start_up [--batch_size=16] [--image_size=64] [--runs=3]
  python -m benchmarks.start_up --flax_dir=DIR [--flax_python=PYTHON]

Ours is `launchers.train` on made-up images, from the start of its process to the end of the first step on its tape;
`spans` says where that went in the last warm run. The first peer is the shortest script that does as much: imports,
torchvision's ResNet-50, torch.compile, one step with momentum. The second is flax's examples/imagenet/train.py,
unmodified, in a checkout of github.com/google/flax, on TFDS's mocked images, which it decodes and crops to 224; ours
then takes 224 too. It needs tensorflow-cpu, tensorflow-datasets, clu, tensorboard and ml_collections, so it may have an
environment of its own. Cold: with an empty cache of compiled programs; warm: the same again. The peers take turns with
ours; what a peer lacks is in `not_measured`. The last line is imports alone.
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks import progress, runs
from benchmarks.report import report
from launchers import command
from scoring import clocks

FLAGS = flags.FLAGS
FLAX_IMAGE_SIZE = 224  # a constant of its train.py
TORCH = """
import os
import torch
from tests.references import vision_ops
vision_ops.declare(torch)
from torchvision.models import resnet50
device = 'cuda' if torch.cuda.is_available() else 'cpu'
net = resnet50().to(device, memory_format=torch.channels_last)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5, fused=True)
x = torch.rand({batch_size}, 3, {image_size}, {image_size}, device=device).to(memory_format=torch.channels_last)
y = torch.zeros({batch_size}, dtype=torch.long, device=device)
torch.nn.functional.cross_entropy(torch.compile(net)(x), y).backward()
optimizer.step()
print(float(next(net.parameters()).sum()), flush=True)
os._exit(0)
"""


# Its own benchmark on made-up data downloads the metadata of ImageNet; here they are written. The first step ends when
# its metrics are on the host, to be written.
FLAX = """
import os, sys, tempfile
sys.path.insert(0, {example!r})
import tensorflow_datasets as tfds
from clu import metric_writers
from configs import default
import train

class FirstStep:
  def write_scalars(self, step, scalars):
    print(step, scalars, flush=True)
    os._exit(0)

metric_writers.create_default_writer = lambda *args, **kwargs: FirstStep()
config = default.get_config()
config.update(batch_size={batch_size}, num_train_steps=2, steps_per_eval=1, log_every_steps=1, profile=False,
              shuffle_buffer_size={batch_size})
with tempfile.TemporaryDirectory() as folder:
  made = tfds.builder(config.dataset, data_dir=folder)
  os.makedirs(made.data_dir)
  name = tfds.core.naming.ShardedFileTemplate(data_dir=made.data_path, dataset_name=made.name,
                                              filetype_suffix='tfrecord')
  made.info.set_splits(tfds.core.splits.SplitDict(
      tfds.core.SplitInfo(name=split, shard_lengths=[size], num_bytes=0, filename_template=name.replace(split=split))
      for split, size in (('train', 1281167), ('validation', 50000))))
  made.info.write_to_directory(made.data_dir)
  with tfds.testing.mock_data(num_examples={batch_size}, data_dir=folder):
    train.train_and_evaluate(config, folder + '/run')
"""


def define_flags():
  """In a function, since other commands have some of these names too."""
  flags.DEFINE_integer('batch_size', 16, 'images a step', lower_bound=1)
  flags.DEFINE_integer('image_size', 64, 'rows and columns, against torch', lower_bound=1)
  flags.DEFINE_integer('runs', 3, 'warm runs of each', lower_bound=1)
  flags.DEFINE_string('flax_dir', '', 'checkout of github.com/google/flax')
  flags.DEFINE_string('flax_python', sys.executable, 'Python whose environment has what its example needs')


def train(cache: Path, size: int) -> list[dict]:
  """The tape of one start with that folder of compiled programs, up to the end of the first step."""
  return runs.until_first_step(runs.train(
      '--config=references/resnet_imagenet/configs/smoke.py', f'--compilation_cache_dir={cache}',
      '--config.depth=50', '--config.width=64', f'--config.num_train_examples={FLAGS.batch_size}',
      f'--config.batch_size={FLAGS.batch_size}', f'--config.num_eval_examples={FLAGS.batch_size}',
      f'--config.eval_batch_size={FLAGS.batch_size}', '--config.batch_norm_group_size=0',
      f'--config.image_sizes=({size},)', f'--config.eval_resize={size}', f'--config.eval_image_size={size}',
      '--config.num_epochs=1', '--config.warmup_epochs=0', '--config.optimizer=sgd'))


def lasted(events: list[dict]) -> float:
  return events[-1]['time'] - events[0]['time']


def seconds(code: str, python: str = sys.executable, **environment) -> float:
  """Of a process that runs `code`."""
  begin = time.perf_counter()
  subprocess.run([python, '-c', code], cwd=runs.ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
                 check=True)
  return time.perf_counter() - begin


def torch_start(cache: Path) -> float:
  return seconds(TORCH.format(batch_size=FLAGS.batch_size, image_size=FLAGS.image_size),
                 TORCHINDUCTOR_CACHE_DIR=str(cache))


def flax_start(cache: Path) -> float:
  code = FLAX.format(example=str(flax_example()), batch_size=FLAGS.batch_size)
  return seconds(code, FLAGS.flax_python, JAX_COMPILATION_CACHE_DIR=str(cache),
                 JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0')


def flax_example() -> Path:
  return Path(FLAGS.flax_dir).expanduser().absolute() / 'examples' / 'imagenet'


def turns(mine, theirs, times: int, what: str = 'both') -> tuple[list, list[float] | None, str]:
  """What each returns in turn, so many times; where the peer fails, ours alone, and why."""
  made, peers, failed = [], [], ''
  for _ in progress.told(times, f'{what}, start'):
    made.append(mine())
    if not failed:
      try:
        peers.append(theirs())
      except (subprocess.CalledProcessError, OSError) as error:
        said = [line for line in getattr(error, 'stderr', '').splitlines() if line.strip()]
        failed = f'its script ended with an error: {said[-1] if said else error}'[:200]
  return made, None if failed else peers, failed


def measure(name: str, title: str, size: int, theirs, not_measured: dict):
  """Reports a cold start and warm ones, ours and a peer's."""
  with tempfile.TemporaryDirectory() as folder:
    made, peer, failed = turns(lambda: train(Path(folder) / 'ours', size),
                               lambda: theirs(Path(folder) / 'peer'), 1 + FLAGS.runs, name)
  for what, part in (('cold', slice(0, 1)), ('warm', slice(1, None))):
    spans = {span: round(spent, 3) for span, spent in clocks.seconds_by_span(made[part][-1]).items()}
    report('start_up', ours=[lasted(events) for events in made[part]], peer=peer and peer[part],
           peer_name=peer and title, unit='s', what=f'{what} {size}', batch_size=FLAGS.batch_size, spans=spans,
           not_measured={**({name: failed} if failed else {}), **not_measured})


def main() -> int:
  absent = {} if FLAGS.flax_dir else {'flax examples/imagenet': 'no --flax_dir: it is not in the package of flax'}
  measure('torch', 'torchvision resnet50, torch.compile', FLAGS.image_size, torch_start, absent)
  if FLAGS.flax_dir:
    measure('flax examples/imagenet', 'flax examples/imagenet', FLAX_IMAGE_SIZE, flax_start, {})
  imports = 'import launchers.train, training.loop, references.resnet_imagenet.task'
  made, peer, failed = turns(lambda: seconds(imports), lambda: seconds('import torch, torchvision'), 1 + FLAGS.runs,
                             'imports')
  report('start_up', ours=made[1:], peer=peer and peer[1:], peer_name=peer and 'import torch, torchvision', unit='s',
         what='imports', not_measured={'torch': failed} if failed else {})
  return 0


if __name__ == '__main__':
  define_flags()
  command.script(main, __doc__)
