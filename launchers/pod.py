"""Trains on many machines, or on one as if it were many.

  python -m launchers.pod --cluster=local --num_processes=2 -- --config=FILE --workdir=DIR
  python -m launchers.pod --cluster=slurm --slurm_nodes=2 -- <flags of launchers.train>
  python -m launchers.pod --cluster=gke --gke_topology=... -- <flags of launchers.train>
  python -m launchers.pod --cluster=tpu_vm --tpu_type=v5litepod-16 -- <flags of launchers.train>

What follows `--` goes to `launchers.train` on every process. --dry_run prints exactly what would be written and run.
Exit status: of `local`, that of train; else of the cluster's own command.
"""
import importlib
from pathlib import Path

from absl import flags

from launchers import command
from training import config as configs

FLAGS = flags.FLAGS
CLUSTERS = ('local', 'slurm', 'gke', 'tpu_vm')
flags.DEFINE_enum('cluster', None, CLUSTERS, 'where to train')
flags.DEFINE_bool('dry_run', False, 'print what would be written and run, and do nothing')


def main(argv: list[str], doc: str) -> int:
  command.at_ctrl_c(command.stop_at_once)  # until the plan runs, which knows what to pass on to whom
  clusters = {name: importlib.import_module(f'launchers.clusters.{name}') for name in CLUSTERS}
  if command.help_wanted(argv):
    return command.print_help(doc)
  if '--' not in argv:
    argv = [*argv, '--']
    if any(flag.startswith(('--config', '--workdir')) for flag in argv):
      command.fail('write -- before the flags of launchers.train: ... -- --config=FILE --workdir=DIR')
      return command.USAGE
  split = argv.index('--')
  flags_of_train = argv[split + 1:]
  command.parse(argv[:split])
  if not FLAGS.cluster:
    command.fail(f"--cluster is missing: one of {', '.join(CLUSTERS)}")
    return command.USAGE
  wrong = check(flags_of_train)
  if wrong:
    command.fail(wrong)
    return command.USAGE
  plan = clusters[FLAGS.cluster].plan(flags_of_train)
  if FLAGS.dry_run:
    print(plan, end='')
    return 0
  return plan.run()


def check(flags_of_train: list[str]) -> str | None:
  """What is wrong with the flags for train, as far as can be told here: better than after waiting in a queue.

  Raises:
    Problem: there is no such config, a field of it has a value that it cannot have, or the workdir is another's.
  """
  given = {flag.split('=', 1)[0].removeprefix('--'): flag.partition('=')[2] for flag in flags_of_train}
  for name in ('config', 'workdir'):
    if not given.get(name):
      return f'--{name}=... is missing after --; what follows -- are the flags of launchers.train'
  if FLAGS.cluster in ('local', 'slurm'):  # others have disks of their own
    command.refuse_foreign(Path(given['workdir']).expanduser(), given)
  for name in ('dry_run', 'cluster'):
    if name in given:
      return f'--{name} is a flag of launchers.pod: write it before --'
  for name in ('runs', 'distributed', 'num_processes', 'process_id', 'coordinator_address'):
    if name in given:
      return f'--{name} after --: a pod is one run, and its processes are told by launchers.pod who they are'
  config, values = configs.load(given['config']), flags.FlagValues()
  configs.define_flags(config, values)
  try:
    values(['train', *(flag for flag in flags_of_train if flag.startswith('--config.'))])
  except flags.Error as error:
    return ' '.join(f'{error}'.split())
  configs.from_flags(config, values)
  return None


if __name__ == '__main__':
  command.run(main, __doc__)
