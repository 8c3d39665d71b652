"""A Slurm job: one process a GPU or one a node, saved ahead of the time limit, requeued when it was preempted.

Options and signals: https://slurm.schedmd.com/sbatch.html, https://slurm.schedmd.com/srun.html.
"""
import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from launchers import command
from launchers.clusters.plan import Command, Plan, flag_value
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_integer('slurm_nodes', 1, 'nodes', lower_bound=1)
flags.DEFINE_integer('slurm_tasks_per_node', 1, 'processes a node', lower_bound=1)
flags.DEFINE_integer('slurm_gpus_per_task', 0, 'GPUs a process; 1, or with one process a node all of the node\'s',
                     lower_bound=0)
flags.DEFINE_integer('slurm_cpus_per_task', None, 'CPUs a process', lower_bound=1)
flags.DEFINE_string('slurm_partition', None, 'partition')
flags.DEFINE_string('slurm_account', None, 'account that pays')
flags.DEFINE_string('slurm_constraint', None, 'features that the nodes must have')
flags.DEFINE_string('slurm_time', None, 'time limit as Slurm writes it, e.g. 4:00:00; default: the partition\'s')
flags.DEFINE_integer('slurm_warning_seconds', 120, 'save and requeue so long before the time limit', lower_bound=1,
                     upper_bound=65535)
flags.DEFINE_integer('slurm_max_restarts', 3, 'restart a job that lost a process so often; preemptions do not count',
                     lower_bound=0)
flags.DEFINE_multi_string('slurm_sbatch', [], 'one more option of sbatch, e.g. --mem=0; repeated')
flags.DEFINE_multi_string('slurm_setup', [], 'a shell line before training, e.g. \'module load cuda\'; repeated')
flags.DEFINE_string('slurm_python', None, 'the Python to use on the nodes; default: the one that runs this')

# Once a process has ended, the others have so long beyond --peer_timeout_seconds to say which one was lost, and to end.
END_SECONDS = 90

# What the batch shell does while srun runs. A trap ends `wait` with a status that is not srun's; waiting again gives
# srun's, also when srun has ended in between.
#
# The state tells who is ending the job. RUNNING: nobody, so that this script passes the signal on, and puts the job
# back into the queue itself, since a job that ends within the grace time of a preemption counts as completed. Any other
# state: Slurm, which has signalled the tasks and decided what becomes of the job; `scancel` would hang here, and
# `scontrol requeue` would bring back a job that was cancelled.
WATCH = """\
running() { [ "$(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID")" = RUNNING ]; }
pass_on() {
  again=yes
  if running; then scancel --signal=TERM "$SLURM_JOB_ID"; fi
}
trap pass_on USR1 TERM
echo "job $SLURM_JOB_ID: start $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST"
"${train[@]}" &
step=$!
again=yes
while [ "$again" ]; do
  again=
  wait "$step"
  status=$?
done
trap '' USR1 TERM

requeue=
if ! running; then
  outcome='ended by Slurm'
elif [ "$status" -eq "$preempted" ]; then
  outcome='preempted and saved' requeue=yes
elif [ "$status" -eq "$lost" ] || { [ "$status" -gt 128 ] && [ "$status" -ne "$interrupted" ]; }; then
  echo "$status" >>"$pod/lost_$SLURM_JOB_ID"
  times=$(wc -l <"$pod/lost_$SLURM_JOB_ID")
  outcome="lost a process, time $times"
  if [ "$times" -le "$max_restarts" ]; then requeue=yes; fi
else
  outcome='ended'
fi
echo "job $SLURM_JOB_ID: $outcome, status $status${requeue:+; back into the queue}"
if [ "$requeue" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
"""


def plan(flags_of_train: Sequence[str]) -> Plan:
  """The batch script of the flags given, and its submission.

  Raises:
    Problem: a value that Slurm could not be given, or GPUs that JAX would not find.
  """
  pod = (Path(flag_value(flags_of_train, 'workdir')).expanduser() / 'pod').absolute()
  script = pod / 'job.sbatch'
  text = '\n'.join(['#!/bin/bash', *(f'#SBATCH {line}' for line in _options(pod)), '', *FLAGS.slurm_setup,
                    *_environment(), f'pod={shlex.quote(str(pod))}',
                    f'preempted={command.PREEMPTED} interrupted={command.INTERRUPTED} lost={command.LOST} '
                    f'max_restarts={FLAGS.slurm_max_restarts}',
                    _step(pod, flags_of_train), WATCH])
  return Plan({str(script): text}, [Command(['sbatch', str(script)])])


def _options(pod: Path) -> list[str]:
  """The options of sbatch, as lines after #SBATCH; of one that is given twice the last counts."""
  gpus, warning = FLAGS.slurm_gpus_per_task * FLAGS.slurm_tasks_per_node, FLAGS.slurm_warning_seconds
  limit = _seconds(FLAGS.slurm_time) if FLAGS.slurm_time else None
  if limit and limit <= warning + 60:  # the signal may come up to 60 seconds early, says sbatch's page
    raise Problem(f'--slurm_time={FLAGS.slurm_time}: the job would be told to stop when it begins, and begin again for '
                  f'ever; give it a minute more than --slurm_warning_seconds={warning} at least')
  options = {'job-name': pod.parent.name, 'nodes': FLAGS.slurm_nodes, 'ntasks-per-node': FLAGS.slurm_tasks_per_node,
             # not --gpus-per-task, which hides the GPUs of a node's other tasks: JAX takes the i-th for the i-th task
             'gpus-per-node': gpus, 'cpus-per-task': FLAGS.slurm_cpus_per_task,
             'partition': FLAGS.slurm_partition, 'account': FLAGS.slurm_account,
             'constraint': FLAGS.slurm_constraint, 'time': FLAGS.slurm_time,
             'chdir': Path.cwd(), 'output': _file_pattern(pod / 'job.log'), 'open-mode': 'append',
             'signal': f'B:USR1@{warning}'}
  lines = [f'--{name}={_quoted(name, str(value))}' for name, value in options.items() if value]
  for line in FLAGS.slurm_sbatch:
    if not re.fullmatch(r'-\S.*', line):
      raise Problem(f'--slurm_sbatch={line!r}: not an option of sbatch on one line; write e.g. --slurm_sbatch=--mem=0')
  return [*lines, '--requeue', *FLAGS.slurm_sbatch]


def _seconds(limit: str) -> int | None:
  """A time limit as sbatch takes it, in seconds; 0 and UNLIMITED (None) are none, and sbatch refuses what is wrong."""
  match = re.fullmatch(r'(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(?:(\d+):)??(\d+)(?::(\d+))?)', limit)
  if not match:
    return None
  days, day_hours, day_minutes, day_seconds, hours, minutes, seconds = (int(x or 0) for x in match.groups())
  return ((days * 24 + day_hours + hours) * 60 + day_minutes + minutes) * 60 + day_seconds + seconds


def _environment() -> list[str]:
  """What must be set for JAX: under Slurm it gives the i-th task of a node the i-th GPU, and that one only."""
  gpus = FLAGS.slurm_gpus_per_task
  if gpus <= 1:
    return []
  if FLAGS.slurm_tasks_per_node > 1:
    raise Problem(f'--slurm_gpus_per_task={gpus}: with {FLAGS.slurm_tasks_per_node} processes a node it must be 1; or '
                  'leave --slurm_tasks_per_node out, and one process has them all')
  return [f"export JAX_LOCAL_DEVICE_IDS={','.join(map(str, range(gpus)))}"]


def _step(pod: Path, flags_of_train: Sequence[str]) -> str:
  """The srun command, as an array; its status is the highest of its tasks, 128 + N for one that signal N killed."""
  timeout = flag_value(flags_of_train, 'peer_timeout_seconds') or '30'
  if not re.fullmatch(r'\d+(\.\d*)?', timeout):
    raise Problem(f'--peer_timeout_seconds={timeout}: not a number of seconds')
  options = ['--mpi=none', '--kill-on-bad-exit=0', f'--wait={math.ceil(float(timeout)) + END_SECONDS}',
             '--open-mode=append', f"--output={_file_pattern(pod / 'process_%t.log')}"]
  if FLAGS.slurm_cpus_per_task:  # since 22.05 srun does not have it from sbatch
    options.append(f'--cpus-per-task={FLAGS.slurm_cpus_per_task}')
  train = [FLAGS.slurm_python or sys.executable, '-m', 'launchers.train', *flags_of_train, '--distributed']
  return f'train=(srun {shlex.join(options)}\n  {shlex.join(train)})'


def _file_pattern(path: Path) -> str:
  """`path` as a name of a log for Slurm, where %, in the folder's name too, begins a pattern."""
  if '\\' in str(path):
    raise Problem(f'--workdir: {path} holds a backslash, which Slurm does not take in names of logs; name another')
  return str(path.parent).replace('%', '%%') + '/' + path.name


def _quoted(name: str, value: str) -> str:
  """`value` as sbatch reads it after #SBATCH: a space needs quotes, and in them a backslash is to be doubled."""
  if not value.isprintable():
    raise Problem(f'--{name} of sbatch would be {value!r}: it must be one line that can be printed')
  if re.fullmatch(r'[\w@%+=:,./-]+', value):
    return value
  return '"' + re.sub(r'(["\\])', r'\\\1', value) + '"'
