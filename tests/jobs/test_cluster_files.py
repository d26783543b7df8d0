"""The files in cluster/ against their readers: raysys's command line, KubeRay's API, Ray's schema, Docker."""

from __future__ import annotations

import copy
import fnmatch
import importlib
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from pydantic import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from raysys.cli import CommandLine, parse
from raysys.errors import ConfigError
from raysys.serving.token import VARIABLE as TOKEN
from tests.jobs.kuberay_api import mistakes

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
KUBERAY = {
    "ray-job.crossval.yaml": "RayJob",
    "ray-cluster.autoscaler.yaml": "RayCluster",
    "ray-service.yaml": "RayService",
}
PINNED = dict(
    line.split(" ;")[0].split("==", 1)
    for line in (CLUSTER / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = [path for path in sorted(CLUSTER.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
NAMES = [str(path.relative_to(CLUSTER)) for path in FILES]


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def strings(value: Any) -> Iterator[str]:
    """All strings in a YAML document."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(inner)


def entry_points(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every job started by a file, with its arguments; shell variables stand for absolute paths."""
    texts = [re.sub(r"\\\n\s*", " ", path.read_text())]
    if path.suffix == ".yaml":
        # A folded string spans several lines, so only comments are read as text.
        texts = ["\n".join(re.findall("#.*", texts[0])), *strings(yaml.safe_load(texts[0]))]
    for text in texts:
        for job, arguments in re.findall(r"python jobs/(\w+\.py)([^\n`]*)", text):
            words = [re.sub(r"\$\w+", "/shared", word) for word in shlex.split(arguments, comments=True)]
            yield job, [word for word in words if word not in ("...", "&", "$@")]


COMMANDS = [(name, *found) for name, path in zip(NAMES, FILES, strict=True) for found in entry_points(path)]


@pytest.mark.parametrize(("name", "job", "arguments"), COMMANDS)
def test_raysys_understands_every_command(
    name: str, job: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cluster's environment sets it, see below.
    monkeypatch.setenv("RAYSYS_CORPUS_ROOT", "/shared/IEMOCAP")
    command = importlib.import_module(f"raysys.commands.{job.removesuffix('.py')}")
    kinds = [
        value
        for value in vars(command).values()
        if isinstance(value, type) and issubclass(value, CommandLine) and value is not CommandLine
    ]
    config = parse(arguments, kind=kinds[0] if kinds else CommandLine).config
    if arguments:
        # A submitted job refuses relative ones.
        for location in (config.run.root or "/", config.corpus.root or "/", config.run.cache or "/"):
            assert re.match(r"/|\w+://", location), f"{name}: {location}"


def test_every_cluster_file_says_where_runs_and_corpora_are() -> None:
    """So that the bare command needs no flags: the head's environment has both, on the volume that all nodes mount."""
    for name in ("ray-job.crossval.yaml", "ray-cluster.autoscaler.yaml"):
        manifest = load(f"kuberay/{name}")["spec"]
        cluster = manifest.get("rayClusterSpec", manifest)
        (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
        values = {variable["name"]: variable.get("value", "") for variable in head["env"]}
        (mount,) = (mount["mountPath"] for mount in head["volumeMounts"] if mount["name"] == "data")
        for variable in ("RAYSYS_RUN_ROOT", "RAYSYS_CORPUS_ROOT"):
            assert values[variable].startswith(f"{mount}/"), name
    options = load("ray-up/aws.yaml")["docker"]["run_options"]
    assert {"--env=RAYSYS_RUN_ROOT=/shared/runs", "--env=RAYSYS_CORPUS_ROOT=/shared/IEMOCAP"} <= set(options)


def test_every_cluster_file_trains_the_paper_on_iemocap() -> None:
    wanted = ["--preset", "paper", "--corpus.name", "iemocap"]
    shown = {name for name, job, arguments in COMMANDS if job == "crossval.py" and arguments[:4] == wanted}
    assert shown >= {"README.md", "kuberay/ray-job.crossval.yaml", "slurm/crossval.sbatch"}


def test_a_renamed_flag_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        parse(["--corpus.nme", "iemocap"])


@pytest.mark.parametrize(("name", "kind"), KUBERAY.items())
def test_kuberay_knows_every_field(name: str, kind: str) -> None:
    manifest = load(f"kuberay/{name}")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    assert list(mistakes(manifest, kind)) == []


@pytest.mark.parametrize(
    ("where", "key", "value", "said"),
    [
        ((), "shutdownAfterJobFinish", True, "RayJobSpec has no field shutdownAfterJobFinish"),
        ((), "submissionMode", "K8sJob", "'K8sJob' is none of"),
        (("rayClusterSpec",), "rayVersion", 2.60, "2.6 is no str"),
        (("rayClusterSpec", "headGroupSpec"), "rayStartParams", {"num-cpus": 0}, "0 is no str"),
        (("rayClusterSpec", "headGroupSpec", "template", "spec"), "volumeMounts", [], "V1PodSpec has no field"),
    ],
)
def test_the_manifest_check_detects_errors(where: tuple[str, ...], key: str, value: object, said: str) -> None:
    manifest = copy.deepcopy(load("kuberay/ray-job.crossval.yaml"))
    place = manifest["spec"]
    for name in where:
        place = place[name]
    place[key] = value
    assert [line for line in mistakes(manifest, "RayJob") if said in line]


def cluster_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = load(f"kuberay/{name}")["spec"]
    return spec.get("rayClusterSpec", spec.get("rayClusterConfig", spec))


def pods(name: str) -> dict[str, dict[str, Any]]:
    """Pod specs of a manifest: head, workers, and, for a RayJob, the submitter."""
    spec = cluster_spec(name)
    found = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    if "submitterPodTemplate" in (whole := load(f"kuberay/{name}")["spec"]):
        found["submitter"] = {"template": whole["submitterPodTemplate"]}
    return {pod: group["template"]["spec"] for pod, group in found.items()}


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_run_the_pinned_ray_without_privileges(name: str) -> None:
    assert cluster_spec(name)["rayVersion"] == PINNED["ray"] == ray.__version__
    for pod in pods(name).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        (container,) = pod["containers"]
        assert container["image"] == f"raysys:{PROJECT['version']}"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", KUBERAY)
def test_every_node_sees_the_storage_that_jobs_write_to(name: str) -> None:
    for pod, spec in pods(name).items():
        if pod == "submitter":
            continue
        mounts = spec["containers"][0]["volumeMounts"]
        assert [mount["mountPath"] for mount in mounts] == ["/data"]
        assert {mount["name"] for mount in mounts} <= {volume["name"] for volume in spec["volumes"]}
        assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "raysys-data"}


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_gets_the_token_and_keys_only_by_reference(name: str) -> None:
    assert cluster_spec(name)["authOptions"] == {"mode": "token", "secretName": "raysys-ray-token"}
    for pod in pods(name).values():
        for variable in pod["containers"][0].get("env", []):
            if re.search("KEY|TOKEN|SECRET|PASSWORD", variable["name"]):
                assert "value" not in variable
                assert variable["valueFrom"]["secretKeyRef"]["optional"] is True


def test_the_job_has_gpus_for_the_five_folds_and_deletes_its_cluster() -> None:
    spec = load("kuberay/ray-job.crossval.yaml")["spec"]
    assert spec["shutdownAfterJobFinishes"]
    assert spec["backoffLimit"] >= 1
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    needed = parse(["--preset", "paper"]).config.cluster
    assert group["replicas"] * int(limits["nvidia.com/gpu"]) >= 5
    assert int(limits["cpu"]) >= needed.reserved_cpus


def test_the_standing_cluster_scales_from_no_gpu_and_survives_spot_machines() -> None:
    spec = load("kuberay/ray-cluster.autoscaler.yaml")["spec"]
    assert spec["enableInTreeAutoscaling"]
    (group,) = spec["workerGroupSpecs"]
    assert 0 == group["minReplicas"] == group["replicas"] < group["maxReplicas"]
    # KubeRay refuses anything else with autoscaler v2.
    assert {pod["restartPolicy"] for pod in pods("ray-cluster.autoscaler.yaml").values()} == {"Never"}
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "requiredDuringSchedulingIgnoredDuringExecution" in head["template"]["spec"]["affinity"]["nodeAffinity"]


def test_the_service_is_what_serve_would_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration by Serve's own schema, its arguments by the builder's, and a GPU for each copy."""
    spec = load("kuberay/ray-service.yaml")["spec"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    builder = getattr(importlib.import_module(module), name)
    (parameter,) = inspect.signature(builder).parameters.values()
    settings = parameter.annotation.model_validate(application.args)
    assert settings.model.startswith("/data/")
    (group,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (group["minReplicas"], group["maxReplicas"]) == settings.replicas
    assert int(limits["nvidia.com/gpu"]) == settings.gpus_per_replica
    for pod in pods("ray-service.yaml").values():
        assert TOKEN in {variable["name"] for variable in pod["containers"][0]["env"]}
        assert {"name": "serve", "containerPort": 8000} in pod["containers"][0]["ports"]
    # Serve listens to all machines there.
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(ConfigError, match=f"{TOKEN} is not set"):
        builder(settings)
    with pytest.raises(ValidationError, match="max_batc"):
        parameter.annotation.model_validate(application.args | {"max_batc": 3})


def test_the_image_has_what_serving_needs() -> None:
    assert {"fastapi", "uvicorn", "python-multipart", "starlette"} <= set(PINNED)


def test_ray_up_takes_the_aws_file() -> None:
    config = load("ray-up/aws.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"idle_timeout_minute": 5}, schema)
    # With Ray's defaults for the provider, as `ray up` does.
    validate_config(prepare_config(copy.deepcopy(config)))


def test_aws_workers_are_spot_and_stop_when_idle() -> None:
    config = load("ray-up/aws.yaml")
    types = config["available_node_types"]
    workers = [type_ for name, type_ in types.items() if name != config["head_node_type"]]
    assert "InstanceMarketOptions" not in types[config["head_node_type"]]["node_config"]
    assert {worker["node_config"]["InstanceMarketOptions"]["MarketType"] for worker in workers} == {"spot"}
    assert {worker["min_workers"] for worker in workers} == {0}
    assert config["idle_timeout_minutes"] <= 15
    assert config["docker"]["image"] == f"raysys:{PROJECT['version']}"


def test_aws_nodes_share_a_token_and_a_disk() -> None:
    config = load("ray-up/aws.yaml")
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    for role in ("head", "worker"):
        (start,) = [line for line in config[f"{role}_start_ray_commands"] if "ray start" in line]
        assert start.startswith("export RAY_AUTH_MODE=token")
    assert any("efs" in line and "mount -t nfs4" in line for line in config["initialization_commands"])
    assert "--volume=/mnt/shared:/shared" in config["docker"]["run_options"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (CLUSTER / "Dockerfile").read_text())
    lines = re.sub(r"\\\n\s*", " ", text).strip().splitlines()
    return [(words[0], words[1]) for line in lines if line.strip() and (words := line.split(maxsplit=1))]


def test_the_image_is_pinned_and_installs_the_pinned_packages() -> None:
    (base,) = [argument for name, argument in instructions() if name == "FROM"]
    found = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-\w+", base)
    assert found is not None
    assert found[1] in ("3.11", "3.12", "3.13"), PROJECT["requires-python"]
    installs = [argument for name, argument in instructions() if name == "RUN" and "pip install" in argument]
    assert len(installs) == 1
    assert re.findall(r"pip install (.*?) &&", installs[0]) == ["--no-cache-dir --requirement /tmp/requirements.txt"]
    assert all(re.fullmatch(r"[\w.!+-]+", version) for version in PINNED.values())


def test_the_comment_on_cuda_says_what_is_installed() -> None:
    said = re.search(r"CUDA (\d+\.\d+)", (CLUSTER / "Dockerfile").read_text())
    assert said is not None
    assert PINNED["cuda-toolkit"].startswith(f"{said[1]}.")
    # torchaudio 2.11 is the newest, built only for the CUDA of torch 2.11 to 2.13.
    assert PINNED["torchaudio"].startswith("2.11.")
    assert PINNED["torch"].split(".")[1] in ("11", "12", "13")


def test_the_image_runs_as_a_user_and_starts_where_the_jobs_are() -> None:
    found = instructions()
    user = [argument for name, argument in found if name == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:\d+", user)
    (place,) = [argument for name, argument in found if name == "WORKDIR"]
    assert f"PYTHONPATH={place} " in dict(found)["ENV"]
    copied = [shlex.split(argument) for name, argument in found if name == "COPY"]
    assert {"jobs", "raysys"} <= {source for source, _ in copied}
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    for source, _ in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored, "the build would not see it"
    assert "*" in ignored


def test_the_images_user_reads_what_is_copied_whatever_the_checkouts_permissions() -> None:
    found = instructions()
    (readable,) = [i for i, (name, argument) in enumerate(found) if name == "RUN" and argument.startswith("chmod")]
    (place,) = [argument for name, argument in found if name == "WORKDIR"]
    assert found[readable][1] == f"chmod --recursive a+rX {place}"
    assert readable > max(i for i, (name, _) in enumerate(found) if name == "COPY")
    assert readable < max(i for i, (name, _) in enumerate(found) if name == "USER")


def test_the_aws_instructions_mention_the_open_port() -> None:
    """It is Ray's default, as its code confirms."""
    default = Path(ray.__file__).parent / "autoscaler" / "_private" / "aws" / "config.py"
    assert '"IpRanges": [{"CidrIp": "0.0.0.0/0"}]' in default.read_text()
    for name in ("README.md", "ray-up/aws.yaml"):
        assert "SecurityGroupIds" in (CLUSTER / name).read_text()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_secret_and_no_registry_is_written_down(path: Path) -> None:
    assert list(secrets(path.read_text())) == []
    images = re.findall(r"(?m)^\s*-?\s*(?:image: (?:&\w+ )?|FROM )([\w./:-]+)", path.read_text())
    assert all("/" not in image for image in images)


def secrets(text: str) -> Iterator[str]:
    """Anything that looks like a secret: long hexadecimal numbers, keys of known form, values of variables named so."""
    yield from re.findall(r"\b[0-9a-f]{32,}\b|\bAKIA[0-9A-Z]{16}\b|\b(?:hf|ghp)_\w{20,}|BEGIN [A-Z ]*PRIVATE KEY", text)
    for value in re.findall(r"(?i)\b\w*(?:token|api_key|password|secret)['\"]?\s*[=:]\s*['\"]?([\w/+-]{8,})", text):
        if not fnmatch.fnmatch(value, "[~$]*"):
            yield value


@pytest.mark.parametrize(
    "text", ["RAY_AUTH_TOKEN=8f3a9c21d0", "wandb_api_key: 'abcdef0123'", "x: " + "0a" * 20, "AKIA" + "A1" * 8]
)
def test_a_written_secret_would_be_noticed(text: str) -> None:
    assert list(secrets(text))
