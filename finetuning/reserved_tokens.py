"""词表里留着没用的 token：改一个名字，就是对话的标记，不必给嵌入加行。

很多词表留了一些空位：Gemma 的 ``<unused0>``，Llama 3 的 ``<|reserved_special_token_0|>``，DeepSeek 的
``<｜place▁holder▁no▁0｜>``，Mistral 的 ``<SPECIAL_20>``，BERT 词表的 ``[unused1]``。嵌入矩阵里有它们的行，
它们是留给后来用的，预训练的文字里应当没有。拿两个来当 ``<|im_start|>`` 和 ``<|im_end|>``，模型的形状一点不变。

改名没有现成的接口。这里走的是公开的一条路：分词器存成文件，在 tokenizer.json 里改名，再读回来；读回来的与原来的逐样
比过，除了改的名字，有一样不同就不用它。所以训练完存下来，再读也一定是这样。
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

# 括号里是“没用”一类的词和一个号码。T5 一类的 <extra_id_0> 不算：预训练时就用它们来挖空。
_RESERVED = re.compile(
    r"[<\[>]+[|｜]?[a-z_▁]*(unused|reserved|extra(?!_id)|special|control|dummy|place[_▁]?holder)[a-z_▁]*\d+[|｜]?[>\]<]+",
    re.IGNORECASE,
)
_PROBE = "今天天气怎么样？  Hello, world!\n\n12 + 34 = 46\tdéjà vu 🙂\n"


def find_reserved(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, count: int) -> list[str]:
    """``count`` 个留着没用的 token，从号码小的取起；不够就有几个算几个。

    嵌入里要有它的行；分词器、配置、对话模板里提到的不算：那样的已经有了用处。
    """
    layers: Any = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = min(layer.weight.shape[0] for layer in layers)
    used = {*tokenizer.special_tokens_map.values(), *_mentioned(model, tokenizer)}
    template = str(tokenizer.chat_template or "")
    found: list[str] = []
    for token, token_id in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if token_id < rows and _RESERVED.fullmatch(token) and token not in used and token not in template:
            found.append(token)
    return found[:count]


def _mentioned(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterable[str]:
    """配置里提到的 token，如 ``eos_token_id``。"""
    for config in (model.config, model.config.get_text_config(), model.generation_config):
        for name, value in config.to_dict().items():
            if "token" in name:
                ids = value if isinstance(value, list) else [value]
                yield from (str(tokenizer.convert_ids_to_tokens(each)) for each in ids if type(each) is int)


def renamed(tokenizer: PreTrainedTokenizerBase, names: dict[str, str]) -> PreTrainedTokenizerBase | None:
    """同样的分词器，``names`` 里的 token 改了名字，成了特殊 token；做不到就是 None。

    Args:
        names: 原来的名字 → 新的名字。
    """
    if not tokenizer.is_fast:  # 没有 tokenizer.json
        return None
    with TemporaryDirectory() as directory:
        tokenizer.save_pretrained(directory)
        for file, rename in (("tokenizer.json", _rename_in_tokenizer), ("tokenizer_config.json", _rename_everywhere)):
            path = Path(directory, file)
            content = rename(json.loads(path.read_text(encoding="utf-8")), names, tokenizer.get_vocab())
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        try:
            new = type(tokenizer).from_pretrained(directory)
        except Exception:  # 各种分词器各有各的不许（如 BPE 的合并规则里有它），类型列不全
            return None
    new.name_or_path = tokenizer.name_or_path
    return new if _differ_only_in_names(tokenizer, new, names) else None


def _rename_in_tokenizer(content: dict[str, Any], names: dict[str, str], vocabulary: dict[str, int]) -> dict[str, Any]:
    """tokenizer.json：普通的词表，和单独列出的 token（这里才写着它是不是特殊的）。"""
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): token_id for token, token_id in model["vocab"].items()}
    else:  # Unigram：[[token, 分数], …]
        model["vocab"] = [[names.get(token, token), score] for token, score in model["vocab"]]
    markers = [
        {"id": vocabulary[old], "content": new, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for old, new in names.items()
    ]
    others = [token for token in content["added_tokens"] if token["content"] not in names]
    content["added_tokens"] = sorted(others + markers, key=lambda token: token["id"])
    return content


def _rename_everywhere(content: Any, names: dict[str, str], vocabulary: dict[str, int]) -> Any:
    """tokenizer_config.json：有的把所有特殊 token 的名字另列一遍。"""
    if isinstance(content, dict):
        return {key: _rename_everywhere(value, names, vocabulary) for key, value in content.items()}
    if isinstance(content, list):
        return [_rename_everywhere(value, names, vocabulary) for value in content]
    return names.get(content, content) if isinstance(content, str) else content


def _differ_only_in_names(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, names: dict[str, str]) -> bool:
    vocabulary = old.get_vocab()
    ids = [vocabulary[token] for token in names]
    return (
        new.get_vocab() == {names.get(token, token): token_id for token, token_id in vocabulary.items()}
        and new.special_tokens_map == old.special_tokens_map
        and new(_PROBE)["input_ids"] == old(_PROBE)["input_ids"]
        and _plain(new, _PROBE) == _plain(old, _PROBE)
        and new("".join(names.values()), add_special_tokens=False)["input_ids"] == ids
        and all(set(ids).isdisjoint(_plain(new, name)) for name in names.values())
    )


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """当作普通的文字编码，见 :meth:`finetuning.chatml.ChatML.encode`。"""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
