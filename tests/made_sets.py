"""Made-up sets of runs for tests: real configs, made-up times; every tape says that it is a fixture."""
import dataclasses
from pathlib import Path

from launchers import checkout, recipe
from scoring import cost, ledger
from scoring import tape as tapes
from tests.tapes import HEADER, Simulated
from training import config as configs

HARDWARE = {'platform': 'gpu', 'device_kind': 'NVIDIA H100 80GB HBM3', 'device_count': 8, 'process_count': 1,
            'host': 'fixture CPU', 'host_cores': 64}
CIFAR10 = 'references/cifar/configs/cpu.py'  # with test-time augmentation and images that grow
RESNET = 'references/resnet_imagenet/configs/mlperf_1632.py'


def accuracies(best: float, count: int) -> list[float]:
  """So many accuracies that rise to `best`, each a whole number of 50,000 and of 10,000 examples."""
  return [round(best - 0.01 * (count - 1 - n), 4) for n in range(count)]


def cifar10(folder: Path, best=(0.9411, 0.9402, 0.9396, 0.9423, 0.9408)) -> Path:
  """Runs that look once an epoch; the third misses the target."""
  return make(folder, CIFAR10, best, '--config.eval_every_epochs=1.0')


def resnet(folder: Path, runs: int = 5, *flags: str, stop_after: int = 9) -> Path:
  """Runs that all reach 75.9 % at their last look, the ninth: at epoch 35, as MLPerf's reference does on average."""
  return make(folder, RESNET, [0.7593 + 0.0002 * n for n in range(runs)], *flags, stop_after=stop_after)


def make(folder: Path, path: str, best, *flags: str, stop_after: int = 10**6) -> Path:
  """A set of runs of a config file, one for each final accuracy in `best`, with its ledger and summary."""
  folder.mkdir(parents=True)
  now = Simulated()
  base = configs.load(str(tapes.ROOT / path))
  for name, value in (flag.removeprefix('--config.').split('=') for flag in flags):
    base = dataclasses.replace(base, **{name: type(getattr(base, name))(value)})
  for number, accuracy in enumerate(best):
    name, config = ledger.run_name(number), dataclasses.replace(base, seed=base.seed + number)
    ledger.append(folder, run=name, event='begin', seed=config.seed, config=configs.to_text(base), time=now())
    now.advance(0.01)
    (folder / name).mkdir()
    command = [f'--config={path}', f'--workdir=runs/{folder.name}', *flags, f'--runs={len(best)}', '--runs=1',
               f'--workdir=runs/{folder.name}/{name}', f'--config.seed={config.seed}']
    reached = tell(folder / name / 'tape.jsonl', config, accuracy, now, command, stop_after, 1.0 + 0.01 * number)
    now.advance(0.5)
    ledger.append(folder, run=name, event='end', exit_status=0 if reached else 3, time=now())
    now.advance(0.1)
  ledger.summarize(folder)
  return folder


def tell(path: Path, config, best: float, now: Simulated, command, stop_after: int, pace: float) -> bool:
  """Writes the tape of one run; whether it reached its target."""
  task = config.make_task('')
  order, target = task.data['train'].order, task.target
  tape = tapes.Tape(path, now=now)
  tape.event('process', **{
      **HEADER, **recipe.describe(config, task), 'command': command, 'hardware': HARDWARE,
      'price': cost.price_for(HARDWARE), 'code_sha256': checkout.code_sha256()})
  where = lambda step: {'step': step, 'epoch': round(order.epochs(step), 6), 'samples': order.samples(step)}

  def span(name, seconds, fields=None, results=None):
    with tape.span(name, **(fields or {})) as stop:
      now.advance(seconds * pace)
      stop.update(results or {})

  span('import', 1.0)
  span('init', 2.0)
  span('compile', 3.0, results={'program_sha256': 'f' * 64, 'cache_hits': 0, 'cache_misses': 3})
  tape.event('run_start', step=0)
  for split in ('train', 'eval'):
    span('data', 0.5, {'split': split, 'fingerprint': 'd' * 64})
  steps = [task.num_steps, *range(target.offset_steps, task.num_steps, target.every_steps)]
  steps = sorted(set(steps) - {0})[:stop_after]
  before, reached = 0, False
  for step, accuracy in zip(steps, accuracies(best, len(steps))):
    metrics = {'accuracy': accuracy, **({'top5_accuracy': 0.93} if task.benchmark == 'imagenet' else {})}
    span('train', 10.0, where(before), {**where(step), 'data_seconds': 0.25, 'metrics': {'loss': 1.0}})
    span('eval', 2.0, where(step), {'metrics': metrics, 'num_evaluated': target.num_examples})
    before, reached = step, accuracy >= target.value
    if not reached and step != steps[-1]:
      span('checkpoint', 0.5, {'step': step})
  tape.event('run_stop', status='success' if reached else 'aborted', **where(before))
  digest = f'{config.seed:064x}'
  tape.event('result', step=before, parameters_sha256=digest, state_sha256=digest[::-1])
  tape.event('exit', status='complete')
  tape.close()
  return reached
