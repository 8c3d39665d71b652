"""The judge of manifests, by a manifest written by hand that uses more of JobSet than ours do, and by wrong ones."""
import pytest
import yaml

from tests.changing import GONE
from tests.clusters import manifests

RIGHT = yaml.safe_load('''
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: digits, namespace: research, labels: {kueue.x-k8s.io/queue-name: team}, annotations: {note: any text}}
spec:
  suspend: false
  ttlSecondsAfterFinished: 3600
  network: {enableDNSHostnames: true, subdomain: digits, publishNotReadyAddresses: true}
  coordinator: {replicatedJob: train, jobIndex: 1, podIndex: 3}
  successPolicy: {operator: All, targetReplicatedJobs: [train]}
  failurePolicy:
    maxRestarts: 3
    restartStrategy: Recreate
    rules:
    - {name: ended, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy], targetReplicatedJobs: [train]}
  replicatedJobs:
  - name: prepare
    replicas: 1
    template:
      spec:
        completionMode: Indexed
        parallelism: 1
        completions: 1
        backoffLimit: 0
        template: &pod
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 60
            nodeSelector: {cloud.google.com/gke-tpu-topology: 4x4}
            tolerations: [{key: cloud.google.com/gke-spot, operator: Equal, value: 'true', effect: NoSchedule}]
            containers:
            - name: main
              image: registry.example/daybreak:1
              command: [python, -m, launchers.train]
              resources: {limits: {google.com/tpu: 4, memory: 1.5Gi}}
              volumeMounts: [{name: data, mountPath: /data}]
            volumes: [{name: data, persistentVolumeClaim: {claimName: shared}}]
  - name: train
    replicas: 2
    groupName: workers
    dependsOn: [{name: prepare, status: Complete}]
    template:
      metadata: {labels: {of: train}}
      spec:
        completionMode: Indexed
        parallelism: 4
        completions: 4
        podFailurePolicy:
          rules: [{action: FailJob, onExitCodes: {containerName: main, operator: In, values: [2, 3]}}]
        template: *pod
''')
JOB = 'spec.replicatedJobs.1.template.spec'
POD = f'{JOB}.template.spec'
RULE = f'{JOB}.podFailurePolicy.rules.0'

WRONG = [  # where, what is put there, what is said
    ('apiVersion', 'jobset.x-k8s.io/v1', 'apiVersion'), ('apiVersion', GONE, 'apiVersion'), ('kind', 'Job', 'kind'),
    ('metadata.name', '2digits', 'metadata.name'), ('metadata.name', 'd' * 46, 'name too long'),
    ('metadata.label', {}, "'label'"), ('metadata.labels.queue', 'my queue', 'queue'), ('spec', GONE, 'spec'),
    ('spec.suspended', True, "'suspended'"), ('spec.suspend', 'no', 'suspend'),
    ('spec.ttlSecondsAfterFinished', -1, 'ttlSecondsAfterFinished'), ('spec.network.subDomain', 'a', "'subDomain'"),
    ('spec.coordinator.replicatedJob', 'trian', 'coordinator: trian'), ('spec.coordinator.jobIndex', 2, 'no such pod'),
    ('spec.coordinator.podIndex', 4, 'no such pod'), ('spec.coordinator.index', 0, "'index'"),
    ('spec.successPolicy.operator', 'Every', 'operator'),
    ('spec.successPolicy.targetReplicatedJobs', ['a'], 'a: no such'),
    ('spec.startupPolicy', {'startupPolicyOrder': 'InOrder'}, 'startupPolicy'),
    ('spec.startupPolicy', {'startupPolicyOrder': 'Sorted'}, 'startupPolicyOrder'),
    ('spec.failurePolicy.maxRestart', 3, "'maxRestart'"), ('spec.failurePolicy.rules.0.name', GONE, 'name'),
    ('spec.failurePolicy.rules.0.name', 'a-b', 'name'), ('spec.failurePolicy.rules.0.on', [], "'on'"),
    ('spec.failurePolicy.rules.0.targetReplicatedJobs', ['a'], 'a: no such name'),
    ('spec.replicatedJobs', [], 'replicatedJobs'), ('spec.replicatedJobs.1.replicas', '2', 'replicas'),
    ('spec.replicatedJobs.1.replicas', 0, 'replicas'),
    ('spec.replicatedJobs.1.name', 'prepare', 'prepare: named twice'),
    ('spec.replicatedJobs.1.replica', 2, "'replica'"),
    ('spec.replicatedJobs.1.dependsOn.0.name', 'train', 'dependsOn'),
    ('spec.replicatedJobs.1.dependsOn.0.status', 'Done', 'status'),
    ('spec.replicatedJobs.1.template', GONE, 'template'), ('spec.replicatedJobs.1.template.kind', 'Job', "'kind'"),
    (f'{JOB}.completion', 4, "'completion'"), (f'{JOB}.completionMode', 'Index', 'completionMode'),
    (f'{JOB}.completionMode', GONE, 'completionMode'), (f'{JOB}.completions', 5, 'completions'),
    (f'{JOB}.completions', GONE, 'completions'), (f'{JOB}.backoffLimit', -1, 'backoffLimit'),
    (f'{JOB}.template', {}, 'template'), (f'{JOB}.template', None, 'template'), (f'{RULE}.action', 'Fail', 'action'),
    (f'{RULE}.onExitCodes.operator', 'in', 'operator'), (f'{RULE}.onExitCodes.values', [0, 3], 'values'),
    (f'{RULE}.onExitCodes.values', [3, 2], 'not in order'), (f'{RULE}.onExitCodes.values', [], 'values'),
    (f'{RULE}.onExitCodes.containerName', 'train', 'train: no such name'),
    (f'{POD}.restartPolicy', 'never', 'restartPolicy'), (f'{POD}.restartPolicy', GONE, 'restartPolicy'),
    (f'{POD}.terminationGracePeriodSeconds', -1, 'terminationGracePeriodSeconds'),
    (f'{POD}.nodeSelector.topology', '4 x 4', 'topology'), (f'{POD}.tolerations.0.effect', 'NoScheduling', 'effect'),
    (f'{POD}.tolerations.0.operator', 'Is', 'operator'), (f'{POD}.containers', [], 'containers'),
    (f'{POD}.containers.0.name', 'Main', 'name'), (f'{POD}.containers.0.image', GONE, 'image'),
    (f'{POD}.containers.0.image', '', 'image'), (f'{POD}.containers.0.envs', [], "'envs'"),
    (f'{POD}.containers.0.env', [{'name': 'A', 'value': 1}], 'env.0.value'),
    (f'{POD}.containers.0.resources.limits.memory', '1.5 GiB', 'memory'),
    (f'{POD}.containers.0.volumeMounts.0.mountPath', GONE, 'mountPath'),
    (f'{POD}.containers.0.volumeMounts.0.name', 'date', 'date: no such name'),
    (f'{POD}.volumes.0.persistentVolumeClaim', {}, 'claimName')]


def test_a_right_manifest_passes():
  assert manifests.problems(RIGHT) == []


@pytest.mark.parametrize('path, value, said', WRONG, ids=lambda value: value if isinstance(value, str) else '')
def test_a_wrong_one_is_refused_by_name(path, value, said):
  found = manifests.problems(manifests.changed(RIGHT, path, value))
  assert any(said in problem for problem in found), found
