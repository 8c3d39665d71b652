"""Seconds from the command to the end of the first training step of ResNet-50, ours against torch, cold and warm.

  python -m benchmarks.start_up [--batch_size=16] [--image_size=64] [--runs=3]

Ours is `launchers.train` on made-up images, from the start of its process to the end of the first step on its tape. The
peer is the shortest script that does as much: imports, torchvision's ResNet-50, torch.compile, one step with momentum.
Cold: with an empty cache of compiled programs; warm: the same again. The third line is imports alone. flax's example,
which needs TensorFlow and clu, is not measured.
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from benchmarks.report import report
from scoring import tape as tapes

FLAGS = flags.FLAGS
flags.DEFINE_integer('batch_size', 16, 'images a step')
flags.DEFINE_integer('image_size', 64, 'rows and columns')
flags.DEFINE_integer('runs', 3, 'warm runs of each')
ROOT = Path(__file__).resolve().parents[1]
TORCH = """
import torch
from tests.references.test_resnet_peers import resnet50
device = 'cuda' if torch.cuda.is_available() else 'cpu'
net = resnet50().to(device, memory_format=torch.channels_last)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5)
x = torch.rand({batch_size}, 3, {image_size}, {image_size}, device=device).to(memory_format=torch.channels_last)
y = torch.zeros({batch_size}, dtype=torch.long, device=device)
torch.nn.functional.cross_entropy(torch.compile(net)(x), y).backward()
optimizer.step()
print(float(next(net.parameters()).sum()))
"""


def ours(cache: Path) -> float:
  """Seconds of one start with that folder of compiled programs."""
  size = FLAGS.image_size
  with tempfile.TemporaryDirectory() as workdir:
    subprocess.run([
        sys.executable, '-m', 'launchers.train', '--config=references/resnet_imagenet/configs/smoke.py',
        f'--workdir={workdir}', f'--compilation_cache_dir={cache}', '--config.depth=50', '--config.width=64',
        f'--config.num_train_examples={FLAGS.batch_size}', f'--config.batch_size={FLAGS.batch_size}',
        f'--config.num_eval_examples={FLAGS.batch_size}', f'--config.eval_batch_size={FLAGS.batch_size}',
        '--config.batch_norm_group_size=0', f'--config.image_sizes=({size},)', f'--config.eval_resize={size}',
        f'--config.eval_image_size={size}', '--config.num_epochs=1', '--config.warmup_epochs=0',
        '--config.optimizer=sgd'],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=sys.stderr, check=False)  # 3: it learns nothing in one step
    events = tapes.read(Path(workdir))
  return next(e['time'] for e in events if e['event'] == 'train' and e.get('edge') == 'stop') - events[0]['time']


def seconds(code: str, **environment) -> float:
  """Of a process that runs `code`."""
  begin = time.perf_counter()
  subprocess.run([sys.executable, '-c', code], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
                 check=True)
  return time.perf_counter() - begin


def theirs(cache: Path) -> float:
  return seconds(TORCH.format(batch_size=FLAGS.batch_size, image_size=FLAGS.image_size),
                 TORCHINDUCTOR_CACHE_DIR=str(cache))


def peer(measure) -> tuple[list[float] | None, dict[str, str]]:
  """(seconds, why not)."""
  try:
    return measure(), {}
  except subprocess.CalledProcessError:
    return None, {'torch': 'its script ended with an error: install the extra peers and torchvision'}


def main(_):
  with tempfile.TemporaryDirectory() as folder:
    caches = [Path(folder) / name for name in ('ours', 'torch')]
    flax = {'flax examples/imagenet': 'needs TensorFlow and clu'}
    kept = {'ours': [ours(caches[0]) for _ in range(1 + FLAGS.runs)]}
    kept['torch'], failed = peer(lambda: [theirs(caches[1]) for _ in range(1 + FLAGS.runs)])
  for what, part in (('cold', slice(0, 1)), ('warm', slice(1, None))):
    report('start_up', ours=kept['ours'][part], peer=kept['torch'] and kept['torch'][part],
           peer_name=kept['torch'] and 'torchvision resnet50, torch.compile', unit='s', what=what,
           batch_size=FLAGS.batch_size, image_size=FLAGS.image_size, not_measured={**failed, **flax})
  imports, failed = peer(lambda: [seconds('import torch, torchvision') for _ in range(1 + FLAGS.runs)][1:])
  report('start_up', ours=[seconds('import launchers.train, training.loop, references.resnet_imagenet.task')
                           for _ in range(1 + FLAGS.runs)][1:], peer=imports,
         peer_name=imports and 'import torch, torchvision', unit='s', what='imports', not_measured=failed)


if __name__ == '__main__':
  app.run(main)
