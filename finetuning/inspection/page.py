"""报告的网页：一个文件，不连网，亮、暗两种背景都能读。"""

from html import escape

from finetuning.inspection.report import Report

_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --soft: #59636e; --back: #ffffff; --box: #f6f8fa; --line: #d1d9e0;
  --bar: #2e80bb; --learnt: #116329; --learnt-back: #dafbe1; --bad: #b3261e; --look: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --back: #0d1117; --box: #151b23;
  --line: #3d444d; --bar: #5aa9e6; --learnt: #7ee787; --learnt-back: #12301b; --bad: #ff8f86; --look: #e3b341; } }
body { margin: 0 auto; max-width: 58rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.65 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; padding: .15rem 1.2rem .15rem 0;
  vertical-align: top; white-space: nowrap; } td { padding: .15rem 0; overflow-wrap: anywhere; }
.verdict { padding: .8rem 1rem; background: var(--box); border-left: .3rem solid var(--bar); }
.bar { display: inline-block; height: .8rem; background: var(--bar); margin-right: .5rem; vertical-align: middle; }
.number { text-align: right; font-variant-numeric: tabular-nums; padding-right: .8rem; white-space: nowrap; }
article { margin: 1rem 0; padding: .6rem 1rem; background: var(--box); border-radius: .4rem; }
article h3 { margin: 0; font-size: 1rem; } .must { color: var(--bad); } .look { color: var(--look); }
ul { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; } .soft { color: var(--soft); }
pre { padding: .8rem 1rem; background: var(--box); white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: var(--learnt-back); color: var(--learnt); text-decoration: underline; text-underline-offset: .25em; }
""".strip()
_CLASSES = {"先改": "must", "看一看": "look", "知道就好": "soft"}


def as_page(report: Report, title: str) -> str:
    """整个网页。"""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(report.verdict)}</p>',
        *(f'<p class="soft">{escape(note)}</p>' for note in report.notes),
        _table(report.facts),
        "<h2>长度（token）</h2>",
        _histogram(report.histogram),
        _table(report.length_facts),
        "<h2>看出来的事</h2>",
        *(_findings(report) or ["<p>没有。</p>"]),
    ]
    if report.repeated:
        rows = "".join(
            f'<tr><td class="number">{each.times:,} 次</td>'
            f'<td>{escape(each.text)} <span class="soft">{escape(each.place)}</span></td></tr>'
            for each in report.repeated
        )
        parts += ["<h2>重复得最多的回答</h2>", f"<table>{rows}</table>"]
    parts.append("<h2>模型看到的样子（绿色、有下划线的要学，其余的只作上文）</h2>")
    for sample in report.samples:
        cut = f"，末尾截掉 {sample.cut:,} 个" if sample.cut else ""
        pieces = "".join(
            f"<mark>{escape(piece.text)}</mark>" if piece.learnt else escape(piece.text) for piece in sample.pieces
        )
        parts.append(
            f'<p class="soft">{escape(sample.place)}：{sample.tokens:,} 个 token，学 {sample.learnt:,} 个{cut}</p>'
            f"<pre>{pieces}</pre>"
        )
    parts += ["<h2>训练</h2>", f"<pre>{escape(report.command)}</pre>"]
    parts += [f"<p>{escape(line)}</p>" for line in report.written]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _table(facts: list[tuple[str, str]]) -> str:
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in facts)
    return f"<table>{rows}</table>"


def _histogram(histogram: list[tuple[int, int, int]]) -> str:
    largest = max((count for *_, count in histogram), default=1)
    rows = "".join(
        f'<tr><td class="number">{low:,}–{high:,}</td>'
        f'<td><span class="bar" style="width:{24 * count / largest:.2f}rem"></span>{count:,}</td></tr>'
        for low, high, count in histogram
    )
    return f"<table>{rows}</table>"


def _findings(report: Report) -> list[str]:
    parts = []
    for finding in report.findings:
        examples = "".join(
            f"<li>{escape(example.place)}{'：' + escape(example.text) if example.text else ''}</li>"
            for example in finding.examples
        )
        cleaned = "（--clean 会去掉）" if finding.left_out else ""
        parts.append(
            f'<article><h3><span class="{_CLASSES[finding.level]}">{finding.level}</span>　{escape(finding.title)}：'
            f"{finding.count:,} 段（{finding.share:.1%}）</h3><ul>{examples}</ul><p>{escape(finding.advice)}{cleaned}"
            f' <span class="soft">{finding.slug}</span></p></article>'
        )
    return parts
