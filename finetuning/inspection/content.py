"""一段对话里有没有不该有的：空回答、没填的占位符、乱码、对话标记、网页标签、拒答、外文的回答、个人信息。"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import ftfy.badness

from finetuning.conversations import Conversation, Message
from finetuning.inspection.personal import PERSONAL_KINDS, find_personal


class Seen(NamedTuple):
    """看到的一处。"""

    kind: str
    text: str  # 所在的文字
    start: int
    end: int


# 只有这些的回答，等于没有答。“没有”“不知道”常常是真的答案，不算。
_NOTHING = frozenset(
    {
        *("无", "暂无", "略", "空", "待补充", "待定", "待填写", "缺失", "无内容", "无输出", "无答案"),
        *("none", "null", "nil", "nan", "n/a", "na", "undefined", "empty", "todo", "tbd", "<noinput>", "<nooutput>"),
    }
)
_TRIMMED = " \t\r\n。．.，,！!、;；:：\"'“”‘’()（）[]【】*`-—_…"
# 问题的最后一行只有空占位：input 是“无”的 Alpaca 数据，接在了问题后面。
_EMPTY_INPUT = re.compile(r"\n\s*(?:<?no ?input>?|无输入|无|none|n/a|null|nan)\s*[。.]?\s*$", re.IGNORECASE)

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"\{\{\s*[\w.\u4e00-\u9fff -]{1,40}\s*\}\}|\{%-?\s*\w+[^%\n]{0,60}%\}|\$\{[A-Za-z_]\w{0,30}\}"
    r"|\{(?:instruction|input|output|question|answer|query|response|prompt|context|history|name|user)\}",
    re.IGNORECASE,
)
_CONTROL = re.compile(
    r"<\|[A-Za-z][\w ./-]{0,30}\|>|<｜[^｜<>\n]{1,30}｜>|\[/?INST\]|<</?SYS>>|</?s>(?!\w)|<(?:start|end)_of_turn>"
    r"|<(?:bos|eos|pad|unk)>|\[(?:gMASK|PAD|UNK|CLS|SEP|MASK)\]|<reserved_\d+>|<_(?:user|bot|end)>"
)
_MARKUP = re.compile(
    r"</?(?:div|p|br|span|img|table|tbody|td|tr|th|ul|ol|li|h[1-6]|script|style|strong|em|font|html|body|head|section"
    r"|iframe|input|form|sup|sub|center|blockquote)(?:\s[^<>]{0,200})?/?>|<a\s[^<>]*href[^<>]*>|</a>"
    r"|&(?:nbsp|lt|gt|amp|quot|ldquo|rdquo|hellip|mdash|middot|#\d{2,5}|#x[0-9a-f]{2,4});",
    re.IGNORECASE,
)
# 说到这些的，标签、占位符、外文都可能正是要的。
_ABOUT_CODE = re.compile(
    r"html|xml|css|vue|jsx?\b|javascript|typescript|jinja|django|flask|react|angular|markdown|svg|网页|前端|标签|代码|编程|程序|脚本|函数|"
    r"模板|python|java|sql|正则|c\+\+|\bcode\b|\btemplate\b|占位符|爬虫|token|分词|shell|bash|linux|命令|latex|json|yaml|api",
    re.IGNORECASE,
)
_ABOUT_LANGUAGE = re.compile(
    r"翻译|译[成为]|译文|英[文语译]|中译|外文|外语|[日法德俄韩]语|[日法德俄韩]文|西班牙|葡萄牙|意大利|阿拉伯|越南|泰[语文]|拉丁|单词|词汇|语法|"
    r"字母|缩写|拼写|拼音|邮箱|网址|链接|域名|用户名|密码|translat|english|french|spanish|german|japanese|korean|sentence",
    re.IGNORECASE,
)

# 乱码：替换符；“锟斤拷”等；UTF-8 被当作 Latin-1 读（ftfy 认得）；UTF-8 被当作 GBK 读。
_BROKEN = re.compile(r"\ufffd|锟斤拷|斤拷锟|烫烫烫|屯屯屯|\\u[4-9][0-9a-fA-F]{3}\\u[4-9][0-9a-fA-F]{3}")
_HIGH_LATIN = re.compile(r"[\u0080-\u00a7\u00a9-\u00af\u00b8-\u024f]")
_READ_AS_GBK = re.compile(r"[锛銆鐨鏄涓浣鍦鏈鎴浠鍙]")
_RUN = re.compile(r"[^\x00-\x7f]{4,}")

_APOLOGY = re.compile(
    r".{0,4}?(?:抱歉|对不起|不好意思|遗憾)[^\n。！]{0,40}?"
    r"(?:无法|不能|没有?办法|不便(?:回答|透露|提供|评论)|不支持|不可以|做不到|没有能力)"
    r"|(?:I'm|I am) sorry,? (?:but )?I (?:can(?:['’]t|not)|am unable)|I can(?:['’]t|not) (?:assist|help|fulfill)",
    re.IGNORECASE,
)
_AS_AN_AI = re.compile(
    r"作为(?:一?[个名款]|一)?[^，。\n]{0,12}?(?:AI|人工智能|语言模型|智能助手|机器人|虚拟助手)[^\n]{0,30}?"
    r"(?:无法|不能|没有|不会|不具备|不便)"
    r"|我(?:是|只是)一?[个名][^，。\n]{0,10}?(?:AI|人工智能|语言模型)[^\n]{0,20}?(?:无法|不能|没有|不会|不具备)"
    r"|As an? (?:AI|artificial)[^\n]{0,40}?(?:can(?:['’]t|not)|unable|don['’]t)",
    re.IGNORECASE,
)
_REFUSES_WITHIN = 120
_IDENTITY = re.compile(
    r"我(?:是|叫)(?:一个|一款|由)?[^，。！\n]{0,16}?(?:ChatGPT|GPT-?[345]|OpenAI|Claude|Anthropic|Gemini|Bard|文心一言|通义千问|讯飞星火"
    r"|ChatGLM|智谱|豆包|DeepSeek|Kimi|混元)|由\s?(?:OpenAI|Anthropic|Google|谷歌|百度|阿里|字节|腾讯|智谱|深度求索)[^，。\n]{0,8}?"
    r"(?:开发|训练|创建|研发)的?[^，。\n]{0,6}?(?:语言模型|模型|助手|人工智能)"
)

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_LETTERS = re.compile(r"[^\W\d_]")
_KANA_OR_HANGUL = re.compile(r"[\u3041-\u30ff\uac00-\ud7af]")
_FEWEST_LETTERS = 40  # 外文的回答至少有这么多字母：人名、术语、单词不算
_CHINESE_SHARE = 0.1
# 代码、算式、表格里才多的符号；占到这么多，就不是外文的话
_SYMBOLS = re.compile(r"[_(){}\[\]<>=+*/\\|&#@;~^%$]")
_SYMBOL_SHARE = 0.05

# 一个也没有的，不必一样一样地找。
_SUSPICIOUS = re.compile(
    r"[{<\[&\\\ufffd\u0080-\u00a7\u00a9-\u00af\u00b8-\u024f锛銆鐨鏄涓浣鍦鏈鎴浠鍙]|锟斤|斤拷|烫烫|屯屯|\$\{|<｜"
)

KINDS = (
    *("empty_answer", "empty_input", "placeholder", "control_token", "mojibake", "markup", "refusal", "identity"),
    *("not_chinese", *PERSONAL_KINDS),
)


def texts_of(message: Message) -> list[str]:
    """一条消息里人写的文字：内容、思考、工具调用的参数。"""
    texts = [message["content"]] if message["content"] else []
    if "reasoning" in message:
        texts.append(message["reasoning"])
    for call in message.get("tool_calls", ()):
        texts += [text for text in _strings(call["arguments"]) if text]
    return texts


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
    elif isinstance(value, int):
        yield str(value)


def has_chinese(text: str) -> bool:
    """有没有一个汉字。"""
    return _CHINESE.search(text) is not None


def look(conversation: Conversation, control: re.Pattern[str]) -> list[Seen]:
    """一段对话里看到的，每一种只记第一处；个人信息每一处都记。

    Args:
        control: 分词器自己的控制 token。
    """
    found: list[Seen] = []
    questions = [message for message in conversation if message["role"] == "user"]
    for message in questions:
        if match := _EMPTY_INPUT.search(message["content"]):
            found.append(Seen("empty_input", message["content"], *match.span()))
            break
    asked = "\n".join(message["content"] for message in questions)
    for message in conversation:
        if message["role"] == "assistant" and message.get("learnt", True) and message["content"]:
            found += _about_answer(message["content"], asked)
    for message in conversation:
        for text in texts_of(message):
            if _SUSPICIOUS.search(text) or control.search(text):
                found += _inside(text, asked, control)
            found += [Seen(kind, text, start, end) for kind, start, end in find_personal(text)]
    first: dict[str, Seen] = {}
    for each in found:
        first.setdefault(each.kind, each)
    return [each for each in found if each.kind in PERSONAL_KINDS or first[each.kind] is each]


def _about_answer(answer: str, asked: str) -> Iterable[Seen]:
    trimmed = answer.strip(_TRIMMED)
    if len(trimmed) <= 10 and (trimmed.lower() in _NOTHING or not trimmed):
        yield Seen("empty_answer", answer, 0, len(answer))
        return
    if match := _APOLOGY.match(answer) or _AS_AN_AI.search(answer, 0, _REFUSES_WITHIN):
        yield Seen("refusal", answer, *match.span())
    if match := _IDENTITY.search(answer):
        yield Seen("identity", answer, *match.span())
    if _is_foreign(answer) and has_chinese(asked) and not _ABOUT_LANGUAGE.search(asked):
        symbols = len(_SYMBOLS.findall(answer))
        wants_code = _ABOUT_CODE.search(asked) or symbols > _SYMBOL_SHARE * len(answer)
        if not wants_code and not _is_foreign(asked[-200:]):
            yield Seen("not_chinese", answer, 0, len(answer))


def _is_foreign(text: str) -> bool:
    """主要不是汉字，字母又足够多。"""
    if len(text.encode()) - len(text) > len(text):  # 一个汉字三个字节：一半以上是汉字（或假名）
        if not _KANA_OR_HANGUL.search(text):
            return False
        return len(_KANA_OR_HANGUL.findall(text)) > max(_FEWEST_LETTERS / 2, len(_CHINESE.findall(text)))
    letters = len(_LETTERS.findall(text))
    return letters >= _FEWEST_LETTERS and len(_CHINESE.findall(text)) < _CHINESE_SHARE * letters


def _inside(text: str, asked: str, control: re.Pattern[str]) -> Iterable[Seen]:
    """文字里混进来的东西；代码里的、问的就是它们的，不算。"""
    if place := _mojibake(text):
        yield Seen("mojibake", text, *place)
    prose = _CODE.sub(lambda found: " " * len(found.group()), text) if "`" in text else text
    match = control.search(prose) or _CONTROL.search(prose)
    about_code = _ABOUT_CODE.search(asked) is not None
    if match and not (about_code and match.group() in ("<s>", "</s>", "<pad>", "<unk>")):
        yield Seen("control_token", text, *match.span())
    if about_code:
        return
    if match := _PLACEHOLDER.search(prose):
        yield Seen("placeholder", text, *match.span())
    if match := _MARKUP.search(prose):
        yield Seen("markup", text, *match.span())


def _mojibake(text: str) -> tuple[int, int] | None:
    if match := _BROKEN.search(text):
        return match.span()
    if (match := _HIGH_LATIN.search(text)) and ftfy.badness.is_bad(text):
        return match.span()
    if _READ_AS_GBK.search(text):
        for match in _RUN.finditer(text):
            if _was_read_as_gbk(match.group()):
                return match.span()
    return None


def _was_read_as_gbk(run: str) -> bool:
    """照 GBK 写回字节，正好是 UTF-8 的：它原来是 UTF-8。末尾可能缺了半个字。"""
    data = run.encode("gb18030", "ignore")
    decoded = data.decode("utf-8", "ignore")
    wrong = len(data) - len(decoded.encode())
    return len(decoded) >= 2 and wrong <= max(1, len(data) // 10) and len(_CHINESE.findall(decoded)) >= 2
