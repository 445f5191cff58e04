"""Threads: quotas and affinity are respected, and the policy is set before torch is loaded."""

from __future__ import annotations

import os
import sys

import pytest

from tests.programs import environment, run
from vqtok import threads

V1 = "4:memory:/job\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n"
V2 = "0::/user.slice/job.scope\n"
ROOT, GROUP = "/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/job.scope"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"/proc/self/cgroup": V2}, None),
        ({"/proc/self/cgroup": "0::/\n", f"{ROOT}/cpu.max": "150000 100000\n"}, 1.5),
        ({"/proc/self/cgroup": V2, f"{GROUP}/cpu.max": "max 100000\n"}, None),
        ({"/proc/self/cgroup": V2, f"{GROUP}/cpu.max": "20000 10000\n"}, 2.0),
        ({"/proc/self/cgroup": V2, f"{GROUP}/cpu.max": ""}, None),
        ({"/proc/self/cgroup": V2, f"{GROUP}/cpu.max": "10000 0"}, None),
        ({"/proc/self/cgroup": V2, f"{GROUP}/cpu.max": "nonsense here"}, None),
        ({"/proc/self/cgroup": "nonsense"}, None),
    ],
)
def test_quotas_of_cgroup_v2_are_read(files: dict[str, str], expected: float | None):
    assert threads.quota(files.get) == expected


def test_the_least_quota_of_nested_groups_counts():
    files = {
        "/proc/self/cgroup": V2,
        f"{GROUP}/cpu.max": "400000 100000",
        f"{ROOT}/user.slice/cpu.max": "100000 100000",
        f"{ROOT}/cpu.max": "max 100000",
    }
    assert threads.quota(files.get) == 1.0


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "/docker/abc"])
@pytest.mark.parametrize(("limit", "expected"), [("250000\n", 2.5), ("-1\n", None)])
def test_quotas_of_cgroup_v1_are_read_where_the_group_is_mounted(
    mount: str, group: str, limit: str, expected: float | None
):
    folder = f"{ROOT}/{mount}{group}"
    files = {
        "/proc/self/cgroup": V1,
        f"{folder}/cpu.cfs_quota_us": limit,
        f"{folder}/cpu.cfs_period_us": "100000\n",
    }
    assert threads.quota(files.get) == expected


def test_groups_of_other_controllers_say_nothing_about_cpus():
    files = {
        "/proc/self/cgroup": "4:memory:/job\n2:cpuset:/job\n",
        f"{ROOT}/cpu/job/cpu.cfs_quota_us": "100000",
        f"{ROOT}/cpu/job/cpu.cfs_period_us": "100000",
    }
    assert threads.quota(files.get) is None


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 8), (0.1, 1), (1.5, 2), (3.0, 3), (64.0, 8)]
)
def test_a_quota_is_rounded_up_and_affinity_is_the_limit(
    limit: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(threads, "affinity", lambda: 8)
    monkeypatch.setattr(threads, "quota", lambda read: limit)
    assert threads.available() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_is_that_of_the_process():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from vqtok import threads; print(threads.available())"
    )
    assert run(program).stdout.split() == ["1"]


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_NUM_THREADS": "2"}),
        ({"GOMP_SPINCOUNT": "10"}, {"OMP_NUM_THREADS": "2"}),
        ({"KMP_BLOCKTIME": "10"}, {"OMP_NUM_THREADS": "2"}),
        ({"OMP_NUM_THREADS": "5"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"MKL_NUM_THREADS": "5"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
    ],
)
def test_what_the_user_has_set_stays(
    given: dict[str, str], added: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threads, "affinity", lambda: 8)
    monkeypatch.setattr(threads, "quota", lambda read: 2.0)
    found = dict(given)
    threads.configure(found)
    assert found == given | added


def test_without_a_quota_torch_counts_the_threads_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threads, "quota", lambda read: None)
    found: dict[str, str] = {}
    threads.configure(found)
    assert found == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_a_torch_that_is_loaded_already_keeps_its_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    found: dict[str, str] = {}
    threads.configure(found)
    assert found == {}


@pytest.mark.parametrize(("values", "expected"), [(1, 1), (1 << 16, 2), (768 * 512, 8)])
def test_little_work_takes_few_threads(values: int, expected: int):
    assert threads.useful(values, 8) == expected


def test_numpy_multiplies_on_one_thread_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
):
    found: dict[str, str] = {}
    for machine, expected in (("aarch64", {}), ("x86_64", {"OPENBLAS_NUM_THREADS": "1"})):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        threads.configure_products(found)
        assert found == expected
    found = {"OPENBLAS_NUM_THREADS": "4"}
    threads.configure_products(found)
    assert found == {"OPENBLAS_NUM_THREADS": "4"}


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("0", 8), ("2,1", 8), (None, 8)])
def test_models_take_the_threads_that_openmp_is_given(
    value: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(threads, "available", lambda: 8)
    for name in threads.COUNTS:
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.chosen() == expected


# An import hook notes the policy at the moment in which torch is asked for, and ends the program.
WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
"""
COMMAND = """
import vqtok.cli
sys.argv = ["vqtok", "encode", "{photo}", "-o", "{codes}", "-q", "--backend", "torch"]
vqtok.cli.main()
"""


def policy_of(program: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in (*threads.WAITING, *threads.COUNTS):
        monkeypatch.delenv(name, raising=False)
    assert not set(threads.WAITING) & set(environment())
    done = run(program)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_command_sets_the_policy_before_torch_is_imported(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    from PIL import Image

    photo, codes = tmp_path / "photo.png", tmp_path / "codes.npy"
    Image.new("RGB", (16, 16)).save(photo)
    program = WATCH + COMMAND.format(photo=photo, codes=codes)
    assert policy_of(program, monkeypatch) == ["PASSIVE"]


@pytest.mark.parametrize("name", ["load", "save_prior"])
def test_public_names_set_the_policy_before_torch_is_imported(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    assert policy_of(f"{WATCH}import vqtok; vqtok.{name}\nimport torch", monkeypatch) == ["PASSIVE"]


def test_torch_imported_first_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    program = "import os, torch, vqtok; vqtok.load; print(os.environ.get('OMP_WAIT_POLICY'))"
    assert policy_of(program, monkeypatch) == ["None"]
