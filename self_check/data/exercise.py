"""TODO 1 的自查：各项检查、提示，和做完之后的话。"""

from finetuning.terminal import launcher
from self_check.data.checks import build_checks
from self_check.data.errors import explain
from self_check.data.learner import Learner
from self_check.exercise import Exercise

DATA = Exercise(
    todo="data",
    title="TODO 1：标签掩码（label masking）",
    prepare=Learner,
    checks=build_checks(),
    explain=explain,
    hints=(
        "先想清楚要什么：模型聊天时，哪些 token 是它自己要输出的，哪些是程序替它写好的？\n"
        "只有它自己要输出的才学。拿文档字符串里的例子，用笔在每个 token 下面写上“学”或“不学”，"
        "特别想一想：它靠什么告诉程序“我说完了”？",
        "再想怎么写：不要先拼好整段、再回头找边界，那样很容易差一个。\n"
        "一段一段地接：每接上一段 id，同时接上同样多的标签，两个列表就不可能错位。\n"
        "self.chatml.segments(message) 把一条消息分成四段：header、content、end、newline。",
        "每一段只要回答一个问题：“这一段学不学？”它取决于两件事：是谁说的（role），是四段里的哪一段。\n"
        "学的段，标签就是 id；不学的段，标签是同样个数的 IGNORE_INDEX。\n"
        "先假设只有一条 assistant 的消息，在纸上写出四段各自的标签，再套上对所有消息的循环。",
    ),
    start="这里还没有写。先读 SFTDataset._format_conversation 的说明，看懂里面的例子，再来完成它。",
    learnt=(
        "你学到了：微调时模型看得见整段对话，但只学它自己要说的话，包括“说完了”这个信号；"
        "其余的标签是 -100，不计入损失。"
    ),
    next_steps=(
        "回到 tutorial.ipynb，用你的掩码训练（第 3、4 节）",
        f"完整的训练：{launcher()} train_sft_solution.py",
        f"选做 TODO 2，手写 LoRA：{launcher()} lora_exercise.py",
    ),
)
