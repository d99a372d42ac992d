"""The image and the manifest of examples/deploy: what they copy, call and mount is there, under those names.

No image is built and nothing is applied here: docs/deploying.md says with what they were checked besides.
"""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from pathlib import Path

import bundles
import pytest

from a2d.runtime.cli.serve import _parser
from a2d.runtime.server.web.guard import OPEN

yaml = pytest.importorskip("yaml", reason="PyYAML, which schemathesis brings")

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "examples" / "deploy" / "Dockerfile").read_text(encoding="utf-8")
MANIFESTS = list(yaml.safe_load_all((ROOT / "examples" / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def of(kind: str) -> dict:
    (found,) = (manifest for manifest in MANIFESTS if manifest["kind"] == kind)
    return found


POD = of("Deployment")["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def lines(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.*)$", DOCKERFILE.replace("\\\n", ""), re.MULTILINE)


def test_what_is_copied_is_made_and_let_through():
    stages = {stage.split()[2] for stage in lines("FROM") if " AS " in stage}
    copies = [copied.split() for copied in lines("COPY")]
    assert {copied[0].partition("=")[2] for copied in copies if copied[0].startswith("--from=")} <= stages
    (source,) = [copied[0] for copied in copies if not copied[0].startswith("--")]
    wheel = f"dist/{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}-py3-none-manylinux_2_34_x86_64.whl"
    assert fnmatch.fnmatch(wheel, source), "the place and name that packaging/wheel.py gives it"
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*" and any(fnmatch.fnmatch(wheel, line[1:]) for line in ignored[1:] if line[0] == "!")


def test_the_extras_that_it_installs_are_there():
    (extras,) = re.findall(r"\$\{wheel\}\[([\w,]+)\]", DOCKERFILE)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize(
    "arguments", [json.loads(lines("CMD")[0]), [str(one) for one in CONTAINER["args"]]], ids=["image", "manifest"]
)
def test_the_command_takes_what_it_is_given(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundles.write(tmp_path / "slate")  # a wheel holds it
    assert json.loads(lines("ENTRYPOINT")[0]) == ["a2d"] and arguments[0] == "serve"
    asked = _parser().parse_args(arguments[1:])
    assert asked.host == "0.0.0.0" and str(asked.port) in {
        *lines("EXPOSE"),
        str(CONTAINER["ports"][0]["containerPort"]),
    }


def test_what_is_mounted_is_a_volume_and_what_is_named_is_there():
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["bundles"]["persistentVolumeClaim"]["claimName"] == of("PersistentVolumeClaim")["metadata"]["name"]
    asked = _parser().parse_args([str(one) for one in CONTAINER["args"]][1:])
    assert asked.token_file.parent == Path(mounts["token"]["mountPath"])
    assert all(Path(mounts["bundles"]["mountPath"]) in bundle.parents for bundle in asked.bundles)
    (kept,) = re.findall(r"A2D_CACHE=(\S+)", DOCKERFILE)
    assert mounts["cache"]["mountPath"] == kept
    assert POD["securityContext"]["runAsUser"] == int(lines("USER")[0])


def test_the_service_finds_the_pods_and_probes_ask_what_needs_no_token():
    labels = of("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of("Deployment")["spec"]["selector"]["matchLabels"] == of("Service")["spec"]["selector"] == labels
    ports = {port["name"] for port in CONTAINER["ports"]}
    assert {port["targetPort"] for port in of("Service")["spec"]["ports"]} <= ports
    probes = [CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert all(probe["path"] in OPEN and probe["port"] in ports for probe in probes)
