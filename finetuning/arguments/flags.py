"""``transformers.TrainingArguments`` 的参数，有两类要特别对待。

- 改变学到的东西的：免填充的一行与普通的填充批次得到同样的结果；接着训练时不能变。
- 不收的：在这里会算错、会丢东西，或者有别的、更可靠的办法；用了就停下，说为什么。

其余的（日志、保存、检验、设备……）不改变学到的东西，``tests/test_unsound_training.py`` 里一个个列着：
transformers 添了新的参数，测试就失败，直到有人想清楚它属于哪一类。
"""

CHANGES_TRAINING = {
    "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps",
    "optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
    "label_smoothing_factor", "neftune_noise_alpha", "bf16", "fp16", "tf32",
    "full_determinism", "seed", "data_seed", "dataloader_drop_last", "train_sampling_strategy", "length_column_name",
    "load_best_model_at_end", "metric_for_best_model", "greater_is_better",
}  # fmt: skip

_LAUNCHER = "切分模型请用启动器：accelerate launch --config_file configs/fsdp.yaml …，见 README 的“多张显卡”"
REFUSED = {
    "fsdp": _LAUNCHER,
    "fsdp_config": _LAUNCHER,
    "deepspeed": "请用启动器：accelerate launch --use_deepspeed …，见 README 的“多张显卡”",
    "parallelism_config": "没有在张量并行等切法下验证过；数据并行请用 torchrun 或 accelerate launch",
    "accelerator_config": "其中的 split_batches、dispatch_batches 会改变一步看哪几段对话；多卡请用 torchrun 启动",
    "average_tokens_across_devices": "关掉它，各卡的损失就不再按全部要学的 token 平均，结果随卡数而变",
    "torch_compile": "一步一种长度，每种都要重新编译，比训练还久；免填充的批次也没有在编译后的模型上验证过",
    "torch_compile_backend": "见 --torch_compile",
    "torch_compile_mode": "见 --torch_compile",
    "use_liger_kernel": "它换掉的损失与免填充的批次（logits_to_keep）没有一起验证过；本项目自带同样省内存的损失",
    "liger_kernel_config": "见 --use_liger_kernel",
    "optim_target_modules": "它属于 GaLore、APOLLO 这些优化器，而它们不收，见 --optim",
    "auto_find_batch_size": "它在内存不够时悄悄减小批次，训练就不是原来的训练了；请先用 plan_memory.py 算好批次的大小",
    "save_only_model": "没有优化器状态的检查点不能接着训练；最后的结果里本来就只有权重",
    "enable_jit_checkpoint": "它在收到 SIGTERM 时把停在半路的当作训练完了；本项目自己处理 SIGTERM：存下检查点再停",
    "ignore_data_skip": "接着训练时会从头重看已经看过的数据，得到的与没有断过的不同",
    "restore_callback_states_from_checkpoint": "它会把上次“该停了”的状态一起恢复，一步不走就结束",
    "push_to_hub": "它会上传还没有检验的权重和检查点；请在训练完以后用 hf upload 上传输出目录",
    "bf16_full_eval": "检验的精度由本项目来定：显卡支持 bf16 就用 bf16 自动混合精度，其余的是 fp32",
    "fp16_full_eval": "检验的精度由本项目来定：显卡支持 bf16 就用 bf16 自动混合精度，其余的是 fp32",
    "label_names": "批次里的标签就叫 labels，换了名字就算不出验证损失",
}

# 优化器：只收在 step() 里一次更新全部参数的。在反向传播里更新的（LOMO）会漏掉分成两个微批次算的梯度；
# 要 --optim_target_modules 的（GaLore、APOLLO）和各自要另外一个库的，没有验证过。
TORCH_OPTIMIZERS = {
    "adamw_torch", "adamw_torch_fused", "adamw_torch_npu_fused", "adafactor", "sgd", "adagrad", "rmsprop",
}  # fmt: skip
BITSANDBYTES_OPTIMIZERS = {
    "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "lion_32bit", "lion_8bit",
    "paged_lion_32bit", "paged_lion_8bit", "ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit",
    "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
}  # fmt: skip
