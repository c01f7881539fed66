"""TODO 1 的自查：``_format_conversation`` 返回的两个列表对不对。

从 ``exercise.py``、``checks.py`` 读起。一项检查看一组调用的结果（:class:`~self_check.data.trials.Trial`）：

- 用什么查：``conversations.py`` 是对话，``named_tokenizers.py`` 是分词器，``cases.py`` 把它们合成用例，算出应有的标签；
- 怎样调用：``learner.py``；交给学习者的分词器在 ``light_tokenizer.py``、``chat_template.py``；
- 查什么：``signature.py``、``lists.py``、``input_ids.py``、``labels.py``、``truncation.py``；
- 怎样画出来：``drawing.py``、``columns.py``。
"""
