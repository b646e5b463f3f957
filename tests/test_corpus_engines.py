"""Who does the corpus's work: a recipe that wants a cluster must be told which, and of the right kind."""

import pytest
import yaml

from pipeline.corpus.engines import incomplete
from pipeline.corpus.execute import crew
from pipeline.corpus.recipe import Recipe
from pipeline.stage import UserError

PROFILES = {
    "slurm": {"kind": "slurm", "runs": "/shared/runs"},
    "ray": {"kind": "ray", "address": "auto"},
    "skypilot": {"kind": "skypilot", "bucket": "s3://runs"},
}


@pytest.mark.parametrize(
    ("executor", "kind", "message"),
    [
        ("slurm", None, "executor = slurm wants to know the cluster: make corpus CLUSTER=<profile>"),
        ("slurm", "ray", "executor = slurm, and CLUSTER=.* is a profile of kind ray"),
        ("ray", "skypilot", "executor = ray, and CLUSTER=.* is a profile of kind skypilot"),
    ],
)
def test_a_crew_without_its_cluster_is_one_message(tmp_path, executor, kind, message):
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(PROFILES[kind or "slurm"]))
    with pytest.raises(UserError, match=message):
        crew(Recipe(executor=executor), str(path) if kind else None)


@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_the_profile_of_its_kind_is_taken_and_is_not_hashed(tmp_path, kind):
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(PROFILES[kind]))
    assert crew(Recipe(executor=kind), str(path)).profile.kind == kind
    assert crew(Recipe(), str(path)).profile is None
    assert Recipe(executor=kind).hashed() == Recipe().hashed()


def test_tasks_without_a_mark_are_incomplete(tmp_path):
    (tmp_path / "completions").mkdir()
    (tmp_path / "completions" / "00001").touch()
    assert incomplete(tmp_path, 3) == [0, 2]
