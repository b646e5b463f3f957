"""Progress is shown once, whatever the number of processes."""

import pytest

from pipeline import progress


@pytest.mark.parametrize(("rank", "lines"), [(None, 1), ("0", 1), ("1", 0)])
def test_of_several_processes_the_first_alone_shows_it(rank, lines, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    shown = progress.Progress(4, "ppo", "steps")
    shown.update(2, reward=0.5)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    assert all(line.startswith("ppo: 2/4 steps (50%)") and line.endswith("reward 0.5") for line in told)
