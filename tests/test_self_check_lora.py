"""TODO 2 的检查：动物园里的错误写法都得到应得的诊断，正确的都通过；少了任何一项检查，都有错误漏网。"""

import ast
import dataclasses
import difflib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from zoo.lora_right import RIGHT
from zoo.lora_wrong import WRONG

import lora_exercise
import lora_solution
import self_check
from self_check.lora.exercise import LORA
from self_check.lora.messages import EXPLANATIONS
from self_check.rendering import render_diagnosis
from self_check.runner import run_suite
from self_check.text import display_width

ROOT = Path(__file__).parents[1]

SLUGS = {
    *("not_implemented", "base_not_frozen", "bias_not_frozen", "not_a_parameter", "wrong_shape", "a_is_zero"),
    *("b_not_zero", "init_swapped", "not_gaussian", "scaling_missing", "scaling_inverted", "lora_branch_missing"),
    *("original_missing", "bias_lost", "base_modified", "no_gradient", "wrong_dtype_or_device", "input_mutated"),
    *("raises", "wrong_output"),
}


@cache
def check(lora_class):
    return run_suite(LORA, lora_class)


def diagnose(lora_class):
    return check(lora_class).diagnosis


# ----------------------------------------------------------------------------------------------------------------------
# 动物园


@pytest.mark.parametrize(("slug", "lora_class"), WRONG, ids=[f"{slug}-{cls.__name__}" for slug, cls in WRONG])
def test_wrong_solution_gets_its_diagnosis(slug, lora_class):
    diagnosis = diagnose(lora_class)
    assert diagnosis is not None, "没有查出来"
    assert diagnosis.slug == slug, diagnosis


@pytest.mark.parametrize("lora_class", RIGHT, ids=lambda lora_class: lora_class.__name__)
def test_right_solution_passes(lora_class):
    assert diagnose(lora_class) is None


def test_the_zoo_covers_every_diagnosis():
    assert {slug for slug, _ in WRONG} == SLUGS == set(EXPLANATIONS)


@pytest.mark.parametrize("removed", range(len(LORA.checks)), ids=[name for name, _ in LORA.checks])
def test_removing_any_check_loses_a_diagnosis(removed):
    blind = dataclasses.replace(LORA, checks=LORA.checks[:removed] + LORA.checks[removed + 1 :])
    found_by_it = [(slug, cls) for slug, cls in WRONG if check(cls).results[removed].diagnosis]
    assert any(slug_found_by(blind, cls) != slug for slug, cls in found_by_it)


def slug_found_by(exercise, lora_class):
    """诊断的代号；少了前面的检查，后面的检查自己可能出错，那也是没有诊断。"""
    try:
        diagnosis = run_suite(exercise, lora_class).diagnosis
    except Exception:
        return None
    return diagnosis and diagnosis.slug


@pytest.mark.parametrize("lora_class", [cls for _, cls in WRONG], ids=lambda cls: cls.__name__)
def test_message_has_four_parts_and_fits_the_terminal(lora_class):
    diagnosis = diagnose(lora_class)
    assert all((diagnosis.called, diagnosis.came, diagnosis.likely, diagnosis.look))
    # 引用的报错和学习者的那行代码，多长都行。
    has_quote = "抛出了" in diagnosis.came or diagnosis.slug == "not_implemented"
    quoted = {line.strip() for line in diagnosis.came.splitlines()} if has_quote else set()
    for line in render_diagnosis(diagnosis).splitlines():
        assert display_width(line) <= 80 or line.strip() in quoted, line


def test_each_diagnosis_has_its_own_explanation():
    assert len({likely for likely, _ in EXPLANATIONS.values()}) == len(EXPLANATIONS)


# ----------------------------------------------------------------------------------------------------------------------
# 诊断说了什么


def with_forward(forward):
    """参考答案，换上另一个 forward。"""
    return type("LoRALinear", (lora_solution.LoRALinear,), {"forward": forward})


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (lambda r, alpha: alpha / r * 3, "7.5"),
        (lambda r, alpha: alpha / r**0.5, "rsLoRA"),
        (lambda r, alpha: (alpha / r) ** 2, "两次"),
        (lambda r, alpha: alpha, "没有除以 r"),
        (lambda r, alpha: alpha // r, "整除"),
    ],
)
def test_a_wrong_scaling_is_measured(factor, words):
    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * factor(self.r, self.alpha)

    assert words in diagnose(with_forward(forward)).likely


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "StdOne": "忘了除以 √in_features",
        "TimesTheRoot": "倍，太大了",
        "StdTakenForTheMean": "标准差要写 std=",
        "SameSeedInEveryLayer": "manual_seed",
        "HalfOfTheColumnsAreZero": "一大部分不是随机数",
        "KeepsOnlyTheScaling": "layer.r\n  应为  4\n  实际  （没有）",
        "AlphaBecomesTheScaling": "layer.alpha\n  应为  10\n  实际  2.5",
        "RankForgotten": "layer.r\n  应为  4\n  实际  1",
        "OwnMergeReturnsTheWeight": "应当是 nn.Linear",
        "OwnMergeWithoutScaling": "合并得到的权重",
        "MergesIntoTheOriginal": "layer.merge()",
        "HookOnTheOriginal": "hook",
        "ReplacesTheForwardOfTheOriginal": "forward",
        "MergesAtEval": "在 eval() 时合并",
        "HalvesTheOriginal": "应为  torch.float32\n  实际  torch.float16",
        "PropertyOverAnotherName": "登记的名字却是 down",
        "InAParameterDict": "登记的名字却是 factors.A",
        "TwoLinearModules": "lora_A.weight",
        "OtherNames": "名字写错了",
        "OriginalInAList": "不在 layer.modules() 里",
        "OriginalBehindSetattr": "不在 layer.modules() 里",
        "OwnCopyOfTheWeight": "to(torch.float64)",
        "OutputCachedByShape": "记住了以前算过的东西",
        "ProductCachedAtEval": "记住了以前算过的东西",
        "SharedByAlpha": "两层共用",
        "LittleDropout": "dropout",
        "TurnsOffTheGradientOfTheInput": "requires_grad",
        "FreezesItselfAtEval": "lora_A 被冻结了",
        "ViewsTheInput": "reshape",
        "BatchedProduct": "torch.bmm 只接受三维",
        "TrainWithoutMode": "请把 def 那一行改回",
        "ExpandedB": "clone()",
        "MadeInInferenceMode": "inference_mode",
        "LazyFactors": "还没有形状",
        "ForwardWantsTheScaling": "forward 的参数是",
        "Exits": "sys.exit()",
        "SkipsTheBranchWhileItIsZero": "B 还是零的时候，支路也要算",
        "LambdaOverSelf": "记着拷贝之前的 self",
        "ScalingNotMoved": "没有跟着转换",
        "InPlaceWithoutGradients": "no_grad",
    }.items(),
)
def test_the_text_fits_the_mistake(name, says):
    diagnosis = diagnose(next(cls for _, cls in WRONG if cls.__name__ == name))
    assert says in "\n".join((diagnosis.called, diagnosis.came, diagnosis.likely))


@pytest.mark.parametrize(("factor", "passes"), [(0.0001, True), (1, True), (4, True), (8, False), (500, False)])
def test_only_a_harmful_scale_of_a_is_flagged(factor, passes):
    class Scaled(lora_solution.LoRALinear):
        def __init__(self, original_layer, r=8, alpha=16):
            super().__init__(original_layer, r, alpha)
            self.lora_A.data.mul_(factor)

    found = diagnose(Scaled)
    assert (found is None) == passes
    assert passes or found.slug == "not_gaussian"


def test_an_error_shows_the_learners_line():
    def forward(self, x):
        return self.original(x) + x @ self.lora_B @ self.lora_A

    diagnosis = diagnose(with_forward(forward))
    assert diagnosis.slug == "raises"
    assert "return self.original(x) + x @ self.lora_B @ self.lora_A" in diagnosis.came
    assert "形状接不上" in diagnosis.likely


def test_an_error_in_backward_is_explained():
    def forward(self, x):
        factor = torch.sigmoid(self.lora_A)
        y = self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r) + 0 * factor.sum()
        factor.mul_(2)
        return y

    diagnosis = diagnose(with_forward(forward))
    assert diagnosis.slug == "raises"
    assert "就地修改" in diagnosis.likely


@pytest.mark.parametrize("name", ["__init__", "forward"])
def test_a_missing_method_is_not_implemented(name):
    methods = {"__init__": lora_solution.LoRALinear.__init__, "forward": lora_solution.LoRALinear.forward}
    del methods[name]
    diagnosis = diagnose(type("LoRALinear", (nn.Module,), methods))
    assert (diagnosis.slug, name in diagnosis.came) == ("not_implemented", True)


def test_a_module_without_the_class_is_not_implemented():
    assert run_suite(LORA, ast).diagnosis.slug == "not_implemented"


def test_checking_leaves_the_random_state_and_the_torch_settings_alone():
    before = torch.get_rng_state()
    assert run_suite(LORA, lora_solution).passed
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.is_grad_enabled()


# ----------------------------------------------------------------------------------------------------------------------
# 练习与参考答案


def test_exercise_and_solution_differ_only_in_the_todo():
    exercise, solution = ((ROOT / f"lora_{kind}.py").read_text(encoding="utf-8") for kind in ("exercise", "solution"))
    allowed = set(range(ast.parse(solution).body[0].end_lineno))  # 模块的说明
    for node in ast.walk(ast.parse(solution)):
        if isinstance(node, ast.ClassDef) and node.name == "LoRALinear":
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name in ("__init__", "forward"):
                    allowed |= set(range(method.body[0].end_lineno, method.end_lineno))
    for tag, start, end, _, _ in difflib.SequenceMatcher(
        None, solution.splitlines(), exercise.splitlines(), autojunk=False
    ).get_opcodes():
        assert tag == "equal" or set(range(start, end)) <= allowed, solution.splitlines()[start:end]
    assert exercise.count("raise NotImplementedError") == 2


def test_unsolved_exercise_is_not_implemented_and_the_solution_passes():
    assert run_suite(LORA, lora_exercise).diagnosis.slug == "not_implemented"
    assert run_suite(LORA, lora_solution).passed


def test_the_given_functions_work_with_a_learners_class(monkeypatch):
    """练习里给好的 apply_lora、merge 等，用学习者的 LoRALinear。"""
    monkeypatch.setattr(lora_exercise.LoRALinear, "__init__", initialize)
    monkeypatch.setattr(lora_exercise.LoRALinear, "forward", lora_solution.LoRALinear.forward)
    model = lora_exercise.apply_lora(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), ["0", "2"], r=2)
    nn.init.normal_(model[0].lora_B)
    x = torch.randn(5, 4)
    y = model(x)
    assert len(lora_exercise.lora_state_dict(model)) == 4
    torch.testing.assert_close(lora_exercise.merge(model)(x), y)
    assert type(model[0]) is nn.Linear


def initialize(self, original_layer, r=8, alpha=16):
    nn.Module.__init__(self)
    self.r, self.alpha = r, alpha
    self.original = original_layer.requires_grad_(False)
    self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
    self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))


@pytest.mark.parametrize(("file", "code", "slug"), [("exercise", 1, "not_implemented"), ("solution", 0, None)])
def test_command_line(file, code, slug):
    command = [sys.executable, str(ROOT / f"lora_{file}.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (code, "")
    result = json.loads(done.stdout)
    assert (result["passed"], result["diagnosis"]) == (code == 0, slug)


def test_check_lora_prints_a_report(capsys):
    assert self_check.check_lora(lora_solution)
    assert "全部通过" in capsys.readouterr().out
    assert not self_check.check_lora(lora_exercise)
    assert "__init__" in capsys.readouterr().out


def test_hints_do_not_contain_the_answer():
    text = "\n".join(LORA.hints)
    assert len(LORA.hints) == 3
    assert not any(code in text for code in ("requires_grad_(", "torch.zeros", "torch.randn", "alpha / r", " @ "))
