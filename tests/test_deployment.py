"""Containers and scripts hold together: compose files, what they mount, and scripts that fail before anything is loaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sekisho.core.table import TABLE

ROOT = Path(__file__).resolve().parents[1]
DOCKER, SCRIPTS = ROOT / "docker", ROOT / "scripts"
COMPOSE = yaml.safe_load((DOCKER / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICE_KEYS = {
    "profiles",
    "build",
    "image",
    "restart",
    "environment",
    "volumes",
    "ports",
    "healthcheck",
    "networks",
    "deploy",
    "command",
}
TOP_KEYS = {"name", "services", "networks", "volumes"}
BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="needs bash")


def test_the_compose_file_has_only_keys_of_the_specification():
    assert set(COMPOSE) <= TOP_KEYS
    assert set(COMPOSE["services"]) == {"sekisho", "lmdeploy", "prometheus", "grafana", "litellm"}
    for name, service in COMPOSE["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert service["profiles"]
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", list(COMPOSE["services"]))
def test_every_port_is_this_machines_alone(name):
    for port in COMPOSE["services"][name]["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_image_changes_by_itself():
    for name, service in COMPOSE["services"].items():
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest"), name


def test_everything_that_is_mounted_or_built_is_there():
    named = {*COMPOSE["volumes"]}
    for name, service in COMPOSE["services"].items():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith(("./", "../")):
                assert (DOCKER / source).is_file(), (name, source)
            else:
                assert source in named or source.startswith("${"), (name, source)
        if "build" in service:
            dockerfile = ROOT / service["build"]["dockerfile"]
            for line in dockerfile.read_text(encoding="utf-8").splitlines():
                if line.startswith("COPY "):
                    assert all((ROOT / part).exists() for part in line.split()[1:-1]), line


def test_what_watches_is_given_its_rules_and_its_dashboard():
    def mounted(service):
        return dict(
            reversed(v.split(":")[:2]) for v in COMPOSE["services"][service]["volumes"] if v[0] == "."
        )

    rules = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))["rule_files"]
    assert [mounted("prometheus")[f"/etc/prometheus/{name}"] for name in rules] == [
        "../monitoring/alerts.yaml"
    ]
    provider = mounted("grafana")["/etc/grafana/provisioning/dashboards/sekisho.yml"]
    (found,) = yaml.safe_load((DOCKER / provider).read_text(encoding="utf-8"))["providers"]
    assert mounted("grafana")[found["options"]["path"] + "/sekisho.json"] == "../monitoring/grafana.json"


def test_a_service_does_not_start_without_its_secret():
    given = COMPOSE["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert given.startswith("${GRAFANA_PASSWORD:?")


@needs_bash
def test_unquantised_weights_are_served_as_they_are(machine):
    tools, model = machine
    (model / "config.json").write_text("{}")
    done = run("start_lmdeploy.sh", tools, LMDEPLOY_MODEL=str(model))
    assert done.returncode == 0, done.stderr
    assert "--model-format hf" in done.stdout


def test_settings_that_containers_set_exist():
    known = {spec.env for spec in TABLE}
    given = {k for k in COMPOSE["services"]["sekisho"]["environment"] if k.startswith("SEKISHO_")}
    assert given <= known


def test_every_variable_is_in_the_example():
    text = (DOCKER / "docker-compose.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", text)) - {"LITELLM_IMAGE"}
    given = set(
        re.findall(r"^([A-Z_]+)=", (DOCKER / "env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert used == given


@pytest.mark.parametrize(
    "name", ["prometheus.yml", "litellm.yml", "grafana/datasource.yml", "grafana/dashboards.yml"]
)
def test_the_other_files_are_yaml(name):
    assert isinstance(yaml.safe_load((DOCKER / name).read_text(encoding="utf-8")), dict)


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{BASH}\n{text}\n")
    (folder / name).chmod(0o755)


def run(script: str, tools: Path, *arguments: str, **env: str):
    path = f"{tools}:/usr/bin:/bin"
    return subprocess.run(
        [BASH, SCRIPTS / script, *arguments],
        capture_output=True,
        text=True,
        env={"PATH": path, **env},
        timeout=30,
    )


@pytest.fixture
def machine(tmp_path):
    """A machine with a GPU, and an AWQ model."""
    tools, model = tmp_path / "tools", tmp_path / "model"
    program(tools, "nvidia-smi", 'case "$*" in *driver*) echo 550.54.14;; *) echo 16000;; esac')
    program(tools, "lmdeploy", 'echo "$@"')
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}, indent=2))
    return tools, model


@needs_bash
@pytest.mark.parametrize("script", sorted(p.name for p in SCRIPTS.glob("*.sh")))
def test_scripts_parse(script):
    assert subprocess.run([BASH, "-n", SCRIPTS / script], capture_output=True).returncode == 0
    assert os.access(SCRIPTS / script, os.X_OK) or script == "lmdeploy_checks.sh"


@needs_bash
def test_a_fit_machine_serves_with_the_settings_given(machine):
    tools, model = machine
    done = run(
        "start_lmdeploy.sh",
        tools,
        LMDEPLOY_MODEL=str(model),
        LMDEPLOY_KV_BITS="4",
        LMDEPLOY_CACHE_SHARE="0.3",
    )
    assert done.returncode == 0, done.stderr
    for flag in (
        "--model-format awq",
        "--quant-policy 4",
        "--cache-max-entry-count 0.3",
        "--server-name 127.0.0.1",
    ):
        assert flag in done.stdout
    assert run("setup_lmdeploy.sh", tools, "--check", LMDEPLOY_MODEL=str(model)).returncode == 0


@needs_bash
@pytest.mark.parametrize(
    ("smi", "config", "env", "told"),
    [
        (None, "awq", {}, "no nvidia-smi"),
        ("exit 9", "awq", {}, "does not reach a GPU"),
        ("echo 470.1", "awq", {}, "needs 525"),
        ('case "$*" in *driver*) echo 550.1;; *) echo 512;; esac', "awq", {}, "512 MiB"),
        ("good", "gptq", {}, "GPTQ"),
        ("good", "bitsandbytes", {}, "another way"),
        ("good", "awq", {"LMDEPLOY_KV_BITS": "3"}, "KV_BITS"),
        ("good", "awq", {"LMDEPLOY_CACHE_SHARE": "1.5"}, "CACHE_SHARE"),
        ("good", "awq", {"LMDEPLOY_CONTEXT": "0"}, "from 1 on"),
        ("good", "awq", {"LMDEPLOY_CONTEXT": "8k"}, "from 1 on"),
        ("good", "awq", {"LMDEPLOY_PORT": "0"}, "LMDEPLOY_PORT"),
        ("good", "awq", {"LMDEPLOY_MODEL": ""}, "not set"),
        ("good", "awq", {"LMDEPLOY_MODEL": "/nowhere"}, "holds no model"),
    ],
)
def test_what_is_not_fit_ends_the_start_and_says_what_to_do(machine, smi, config, env, told):
    tools, model = machine
    if smi is None:
        if shutil.which("nvidia-smi", path="/usr/bin:/bin"):
            pytest.skip("this machine has nvidia-smi")
        (tools / "nvidia-smi").unlink()
    elif smi != "good":
        program(tools, "nvidia-smi", smi)
    (model / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": config}}))
    done = run("start_lmdeploy.sh", tools, **{"LMDEPLOY_MODEL": str(model), **env})
    assert done.returncode == 78
    assert told in done.stderr
    assert "serve" not in done.stdout
