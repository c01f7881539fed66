"""TODO 1 的检查（三）：哪些 token 在学。"""

from collections.abc import Callable, Sequence

from self_check.data.cases import IGNORE_INDEX, Token
from self_check.data.columns import token_text
from self_check.data.drawing import draw_labels
from self_check.data.named_tokenizers import END
from self_check.data.trials import Position, Trial
from self_check.report import Diagnosis


def check_something_is_masked(trials: Sequence[Trial]) -> Diagnosis | None:
    """不是所有 token 都学。"""
    trial = _all_in_state(trials, "trained")
    if trial is None:
        return None
    return trial.diagnosis(
        "nothing_masked",
        draw_labels(trial, lambda p: not p.token.trained),
        "labels 与 input_ids 一模一样，每个 token 都在学，这是预训练的做法。模型会去学怎么提问、怎么写角色头；"
        "我们只想让它学怎么回答。",
        "不学的位置，标签写 IGNORE_INDEX（-100）：交叉熵的 ignore_index 默认是它，这些位置不计入损失。",
    )


def check_something_is_trained(trials: Sequence[Trial]) -> Diagnosis | None:
    """不是所有 token 都不学。"""
    trial = _all_in_state(trials, "masked")
    if trial is None:
        return None
    return trial.diagnosis(
        "everything_masked",
        draw_labels(trial, lambda p: p.token.trained),
        "标签全是 -100，没有一个 token 在学：损失没有东西可平均，是 NaN 或 0，模型一点也不会变。多半是判断“是不是回答”"
        "的条件从来没有成立，例如角色名写错、在 input_ids 里找的标记不存在，或者把标签又全部覆盖了。",
        "在判断的那一行后面加 print，看它什么时候成立。",
    )


def _all_in_state(trials: Sequence[Trial], state: str) -> Trial | None:
    """所有对话的每个 token 都在学（或都不学）：其中第一段。"""
    usable = [trial for trial in trials if trial.positions]
    return usable[0] if usable and all(p.state == state for trial in usable for p in trial.positions) else None


def check_ignore_value(trials: Sequence[Trial]) -> Diagnosis | None:
    """不学的位置用 -100。"""
    usable = [trial for trial in trials if any(p.state == "other" for p in trial.positions)]
    others = [p for trial in usable for p in trial.positions if p.state == "other"]
    values = {p.label for p in others}
    # 一两处也可能是别的错误碰巧如此：要好几段对话里都是同一个值，而且都不在该学的地方。
    if len(values) != 1 or len(usable) < 2 or len(others) < 4 or any(p.token.trained for p in others):
        return None
    trial, value = usable[0], values.pop()
    meaning = "，也就是 pad 的 id" if value == trial.case.tokenizer.id("pad_token") else ""
    return trial.diagnosis(
        "wrong_ignore_value",
        draw_labels(trial, lambda p: p.state == "other"),
        f"不学的位置写的是 {value}{meaning}。交叉熵只跳过 -100（ignore_index）；{value} "
        + ("不是合法的类别，训练会报错。" if value < 0 else "会被当作正确答案：模型在这些位置学着输出它。"),
        "用文件开头的 IGNORE_INDEX，不要自己写数字。",
    )


def check_user_is_masked(trials: Sequence[Trial]) -> Diagnosis | None:
    """user 的话不学。"""
    trial = _first_with(trials, _user_content)
    if trial is None:
        return None
    if all(_is_inverted(each) for each in trials if each.positions):
        likely = "恰好反了：user 的话在学，assistant 的回答没有学。模型会学着提问，而不是回答。"
    elif _found_in_the_question(trial):
        likely = (
            "学的是问题里的字，不是回答：在整段的 token 里查找回答的文字（或它的第一个 token），"
            "先找到的是问题里同样的字。"
            "不要查找；一条消息一条消息地接起来，哪一段是回答，接的时候就知道。"
        )
    elif _is_inverted(trial):
        likely = (
            "这一段恰好反了：user 的话在学，assistant 的回答没有学；别的对话没有反。"
            "多半是按第几条消息（奇数、偶数）来判断是谁说的，而对话可能以 system 开头。看每条消息的 role。"
        )
    elif len(trial.answers()) > 1 and not any(
        _user_content(p) and p.token.message < trial.answers()[0] for p in trial.positions
    ):
        likely = (
            "第一轮的问题遮住了，后面几轮的没有。多半是只找了第一个回答的开头，从那里起全部都学；"
            "后面 user 的话也混了进来，模型会学着替用户提问。"
        )
    else:
        likely = (
            "user 的话也在学。问题是回答的上文，模型要看，但不用学着说；学了它，模型聊天时会自己替用户提问。"
            "如果你是在 input_ids 里搜索回答的文字，注意问题里也可能有同样的文字。"
        )
    drawn = draw_labels(trial, _user_content)
    return trial.diagnosis("user_trained", drawn, likely, "看哪个条件决定这一段学不学：只看 role。")


def _is_inverted(trial: Trial) -> bool:
    """user 的话在学，回答一个 token 也没有学。"""
    return not trial.trained_answers() and any(_user_content(p) for p in trial.positions)


def _found_in_the_question(trial: Trial) -> bool:
    """学的 user 的话，是从某个回答的第一个 token 开始的；整条都学了、又以 system 开头的，更像是按次序来判断。"""
    learnt = [p for p in trial.positions if _user_content(p)]
    starts = {content[0].token.id for content in trial.answer_contents()}
    complete = {p.token.message for p in learnt} - {
        p.token.message for p in trial.positions if p.token.kind == "content" and p.state == "masked"
    }
    starts_with_system = trial.case.conversation[0]["role"] == "system"
    if len(trial.complete_answers()) == len(trial.answers()):
        return False  # 回答都学全了，没有找错地方，只是没有区分是谁说的
    return learnt[0].token.id in starts and not (complete and starts_with_system)


def check_system_is_masked(trials: Sequence[Trial]) -> Diagnosis | None:
    """system 的话不学。"""

    def wrong(p: Position) -> bool:
        return p.token.kind == "content" and p.token.role == "system" and p.state == "trained"

    return _label_check(
        trials,
        "system_trained",
        wrong,
        "system 的话也在学。多半是条件写成了“不是 user 就学”。system 是给模型的要求，不是它要说的话；"
        "学了它，模型会在回答里背诵系统提示。",
        "看哪个条件决定这一段学不学：该学的只有一种角色。",
    )


def check_every_turn_is_trained(trials: Sequence[Trial]) -> Diagnosis | None:
    """多轮对话里，前面的回答也学。"""
    return _turn_check(
        trials,
        "only_last_turn",
        -1,
        "只有最后一个回答在学，前面几轮的回答没有学。多轮对话里每一个回答都是一个样本，少学了一大半的数据；"
        "模型也看不到“第一轮该怎么答”。",
        "不要只看 conversation[-1]，也不要只找最后一个标记：每一条 assistant 的消息都一样对待。",
    )


def check_later_turns_are_trained(trials: Sequence[Trial]) -> Diagnosis | None:
    """多轮对话里，后面的回答也学。"""
    return _turn_check(
        trials,
        "only_first_turn",
        0,
        "只有第一个回答在学，后面几轮的回答没有学。多半是找到第一个回答以后就停了（break、index 只给第一处）。"
        "模型学不到接着前文往下答。",
        "每一条 assistant 的消息都一样对待，找完一处还要接着找。",
    )


def check_headers_are_masked(trials: Sequence[Trial]) -> Diagnosis | None:
    """角色头不学。"""

    def wrong(p: Position) -> bool:
        return p.token.kind == "header" and p.state == "trained"

    if _judged_by_the_token(trials):
        likely = (
            "有的角色头里有 token 在学，有的没有：学的恰好是回答里也有的字。多半是看“这个 token 在不在回答里”"
            "来判断的；同样的字在角色头、问题里也会有，要看它属于哪一段。"
        )
        look = "判断时不要看 token 是哪个字；一段一段地接，每一段只判断一次。"
    else:
        likely = (
            "角色头 <|im_start|>role\\n（或它的一部分）也在学。聊天时，角色头由程序写好再交给模型，不用它说；"
            "学它，损失里就混进了模型用不着会的东西。可能是把整条消息都当成了回答，"
            "也可能是开头的位置算错了：角色头有几个 token，要看分词器，不能写死。"
        )
        look = "回答从角色头的换行之后开始。"
    return _label_check(trials, "header_trained", wrong, likely, look)


def _judged_by_the_token(trials: Sequence[Trial]) -> bool:
    """角色头里同样的 token 有时学、有时不学，学的都是回答里也有的。"""
    positions = [p for trial in trials for p in trial.positions]
    headers = [p for p in positions if p.token.kind == "header" and p.token.role == "assistant"]
    learnt, masked = ({p.token.id for p in headers if p.state == state} for state in ("trained", "masked"))
    answers = {p.token.id for p in positions if p.token.kind == "content" and p.token.trained}
    return bool(learnt & masked) and learnt <= answers


def check_end_tokens_are_trained(trials: Sequence[Trial]) -> Diagnosis | None:
    """assistant 的 <|im_end|> 要学。"""

    def is_masked_end(p: Position) -> bool:
        return p.token.kind == "end" and p.token.role == "assistant" and p.state == "masked"

    # 有的回答只学了一部分内容，就不只是“漏了结束标记”，由 check_labels 去说。
    if any(len({p.state for p in content}) > 1 for trial in trials for content in trial.answer_contents()):
        return None
    found = next(
        (
            (trial, complete)
            for trial in trials
            if (complete := trial.complete_answers())
            and any(is_masked_end(p) and p.token.message in complete for p in trial.positions)
        ),
        None,
    )
    if found is None:
        return None
    trial, answers = found

    def wrong(p: Position) -> bool:
        return is_masked_end(p) and p.token.message in answers

    pad_is_end = trial.case.tokenizer.special_tokens["pad_token"] == END
    if pad_is_end and len({p.state for p in trial.positions if p.token.trained}) > 1:
        likely = (
            "assistant 的 <|im_end|> 没有学。这个分词器的 pad 与 <|im_end|> 是同一个 token："
            "凡是等于 pad_token_id 的都不学，就把结束标记也遮住了。模型学不到停下，会一直说到长度的上限。"
        )
    elif _only_the_last_end(trial):
        likely = (
            "只有最后一个回答的 <|im_end|> 在学，前面几轮的没有学。每一个回答都要学“说完了”："
            "多半是循环以后只给最后一条补上了结束标记的标签。"
        )
    else:
        likely = (
            "assistant 的 <|im_end|> 没有学。“说完了”也是回答的一部分：不学它，模型不知道在哪里停下，"
            "会一直说到长度的上限。可能是只算了 content 的长度，或切片的右端少算了一个。"
        )
    look = "回答到哪里为止？想想模型自己要输出的最后一个 token 是什么。"
    return trial.diagnosis("end_token_masked", draw_labels(trial, wrong), likely, look)


def _only_the_last_end(trial: Trial) -> bool:
    ends = [p.state for p in trial.positions if p.token.kind == "end" and p.token.role == "assistant"]
    return len(ends) > 1 and ends[-1] == "trained" and set(ends[:-1]) == {"masked"}


def check_first_tokens_are_trained(trials: Sequence[Trial]) -> Diagnosis | None:
    """回答的第一个 token 要学。

    每个回答都少了开头的同样几个才算；有的少、有的不少，是看了 token 的内容，由 :func:`check_labels` 去说。
    """
    answers = [(trial, content) for trial in trials for content in trial.answer_contents()]
    most = max((_masked_at_the_start(content) for _, content in answers), default=0)
    if not most or not all(
        all(p.state == ("masked" if p.token.offset < most else "trained") for p in content) for _, content in answers
    ):
        return None
    trial = next(trial for trial, content in answers if _masked_at_the_start(content))
    which = "第一个 token" if most == 1 else f"前 {most} 个 token"
    return trial.diagnosis(
        "first_token_masked",
        draw_labels(trial, lambda p: p.token.kind == "content" and p.token.trained and p.token.offset < most),
        f"回答的{which} 没有学。多半是开头的位置多算了。模型看完角色头，要输出的正是它；"
        "没有学过，第一个字就是乱猜的，后面也跟着错。",
        "检查开头的位置：labels 不错开，不需要 +1；角色头有几个 token，要看分词器。",
    )


def _masked_at_the_start(content: list[Position]) -> int:
    """开头有几个 token 没有学；整个没有学的是 0，那是另一回事。"""
    states = [p.state for p in content]
    return states.index("trained") if "trained" in states else 0


def check_foreign_end_tokens_are_masked(trials: Sequence[Trial]) -> Diagnosis | None:
    """user 和 system 的 <|im_end|> 不学。"""
    if any(trial.positions and len(trial.complete_answers()) < len(trial.answers()) for trial in trials):
        return None  # 连回答也没有学全，要紧的是那个，由 check_labels 去说
    return _label_check(
        trials,
        "foreign_end_token_trained",
        lambda p: p.token.kind == "end" and p.token.role != "assistant" and p.state == "trained",
        "user 或 system 的 <|im_end|> 也在学。那是别人说完了，不由模型输出；它用不着会。"
        "多半是见到 <|im_end|> 就学，没有看它属于谁。",
        "<|im_end|> 学不学，与它结束的那条消息的 role 有关。",
    )


def check_newlines_are_masked(trials: Sequence[Trial]) -> Diagnosis | None:
    """<|im_end|> 后面的换行不学。"""

    def wrong(p: Position) -> bool:
        return p.token.kind == "newline" and p.state == "trained"

    trial = _first_with(trials, wrong)
    length = 0 if trial is None else len(trial.case.tokenizer.encode("\n"))
    reason = (
        f"在这个分词器里，换行是 {length} 个 token，而代码只当它是一个。"
        if length > 1
        else "多半是把 “<|im_end|>\\n” 当成了一整段，或切片的右端多算了一个。"
    )
    return _label_check(
        trials,
        "newline_trained",
        wrong,
        "<|im_end|> 后面的换行也在学。模型输出 <|im_end|> 之后，程序就让它停了，这个换行它永远用不着说。" + reason,
        "回答到 <|im_end|> 为止。",
    )


def check_labels(trials: Sequence[Trial]) -> Diagnosis | None:
    """每个 token 的标签都对。"""
    for trial in trials:
        positions = trial.positions
        if trial.has_bos and positions and trial.labels[0] != IGNORE_INDEX:
            return trial.diagnosis(
                "wrong_labels",
                f"最前面的 BOS 的标签是 {trial.labels[0]}，应该是 -100",
                "BOS 是程序加的，不由模型输出，不用学。",
                "看 BOS 的标签是在哪里写的；也可以不管 BOS，__init__ 会补上。",
            )
        if all(position.is_right for position in positions):
            continue
        values = {position.label for position in positions}
        other = next((position for position in positions if position.state == "other"), None)
        if values <= {0, 1, IGNORE_INDEX} and 1 in values:
            likely = "labels 像是 0/1 的掩码。要学的位置，标签应该是这个 token 的 id，模型才知道正确答案是什么。"
        elif other is not None:
            likely = (
                "有的标签既不是 -100，也不是这个 token 的 id，"
                f"例如 {_name(trial, other.token)} 的标签是 {other.label}。"
                "要学的位置，标签就是 id 本身；多半是两个列表错位了。"
            )
        else:
            likely = _unlearnt_part(trial)
        drawn = draw_labels(trial, lambda p: not p.is_right)
        return trial.diagnosis("wrong_labels", drawn, likely, "从标着 ^ 的第一个位置想起。")
    return None


def _unlearnt_part(trial: Trial) -> str:
    """该学的没有学：是整个回答，还是后半段，还是零零散散的。"""
    wrong = {p.token.message for p in trial.positions if not p.is_right}
    whole = [number for number in wrong if number in trial.answers() and number not in trial.trained_answers()]
    if whole and wrong == set(whole):
        return (
            f"有的回答一个 token 也没有学（第 {whole[0] + 1} 条消息），别的回答学了：判断的条件没有认出它。"
            "常见的原因：正则表达式里的 . 不匹配换行（要 re.DOTALL），看了内容里有没有某个词，"
            "按第几轮、按长短来挑，或者把重复的回答当作同一个。"
        )
    for number in sorted(wrong & set(trial.answers())):
        states = [p.state for p in trial.positions if p.token.message == number and p.token.trained]
        learnt = states.index("masked") if "masked" in states else len(states)
        if 0 < learnt < len(states) - 1 and set(states[learnt:]) == {"masked"}:
            return (
                f"回答只学了前 {learnt} 个 token，后面的没有学（第 {number + 1} 条消息）。"
                "常见的原因：遇到换行就停了，切片的长度写死了，或者按汉字的个数来数 token。"
            )
    return (
        "回答里有一部分没有学，或者学了不该学的。多半是位置算错了，或者判断时看了 token 的内容（它是哪个字）"
        "而不是它属于谁。"
    )


def _label_check(
    trials: Sequence[Trial], slug: str, wrong: Callable[[Position], bool], likely: str, look: str
) -> Diagnosis | None:
    trial = _first_with(trials, wrong)
    return None if trial is None else trial.diagnosis(slug, draw_labels(trial, wrong), likely, look)


def _turn_check(trials: Sequence[Trial], slug: str, which: int, likely: str, look: str) -> Diagnosis | None:
    """多轮对话里只有第 ``which`` 个回答在学：每一段都这样才算，只有一段这样的，也许是别的原因。"""
    usable = [trial for trial in trials if trial.positions]
    several = [trial for trial in usable if len(trial.answers()) > 1]
    if not several or any(trial.trained_answers() != [trial.answers()[which]] for trial in usable):
        return None
    drawn = draw_labels(several[0], lambda p: p.token.trained and p.state == "masked")
    return several[0].diagnosis(slug, drawn, likely, look)


def _first_with(trials: Sequence[Trial], wrong: Callable[[Position], bool]) -> Trial | None:
    """第一段有这种错的对话。标签里还有别的值的不算：那时，等于 id 的也许只是碰巧。"""
    trials = [trial for trial in trials if all(p.state != "other" for p in trial.positions)]
    return next((trial for trial in trials if any(wrong(position) for position in trial.positions)), None)


def _user_content(p: Position) -> bool:
    return p.token.kind == "content" and p.token.role == "user" and p.state == "trained"


def _name(trial: Trial, token: Token) -> str:
    return f"“{token_text(trial.case.tokenizer.backend, token.id)}”（{token.id}）"
