"""在终端里与模型聊天：微调后的模型、LoRA 适配器，或还没有微调的基座。

    uv run python chat.py outputs/lora                              多轮对话
    uv run python chat.py outputs/lora --message 今天天气怎么样？      只问一句
    uv run python chat.py base_model --raw --message 今天天气         不套对话格式，让基座接着往下写

参数：
  模型                  目录，或 hub 上的名字；不写就是 outputs/lora
  --message 文字        只问这一句，答完就结束
  --system 文字         系统提示（system prompt）：给模型的身份和要求
  --raw                 不套对话格式，接着写：看基座本来的样子
  --temperature 数字    0（默认）总选最可能的 token；越大越随机
  --max_new_tokens 整数 一个回答最多多少个 token（默认 256）
  --seed 整数           随机种子（默认 42）

对话里：/reset 忘掉前面的话，/help 看有哪些命令，/exit（/quit、exit、退出）或 Ctrl-D 结束；
正在回答时按 Ctrl-C，只停下这个回答。
"""

import argparse
import math
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, cast

from finetuning.arguments import Parser
from finetuning.conversations import BadRowError, Conversation
from finetuning.errors import Terminated, UserError, run_main
from finetuning.terminal import printable

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


EXITS = ("/exit", "/quit", "exit", "quit", "退出")
COMMANDS = "/reset 忘掉前面的话，/help 看这些命令，/exit（/quit、exit、退出）结束；正在回答时按 Ctrl-C 停下这个回答。"


def parse_arguments() -> argparse.Namespace:
    """解析命令行；不导入 torch。"""
    parser = Parser(__doc__)
    parser.add_argument("model", nargs="?", default="outputs/lora")
    parser.add_argument("--message")
    parser.add_argument("--system")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    if not 0 <= arguments.temperature < math.inf:  # NaN 与什么比较都是假
        parser.error(f"--temperature 应该是有限的数，不能是负数，实际是 {arguments.temperature}")
    if arguments.max_new_tokens < 1:
        parser.error(f"--max_new_tokens 至少是 1，实际是 {arguments.max_new_tokens}")
    if not 0 <= arguments.seed < 2**32:
        parser.error(f"--seed 应该在 0 和 {2**32 - 1} 之间，实际是 {arguments.seed}")
    if any("\ud800" <= character <= "\udfff" for word in sys.argv for character in word):
        parser.error("命令里有不是 UTF-8 的字符，请改用 UTF-8 的终端")
    if arguments.raw and arguments.system:
        parser.error("--raw 不套对话格式，没有地方放 --system")
    return arguments


def main() -> None:
    """读入模型，然后问答。"""
    arguments = parse_arguments()
    # 从管道读写时（尤其在 Windows 上），遇到编码不了的字符也不要中断。
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")

    from transformers import GenerationConfig, set_seed

    from finetuning.adapter import base_of, load_for_chat
    from finetuning.device import best_device, find_trouble
    from finetuning.quiet import quiet_libraries

    quiet_libraries()
    set_seed(arguments.seed)
    if sentence := find_trouble():
        print(sentence, file=sys.stderr)  # 标准输出里只有对话
    model: Any
    model, tokenizer, new_token_ids = load_for_chat(arguments.model)
    if new_token_ids and not arguments.raw:
        raise UserError(
            f"{arguments.model} 没有学过对话格式（分词器里没有对话的标记）；请先微调它，或加上 --raw 让它接着写。"
        )
    model.to(best_device()).eval()
    sampling = (
        {"do_sample": True, "temperature": arguments.temperature} if arguments.temperature else {"do_sample": False}
    )
    config = GenerationConfig(
        max_new_tokens=arguments.max_new_tokens,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sampling,
    )
    # 没有指定的设置（如重复惩罚），generate 会从模型自己的 generation_config 里取；这里只照命令里的。
    base_of(model).generation_config = config

    history: Conversation = [{"role": "system", "content": arguments.system}] if arguments.system else []
    if arguments.message is not None:
        answer(model, tokenizer, config, history, arguments.message, arguments.raw)
    else:
        talk(model, tokenizer, config, history, arguments.raw)


def talk(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    config: "GenerationConfig",
    start: Conversation,
    raw: bool,
) -> None:
    """一问一答，直到 /exit、Ctrl-D，或在等着输入时按 Ctrl-C。"""
    print("接着写：输入开头，/exit 结束。" if raw else f"多轮对话：{COMMANDS}")
    history = list(start)
    try:
        while (message := input("\n> ").strip()) not in EXITS:
            if message == "/help":
                print(COMMANDS)
            elif message == "/reset":
                history = list(start)
                print("（前面的话已经忘掉）")
            elif message.startswith("/") and message[1:].isalpha() and message.isascii():
                print(f"没有 {message} 这个命令。{COMMANDS}")
            elif message:
                try:
                    history = answer(model, tokenizer, config, history, message, raw)
                except Terminated:
                    raise
                except KeyboardInterrupt:
                    print("\n（停下了；这一问不算，接着问吧）")
    except Terminated:  # SIGTERM 要的是结束，不是停下这一问
        raise
    except (EOFError, KeyboardInterrupt):
        print()


def answer(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    config: "GenerationConfig",
    history: Conversation,
    message: str,
    raw: bool,
) -> Conversation:
    """一边生成一边打印回答；返回加上这一轮之后的对话（``raw`` 时每次从头开始，原样返回）。"""
    import torch
    from transformers import TextStreamer

    from finetuning.chat_format import chat_format
    from finetuning.model import max_positions

    class Terminal(TextStreamer):
        """边生成边打印；攒够完整的字才打印，所以由几个字节 token 拼成的字不会变成乱码。"""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            super().on_finalized_text(printable(text), stream_end)

    asked: Conversation = [*history, {"role": "user", "content": message}]
    if raw:
        # 预训练时每篇文章都以 BOS 或文档分隔符（这里兼作填充 token）开头。
        start_id = tokenizer.pad_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        prompt = [start_id, *tokenizer(message, add_special_tokens=False)["input_ids"]]
    else:
        try:
            prompt = chat_format(tokenizer).prompt(asked)  # 与训练时回答之前的 id 完全相同
        except BadRowError as error:  # 例如模型自己的模板不收系统提示
            raise UserError(f"{error}。") from error
    limit = max_positions(model) or sys.maxsize
    if len(prompt) >= limit:
        print(f"对话太长（{len(prompt)} 个 token，模型最多能看 {limit} 个）；请用 /reset 重新开始。")
        return history

    streamer = Terminal(tokenizer, skip_prompt=True, skip_special_tokens=True)
    input_ids = torch.tensor([prompt], device=model.device)
    output = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        generation_config=config,
        max_new_tokens=min(config.max_new_tokens, limit - len(prompt)),  # 位置用完了，再写就会出错
        streamer=streamer,
    )
    if raw:
        return history
    reply = cast(str, tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True))
    return [*asked, {"role": "assistant", "content": reply}]


if __name__ == "__main__":
    run_main(main)
