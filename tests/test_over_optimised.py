"""The table of bench.over_optimised marks the best row, and where the shipped recipe's PPO ended."""

import json

import pytest

from bench.over_optimised import shipped_kl, table
from tests.toy_pairs import write_jsonl


def row(kl: float, gold: float) -> dict:
    found = {"steps": [1, 6], "kl": kl, "score": kl / 2, "length": 100.0, "gold": gold, "wishes_met": 0.9, "n": 64}
    return found | {"gold_low": gold - 0.01, "gold_high": gold + 0.01}


ROWS = [row(0.1, 0.95), row(1.0, 0.97), row(2.0, 0.98), row(6.0, 0.91)]


@pytest.mark.parametrize(
    ("kl", "place", "said"), [(0.05, 1, "0.05 nats"), (1.5, 3, "1.50 nats"), (9.0, 5, "9.00 nats, further than")]
)
def test_the_mark_stands_where_the_shipped_recipe_ended(kl, place, said):
    lines = table(ROWS, kl)
    assert [number for number, line in enumerate(lines) if line.startswith("---")] == [place]
    assert said in lines[place]
    assert [line.split()[3] for line in lines if line.endswith("best")] == ["2.00"]


def test_the_shipped_kl_is_that_of_the_last_eighth_of_its_steps(tmp_path):
    (tmp_path / "ppo").mkdir()
    write_jsonl(tmp_path / "ppo" / "log.jsonl", [{"step": step, "kl": float(step)} for step in range(1, 17)])
    assert shipped_kl(tmp_path) == 15.5
    write_jsonl(tmp_path / "ppo" / "log.jsonl", [json.loads('{"step": 1, "kl": 2.0}')])
    assert shipped_kl(tmp_path) == 2.0
