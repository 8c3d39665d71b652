"""Whether a cluster would take a JobSet: its own schema, Kubernetes' strict one for the jobs, what binds the two."""
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import kubernetes_validate

from tests import changing

SCHEMA = json.loads((Path(__file__).parent / 'jobset.schema.json').read_text())
SUFFIX = '-abcde'  # Kubernetes puts five letters behind the name of a pod


def changed(manifest: dict, path: str, value) -> dict:
  """A copy with another value at `path`, keys and numbers joined by dots; changing.GONE takes away what is there."""
  return changing.changed(manifest, [int(part) if part.isdigit() else part for part in path.split('.')], value)


def problems(manifest: dict) -> list[str]:
  """What is wrong with a manifest, each with its place; nothing if it is right."""
  found = [f'{error.json_path}: {error.message}'
           for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(manifest)]
  if found:
    return found
  spec = manifest['spec']
  for job in spec['replicatedJobs']:
    found += _fields(job) or _job(manifest['metadata']['name'], job)
  return found or [*_references(spec), *_twice('replicatedJobs', spec['replicatedJobs']),
                   *_twice('rules', spec.get('failurePolicy', {}).get('rules', ()))]


def _fields(job: dict) -> list[str]:
  """What Kubernetes says about the fields of a job: an error at least where a field is unknown."""
  whole = {'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': job['name']}, 'spec': job['template']['spec']}
  try:
    kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)
  except kubernetes_validate.ValidationError as error:
    return [f'{job["name"]}: {".".join(map(str, error.path))}: {error.message}']
  return []


def _job(jobset: str, job: dict) -> Iterator[str]:
  """What no schema says about a replicated job: ours have a process a pod, and end and begin together."""
  name, spec = job['name'], job['template']['spec']
  pod, longest = spec['template']['spec'], f'{jobset}-{name}-{job.get("replicas", 1) - 1}-{spec["completions"] - 1}'
  if spec.get('completionMode') != 'Indexed':
    yield f'{name}: completionMode: processes have no numbers'
  if spec['parallelism'] != spec['completions']:
    yield f'{name}: parallelism and completions differ'
  if pod.get('restartPolicy') != 'Never':
    yield f'{name}: restartPolicy: a process that begins again alone waits for ever'
  if len(longest + SUFFIX) > 63:
    yield f'{name}: {longest}{SUFFIX}: name too long'
  containers, volumes = pod['containers'], pod.get('volumes', ())
  yield from _twice('containers', containers)
  yield from _twice('volumes', volumes)
  for container in containers:
    for mount in container.get('volumeMounts', ()):
      yield from _unknown('volumes', [mount['name']], volumes)
  for rule in spec.get('podFailurePolicy', {}).get('rules', ()):
    codes = rule.get('onExitCodes', {'values': []})
    yield from _unknown('containers', [codes['containerName']] if 'containerName' in codes else [], containers)
    if codes['values'] != sorted(codes['values']):
      yield f'{name}: podFailurePolicy: {codes["values"]}: not in order'


def _references(spec: dict) -> Iterator[str]:
  """What names a job that is not there."""
  jobs, before = {job['name']: job for job in spec['replicatedJobs']}, []
  for policy in (spec.get('successPolicy', {}), *spec.get('failurePolicy', {}).get('rules', ())):
    yield from _unknown('replicatedJobs', policy.get('targetReplicatedJobs', ()), jobs.values())
  for job in spec['replicatedJobs']:
    yield from _unknown('dependsOn', [other['name'] for other in job.get('dependsOn', ())], before)
    before.append(job)
    if 'dependsOn' in job and spec.get('startupPolicy', {}).get('startupPolicyOrder') == 'InOrder':
      yield f'{job["name"]}: dependsOn: not together with startupPolicy'
  at = spec.get('coordinator')
  if at and at['replicatedJob'] not in jobs:
    yield from _unknown('coordinator', [at['replicatedJob']], ())
  elif at:
    job = jobs[at['replicatedJob']]
    if (at.get('jobIndex', 0) >= job.get('replicas', 1)
        or at.get('podIndex', 0) >= job['template']['spec']['completions']):
      yield f'coordinator: {at}: no such pod'


def _unknown(place: str, names, of) -> list[str]:
  known = {one['name'] for one in of}
  return [f'{place}: {name}: no such name' for name in names if name not in known]


def _twice(place: str, of) -> list[str]:
  names = [one['name'] for one in of]
  return [f'{place}: {name}: named twice' for name in sorted(set(names)) if names.count(name) > 1]
