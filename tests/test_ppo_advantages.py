"""PPO's arithmetic, each formula against a plain loop or a table."""

import math

import numpy as np
import pytest
import torch

from pipeline.ppo.advantages import explained_variance, gae, kl_per_token, token_rewards, whiten
from pipeline.ppo.config import PPOConfig
from pipeline.ppo.data import dealt
from pipeline.ppo.losses import policy_loss, value_loss
from pipeline.ppo.rewards import Moments, adapted, shaped
from pipeline.stage import UserError

LENGTHS = (1, 7, 4, 9)


def answers() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random rewards and values, 0 behind the end, and the mask."""
    torch.manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(mask.shape) * mask, torch.randn(mask.shape) * mask, mask


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.97, 0.0)])
def test_advantages_are_those_of_a_plain_loop_over_each_answer(gamma, lam):
    rewards, values, mask = answers()
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(LENGTHS):
        r, v = rewards[row, :length].double().numpy(), values[row, :length].double().numpy()
        expected = np.zeros(length)
        for t in range(length):
            for k in range(t, length):
                following = v[k + 1] if k + 1 < length else 0.0
                expected[t] += (gamma * lam) ** (k - t) * (r[k] + gamma * following - v[k])
        np.testing.assert_allclose(advantages[row, :length].numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(returns[row, :length].numpy(), expected + v, atol=1e-5)
        assert not advantages[row, length:].any() and not returns[row, length:].any()


def test_with_gamma_and_lambda_1_the_return_is_the_sum_of_what_follows():
    rewards, values, mask = answers()
    _, returns = gae(rewards, values, mask, 1.0, 1.0)
    expected = rewards.flip(1).cumsum(1).flip(1) * mask
    torch.testing.assert_close(returns, expected, atol=1e-5, rtol=0)


def test_the_score_is_paid_at_the_last_token_and_the_kl_at_each():
    _, kl, mask = answers()
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    rewards = token_rewards(scores, kl, mask, 0.5)
    for row, length in enumerate(LENGTHS):
        expected = -0.5 * kl[row, :length]
        expected[-1] += scores[row]
        torch.testing.assert_close(rewards[row, :length], expected)
        assert not rewards[row, length:].any()


def test_whitened_values_have_mean_0_and_variance_1_over_the_tokens_alone():
    values, _, mask = answers()
    white = whiten(values + 3 * mask, mask)
    assert float(white[mask].mean()) == pytest.approx(0, abs=1e-6)
    assert float(white[mask].var(correction=0)) == pytest.approx(1, abs=1e-5)
    assert not white[~mask].any()
    assert not whiten(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)).any(), "equal values become 0, not NaN"


def test_both_kl_estimators_have_the_true_kl_as_mean_and_k3_is_never_negative():
    torch.manual_seed(0)
    p, q = torch.randn(6).log_softmax(0), torch.randn(6).log_softmax(0)
    true = float((p.exp() * (p - q)).sum())
    for estimator in ("k1", "k3"):
        assert float((p.exp() * kl_per_token(p, q, estimator)).sum()) == pytest.approx(true, abs=1e-6)
    assert (kl_per_token(p, q, "k1") < 0).any()
    assert (kl_per_token(p, q, "k3") >= 0).all()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [(1.0, 2.0, -2.0, False), (1.5, 2.0, -2.4, True), (0.5, 2.0, -1.0, False), (1.5, -2.0, 3.0, False),
     (0.5, -2.0, 1.6, True)],
)  # fmt: skip
def test_the_policys_loss_is_clipped_where_it_would_gain_from_moving_further(ratio, advantage, loss, clipped):
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    found, was_clipped = policy_loss(log_ratio, torch.tensor([advantage]), 0.2)
    assert float(found.detach()) == pytest.approx(loss, abs=1e-6)
    assert bool(was_clipped) is clipped
    found.sum().backward()
    assert (float(log_ratio.grad) == 0) is clipped


@pytest.mark.parametrize(
    ("value", "loss", "clipped"), [(0.1, 0.5 * 0.9**2, False), (0.9, 0.5 * 0.8**2, True), (1.5, 0.5 * 0.8**2, True)]
)
def test_the_critics_loss_counts_no_progress_beyond_the_range(value, loss, clipped):
    found, was_clipped = value_loss(torch.tensor([value]), torch.tensor([0.0]), torch.tensor([1.0]), 0.2)
    assert float(found) == pytest.approx(loss, abs=1e-6)
    assert bool(was_clipped) is clipped


def test_explained_variance_is_1_for_a_perfect_critic_and_0_for_the_mean():
    returns, _, mask = answers()
    assert float(explained_variance(returns, returns, mask)) == pytest.approx(1)
    assert float(explained_variance(torch.full_like(returns, 7.0), returns, mask)) == pytest.approx(0, abs=1e-9)


def test_moments_of_steps_are_those_of_all_rewards_at_once():
    numbers = np.random.default_rng(0).normal(3, 2, size=50)
    moments = Moments()
    for start, end in ((0, 1), (1, 20), (20, 50)):
        moments.update(numbers[start:end])
    assert (moments.count, moments.mean) == (50, pytest.approx(numbers.mean()))
    assert moments.deviation == pytest.approx(numbers.std())


def test_rewards_are_standardised_then_clipped_then_penalised():
    moments = Moments(count=4, mean=1.0, squares=16.0)  # deviation 2
    args = PPOConfig(scale_rewards=True, reward_clip=1.5, missing_eos_penalty=0.25)
    found = shaped(np.array([1.0, 3.0, 9.0]), np.array([True, False, True]), moments, args)
    assert found.tolist() == [0.0, 0.75, 1.5]
    plain = shaped(np.array([1.0, 9.0]), np.array([True, False]), moments, PPOConfig())
    assert plain.tolist() == [1.0, 9.0]


def test_the_kl_coefficient_moves_towards_its_target_by_bounded_steps():
    args = PPOConfig(kl_target=4.0, kl_horizon=1000, batch_size=100, num_mini_batches=1)
    assert adapted(0.1, 4.0, args) == 0.1
    assert adapted(0.1, 40.0, args) == pytest.approx(0.1 * 1.02)
    assert adapted(0.1, 3.8, args) == pytest.approx(0.1 * (1 - 0.05 * 0.1))
    assert adapted(0.1, 40.0, PPOConfig()) == 0.1


def test_prompts_are_dealt_once_a_pass_and_by_seed_and_step_alone():
    steps = [dealt(10, 4, step, seed=1) for step in range(5)]
    everything = [index for step in steps for index in step]
    assert sorted(everything[:10]) == sorted(everything[10:]) == list(range(10))
    assert everything[:10] != everything[10:]
    assert dealt(10, 4, 3, seed=1) == steps[3] != dealt(10, 4, 3, seed=2)
    assert sorted(dealt(2, 6, 0, seed=0)) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"batch_size": 30}, "cannot be cut into num_mini_batches = 4"),
        ({"total_episodes": 32}, "less than one step of batch_size = 64"),
        ({"kl_horizon": 100}, "without effect unless kl_target"),
        ({"kl_target": 3.0, "kl_coef": 0.0}, "kl_coef = 0 would stay 0"),
        ({"gamma": 1.5}, "less than or equal to 1"),
        ({"klcoef": 0.1}, "Unexpected keyword"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        PPOConfig(**keys)


def test_a_reward_that_never_varies_is_refused_after_a_few_steps():
    moments = Moments()
    moments.update(np.full(8, 0.1))
    moments.check_varies(1, last=False)
    with pytest.raises(UserError, match=r"the reward is constant: 0.1 for each of 8 answers"):
        moments.check_varies(3, last=False)
    moments.update(np.array([0.2]))
    moments.check_varies(4, last=False)
