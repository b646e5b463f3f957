"""Sampling: padding and neighbours do not change an answer, and draws follow the probabilities."""

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, MistralConfig
from transformers import MistralForCausalLM as Mistral

from pipeline.generate import choose, generate, pad_left, stream, window
from tests.toy_pairs import save_toy_model

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13, 14, 15], [20], [21, 22, 23, 24]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = save_toy_model(tmp_path_factory.mktemp("toy") / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():  # sharper than at birth, so that greedy choices are no ties
            parameter.mul_(3)
    return model, AutoTokenizer.from_pretrained(folder)


def sample(toy, prompts, **changed):
    keys = {"max_new_tokens": 20, "temperature": 1.0, "seed": 0, "stop_ids": [], **changed}
    return generate(*toy, prompts, **keys)


def test_greedy_answers_are_those_of_transformers(toy):
    model, tokenizer = toy
    ours = sample(toy, PROMPTS, temperature=0)
    for prompt, answer in zip(PROMPTS, ours, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=20,
            eos_token_id=None, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        assert answer == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", ["gpt2", "sliding window"])
def test_other_architectures_give_the_answers_of_transformers(toy, kind):
    torch.manual_seed(1)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=2, n_head=2))
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = Mistral(MistralConfig(vocab_size=64, num_key_value_heads=1, sliding_window=8, **sizes))
    model.eval()
    ours = generate(
        model, toy[1], PROMPTS, max_new_tokens=12, temperature=0, seed=0, batch_size=3, stop_ids=[]
    )  # fmt: skip
    for prompt, answer in zip(PROMPTS, ours, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=12,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert answer == theirs[0, len(prompt) :].tolist()


@torch.no_grad()
def test_padding_does_not_change_a_log_probability(toy):
    model, _ = toy
    ids, mask, positions = pad_left(PROMPTS, pad=3)
    padded = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1].log_softmax(-1)
    for row, prompt in enumerate(PROMPTS):
        alone = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        assert torch.allclose(padded[row], alone, atol=1e-5)


def test_an_answer_depends_on_its_seed_and_place_but_not_on_the_batch(toy):
    together = sample(toy, PROMPTS)
    assert sample(toy, PROMPTS, batch_size=1) == together
    assert sample(toy, PROMPTS, batch_size=2) == together
    assert sample(toy, [*PROMPTS, [30, 31, 32, 33, 34, 35, 36]])[: len(PROMPTS)] == together
    assert sample(toy, PROMPTS, seed=1) != together
    assert len({tuple(answer) for answer in sample(toy, [PROMPTS[0]] * 8)}) > 1


def test_rows_that_end_leave_the_batch_and_the_others_are_as_before(toy):
    free = sample(toy, PROMPTS * 4)
    stops = {free[0][3], free[5][7], free[9][2]}
    stopped = sample(toy, PROMPTS * 4, stop_ids=stops)
    assert any(len(answer) < 20 for answer in stopped)
    for whole, cut in zip(free, stopped, strict=True):
        ends = [place for place, token in enumerate(whole) if token in stops]
        assert cut == (whole[: ends[0] + 1] if ends else whole)


def test_a_rule_ends_an_answer_and_leaves_the_others_as_before(toy):
    free = sample(toy, PROMPTS * 4)
    last = [answer[4] for answer in free[:2]]
    stopped = sample(toy, PROMPTS * 4, stop_when=lambda answer: len(answer) == 5 and answer[-1] in last)
    assert {len(answer) for answer in stopped} >= {5}
    for whole, cut in zip(free, stopped, strict=True):
        assert cut == (whole[:5] if whole[4] in last else whole)


def test_answers_end_where_the_window_ends(toy):
    model, _ = toy
    assert window(model) == 128
    (answer,) = sample(toy, [list(range(10, 130))], max_new_tokens=50)
    assert len(answer) == 8


def test_a_prompt_that_is_empty_or_fills_the_window_is_refused(toy):
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        sample(toy, [[5], []])
    with pytest.raises(ValueError, match="prompt 0 has 128 tokens and fills the model's window of 128"):
        sample(toy, [[5] * 128])
    with pytest.raises(ValueError, match="temperature=-1"):
        sample(toy, [[5]], temperature=-1)


def test_draws_follow_the_probabilities():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0])
    uniform = (torch.arange(1000) + 0.5) / 1000
    drawn = choose(probabilities.log().expand(1000, -1), uniform, temperature=1.0, top_p=1.0)
    assert drawn.bincount(minlength=5).tolist() == [500, 0, 300, 200, 0]
    assert choose(probabilities.log()[None], torch.tensor([1.0]), 1.0, 1.0).tolist() == [3]
    assert choose(probabilities.log()[None], torch.tensor([0.9]), 0.0, 1.0).tolist() == [0]


def test_top_p_keeps_the_smallest_set_with_that_mass():
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log().expand(1000, -1)
    uniform = (torch.arange(1000) + 0.5) / 1000
    drawn = choose(logits, uniform, temperature=1.0, top_p=0.75).bincount(minlength=4)
    assert drawn.tolist() == [0, 625, 375, 0]
    assert choose(logits, uniform, temperature=1.0, top_p=0.1).bincount(minlength=4).tolist() == [0, 1000, 0, 0]


def test_a_streamed_answer_is_the_generated_one_without_its_stop_token(toy):
    (free,) = sample(toy, [PROMPTS[0]])
    keys = {"max_new_tokens": 20, "temperature": 1.0, "seed": 0}
    assert list(stream(*toy, PROMPTS[0], stop_ids=[], **keys)) == free
    end = free[6]
    assert list(stream(*toy, PROMPTS[0], stop_ids=[end], **keys)) == free[: free.index(end)]


def test_the_model_is_given_back_in_the_mode_it_came_in(toy):
    model, _ = toy
    model.train()
    attention = model.config._attn_implementation
    sample(toy, PROMPTS, max_new_tokens=2)
    assert model.training and model.config._attn_implementation == attention
    model.eval()


def test_large_batches_run_side_by_side_and_the_threads_are_given_back(toy):
    before = torch.get_num_threads()
    places = set()
    try:
        torch.set_num_threads(5)
        prompts = PROMPTS * 26  # 130 rows: room for two batches of 64, whatever the number of cores
        one_by_one = sample(toy, prompts, max_new_tokens=8, batch_size=40)
        noted = sample(
            toy, prompts, max_new_tokens=8,
            stop_when=lambda answer: places.add((threading.get_ident(), torch.get_num_threads())),
        )  # fmt: skip
        assert noted == one_by_one
        assert {threads for _, threads in places} == {2}
        assert threading.get_ident() not in {thread for thread, _ in places}
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)
