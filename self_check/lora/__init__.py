"""TODO 2 的自查：``LoRALinear`` 造得对不对，算得对不对，用起来对不对。

从 ``exercise.py`` 读起，它不导入 torch，用到各项检查时才导入。一项检查拿到学习者的类（``learner.py``）：

- 怎样造一层，按公式该输出什么：``layers.py``；
- 查什么：``checks.py``、``use.py``；它们用到的 ``base.py``、``initial_values.py``、``output.py`` 各管一个方面；
- 怎样说：``messages.py`` 是各个代号通常的解释，``torch_errors.py`` 解释 torch 的报错。
"""
