"""两个训练脚本共用的部分：一个文件只讲一件事。

从这里开始读：一行 JSONL 怎样变成优化器的一步。
脚本（``../train_sft_solution.py``）调用 ``data.load_splits``，一步步用到的文件从上往下是::

    my.jsonl 的一行
       │   reading.py          逐行读出，坏行记下哪一行、为什么
       │   formats.py          各种写法 → [{"role": …, "content": …}, …]；规则在 conversations.py
       ▼
    一段对话
       │   ../data_solution.py 对话 → input_ids、labels（TODO 1：哪些 token 要学）
       │   chatml.py           一条消息 → 四段 token
       │   store.py            放在磁盘上，训练时按需要读
       ▼
    训练、验证、检验三份数据   data.py；有几个来源的，sources.py 定各取多少；没有检验数据的，由 holdout.py 留出
       │   collator.py         几段对话 → 一批张量
       ▼
    优化器的一步               training.py：Trainer，加上看着损失和检查点；
                               CPU 上的小模型，一步分给两个线程（shortcuts/micro_batches.py）

路旁的各个部分，用到时再读：

- ``shortcuts/``：让训练便宜的几样做法，用哪几样在 ``shortcuts/__init__.py`` 里定；用不用，学到的都一样。
- ``tables.py``：CSV 和 Excel 的各行。``hermes.py``：工具和思考变成文字。``chat_format.py``：用 ChatML 还是模型自己的
  对话模板；后一种怎样编码在 ``template.py``，它的数据集在 ``template_dataset.py``。
- ``arguments/``：命令行参数。``model.py``、``adapter.py``：读入模型和适配器；``model_checks.py``：读不了的，为什么；
  ``reserved_tokens.py``：没有对话标记的词表，拿哪两个 token 来当；``token_rows.py``：
  嵌入只训练那两行；``bf16_base.py``：冻结的基座以 bf16 读入。
  ``targets.py``：给哪些层加 LoRA。
  ``merging.py``：合并适配器；``variants.py``：PiSSA 和 LoRA+。``stopping.py``：提前停下。
  ``device.py``、``threads.py``：机器有什么，核怎样用；有显卡却用不上时怎样决定、怎样说，在 ``accelerators.py``，
  问驱动的在 ``nvidia_driver.py``。
- ``evaluate.py``、``answers.py``、``report.py``：训练前后的检验，各个问题的回答，说给人听的话。
- ``output/``：输出目录，旧的结果在新的齐了以后才换掉；检查点；这次训练的记录。``interrupt.py``：Ctrl-C。
- ``inspection/``：训练之前看一看数据（``inspect_data.py``）。
- ``compare/``：比较各种方法（``compare_methods.py``）。``plan/``：要多少内存（``plan_memory.py``）。
- ``errors.py``、``terminal.py``、``quiet.py``：用户能改正的错误，一句话的提示，让各个库安静。

导入只朝一个方向，没有环：脚本 → ``compare``、``plan``、``inspection`` → ``report``、``training`` → ``shortcuts`` →
``data`` → ``model``、``output`` → ``arguments`` → ``errors``、``terminal``。
"""

import logging
import os
import re
import sys
import tomllib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

# 要在导入 torch 之前设：OpenMP 的线程做完自己的一份，空转一千次等别人（libgomp 的默认是三十万次），还没有等到就睡。
# 旁边有别的程序占着核时，空转等的就是被它挤掉的那个线程，转得久，每个运算都要等，慢几倍；一点也不空转，没有别的程序时，
# 每个运算都要叫醒一次，也慢（benchmarks/README.md 的“核怎样用”）。GOMP_SPINCOUNT 只有 libgomp（Linux）认得。
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.update({name: os.environ.get(name, value) for name, value in WAITING.items()})

# 装了 bitsandbytes 时，它一被导入（transformers 和 PEFT 都会）就说 CPU 上少一个更快的算子：没有它也一样对。
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


_NEEDED = ("torch", "transformers", "datasets", "peft")
_ROOT = Path(__file__).resolve().parents[1]


def _check_libraries() -> None:
    """没有用 ``uv run`` 时，多半一个库也没有，或是别的项目的旧版本：说一句话，不让学习者去读导入失败的调用栈。"""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    # 量的就是有显卡的那台机器：那里装着什么版本，就用什么版本。
    measuring = "benchmarks.gpu" in sys.orig_argv
    outdated = [] if missing or measuring else _outdated()
    if not missing and not outdated:
        return
    problem = f"没有装 {'、'.join(missing)}" if missing else f"{'、'.join(outdated)}"
    message = f"这个 Python（{sys.executable}）里{problem}；"
    command = _started_by()
    if command is None and missing:
        raise ImportError(f"{message}请照教程的第 0 节装好（终端里：uv run jupyter lab tutorial.ipynb）。")
    if command is None:  # 版本不合的，教程的第 0 节会说
        return
    print(
        f"错误：{message}请在项目的目录里用 uv run python {command} 运行，它会装好各个库；"
        "要用现有的环境，见 docs/where_to_run.md。",
        file=sys.stderr,
    )
    raise SystemExit(1)


def _started_by() -> str | None:
    """这个进程是项目的哪个脚本、哪个模块；notebook 的内核里、别人的程序里是 None：不能把整个进程结束掉。"""
    if "ipykernel" in sys.modules:  # 内核也是由 python -m 启动的
        return None
    if "-m" in sys.orig_argv:  # python -m self_check
        return f"-m {sys.orig_argv[sys.orig_argv.index('-m') + 1]}"
    script = Path(sys.argv[0])
    return script.name if script.suffix == ".py" and _ROOT in script.resolve().parents else None


def _outdated() -> list[str]:
    """比 ``pyproject.toml`` 里的下限还旧的：有什么，要什么。"""
    project = _ROOT / "pyproject.toml"
    if not project.is_file():  # 只抄走了几个文件
        return []
    found = []
    for line in tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]:
        name, _, rest = line.partition(">=")
        if name not in _NEEDED:
            continue
        lowest, installed = rest.split(",")[0], version(name)
        if _numbers(installed) < _numbers(lowest):
            found.append(f"{name} {installed} 太旧，要 {lowest} 或更新的")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    """``"2.15.0+cu132"`` → ``(2, 15)``：比新旧，看前两个数就够了。"""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


_check_libraries()
