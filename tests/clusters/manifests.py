"""Whether a cluster would take a JobSet: its own schema, Kubernetes' strict one for the jobs, what binds the two."""
import json
from pathlib import Path

import jsonschema
import kubernetes_validate

SCHEMA = json.loads((Path(__file__).parent / 'jobset.schema.json').read_text())


def problems(manifest: dict) -> list[str]:
  """What is wrong with a manifest, each with its place; nothing if it is right."""
  found = [f'{error.json_path}: {error.message}'
           for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(manifest)]
  for job in (manifest.get('spec') or {}).get('replicatedJobs') or () if not found else ():
    found += _of_job(manifest['metadata']['name'], job)
  return found


def _of_job(jobset: str, job: dict) -> list[str]:
  """What is wrong with a replicated job."""
  name, spec = job['name'], job['template']['spec']
  whole = {'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': name}, 'spec': spec}
  try:
    kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)
  except kubernetes_validate.ValidationError as error:
    return [f'{name}: {".".join(map(str, error.path))}: {error.message}']
  except kubernetes_validate.SchemaNotFoundError as error:  # its command would only warn
    return [f'{name}: {error}']
  found, pod = [], spec['template']['spec']
  for wrong, text in (
      (spec.get('completionMode') != 'Indexed', 'completionMode: processes have no numbers'),
      (spec.get('parallelism') != spec.get('completions'), 'parallelism and completions differ'),
      (pod.get('restartPolicy') != 'Never', 'restartPolicy: a process that begins again alone waits for ever'),
      (len(f'{jobset}-{name}-{job.get("replicas", 1) - 1}-{spec.get("completions", 1) - 1}') > 63, 'name too long')):
    found += [f'{name}: {text}'] if wrong else []
  names = {volume['name'] for volume in pod.get('volumes', ())}
  for container in pod['containers']:
    found += [f'{name}: {mount["name"]}: no such volume' for mount in container.get('volumeMounts', ())
              if mount['name'] not in names]
  return found
