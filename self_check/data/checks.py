"""TODO 1 的各项检查和它们的顺序。

一项检查拿到一组调用的结果（:class:`~self_check.data.trials.Trial`），没有它要找的错误就返回 None。
"""

import itertools
from collections.abc import Callable, Sequence

from self_check.data.cases import Case, long_cases, random_cases
from self_check.data.conversations import INJECTED, MANY_TURNS, NEWLINES, PLAIN, SPECIAL, Conversation
from self_check.data.input_ids import check_input_ids
from self_check.data.labels import (
    check_end_tokens_are_trained,
    check_every_turn_is_trained,
    check_first_tokens_are_trained,
    check_foreign_end_tokens_are_masked,
    check_headers_are_masked,
    check_ignore_value,
    check_labels,
    check_later_turns_are_trained,
    check_newlines_are_masked,
    check_something_is_masked,
    check_something_is_trained,
    check_system_is_masked,
    check_user_is_masked,
)
from self_check.data.learner import Learner
from self_check.data.lists import (
    check_conversation_is_unchanged,
    check_labels_are_not_shifted,
    check_lengths,
    check_lists_are_separate,
    check_return_type,
)
from self_check.data.named_tokenizers import (
    NamedTokenizer,
    base_tokenizer,
    byte_tokenizer,
    two_token_newline_tokenizer,
    unadded_bos_tokenizer,
    word_tokenizer,
)
from self_check.data.signature import check_signature
from self_check.data.trials import Trial
from self_check.data.truncation import check_truncation
from self_check.exercise import Check
from self_check.report import Diagnosis

TrialCheck = Callable[[Sequence[Trial]], Diagnosis | None]

# 一组调用要过的各项检查，顺序就是诊断的顺序：越基本的越先。
TRIAL_CHECKS: tuple[tuple[str, TrialCheck], ...] = (
    ("能运行，返回两个整数列表", check_return_type),
    ("不改动传进来的对话", check_conversation_is_unchanged),
    ("labels 与 input_ids 是两个列表", check_lists_are_separate),
    ("两个列表一样长", check_lengths),
    ("标签没有错开", check_labels_are_not_shifted),
    ("input_ids 是完整的 ChatML", check_input_ids),
    ("不是所有 token 都学", check_something_is_masked),
    ("不是所有 token 都不学", check_something_is_trained),
    ("不学的位置用 -100", check_ignore_value),
    ("user 的话不学", check_user_is_masked),
    ("system 的话不学", check_system_is_masked),
    ("多轮对话里，前面的回答也学", check_every_turn_is_trained),
    ("多轮对话里，后面的回答也学", check_later_turns_are_trained),
    ("角色头不学", check_headers_are_masked),
    ("assistant 的 <|im_end|> 要学", check_end_tokens_are_trained),
    ("回答的第一个 token 要学", check_first_tokens_are_trained),
    ("user 和 system 的 <|im_end|> 不学", check_foreign_end_tokens_are_masked),
    ("<|im_end|> 后面的换行不学", check_newlines_are_masked),
    ("每个 token 的标签都对", check_labels),
)


def build_checks(trial_checks: Sequence[tuple[str, TrialCheck]] = TRIAL_CHECKS) -> tuple[tuple[str, Check], ...]:
    """TODO 1 的全部检查，按诊断的顺序。

    先是普通的对话，每一种错误单独一项；然后同样的检查再用于内容特别的对话和别的分词器。
    """

    def on_plain(check: TrialCheck) -> Check:
        return lambda learner: check(learner.plain)

    def first_error(trials: Sequence[Trial]) -> Diagnosis | None:
        return next((found for _, check in trial_checks if (found := check(trials)) is not None), None)

    def on(conversations: Sequence[Conversation], *tokenizers: Callable[[], NamedTokenizer]) -> Check:
        def check(learner: Learner) -> Diagnosis | None:
            pairs = itertools.product(tokenizers, conversations)
            return first_error([learner.call(Case(tokenizer(), conversation)) for tokenizer, conversation in pairs])

        return check

    def on_random(learner: Learner) -> Diagnosis | None:
        return first_error([learner.call(case) for case in random_cases()])

    def on_long(learner: Learner) -> Diagnosis | None:
        trials = [learner.call(case) for case in long_cases()]
        has_wrong_type = any(trial.lists is None for trial in trials)
        return first_error(trials) if has_wrong_type else check_truncation(learner, trials)

    return (
        ("_format_conversation(self, conversation) 调用得了", check_signature),
        *((name, on_plain(check)) for name, check in trial_checks),
        ("特别的内容：重复的话、空白、换行、很多轮", on([*SPECIAL, *NEWLINES, MANY_TURNS], base_tokenizer)),
        ("另一个分词器：一个词一个 token，没有 BOS", on(PLAIN, word_tokenizer)),
        ("另一个分词器：一个字节一个 token", on(PLAIN, byte_tokenizer)),
        ("太长的对话", on_long),
        ("另一个分词器：定义了 BOS 但不加，两个换行一个 token", on([*PLAIN, *NEWLINES], unadded_bos_tokenizer)),
        ("另一个分词器：一个换行两个 token", on(PLAIN, two_token_newline_tokenizer)),
        ("随机的对话", on_random),
        ("内容里写的 <|im_end|> 只是文字", on(INJECTED, base_tokenizer, word_tokenizer)),
    )
