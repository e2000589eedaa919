from dataclasses import replace

import pytest

from keras_resnet.recipes import RECIPES
from keras_resnet.training.schedules import PLATEAU_PATIENCE, Schedule


def schedule(name: str, total: int = 64_000, per_epoch: int = 391, depth: int = 20, **changes) -> Schedule:
    recipe = replace(RECIPES[name], **changes)
    return Schedule(recipe, total_steps=total, steps_per_epoch=per_epoch, depth=depth)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)],
)
def test_cifar_paper_drops_at_32k_and_48k(step, rate):
    assert schedule("cifar-paper").rate(step) == pytest.approx(rate)


def test_110_layers_start_slowly_until_training_error_is_below_80_percent():
    deep = schedule("cifar-paper", depth=110)
    assert deep.rate(0) == 0.01
    deep.observe_training(85.0)
    assert deep.watching and deep.rate(400) == 0.01
    deep.observe_training(79.9)
    assert not deep.watching and deep.rate(400) == pytest.approx(0.1)
    assert not schedule("cifar-paper", depth=56).watching


def test_imagenet_90_warms_up_and_scales_with_the_batch():
    per_epoch, total = 100, 9000
    linear = schedule("imagenet-90", total, per_epoch, batch_size=1024)
    assert linear.rate(0) == pytest.approx(0.4 / 500)
    assert linear.rate(499) == pytest.approx(0.4)
    assert [linear.rate(epoch * per_epoch) for epoch in (29, 30, 60, 80)] == pytest.approx(
        [0.4, 0.04, 0.004, 0.0004]
    )


def test_plateau_divides_by_ten_after_patience_runs_out():
    paper = schedule("imagenet-paper")
    paper.observe_validation(50.0)
    for _ in range(PLATEAU_PATIENCE):
        assert paper.rate(10) == pytest.approx(0.1)
        paper.observe_validation(50.0)
    assert paper.rate(10) == pytest.approx(0.01)
    paper.observe_validation(40.0)
    assert paper.rate(10) == pytest.approx(0.01)


def test_plateau_state_survives_a_checkpoint():
    first, second = schedule("imagenet-paper"), schedule("imagenet-paper")
    for error in (50.0, *[49.99] * PLATEAU_PATIENCE):
        first.observe_validation(error)
    second.state.update(first.state)
    assert second.rate(0) == first.rate(0) == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["cifar-fast", "digits", "modern", "finetune"])
def test_smooth_schedules_rise_then_fall_and_stay_positive(name):
    total = 1000
    rates = [schedule(name, total, 50).rate(step) for step in range(total)]
    top = rates.index(max(rates))
    assert all(rate > 0 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02 * max(rates)
