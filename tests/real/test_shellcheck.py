"""Every script that is rendered for a cluster passes shellcheck."""

import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cluster.__main__ import main

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted(path for path in (ROOT / "recipes" / "clusters").glob("*.yaml") if path.stem != "ray")
pytestmark = pytest.mark.real


@pytest.mark.parametrize("recipe", ["storyworld", "pydocs"])
@pytest.mark.parametrize("cluster", EXAMPLES, ids=lambda path: path.stem)
def test_shellcheck_finds_nothing(tmp_path, cluster, recipe):
    assert main(["render", "--recipe", recipe, "--cluster", str(cluster), "--out", str(tmp_path)]) == 0
    if (task := tmp_path / "task.yaml").exists():
        for key in ("setup", "run"):
            (tmp_path / f"{key}.sh").write_text("#!/bin/bash\n" + yaml.safe_load(task.read_text())[key])
        task.unlink()
    found = sorted(tmp_path.iterdir())
    assert found
    done = subprocess.run(["shellcheck", *map(str, found)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
