"""docs/clusters.md and docs/kuberay.yaml: every command composes, and the manifest has the fields that KubeRay documents."""

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from clusters_page import PAGE, code_lines, commands
from conftest import composed
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from processes import ROOT

import wavecoder
from wavecoder.runs.cli import CONF, quote_whole_numbers
from wavecoder.runs.commands import COMMANDS
from wavecoder.runs.plan import job_overrides
from wavecoder.runs.settings import from_config

MANIFEST = (ROOT / "docs" / "kuberay.yaml").read_text(encoding="utf-8")


def of_page(name: str) -> list[list[str]]:
    return [words[1:] for line in code_lines(PAGE) for words in commands(line) if words and words[0] == name]


TRAIN = sorted(
    {
        " ".join(map(shlex.quote, words))
        for words in (*of_page("train"), *(w[1:] for w in commands(yaml.safe_load(MANIFEST)["spec"]["entrypoint"])))
    }
)


def jobs_of(overrides: list[str]) -> list[list[str]]:
    """The overrides of the first and the last job of a sweep."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        of_hydra = [override for override in overrides if re.match(r"\+?hydra[./]", override)]
        swept = [quote_whole_numbers(override) for override in overrides if override not in of_hydra]
        jobs = job_overrides(swept, GlobalHydra.instance().config_loader())
    return [[*of_hydra, *job] for job in (jobs[0], jobs[-1])]


@pytest.mark.parametrize("command", TRAIN)
def test_every_command_composes(command: str, tmp_path: Path) -> None:
    words = [re.sub(r"\$\w+", "0", word) for word in shlex.split(command)]
    flags = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    if flags[:1] == ["--config-dir"]:  # a folder that a search has written
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "best.yaml").write_text("# @package _global_\nlatent:\n  dim: 7\n")
        flags, overrides = flags[2:], [f"hydra.searchpath=[file://{tmp_path}]", *overrides]
    assert flags in ([], ["-m"])
    for job in jobs_of(overrides) if flags else [overrides]:
        from_config(composed(*job))


def test_there_are_commands_of_every_kind() -> None:
    assert len(TRAIN) > 15
    for launcher in ("slurm", "ray", "joblib"):
        assert any(f"hydra/launcher={launcher}" in command for command in TRAIN)
    for name in ("status", "cancel"):
        assert name in COMMANDS
        assert of_page(name) == [["outputs/sweeps/mine"]]


def test_settings_of_the_tables_exist() -> None:
    config = composed("hydra/launcher=slurm")
    section = PAGE.partition("\n## Settings\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`'?(hydra\.launcher\.\w+|jobs_per_task|stack_seeds|detach)=", section))
    assert len(named) > 8
    for key in named:
        node: Any = config
        for part in key.split("."):
            assert part in node, key
            node = node[part]


def test_names_in_notebooks_and_links_exist() -> None:
    assert set(re.findall(r"wavecoder\.(\w+)\(", "\n".join(code_lines(PAGE)))) == {"results"} <= set(wavecoder.__all__)
    headings = re.findall(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert all((ROOT / "docs" / link).exists() for link in links if not link.startswith(("#", "http")))


def strict(required: str, optional: str = "", **fields: Any) -> dict[str, Any]:
    """The schema of an object that has these keys and no others."""
    keys = [*required.split(), *optional.split()]
    return {
        "type": "object",
        "required": required.split(),
        "properties": dict.fromkeys(keys, True) | fields,
        "additionalProperties": False,
    }


WHOLE, TEXT = {"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}
LABEL = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[KMGT]i?)?$"}}
CONTAINER = strict(
    "name image resources",
    "args command env envFrom imagePullPolicy lifecycle ports securityContext volumeMounts workingDir",
    name=LABEL,
    image=TEXT,
    resources=strict("limits", "requests", limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts={"type": "array", "items": strict("name mountPath", "readOnly subPath", name=LABEL)},
)
POD = strict(
    "spec",
    "metadata",
    spec=strict(
        "containers",
        "affinity imagePullSecrets nodeSelector securityContext serviceAccountName tolerations volumes",
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        volumes={"type": "array", "items": strict("name", "persistentVolumeClaim configMap emptyDir nfs secret", name=LABEL)},
    ),
)
HEAD = strict(
    "template rayStartParams", "enableIngress headService labels resources serviceType", template=POD, rayStartParams=TEXTS
)
WORKERS = strict(
    "groupName replicas minReplicas maxReplicas rayStartParams template",
    "idleTimeoutSeconds labels numOfHosts resources scaleStrategy suspend",
    groupName=LABEL,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    rayStartParams=TEXTS,
    template=POD,
)
CLUSTER = strict(
    "headGroupSpec workerGroupSpecs rayVersion",
    "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headServiceAnnotations managedBy suspend",
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "minItems": 1, "items": WORKERS},
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=strict("mode", mode={"enum": ["disabled", "token"]}),
)
RAY_JOB = strict(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=strict("name", "annotations labels namespace", name=LABEL),
    spec=strict(
        "entrypoint rayClusterSpec",
        "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypointNumCpus entrypointNumGpus "
        "entrypointResources jobId managedBy metadata runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig "
        "submitterPodTemplate suspend ttlSecondsAfterFinished",
        entrypoint=TEXT,
        rayClusterSpec=CLUSTER,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE,
        backoffLimit=WHOLE,
    ),
)
"""A RayJob as KubeRay's reference of its API documents it: all fields of its own, and those of pods that the manifest may use."""


def test_the_manifest_is_a_ray_job() -> None:
    manifest = yaml.safe_load(MANIFEST)
    jsonschema.Draft202012Validator(RAY_JOB).validate(manifest)
    cluster = manifest["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
        assert f"hydra.sweep.dir={mounted['data']}/" in manifest["spec"]["entrypoint"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert manifest["metadata"]["name"] == "wavecoder", "as the page calls it"


def test_the_manifest_suits_the_shell_and_the_pinned_ray() -> None:
    spec = yaml.safe_load(MANIFEST)["spec"]
    assert re.fullmatch(r"[\w ./=,:+-]+", spec["entrypoint"]), "two shells read it"
    version = spec["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in (ROOT / "constraints-any-torch.txt").read_text()
    assert f"rayproject/ray:{version}-" in MANIFEST


def test_one_of_the_constraints_leaves_pytorch_alone() -> None:
    whole, others = ((ROOT / name).read_text().splitlines() for name in ("constraints.txt", "constraints-any-torch.txt"))
    assert "-c constraints-any-torch.txt" in whole
    assert any(line.startswith("torch==") for line in whole)
    assert not any(line.startswith(("torch==", "nvidia", "triton")) for line in others)
