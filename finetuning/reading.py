"""数据文件或 hub 数据集 → 一段段对话；坏行在训练之前就被找出来。

Parquet 文件由 ``pyarrow`` 读，hub 数据集由 ``datasets`` 读。本地的 JSON 文件由标准库逐行读，有三个理由：
``datasets`` 把文件变成各列类型一致的 Arrow 表，content 一行是文字、一行是列表就整个失败；它的报错不带行号；
它要写缓存。逐行读还更快，而且一行坏了不影响其他行。

``datasets`` 只在用到时才导入（import 它要半秒以上）。
"""

import codecs
import gzip
import io
import json
import os
import re
import reprlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple, cast

from finetuning.conversations import BadRowError, Conversation
from finetuning.errors import UserError
from finetuning.formats import parse_row, skill_of, unique_keys
from finetuning.hermes import as_text
from finetuning.tables import TABLE_SUFFIXES, TooManyCells, table_rows
from finetuning.terminal import is_main_process

OnBadRows = Literal["stop", "skip"]

_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")
_SUFFIXES = (*_JSON_SUFFIXES, ".parquet", *TABLE_SUFFIXES)
# 写子集时，后面要写 :split：三段的名字更像是写错了的本地路径。
_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)((/(?P<subset>[\w.-]+))?:(?P<split>[^/\\]+))?")
_ELEMENT = re.compile(r"[^ \t\r\n,]")  # JSON 数组里一个元素（或结尾的 ]）的第一个字符；从宽：多一个逗号不算错
_LISTED_REASONS = 10
_LISTED_LINES = 5
# 把各行装在一个键里的文件，键的名字：{"data": [各行]}。
_WRAPPERS = ("data", "rows", "examples", "items", "samples", "train", "records", "dataset", "list")
_PARQUET_BATCH_SIZE = 1000

# 后缀像 JSON，开头的字节却说明不是：说出它是什么，好过说每一行都坏了。
_NOT_JSON = {
    b"\x1f\x8b": "gzip 压缩文件，请在文件名后面加上 .gz（压缩了两次的，先解压一次）",
    b"PAR1": "Parquet 文件，请把后缀改成 .parquet",
    b"PK\x03\x04": "zip 压缩文件或 Excel 表格，请先解压，或另存为 JSON Lines",
    b"version https://git-lfs": "Git LFS 的指针，不是数据本身，请用 git lfs pull 取回数据",
    b"<!DOCTYPE": "网页，请下载原始文件（raw）",
    b"<html": "网页，请下载原始文件（raw）",
    b"\0\0\0\0": "一串空字节（NUL），已经损坏，请重新下载或复制",
}


class Row(NamedTuple):
    """一段对话，和它在哪里。"""

    source: str
    line: int  # 从 1 数起：JSON 文件里的行号；Parquet 文件和 hub 数据集是第几行数据
    conversation: Conversation
    skill: str | None = None  # 考的是什么，数据里写了才有
    format: str = ""  # 认出的格式
    unused: tuple[str, ...] = ()  # 没有用到的键

    @property
    def place(self) -> str:
        """给人看的位置。"""
        return f"{self.source} 第 {self.line} 行"


class BadRow(NamedTuple):
    """一个不能用于训练的行。"""

    file: str
    line: int  # 同 Row 的
    reason: str
    row: object  # 解析后的原始数据；连 JSON 都不是的，是这一行的 bytes


class CheckedConversations:
    """已经检查过的对话：:func:`iterate_conversations` 原样给出，不再检查一遍。"""

    def __init__(self, conversations: Iterable[Conversation]):
        self._conversations = conversations

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self._conversations)


def load_conversations(
    source: str | os.PathLike[str] | Iterable[object],
    *,
    on_bad_rows: OnBadRows = "stop",
    bad_rows_path: str | os.PathLike[str] = "bad_rows.jsonl",
) -> list[Conversation]:
    """读出并检查全部对话，放进一个列表；参数和异常见 :func:`iterate_conversations`。"""
    return list(iterate_conversations(source, on_bad_rows=on_bad_rows, bad_rows_path=bad_rows_path))


def iterate_conversations(
    source: str | os.PathLike[str] | Iterable[object],
    *,
    on_bad_rows: OnBadRows = "stop",
    bad_rows_path: str | os.PathLike[str] = "bad_rows.jsonl",
) -> Iterator[Conversation]:
    """逐条读出并检查对话，不全部留在内存里；工具和思考写成文字（见 :mod:`finetuning.hermes`）。

    Args:
        source: 以下三者之一。
            本地文件：.jsonl、.json 和它们的 .gz，.parquet，.csv、.tsv、.xlsx；
            hub 数据集：``owner/name`` 读 train，``owner/name:test``、``owner/name:train[:1000]`` 读别的部分，
            有几个子集（subset）的写成 ``owner/name/子集:train``；
            已在内存里的行，例如对话的列表；:class:`CheckedConversations` 不再检查。
        on_bad_rows: ``"stop"`` 有坏行就停；``"skip"`` 用其余的行，并把坏行写进 ``bad_rows_path``。
        bad_rows_path: 坏行的去处，JSONL，每行 ``{"file", "line", "reason", "row"}``；
            只在 ``"skip"`` 时写，没有坏行时是空文件。

    Yields:
        一段段对话，顺序与文件相同；各种格式都已变成 ``[{"role": …, "content": …}, …]``。

    Raises:
        UserError: 文件或 hub 读不到；有坏行而 ``on_bad_rows="stop"``；一条可用的对话也没有。
            后两种要读到末尾才知道：坏行一次全部列出，第一个坏行以后的对话不再给出。
    """
    if isinstance(source, CheckedConversations):
        return iter(source)
    rows = iterate_rows(source, on_bad_rows=on_bad_rows, bad_rows_path=bad_rows_path, prepare=as_text)
    return (row.conversation for row in rows)


def iterate_rows(
    source: str | os.PathLike[str] | Iterable[object],
    *,
    on_bad_rows: OnBadRows = "stop",
    bad_rows_path: str | os.PathLike[str] = "bad_rows.jsonl",
    columns: Mapping[str, str] | None = None,
    prepare: Callable[[Conversation], Conversation] = lambda conversation: conversation,
) -> Iterator[Row]:
    """与 :func:`iterate_conversations` 相同，另外给出每段对话在哪里，考的是什么。

    Args:
        columns: 哪一列是什么，见 :func:`finetuning.formats.parse_row`。
        prepare: 认出以后再变一变；抛出 ``BadRowError`` 的，是坏行。
    """
    if on_bad_rows not in ("stop", "skip"):
        raise ValueError(f"on_bad_rows 应该是 'stop' 或 'skip'，实际是 {on_bad_rows!r}")
    if isinstance(source, str | os.PathLike):
        name, rows = os.fspath(source), _read_rows(os.fspath(source))
    else:
        name, rows = "（内存中的数据）", enumerate(source, 1)

    good, num_bad = 0, 0
    places: dict[str, list[int]] = {}  # 坏行的理由 → 前几个在哪里；坏行可能有几百万个
    counts: Counter[str] = Counter()
    unseen = set((columns or {}).values())
    recorded = on_bad_rows == "skip" and is_main_process()
    with _bad_rows_file(Path(bad_rows_path)) if recorded else nullcontext(lambda bad: None) as write:
        for line, row in rows:
            try:
                if isinstance(row, bytes):
                    row = _parse_json(row)
                elif isinstance(row, TooManyCells):
                    raise BadRowError(
                        "这一行有格子不在任何一列的名字下面；第一行要是各列的名字，CSV 里有逗号的内容要加引号"
                    )
                if unseen and isinstance(row, dict):
                    unseen -= row.keys()
                conversation, form, unused = parse_row(row, columns)
                conversation = prepare(conversation)
            except BadRowError as error:
                num_bad += 1
                reason = str(error)
                if reason in places or len(places) < _LISTED_REASONS:
                    counts[reason] += 1
                    places.setdefault(reason, []).append(line)
                    del places[reason][_LISTED_LINES:]
                write(BadRow(name, line, reason, row))
                continue
            good += 1
            if on_bad_rows == "skip" or not num_bad:
                yield Row(name, line, conversation, skill_of(row, columns), form, unused)

    if good and unseen:
        raise UserError(f"{name} 里没有一行有 --columns 里说的 {'、'.join(sorted(unseen))}；请检查列名。")
    if num_bad and on_bad_rows == "stop":
        advice = "请改正它们，或加上 --on_bad_rows skip，跳过它们而用其余的行训练"
        listed = [f"  {name} 第 {_lines(places[reason], counts[reason])}：{reason}" for reason in places]
        rest = num_bad - sum(counts.values())
        more = [f"  ……还有 {rest} 行"] if rest else []
        raise UserError(
            "\n".join([f"{name} 的 {good + num_bad} 行中有 {num_bad} 行不能用于训练；{advice}：", *listed, *more])
        )
    if not good and isinstance(source, str | os.PathLike):
        reason = f"{num_bad} 行全是坏行，原因见 {bad_rows_path}" if num_bad else "是空的"
        raise UserError(f"{name} 里没有可用的对话：{reason}。")


def _lines(lines: list[int], count: int) -> str:
    """``3 行``，``3、5 行``，或 ``3、5、6、8、9 等 120 行``。"""
    listed = "、".join(map(str, lines))
    return f"{listed} 行" if count == len(lines) else f"{listed} 等 {count} 行"


@contextmanager
def _bad_rows_file(path: Path) -> Iterator[Callable[[BadRow], None]]:
    """打开坏行的去处；给出的函数写进一个坏行。"""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # 单独的代理项写不成 UTF-8；backslashreplace 把它写成 \udXXX，这恰好就是 JSON 的转义。
        file = path.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"坏行写不进 {path}：{error.strerror}；请换一个可以写的位置。") from error
    with file:
        yield lambda bad: print(_dump(bad), file=file)


def _dump(bad: BadRow) -> str:
    try:
        return json.dumps(bad._asdict(), ensure_ascii=False, default=_as_text)
    except (ValueError, TypeError, RecursionError):  # 套着自己，键不是文字，嵌套太深：写不成 JSON，写个大概
        return json.dumps(bad._replace(row=reprlib.repr(bad.row))._asdict(), ensure_ascii=False)


def _as_text(value: object) -> str:
    """JSON 没有的类型：解析不了的一行（bytes），表格里的日期等。"""
    return value.decode("utf-8", errors="backslashreplace").strip() if isinstance(value, bytes) else str(value)


def data_files(source: str) -> list[str]:
    """目录换成其中的数据文件，按名字的次序；其余的原样。

    Raises:
        UserError: 目录读不了，或里面没有数据文件。
    """
    path = Path(os.path.expanduser(source))  # noqa: PTH111  没有“~谁”这个用户时，Path.expanduser 会抛异常
    if not source or not os.path.isdir(path):  # noqa: PTH112  太长的名字，Path.is_dir 会抛异常
        return [source]
    try:
        # 以点开头的是系统放的（macOS 的 ._a.jsonl），不是数据
        files = sorted(
            child
            for child in path.iterdir()
            if child.name.lower().endswith(_SUFFIXES) and not child.name.startswith(".")
        )
    except OSError as error:
        raise UserError(f"读不到目录 {path} 里有什么（{error.strerror}）；请检查权限。") from error
    if not files:
        raise UserError(f"目录 {path} 里没有数据文件（{'、'.join(_SUFFIXES)}）；请检查路径。")
    return [str(file) for file in files]


def _read_rows(source: str) -> Iterator[tuple[int, object]]:
    """按 ``source`` 选择读法，产生 (行号, 一行)；JSON Lines 的一行是还没有解析的 bytes。"""
    if not source:
        raise UserError("数据文件的路径是空的；请检查 --train_file 等参数，或命令里的变量有没有赋值。")
    try:
        path = Path(source).expanduser()
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # 名字太长，上级目录没有权限进；没有“~谁”这个用户
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"读不到数据文件 {reprlib.repr(source)}（{reason}）；请检查路径和权限。") from error
    has_data_suffix = path.name.lower().endswith(_SUFFIXES)
    if is_directory:
        raise UserError(f"{path} 是一个目录，请写出其中的数据文件，例如 {data_files(source)[0]}。")
    if not exists:
        hub_id = _HUB_ID.fullmatch(source)
        if hub_id and not has_data_suffix:
            return _hub_rows(hub_id["name"], hub_id["subset"], hub_id["split"] or "train")
        raise UserError(f"找不到数据文件 {source}（当前目录是 {Path.cwd()}）；请检查路径。")
    if not has_data_suffix:
        raise UserError(f"不认识 {source} 的后缀；支持的有 {'、'.join(_SUFFIXES)}。")
    if path.name.lower().endswith(TABLE_SUFFIXES):
        return table_rows(path)
    return _json_rows(path) if path.name.lower().endswith(_JSON_SUFFIXES) else _parquet_rows(path)


def _json_rows(path: Path) -> Iterator[tuple[int, object]]:
    """JSON Lines；一个 JSON 数组（第一个字符是 ``[``）；或写成几行的对象。空行跳过，行号照数。"""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            _check_is_text(path, file.read(1024))
            file.seek(0)
            is_array = _first_character(file) == b"["
            file.seek(0)
            first = next((line for line in file if _has_text(line)), b"")
            file.seek(0)
            is_array = is_array and not _is_messages(first)
            if is_array or _goes_on(first) or _wrapped_in(first):
                yield from _document_rows(path, file.read())
            else:
                # UTF-8 里换行这个字节只表示换行，所以可以先分行、后解码：一行解码失败不影响其他行。
                yield from ((number, line) for number, line in enumerate(file, 1) if _has_text(line))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} 读不出来：{error}；请检查文件是否完整、是否有权限读。") from error


def _goes_on(line: bytes) -> bool:
    """一个对象到这一行的末尾还没有写完，下一行接着写：``{`` 独占一行，或断在逗号、括号、冒号之后。"""
    text = line.strip().removeprefix(codecs.BOM_UTF8).strip()
    return text.startswith(b"{") and text.endswith((b"{", b"[", b",", b":"))


def _wrapped_in(line: bytes) -> bool:
    """``{"data": [各行]}`` 写在一行里。"""
    if not any(f'"{key}"'.encode() in line[:4096] for key in _WRAPPERS):
        return False
    try:
        return _wrapper_key(json.loads(line.decode("utf-8-sig"))) is not None
    except UserError:
        return True
    except (ValueError, RecursionError):
        return False


def _wrapper_key(value: object) -> str | None:
    """装着各行的键：它的值是对象的列表；自己就是一行数据的不算。

    Raises:
        UserError: 旁边还有别的内容，只取各行就把它丢掉了。
    """
    if not isinstance(value, dict) or _is_row(value):
        return None
    lists = [key for key, rows in value.items() if key in _WRAPPERS and _are_objects(rows)]
    if not lists:
        return None
    others = [key for key, other in value.items() if key != lists[0] and isinstance(other, list | dict) and other]
    others += [key for key in value if key in ("system", "system_prompt") and value[key]]
    if others:
        raise UserError(
            f"文件里 {lists[0]} 是各行数据，旁边还有 {'、'.join(map(str, others))}；"
            f"请把要用的各行另存成一个 JSON 数组或 JSON Lines 文件。"
        )
    return lists[0]


def _is_row(value: object) -> bool:
    try:
        parse_row(value)
    except BadRowError:
        return False
    return True


def _are_objects(rows: object) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows)


def _is_messages(line: bytes) -> bool:
    """一行就是一段对话的消息的列表（JSON Lines 的每行是数组），不是各行数据的数组。"""
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return _are_objects(value) and all("role" in each or "from" in each for each in value)


def _first_character(file: io.BufferedIOBase) -> bytes:
    """第一个不是空白的字符，前面有多少空白都行；没有就是空的。"""
    text = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8).lstrip()
    while not text and (chunk := file.read(2**16)):
        text = chunk.lstrip()
    return text[:1]


def _check_is_text(path: Path, head: bytes) -> None:
    for start, description in _NOT_JSON.items():
        if head.startswith(start):
            raise UserError(f"{path} 其实是{description}。")
    encoding = json.detect_encoding(head)  # JSON 的第一个字符是 ASCII，所以没有 BOM 也认得出
    if not encoding.startswith("utf-8"):
        raise UserError(f"{path} 是 {encoding[:6].upper()} 编码的，请用编辑器另存为 UTF-8。")


def _has_text(line: bytes) -> bool:
    return bool(line.removeprefix(codecs.BOM_UTF8).strip())


def _parse_json(line: bytes) -> object:
    """JSON Lines 的一行 → 它的值。"""
    try:
        text = line.decode("utf-8-sig").rstrip(" \t\r\n")
        return json.loads(text, object_pairs_hook=unique_keys)
    except UnicodeDecodeError as error:
        reason = f"不是合法的 UTF-8（第 {error.start + 1} 个字节；若是 GBK 编码，请另存为 UTF-8）"
    except json.JSONDecodeError as error:
        reason = f"不是合法的 JSON（第 {error.pos + 1} 个字符：{error.msg}）"
        if error.pos == len(text):
            reason += "；到这里还没有写完，一段对话要完整地写在一行里"
    except (ValueError, RecursionError) as error:  # 写了两次的键；几千位的整数；几千层的嵌套
        reason = f"JSON 无法解析（{error}）"
    raise BadRowError(reason)


def _document_rows(path: Path, data: bytes) -> Iterator[tuple[int, object]]:
    """一个 JSON 数组的各个元素，或接连几个写成几行的对象，与它们开头所在的行号；``{"data": [各行]}`` 给出里面的各行。

    逐个解析（而不是 ``json.loads`` 整个文件），才知道每个在第几行。
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} 第 {line} 行不是合法的 UTF-8；若是 GBK 编码，请用编辑器另存为 UTF-8。") from error
    if text.lstrip()[:1] == "[":
        yield from _elements(path, text, text.index("[") + 1, "]", is_whole=True)
        return
    objects = list(_elements(path, text, 0, ""))
    try:
        key = _wrapper_key(objects[0][1]) if len(objects) == 1 else None
    except UserError as error:
        raise UserError(f"{path}：{error}") from error
    if key is None:
        yield from objects
        return
    rows = cast(dict, objects[0][1])[key]
    start = re.search(rf'"{key}"\s*:\s*\[', text)
    found = list(_elements(path, text, start.end(), "]")) if start else []
    # 里层别处也可以有同名的键；对不上时，只说是第几个
    yield from found if [row for _, row in found] == rows else enumerate(rows, 1)


def _elements(
    path: Path, text: str, position: int, closing: str, is_whole: bool = False
) -> Iterator[tuple[int, object]]:
    """从 ``position`` 起的一个个值。

    Args:
        closing: 结尾的括号；空的是直到文件末尾。
        is_whole: 括号后面不能再有什么。
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    line = text.count("\n", 0, position) + 1
    while (found := _ELEMENT.search(text, position)) and found.group() != closing:
        start = found.start()
        line += text.count("\n", position, start)
        try:
            row, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            line, reason = getattr(error, "lineno", line), getattr(error, "msg", error)
            raise UserError(f"{path} 第 {line} 行不是合法的 JSON（{reason}），请改正它。") from error
        yield line, row
        line += text.count("\n", start, position)
    if is_whole and text[position:].strip(" \t\r\n,") != closing:
        raise UserError(f"{path} 第 {line} 行以后，JSON 数组没有正常结束（结尾应该是 ]）；文件可能不完整。")


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    # 直接由 pyarrow 读：datasets 把路径当作通配符（data_[ab].parquet 会读成 data_a.parquet），
    # 还会去解码用不到的图像、声音列，为此导入别的库，甚至上网下载。
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if len(set(names)) < len(names):  # 变成字典时只会留下后一列
                raise UserError(f"{path} 读不出来：有两列同名；请改掉一列的名字。")
            rows = (row for batch in table.iter_batches(_PARQUET_BATCH_SIZE) for row in batch.to_pylist())
            yield from enumerate(map(_without_padding, rows), 1)
    except (OSError, ValueError, NotImplementedError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} 读不出来：{_first_line(error)}；请检查文件是否完整。") from error


def _import_datasets() -> ModuleType:
    """导入 ``datasets``，并让它和 hub 的客户端不先打印一串英文：连不上时它们重试约半分钟，每次一行警告。"""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    for logging in (datasets.logging, hub_logging):
        logging.set_verbosity(logging.CRITICAL)
    return datasets


def _hub_rows(name: str, subset: str | None, split: str) -> Iterator[tuple[int, object]]:
    datasets = _import_datasets()
    try:
        table = datasets.load_dataset(name, subset, split=split)
    except ValueError as error:  # 没有这个 split；没有这个子集，或者要先选一个
        reason = " ".join(str(error).split())  # 有哪些可选，库写在后面几行里
        if "onfig" in reason and (names := re.search(r"\[.*?\]", reason)):
            raise UserError(
                f"hub 上的数据集 {name} 有几个子集（subset）：{names.group()[1:-1]}；"
                f"请选一个，写成 {name}/子集:{split}。"
            ) from error
        raise UserError(f"hub 上的数据集 {name} 读不出 {split}：{reason}") from error
    except Exception as error:  # 网络错误的类型取决于 hub 客户端用哪个 HTTP 库，列不全
        raise UserError(
            f"读不到 hub 上的数据集 {name}，本地也没有这个文件（{_first_line(error)}）；请检查名字和网络。"
            "连不上 hub 时，可以设环境变量 HF_ENDPOINT（例如 https://hf-mirror.com）改用镜像，或把数据下载下来，改写本地文件的路径。"
        ) from error
    # 按 Arrow 表取，不解码用不到的图像、声音列。
    batches = table.with_format("arrow").iter(_PARQUET_BATCH_SIZE)
    yield from enumerate((_without_padding(row) for batch in batches for row in batch.to_pylist()), 1)


def _without_padding(value: object) -> object:
    """Arrow 表的各行键都一样，没有的补成 null：去掉，里层的也去掉（工具的参数里若留着，就学成了参数）。"""
    if isinstance(value, dict):
        return {key: _without_padding(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_padding(each) for each in value if each is not None]
    return value


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
