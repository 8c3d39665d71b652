"""A JobSet on Google Kubernetes Engine: TPU slices, several of them if wanted, or nodes with GPUs.

JobSet: https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2. TPUs in GKE:
https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus and .../how-to/tpu-multislice. Kueue:
https://kueue.sigs.k8s.io/docs/tasks/run/jobsets.
"""
import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml
from absl import flags

from launchers import command, topology
from launchers.clusters.plan import Command, Plan, flag_value
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_string('gke_image', None, 'image with this checkout in /daybreak (see Containerfile)')
flags.DEFINE_string('gke_name', 'daybreak', 'of the JobSet')
flags.DEFINE_string('gke_namespace', 'default', 'its namespace')
flags.DEFINE_string('gke_tpu', None, 'accelerator label of the node pool, e.g. tpu-v5-lite-podslice')
flags.DEFINE_string('gke_topology', None, 'topology label of the node pool, e.g. 4x4')
flags.DEFINE_enum('gke_chips_per_machine', '4', ['4', '8'], 'of a TPU node pool; 8: the machine types ct5lp-hightpu-8t '
                  'and ct6e-standard-8t, each a slice 2x4 of its own')
flags.DEFINE_integer('gke_slices', 1, 'TPU slices; each takes a whole node pool', lower_bound=1)
flags.DEFINE_string('gke_gpu', None, 'accelerator label of the nodes, e.g. nvidia-h100-80gb, instead of a TPU')
flags.DEFINE_integer('gke_gpus_per_node', 8, 'GPUs of a node, all for one process', lower_bound=1)
flags.DEFINE_integer('gke_nodes', 1, 'nodes with GPUs', lower_bound=1)
flags.DEFINE_string('gke_claim', None, 'persistent volume claim (ReadWriteMany) that holds the workdir, and data')
flags.DEFINE_string('gke_mount', '/data', 'where the claim is mounted')
flags.DEFINE_string('gke_queue', None, 'local queue of Kueue')
flags.DEFINE_string('gke_priority_class', None, 'priority class of the pods')
flags.DEFINE_string('gke_service_account', None, 'service account of the pods, e.g. to reach gs://')
flags.DEFINE_bool('gke_spot', False, 'on spot nodes')
flags.DEFINE_integer('gke_max_restarts', 10, 'begin again so often after a preemption or a loss', lower_bound=0)
flags.DEFINE_integer('gke_grace_seconds', 120, 'time to save in, between SIGTERM and SIGKILL', lower_bound=1)

# Accelerator label -> chip. Slices of several machines, and those of 4 chips, consist of ct4p-hightpu-4t,
# ct5lp-hightpu-4t, ct5p-hightpu-4t or ct6e-standard-4t: 4 chips each.
TPUS = {'tpu-v4-podslice': 'v4', 'tpu-v5-lite-podslice': 'v5e', 'tpu-v5p-slice': 'v5p', 'tpu-v6e-slice': 'v6e'}
JOB = 'train'  # name of the replicated job, and of its container
PORT = 8476  # of process 0; where JAX asks its users for none, it takes this one on Cloud TPUs
NAME = re.compile(r'[a-z]([-a-z0-9]*[a-z0-9])?')
# To begin again would end the same. An error (1) may not: so ends a process that others did not join in time. In order,
# as Kubernetes wants them.
ENDED = [command.USAGE, command.NOT_REACHED]


def plan(flags_of_train: Sequence[str]) -> Plan:
  """The manifest, in runs/pod/, and the command that applies it.

  Raises:
    Problem: a flag is missing or does not fit the others.
  """
  path = Path('runs', 'pod') / f'{FLAGS.gke_name}.yaml'
  text = yaml.safe_dump(manifest(flags_of_train), sort_keys=False, width=1000)
  return Plan({str(path): text}, [Command(['kubectl', 'apply', f'--filename={path}'])])


def manifest(flags_of_train: Sequence[str]) -> dict:
  """The JobSet of the flags given."""
  check(flags_of_train)
  jobs, pods, chips = (FLAGS.gke_slices, *tpu_slice()) if FLAGS.gke_tpu else (1, FLAGS.gke_nodes, None)
  longest = f'{FLAGS.gke_name}-{JOB}-{jobs - 1}-{pods - 1}'
  if not NAME.fullmatch(FLAGS.gke_name) or len(longest) > 63 - len('-xxxxx'):
    raise Problem(f'--gke_name={FLAGS.gke_name}: a lower-case letter, then letters, digits and dashes, please, and '
                  f'short enough for the host name {longest}')
  labels = {'kueue.x-k8s.io/queue-name': FLAGS.gke_queue} if FLAGS.gke_queue else {}
  return {
      'apiVersion': 'jobset.x-k8s.io/v1alpha2', 'kind': 'JobSet',
      'metadata': _without_none({
          'name': FLAGS.gke_name, 'namespace': FLAGS.gke_namespace, 'labels': labels or None,
          # one job, and so one slice, to a node pool
          'annotations': {'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'}
                         if FLAGS.gke_tpu else None}),
      'spec': {
          # names of hosts resolve before the containers are ready: that is how the processes find each other
          'network': {'enableDNSHostnames': True, 'publishNotReadyAddresses': True},
          'failurePolicy': {'maxRestarts': FLAGS.gke_max_restarts, 'restartStrategy': 'BlockingRecreate', 'rules': [
              {'name': 'ended', 'action': 'FailJobSet', 'onJobFailureReasons': ['PodFailurePolicy']}]},
          'replicatedJobs': [{'name': JOB, 'replicas': jobs, 'template': {'spec': {
              'completionMode': 'Indexed', 'parallelism': pods, 'completions': pods, 'backoffLimit': 0,
              'podFailurePolicy': {'rules': [{'action': 'FailJob', 'onExitCodes': {
                  'containerName': JOB, 'operator': 'In', 'values': ENDED}}]},
              'template': {'spec': pod(flags_of_train, chips, pods)}}}}]}}


def pod(flags_of_train: Sequence[str], chips: int | None, pods: int) -> dict:
  """The specification of each pod: one process, on a whole machine."""
  spot = 'cloud.google.com/gke-spot'
  selector = ({'cloud.google.com/gke-tpu-accelerator': FLAGS.gke_tpu,
               'cloud.google.com/gke-tpu-topology': FLAGS.gke_topology} if chips else
              {'cloud.google.com/gke-accelerator': FLAGS.gke_gpu})
  volumes = [{'name': 'data', 'persistentVolumeClaim': {'claimName': FLAGS.gke_claim}}]
  mounts = [{'name': 'data', 'mountPath': FLAGS.gke_mount}]
  if not chips:  # NCCL shares memory between a node's devices; a container has 64 MiB of it
    volumes.append({'name': 'shared-memory', 'emptyDir': {'medium': 'Memory'}})
    mounts.append({'name': 'shared-memory', 'mountPath': '/dev/shm'})
  return _without_none({
      'restartPolicy': 'Never', 'terminationGracePeriodSeconds': FLAGS.gke_grace_seconds,
      'serviceAccountName': FLAGS.gke_service_account, 'priorityClassName': FLAGS.gke_priority_class,
      'nodeSelector': {**selector, **({spot: 'true'} if FLAGS.gke_spot else {})},
      'tolerations': [{'key': spot, 'operator': 'Equal', 'value': 'true', 'effect': 'NoSchedule'}]
                     if FLAGS.gke_spot else None,
      'containers': [_without_none({
          'name': JOB, 'image': FLAGS.gke_image, 'workingDir': '/daybreak',
          'command': ['python', '-m', 'launchers.train'], 'args': arguments(flags_of_train, chips, pods),
          'env': None if chips or pods == 1 else [{'name': 'PROCESS_ID', 'valueFrom': {'fieldRef': {
              'fieldPath': "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}}],
          'resources': {'limits': {'google.com/tpu': chips} if chips else {'nvidia.com/gpu': FLAGS.gke_gpus_per_node}},
          'volumeMounts': mounts})],
      'volumes': volumes})


def arguments(flags_of_train: Sequence[str], chips: int | None, pods: int) -> list[str]:
  """The flags of each process.

  On TPUs JAX reads the rest off what GKE sets where there are several machines
  (https://cloud.google.com/kubernetes-engine/docs/how-to/tpus). With GPUs it would need a client of the cluster's API
  and rights to it, so it is told.
  """
  given = [flag.replace('$', '$$') for flag in flags_of_train]  # else Kubernetes expands $(NAME)
  if pods == 1:
    return given
  if chips:
    return [*given, '--distributed']
  return [*given, '--distributed', f'--coordinator_address={FLAGS.gke_name}-{JOB}-0-0.{FLAGS.gke_name}:{PORT}',
          f'--num_processes={pods}', '--process_id=$(PROCESS_ID)']


def tpu_slice() -> tuple[int, int]:
  """(machines of a slice, chips of each)."""
  offered = ['x'.join(map(str, shape)) for shape in topology.chips()[TPUS[FLAGS.gke_tpu]].slices]
  if not FLAGS.gke_topology:
    raise Problem(f'--gke_topology is missing; {FLAGS["gke_topology"].help}')
  if FLAGS.gke_topology not in offered:
    raise Problem(f'--gke_topology={FLAGS.gke_topology}: a {FLAGS.gke_tpu} has {", ".join(offered[:8])}'
                  + (' and larger' if len(offered) > 8 else ''))
  chips, each = math.prod(map(int, FLAGS.gke_topology.split('x'))), int(FLAGS.gke_chips_per_machine)
  if each == 8 and FLAGS.gke_topology != '2x4':
    raise Problem(f'--gke_chips_per_machine=8: such a machine is a slice 2x4 of its own, not {FLAGS.gke_topology}')
  if FLAGS.gke_slices > 1 and chips <= each:
    raise Problem(f'--gke_slices={FLAGS.gke_slices}: several slices must have several machines each (GKE multislice); '
                  f'{FLAGS.gke_topology} has one')
  return max(chips // each, 1), min(chips, each)


def check(flags_of_train: Sequence[str]):
  """Raises Problem where flags are missing, or the workdir would be lost with its pod."""
  for name in ('gke_image', 'gke_claim'):
    if not getattr(FLAGS, name):
      raise Problem(f'--{name} is missing; {FLAGS[name].help}')
  if bool(FLAGS.gke_tpu) == bool(FLAGS.gke_gpu):
    raise Problem('give either --gke_tpu and --gke_topology, or --gke_gpu and --gke_nodes')
  if FLAGS.gke_tpu and FLAGS.gke_tpu not in TPUS:
    raise Problem(f'--gke_tpu={FLAGS.gke_tpu}: not one of {", ".join(TPUS)}')
  for name in ('gke_image', 'gke_claim', 'gke_namespace', 'gke_gpu', 'gke_queue', 'gke_priority_class',
               'gke_service_account'):
    if not re.fullmatch(r'[\w./:@-]*', getattr(FLAGS, name) or '', re.ASCII):
      raise Problem(f'--{name}={getattr(FLAGS, name)}: letters, digits and ./:@-, please')
  workdir = flag_value(flags_of_train, 'workdir')
  if '..' in workdir or not PurePosixPath(workdir).is_relative_to(FLAGS.gke_mount):
    raise Problem(f'--workdir={workdir}: would be lost with its pod; name a folder below --gke_mount={FLAGS.gke_mount}')


def _without_none(fields: dict) -> dict:
  return {name: value for name, value in fields.items() if value is not None}
