"""比较各种微调方法：同样的基座和数据，每种方法训练几次，测出代价和效果。

    uv run python compare_methods.py

每次训练都在单独的进程里，做完的留在输出目录的 runs 里；中断以后再运行同样的命令，会接着做
（数据、基座或程序变了的，重新训练）。
结果是 comparison.md（表）、comparison.json（每个种子的数字）和 comparison.svg（图）。换成真实的模型和自己的数据：

    uv run python compare_methods.py --model_name_or_path Qwen/Qwen3-0.6B-Base --train_file my.jsonl \\
        --learning_rates full=1e-5 lora=2e-4 lora_qv=2e-4 --methods full lora lora_qv --output_dir outputs/my_compare

换一个学习率，名次就会变；每种方法各自用哪个学习率最好，要先在验证数据上找：

    uv run python compare_methods.py --sweep

每种方法从下面的表里的学习率出发，一倍一倍地往两边试，最好的和左右两个再换种子各做几次；结果是 sweep.md 和 sweep.json。

参数：
  --sweep                      找每种方法的学习率，不比较
  --dev_file 文件              --sweep 用来选的验证数据（默认 data/dev.jsonl）；换了训练数据就要给
  --methods 名字 …             比较哪些方法（默认 full lora_qv lora dora qlora prefix）；LoRA 的变体另有
                               rslora pissa lora_plus，参数与 lora 一样多、加在别处的另有 lora_qv_r42
                               lora_mlp_r13；基座总在表里
  --seeds 整数 …               每种方法用哪些随机种子各训练一次（默认 1 2 3）
  --learning_rates 方法=数 …   不用下面的表里的学习率；那些是为自带的基座选的，换了模型就要另选
  --model_name_or_path 模型    基座：本地目录，或 hub 上的名字（默认 base_model）
  --forget_file 文件           用来量遗忘的文本（UTF-8，空行隔开各篇，取前 200 篇）；自带的基座不用给
  --output_dir 目录            结果写到哪里（默认 outputs/compare）
  --fresh                      不沿用做完的训练，全部重做
其余的参数原样交给训练脚本，如 --train_file、--num_train_epochs 3；有哪些见 train_lora_solution.py --help。
"""

import argparse
import json
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from finetuning.arguments import Parser
from finetuning.errors import UserError, run_main
from finetuning.terminal import how_to_add

if TYPE_CHECKING:
    from tqdm import tqdm

    from finetuning.compare.sweep import Trial
    from finetuning.compare.table import Row

# ----------------------------------------------------------------------------------------------------------------------
# 方法：每种用哪个脚本，学习率是多少（在 data/dev.jsonl 上选的）；其余的参数都是脚本的默认值


class Method(NamedTuple):
    """一种方法。"""

    label: str
    script: str
    learning_rate: float
    flags: str = ""


METHODS = {
    "full": Method("全参数微调", "train_sft_solution.py", 4e-4),
    "lora_qv": Method("LoRA，只在 q、v", "train_lora_solution.py", 1.2e-2, "--target_modules q_proj v_proj"),
    "lora": Method("LoRA，所有线性层", "train_lora_solution.py", 4e-3),
    "dora": Method("DoRA，所有线性层", "train_lora_solution.py", 4e-3, "--method dora"),
    "qlora": Method("QLoRA，所有线性层", "train_lora_solution.py", 4e-3, "--method qlora"),
    "prefix": Method("前缀微调（prefix tuning）", "train_lora_solution.py", 2e-1, "--method prefix"),
}
# LoRA 的变体，学习率沿用 LoRA 的；要比较，用 --methods 写出来。
VARIANTS = {
    "rslora": Method("rsLoRA", "train_lora_solution.py", 4e-3, "--use_rslora"),
    "pissa": Method("PiSSA", "train_lora_solution.py", 4e-3, "--init_lora_weights pissa"),
    "lora_plus": Method("LoRA+，B 的学习率是 4 倍", "train_lora_solution.py", 4e-3, "--loraplus_lr_ratio 4"),
}
# 加在别处、参数与“所有线性层，r=8”差不多一样多的：只差加在哪里。
PLACES = {
    "lora_qv_r42": Method(
        "LoRA，只在 q、v，r=42", "train_lora_solution.py", 4e-3, "--target_modules q_proj v_proj --lora_r 42"
    ),
    "lora_mlp_r13": Method(
        "LoRA，只在 MLP，r=13",
        "train_lora_solution.py",
        4e-3,
        "--target_modules gate_proj up_proj down_proj --lora_r 13",
    ),
}
ALL_METHODS = METHODS | VARIANTS | PLACES


class Run(NamedTuple):
    """一种方法的一次训练。"""

    name: str
    seed: int
    command: list[str]  # 训练脚本和参数，不含输出目录
    directory: Path

    def __str__(self) -> str:
        rate = self.command[self.command.index("--learning_rate") + 1]
        return f"{self.name} 学习率 {rate} 种子 {self.seed}"


ROOT = Path(__file__).parent
EMBEDDED_BASE = "base_model"
DEV_FILE = "data/dev.jsonl"
_NUM_TEXTS = 200


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """解析命令行：自己的参数，和交给训练脚本的参数。"""
    parser = Parser(__doc__)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--dev_file")
    parser.add_argument("--methods", nargs="+", choices=ALL_METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--learning_rates", nargs="+", default=[])
    parser.add_argument("--model_name_or_path", default=EMBEDDED_BASE)
    parser.add_argument("--forget_file", type=Path)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/compare"))
    parser.add_argument("--fresh", action="store_true")
    arguments, passed_on = parser.parse_known_args()
    arguments.learning_rates = dict(word.partition("=")[::2] for word in arguments.learning_rates)
    for name, rate in arguments.learning_rates.items():
        if name not in ALL_METHODS or not rate:
            parser.error(f"--learning_rates 应写成 方法=学习率，如 lora=2e-4，方法是 {'、'.join(ALL_METHODS)} 之一")
    passed_on = [word for word in passed_on if word != "--"]
    if not arguments.sweep:
        if arguments.dev_file:
            parser.error("--dev_file 是 --sweep 用的；比较时用的检验数据是 --test_file")
    elif "--test_file" in passed_on:
        parser.error("选学习率不能用检验数据；--sweep 时请用 --dev_file 给出验证数据")
    elif arguments.dev_file is None and "--train_file" in passed_on:
        parser.error("换了训练数据，--sweep 时请用 --dev_file 给出同一类的验证数据")
    return arguments, passed_on


def rate_of(name: str, arguments: argparse.Namespace) -> str:
    """一种方法的学习率：命令里写的，或表里的。"""
    return arguments.learning_rates.get(name, f"{ALL_METHODS[name].learning_rate:g}")


def training_command(name: str, rate: str, seed: int, arguments: argparse.Namespace, passed_on: list[str]) -> list[str]:
    """一次训练的命令：脚本和参数，不含输出目录。"""
    method = ALL_METHODS[name]
    return [
        method.script,
        *("--model_name_or_path", arguments.model_name_or_path),
        *("--learning_rate", rate),
        *method.flags.split(),
        *passed_on,
        *("--save_strategy", "no", "--disable_tqdm", "true", "--seed", str(seed)),
    ]


def held_out_texts(arguments: argparse.Namespace) -> list[str]:
    """量遗忘用的文本；自带的基座，用预训练时没有见过的种子生成；别的基座没有给 ``--forget_file`` 就不量。

    Raises:
        UserError: 文件读不到，或里面没有文字。
    """
    if arguments.forget_file is None:
        if arguments.model_name_or_path != EMBEDDED_BASE:
            return []
        from small_world.corpus import unseen_documents

        return unseen_documents(_NUM_TEXTS)
    try:
        content = arguments.forget_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--forget_file {arguments.forget_file} 读不出来（{error}）；应该是 UTF-8 的文本文件。"
        ) from error
    texts = [text.strip() for text in content.split("\n\n") if text.strip()]
    if not texts:
        raise UserError(f"--forget_file {arguments.forget_file} 里没有文字。")
    return texts[:_NUM_TEXTS]


def main() -> None:
    """逐个训练，量遗忘，写下表和图。"""
    arguments, passed_on = parse_arguments()
    methods = list(dict.fromkeys(arguments.methods))
    if "qlora" in methods and find_spec("bitsandbytes") is None:
        print(f"没有装 bitsandbytes，所以不比较 QLoRA；要比较，{how_to_add('bitsandbytes', '--extra qlora')}。")
        methods.remove("qlora")
    if not methods:
        raise UserError("没有要比较的方法。")
    texts = held_out_texts(arguments)

    # 放在解析参数之后：导入这些库要好几秒。
    from finetuning.output.claim import acquire, leave, read_marker
    from finetuning.quiet import quiet_libraries

    quiet_libraries()
    lock, created = acquire(arguments.output_dir, {"method": "compare"})
    marker = read_marker(arguments.output_dir)
    try:
        if marker and marker["method"] != "compare":
            raise UserError(f"{arguments.output_dir} 里是训练的结果，不是比较的；请用 --output_dir 换一个目录。")
        (sweep_all if arguments.sweep else compare)(methods, texts, arguments, passed_on)
    finally:
        leave(arguments.output_dir, lock, created)


def compare(methods: list[str], texts: list[str], arguments: argparse.Namespace, passed_on: list[str]) -> None:
    """每种方法用各自的学习率、各个种子各训练一次，写下表和图。"""
    from tqdm import tqdm

    # 同一个种子的各种方法挨着做：中断时，每种方法都有了一些结果
    runs = [
        Run(
            name,
            seed,
            training_command(name, rate_of(name, arguments), seed, arguments, passed_on),
            arguments.output_dir / f"runs/{name}_{seed}",
        )
        for seed in dict.fromkeys(arguments.seeds)
        for name in methods
    ]
    with tqdm(total=len(runs), unit="次") as progress:
        rows = collect(runs, [train_one(run, arguments.fresh, progress) for run in runs])
    if texts:
        measure_forgetting(rows, runs, texts, arguments)
    write_results(rows, runs, arguments)


def sweep_all(methods: list[str], texts: list[str], arguments: argparse.Namespace, passed_on: list[str]) -> None:
    """每种方法用好几个学习率各训练一次，在验证数据上比；写下表和数字。"""
    from tqdm import tqdm

    from finetuning.compare.forgetting import text_losses
    from finetuning.compare.runs import beside
    from finetuning.compare.sweep import Trial, sweep

    dev = ["--test_file", arguments.dev_file or DEV_FILE]

    def run(name: str, rate: float, seed: int) -> dict[str, float | None]:
        """训练一次；返回验证数据上的结果，和遗忘了多少。"""
        command = training_command(name, f"{rate:g}", seed, arguments, [*dev, *passed_on])
        directory = arguments.output_dir / f"runs/{name}_{seed}_lr{rate:g}"
        metrics = train_one(Run(name, seed, command, directory), arguments.fresh, progress)
        forgotten = text_losses(str(directory), texts, beside(directory, "text_loss.json")) if texts else {}
        after = metrics["after"]
        return {"loss": after["loss"], "exact_match": after["exact_match"], **forgotten}

    trials: list[Trial] = []
    with tqdm(unit="次") as progress:
        for name in methods:
            trials += sweep(name, float(rate_of(name, arguments)), list(dict.fromkeys(arguments.seeds)), run)
    write_sweep(trials, arguments)


def write_sweep(trials: list["Trial"], arguments: argparse.Namespace) -> None:
    """写下学习率的表、数字，并打印表。"""
    from finetuning.compare.sweep import best_rate, to_markdown
    from finetuning.output.claim import replace_results

    replace_results(arguments.output_dir, ["sweep.json", "sweep.md"])
    methods = list(dict.fromkeys(trial.method for trial in trials))
    best = {name: best_rate([trial for trial in trials if trial.method == name]) for name in methods}
    results = {
        "model": arguments.model_name_or_path,
        "dev_file": arguments.dev_file or DEV_FILE,
        "labels": {name: ALL_METHODS[name].label for name in methods},
        "best": best,
        "trials": [trial._asdict() for trial in trials],
    }
    (arguments.output_dir / "sweep.json").write_text(
        json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    markdown = to_markdown(trials, results["labels"])
    (arguments.output_dir / "sweep.md").write_text(
        f"# 每种方法的学习率\n\n基座是 {arguments.model_name_or_path}，在 {results['dev_file']} 上比；"
        f"每格是各个种子的平均，括号里是最小和最大，加粗的是每种方法最好的学习率。\n\n{markdown}\n",
        encoding="utf-8",
    )
    rates = " ".join(f"{name}={rate:g}" for name, rate in best.items())
    print(
        f"\n{markdown}\n\n结果在 {arguments.output_dir}：sweep.md、sweep.json"
        f"\n用这些学习率来比较：--learning_rates {rates}"
    )


def train_one(run: Run, fresh: bool, progress: "tqdm") -> dict[str, Any]:
    """一次训练的 ``metrics.json``；已经做完的直接读。"""
    from finetuning.compare.runs import read_finished, train_in_process

    progress.set_description(str(run))
    metrics = None if fresh else read_finished(run.command, run.directory)
    origin = "沿用做完的" if metrics else "新训练的"
    metrics = metrics or train_in_process(ROOT / ALL_METHODS[run.name].script, run.command, run.directory)
    progress.update()
    after = metrics["after"]
    match = "" if after["exact_match"] is None else f"，逐字匹配 {after['exact_match']:.1%}"
    progress.write(f"{run}（{origin}）：检验损失 {after['loss']:.3f}{match}")
    return metrics


def collect(runs: list[Run], all_metrics: list[dict[str, Any]]) -> dict[str, "Row"]:
    """把每次训练的数字归到各种方法名下；基座的数字就是训练之前的那次检验。"""
    from finetuning.compare.runs import saved_bytes
    from finetuning.compare.table import Row

    rows = {"base": Row("base", "基座，没有微调", {})}
    for run, metrics in zip(runs, all_metrics, strict=True):
        row = rows.setdefault(run.name, Row(run.name, ALL_METHODS[run.name].label, {}))
        row.add(
            {key: metrics["after"][key] for key in ("loss", "exact_match")}
            | {key: metrics[key] for key in ("trainable_parameters", "peak_memory_mb", "train_seconds")}
            | {
                "trainable_share": metrics["trainable_parameters"] / metrics["total_parameters"],
                "disk_mb": saved_bytes(run.directory) / 1e6,
            }
        )
        if run.name != "qlora" and not rows["base"].values:  # QLoRA 训练之前的是 4 bit 的基座
            rows["base"].add(metrics["before"])
    return rows


def measure_forgetting(
    rows: dict[str, "Row"], runs: list[Run], texts: list[str], arguments: argparse.Namespace
) -> None:
    """在 ``texts`` 上量基座和每次训练的结果，记到 ``rows`` 里；放在训练都做完以后，不与训练争显存。"""
    from tqdm import tqdm

    from finetuning.compare.forgetting import text_losses
    from finetuning.compare.runs import beside

    base_record = arguments.output_dir / "runs" / "base_text_loss.json"
    if arguments.fresh:
        base_record.unlink(missing_ok=True)
    rows["base"].add(text_losses(arguments.model_name_or_path, texts, base_record))
    for run in tqdm(runs, desc="预训练文本的损失", unit="次"):
        rows[run.name].add(text_losses(str(run.directory), texts, beside(run.directory, "text_loss.json")))


def write_results(rows: dict[str, "Row"], runs: list[Run], arguments: argparse.Namespace) -> None:
    """写下表、数字和图，并打印表。"""
    from finetuning.compare.table import plot, to_markdown
    from finetuning.output.claim import replace_results

    replace_results(arguments.output_dir, ["comparison.json", "comparison.md", "comparison.svg"])
    markdown = to_markdown(list(rows.values()))
    commands = [shlex.join(["uv", "run", "python", *run.command]) for run in runs]
    seeds = list(dict.fromkeys(run.seed for run in runs))
    results = {
        "model": arguments.model_name_or_path,
        "seeds": seeds,
        "methods": {name: {"label": row.label, **row.values} for name, row in rows.items()},
        "commands": commands,
    }
    (arguments.output_dir / "comparison.json").write_text(
        json.dumps(results, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )
    (arguments.output_dir / "comparison.md").write_text(
        f"# 各种微调方法的比较\n\n基座是 {arguments.model_name_or_path}，种子是 {'、'.join(map(str, seeds))}；"
        f"每格是各个种子的平均，括号里是最小和最大。\n\n{markdown}\n\n"
        "每次训练的命令：\n\n```bash\n" + "\n".join(commands) + "\n```\n",
        encoding="utf-8",
    )
    plot(list(rows.values()), arguments.output_dir / "comparison.svg")
    print(f"\n{markdown}\n\n结果在 {arguments.output_dir}：comparison.md、comparison.json、comparison.svg")


if __name__ == "__main__":
    run_main(main)
