"""照一个病例训练一次，记下症状；读数据、变标签、拼批次、训练、检验，都是真正的训练用的那些。"""

import contextlib
import copy
import io
import json
import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import prepare_model_for_kbit_training
from transformers import PreTrainedModel, set_seed

from clinic.cases import BATCH_SIZE, RATES, STEPS, Case
from clinic.faults import Rows
from clinic.symptoms import Symptoms, answer_symptoms, finite_log
from finetuning.adapter import new_adapter
from finetuning.arguments import DataArguments
from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PaddedCollator
from finetuning.conversations import Conversation
from finetuning.data import load_splits
from finetuning.errors import UserError
from finetuning.evaluate import Answer, generate_answers, mean_loss
from finetuning.model import load_model
from finetuning.observing import changed_share, data_symptoms, first_batch_symptoms, learnt_symptoms, training_symptoms
from finetuning.reading import load_conversations
from finetuning.training import build_trainer
from train_lora_solution import AdapterArguments, adapter_config, four_bit_options

_VALIDATION, _TEST = 200, 300
_SAMPLES = 5
_ADAPTERS = {
    "lora": AdapterArguments(),
    "lora_qv": AdapterArguments(target_modules=["q_proj", "v_proj"]),
    "dora": AdapterArguments(method="dora"),
    "qlora": AdapterArguments(method="qlora"),
    "prefix": AdapterArguments(method="prefix"),
}
_NEW_TOKENS = 48  # 最长的参考答案也放得下


class Clinic:
    """各个病例共用的基座和数据。"""

    def __init__(self, model: str = "base_model", directory: Path = Path("data")) -> None:
        self._name = model
        self.base, self.tokenizer, _ = load_model(model)
        self.train = load_conversations(str(directory / "train.jsonl"))
        self.validation = load_conversations(str(directory / "dev.jsonl"))[:_VALIDATION]
        self.test = load_conversations(str(directory / "test.jsonl"))[:_TEST]

    def treat(self, case: Case, seed: int) -> Symptoms:
        """训练一次。

        Returns:
            症状；损失不是有限的数、半路停下的，记到停下的地方。
        """
        chance = random.Random(seed)
        rows = Rows(self.train[: case.rows], self.validation, self.test)
        if case.data is not None:
            rows = case.data(rows, chance)
        set_seed(seed)
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
            directory = Path(name)
            args = _arguments(case, seed, directory)
            model: Any = self._four_bit(args) if case.method == "qlora" else copy.deepcopy(self.base)
            if case.base is not None:
                model = case.base(model)
            data = load_splits(_write(rows, directory, case.max_length), case.dataset_class, self.tokenizer, directory)
            before, exact_before, _ = self._examine(model, data.test, rows.test, case)
            if case.method != "full":
                model = new_adapter(model, adapter_config(_ADAPTERS[case.method], None))
            if case.model is not None:
                model = case.model(model)
            trainer = build_trainer(model, self.tokenizer, data, args, padding_free=True)
            if case.trainer is not None:
                case.trainer(trainer)
            symptoms: dict[str, Any] = (
                data_symptoms(data, self.tokenizer)
                | training_symptoms(trainer)
                | first_batch_symptoms(trainer, fresh_adapter=case.method not in ("full", "prefix"))
            )
            sizes = trainer.parameter_sizes()
            stopped = False
            spoken: dict[str, Any] = {}
            try:
                trainer.train()
            except UserError:  # 损失不是有限的数
                stopped = True
            log = finite_log(trainer.state.log_history)
            if stopped:
                log.append({"step": trainer.state.global_step + 1, "loss": math.inf})
                after, exact_after = math.inf, 0.0
            else:
                symptoms |= learnt_symptoms(trainer)
                if case.method != "qlora":  # 4 bit 的照 4 bit 检验
                    model.float()  # bf16 的权重也按 fp32 来检验，数值不变
                after, exact_after, spoken = self._examine(model, data.test, rows.test, case)
            symptoms |= {
                "log": log,
                "steps": trainer.state.global_step,
                "weights_changed": changed_share(sizes, trainer.parameter_sizes()),
                "before": before,
                "after": after,
                "exact_before": exact_before,
                "exact_after": exact_after,
            }
        return Symptoms(**symptoms | spoken)

    def _four_bit(self, args: SFTArguments) -> PreTrainedModel:
        """QLoRA 的基座，读入时量化。"""
        model, _, _ = load_model(self._name, **four_bit_options(args))
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)

    def _examine(
        self, model: PreTrainedModel, dataset: Any, tested: Sequence[Conversation], case: Case
    ) -> tuple[float, float, dict[str, Any]]:
        """检验数据的损失，逐字匹配，回答的特点。"""
        loss = mean_loss(model, dataset, PaddedCollator(self.tokenizer.pad_token_id))
        questions = [case.ask(row[:-1]) if case.ask else row[:-1] for row in tested]
        answers = generate_answers(model, self.tokenizer, questions, [_NEW_TOKENS] * len(questions))
        references = [row[-1]["content"] for row in tested]
        right = [answer.ended and answer.text == ref for answer, ref in zip(answers, references, strict=True)]
        spoken = answer_symptoms(references, [(answer.text, answer.ended) for answer in answers])
        shown = range(0, len(tested), max(1, len(tested) // _SAMPLES))
        spoken |= {
            "tested_system_share": sum(question[0]["role"] == "system" for question in questions) / len(questions),
            "samples": [[questions[n][-1]["content"], references[n], _shown(answers[n])] for n in shown][:_SAMPLES],
        }
        return loss, sum(right) / len(right), spoken


def _shown(answer: Answer) -> str:
    return answer.text if answer.ended else f"{answer.text}……（没有停下）"


def _write(rows: Rows, directory: Path, max_length: int) -> DataArguments:
    for split in ("train", "validation", "test"):
        lines = [json.dumps({"conversations": row}, ensure_ascii=False) for row in getattr(rows, split)]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DataArguments(
        train_file=[str(directory / "train.jsonl")],
        validation_file=str(directory / "validation.jsonl"),
        test_file=str(directory / "test.jsonl"),
        max_length=max_length,
    )


def _arguments(case: Case, seed: int, directory: Path) -> SFTArguments:
    settings: dict[str, Any] = {
        "learning_rate": RATES[case.method],
        "per_device_train_batch_size": BATCH_SIZE,
        "max_steps": STEPS,
        "eval_strategy": "steps",
        "eval_steps": 0.1,
        "logging_first_step": True,
    }
    return SFTArguments(
        output_dir=str(directory), save_strategy="no", report_to="none", disable_tqdm=True, seed=seed,
        **{**settings, **case.flags},
    )  # fmt: skip
