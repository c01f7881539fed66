"""让各个库只报告错误：它们的提示多半是说给库的开发者听的，学习者无从着手。"""

import sys
import warnings

import huggingface_hub
import transformers


def quiet_libraries() -> None:
    """关掉读写权重的进度条和错误以下的日志；Python 的警告（warnings）只关掉下面点名的。"""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if "datasets" in sys.modules:  # Trainer 会顺带导入它
        sys.modules["datasets"].disable_progress_bars()
    huggingface_hub.utils.logging.set_verbosity_error()  # 连不上时每次重试一行英文；最后那一句话由我们来说
    # 驱动太旧：由 finetuning.accelerators.trouble 来说。
    warnings.filterwarnings("ignore", message="CUDA initialization: The NVIDIA driver on your system is too old")
    # PEFT 还在用 transformers 的旧名字，两个库的新版本之间的事。
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    # 由我们的一句话来说：共用的嵌入不能加 LoRA；PiSSA 存成普通的 LoRA。
    warnings.filterwarnings("ignore", message="Model (has|with) `tie_word_embeddings=True`")
    warnings.filterwarnings("ignore", message="PiSSA changes the base weights of the model")
    # PEFT 自己就改好了的设置：GPT-2 的 Conv1D；混合专家的层换了名字。
    warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False but the target module is `Conv1D`")
    warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys did not match")
