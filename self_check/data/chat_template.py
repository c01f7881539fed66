"""渲染对话模板（chat template），并给出 ``{% generation %}`` 圈出的部分；与 transformers 的结果相同。"""

from functools import cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MARK = "\0"  # 圈出的部分前后各放一个；对话里不会有 NUL


class _Generation(Extension):
    """``{% generation %}…{% endgeneration %}``：assistant 生成的部分。"""

    tags = {"generation"}  # noqa: RUF012  jinja2 规定的类属性

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Macro) -> str:
        return _MARK + caller() + _MARK


@cache
def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(source)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def render(source: str, **variables: Any) -> tuple[str, list[tuple[int, int]]]:
    """渲染模板。

    Returns:
        全文，和 ``{% generation %}`` 圈出的各部分在全文里的 (开始, 结束) 位置。
    """
    pieces = _compile(source).render(**variables).split(_MARK)  # 圈外、圈内、圈外、……
    spans, position = [], 0
    for index, piece in enumerate(pieces):
        if index % 2:
            spans.append((position, position + len(piece)))
        position += len(piece)
    return "".join(pieces), spans
