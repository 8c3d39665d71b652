"""Answers the test set with a trained checkpoint, under MLPerf's traffic generator or as DAWNBench asks.

  python -m launchers.infer --config=references/cifar/configs/digits.py --workdir=runs/digits \\
      --scenario=single_stream --mode=performance --min_duration_seconds=600

--config and its overrides are those that the run was trained with. `accuracy` answers every sample once and measures,
`performance` times random ones, `dawnbench` times every sample once, one at a time, and measures too. Results are in
WORKDIR/inference/SCENARIO/MODE: record.json, LoadGen's logs, a tape. MLPerf's rules ask for 600 seconds.
What was measured before moves to WORKDIR/inference/SCENARIO/earlier.
Exit status: 0 the run is valid, 1 error, 2 malformed command line, 3 it ran and is not valid, or misses
DAWNBench's threshold.
Ctrl-C ends it at once, by its signal, and keeps nothing.
"""
import fcntl
import itertools
import os
import shutil
import signal
from pathlib import Path

from absl import flags

from launchers import command, compilation, devices
from launchers.header import header
from scoring import dawnbench_inference, inference, scenarios
from scoring import tape as tapes
from scoring.problem import Problem
from scoring.tape import Tape, WallClock, process_start_seconds

FLAGS = flags.FLAGS
NOW, STARTED = WallClock(), process_start_seconds()
LOCKS, LEAST_QPS = [], 0.01
MODES = ('accuracy', 'performance', 'dawnbench')
flags.DEFINE_string('config', None, 'config file of the run: references/TASK/configs/NAME.py')
flags.DEFINE_string('workdir', None, 'folder of the trained run; results go to WORKDIR/inference')
flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets; embedded ones need none')
flags.DEFINE_enum('scenario', None, scenarios.SCENARIOS, 'how queries come')
flags.DEFINE_enum('mode', None, MODES, 'measure answers, or time them')
flags.DEFINE_float('min_duration_seconds', 600.0, 'of a performance run, at least; MLPerf asks 600', lower_bound=0.1)
flags.DEFINE_float('target_qps', None, 'queries a second that the server scenario sends, or about what offline can do; '
                   'default: offline measures it first')
flags.DEFINE_integer('min_queries', None, 'of a performance run, at least (offline: samples); default: what the '
                     'scenario asks', lower_bound=1)
flags.DEFINE_bool('find_peak', False, 'server: search for the highest rate that stays valid, then run at it')
flags.DEFINE_integer('batch_size', None, 'largest batch, offline and server; default: eval_batch_size of the config, '
                     'for a server 16', lower_bound=1)
flags.DEFINE_bool('fold', True, 'fold normalisations, biases and activations into what comes before them')


def check_flags() -> str | None:
  """What is wrong with the flags, or None."""
  for name in ('config', 'workdir', 'scenario', 'mode'):
    if not getattr(FLAGS, name):
      return (f'--{name} is missing; e.g. python -m launchers.infer --config=references/cifar/configs/digits.py '
              '--workdir=runs/digits --scenario=single_stream --mode=performance')
  if FLAGS.target_qps is not None and not LEAST_QPS <= FLAGS.target_qps < 1e9:
    return f'--target_qps={FLAGS.target_qps:g}: queries a second, more than 0: {LEAST_QPS} or more'
  server = FLAGS.scenario == 'server'
  if FLAGS.mode == 'dawnbench' and FLAGS.scenario != 'single_stream':
    return f'--mode=dawnbench: one item at a time, which is --scenario=single_stream, not {FLAGS.scenario}'
  if FLAGS.find_peak and (not server or FLAGS.mode != 'performance'):
    return '--find_peak searches in --scenario=server --mode=performance'
  if FLAGS.mode == 'performance' and server and FLAGS.target_qps is None and not FLAGS.find_peak:
    return '--scenario=server: say --target_qps=N, or --find_peak to search for it'
  if FLAGS.scenario in ('single_stream', 'multi_stream') and (FLAGS.target_qps or FLAGS.batch_size):
    return f'--target_qps and --batch_size mean nothing in {FLAGS.scenario}, whose queries follow one another'
  return None


def restore(config, workdir: Path):
  """(task, the newest checkpoint's Restored, the run's header), with the checkpoint's own account of what it is.

  Raises:
    Problem: no run or no whole checkpoint there, or one of another config.
  """
  from training import checkpoint, programs
  from training import mesh as meshes
  if (workdir / 'ledger.jsonl').exists():
    raise Problem(f'--workdir={workdir}: holds a set of runs; name one of them, such as {workdir / "run_000"}')
  if not (workdir / 'tape.jsonl').exists() or not (workdir / 'checkpoints').is_dir():
    raise Problem(f'--workdir={workdir}: no run with a checkpoint there; train first, without --nocheckpoints')
  events = tapes.read(workdir)
  if not events:
    raise Problem(f'--workdir={workdir}: its tape is empty; train first')
  given = ' '.join(flag for flag in events[0]['command'] if flag.startswith('--config'))
  command.check_config(events[0]['config'], config, workdir, f'give the flags that it was trained with: {given}')
  task = config.make_task(os.path.expanduser(FLAGS.data_dir))
  restored = checkpoint.Checkpoints(workdir.absolute() / 'checkpoints').restore_newest(
      programs.abstract_state(task, meshes.make_mesh(devices.found())), set_aside=False)
  if restored is None:
    raise Problem(f'--workdir={workdir}: no checkpoint there; train first')
  saved = tapes.parse(restored.tape)
  if saved[0] != events[0]:
    raise Problem(f'--workdir={workdir}: its checkpoint of step {restored.step} is of another run than its tape; '
                  'restore either from a copy')
  before = next((e['fingerprint'] for e in saved if e['event'] == 'data' and e.get('split') == 'eval'), None)
  if before != task.data['eval'].fingerprint:
    raise Problem(f'--data_dir={FLAGS.data_dir}: its evaluation data are not those of the run (fingerprint '
                  f'{task.data["eval"].fingerprint}, trained with {before}); name the folder that it was trained with')
  return task, restored


def account(restored, workdir: Path) -> dict:
  """What is served: which checkpoint of which run, and its metric when training evaluated it."""
  from training import checkpoint
  events = tapes.parse(restored.tape)
  evaluated = [e for e in tapes.effective(events) if e['event'] == 'eval' and e.get('metrics')
               and e['step'] == restored.step]
  first = events[0]
  return {'run': workdir.resolve().name, 'step': restored.step,
          'parameters_sha256': checkpoint.sha256(restored.state.params),
          'target': first['target'], 'metrics': evaluated[-1]['metrics'] if evaluated else None,
          'metric': f"{first['target']['metric']} {evaluated[-1]['metrics'][first['target']['metric']]:.6f}"
                    if evaluated else 'not evaluated',
          'seed': first['seed'], 'started': first['time'], 'git_commit': first['git_commit'],
          'hardware': first['hardware']}


def batch_sizes(task, scenario: scenarios.Scenario) -> tuple[int, ...]:
  """The batches to compile."""
  if scenario.samples_per_query:
    if scenario.name != 'server':
      return (scenario.samples_per_query,)
    largest = FLAGS.batch_size or 16
    return (*(2**n for n in range(largest.bit_length()) if 2**n < largest), largest)
  return (FLAGS.batch_size or task.config.eval_batch_size,)


def make_part(root: Path, folder: Path) -> Path:
  """An empty folder beside `folder`, for what will be it; no other process measures below `root` meanwhile."""
  part = folder.with_name(f'{folder.name}.part')
  try:
    root.mkdir(exist_ok=True)
    lock = open(root / 'lock', 'w')
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
  except BlockingIOError:
    raise Problem(f'{root}: another process measures this run; wait for it: both would be slower') from None
  except OSError as error:
    raise Problem(f'{part}: cannot write there ({error.strerror})') from None
  LOCKS.append(lock)  # held, and so kept open, until this process ends
  return part


def serve(config, workdir: Path) -> int:
  """One run of inference, from here to its record; the exit status."""
  import jax
  import numpy as np

  from launchers import traffic
  from serving import loadgen
  imported = NOW()
  loadgen.module()
  compilation.set_cache()
  task, restored = restore(config, workdir)
  rules = scenarios.rules(task.benchmark, task.model_name)
  scenario = rules.scenario(FLAGS.scenario)
  served = task.serve(task.eval_variables(restored.state), fold=FLAGS.fold)
  folder = workdir / 'inference' / FLAGS.scenario / FLAGS.mode
  part = make_part(workdir / 'inference', folder)
  tape = Tape(part / 'tape.jsonl', now=NOW)
  sizes = batch_sizes(task, scenario)
  tape.event('process', time=STARTED, **header(config, task, jax.devices()[:1]), checkpoint=account(restored, workdir),
             serving={'scenario': FLAGS.scenario, 'mode': FLAGS.mode, 'batch_sizes': sizes, 'folded': served.folded,
                      'num_samples': served.num_samples, 'num_items': int(served.items.max()) + 1,
                      'compute_dtype': task.config.compute_dtype, 'preprocessing': served.preprocessing,
                      'data_fingerprint': task.data['eval'].fingerprint,
                      'input_dtype': np.dtype(served.row(served.buckets[-1])[1]).name})
  tape.event('import', time=STARTED, edge='start')
  tape.event('import', time=imported, edge='stop')
  traffic.drive(served, sizes, tape, part, rules, scenario, FLAGS)
  tape.event('exit', status='complete', logs_sha256=inference.logs_sha256(part))
  tape.close()
  inference.write(part)
  keep_earlier(folder)
  part.rename(folder)
  made = inference.make(folder)
  print(inference.table(made) + f'records   {folder / "record.json"}', flush=True)
  if made['mode'] == 'dawnbench':
    print(f'dawnbench {dawnbench_inference.outcome(made, folder)}')
  missed = made['mode'] == 'dawnbench' and dawnbench_inference.missed(made)
  return command.REACHED if made['valid'] and not missed else command.NOT_REACHED


def keep_earlier(folder: Path):
  """Moves what was measured before in the same scenario and mode to `earlier/MODE_001` and on."""
  if folder.exists():
    earlier = folder.parent / 'earlier'
    earlier.mkdir(exist_ok=True)
    place = next(path for n in itertools.count(1) if not (path := earlier / f'{folder.name}_{n:03d}').exists())
    folder.rename(place)
    print(f'before    {place}')


def main(argv: list[str], doc: str) -> int:
  # LoadGen holds the main thread without the interpreter for minutes: a handler of Python's would wait for it.
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  if command.config_help_wanted(argv, doc):
    return command.REACHED
  command.parse(argv, known_only=True)
  if wrong := check_flags():
    command.fail(wrong)
    return command.USAGE
  config = command.parse_config(argv)
  return serve(config, Path(FLAGS.workdir).expanduser())


if __name__ == '__main__':
  command.run(main, __doc__)
