"""各道练习在哪里；用到哪一道，才装入哪一道。"""

from self_check.exercise import Exercise


def load_exercise(todo: str) -> Exercise:
    """``"data"``、``"lora"`` 或 ``"debug"`` → 练习。"""
    if todo == "data":
        from self_check.data.exercise import DATA

        return DATA
    if todo == "debug":
        from self_check.debug.exercise import DEBUG

        return DEBUG
    from self_check.lora.exercise import LORA

    return LORA
