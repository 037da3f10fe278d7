"""Training the small picture model, on few pictures with an even smaller one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from deployments.painting.emoji import EMOJI, NamedPicture
from deployments.painting.training import Lessons, Training
from deployments.painting.transformer import EmojiFlowTransformer
from serve.cli.__main__ import main
from serve.registry.catalog import CPU_CATALOG

# torch and diffusers warn about themselves while they load and run.
pytestmark = pytest.mark.filterwarnings("ignore")

_HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # As in training: several would wait for each other on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _silent(_text: str) -> None:
    return


def _training(*, seed: int = 0) -> Training:
    torch.manual_seed(seed)
    model = EmojiFlowTransformer(
        sample_size=16, patch_size=4, hidden_size=32, num_layers=2, sentence_dim=8
    )
    colours = torch.linspace(-1, 1, 4)[:, None, None, None]
    lessons = Lessons(
        pictures=colours.expand(4, 3, 16, 16).contiguous(),
        sentences=torch.eye(8)[:4, None],
        mirrors=torch.tensor([True, False, True, False]),
    )
    return Training(model, lessons, batch_size=8, seed=0)


def test_it_learns_what_the_words_mean() -> None:
    training = _training()
    losses = [float(training.step(0.0)) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 2


def test_it_goes_on_where_it_left_off(tmp_path: Path) -> None:
    whole = _training()
    for _ in range(6):
        whole.step(0.5)
    first = _training()
    for _ in range(3):
        first.step(0.5)
    first.seconds = _HOUR_S
    first.save(tmp_path)
    second = _training(seed=9)
    second.restore(tmp_path)
    assert (second.steps, second.seconds) == (3, _HOUR_S)
    for _ in range(3):
        second.step(0.5)
    for name, parameter in whole.average.state_dict().items():
        assert torch.equal(parameter, second.average.state_dict()[name]), name


def test_nothing_to_go_on_with_is_a_beginning(tmp_path: Path) -> None:
    training = _training()
    training.restore(tmp_path)
    assert training.steps == 0


def test_its_time_is_that_of_all_runs_together(tmp_path: Path) -> None:
    training = _training()
    training.seconds = _HOUR_S - 1e-6
    training.train(_HOUR_S, tmp_path, _silent, save_every_s=1e-9)
    assert training.steps == 1
    again = _training()
    again.restore(tmp_path)
    again.train(_HOUR_S, tmp_path, _silent, save_every_s=1.0)
    assert again.steps == 1


def test_weights_are_saved_as_diffusers_has_them(tmp_path: Path) -> None:
    training = _training()
    training.save(tmp_path)
    loaded = EmojiFlowTransformer.from_pretrained(
        tmp_path / "transformer", torch_dtype=torch.float32, low_cpu_mem_usage=False
    )
    for name, parameter in training.average.state_dict().items():
        assert torch.equal(parameter.bfloat16().float(), loaded.state_dict()[name]), name
    FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "scheduler").set_timesteps(4)


def test_one_name_in_twenty_is_held_out_always_the_same() -> None:
    def held_out(name: str) -> bool:
        return NamedPicture(
            names=(name,), category="Objects", pixels=torch.zeros(1).numpy()
        ).is_held_out

    names = [f"thing {number}" for number in range(1000)]
    assert 30 <= sum(map(held_out, names)) <= 70
    assert [held_out(name) for name in names] == [held_out(name) for name in names]


def test_its_pictures_are_pinned_and_openly_licensed() -> None:
    assert len(EMOJI.sha256) == 64
    assert "Apache-2.0" in EMOJI.licence
    assert "Apache-2.0" in CPU_CATALOG.get("emoji-flow").licence


def test_the_command_hands_over_to_the_training(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "another-model"]) == 2
    assert "emoji-flow" in capfd.readouterr().err
