"""看数据：埋进去的毛病一个不漏，好的一个不冤枉；个人信息从不露出来；干净的数据读出来还是同样的对话。"""

import json
import random
import re
from pathlib import Path

import pytest
from child_processes import run_command
from toy_models import toy_model
from toy_tokenizers import byte_level, chatml, chatml_with_bos

from data_solution import SFTDataset
from finetuning.chat_format import chat_format
from finetuning.chatml import control_tokens
from finetuning.errors import UserError
from finetuning.formats import to_conversation
from finetuning.inspection.cleaning import native
from finetuning.inspection.content import look
from finetuning.inspection.examine import Reader, examine
from finetuning.inspection.findings import find, suggested_length, verdict
from finetuning.inspection.lengths import Tokens
from finetuning.inspection.personal import find_personal, is_bank_card, is_id_card, masked
from finetuning.inspection.publishing import check_outputs, published
from finetuning.inspection.report import Report, as_text
from finetuning.inspection.samples import Piece, Sample
from finetuning.model import load_model, load_tokenizer
from finetuning.reading import Row
from finetuning.sources import parse_sources
from finetuning.template_dataset import TemplateDataset

ROOT = Path(__file__).parents[1]
NOTHING = re.compile("(?!)")

# 好的：没有毛病，其中有些长得像有毛病。
GOOD = [
    ("鲸鱼是鱼吗？", "不是。鲸鱼用肺呼吸，胎生哺乳，是哺乳动物。"),
    ("怎样把煮鸡蛋的壳剥得干净？", "煮好以后马上放进冷水里泡三五分钟，蛋白遇冷收缩，壳就容易剥下来了。"),
    ("请用 HTML 写一个段落。", "<p>这是一个段落。</p>"),
    ("Vue 的模板里怎样显示变量 name？", "写成 {{ name }}，数据变了，页面跟着变。"),
    (
        "把“今天下雨，我没有去公园”翻译成英文。",
        "It rained today, so I did not go to the park. I stayed at home reading.",
    ),
    ("介绍一下长城的历史。", "长城始建于春秋战国，秦统一以后连成一线，现在看到的多是明代修的砖石长城。"),
    ("三千零二十写成数字是什么？", "3020"),
    ("这句话里有没有人名：“今天真热。”", "没有"),
    ("用 Python 打印列表里的每个元素。", "```python\nfor item in items:\n    print(f'<b>{item}</b>', '{{x}}')\n```"),
    ("为什么晚上的天空是黑的？", "因为宇宙在膨胀，年龄也有限，远处的星光来不及照亮整个天空，这叫奥伯斯佯谬。"),
    ("我的订单号是 2024051812345678901，什么时候到？", "您的包裹已经到了本市，预计明天下午送达，请留意快递员的电话。"),
    ("圆周率是多少？", "约等于 3.14159265358979323846，平时用 3.14 就够了。"),
    ("分词器里的 </s> 是什么意思？", "它是序列结束的标记，模型生成到它就停下。"),
    ("法国人怎么说“谢谢”？", "Merci，读音接近“麦赫西”。café、naïve 这样带符号的字母也来自法语。"),
    ("感冒了怎么办？", "多喝水，多休息；高烧不退，或者三天还不见好，要去看医生。"),
    ("怎样跟客户道歉？", "可以这样说：很抱歉给您带来不便，我们会在今天之内把货补发给您。"),
    ("什么是光合作用？", "植物用叶绿素吸收阳光，把二氧化碳和水变成糖，放出氧气。"),
    ("李白是哪个朝代的人？", "唐代。他与杜甫齐名，后人合称“李杜”。"),
    ("一斤棉花和一斤铁哪个重？", "一样重，都是一斤；只是棉花的体积大得多。"),
    ("地震来了往哪里躲？", "在室内就躲到结实的桌子下面，护住头；不要坐电梯，也不要往窗边跑。"),
]
LONG = "做红烧肉先把五花肉切块焯水，再用小火炒糖色，下肉翻匀，加酱油、料酒和热水，盖上锅盖慢炖一个小时，最后大火收汁。"


def planted() -> dict[str, list[tuple[str, str]]]:
    """埋进去的：种类 → 几段（问, 答）。"""
    return {
        "duplicate": [GOOD[0], GOOD[5]],
        "near_duplicate": [
            ("介绍一下长城的历史", "长城始建于春秋战国，秦统一以后连成一线。现在看到的，多是明代修的砖石长城"),
            ("红烧肉应该怎么做才好吃呢？请一步一步说清楚。", LONG.replace("慢炖", "小火慢炖")),
        ],
        "contradiction": [("水在多少度结冰？", "零度"), ("水在多少度结冰？", "四度")],
        "leak": [("太阳系里最大的行星是哪一颗？", "木星。")],
        "near_leak": [
            ("请你说说，中国的四大发明分别是哪几样，各自又是在什么时候出现的？", "造纸、印刷、火药、指南针。")
        ],
        "empty_answer": [("月亮上有水吗？", "无"), ("讲一个关于狐狸的故事。", " N/A。"), ("推荐一部纪录片。", "……")],
        "empty_input": [("给这首歌写一句评语。\n无", "旋律轻快，像清晨的风。")],
        "placeholder": [("给客户写一句问候。", "{{customer_name}}您好，祝您生活愉快！")],
        "control_token": [
            ("什么是潮汐？", "月球的引力让海水涨落。<|im_end|>\n<|im_start|>user"),
            ("[INST] 讲个冷知识 [/INST]", "章鱼有三颗心脏。"),
            ("蜜蜂怎么认路？", "靠太阳的方位。</s>"),
        ],
        "mojibake": [
            ("锟斤拷锟斤拷的作者是谁？", "鲁迅写过很多小说。"),
            ("杭州有什么好玩的地方？", "西湖最有名，春天去最好。".encode().decode("latin-1")),
            ("“端午节”要做什么？", "赛龙舟，吃粽子，挂艾草。".encode().decode("gb18030", "replace")),
            ("苏州的园林有哪些？", "拙政园\ufffd\ufffd留园。"),
        ],
        "markup": [("简单介绍一下敦煌。", "敦煌在甘肃西部，<br>莫高窟最有名。&nbsp;")],
        "refusal": [("帮我算一算明年的运势。", "很抱歉，作为一个人工智能助手，我无法预测您的运势。")],
        "identity": [("你是谁开发的？", "我是由 OpenAI 训练的 ChatGPT，很高兴为您服务。")],
        "not_chinese": [
            ("怎样保护眼睛？", "Take a break every twenty minutes and look at something far away from you.")
        ],
        "手机号": [
            ("怎么联系你们？", "请拨打 13912345678，工作日都有人接。"),
            ("我电话１３８００１３８０００", "好的，记下了。"),
        ],
        "身份证号": [("帮我登记：11010519491231002X", "已经登记好了。")],
        "银行卡号": [("往 6222 0212 3456 7890 128 转账行吗？", "请先核对户名。")],
        "邮箱": [("资料发到哪里？", "请发到 zhang.san@corp.com.cn，标题写上姓名。")],
    }


SECRETS = ["13912345678", "１３８００１３８０００", "11010519491231002X", "6222 0212", "zhang.san", "corp.com"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """埋好的数据，和每种在第几行。"""
    directory = tmp_path_factory.mktemp("data")
    rows = [*GOOD, ("红烧肉应该怎么做才好吃？请一步一步说清楚。", LONG)]
    lines: dict[str, list[int]] = {}
    for kind, pairs in planted().items():
        lines[kind] = list(range(len(rows) + 1, len(rows) + 1 + len(pairs)))
        rows += pairs
    messages = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], "来源": "网上"}
        for asked, said in rows
    ]
    write(directory / "train.jsonl", messages)
    bad = ['{"messages": []}', '{"messages": [{"role": "13912345678", "content": "x"}]}', "不是 JSON"]
    with (directory / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n".join(bad) + "\n")
    tests = [
        ("太阳系里最大的行星是哪一颗", "木星"),
        ("请说说，中国的四大发明分别是哪几样，各自又是在什么时候出现的", "略。"),
        ("秦始皇是哪一年统一六国的？", "前221年"),
    ]
    write(directory / "test.jsonl", [{"instruction": asked, "output": said} for asked, said in tests])
    return directory, lines, len(rows)


def write(path: Path, rows: list) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def look_at(path, test=None, tokenizer=None, max_length=512, columns=None):
    bad_rows = Path(path).parent / "bad"
    bad_rows.mkdir(exist_ok=True)
    tokenizer = tokenizer or chatml()
    test = None if test is None else str(test)
    return examine(parse_sources([str(path)]), test, tokenizer, SFTDataset, columns or {}, max_length, bad_rows)[0]


def found_lines(examined) -> dict[str, list[int]]:
    """每一种找到的行。"""
    survey, (duplicates, conflicts, leaks) = examined.survey, examined.overlaps
    line = lambda numbers: [survey.rows[int(n)].line for n in numbers]  # noqa: E731
    found = {kind: line(survey.flagged(kind)) for kind in survey.tallies}
    others = {"duplicate": duplicates.exact, "near_duplicate": duplicates.near}
    if leaks is not None:
        others |= {"leak": leaks.exact, "near_leak": leaks.near}
    found |= {kind: line((numbers >= 0).nonzero()[0]) for kind, numbers in others.items()}
    found["contradiction"] = line(row for conflict in conflicts.short for row, _ in conflict.answers)
    return found


def test_every_planted_row_and_no_other_is_found(data):
    directory, lines, total = data
    examined = look_at(directory / "train.jsonl", directory / "test.jsonl")
    assert len(examined.survey) == total
    assert found_lines(examined) == lines


def test_findings_say_how_many_and_where(data):
    directory, lines, total = data
    survey, overlaps, bad, *_ = look_at(directory / "train.jsonl", directory / "test.jsonl")
    findings = {finding.slug: finding for finding in find(survey, overlaps, bad)}
    for kind, expected in lines.items():
        assert findings[kind].count == len(expected), kind
        assert f"第 {expected[0]} 行" in findings[kind].examples[0].place
    assert findings["bad_row"].count == 3
    assert survey.unused == {"来源": total}
    assert "先别训练" in verdict(list(findings.values()), None)
    assert bad.total == 3
    assert {count for _, count, _ in bad.reasons} == {1}
    assert not any("13912345678" in reason for reason, *_ in bad.reasons)


def test_our_own_data_raises_no_false_alarm():
    """自带的数据是用模板写的：近似的只有真的只差一点的，别的一件也没有。"""
    survey, overlaps, bad, *_ = look_at_own(ROOT / "data/dev.jsonl")
    slugs = {finding.slug: finding.count for finding in find(survey, overlaps, bad)}
    assert slugs.keys() <= {"near_duplicate", "few"}
    assert slugs.get("near_duplicate", 0) <= 4


def look_at_own(path):
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as bad_rows:
        return examine(parse_sources([str(path)]), None, chatml(), SFTDataset, {}, 512, Path(bad_rows))[0]


def passage(rng: random.Random, size: int) -> str:
    return "".join(chr(rng.randint(0x4E00, 0x6E00)) for _ in range(size))


def test_small_changes_are_found_wherever_they_are(tmp_path):
    """两三百字的对话，改三处、隔得很远也找得到。"""
    rng = random.Random(0)
    rows, copies = [], []
    for _ in range(150):
        asked, said = passage(rng, rng.randint(60, 120)), passage(rng, rng.randint(100, 200))
        rows.append({"instruction": asked, "output": said})
        changed = list(said)
        for place in rng.sample(range(len(changed)), 3):
            changed[place] = rng.choice(["", "的", changed[place] + "了"])
        copies.append({"instruction": asked + "？", "output": "".join(changed)})
    rng.shuffle(copies)
    write(tmp_path / "a.jsonl", rows + copies)
    assert found_lines(look_at(tmp_path / "a.jsonl"))["near_duplicate"] == list(range(151, 301))


def test_what_only_looks_alike_is_no_duplicate(tmp_path):
    """模板、同一篇短文的几个问题、客服的套话、换了身份的同一句话：各有各的用处。"""
    rng = random.Random(0)
    names = [passage(rng, 2) for _ in range(400)]
    rows = []
    for number in range(300):
        one, two = rng.sample(names, 2)
        asked = f"{one}有{number + 3}个苹果，送给{two}一半，又买来{number * 7 + 5}个，现在{one}一共有多少个苹果？"
        rows.append({"instruction": asked, "output": f"{one}现在一共有{number * 8}个苹果。"})
    text = passage(rng, 400)
    for about in ("作者是什么时候写下这篇短文的？", "文章里的老人为什么要离开家乡？", "第二段主要讲了什么事情？"):
        rows.append({"instruction": f"{text}\n{about}", "output": passage(rng, 60)})
    canned = "亲，您的问题已经收到，专员会在二十四小时之内与您联系，请保持电话畅通，感谢您的耐心等待，祝您生活愉快！"
    for _ in range(80):
        rows.append({"instruction": passage(rng, rng.randint(8, 30)), "output": canned})
    for who in ("医生", "律师", "厨师"):
        said = [{"role": "system", "content": f"你是一名{who}。"}, {"role": "user", "content": text[:60]}]
        rows.append({"messages": [*said, {"role": "assistant", "content": text[100:160]}]})
    write(tmp_path / "a.jsonl", rows)
    found = found_lines(look_at(tmp_path / "a.jsonl"))
    assert found["duplicate"] == found["near_duplicate"] == found["contradiction"] == []


# ----------------------------------------------------------------------------------------------------------------------
# 长度：与训练时的数据集逐个相同

RICH = [
    {"messages": [{"role": "user", "content": "今天天气"}, {"role": "assistant", "content": "晴朗<|im_end|>"}]},
    {
        "messages": [
            {"role": "user", "content": "北京多少度"},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": '{"城市": "北京"}'}]},
            {"role": "tool", "content": "12"},
            {"role": "assistant", "content": "十二度。", "reasoning_content": "查到了"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "查天气"}}],
        "skill": "工具",
    },
    {
        "messages": [
            {"role": "system", "content": "你是助手。"},
            {"role": "user", "content": "一"},
            {"role": "assistant", "content": "不学的", "weight": 0},
            {"role": "user", "content": "二"},
            {"role": "assistant", "content": "学的"},
        ]
    },
    {"instruction": "翻译", "input": "你好", "output": "Hello", "history": [["早", "早上好"]], "system": "简短"},
    {"conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}], "skill": "闲谈"},
    {"question": "几点", "answer": "三点"},
]  # fmt: skip


def template_tokenizer():
    """有自己的对话模板的。"""
    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    return tokenizer


@pytest.mark.parametrize("make", [chatml, chatml_with_bos])
def test_lengths_are_those_of_training(make, tmp_path):
    write(tmp_path / "a.jsonl", RICH)
    tokenizer = make()
    trained = SFTDataset(tmp_path / "a.jsonl", tokenizer, 40)
    lengths = look_at(tmp_path / "a.jsonl", tokenizer=tokenizer, max_length=40).survey.lengths
    assert lengths.num_cut == trained.num_truncated + trained.num_dropped > 0
    assert lengths.num_dropped == trained.num_dropped
    seen = [trained[n] for n in range(len(trained))]
    learnt = sum(label != -100 for each in seen for label in each["labels"])
    dropped = lengths.num_dropped * 40
    assert lengths.learnt_share == learnt / (sum(len(each["input_ids"]) for each in seen) + dropped)
    whole = SFTDataset(tmp_path / "a.jsonl", tokenizer, 10**6)
    assert lengths.all.tolist() == [len(whole[n]["input_ids"]) for n in range(len(whole))]


def test_lengths_are_those_of_training_with_the_model_s_own_template(tmp_path):
    rows = [row for row in RICH if "tools" not in row]
    write(tmp_path / "a.jsonl", rows)
    tokenizer = template_tokenizer()
    trained = TemplateDataset([to_conversation(row) for row in rows], chat_format(tokenizer), 10**6)
    lengths = look_at(tmp_path / "a.jsonl", tokenizer=tokenizer).survey.lengths
    assert lengths.all.tolist() == [len(trained[n]["input_ids"]) for n in range(len(trained))]


def test_the_labels_shown_are_those_of_training(tmp_path):
    write(tmp_path / "a.jsonl", RICH)
    tokenizer = chatml()
    tokens = Tokens(tokenizer, chat_format(tokenizer), SFTDataset)
    conversations = [to_conversation(row) for row in RICH]
    tokens.ahead(conversations)
    trained = SFTDataset(tmp_path / "a.jsonl", tokenizer, 10**6)
    for number, [(ids, labels)] in enumerate(tokens.of(conversations)):
        assert {"input_ids": ids, "labels": labels} == trained[number]


def test_suggested_length_holds_99_percent(tmp_path):
    rows = [{"instruction": "写", "output": "字" * n} for n in range(1, 401)]
    write(tmp_path / "a.jsonl", rows)
    survey = look_at(tmp_path / "a.jsonl").survey
    length = suggested_length(survey)
    assert (survey.lengths.all <= length).mean() >= 0.99
    assert length % 64 == 0
    assert suggested_length(survey, 100) == 100


@pytest.mark.parametrize("template", ["chatml", "model"])
def test_the_tokenizer_alone_is_read_as_for_training(template, tmp_path):
    """只有分词器、没有权重的目录也读得了；编码出来的，与读整个模型时相同。"""
    model = toy_model()
    tokenizer = template_tokenizer()
    for place in ("alone", "whole"):
        tokenizer.save_pretrained(tmp_path / place)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tmp_path / "whole")
    conversation = to_conversation(RICH[0])
    alone = load_tokenizer(str(tmp_path / "alone"), template)
    whole = load_model(str(tmp_path / "whole"), template=template).tokenizer
    assert chat_format(alone).prompt(conversation) == chat_format(whole).prompt(conversation)
    assert control_tokens(alone)[1].pattern == control_tokens(whole)[1].pattern
    with pytest.raises(UserError, match="没有分词器"):
        load_tokenizer(str(tmp_path))


# ----------------------------------------------------------------------------------------------------------------------
# 清理：读出来还是同样的对话


@pytest.mark.parametrize("row", RICH, ids=str)
def test_native_rows_read_back_the_same(row):
    conversation, skill = to_conversation(row), row.get("skill")
    written = json.loads(json.dumps(native(Row("a", 1, conversation, skill)), ensure_ascii=False))
    assert to_conversation(written) == conversation
    assert written.get("skill") == skill


# ----------------------------------------------------------------------------------------------------------------------
# 个人信息


@pytest.mark.parametrize(
    ("number", "real"),
    [
        ("11010519491231002X", True),  # GB 11643-1999 里的例子
        ("440524188001010014", True),  # 同上
        ("110105194912310021", False),
        ("11010519491331002X", False),  # 没有 13 月
    ],
)
def test_id_cards(number, real):
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]  # 标准里的另一种算法
    check = "10X98765432"[sum(weight * int(digit) for weight, digit in zip(weights, number, strict=False)) % 11]
    assert is_id_card(number) is real
    if number[10:12] <= "12":
        assert is_id_card(number[:17] + check)


def test_bank_cards():
    assert is_bank_card("4111111111111111")
    assert is_bank_card("378282246310005")
    assert is_bank_card("5555 5555 5555 4444")
    assert not is_bank_card("4111111111111112")


@pytest.mark.parametrize("text", ["1.13912345678", "139123456789", "/item/13912345678", "a@b", "2024年5月18日 12:30"])
def test_not_personal(text):
    assert find_personal(text) == []


@pytest.mark.parametrize("text", ["139-1234-5678", "+86 13912345678", "139 1234 5678", "（13912345678）"])
def test_mobile_numbers_are_written_in_many_ways(text):
    assert [each.kind for each in find_personal(text)] == ["手机号"]
    assert "1234" not in masked(text)


def test_a_number_across_the_cut_is_masked_whole():
    text = "电话 13912345678 找我"
    assert masked(text, 0, 8) == "电话 〔手机号〕"
    assert masked(text, 8) == "〔手机号〕 找我"


# ----------------------------------------------------------------------------------------------------------------------
# 内容


@pytest.mark.parametrize(
    ("asked", "said", "kinds"),
    [
        ("介绍 Jinja 模板。", "用 {{ name }} 取值。", []),
        ("写诗", "`<|im_end|>` 是标记", []),
        ("写诗", "春眠不觉晓<|endoftext|>", ["control_token"]),
        ("写诗", "None of them.", []),
        ("写诗", "null", ["empty_answer"]),
        ("写诗", "春天 {{标题}} 来了", ["placeholder"]),
        ("写诗", "\\u4f60\\u597d", ["mojibake"]),
        ("温度", "25°C±1，5µm，½杯，©2020", []),
        ("你好", "Ça va? 你好！", []),
        ("写一个求和的算法", "def add(a, b):\n    total = a + b  # sum of the two numbers\n    return total", []),
        ("写诗", "很抱歉，我无法写诗。", ["refusal"]),
        ("写诗", "大家好，很抱歉地通知您，明天的活动不能如期举行。", []),
    ],
)
def test_contents(asked, said, kinds):
    conversation = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    assert [each.kind for each in look(conversation, NOTHING)] == kinds


# ----------------------------------------------------------------------------------------------------------------------
# 输出的文件


def test_outputs_are_never_overwritten(tmp_path):
    there = tmp_path / "a.jsonl"
    there.write_text("x")
    with pytest.raises(UserError, match="已经有了"):
        check_outputs({"--clean": there}, [])
    with pytest.raises(UserError, match="就是要看的"):
        check_outputs({"--clean": there}, [str(tmp_path / "." / "a.jsonl")])
    with pytest.raises(UserError, match="不存在"):
        check_outputs({"--report": tmp_path / "没有" / "a.html"}, [])
    with pytest.raises(UserError, match="同一个文件"):
        check_outputs({"--clean": tmp_path / "b", "--report": tmp_path / "b"}, [])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_run_leaves_nothing(tmp_path, error):
    def interrupted():
        with published([tmp_path / "a", tmp_path / "b"]) as files:
            files[0].write("半个")
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    def overtaken():
        with published([tmp_path / "a"]) as files:
            files[0].write("新的")
            (tmp_path / "a").write_text("别人的", encoding="utf-8")

    with pytest.raises(UserError, match="没有覆盖"):
        overtaken()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["别人的"]


def test_one_source_of_bad_rows_only_does_not_stop_the_others(tmp_path):
    (tmp_path / "bad.jsonl").write_text("{}\n", encoding="utf-8")
    write(tmp_path / "good.jsonl", RICH[-1:])
    reader = Reader(chat_format(chatml()), {}, tmp_path)
    assert len(list(reader.read([str(tmp_path / "bad.jsonl"), str(tmp_path / "good.jsonl")]))) == 1
    assert reader.grouped().total == 1
    with pytest.raises(UserError, match="全是坏行"):
        look_at(tmp_path / "bad.jsonl")


# ----------------------------------------------------------------------------------------------------------------------
# 整个命令


def test_the_terminal_is_coloured_line_by_line():
    """颜色不跨行；去掉颜色，文字还在。没有颜色的，要学的用括号标出。"""
    sample = Sample("a 第 1 行", [Piece("问\n", False), Piece("答一\n答二", True)], 5, 2, 0)
    report = Report([], [(0, 9, 1)], [], [], [], [sample], [], "好", "命令", [])
    colored = as_text(report, color=True)
    assert "\033[32m答一\033[0m\n    \033[32m答二\033[0m" in colored
    assert "【答一\n    答二】" in as_text(report, color=False)


def run(*words, cwd=ROOT):
    return run_command("inspect_data.py", *words, cwd=cwd)


def test_the_whole_command(data, tmp_path):
    directory, lines, total = data
    clean, page = tmp_path / "clean.jsonl", tmp_path / "report.html"
    done = run(
        *(directory / "train.jsonl", "--test_file", directory / "test.jsonl"),
        *("--clean", clean, "--report", page, "--keep", "placeholder"),
    )
    assert done.returncode == 0, done.stderr
    left_out = [json.loads(line) for line in (tmp_path / "clean.left_out.jsonl").read_text("utf-8").splitlines()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.jsonl", "clean.left_out.jsonl", "report.html"]

    kept_kinds = ("contradiction", "empty_input", "markup", "refusal", "identity", "not_chinese", "placeholder")
    dropped = sorted(line for kind, numbers in lines.items() if kind not in kept_kinds for line in numbers)
    assert [row["line"] for row in left_out] == [*dropped, total + 1, total + 2, total + 3]
    assert all(row["file"].endswith("train.jsonl") and row["reason"] for row in left_out)
    original = [json.loads(line) for line in (directory / "train.jsonl").read_text("utf-8").splitlines()[:total]]
    expected = [to_conversation(row) for number, row in enumerate(original, 1) if number not in dropped]
    written = [json.loads(line) for line in clean.read_text("utf-8").splitlines()]
    assert [to_conversation(row) for row in written] == expected

    told = [done.stdout, done.stderr, page.read_text("utf-8"), (tmp_path / "clean.left_out.jsonl").read_text("utf-8")]
    for secret in SECRETS:
        assert not any(secret in text for text in told), secret
    assert "\033" not in done.stdout
    assert "自带基座的分词器" in done.stdout
    assert "--model_name_or_path" in done.stdout
    assert f"--train_file {clean}" in done.stdout
    assert "--learning_rate 2e-4" in done.stdout
    html = told[2]
    assert not re.search(r"<script|src=|<link|url\(|https?://", html)
    assert "<mark>" in html
    assert "&lt;br&gt;" in html
    assert "prefers-color-scheme: dark" in html


def test_wrong_calls_are_one_sentence(tmp_path):
    write(tmp_path / "a.jsonl", RICH)
    for words, said, code in (
        ([], "请给出要看的数据", 2),
        ([tmp_path / "a.jsonl", "--keep", "leak"], "--keep 要与 --clean", 2),
        ([tmp_path / "a.jsonl", "--max_length", "1"], "--max_length 至少是 2", 2),
        ([tmp_path / "a.jsonl", "--clean", tmp_path / "a.jsonl"], "就是要看的", 1),
    ):
        done = run(*words)
        assert done.returncode == code
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
