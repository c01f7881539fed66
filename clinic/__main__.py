"""给一次训练诊断：自己的结果目录，或别人的 ``trainer_state.json``。

    uv run python -m clinic outputs/lora
    uv run python -m clinic 别人的目录/checkpoint-500/trainer_state.json

结果目录里有全部的症状（symptoms.json），看得最准。trainer_state.json 里只有曲线，看得出的病少得多：
一切正常就说没有看出问题。退出码是 0；读不懂的，说一句为什么，退出码是 1。

参数：
  路径 …    结果目录、检查点目录，或 trainer_state.json；可以写好几个
  --json    每个路径打印一行 JSON：path、findings
"""

import json
from dataclasses import asdict

from clinic.doctor import FEWEST_POINTS, diagnose
from clinic.reading import read_symptoms
from finetuning.arguments import Parser
from finetuning.errors import UserError, run_main
from finetuning.output.claim import SYMPTOMS_FILE
from finetuning.terminal import say


def main() -> None:
    """逐个诊断。"""
    parser = Parser(__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for path in arguments.paths:
        symptoms = read_symptoms(path)
        try:
            findings = diagnose(symptoms)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UserError(f"{path} 里有讲不通的数（{error}），诊断不了。") from error
        if arguments.json:
            print(json.dumps({"path": path, "findings": [asdict(each) for each in findings]}, ensure_ascii=False))
            continue
        say(f"{path}：{f'{len(findings)} 个问题' if findings else '没有看出问题'}")
        for each in findings:
            say(each.told())
        if len(symptoms.curve("loss")) < FEWEST_POINTS:
            say(f"  （训练损失不到 {FEWEST_POINTS} 个，记录太少，看不出曲线的样子）")
        if symptoms.after is None:
            say(f"  （只看了曲线：没有 {SYMPTOMS_FILE}，回答、标签、数据的问题看不出）")


if __name__ == "__main__":
    run_main(main)
