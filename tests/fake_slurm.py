"""Slurm's commands as shell scripts over a text file: what is queued stays queued until it is cancelled.

slurm = FakeSlurm(folder, monkeypatch); slurm.queue()
"""

import os
from pathlib import Path

import pytest

COMMANDS = {
    "sbatch": """
[ -e refusal ] && { cat refusal >&2; exit 1; }
for word; do
  case $word in
    --test-only) exit 0 ;;
    --parsable) parsable=yes ;;
    --dependency=*) after=${word#--dependency=} ;;
    *) [ -f "$word" ] && script=$word ;;
  esac
done
n=$(($(cat number 2>/dev/null || echo 100) + 1)); echo $n > number
echo "$n|PENDING|0:00|1:00||Priority|$after|$(sed -n 's/^#SBATCH --comment=//p' "$script")" >> queue
[ "$parsable" ] && echo $n || echo "Submitted batch job $n"
""",
    # outages: how many of the next questions get no answer
    "squeue": """
left=$(cat outages 2>/dev/null || echo 0)
[ "$left" -gt 0 ] && { echo $((left - 1)) > outages; echo "Unable to contact slurm controller" >&2; exit 1; }
cat queue 2>/dev/null || true
""",
    "scancel": """
for number; do echo "$number" >> cancelled; sed -i "/^$number|/d" queue; done
""",
    "sinfo": "echo 'toy*'\n",
}


class FakeSlurm:
    """The commands are found first on PATH; `folder` holds what they know."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "slurm"
        (self.folder / "bin").mkdir(parents=True)
        for name, text in COMMANDS.items():
            program = self.folder / "bin" / name
            program.write_text(f"#!/bin/bash\ncd {self.folder}\n{text}")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.folder / 'bin'}:{os.environ['PATH']}")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def queue(self) -> dict[int, str]:
        """Every queued job's comment."""
        return {int(line.split("|")[0]): line.split("|")[-1] for line in self.lines("queue")}

    def put(self, number: int, comment: str, state: str = "RUNNING", after: str = "") -> None:
        with (self.folder / "queue").open("a") as file:
            file.write(f"{number}|{state}|0:00|1:00|n1|None|{after}|{comment}\n")
