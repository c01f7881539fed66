"""表格（CSV、TSV、Excel）的各行 → 字典；每一格都是文字：CSV 的 ``007`` 还是 ``"007"``；空的格子等于没有这个键。"""

import csv
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

from finetuning.errors import UserError
from finetuning.terminal import say

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
_LONGEST_CELL = 2**27  # csv 默认一格最多 131,072 个字符


class TooManyCells(list[str]):
    """有格子不在任何一列的名字下面的一行：多半是内容里的逗号没有加引号，读出来就错位了。"""


def table_rows(path: Path) -> Iterator[tuple[int, object]]:
    """产生 (行号, 一行)；表头是第 1 行。CSV 的一格里有换行时，是这一行开头的行号。

    Raises:
        UserError: 读不出来，没有表头，或表头有两列同名。
    """
    return _excel_rows(path) if path.suffix.lower() == ".xlsx" else _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[tuple[int, object]]:
    csv.field_size_limit(_LONGEST_CELL)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = _checked_names(path, next(reader, []))
            if len(names) == 1 and (found := next((mark for mark in ";\t|" if mark in names[0]), None)):
                raise UserError(
                    f"{path} 按{'制表符' if delimiter != ',' else '逗号'}分开只有一列，里面却有 {found!r}；"
                    "请另存为用逗号分开的 CSV（用制表符分开的，后缀写成 .tsv）。"
                )
            start = reader.line_num + 1
            for cells in reader:
                if any(cells):
                    yield start, _row(names, cells)
                start = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise UserError(f"{path} 不是 UTF-8 编码的（Excel 存的多半是 GBK）；请另存为“CSV UTF-8”。") from error
    except csv.Error as error:
        raise UserError(f"{path} 第 {reader.line_num} 行读不出来（{error}）；请检查引号是不是成对的。") from error
    except OSError as error:
        raise UserError(f"{path} 读不出来：{error.strerror}；请检查是否有权限读。") from error


def _excel_rows(path: Path) -> Iterator[tuple[int, object]]:
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        sheets = [sheet for sheet in visible if any(True for _ in sheet.iter_rows(max_row=1))]
        if not sheets:
            raise UserError(f"{path} 里没有工作表有内容。")
        if len(sheets) > 1:
            others = "、".join(sheet.title for sheet in sheets[1:])
            say(f"{path} 只读第一个工作表 {sheets[0].title}，没有读 {others}；要读它们，请各存成一个文件。")
        rows = sheets[0].iter_rows()
        names = _checked_names(path, [_cell_text(cell.value) for cell in next(rows, ())])
        for line, row in enumerate(rows, 2):
            if wrong := next((cell for cell in row if cell.data_type == "e"), None):
                raise UserError(f"{path} 第 {line} 行有算错的格子（{wrong.value}）；请在 Excel 里改正它。")
            cells = [_cell_text(cell.value) for cell in row]
            if any(cells):
                yield line, _row(names, cells)
        book.close()
    except UserError:
        raise
    except Exception as error:  # 压缩包、XML、样式各自坏了的样子，列不全
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} 读不出来（{reason}）；请检查文件是否完整，或在 Excel 里另存为 CSV UTF-8。") from error


def _checked_names(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"{path} 没有表头：第一行要写各列的名字，如 question、answer。")
    if repeated := next((name for name in names if name and names.count(name) > 1), None):
        raise UserError(f"{path} 有两列都叫 {repeated}；请改掉一列的名字。")
    return names


def _row(names: list[str], cells: list[str]) -> object:
    if any(cells[len(names) :]) or any(cell for name, cell in zip(names, cells, strict=False) if not name):
        return TooManyCells(cells)
    return {name: cell for name, cell in zip(names, cells, strict=False) if name and cell}


def _cell_text(cell: object) -> str:
    """Excel 的一格写成文字；数照它的值写，不照显示的格式（15% 是 0.15），要照着显示的写，请把那一列设成文本。"""
    from openpyxl.utils.escape import unescape

    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time().isoformat() == "00:00:00" else cell.isoformat(" ")
    if isinstance(cell, date):
        return cell.isoformat()
    return unescape(str(cell))  # Excel 把回车存成 _x000D_
