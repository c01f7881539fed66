"""学习者的代码抛出的异常 → 诊断：停在他的哪一行，多半为什么。"""

import linecache
import re
import traceback

from self_check.exercise import Specific
from self_check.location import display_name, look_at
from self_check.report import Diagnosis
from self_check.sandbox import ExitedAtOnce, Slept, TimeLimitExceeded
from self_check.text import cleaned

# “f() takes 1 positional argument but 2 were given”之类：调用时给的参数与定义的不同。
_ARGUMENTS = re.compile(r"positional argument|keyword argument|takes no arguments|multiple values for argument")


def explain_error(error: BaseException, source_file: str, called: str, specific: Specific | None = None) -> Diagnosis:
    """学习者的代码抛出的东西 → 诊断。

    调用栈里可以没有他的代码：参数对不上，或者他造出来的东西用不了，都是在我们用它的时候才出错。

    Args:
        source_file: 学习者的文件；调用栈里只有这个文件的行才给他看。
        called: 没有用 :func:`self_check.sandbox.calling` 说明时，“调用了什么”。
        specific: 这道练习自己的解释，见 :class:`self_check.exercise.Exercise`。
    """
    slug, came, likely = _explain(error, source_file, specific)
    return Diagnosis(slug, vars(error).get("called", called), came, likely, look_at(source_file))


def _explain(error: BaseException, source_file: str, specific: Specific | None) -> tuple[str, str, str]:
    """(代号, 发生了什么, 多半为什么)。"""
    if isinstance(error, SyntaxError) and error.filename == source_file:
        return "raises", *_unreadable(error, source_file)
    place = _place(error, source_file)
    if place is None:
        came, likely = _reason(error, "", specific)
        if isinstance(error, TypeError) and _ARGUMENTS.search(str(error)):
            likely = "参数的个数或名字与原来的不同，自查（和训练）就调用不了它；请把 def 那一行改回原来的样子。"
        return "raises", came, likely
    line, function = place
    code = _line_of(source_file, line)
    where = f"{display_name(source_file)} 第 {line} 行：\n    {code}"
    if isinstance(error, NotImplementedError):
        ending = "。" if function == "__init__" else "，并用 return 返回结果。"
        return "not_implemented", where, "如果已经写了，请删掉 raise NotImplementedError 这一行" + ending
    came, likely = _reason(error, code, specific)
    return "raises", f"{came}\n{where}", likely


def _unreadable(error: SyntaxError, source_file: str) -> tuple[str, str]:
    """文件不是合法的 Python。"""
    name = display_name(source_file)
    if "null byte" in str(error) or "encoding" in str(error) or "utf-8" in str(error).lower():
        return (
            f"{name} 读不出来（{cleaned(error.msg)}）",
            "文件多半不是 UTF-8 编码（例如存成了 UTF-16 或 GBK）：请用编辑器另存为 UTF-8。",
        )
    code = _line_of(source_file, error.lineno or 0)
    came = f"{name} 第 {error.lineno or '?'} 行有语法错误（{cleaned(error.msg)}）：\n    {code}"
    if "invalid character" in str(error):
        return came, "用了全角的标点（，：（）“”）：代码里的标点要用英文半角的。"
    return (
        came,
        "Python 读不懂这一行：看看括号、引号有没有配对，冒号有没有漏，缩进对不对；错的也可能是它的上一行。",
    )


def _place(error: BaseException, source_file: str) -> tuple[int, str] | None:
    """出错时学习者的代码走到了哪里：(行号, 函数的名字)。"""
    places = [
        (line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == source_file
    ]
    if not places and isinstance(error, TimeLimitExceeded) and error.line is not None:
        return error.line, ""
    return places[-1] if places else None


def _line_of(source_file: str, line: int) -> str:
    return cleaned(linecache.getline(source_file, line).strip())


def _reason(error: BaseException, code: str, specific: Specific | None) -> tuple[str, str]:
    """(发生了什么, 多半为什么)；``code`` 是学习者的那一行。"""
    try:
        message = cleaned(str(error))
    except Exception:  # 学习者自己的异常类，它的 __str__ 也可能出错
        message = ""
    name = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if type(error).__name__ == "BdbQuit" or re.search(r"\bbreakpoint\(|set_trace\(|post_mortem\(", code):
        return (
            "停在了断点上",
            "断点（breakpoint() 或 pdb）留在了代码里；自查时没有键盘输入，请删掉它，要看变量请用 print。",
        )
    if isinstance(error, Slept):
        return "代码在 sleep", "time.sleep 只是让程序停下来等，这道练习用不着，自查也不等；请删掉这一行。"
    if isinstance(error, ExitedAtOnce):
        return "程序要退出（os._exit）", "os._exit() 会让整个程序立刻结束。请用 return 返回结果，不要退出。"
    if isinstance(error, TimeLimitExceeded):
        return (
            "超过了时限，代码还没有运行完",
            "多半是死循环：while 的条件一直成立，或者一边遍历列表一边往它里面加东西。",
        )
    if isinstance(error, SystemExit):
        return f"程序要退出（{name}）", "代码里调用了 exit() 或 sys.exit()。请用 return 返回结果，不要退出整个程序。"
    if "should return None" in message:
        return f"抛出了 {name}", "__init__ 不返回东西：删掉它里面的 return。"
    if specific is not None and (known := specific(error, message, code)):
        return f"抛出了 {name}", known
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return f"抛出了 {name}", reason
    return f"抛出了 {name}", "请从这一行看起，可以在它前面加 print 看看各个变量。"


_REASONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (RecursionError, "函数一直在调用自己，没有停下的条件。"),
    (EOFError, "自查时没有键盘输入，不能用 input() 或 breakpoint()；要看变量请用 print。"),
    (KeyError, "字典里没有这个键。"),
    (UnicodeError, "文字的编码不对：字符串里有不能编码的字符。"),
    (IndexError, "下标超出了范围。"),
    (UnboundLocalError, "变量在赋值之前就用到了，多半是赋值写在了没有走到的 if 或循环里。"),
    (NameError, "这个名字没有定义，看看有没有写错，或者漏了 self.。"),
    (AttributeError, "对象没有这个属性，看看名字有没有写错，或者它其实是 None。"),
    (ImportError, "要导入的模块不在环境里；这道练习不需要另装什么。"),
    (TypeError, "类型对不上：例如列表与整数相加，或把 None、字典当成了列表。"),
    (ValueError, "值不合要求：例如在列表里找一个不存在的东西，或两个列表长度不同。"),
    (AssertionError, "你自己写的 assert 没有通过。"),
    (MemoryError, "内存不够，多半是列表在循环里越变越大。"),
)
