"""A Slurm cluster of virtual nodes on this machine, in a folder of its own: slurmctld, a slurmd a node, munge.

  python -m tests.clusters.slurm_cluster     # runs one until Ctrl-C, and says how to talk to it

No accounting, no cgroups, no right that the user lacks. Nodes are called 127.0.0.N, names that resolve anywhere, since
JAX's coordinator is looked up by the name of the first node. Each has two GPUs in name only, so that asking for GPUs
can be tried.
"""
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol', 'scancel', 'sinfo', 'squeue')
PACKAGES = 'slurmctld slurmd slurm-client munge'
GPUS = ('/dev/null', '/dev/zero')  # Slurm wants devices, and opens none
# Fields: https://slurm.schedmd.com/slurm.conf.html. cred_expire is the time that a requeued job waits at least, 5 its
# least value; the scheduler's intervals are there to be quick; with FirstJobId two clusters at a time have different
# coordinators, since JAX takes the port from the job's number.
CONFIG = """\
ClusterName=daybreak
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
FirstJobId={first_job}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
GresTypes=gpu
NodeName=127.0.0.[1-{nodes}] NodeHostname=localhost NodeAddr=127.0.0.[1-{nodes}] Port=[{ports}] CPUs=4 Gres=gpu:{gpus}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=30
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


class SlurmCluster:
  """A running cluster; a context manager.

  Raises:
    RuntimeError: a program is missing, or the cluster did not come up; says what to do, or where the logs are.
  """

  def __init__(self, nodes: int = 2):
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=search_path())]:
      raise RuntimeError(f"{', '.join(missing)}: not installed; as root: apt-get install {PACKAGES}")
    self.nodes = [f'127.0.0.{n + 1}' for n in range(nodes)]
    self.folder = Path(tempfile.mkdtemp(prefix='slurm_'))  # short: a socket's path has at most 107 characters
    self.config = self.folder / 'slurm.conf'
    self.daemons: list[subprocess.Popen] = []

  def __enter__(self):
    try:
      self._start()
    except BaseException:
      self.stop()
      raise
    return self

  def __exit__(self, *_):
    self.stop()
    shutil.rmtree(self.folder, ignore_errors=True)

  @property
  def env(self) -> dict[str, str]:
    """The environment in which Slurm's commands find this cluster."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(('SLURM', 'SBATCH', 'SRUN'))}
    return {**inherited, 'SLURM_CONF': str(self.config), 'PATH': search_path()}

  def call(self, *command) -> str:
    """What one of Slurm's commands prints; raises CalledProcessError with what it said."""
    return subprocess.run([*map(str, command)], env=self.env, check=True, capture_output=True, text=True,
                          timeout=60).stdout

  def job(self, number: int) -> dict[str, str]:
    """The fields of a job as `scontrol show job` has them."""
    pairs = (pair.partition('=') for pair in self.call('scontrol', 'show', 'job', '-o', number).split())
    return {name: value for name, _, value in pairs}

  def wait_for_state(self, number: int, *states: str, seconds: float = 120) -> dict[str, str]:
    """Waits until the job is in one of `states`; its fields."""
    end = time.monotonic() + seconds
    while (job := self.job(number))['JobState'] not in states:
      if time.monotonic() > end:
        raise AssertionError(f"job {number} is {job['JobState']} ({job['Reason']}) after {seconds} s, not {states}")
      time.sleep(0.1)
    return job

  def _start(self):
    folder = self.folder
    folder.chmod(0o755)  # munged wants a socket that everybody can reach
    (folder / 'state').mkdir()
    for node in self.nodes:
      (folder / f'spool.{node}').mkdir()
    key = folder / 'munge.key'
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    (folder / 'gres.conf').write_text(''.join(f'Name=gpu File={device}\n' for device in GPUS))
    controller_port, first = free_ports(1 + len(self.nodes))
    self.config.write_text(CONFIG.format(
        folder=folder, user=getpass.getuser(), controller_port=controller_port, nodes=len(self.nodes),
        ports=f'{first}-{first + len(self.nodes) - 1}', gpus=len(GPUS), first_job=random.randrange(1, 60000)))
    self._daemon('munged', '-F', f'--socket={folder}/munge.socket', f'--key-file={key}',
                 f'--log-file={folder}/munged.log', f'--pid-file={folder}/munged.pid',
                 f'--seed-file={folder}/munged.seed', '--num-threads=1')
    self._daemon('slurmctld', '-D', '-i', '-f', self.config)
    for node in self.nodes:
      self._daemon('slurmd', '-D', '-N', node, '-f', self.config, log=f'slurmd.{node}.out')
    self._wait_until_idle()

  def _daemon(self, *command, log: str = ''):
    with open(self.folder / (log or f'{command[0]}.out'), 'w') as out:
      self.daemons.append(subprocess.Popen([*map(str, command)], env=self.env, stdout=out, stderr=subprocess.STDOUT,
                                           start_new_session=True))

  def _wait_until_idle(self, seconds: float = 30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      if dead := [d for d in self.daemons if d.poll() is not None]:
        raise RuntimeError(f'{dead[0].args[0]} ended with status {dead[0].returncode}; see {self.folder}')
      asked = subprocess.run(['sinfo', '-h', '-N', '-p', 'low', '-t', 'idle', '-o', '%N'], env=self.env,
                             capture_output=True, text=True)
      if set(asked.stdout.split()) == set(self.nodes):
        return
      time.sleep(0.1)
    raise RuntimeError(f'not all of {self.nodes} became idle within {seconds:.0f} s; see {self.folder}')

  def stop(self):
    """Ends all jobs and daemons."""
    if len(self.daemons) > 1:
      subprocess.run(['scancel', '--quiet', '--user', getpass.getuser()], env=self.env, capture_output=True, timeout=60)
      time.sleep(0.5)
    for daemon in reversed(self.daemons):
      daemon.terminate()
      try:
        daemon.wait(20)
      except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    self.daemons.clear()


def search_path() -> str:
  """PATH, and where Debian keeps daemons, which is not on everybody's."""
  return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def free_ports(count: int) -> tuple[int, int]:
  """(a free port, the first of the count - 1 free ones after it), below those that systems hand out."""
  while True:
    first = random.randrange(10000, 30000)
    with_all = []
    try:
      for port in range(first, first + count):
        with_all.append(socket.create_server(('127.0.0.1', port)))
      return first, first + 1
    except OSError:
      continue
    finally:
      for server in with_all:
        server.close()


if __name__ == '__main__':
  with SlurmCluster() as cluster:
    print(f'export SLURM_CONF={cluster.config}', flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
      signal.pause()
    except KeyboardInterrupt:
      pass
