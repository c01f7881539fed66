"""chat.py：真正的进程，问一句、多轮、接着写；编码与训练相同。"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from child_processes import run_command, without_notices
from peft import LoraConfig, get_peft_model
from toy_models import save_toy

import chat as chat_script
from chat import answer, main
from data_solution import SFTDataset
from finetuning.collator import PackedCollator
from finetuning.errors import Terminated, run_main
from finetuning.model import load_model
from finetuning.terminal import printable

ROOT = Path(__file__).parents[1]
WEATHER = [
    {"role": "user", "content": "今天天气怎么样？"},
    {"role": "assistant", "content": "今天天气晴朗😀，\n适合出游。"},
]
CAT = [{"role": "user", "content": "猫喜欢什么？"}, {"role": "assistant", "content": "猫喜欢鱼。"}]
CONVERSATIONS = [
    WEATHER,
    [*WEATHER, CAT[0], {"role": "assistant", "content": "刚才说天气，现在说猫：鱼。"}],
    CAT,
    [{"role": "system", "content": "你是小助手。"}, CAT[0], {"role": "assistant", "content": "小助手不知道。"}],
]


def memorise(model, tokenizer):
    """背下上面的对话：第二轮的回答要看得见第一轮才对。"""
    batch = PackedCollator()(list(SFTDataset(CONVERSATIONS, tokenizer)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(250):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat")
    save_toy(path / "base")
    save_toy(path / "no_chatml", chatml=False)
    model, tokenizer, _ = load_model(str(path / "base"))
    memorise(model, tokenizer)
    model.save_pretrained(path / "full")
    tokenizer.save_pretrained(path / "full")
    model, tokenizer, _ = load_model(str(path / "base"))
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"))
    memorise(model, tokenizer)
    model.peft_config["default"].base_model_name_or_path = "base"
    model.save_pretrained(path / "adapter")
    tokenizer.save_pretrained(path / "adapter")
    return path


def chat(workplace, *arguments, text=""):
    return run_command("chat.py", *arguments, cwd=workplace, text=text)


@pytest.mark.parametrize("model", ["full", "adapter"])
def test_one_shot_answers_as_trained(workplace, model):
    """多字节的 😀 由几个 token 拼成，不能变成乱码；回答里的换行照样打印。"""
    result = chat(workplace, model, "--message", "今天天气怎么样？")
    assert (result.returncode, without_notices(result.stderr)) == (0, "")
    assert result.stdout == WEATHER[1]["content"] + "\n"


def test_session_remembers_and_forgets(workplace):
    text = "今天天气怎么样？\n\n猫喜欢什么？\n/reset\n猫喜欢什么？\n/exit\n再也读不到这一行\n"
    result = chat(workplace, "full", text=text)
    assert (result.returncode, without_notices(result.stderr)) == (0, "")
    first, second, third = (
        result.stdout.find(words) for words in ("晴朗😀", "刚才说天气，现在说猫：鱼。", "猫喜欢鱼。")
    )
    assert 0 < first < second < third
    assert result.stdout.count("猫") == 2


def test_system_prompt_and_end_of_input(workplace):
    result = chat(workplace, "full", "--system", "你是小助手。", text="猫喜欢什么？\n")  # 然后是 Ctrl-D
    assert (result.returncode, without_notices(result.stderr)) == (0, "")
    assert "小助手不知道。" in result.stdout


def test_raw_continues_text(workplace):
    """不套对话格式：与直接把 <|endoftext|> 加原文交给模型相同；没有学过对话的基座也行。"""
    result = chat(workplace, "no_chatml", "--raw", "--message", "今天", "--max_new_tokens", "5")
    assert (result.returncode, without_notices(result.stderr)) == (0, "")
    model, tokenizer, _ = load_model(str(workplace / "no_chatml"))
    ids = torch.tensor([[0, *tokenizer("今天")["input_ids"]]])
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
    continuation = tokenizer.decode(expected[0, ids.shape[1] :], skip_special_tokens=True)
    assert result.stdout == printable(continuation) + "\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["./missing"], 1, "missing"),
        (["no_chatml"], 1, "--raw"),
        (["full", "--temprature", "1"], 2, "--temprature"),
        (["full", "--raw", "--system", "x"], 2, "--system"),
        (["full", "--seed", "-1"], 2, "--seed"),
        (["full", "--seed", "99999999999"], 2, "--seed"),
        (["full", "--temperature", "nan"], 2, "--temperature"),
        (["full", "--temperature", "inf"], 2, "--temperature"),
        (["full", "--max_new_tokens", "0"], 2, "--max_new_tokens"),
        (["full", "--message", "a\udcff"], 2, "UTF-8"),
    ],
)
def test_mistakes_are_one_sentence(workplace, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "argv", ["chat.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_main(main)
    output = capsys.readouterr()
    assert stop.value.code == code
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert words in output.err


def test_help_is_quick_and_chinese(workplace):
    result = chat(workplace, "--help")
    assert result.returncode == 0
    assert "uv run python chat.py outputs/lora" in result.stdout


ESCAPES = "\x1b]52;c;aGk=\x07\x1b[2J\u202e反\u2066\x9b1m 全角\u3000空格 👩\u200d🔬\n第二行"


def test_control_characters_do_not_reach_the_terminal(workplace, monkeypatch, capsys):
    """模型背下了清屏、改剪贴板、双向控制的序列：打印出来的没有一个起作用；普通的文字一个不变。"""
    from transformers import GenerationConfig, PreTrainedModel

    model, tokenizer, _ = load_model(str(workplace / "base"))
    ids = tokenizer(ESCAPES, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def write(self, input_ids, streamer, **kwargs):
        streamer.put(input_ids)
        for token in ids:
            streamer.put(torch.tensor([token]))
        streamer.end()
        return torch.cat([input_ids[0], torch.tensor(ids)])[None]

    monkeypatch.setattr(PreTrainedModel, "generate", write, raising=False)
    monkeypatch.setattr(type(model), "generate", write)
    answer(model, tokenizer, GenerationConfig(max_new_tokens=5), [], "你好", False)
    said = capsys.readouterr().out
    assert said == "·]52;c;aGk=··[2J·反··1m 全角\u3000空格 👩\u200d🔬\n第二行\n"


def test_a_reader_that_leaves_is_no_error(workplace):
    """``python chat.py … | head``：读的人走了，没有调用栈。"""
    command = [sys.executable, ROOT / "chat.py", "full"]
    process = subprocess.Popen(command, cwd=workplace, stdin=-1, stdout=-1, stderr=-1, encoding="utf-8")
    process.stdout.close()
    process.stdin.write("今天天气怎么样？\n" * 3)
    process.stdin.close()
    said = process.stderr.read()
    assert "Error" not in said, said
    process.wait()


def talk_with(
    monkeypatch, capsys, replies: list[str], stopped: tuple[str, ...] = (), by: BaseException | None = None
) -> tuple[list[str], str]:
    """在等着输入的地方依次给出 ``replies``；``stopped`` 里的，回答到一半按 Ctrl-C，或收到 ``by``。

    返回每次问的时候有哪些话，和打印的。
    """
    seen: list[str] = []
    words = iter(replies)

    def say(model, tokenizer, config, history, message, raw):
        seen.append("|".join([*(each["content"] for each in history), message]))
        if message in stopped:
            raise by or KeyboardInterrupt
        return [*history, {"role": "user", "content": message}, {"role": "assistant", "content": f"答{message}"}]

    monkeypatch.setattr(chat_script, "answer", say)
    monkeypatch.setattr("builtins.input", lambda prompt: next(words))
    chat_script.talk(None, None, None, [], False)
    return seen, capsys.readouterr().out


def test_ctrl_c_stops_the_answer_and_not_the_chat(monkeypatch, capsys):
    seen, said = talk_with(monkeypatch, capsys, ["一", "二", "三", "/exit"], stopped=("二",))
    assert seen == ["一", "一|答一|二", "一|答一|三"], "停下的一问不留在后面的上文里"
    assert "停下了" in said


def test_sigterm_ends_the_chat(monkeypatch, capsys):
    with pytest.raises(Terminated):
        talk_with(monkeypatch, capsys, ["一", "二"], stopped=("一",), by=Terminated(signal.SIGTERM))


@pytest.mark.parametrize("word", ["/exit", "/quit", "exit", "quit", "退出"])
def test_words_that_end_the_chat(monkeypatch, capsys, word):
    assert talk_with(monkeypatch, capsys, ["你好", word, "不该问到"])[0] == ["你好"]


def test_commands(monkeypatch, capsys):
    seen, said = talk_with(monkeypatch, capsys, ["你好", "/help", "/rest", "/reset", "1/2是多少", "/exit"])
    assert seen == ["你好", "1/2是多少"]
    assert "没有 /rest 这个命令" in said
    assert said.count("退出）结束") == 3  # 开头，/help，写错的命令


def test_an_instruct_model_is_asked_in_its_own_format(tmp_path, monkeypatch, capsys):
    """没有在这里训练过、带着自己的对话模板的模型：提示词与 apply_chat_template 相同，停在它自己的结束标记。"""
    from transformers import AutoTokenizer, PreTrainedModel

    base = save_toy(tmp_path / "instruct")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    )
    tokenizer.save_pretrained(base)
    asked = {}

    def generate(self, **options):
        asked.update(options)
        return options["input_ids"]

    monkeypatch.setattr(PreTrainedModel, "generate", generate, raising=False)
    monkeypatch.setattr("transformers.generation.utils.GenerationMixin.generate", generate)
    monkeypatch.setattr(sys, "argv", ["chat.py", str(base), "--system", "设定", "--message", "你好"])
    main()
    messages = [{"role": "system", "content": "设定"}, {"role": "user", "content": "你好"}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert asked["input_ids"][0].tolist() == expected
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in asked["generation_config"].eos_token_id
