"""The image as far as it can be judged without a Docker daemon: its recipe, and its wheel."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import NamedTuple

import pytest

from worker.settings import PREFIX, read_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, continuation lines joined."""

    keyword: str
    text: str


def stages_of(dockerfile: str) -> list[list[Instruction]]:
    """The instructions of each stage; what stands before the first FROM is left away."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[list[Instruction]] = []
    for line in filter(None, joined.splitlines()):
        keyword, _, text = line.partition(" ")
        if keyword == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(Instruction(keyword, text))
    return stages


STAGES = stages_of(DOCKERFILE.read_text())
FINAL = STAGES[-1]


def only(keyword: str) -> str:
    """The text of the one instruction of that kind in the final stage."""
    (text,) = [one.text for one in FINAL if one.keyword == keyword]
    return text


def environment() -> dict[str, str]:
    """What the final stage sets with ENV."""
    return dict(pair.partition("=")[::2] for pair in shlex.split(only("ENV")))


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    run = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_it_runs_as_a_number_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", only("USER"))
    assert [one.keyword for one in FINAL].index("USER") > max(
        index for index, one in enumerate(FINAL) if one.keyword == "RUN"
    )


def test_it_starts_without_a_shell_so_that_sigterm_arrives() -> None:
    assert json.loads(only("ENTRYPOINT")) == ["comeback"]
    assert json.loads(only("CMD")) == ["run"]
    assert only("STOPSIGNAL") == "SIGTERM"


def test_its_health_is_asked_without_a_shell() -> None:
    _, _, command = only("HEALTHCHECK").partition("CMD ")
    assert json.loads(command) == ["comeback", "health"]


def test_the_final_stage_installs_no_packages() -> None:
    commands = " ".join(one.text for one in FINAL if one.keyword == "RUN")
    assert re.findall(r"apt|pip|curl|wget|hatchling", commands) == []


def test_every_stage_stands_on_the_same_pinned_python() -> None:
    assert {stage[0].text.split()[0] for stage in STAGES} == {"${PYTHON_IMAGE}"}
    tag = re.search(r"^ARG PYTHON_IMAGE=python:(\S+)$", DOCKERFILE.read_text(), re.M)
    assert tag
    assert re.match(r"3\.\d+-slim", tag[1])


def test_dependencies_come_from_the_lock_files_only() -> None:
    commands = " ".join(one.text for one in STAGES[0] if one.keyword == "RUN")
    installs = re.findall(r"pip [^&]*install[^&]*", commands)
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps" in install
        assert "--require-hashes" in install or "--no-index" in install


def test_its_environment_holds_settings_that_exist() -> None:
    ours = {name: value for name, value in environment().items() if name.startswith(PREFIX)}
    settings = read_settings(ours)
    assert str(settings.state) == "/state/comeback.db"
    assert str(settings.rules) == "/rules"


def test_the_port_it_exposes_is_the_one_it_listens_on() -> None:
    assert read_settings({}).http.endswith(":" + only("EXPOSE"))


def test_everything_it_copies_is_let_in() -> None:
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        name
        for stage in STAGES
        for one in stage
        if one.keyword == "COPY" and not one.text.startswith("--from")
        for name in one.text.split()[:-1]
    }
    assert {name for name in copied if not {f"!{name}", f"!{name}/"} & set(let_in)} == set()
    assert let_in[1] == "*"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as the build stage makes it: hatchling, no isolation, no network."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_worker_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.partition("/")[0] for name in wheel.namelist()} - {"worker"}
    assert re.fullmatch(r"comeback-[\d.]+\.dist-info", info)
    packed = {name for name in wheel.namelist() if name.startswith("worker/")}
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "worker").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == source


def test_the_wheel_brings_the_command_and_the_same_dependencies(wheel: zipfile.ZipFile) -> None:
    (info,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    entry_points = ConfigParser()
    entry_points.read_string(wheel.read(info).decode())
    assert dict(entry_points["console_scripts"]) == {"comeback": "worker.cli:main"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = wheel.read(info.replace("entry_points.txt", "METADATA")).decode()
    assert metadata.count("\nRequires-Dist: ") == len(project["dependencies"])
