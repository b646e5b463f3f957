"""A stage's code does not change without a new version or a noted reason, so no old artifact passes for a new one."""

import pytest

from pipeline.chain import CHAIN
from tests import stage_code


@pytest.mark.parametrize("stage", CHAIN, ids=lambda stage: stage.name)
def test_a_stages_code_changes_only_with_its_version(stage):
    noted = stage_code.notes()[stage.name]
    told = f"run: python -m tests.stage_code {stage.name}"
    assert noted["version"] == stage.version, f"the version of {stage.name} was raised; {told}"
    changed = f"the code of {stage.name} changed. If its result changes, raise `version` in its recipe.py"
    assert noted["code"] == stage_code.digest(stage.name), f"{changed}; {told}"


def test_comments_and_docstrings_are_not_code(tmp_path):
    a, b, c = (tmp_path / name for name in ("a.py", "b.py", "c.py"))
    a.write_text('"""One."""\nx = 1  # why\n')
    b.write_text('"""Two,\nlonger."""\n\n\nx = 1\n')
    c.write_text('"""One."""\nx = 2  # why\n')
    assert stage_code.code(a) == stage_code.code(b) != stage_code.code(c)
