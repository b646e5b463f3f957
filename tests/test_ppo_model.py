"""Policy and critic in one forward: the numbers of the plain model, whatever stands beside or behind an answer."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from pipeline.generate import Sampling, _uniforms, choose, generate
from pipeline.ppo.model import ActorCritic, Batch, TokenScores, pack, token_scores
from tests.toy_pairs import save_toy_model

PAD = 3
PROMPTS = [[1, 20, 30, 40], [1, 21, 31, 41, 51, 61, 71, 81, 91], [1, 22]]
ANSWERS = [[100, 101, 102, 2], [110, 2], [120, 121, 122, 123, 124, 125]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_toy_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def policy(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def alone(policy, prompt, answer) -> torch.Tensor:
    """Log-probabilities of an answer by itself, from the plain model's logits at every position."""
    ids = torch.tensor([[*prompt, *answer]])
    log_probs = policy(ids).logits[0, :-1].log_softmax(-1)
    return log_probs.gather(-1, ids[0, 1:, None])[len(prompt) - 1 :, 0]


def gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_padding_and_neighbours_do_not_change_a_log_probability(policy):
    model = ActorCritic(policy)
    torch.nn.init.normal_(model.value_head.weight)
    together, entropy, values = model(pack(PROMPTS, ANSWERS, PAD, "cpu"), 1.0, True)
    expected = torch.cat([alone(policy, p, a) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=0)
    each = [model(pack([p], [a], PAD, "cpu"), 1.0, True) for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    torch.testing.assert_close(entropy, torch.cat([one[1] for one in each]), atol=1e-5, rtol=0)
    torch.testing.assert_close(values, torch.cat([one[2] for one in each]), atol=1e-5, rtol=0)


def test_gradients_come_from_the_answers_tokens_alone(policy):
    weights = torch.linspace(-1, 1, sum(map(len, ANSWERS)))
    batch = pack(PROMPTS, ANSWERS, PAD, "cpu")
    model = ActorCritic(policy)
    (model(batch, 1.0, False)[0] * weights).sum().backward()
    found = gradients(policy)
    expected = torch.cat([alone(policy, p, a) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    (expected * weights).sum().backward()
    for name, wanted in gradients(policy).items():
        torch.testing.assert_close(found[name], wanted, atol=1e-5, rtol=1e-4)
    # Whatever stands behind the end tokens has no part in it.
    behind = batch.ids.clone()
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        behind[row, len(prompt) + len(answer) :] = 200
    assert not torch.equal(behind, batch.ids)
    (model(Batch(behind, batch.predicts), 1.0, False)[0] * weights).sum().backward()
    for name, same in gradients(policy).items():
        assert torch.equal(found[name], same), name


def test_token_scores_and_their_gradients_are_those_of_log_softmax():
    torch.manual_seed(0)
    logits, tokens = torch.randn(5, 11, dtype=torch.float64), torch.tensor([0, 3, 10, 3, 7])
    a, b = torch.randn(2, 5, dtype=torch.float64)
    plain = logits.clone().requires_grad_()
    log_p = plain.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    wanted = log_p.gather(-1, tokens[:, None])[:, 0]
    (a * wanted + b * entropy).sum().backward()
    ours = logits.clone().requires_grad_()
    found, found_entropy = TokenScores.apply(ours * 1.0, tokens, True)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found_entropy, entropy)
    (a * found + b * found_entropy).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


def test_the_distribution_is_that_of_sampling_at_its_temperature():
    logits = torch.randn(4, 9)
    tokens = torch.tensor([1, 2, 3, 4])
    found, _ = token_scores(logits.clone(), tokens, 0.7, False)
    expected = torch.softmax(logits / 0.7, -1).log().gather(-1, tokens[:, None])[:, 0]
    torch.testing.assert_close(found, expected)


def test_generation_and_training_agree_on_every_token(folder, policy):
    """Left-padded sampling with a cache, and the right-padded forward: with the same random number the forward's
    probabilities choose the token that generation drew."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(3.0)  # sharper than a fresh model
    answers = generate(policy, tokenizer, PROMPTS * 4, max_new_tokens=12, temperature=0.8, seed=5, stop_ids=[2, 0])
    sampling = Sampling(max_new_tokens=12, temperature=0.8, top_p=1.0, seed=5, stop_ids=frozenset([2, 0]))
    uniforms = _uniforms(range(len(answers)), sampling)
    for row, answer in enumerate(answers):
        prompt = PROMPTS[row % len(PROMPTS)]
        logits = policy(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        assert choose(logits, uniforms[row, : len(answer)], 0.8, 1.0).tolist() == answer


def test_other_architectures_need_nothing_of_their_own():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=330, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    policy = GPT2LMHeadModel(config).eval()
    found, _, _ = ActorCritic(policy)(pack(PROMPTS, ANSWERS, PAD, "cpu"), 1.0, False)
    expected = torch.cat([alone(policy, p, a) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
