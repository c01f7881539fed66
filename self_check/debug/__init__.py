"""TODO 4 的自查：真的训练一次，看还剩什么症状。

从 ``exercise.py`` 读起，它不导入 torch；训练、独立地再算一遍的在 ``patient.py``，各项检查在 ``checks.py``。
"""
