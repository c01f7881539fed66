"""TODO 1 的第一项检查：``_format_conversation(self, conversation)`` 还是原来的样子，调用得了。"""

import inspect
from typing import Any

from self_check.data.learner import Learner
from self_check.report import Diagnosis

_CALLED = "SFTDataset(…, tokenizer)._format_conversation(conversation)"
_ORIGINAL = "原来的样子是 def _format_conversation(self, conversation)；给定的 __init__ 就是这样调用它的。"


def check_signature(learner: Learner) -> Diagnosis | None:
    """是普通的方法，收下一段对话。"""
    method = learner.method()
    if not callable(method):
        came = f"_format_conversation 不是方法，取出来是 {type(method).__name__}"
        return _diagnose(learner, came, "多半是加了 @property：那样一写名字就会运行，没有地方传对话进去。" + _ORIGINAL)
    if inspect.iscoroutinefunction(method):
        likely = "async def 定义的是协程，调用它只得到一个协程，里面的代码还没有运行。去掉 async。"
        return _diagnose(learner, "_format_conversation 是 async def", likely)
    if inspect.isgeneratorfunction(method):
        likely = "函数里有 yield，调用它得到的是生成器，里面的代码还没有运行。用 return input_ids, labels。"
        return _diagnose(learner, "_format_conversation 是生成器函数（generator）", likely, slug="wrong_return_type")
    try:
        signature = inspect.signature(method)
        signature.bind([])
    except TypeError as error:
        return _diagnose(learner, *_explain(learner, error))
    except ValueError:  # 不是 Python 写的，看不出参数
        return None
    return None


def _explain(learner: Learner, error: TypeError) -> tuple[str, str]:
    """(得到了什么, 多半为什么)：参数与原来的不同。"""
    function: Any = inspect.getattr_static(learner.dataset_class, "_format_conversation")
    names = list(inspect.signature(getattr(function, "__func__", function)).parameters)
    came = f"参数是（{', '.join(names)}），这样调用会报错：{error}"
    if names and names[0] != "self" and len(names) == 1 and not isinstance(function, staticmethod):
        return came, "少了 self：类里的方法，第一个参数是它所在的对象。" + _ORIGINAL
    return (
        came,
        "参数多了或少了，别人就调用不了它；要用的东西从 self 上取（例如 self.tokenizer、self.chatml）。" + _ORIGINAL,
    )


def _diagnose(learner: Learner, came: str, likely: str, slug: str = "raises") -> Diagnosis:
    return Diagnosis(slug, _CALLED, came, likely, f"看 def _format_conversation 那一行。\n{learner.look}")
