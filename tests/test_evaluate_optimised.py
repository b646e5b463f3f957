"""What the gold judge says of the answers that PPO drew, part by part of the training."""

import json
from random import Random

import pytest

from pipeline.evaluate.optimised import PARTS, Optimised, answers_of
from pipeline.world.judge import judge
from pipeline.world.story import draw_facts, write
from pipeline.world.wishes import Wishes
from tests.toy_pairs import write_jsonl


def save(folder, num_steps: int, spoilt_from: int) -> dict:
    """Prompts, and a PPO artifact whose stories end in the middle from a step on, while the reward rises."""
    rng, rows, samples, log = Random(5), [], [], []
    for number in range(num_steps * 4):
        story = write(rng, draw_facts(rng, Wishes()))
        wishes = Wishes(name=story.wishes.name, thing=story.wishes.thing)
        prompt = [{"role": "user", "content": f"a story, number {number}"}]
        rows.append({"prompt": prompt, "wishes": wishes.to_dict()})
        step = 1 + number // 4
        text = story.text if step < spoilt_from else story.text[: len(story.text) // 2]
        samples.append({"step": step, "prompt": prompt, "answer": text, "score": 0.0})
    rows.append({"prompt": [{"role": "user", "content": "without wishes"}]})
    samples.append({"step": 1, "prompt": rows[-1]["prompt"], "answer": "no", "score": 0.0})
    for step in range(1, num_steps + 1):
        log.append({"step": step, "score": step / 10, "kl": step / 4, "length": 100.0})
    write_jsonl(folder / "collect" / "prompts" / "rl.jsonl", rows)
    write_jsonl(folder / "ppo" / "samples.jsonl", samples)
    write_jsonl(folder / "ppo" / "log.jsonl", log)
    return {"collect": folder / "collect", "ppo": folder / "ppo"}


def test_each_part_has_the_judges_score_beside_reward_and_kl(tmp_path):
    inputs = save(tmp_path, num_steps=32, spoilt_from=17)
    rows = Optimised(inputs["collect"], answers_of(inputs), seed=0).results()["optimised"]
    assert [row["steps"] for row in rows] == [[1 + 4 * i, 4 + 4 * i] for i in range(PARTS)]
    assert [row["n"] for row in rows] == [16] * PARTS, "a prompt without wishes cannot be judged"
    assert rows[0]["kl"] == pytest.approx(0.625) and rows[0]["score"] == pytest.approx(0.25)
    assert all(row["gold_low"] <= row["gold"] <= row["gold_high"] for row in rows)
    assert rows[3]["gold"] == 1.0 and rows[3]["wishes_met"] == 1.0
    assert rows[4]["gold_high"] < rows[3]["gold_low"], "spoilt from step 17 on"


def test_the_score_is_the_judges_own(tmp_path):
    inputs = save(tmp_path, num_steps=2, spoilt_from=2)
    (row,) = Optimised(inputs["collect"], inputs["ppo"], seed=0).results()["optimised"]
    samples = [json.loads(line) for line in (inputs["ppo"] / "samples.jsonl").read_text().splitlines()][:8]
    asked = [json.loads(line) for line in (inputs["collect"] / "prompts" / "rl.jsonl").read_text().splitlines()]
    scores = [
        judge(sample["answer"], Wishes.from_dict(item["wishes"])).score
        for sample, item in zip(samples, asked, strict=False)
    ]
    assert row["gold"] == pytest.approx(sum(scores) / 8)


def test_too_few_answers_give_no_row_and_a_run_without_ppo_no_exam(tmp_path):
    inputs = save(tmp_path, num_steps=1, spoilt_from=9)
    assert Optimised(inputs["collect"], inputs["ppo"], seed=0).results() == {}
    assert answers_of({"collect": inputs["collect"]}) is None
    (inputs["ppo"] / "samples.jsonl").unlink()
    assert answers_of(inputs) is None
