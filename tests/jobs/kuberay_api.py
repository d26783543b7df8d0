"""Fields of KubeRay's ray.io/v1 (release 1.6) used by a job, a cluster and a service, and a strict check of manifests.

The API server drops unknown fields with a warning at most, so a misspelt one is silently lost. Pods and their contents
are checked against the models of the official Kubernetes client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes.client import models

SCALARS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "object": object,
    "datetime": str,
}
API: dict[str, dict[str, str]] = {
    "RayJob": {"apiVersion": "str", "kind": "str", "metadata": "V1ObjectMeta", "spec": "RayJobSpec"},
    "RayCluster": {"apiVersion": "str", "kind": "str", "metadata": "V1ObjectMeta", "spec": "RayClusterSpec"},
    "RayService": {"apiVersion": "str", "kind": "str", "metadata": "V1ObjectMeta", "spec": "RayServiceSpec"},
    "RayServiceSpec": {
        "excludeHeadPodFromServeSvc": "bool",
        "managedBy": "str",
        "rayClusterConfig": "RayClusterSpec",
        "rayClusterDeletionDelaySeconds": "int",
        "serveConfigV2": "str",
        "serveService": "V1Service",
        "upgradeStrategy": "RayServiceUpgradeStrategy",
    },
    "RayServiceUpgradeStrategy": {"type": "NewCluster|NewClusterWithIncrementalUpgrade|None"},
    "RayJobSpec": {
        "activeDeadlineSeconds": "int",
        "backoffLimit": "int",
        "clusterSelector": "dict(str, str)",
        "entrypoint": "str",
        "entrypointNumCpus": "float",
        "entrypointNumGpus": "float",
        "entrypointResources": "str",
        "jobId": "str",
        "managedBy": "str",
        "metadata": "dict(str, str)",
        "preRunningDeadlineSeconds": "int",
        "rayClusterSpec": "RayClusterSpec",
        "runtimeEnvYAML": "str",
        "shutdownAfterJobFinishes": "bool",
        "submissionMode": "K8sJobMode|HTTPMode|InteractiveMode|SidecarMode",
        "submitterConfig": "SubmitterConfig",
        "submitterPodTemplate": "V1PodTemplateSpec",
        "suspend": "bool",
        "ttlSecondsAfterFinished": "int",
    },
    "SubmitterConfig": {"backoffLimit": "int"},
    "RayClusterSpec": {
        "authOptions": "AuthOptions",
        "autoscalerOptions": "AutoscalerOptions",
        "enableInTreeAutoscaling": "bool",
        "headGroupSpec": "HeadGroupSpec",
        "headServiceAnnotations": "dict(str, str)",
        "managedBy": "str",
        "rayVersion": "str",
        "suspend": "bool",
        "workerGroupSpecs": "list[WorkerGroupSpec]",
    },
    "AuthOptions": {"enableK8sTokenAuth": "bool", "mode": "disabled|token", "secretName": "str"},
    "AutoscalerOptions": {
        "env": "list[V1EnvVar]",
        "envFrom": "list[V1EnvFromSource]",
        "idleTimeoutSeconds": "int",
        "image": "str",
        "imagePullPolicy": "str",
        "resources": "V1ResourceRequirements",
        "securityContext": "V1SecurityContext",
        "upscalingMode": "Default|Aggressive|Conservative",
        "version": "v1|v2",
        "volumeMounts": "list[V1VolumeMount]",
    },
    "HeadGroupSpec": {
        "enableIngress": "bool",
        "headService": "V1Service",
        "labels": "dict(str, str)",
        "rayStartParams": "dict(str, str)",
        "resources": "dict(str, str)",
        "serviceType": "str",
        "template": "V1PodTemplateSpec",
    },
    "WorkerGroupSpec": {
        "groupName": "str",
        "idleTimeoutSeconds": "int",
        "labels": "dict(str, str)",
        "maxReplicas": "int",
        "minReplicas": "int",
        "numOfHosts": "int",
        "rayStartParams": "dict(str, str)",
        "replicas": "int",
        "resources": "dict(str, str)",
        "scaleStrategy": "ScaleStrategy",
        "template": "V1PodTemplateSpec",
    },
    "ScaleStrategy": {"workersToDelete": "list[str]"},
}
REQUIRED = {
    "RayClusterSpec": {"headGroupSpec"},
    "HeadGroupSpec": {"template"},
    "WorkerGroupSpec": {"groupName", "maxReplicas", "minReplicas", "template"},
}


def mistakes(value: Any, kind: str, where: str = "") -> Iterator[str]:
    """What is wrong with a value of an expected kind, one line each."""
    if item := re.fullmatch(r"[Ll]ist\[(.*)\]", kind):
        if not isinstance(value, list):
            yield f"{where}: {value!r} is no list"
        else:
            for i, element in enumerate(value):
                yield from mistakes(element, item[1], f"{where}[{i}]")
    elif item := re.fullmatch(r"[Dd]ict[(\[](\w+), ([\w\[\]]+)[)\]]", kind):
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no mapping"
        else:
            for key, element in value.items():
                yield from mistakes(element, item[2], f"{where}.{key}")
    elif "|" in kind:
        if value not in kind.split("|"):
            yield f"{where}: {value!r} is none of {kind}"
    elif kind in SCALARS:
        right = isinstance(value, SCALARS[kind]) and (kind == "bool") == isinstance(value, bool)
        if not right and kind != "object":
            yield f"{where}: {value!r} is no {kind}"
    else:
        yield from _mistakes_of_fields(value, kind, where)


def _mistakes_of_fields(value: Any, kind: str, where: str) -> Iterator[str]:
    if kind in API:
        fields, required = API[kind], REQUIRED.get(kind, set())
    else:
        model = getattr(models, kind)
        fields = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
        required = set()
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no {kind}"
        return
    for missing in sorted(required - set(value)):
        yield f"{where}: {missing} is missing"
    for key, element in value.items():
        if key not in fields:
            yield f"{where}: {kind} has no field {key}"
        else:
            yield from mistakes(element, fields[key], f"{where}.{key}")
