"""比较用的程序：量的是同样的训练，比值算得对。TRL 不在测试的环境里，不在这里运行。"""

from dataclasses import replace

import pytest
from toy_models import save_toy

from benchmarks.initial_scale import CASES as SCALES
from benchmarks.initial_scale import dev_loss
from benchmarks.training import CASES, parse_arguments, ratios, seconds_per_1000, to_markdown
from benchmarks.worker import Spec, measure, run


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return Spec("ours", str(save_toy(tmp_path_factory.mktemp("toy"))), steps=3, batch_size=4, learning_rate=1e-3)


@pytest.mark.parametrize("lora", [False, True])
def test_both_train_the_same(spec, lora):
    ours, padded = (measure(replace(spec, contender=name, lora=lora)) for name in ("ours", "padded"))
    assert ours["loss"] == pytest.approx(padded["loss"], abs=1e-5)
    assert len(set(ours["loss"])) == 3, "每一步都学到了东西"
    assert ours["real_tokens"] == padded["real_tokens"]
    assert padded["padding_share"] > 0.2 > ours["padding_share"]
    assert ours["trainable_parameters"] == padded["trainable_parameters"]


def test_a_run_in_its_own_process(spec):
    result = run(replace(spec, steps=2))
    assert result["cpu_seconds"] > 0
    assert result["peak_memory_mb"] > 0
    assert len(result["loss"]) == 2


def test_a_failing_run_is_not_a_number(spec):
    with pytest.raises(RuntimeError, match="没有测完"):
        run(replace(spec, model="没有这个目录"))


def test_ratios_by_hand(monkeypatch):
    """两轮：别人每 1,000 个 token 用 4 秒和 9 秒，我们用 2 秒和 3 秒。"""

    def result(seconds: float, memory: float) -> dict[str, float]:
        return {"cpu_seconds": seconds, "real_tokens": 500, "peak_memory_mb": memory, "padding_share": 0.0}

    measured = {case: [result(2.0, 100), result(4.5, 100)] for case in CASES}
    measured["ours", True] = measured["ours", False] = [result(1.0, 50), result(1.5, 50)]
    assert [seconds_per_1000(one, "cpu") for one in measured["ours", True]] == [2.0, 3.0]
    assert ratios(measured, ("trl", True), ("ours", True), "cpu") == [2.0, 3.0]
    monkeypatch.setattr("sys.argv", ["training"])
    table = to_markdown("标题", measured, 1e-6, parse_arguments())
    assert "2.50（2.00–3.00） | 0.50 |" in table


def test_the_initial_scale_of_a_is_measured_on_the_real_path():
    assert 0 < dev_loss(SCALES["1 倍"], seed=0, steps=1) < 3


def test_help_names_every_option(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["training", "--help"])
    with pytest.raises(SystemExit):
        parse_arguments()
    assert "--equality_steps" in capsys.readouterr().out
