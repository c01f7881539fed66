"""看一遍数据：读出来，一段一段地看，再看谁与谁重复。"""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tqdm.auto import tqdm

from finetuning.chat_format import ChatFormat, chat_format
from finetuning.chatml import control_tokens
from finetuning.conversations import Conversation
from finetuning.errors import READING, UserError
from finetuning.inspection.findings import BadRows, Overlaps
from finetuning.inspection.lengths import DatasetClass, Tokens
from finetuning.inspection.overlap import TestQuestions, find_conflicts, find_duplicates
from finetuning.inspection.personal import masked_reason
from finetuning.inspection.survey import Survey
from finetuning.reading import Row, iterate_rows
from finetuning.sources import Source
from finetuning.terminal import printable, progress_delay, stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN_REASONS, _SHOWN_PLACES = 10, 5
_REASON_DETAILS = re.compile(r"\d+|(['\"]).*?\1|“.*?”")

Item = TypeVar("Item")


class Examined(NamedTuple):
    """看完了。"""

    survey: Survey
    overlaps: Overlaps
    bad: BadRows
    bad_tests: int  # 检验数据里读不成的行
    tokens: Tokens


class Reader:
    """照训练的读法读各个来源；坏行不停下，都记着。

    Args:
        directory: 放坏行的临时目录。
    """

    def __init__(self, form: ChatFormat, columns: Mapping[str, str], directory: Path):
        self._form, self._columns, self._directory = form, columns, directory
        self._files: list[Path] = []

    def read(self, names: Sequence[str]) -> Iterator[Row]:
        """逐段给出；有一个来源全是坏行，也接着读别的。"""
        for name in names:
            path = self._directory / f"{len(self._files)}.jsonl"
            self._files.append(path)
            try:
                yield from iterate_rows(
                    name, on_bad_rows="skip", bad_rows_path=path, columns=self._columns, prepare=self._checked
                )
            except UserError:
                if not path.exists() or not path.stat().st_size:
                    raise

    def _checked(self, conversation: Conversation) -> Conversation:
        """对话的格式写得出来的；工具和思考照原来的样子留着。"""
        self._form.prepare(conversation)
        return conversation

    def bad(self) -> Iterator[tuple[str, int, str]]:
        """各个坏行：文件，行号，理由（个人信息已经遮住）。"""
        for path in self._files:
            if path.exists():
                with path.open(encoding="utf-8") as file:
                    for line in file:
                        row: dict[str, Any] = json.loads(line)
                        yield row["file"], row["line"], printable(masked_reason(row["reason"]))

    def grouped(self) -> BadRows:
        """坏行按理由分开；只有行号、引的内容不同的，算同一种理由。"""
        total = 0
        kinds: dict[str, tuple[str, list[int], list[str]]] = {}
        for file, line, reason in self.bad():
            total += 1
            kind = _REASON_DETAILS.sub("…", reason)
            _, count, places = kinds.setdefault(kind, (reason, [0], []))
            count[0] += 1
            if len(places) < _SHOWN_PLACES:
                places.append(f"{file} 第 {line} 行")
        reasons = sorted(
            ((reason, count[0], places) for reason, count, places in kinds.values()), key=lambda each: -each[1]
        )
        return BadRows(total, reasons[:_SHOWN_REASONS])


def examine(
    sources: Sequence[Source],
    test_file: str | None,
    tokenizer: "PreTrainedTokenizerBase",
    dataset_class: DatasetClass,
    columns: Mapping[str, str],
    max_length: int,
    bad_rows_dir: Path,
) -> tuple[Examined, Reader]:
    """看一遍。

    Raises:
        UserError: 文件读不到；一段可用的对话也没有。
    """
    form = chat_format(tokenizer)
    tokens = Tokens(tokenizer, form, dataset_class)
    questions, bad_tests = None, 0
    if test_file is not None:
        with tempfile.TemporaryDirectory() as apart, stage(f"{READING} {test_file}", announced=False):
            test_reader = Reader(form, columns, Path(apart))
            questions = TestQuestions(with_progress(test_reader.read([test_file]), "读检验数据"))
            bad_tests = test_reader.grouped().total
            if not len(questions):
                raise UserError(f"{test_file} 里没有可用的对话；请检查它，或去掉 --test_file。")
    reader = Reader(form, columns, bad_rows_dir)
    survey = Survey(tokens, control_tokens(tokenizer)[1], max_length)
    with stage(READING, announced=False):
        survey.read(with_progress(reader.read([source.name for source in sources]), "读数据"))
        bad = reader.grouped()
    if not len(survey):
        listed = "\n".join(f"  {'、'.join(places)} 等 {count:,} 行：{reason}" for reason, count, places in bad.reasons)
        raise UserError(f"没有可用的对话，{bad.total:,} 行全是坏行：\n{listed}")
    with stage("找重复的", announced=False):
        duplicates = find_duplicates(survey, lambda numbers: with_progress(numbers, "找重复的"))
        conflicts = find_conflicts(survey)
        leaks = questions.leaks(survey, lambda numbers: with_progress(numbers, "与检验数据比")) if questions else None
    return Examined(survey, Overlaps(duplicates, conflicts, leaks), bad, bad_tests, tokens), reader


def with_progress(items: Iterable[Item], doing: str) -> Iterable[Item]:
    """原样给出；久了，终端里有进度。"""
    unit = "批" if isinstance(items, range) else "段"
    return tqdm(items, desc=doing, unit=unit, delay=progress_delay(), leave=False, mininterval=1)
