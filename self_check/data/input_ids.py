"""TODO 1 的检查（二）：input_ids 是不是完整的 ChatML。"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from self_check.data.cases import IGNORE_INDEX, Case, Token
from self_check.data.drawing import draw_difference
from self_check.data.named_tokenizers import END, START, base_tokenizer
from self_check.data.trials import Trial
from self_check.report import Diagnosis


def check_input_ids(trials: Sequence[Trial]) -> Diagnosis | None:
    """input_ids 是完整的 ChatML。"""
    wrong = [(trial, ids) for trial in trials if (ids := _ids_without_bos(trial)) != trial.case.ids]
    if not wrong:
        return None
    trial, ids = wrong[0]
    return trial.diagnosis(
        "wrong_input_ids",
        draw_difference(trial, ids),
        (_same_omission_everywhere(wrong) or _ids_problem(trial, ids))
        + "训练时的 input_ids 与聊天时的格式不一样，模型学到的就用不上。",
        "对照文档字符串里的例子，看少了、多了或写错了哪一段；拼好后可以用 self.tokenizer.decode(input_ids) 看看。",
    )


def _ids_without_bos(trial: Trial) -> list[int]:
    return trial.ids[len(trial.case.tokenizer.bos) * trial.has_bos :]


def _same_omission_everywhere(wrong: Sequence[tuple[Trial, list[int]]]) -> str:
    """每一段不对的对话，漏掉的都是同样的东西：漏了什么。只看一段会看错，例如只有一问一答时，最后一条就是唯一的回答。"""
    for problem, keep in _OMISSIONS:
        if all(_keeps_only(trial, ids, keep) for trial, ids in wrong):
            return problem
    return ""


def _keeps_only(trial: Trial, ids: list[int], keep: Callable[[Token, int, int], bool]) -> bool:
    tokens = trial.case.tokens
    last, first_answer = tokens[-1].message, trial.answers()[0]
    return ids == [token.id for token in tokens if keep(token, last, first_answer)]


def _ids_problem(trial: Trial, ids: list[int]) -> str:
    """input_ids 错在哪里：逐个试常见的写法，看哪一种恰好得到同样的结果。"""
    tokenizer, full = trial.case.tokenizer, trial.case.ids
    eos = tokenizer.id("eos_token")
    if not ids:
        seen = (
            ""
            if trial.is_first
            else "前面的调用不是空的：多半是记住了见过的对话、把重复的略去了，或者用完了一个迭代器。"
        )
        return "input_ids 是空的。" + seen
    if IGNORE_INDEX in ids:
        return "input_ids 里出现了 -100：不学的位置只在 labels 里写 -100，input_ids 要保持完整，模型要看着问题回答。"
    if found := _wrong_tokenizer(trial, ids) or _merged(trial, ids):
        return found
    markers = [token.content for token in tokenizer.backend.get_added_tokens_decoder().values()]
    written = [marker for marker in markers for message in trial.case.conversation if marker in message["content"]]
    if written:
        return (
            f"内容里写的 {written[0]} 变成了真的标记：多半是把整段对话拼成一个字符串再分词，或内容没有按字面编码。"
            "这样，用户在问题里写一句 <|im_end|> 就能“伪造”一轮对话（注入）。内容要单独编码，标记的文字只按字面拆开："
            "用 self.chatml.encode(content)，"
            "或 self.tokenizer(content, add_special_tokens=False, split_special_tokens=True)。"
        )
    if found := _same_omission_everywhere([(trial, ids)]):
        return found
    replaced = [eos if token.kind == "end" else token.id for token in trial.case.tokens]
    if eos != tokenizer.id(END) and ids == replaced:
        return "结尾用了 eos_token 而不是 <|im_end|>，在这个分词器里它们不是同一个 token。"
    if ids[: len(full)] == full:
        extra = ids[len(full) :]
        if len(extra) > 1 and set(extra) == {tokenizer.id("pad_token")}:
            return "末尾补上了填充（padding）。填充是组成批次时的事，这里返回对话本来的长度。"
        if not trial.is_first and len(extra) > 2 and extra == full[-len(extra) :]:
            return _GROWN
        if extra == full[: len(extra)] and len(extra) > 3:
            if trial.is_first:
                return "后面又接了一遍：同样的内容写了两次，看看有没有多一层循环。"
            return "后面又接了一遍：变量多半没有在每次调用时清空（例如存在 self 上，或写成了默认参数）。"
        if extra[0] == tokenizer.id(START):
            return "末尾多了一个没有内容的 assistant 角色头（add_generation_prompt）：那是推理时才加的。"
        return "末尾多了 token：<|im_end|> 已经表示说完了，不用再加 eos_token 之类。"
    if tokenizer.bos and any(ids.count(bos) > 0 for bos in tokenizer.bos if bos not in full):
        following = ids[ids.index(eos) + 1 :][:1] if eos in ids else []
        if eos in tokenizer.bos and ids.count(eos) == 1 and following != [tokenizer.id(START)]:
            return (
                "多了 eos_token（在这个分词器里，它与 BOS 是同一个）：结尾是 <|im_end|> 和换行，"
                "不用再加它，也不要拿它来代替。"
            )
        return (
            "中间多了 BOS：每次调用 tokenizer(文字)，它都会在开头加上 BOS；加 add_special_tokens=False 就不加。"
            "（整段对话最前面的 BOS 由 __init__ 补上，不用管。）"
        )
    if len(ids) > len(full) and ids[-len(full) :] == full:
        extra = ids[: -len(full)]
        if "bos_token" in tokenizer.special_tokens and extra == [tokenizer.id("bos_token")]:
            return (
                "最前面多了 BOS：这个分词器定义了 BOS，编码时自己却从不加它，推理时也没有。"
                "要不要 BOS 由 __init__ 来定（self.chatml.bos），这里不用管。"
            )
        if trial.is_first:
            return "前面多了别的 token：看看拼第一条消息之前，往列表里放了什么。"
        return "前面多了别的 token：多半是上一次调用留下的（变量存在 self 上，或写成了默认参数）。"
    if tokenizer.id(START) not in ids or tokenizer.id(END) not in ids:
        return "里面没有 <|im_start|> 或 <|im_end|> 这两个标记的 id：它们可能被漏掉了，或被当作普通文字拆开了。"
    stripped = [{**message, "content": message["content"].strip()} for message in trial.case.conversation]
    if ids == Case(tokenizer, stripped).ids:
        return "内容首尾的空白被去掉了（strip）。内容要一字不改。"
    if ids.count(tokenizer.id(END)) > full.count(tokenizer.id(END)):
        return "<|im_end|> 多于消息的条数。" + ("" if trial.is_first else _GROWN)
    if found := _confused_messages(trial, ids) or _changed_content(trial, ids):
        return found
    if sorted(ids) == sorted(full):
        return "token 一个不少，但顺序不对。"
    return "某一段与 ChatML 的写法不同。"


# 漏掉了一些 token 的写法：(说明, 这个 token 留不留)
_OMISSIONS: tuple[tuple[str, Callable[[Token, int, int], bool]], ...] = (
    ("少了 <|im_end|> 后面的换行。", lambda t, last, first: t.kind != "newline"),
    (
        "最后一条消息少了 <|im_end|> 后面的换行：每条消息的写法都一样，最后一条也有。",
        lambda t, last, first: not (t.kind == "newline" and t.message == last),
    ),
    ("少了 <|im_end|>：没有它，就分不出一条消息在哪里结束。", lambda t, last, first: t.kind != "end"),
    ("少了 <|im_end|> 和它后面的换行。", lambda t, last, first: t.kind not in ("end", "newline")),
    (
        "assistant 的 <|im_end|> 没有放进 input_ids：模型就学不到在哪里停下。",
        lambda t, last, first: not (t.kind == "end" and t.role == "assistant"),
    ),
    ("少了角色头 <|im_start|>role\\n：模型分不出是谁在说话。", lambda t, last, first: t.kind != "header"),
    (
        "只有最后一条消息：input_ids 和 labels 多半是在循环里面创建的，每一条消息都把前面的清空了。",
        lambda t, last, first: t.message == last,
    ),
    (
        "只有第一条消息：return 多半缩进到了循环里面，处理完第一条就返回了。",
        lambda t, last, first: t.message == 0,
    ),
    ("只有各条消息的内容，没有 ChatML 的标记。", lambda t, last, first: t.kind == "content"),
    ("只有 assistant 的消息：模型要看着问题才能回答。", lambda t, last, first: t.role == "assistant"),
    ("只有回答，没有问题：模型要看着问题才能回答。", lambda t, last, first: t.trained),
    ("漏了 system 消息：它也是回答时的上文。", lambda t, last, first: t.role != "system"),
    ("只编码了第一轮：后面的几轮漏掉了，看看有没有过早的 return 或 break。", lambda t, last, first: t.message <= first),
    ("漏了第一条消息。", lambda t, last, first: t.message > 0),
    ("漏了最后一条消息。", lambda t, last, first: t.message < last),
    (
        "只编码了最后一轮：前面的几轮是回答时的上文，也要有。",
        lambda t, last, first: t.message >= last - 1,
    ),
)  # fmt: skip


def _wrong_tokenizer(trial: Trial, ids: list[int]) -> str:
    """用的是项目自带的分词器，或它的标记的 id，而不是交给 SFTDataset 的那一个。"""
    named, base = trial.case.tokenizer, base_tokenizer()
    if named is base:
        return ""
    other = Case(base, trial.case.conversation).ids
    if ids[-len(other) :] == other and len(ids) - len(other) <= len(base.bos):
        return (
            "这些 id 是项目自带的分词器给的，不是这个数据集的 self.tokenizer：换一个模型，id 就全错了。"
            "要用 self.tokenizer 或 self.chatml，不要另外读一个。"
        )
    markers = {named.id(START): base.id(START), named.id(END): base.id(END)}
    if ids == [markers.get(token.id, token.id) for token in trial.case.tokens]:
        return (
            "标记的 id 写死了：<|im_start|>、<|im_end|> 的 id 每个分词器都不同，"
            "要用 self.tokenizer.convert_tokens_to_ids 来查，或者用 self.chatml.segments 给的。"
        )
    return ""


def _merged(trial: Trial, ids: list[int]) -> str:
    """几段文字连在一起分词，边界两边的合成了一个 token。"""
    named, conversation = trial.case.tokenizer, trial.case.conversation
    jointly = [
        token
        for message in conversation
        for token in (
            named.id(START),
            *named.encode(f"{message['role']}\n{message['content']}"),
            named.id(END),
            *named.encode("\n"),
        )
    ]
    return _MERGED if ids == jointly else ""


_MERGED = (
    "角色头和内容连在一起分词（或者整段对话拼成了一个字符串再分词）：内容以换行开头时，"
    "它与角色头的换行合成了一个 token。聊天时，角色头是程序写好的，模型从它后面开始说，"
    "永远见不到这样的 token。角色头和内容要分开编码（self.chatml.segments 就是这样）。"
    "拼成一个字符串还有一害：用户在内容里写的标记会变成真的（注入）。"
)


_GROWN = (
    "多半是有一个列表在 += 时接长了，下一次用到它，已经不是原来的："
    "例如缓存下来的 segments，或 input_ids = header 之后的 +=。"
    "先复制一份：input_ids = list(header)。"
)


def _confused_messages(trial: Trial, ids: list[int]) -> str:
    """内容相同、角色不同的两条消息，混成了一条。"""
    conversation = trial.case.conversation
    for messages in (conversation, conversation[::-1]):
        roles: dict[str, str] = {}
        for message in messages:
            roles.setdefault(message["content"], message["role"])
        confused = [{"role": roles[message["content"]], "content": message["content"]} for message in conversation]
        if confused != conversation and ids == Case(trial.case.tokenizer, confused).ids:
            return (
                "有两条消息内容相同、角色不同，其中一条用了另一条的角色头："
                "多半用内容当作字典的键，或用 index 来找消息。"
                "键里要有 role；最好就按次序一条一条地处理。"
            )
    return ""


def _changed_content(trial: Trial, ids: list[int]) -> str:
    """角色头、结束标记、换行都对，只是内容变了。"""
    start = trial.case.tokenizer.id(START)
    starts = [index for index, token in enumerate(ids) if token == start]
    if len(starts) != len(trial.case.conversation) or starts[:1] != [0]:
        return ""
    for number, (begin, stop) in enumerate(pairwise([*starts, len(ids)])):
        tokens = [token for token in trial.case.tokens if token.message == number]
        if ids[begin:stop] == [token.id for token in tokens]:
            continue
        head = [token.id for token in tokens if token.kind == "header"]
        tail = [token.id for token in tokens if token.kind in ("end", "newline")]
        if ids[begin : begin + len(head)] == head and ids[stop - len(tail) : stop] == tail:
            return (
                f"第 {number + 1} 条消息的内容与原文不同。内容要一字不改：不要 strip、replace，不要改换行，"
                "也不要去掉其中的一部分（例如 <think>…</think>）。"
            )
        return ""
    return ""
